/*
 * grub_cfg: the managed grub.cfg, the frame that both slots share.
 *
 * It holds no entry of its own: it sources ota-slot_a.cfg and ota-slot_b.cfg (grub_entry.h), and ota-committed.cfg
 * when the environment block names no slot that is there. Pure. Format: docs/formats.md, "GRUB files".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* The two lines above every file that we manage; the other client knows them too. */
#define GRUB_CFG_HEADER                                          \
	"# OTAClient managed configuration file, DO NOT EDIT!\n" \
	"# Manual edits to this file will NOT be preserved across OTA!\n"

enum {
	GRUB_CFG_MAX_BYTES = 4 << 20, /* as much as run_tool() takes; a large machine's has 50 kB */
	GRUB_CFG_VERSION_MAX = 64,
};

/* What the footer of a managed file says. */
struct grub_cfg_info {
	char otaclient_version[GRUB_CFG_VERSION_MAX];
	char grub_version[GRUB_CFG_VERSION_MAX];
	bool has_committed; /* it knows ota-committed.cfg, so it is of our making */
	bool has_hook;      /* it has the part that chooses the slot just as this release has it */
};

/* Append the managed form of @body to @ret. */
int grub_cfg_wrap(const char *body, size_t len_bytes, const char *otaclient_version,
	const char *grub_version, struct buf *ret);

/* Is this a whole managed file, as it was written? -EBADMSG with the reason if not. */
int grub_cfg_check(
	const char *text, size_t len_bytes, struct grub_cfg_info *ret_info, struct ota_err *err);

/* The folder-wide frame: what 30_ota prints, the script itself, and a grub.cfg for a root without grub-mkconfig. */
extern const char grub_cfg_hook_output[];
extern const char grub_cfg_hook_script[];
extern const char grub_cfg_plain_frame[];
extern const char grub_cfg_uefi_stub[]; /* /etc/grub.d/30_uefi-firmware */

/*
 * Append @mkconfig with 30_ota's part moved up right behind 00_header's, so that the slots are entries 0 and 1
 * whatever other scripts print: a numeric fallback counts on it. -ENOENT: 30_ota printed nothing.
 */
int grub_cfg_hook_first(
	const char *mkconfig, size_t len_bytes, struct buf *ret, struct ota_err *err);

/* Append the text of ota-committed.cfg. */
int grub_cfg_committed(const char *slot_id, struct buf *ret);
