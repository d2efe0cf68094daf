/*
 * fuzz_list_text: any bytes as one of the lists of an image; the first byte chooses which. What is accepted is
 * written and read back the same, what is sealed is found, and every refusal has a sentence.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "common/image/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SHA "0dd0eed717ffeaf2a95fd774108263053c866c40a82e34e58ca796eea42b7727"

typedef int read_fn(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);

static void check_refusal(int r, const struct ota_err *err)
{
	assert(r == -EBADMSG || r == -E2BIG);
	assert(err->code == OTA_E_OTA_IMAGE_INVALID);
	assert(err->msg[0] && utf8_is_valid(err->msg, strlen(err->msg)));
}

static void same(struct text a, struct text b)
{
	assert(a.len == b.len && memcmp(a.at, b.at, a.len) == 0);
}

static void check_dirs(const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_dirs; i++) {
		AUTO_FILE_TABLE struct file_table *again = file_table_new();
		const struct dir_entry *d = &t->dirs[i];
		AUTO_BUF struct buf b = {0};

		assert(list_text_write_dir(&b, d) == 0);
		assert(list_text_read_dirs(b.data, b.len_bytes, "again", again, NULL) == 0);
		assert(again->n_dirs == 1);
		same(again->dirs[0].path, d->path);
		assert(again->dirs[0].mode == d->mode && again->dirs[0].uid == d->uid &&
			again->dirs[0].gid == d->gid);
	}
}

static void check_symlinks(const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_symlinks; i++) {
		AUTO_FILE_TABLE struct file_table *again = file_table_new();
		const struct symlink_entry *s = &t->symlinks[i];
		AUTO_BUF struct buf b = {0};

		assert(list_text_write_symlink(&b, s) == 0);
		assert(list_text_read_symlinks(b.data, b.len_bytes, "again", again, NULL) == 0);
		assert(again->n_symlinks == 1);
		same(again->symlinks[0].path, s->path);
		same(again->symlinks[0].target, s->target);
	}
}

static void check_files(const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_files; i++) {
		AUTO_FILE_TABLE struct file_table *again = file_table_new();
		const struct file_entry *f = &t->files[i];
		const struct content *c = &t->contents[f->content];
		struct regular_line l = {
			.path = f->path,
			.uid = f->uid,
			.gid = f->gid,
			.mode = f->mode,
			.digest = c->digest,
			.size_bytes = c->size_bytes == CONTENT_SIZE_UNKNOWN ? 1 : c->size_bytes,
			.has_zst = c->has_zst,
		};
		AUTO_BUF struct buf b = {0};

		assert(f->group <= i && t->files[f->group].group == f->group);
		assert(file_table_find_content(t, &c->digest) == f->content);
		assert(list_text_write_regular(&b, &l) == 0);
		assert(list_text_read_regulars(b.data, b.len_bytes, "again", again, NULL) == 0);
		assert(again->n_files == 1);
		same(again->files[0].path, f->path);
		assert(again->contents[0].size_bytes == l.size_bytes);
		assert(again->contents[0].has_zst == c->has_zst);
	}
}

static void check_found(
	const struct file_table *t, struct text path, enum entry_kind kind, uint32_t index)
{
	enum entry_kind found_kind;
	uint32_t found;

	assert(file_table_find(t, path.at, path.len, &found_kind, &found));
	assert(found_kind == kind && found == index);
}

static void check_sealed(const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_dirs; i++)
		check_found(t, t->dirs[i].path, ENTRY_DIR, i);
	for (uint32_t i = 0; i < t->n_symlinks; i++)
		check_found(t, t->symlinks[i].path, ENTRY_SYMLINK, i);
	for (uint32_t i = 0; i < t->n_files; i++)
		check_found(t, t->files[i].path, ENTRY_FILE, i);
}

/* The files that a list gave to a table, and how many of them it gives line by line. */
struct lines {
	const struct file_table *t;
	uint32_t n;
};

static int take_line(void *ctx, const char *path, const struct digest *digest, uint64_t size_bytes,
	struct ota_err *err)
{
	struct lines *l = ctx;
	const struct file_entry *f;

	assert(strlen(path) < PATH_MAX);
	if (!l->t)
		return 0;
	assert(l->n < l->t->n_files);
	f = &l->t->files[l->n++];
	assert(strlen(path) == f->path.len && memcmp(path, f->path.at, f->path.len) == 0);
	assert(digest_equal(digest, &l->t->contents[f->content].digest));
	return 0;
}

/* What is good as a whole is good line by line; the converse does not hold. */
static void try_line_by_line(const char *text, size_t len, const struct file_table *sealed)
{
	struct lines l = {.t = sealed};
	struct ota_err err = {0};
	int r = list_text_each_regular(text, len, "list", take_line, &l, &err);

	if (r < 0)
		check_refusal(r, &err);
	assert(!sealed || (r == 0 && l.n == sealed->n_files));
}

static void try_list(read_fn *read, const char *text, size_t len)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct ota_err err = {0};
	int r = read(text, len, "list", t, &err);

	if (r < 0) {
		check_refusal(r, &err);
		return;
	}
	check_dirs(t);
	check_symlinks(t);
	check_files(t);
	r = file_table_seal(t, &err);
	if (r < 0)
		check_refusal(r, &err);
	else
		check_sealed(t);
	if (read == list_text_read_regulars)
		try_line_by_line(text, len, r < 0 ? NULL : t);
}

static void try_attributes(const char *text, size_t len)
{
	static const char files[] =
		"0644,0,0,2," SHA ",'/d/a',1,7,\n0644,0,0,2," SHA ",'/d/b',1,7,\n"
		"0644,0,0,1," SHA ",'/d/it'\\''s',1,,";
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	const struct entry_xattr *x;
	struct ota_err err = {0};
	int r;

	assert(list_text_read_regulars(files, strlen(files), "files", t, &err) == 0);
	assert(file_table_seal(t, &err) == 0);
	r = list_text_read_attributes(text, len, "list", t, &err);
	if (r < 0) {
		check_refusal(r, &err);
		return;
	}
	for (uint32_t i = 0; i < t->n_xattrs; i++) {
		uint32_t n = file_table_xattrs_of(t, t->xattrs[i].kind, t->xattrs[i].index, &x);

		assert(n > 0 && x <= &t->xattrs[i] && &t->xattrs[i] < x + n);
		assert(t->xattrs[i].value_hex.len % 2 == 0);
	}
	assert(file_table_xattrs_of(t, ENTRY_FILE, 0, &x) ==
		file_table_xattrs_of(t, ENTRY_FILE, 1, &x));
}

static int take_path(void *ctx, const char *path, struct ota_err *err)
{
	assert(utf8_is_valid(path, strlen(path)) && !strchr(path, '\n'));
	return 0;
}

static void try_persistents(const char *text, size_t len)
{
	struct ota_err err = {0};
	int r = list_text_read_persistents(text, len, "list", take_path, NULL, &err);

	if (r < 0)
		check_refusal(r, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	switch (data[0]) {
	case 'd':
		try_list(list_text_read_dirs, text, size - 1);
		break;
	case 's':
		try_list(list_text_read_symlinks, text, size - 1);
		break;
	case 'r':
		try_list(list_text_read_regulars, text, size - 1);
		break;
	case 'a':
		try_attributes(text, size - 1);
		break;
	case 'p':
		try_persistents(text, size - 1);
		break;
	default:
		break;
	}
	return 0;
}
