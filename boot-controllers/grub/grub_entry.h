/*
 * grub_entry: the one menu entry of a slot (ota-slot_x.cfg), taken from what grub-mkconfig prints. Pure.
 *
 * Format: docs/formats.md, "GRUB files".
 */
#pragma once

#include <limits.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum {
	GRUB_ENTRY_DEPTH_MAX = 64,  /* braces in braces; real ones go three deep */
	GRUB_ENTRY_WORDS_MAX = 512, /* of one command; a kernel takes 4 kB of arguments */
	GRUB_ENTRY_UUID_MAX = 64,
};

/*
 * In the slot's folder, in the form of sha256sum: the digest of the kernel. GRUB compares it before it boots, where
 * it can: a kernel that was cut short would be loaded, and then it halts for ever.
 */
#define GRUB_ENTRY_SUM_NAME "kernel.sha256"

/*
 * What a slot's kernel gets if its image does not say: a panic, of the kernel or of the initrd's scripts, restarts the
 * machine. Without it a new system that panics would stand there for ever.
 */
#define GRUB_ENTRY_PANIC "panic=10"

struct grub_entry_wish {
	const char *slot_id;        /* "ota-slot_a" */
	const char *kernel_version; /* "5.15.0-100-generic" */
	const char *root_uuid;
	const char *boot_uuid; /* "" = not known: GRUB's own idea of the boot partition stands */
};

/*
 * Find the entry of the wanted kernel in what grub-mkconfig printed (no recovery entry) and append it to @ret as
 * the entry of the slot: title and id, paths below the slot's folder, root=UUID=, panic= if there is none. It loads
 * nothing unless kernel and initrd are there and the kernel is what GRUB_ENTRY_SUM_NAME says.
 * -ENOENT: there is no such entry. -EBADMSG: a quote or brace is left open. -E2BIG.
 */
int grub_entry_from_mkconfig(const char *mkconfig, size_t len_bytes,
	const struct grub_entry_wish *wish, struct buf *ret, struct ota_err *err);

/* The same for an image without grub-mkconfig; @cmdline are the kernel's further arguments. */
int grub_entry_plain(const struct grub_entry_wish *wish, const char *cmdline, struct buf *ret,
	struct ota_err *err);

/* As grub_entry_from_mkconfig(), but by the name of the kernel file ("vmlinuz-ota"), for the older layout. */
int grub_entry_from_legacy(const char *cfg, size_t len_bytes, const char *kernel_name,
	const struct grub_entry_wish *wish, struct buf *ret, struct ota_err *err);

/* What the first entry of a file boots. Missing parts are "". -ENOENT: there is no entry. -EBADMSG, -E2BIG. */
struct grub_entry_info {
	char kernel[PATH_MAX]; /* as GRUB sees it: "/ota-slot_a/vmlinuz-…" */
	char initrd[PATH_MAX]; /* the last one */
	char root_uuid[GRUB_ENTRY_UUID_MAX];
};
int grub_entry_read(
	const char *text, size_t len_bytes, struct grub_entry_info *ret_info, struct ota_err *err);
