/*
 * list_attributes: reading attributes.txt: extended attributes and modification times of entries.
 *
 * The list is sorted, which is checked: a key that is there twice is then found by a look at the
 * line before. Contract: list_text.h; scanner: list_scan.h; format: docs/formats.md,
 * "attributes.txt".
 */
#include "common/image/list_text.h"

#include <assert.h>
#include <endian.h>
#include <linux/capability.h>
#include <linux/limits.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/image/list_scan.h"
#include "common/image/text.h"
#include "common/image/utf8.h"

#define XATTR_PREFIX "xattr:"
#define MTIME_KEY    "mtime"

enum {
	MTIME_BYTES = 12, /* 8 of seconds, 4 of nanoseconds */
	NSEC_PER_SEC = 1000000000,
};

/* The entry and the key of the line before. */
struct reading {
	struct text path, key;
	enum entry_kind kind;
	uint32_t index;
	uint32_t next[3]; /* by kind: the entry behind the last one that had a line */
};

/* A name may have a comma in it and hex has none: the last comma of the line divides the two. */
static int scan_key_and_hex(struct scan *s, struct text *ret_key, struct text *ret_hex)
{
	const char *comma = memrchr(s->at, ',', (size_t)(s->end - s->at));

	if (!comma)
		return scan_expected(s, "a key, a comma and a value");
	*ret_key = (struct text){s->at, (uint32_t)(comma - s->at)};
	s->at = comma + 1;
	*ret_hex = (struct text){s->at, (uint32_t)(s->end - s->at)};
	return 0;
}

static bool is_hex(struct text hex)
{
	static const char digits[] = "0123456789abcdefABCDEF";

	for (uint32_t i = 0; i < hex.len; i++)
		if (hex.at[i] == '\0' || !strchr(digits, hex.at[i]))
			return false;
	return hex.len % 2 == 0;
}

static int read_mtime(struct scan *s, const struct reading *now, struct text hex)
{
	struct {
		uint64_t sec;
		uint32_t nsec;
	} __attribute__((packed)) be;
	uint32_t nsec;

	_Static_assert(sizeof(be) == MTIME_BYTES, "the layout of the list");
	if (hex.len != 2 * MTIME_BYTES || hex_decode(hex.at, hex.len, (uint8_t *)&be) < 0)
		return scan_expected(s, "a time of 24 hexadecimal digits");
	nsec = be32toh(be.nsec);
	if (nsec >= NSEC_PER_SEC)
		return scan_expected(s, "a time with less than 1000000000 nanoseconds");
	file_table_set_mtime(s->t, now->kind, now->index, (int64_t)be64toh(be.sec), nsec);
	return 0;
}

/* The one revision that means the same in every user namespace. */
static bool is_capability_v2(struct text hex)
{
	struct vfs_cap_data cap;

	if (hex.len != 2 * XATTR_CAPS_SZ_2 || hex_decode(hex.at, hex.len, (uint8_t *)&cap) < 0)
		return false;
	return (le32toh(cap.magic_etc) & VFS_CAP_REVISION_MASK) == VFS_CAP_REVISION_2;
}

static int read_xattr(struct scan *s, const struct reading *now, struct text name, struct text hex)
{
	struct entry_xattr x = {
		.kind = now->kind,
		.index = now->index,
		.name = name,
		.value_hex = hex,
	};
	int r;

	if (name.len == 0 || name.len > XATTR_NAME_MAX || memchr(name.at, '\0', name.len) ||
		!utf8_is_valid(name.at, name.len))
		return scan_refuse(s, now->key, "does not name an extended attribute");
	if (!is_hex(hex))
		return scan_expected(s, "a value of pairs of hexadecimal digits");
	if (hex.len > 2 * XATTR_SIZE_MAX)
		return scan_refuse(s, name, "has a value larger than Linux can store");
	if (text_is(name, "security.capability") && !is_capability_v2(hex))
		return scan_refuse(s, name, "has a value that is no capability set of revision 2");
	r = file_table_add_xattr(s->t, &x);
	return r < 0 ? scan_table_failed(s, r) : 0;
}

static bool is_at(
	const struct file_table *t, enum entry_kind kind, uint32_t index, struct text path)
{
	switch (kind) {
	case ENTRY_DIR:
		return index < t->n_dirs && text_equal(t->dirs[index].path, path);
	case ENTRY_SYMLINK:
		return index < t->n_symlinks && text_equal(t->symlinks[index].path, path);
	case ENTRY_FILE:
		return index < t->n_files && text_equal(t->files[index].path, path);
	}
	return false;
}

/* Where all lists are sorted, which is usual, the next line is of the next entry of some kind. */
static bool find_path(const struct file_table *t, struct text path, struct reading *now)
{
	for (enum entry_kind kind = ENTRY_DIR; kind <= ENTRY_FILE; kind++)
		if (is_at(t, kind, now->next[kind], path)) {
			now->kind = kind;
			now->index = now->next[kind];
			return true;
		}
	return file_table_find(t, path.at, path.len, &now->kind, &now->index);
}

static int find_entry(struct scan *s, struct text path, struct reading *now)
{
	if (text_is(path, "/")) {
		now->kind = ENTRY_DIR;
		now->index = FILE_TABLE_NONE;
		return 0;
	}
	if (!find_path(s->t, path, now))
		return scan_refuse(s, path, "is not in the image");
	now->next[now->kind] = now->index + 1;
	if (now->kind == ENTRY_FILE && s->t->files[now->index].group != now->index)
		return scan_refuse(s, path,
			"is a further name of a file; attributes stand under the first one");
	return 0;
}

/* Take @path and @key, which must come after those of the line before. */
static int step_to(struct scan *s, struct text path, struct text key, struct reading *now)
{
	bool first = s->line_no == 1;
	int order = first ? -1 : text_compare(now->path, path);
	int r = 0;

	if (order > 0 || (order == 0 && text_compare(now->key, key) >= 0))
		return scan_refuse(
			s, path, "is out of order; lines are sorted by path and key, each once");
	if (order < 0)
		r = find_entry(s, path, now);
	now->path = path;
	now->key = key;
	return r;
}

static int read_attribute_line(struct scan *s, void *ctx)
{
	struct reading *now = ctx;
	struct text path = TEXT_EMPTY, key = TEXT_EMPTY, hex = TEXT_EMPTY;
	int r = scan_quoted(s, "a quoted path", &path);

	if (r == 0)
		r = scan_char(s, ',', "a comma after the path");
	if (r == 0)
		r = scan_key_and_hex(s, &key, &hex);
	if (r == 0)
		r = step_to(s, path, key, now);
	if (r < 0)
		return r;
	if (text_is(key, MTIME_KEY))
		return read_mtime(s, now, hex);
	if (!text_begins(key, XATTR_PREFIX))
		return scan_refuse(s, key, "is no kind of attribute");
	key.at += strlen(XATTR_PREFIX);
	key.len -= (uint32_t)strlen(XATTR_PREFIX);
	return read_xattr(s, now, key, hex);
}

int list_text_read_attributes(const char *text, size_t len_bytes, const char *name,
	struct file_table *t, struct ota_err *err)
{
	struct scan s = {.list = name, .t = t, .err = err};
	struct reading now = {
		.path = {"", 0},
                  .key = {"", 0}
        };
	int r = file_table_begin_attributes(t);

	if (r < 0)
		return scan_table_failed(&s, r);
	r = scan_lines(&s, text, len_bytes, read_attribute_line, &now);
	if (r < 0)
		return r;
	r = file_table_end_attributes(t);
	assert(r == 0); /* no name twice: the order of the lines has been checked */
	return r;
}
