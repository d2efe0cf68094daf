/*
 * list_read: dirs.txt, symlinks.txt and regulars.txt into a file_table; persistents.txt path by
 * path.
 *
 * Here only the form of a line is checked. Whether paths are canonical, unique and under real
 * directories is a matter of the whole: file_table_seal(). Contract: list_text.h; scanner:
 * list_scan.h.
 */
#include "common/image/list_text.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_scan.h"
#include "common/image/utf8.h"

#define MODE_MAX      0177777 /* st_mode with its type bits, which are accepted and dropped */
#define ID_MAX        (UINT32_MAX - 1)      /* the kernel keeps the last one for "no change" */
#define FILE_SIZE_MAX ((uint64_t)INT64_MAX) /* off_t */

enum {
	REGULAR_LINE_MIN_BYTES =
		78, /* with a digest, a path and the commas between: a list of LFs promises nothing */
};

/* "mode,uid,gid," */
static int scan_owner(struct scan *s, uint16_t *ret_mode, uint32_t *ret_uid, uint32_t *ret_gid)
{
	uint64_t mode = 0, uid = 0, gid = 0;
	int r = scan_number(s, 8, MODE_MAX, "an octal mode", &mode);

	if (r == 0)
		r = scan_char(s, ',', "a comma after the mode");
	if (r == 0)
		r = scan_number(s, 10, ID_MAX, "a user id", &uid);
	if (r == 0)
		r = scan_char(s, ',', "a comma after the user id");
	if (r == 0)
		r = scan_number(s, 10, ID_MAX, "a group id", &gid);
	if (r == 0)
		r = scan_char(s, ',', "a comma after the group id");
	if (r < 0)
		return r;
	*ret_mode = mode & 07777;
	*ret_uid = (uint32_t)uid;
	*ret_gid = (uint32_t)gid;
	return 0;
}

static int read_dir_line(struct scan *s, void *ctx)
{
	struct dir_entry d = {0};
	int r = scan_owner(s, &d.mode, &d.uid, &d.gid);

	if (r == 0)
		r = scan_quoted(s, "a quoted path", &d.path);
	if (r == 0)
		r = scan_end(s);
	if (r < 0)
		return r;
	r = file_table_add_dir(s->t, &d);
	return r < 0 ? scan_table_failed(s, r) : 0;
}

static int read_symlink_line(struct scan *s, void *ctx)
{
	struct symlink_entry l = {0};
	uint16_t mode = 0; /* of a symbolic link: 0777 always; Linux cannot set it */
	int r = scan_owner(s, &mode, &l.uid, &l.gid);

	if (r == 0)
		r = scan_quoted(s, "a quoted path", &l.path);
	if (r == 0)
		r = scan_char(s, ',', "a comma after the path");
	if (r == 0)
		r = scan_quoted(s, "a quoted target", &l.target);
	if (r == 0)
		r = scan_end(s);
	if (r < 0)
		return r;
	r = file_table_add_symlink(s->t, &l);
	return r < 0 ? scan_table_failed(s, r) : 0;
}

/* ---- regulars.txt ---- */

static int scan_digest(struct scan *s, struct digest *ret_digest)
{
	const size_t len = DIGEST_HEX_MAX - 1;

	if ((size_t)(s->end - s->at) < len || digest_from_hex(s->at, len, ret_digest) < 0)
		return scan_expected(s, "a digest of 64 hexadecimal digits");
	s->at += len;
	return 0;
}

/* The columns after the path; each may be empty or, from the end, absent. */
struct tail {
	uint64_t size_bytes;
	uint64_t inode;
	bool has_zst;
};

/* Is there a further column, and anything in it? Takes its comma. */
static int scan_column(struct scan *s, bool *ret_filled)
{
	int r = s->at == s->end ? 0 : scan_char(s, ',', "a comma");

	*ret_filled = s->at < s->end && *s->at != ',';
	return r;
}

