/*
 * fstab: the mount table of a slot: what the machine knows about itself wins, the image says the rest.
 */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum {
	FSTAB_MAX_BYTES = 256 * 1024, /* a real one has 1 kB */
	FSTAB_ENTRIES_MAX = 1024,
};

struct fstab_ids {
	const char *root_uuid; /* of the slot that the table is for */
	const char *boot_uuid;
	const char *esp_uuid; /* NULL = the machine has no EFI system partition */
};

/*
 * Append the table for a slot to @ret: "/", "/boot" and (with an ESP) "/boot/efi" as in @active, "/" with the
 * slot's own UUID; then all other lines of @image in their order. Comments do not survive.
 * 0, -E2BIG, -ENOMEM.
 */
int fstab_merge(const struct fstab_ids *ids, const char *active, size_t active_len,
	const char *image, size_t image_len, struct buf *ret, struct ota_err *err);
