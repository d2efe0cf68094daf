/*
 * nvbootctrl: NVIDIA's tools that keep the slots of a Jetson, and what they answer.
 *
 * Each call that changes a slot is a named point of common/base/io. All of them run in the same root, by argument
 * vector and with a time limit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	NVBOOTCTRL_TIMEOUT_MS = 30 * 1000,              /* it answers within a second */
	NVBOOTCTRL_INSTALL_TIMEOUT_MS = 15 * 60 * 1000, /* some 50 MB, into slow flash */
	NVBOOTCTRL_N_SLOTS = 2,
	NVBOOTCTRL_ANSWER_MAX_BYTES = 64, /* a digit and a line end */
};

/* A Jetson switches its boot loader's slot and the root file system's, together or each for itself. */
enum nvbootctrl_domain {
	NVBOOTCTRL_LOADER,
	NVBOOTCTRL_ROOTFS,
};

/* Where and how to run it; all borrowed. */
struct nvbootctrl {
	const char *root; /* "" = ours */
	const char
		*tools_path; /* NULL = the default; else tools are fakes and run without chroot */
	uint32_t timeout_ms; /* 0 = those above */
};

/* What get-current-slot printed. -EBADMSG: neither 0 nor 1. */
int nvbootctrl_parse_slot(
	const char *text, size_t len_bytes, unsigned *ret_slot, struct ota_err *err);

/* Does one switch move both? Any answer but "yes" is no. An error only if the tool did not run to its end. */
int nvbootctrl_is_unified(const struct nvbootctrl *n, bool *ret, struct ota_err *err);
int nvbootctrl_current_slot(const struct nvbootctrl *n, enum nvbootctrl_domain domain,
	unsigned *ret_slot, struct ota_err *err);

/* @what: the name of the step. */
int nvbootctrl_set_active(const struct nvbootctrl *n, const char *what,
	enum nvbootctrl_domain domain, unsigned slot, struct ota_err *err);

/* Of root file systems, where they are switched for themselves. */
int nvbootctrl_set_unbootable(const struct nvbootctrl *n, unsigned slot, struct ota_err *err);
int nvbootctrl_mark_successful(const struct nvbootctrl *n, unsigned slot, struct ota_err *err);

/* nv_update_engine -i: write the firmware @payload (a path) into the boot loader's slot that does not run. */
int nvbootctrl_install(
	const struct nvbootctrl *n, bool unified, const char *payload, struct ota_err *err);

/* nv_update_engine --verify: the boot loader that runs is good, and its slot is kept. */
int nvbootctrl_verify(const struct nvbootctrl *n, struct ota_err *err);