static int scan_optional_number(struct scan *s, uint64_t max, const char *what, uint64_t *number)
{
	bool filled;
	int r = scan_column(s, &filled);

	return r == 0 && filled ? scan_number(s, 10, max, what, number) : r;
}

/* One that we do not know is no failure: the plain file serves. */
static int scan_compression(struct scan *s, bool *ret_has_zst)
{
	const char *name;
	bool filled;
	int r = scan_column(s, &filled);

	if (r < 0)
		return r;
	for (name = s->at; s->at < s->end; s->at++)
		if (!((*s->at >= '0' && *s->at <= '9') || (*s->at >= 'a' && *s->at <= 'z')))
			break;
	*ret_has_zst = (s->at - name == 3 && memcmp(name, "zst", 3) == 0) ||
		       (s->at - name == 4 && memcmp(name, "zstd", 4) == 0);
	return 0;
}

static int scan_tail(struct scan *s, struct tail *ret_tail)
{
	struct tail tail = {.size_bytes = CONTENT_SIZE_UNKNOWN};
	int r = scan_optional_number(s, FILE_SIZE_MAX, "a size in bytes", &tail.size_bytes);

	if (r == 0)
		r = scan_optional_number(s, UINT64_MAX, "an inode number", &tail.inode);
	if (r == 0)
		r = scan_compression(s, &tail.has_zst);
	if (r == 0)
		r = scan_end(s);
	/* Without a size the later columns are not in use; the plain file is there in any case. */
	if (tail.size_bytes == CONTENT_SIZE_UNKNOWN) {
		tail.inode = 0;
		tail.has_zst = false;
	}
	*ret_tail = tail;
	return r;
}

static int refuse_two_sizes(
	const struct scan *s, struct text path, const struct digest *digest, uint64_t size_bytes)
{
	const struct content *c = &s->t->contents[file_table_find_content(s->t, digest)];
	struct text other = s->t->files[c->first_file].path;
	char shown[UTF8_SHOW_MAX], shown_other[UTF8_SHOW_MAX];

	return ota_err_set(s->err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"Line %u of %s: %s has %llu bytes, but %s with the same digest has %llu",
		s->line_no, s->list, utf8_show(path.at, path.len, shown),
		(unsigned long long)size_bytes, utf8_show(other.at, other.len, shown_other),
		(unsigned long long)c->size_bytes);
}

/* An empty file is made without asking anybody for its bytes, so its digest must be that of no bytes. */
static int check_empty(
	const struct scan *s, struct text path, const struct digest *digest, uint64_t *size_bytes)
{
	bool is_nothing = digest_equal(digest, &digest_of_nothing);
	char shown[UTF8_SHOW_MAX];

	if (is_nothing && *size_bytes == CONTENT_SIZE_UNKNOWN)
		*size_bytes = 0;
	if (is_nothing == (*size_bytes == 0))
		return 0;
	return ota_err_set(s->err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"Line %u of %s: %s has %llu bytes, which its digest cannot be of", s->line_no,
		s->list, utf8_show(path.at, path.len, shown), (unsigned long long)*size_bytes);
}

/* What stands before the path. */
static int scan_regular_head(struct scan *s, struct file_entry *f, struct digest *ret_digest)
{
	int r = scan_owner(s, &f->mode, &f->uid, &f->gid);

	if (r == 0)
		r = scan_skip_number(
			s, "a number of links"); /* links are told by the inode column */
	if (r == 0)
		r = scan_char(s, ',', "a comma after the number of links");
	if (r == 0)
		r = scan_digest(s, ret_digest);
	return r == 0 ? scan_char(s, ',', "a comma after the digest") : r;
}

static int read_regular_line(struct scan *s, void *ctx)
{
	struct file_entry f = {0};
	struct digest digest = {0};
	struct tail tail = {0};
	int r = scan_regular_head(s, &f, &digest);

	if (r == 0)
		r = scan_quoted(s, "a quoted path", &f.path);
	if (r == 0)
		r = scan_tail(s, &tail);
	if (r == 0)
		r = check_empty(s, f.path, &digest, &tail.size_bytes);
	if (r < 0)
		return r;
	r = file_table_add_file(s->t, &f, &digest, tail.size_bytes, tail.has_zst, tail.inode);
	if (r == -EBADMSG)
		return refuse_two_sizes(s, f.path, &digest, tail.size_bytes);
	return r < 0 ? scan_table_failed(s, r) : 0;
}

