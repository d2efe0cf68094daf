/*
 * list_text: the text forms of an image's lists: dirs.txt, symlinks.txt, regulars.txt, persistents.txt and
 * attributes.txt. Reading fills a file_table; writing makes the lines of one entry. Pure.
 *
 * Format: docs/formats.md. Lines end with LF alone, a last LF is optional; a line is read
 * strictly from left to right, so every name that the writer can write is read back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/image/file_table.h"

enum {
	LIST_TEXT_MAX_BYTES = 1 << 30, /* a list of 5 million files; larger is refused before it is fetched */
};

/* How many lines a text has: for file_table_expect_files(), where a list is read line by line. */
size_t list_text_count_lines(const char *text, size_t len_bytes);

/*
 * Read one list into @t (not yet sealed). @name is the list's name for sentences. 0, or
 *   -EBADMSG  E203, "Line 7 of regulars.txt: …" says what was expected and what is there
 *   -E2BIG    E203, a limit is passed
 *   -ENOMEM
 * @text is borrowed for the life of @t.
 */
int list_text_read_dirs(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);
int list_text_read_symlinks(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);
int list_text_read_regulars(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);

/*
 * Call @each with every line of a regulars.txt; what has no size in it has CONTENT_SIZE_UNKNOWN. Its negative return
 * ends the reading. @path is NUL-terminated and no longer than a path can be; whether it is canonical is not looked at.
 */
typedef int list_text_regular_fn(void *ctx, const char *path, const struct digest *digest,
	uint64_t size_bytes, struct ota_err *err);
int list_text_each_regular(const char *text, size_t len_bytes, const char *name,
	list_text_regular_fn *each, void *ctx, struct ota_err *err);

/*
 * After the seal, at most once: attach xattrs and mtimes. Lines are sorted by path, then key, bytewise. Refused:
 * paths that the image has not, and any name of a link group but its first in regulars.txt.
 */
int list_text_read_attributes(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);

/*
 * Call @each with every unquoted path, NUL-terminated; its negative return ends the reading. A path may be
 * anything that is UTF-8: what is canonical and what may be kept is for the caller to say.
 */
int list_text_read_persistents(const char *text, size_t len_bytes, const char *name,
	int (*each)(void *ctx, const char *path, struct ota_err *err), void *ctx, struct ota_err *err);

/* Writing: each appends one line without LF. 0 or -ENOMEM. Names must have passed list_text_can_carry(). */
int list_text_write_dir(struct buf *b, const struct dir_entry *d);
int list_text_write_symlink(struct buf *b, const struct symlink_entry *s);
struct regular_line {
	struct text path;
	uint32_t uid, gid;
	uint16_t mode;
	uint32_t n_links;  /* names in the image, 1 = no group */
	uint64_t group_no; /* 1, 2, 3…; 0 = no group */
	struct digest digest;
	uint64_t size_bytes;
	bool has_zst;
};
int list_text_write_regular(struct buf *b, const struct regular_line *r);
int list_text_write_mtime(struct buf *b, struct text path, int64_t sec, uint32_t nsec);
int list_text_write_xattr(struct buf *b, struct text path, const char *xattr_name, const void *value,
	size_t len_bytes);

/*
 * Can the format carry this path, target or xattr name? UTF-8 without LF, CR and NUL, and not empty. NULL if so, else
 * the reason for a sentence: "Cannot list …: it has a line feed in it".
 */
const char *list_text_cannot_carry(const char *s, size_t len_bytes);

/*
 * Do readers that look for the separator from the end of a line find it too? They do not if the path ends in an
 * apostrophe or the target begins with a comma and an apostrophe; a builder warns of such a link.
 */
bool list_text_symlink_is_portable(struct text path, struct text target);
