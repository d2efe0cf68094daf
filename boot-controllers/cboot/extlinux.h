/*
 * extlinux: the boot menu that CBoot reads, /boot/extlinux/extlinux.conf of a root file system.
 *
 * Pure text: what the default entry boots, and the same file with another root. Keywords are taken in any case,
 * everything else stays byte for byte.
 */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum {
	EXTLINUX_MAX_BYTES = 64 * 1024, /* NVIDIA's has 1 kB with its comments */
	EXTLINUX_LINE_MAX_BYTES = 4096, /* twice what an arm64 kernel takes as its command line */
	EXTLINUX_WORD_MAX = 512,
};

/* The entry that boots by itself: the one that DEFAULT names, or else the first. "" = it has none. */
struct extlinux_entry {
	char label[EXTLINUX_WORD_MAX];
	char kernel[EXTLINUX_WORD_MAX]; /* LINUX or KERNEL, "/boot/Image" */
	char initrd[EXTLINUX_WORD_MAX];
	char root[EXTLINUX_WORD_MAX]; /* the last root= of its APPEND, "PARTUUID=…" */
};

/*
 * -EBADMSG: it breaks a limit, has a NUL or a line that ends with a backslash, or it is not exactly one entry with an
 * APPEND that boots by itself; err says what and where.
 */
int extlinux_read(
	const char *text, size_t len_bytes, struct extlinux_entry *ret_entry, struct ota_err *err);

/*
 * The same file with root=PARTUUID=@part_uuid in place of every root= of its APPEND lines, and at the end of those
 * that had none, appended to @ret. -EBADMSG as above, also if there is no APPEND line.
 */
int extlinux_set_root(const char *text, size_t len_bytes, const char *part_uuid, struct buf *ret,
	struct ota_err *err);
