/*
 * firmware_package: the two files by which an image asks for new firmware, and the board that they are for.
 *
 * Pure text: firmware_update.yaml (which payloads are wanted), firmware_manifest.yaml (what they are and what for), and
 * the board's TNSPEC in nv_boot_control.conf. docs/formats.md, "Firmware of a Jetson".
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"

enum {
	FIRMWARE_TEXT_MAX =
		256, /* a name, a path, a version: the longest in use has some 60 bytes */
	FIRMWARE_PAYLOADS_MAX = 16,
	FIRMWARE_BOARD_KEYS = 5,
	FIRMWARE_BOARD_MAX_BYTES = 64 * 1024, /* nv_boot_control.conf has a few hundred bytes */
};

/* What is wanted: names of payloads. */
struct firmware_request {
	char names[FIRMWARE_PAYLOADS_MAX][FIRMWARE_TEXT_MAX];
	size_t n_names;
};

struct firmware_payload {
	char name[FIRMWARE_TEXT_MAX];
	char path[FIRMWARE_TEXT_MAX]; /* in the image, absolute; "" = it is no file there */
	char type[FIRMWARE_TEXT_MAX]; /* "BUP", "UEFI-CAPSULE", … */
	struct digest digest;
};

struct firmware_manifest {
	char hardware[FIRMWARE_TEXT_MAX];                   /* "nvidia_jetson" */
	char bsp_version[FIRMWARE_TEXT_MAX];                /* "R32.6.1" */
	char board[FIRMWARE_BOARD_KEYS][FIRMWARE_TEXT_MAX]; /* each must stand in the TNSPEC */
	struct firmware_payload payloads[FIRMWARE_PAYLOADS_MAX];
	size_t n_payloads;
};

/* -EBADMSG: it is no such file, or it passes a limit; err says where. */
int firmware_request_parse(
	const char *text, size_t len_bytes, struct firmware_request *ret, struct ota_err *err);
int firmware_manifest_parse(
	const char *text, size_t len_bytes, struct firmware_manifest *ret, struct ota_err *err);

/* Is the package for a Jetson with CBoot, and this one? @text: nv_boot_control.conf. -ENODEV: no, and why. */
int firmware_check_board(
	const struct firmware_manifest *m, const char *text, size_t len_bytes, struct ota_err *err);

/* The one payload that is wanted, if CBoot can take it. -EOPNOTSUPP or -ENOENT: not so, and why. */
int firmware_choose(const struct firmware_manifest *m, const struct firmware_request *request,
	const struct firmware_payload **ret_payload, struct ota_err *err);