size_t list_text_count_lines(const char *text, size_t len_bytes)
{
	const char *at = text, *end = text + len_bytes;
	size_t n = 0;

	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));

		at = lf ? lf + 1 : end;
		n++;
	}
	return n;
}

int list_text_read_dirs(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err)
{
	struct scan s = {.list = name, .t = t, .err = err};

	return scan_lines(&s, text, len_bytes, read_dir_line, NULL);
}

int list_text_read_symlinks(const char *text, size_t len_bytes, const char *name,
	struct file_table *t, struct ota_err *err)
{
	struct scan s = {.list = name, .t = t, .err = err};

	return scan_lines(&s, text, len_bytes, read_symlink_line, NULL);
}

int list_text_read_regulars(const char *text, size_t len_bytes, const char *name,
	struct file_table *t, struct ota_err *err)
{
	struct scan s = {.list = name, .t = t, .err = err};

	file_table_expect_files(t, MIN_OF(list_text_count_lines(text, len_bytes),
					   len_bytes / REGULAR_LINE_MIN_BYTES + 1));
	return scan_lines(&s, text, len_bytes, read_regular_line, NULL);
}

/* ---- line by line ---- */

/* A path that no table keeps. */
static int scan_path(struct scan *s, char path[PATH_MAX])
{
	struct text raw = {0};
	uint32_t escapes = 0;
	int r = scan_raw_quoted(s, "a quoted path", &raw, &escapes);

	if (r < 0)
		return r;
	if (raw.len - 3 * escapes >= PATH_MAX)
		return scan_refuse(s, raw, "is longer than a path can be");
	if (memchr(raw.at, '\0', raw.len))
		return scan_refuse(s, raw, "has a NUL in it");
	if (!utf8_is_valid(raw.at, raw.len))
		return scan_refuse(s, raw, "is not UTF-8");
	path[scan_unquote(raw, path)] = '\0';
	return 0;
}

struct regulars {
	list_text_regular_fn *each;
	void *ctx;
};

static int give_regular_line(struct scan *s, void *ctx)
{
	const struct regulars *g = ctx;
	struct file_entry f = {0};
	struct digest digest = {0};
	struct tail tail = {0};
	char path[PATH_MAX];
	int r = scan_regular_head(s, &f, &digest);

	if (r == 0)
		r = scan_path(s, path);
	if (r == 0)
		r = scan_tail(s, &tail);
	return r == 0 ? g->each(g->ctx, path, &digest, tail.size_bytes, s->err) : r;
}

int list_text_each_regular(const char *text, size_t len_bytes, const char *name,
	list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	struct scan s = {.list = name, .err = err};
	struct regulars g = {.each = each, .ctx = ctx};

	return scan_lines(&s, text, len_bytes, give_regular_line, &g);
}

struct persistents {
	int (*each)(void *ctx, const char *path, struct ota_err *err);
	void *ctx;
};

static int read_persistent_line(struct scan *s, void *ctx)
{
	const struct persistents *p = ctx;
	char path[PATH_MAX];
	int r;

	if (s->at == s->end)
		return 0; /* this list is written by hand, where empty lines happen */
	r = scan_path(s, path);
	if (r == 0)
		r = scan_end(s);
	if (r < 0)
		return r;
	return p->each(p->ctx, path, s->err);
}

int list_text_read_persistents(const char *text, size_t len_bytes, const char *name,
	int (*each)(void *ctx, const char *path, struct ota_err *err), void *ctx,
	struct ota_err *err)
{
	struct scan s = {.list = name, .err = err};
	struct persistents p = {.each = each, .ctx = ctx};

	return scan_lines(&s, text, len_bytes, read_persistent_line, &p);
}
