/*
 * test_sample_tree: the lists of the sample image give exactly the tree that it was made from: every entry of
 * the tree's archive, with kind, owner, mode, target, content and links, and nothing else.
 *
 * Argument: the folder of the sample image.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/image/list_text.h"

static const char *sample_dir;

/* In the tree, but not in the image: ignored by its rules, or a kernel that is not the newest. */
static const char *const left_out[] = {
	"/boot/grub",
	"/boot/ota",
	"/boot/initrd.img",
	"/boot/vmlinuz",
	"/boot/System.map-5.15.0-99-generic",
	"/boot/config-5.15.0-99-generic",
	"/boot/initrd.img-5.15.0-99-generic",
	"/boot/vmlinuz-5.15.0-99-generic",
	"/tmp",
	"/opt/__pycache__",
	"/opt/repo/.git",
	"/opt/repo/a.ignored",
};

enum {
	TREE_MAX = 200,
};

/* The archive says what a further name of a file is a name of, but not its content again. */
struct tree {
	const struct file_table *t;
	struct name {
		char path[256];
		struct digest digest;
	} files[TREE_MAX];
	uint32_t n_files;
	uint32_t n_seen[3]; /* by entry_kind */
};

static bool is_left_out(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(left_out); i++) {
		size_t len = strlen(left_out[i]);

		if (strncmp(path, left_out[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
			return true;
	}
	return false;
}

static void read_data(struct archive *a, struct buf *b)
{
	char piece[65536];
	la_ssize_t n;

	while ((n = archive_read_data(a, piece, sizeof(piece))) > 0)
		assert_int_equal(buf_append(b, piece, (size_t)n), 0);
	assert_int_equal(n, 0);
}

static uint32_t listed(struct tree *tree, const char *path, enum entry_kind kind)
{
	enum entry_kind found;
	uint32_t index;

	if (!file_table_find(tree->t, path, strlen(path), &found, &index))
		fail_msg("%s is in no list", path);
	assert_int_equal(found, kind);
	tree->n_seen[kind]++;
	return index;
}

static void owner_is(struct archive_entry *e, uint32_t uid, uint32_t gid)
{
	assert_int_equal(archive_entry_uid(e), uid);
	assert_int_equal(archive_entry_gid(e), gid);
}

static void dir_is(struct tree *tree, const char *path, struct archive_entry *e)
{
	const struct dir_entry *d = &tree->t->dirs[listed(tree, path, ENTRY_DIR)];

	assert_false(d->implied);
	assert_int_equal(d->mode, archive_entry_perm(e));
	owner_is(e, d->uid, d->gid);
}

static void symlink_is(struct tree *tree, const char *path, struct archive_entry *e)
{
	const struct symlink_entry *s = &tree->t->symlinks[listed(tree, path, ENTRY_SYMLINK)];
	const char *target = archive_entry_symlink(e);

	assert_int_equal(s->target.len, strlen(target));
	assert_memory_equal(s->target.at, target, s->target.len);
	owner_is(e, s->uid, s->gid);
}

static const struct name *name_of(const struct tree *tree, const char *path)
{
	for (uint32_t i = 0; i < tree->n_files; i++)
		if (strcmp(tree->files[i].path, path) == 0)
			return &tree->files[i];
	fail_msg("%s is not in the archive so far", path);
	return NULL;
}

/* What the archive links is one group in the lists, unless the other name was left out. */
static void links_are(struct tree *tree, const char *path, const char *other)
{
	uint32_t index, other_index;
	enum entry_kind kind;

	assert_true(file_table_find(tree->t, path, strlen(path), &kind, &index));
	if (!other || !file_table_find(tree->t, other, strlen(other), &kind, &other_index))
		return;
	assert_int_equal(kind, ENTRY_FILE);
	assert_int_equal(tree->t->files[index].group, tree->t->files[other_index].group);
}

static void file_is(struct tree *tree, const char *path, struct archive_entry *e, struct archive *a)
{
	const char *other = archive_entry_hardlink(e);
	struct name *n = &tree->files[tree->n_files];
	AUTO_BUF struct buf data = {0};
	const struct file_entry *f;
	const struct content *c;

	assert_true(tree->n_files < TREE_MAX);
	snprintf(n->path, sizeof(n->path), "%s", path);
	if (other)
		other += strlen("data");
	else
		read_data(a, &data);
	if (other)
		n->digest = name_of(tree, other)->digest;
	else
		digest_of(buf_str(&data), data.len_bytes, &n->digest);
	tree->n_files++;
	if (is_left_out(path))
		return;
	f = &tree->t->files[listed(tree, path, ENTRY_FILE)];
	c = &tree->t->contents[f->content];
	assert_int_equal(f->mode, archive_entry_perm(e));
	owner_is(e, f->uid, f->gid);
	assert_true(digest_equal(&c->digest, &n->digest));
	if (!other)
		assert_int_equal(c->size_bytes, data.len_bytes);
	links_are(tree, path, other);
}

static void entry_is(struct tree *tree, struct archive_entry *e, struct archive *a)
{
	AUTO_BUF struct buf path = {0};
	enum entry_kind kind;
	uint32_t index;
	bool is_file = archive_entry_filetype(e) == AE_IFREG || archive_entry_hardlink(e);

	buf_puts(&path, archive_entry_pathname(e) + strlen("data"));
	if (path.len_bytes > 0 && path.data[path.len_bytes - 1] == '/')
		path.data[--path.len_bytes] = '\0';
	if (path.len_bytes == 0)
		return; /* the root has no line */
	if (is_file)
		file_is(tree, buf_str(&path), e, a);
	else if (is_left_out(buf_str(&path)))
		assert_false(file_table_find(tree->t, path.data, path.len_bytes, &kind, &index));
	else if (archive_entry_filetype(e) == AE_IFDIR)
		dir_is(tree, buf_str(&path), e);
	else if (archive_entry_filetype(e) == AE_IFLNK)
		symlink_is(tree, buf_str(&path), e);
	else /* FIFOs and devices are not carried */
		assert_false(file_table_find(tree->t, path.data, path.len_bytes, &kind, &index));
}

static void load(const char *name, struct buf *b)
{
	AUTO_BUF struct buf path = {0};

	assert_int_equal(buf_printf(&path, "%s/image/%s", sample_dir, name), 0);
	assert_int_equal(file_read(AT_FDCWD, buf_str(&path), 1 << 20, b), 0);
}

static void compare_with_archive(const struct file_table *t)
{
	struct archive *a = archive_read_new();
	AUTO_BUF struct buf path = {0};
	struct tree tree = {.t = t};
	struct archive_entry *e;
	int r;

	archive_read_support_filter_gzip(a);
	archive_read_support_format_tar(a);
	buf_printf(&path, "%s/data.tar.gz", sample_dir);
	assert_int_equal(archive_read_open_filename(a, buf_str(&path), 65536), ARCHIVE_OK);
	/*
	 * In the C locale libarchive warns of names beyond ASCII and gives their bytes as they are. In a UTF-8
	 * locale it would compose accents, and a name would no longer be the one in the archive.
	 */
	while ((r = archive_read_next_header(a, &e)) == ARCHIVE_OK || r == ARCHIVE_WARN)
		entry_is(&tree, e, a);
	assert_int_equal(r, ARCHIVE_EOF);
	archive_read_free(a);
	assert_int_equal(tree.n_seen[ENTRY_DIR], t->n_dirs);
	assert_int_equal(tree.n_seen[ENTRY_SYMLINK], t->n_symlinks);
	assert_int_equal(tree.n_seen[ENTRY_FILE], t->n_files);
}

static uint32_t group_size(const struct file_table *t, const char *path)
{
	enum entry_kind kind;
	uint32_t index, n = 0;

	assert_true(file_table_find(t, path, strlen(path), &kind, &index));
	for (uint32_t i = 0; i < t->n_files; i++)
		n += t->files[i].group == t->files[index].group;
	return n;
}

static bool blob_is_published(const struct digest *d)
{
	AUTO_BUF struct buf path = {0};
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(d, hex);
	assert_int_equal(buf_printf(&path, "%s/image/data.zst/%s.zst", sample_dir, hex), 0);
	return access(buf_str(&path), R_OK) == 0;
}

static void the_lists_are_the_tree(void **state)
{
	AUTO_BUF struct buf dirs = {0}, symlinks = {0}, regulars = {0}, total = {0};
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct ota_err err = {0};

	load("dirs.txt", &dirs);
	load("symlinks.txt", &symlinks);
	load("regulars.txt", &regulars);
	load("total_regular_size.txt", &total);
	assert_int_equal(
		list_text_read_dirs(buf_str(&dirs), dirs.len_bytes, "dirs.txt", t, &err), 0);
	assert_int_equal(list_text_read_symlinks(
				 buf_str(&symlinks), symlinks.len_bytes, "symlinks.txt", t, &err),
		0);
	assert_int_equal(list_text_read_regulars(
				 buf_str(&regulars), regulars.len_bytes, "regulars.txt", t, &err),
		0);
	assert_int_equal(file_table_seal(t, &err), 0);
	assert_string_equal(err.msg, "");

	compare_with_archive(t);
	assert_int_equal(strtoull(buf_str(&total), NULL, 10), t->total_size_bytes);
	/* and what the archive does not link is not linked */
	assert_int_equal(group_size(t, "/usr/bin/multi"), 3);
	assert_int_equal(group_size(t, "/var/empty-a"), 2);
	assert_int_equal(group_size(t, "/var/half-linked"), 1);
	assert_int_equal(group_size(t, "/opt/dup1"), 1);
	for (uint32_t i = 0; i < t->n_contents; i++)
		assert_int_equal(t->contents[i].has_zst, blob_is_published(&t->contents[i].digest));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_lists_are_the_tree),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s <folder of the sample image>\n", argv[0]);
		return 2;
	}
	sample_dir = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
