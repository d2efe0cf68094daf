/*
 * status_store: the status files of a slot, as peers and the other client read them.
 *
 * In the slot's status folder (boot_slot.status_dir): status, slot_in_use, version, version_detail,
 * and our own "complete" (image digest, file system UUID, time, CRC). Each is one small file
 * replaced atomically through common/base/io, so a cut leaves the old or the new one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"

/* The numbers are the API's StatusOta; the files hold the names. */
enum ota_status {
	STATUS_INITIALIZED = 0,
	STATUS_SUCCESS = 1,
	STATUS_FAILURE = 2,
	STATUS_UPDATING = 3,
	STATUS_ROLLBACKING = 4,
	STATUS_ROLLBACK_FAILURE = 5,
	STATUS_CLIENT_UPDATING = 6,
	STATUS_ABORTING = 7,
	STATUS_ABORTED = 8,
	STATUS_NONE = -1, /* missing or not one of the names */
};

enum {
	STATUS_VERSION_MAX = 2048 + 1, /* characters that are read back, with the NUL */
	STATUS_RELEASE_MAX = 512,
	STATUS_SLOT_MAX = 32,
};

const char *ota_status_name(enum ota_status s);         /* "SUCCESS"; "" for STATUS_NONE */
enum ota_status ota_status_from_name(const char *name); /* any case, white space stripped */

struct release_detail {
	char release_name[STATUS_RELEASE_MAX];
	char release_id[STATUS_RELEASE_MAX];
	char image_id[STATUS_RELEASE_MAX]; /* all three "" = not known */
};

/* Readers never fail: what is missing or unreadable is "not known" ("" or STATUS_NONE). */
enum ota_status status_store_read_status(const char *dir);
void status_store_read_slot_in_use(const char *dir, char ret_slot[STATUS_SLOT_MAX]);
void status_store_read_version(const char *dir, char ret_version[STATUS_VERSION_MAX]);
void status_store_read_release(const char *dir, struct release_detail *ret_detail);

/* Writers make the folder if it is missing. 0 or -errno with a sentence. */
int status_store_write_status(const char *dir, enum ota_status s, struct ota_err *err);
int status_store_write_slot_in_use(const char *dir, const char *slot, struct ota_err *err);
int status_store_write_version(const char *dir, const char *version, struct ota_err *err);
int status_store_write_release(
	const char *dir, const struct release_detail *d, struct ota_err *err);

/* The mark that a slot holds a whole image that was committed. */
struct complete_mark {
	struct digest image; /* of metadata.jwt; zeros = it did not come as an image */
	char fs_uuid[64];
	int64_t unix_s; /* of the commit */
	/* The file system's last-mount time as the other slot's first boot saw it; 0 = not yet. */
	uint32_t other_mount_s;
};
/* -ENOENT: no mark. -EBADMSG: torn or not ours. */
int status_store_read_complete(
	const char *dir, struct complete_mark *ret_mark, struct ota_err *err);
int status_store_write_complete(
	const char *dir, const struct complete_mark *mark, struct ota_err *err);
int status_store_remove_complete(const char *dir, struct ota_err *err); /* missing is fine */
