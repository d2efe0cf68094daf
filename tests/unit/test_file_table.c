/*
 * test_file_table: a table is built from entries in any order, checked by the seal, and then
 * searched.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/image/file_table.h"

static struct text text_of(const char *s)
{
	return (struct text){s, (uint32_t)strlen(s)};
}

static struct digest digest_no(uint32_t n)
{
	struct digest d = {0};

	digest_of(&n, sizeof(n), &d);
	return d;
}

static void add_dir(struct file_table *t, const char *path)
{
	struct dir_entry d = {.path = text_of(path), .mode = 0750, .uid = 1, .gid = 2};

	assert_int_equal(file_table_add_dir(t, &d), 0);
}

static void add_symlink(struct file_table *t, const char *path, const char *target)
{
	struct symlink_entry s = {.path = text_of(path), .target = text_of(target)};

	assert_int_equal(file_table_add_symlink(t, &s), 0);
}

/* A file with content number @n of n bytes. */
static void add_file_of_group(struct file_table *t, const char *path, uint32_t n, uint64_t inode)
{
	struct file_entry f = {.path = text_of(path), .mode = 0644};
	struct digest d = digest_no(n);

	assert_int_equal(file_table_add_file(t, &f, &d, n, false, inode), 0);
}

static void add_file(struct file_table *t, const char *path, uint32_t n)
{
	add_file_of_group(t, path, n, 0);
}

static void seals(struct file_table *t)
{
	struct ota_err err = {0};

	assert_int_equal(file_table_seal(t, &err), 0);
	assert_string_equal(err.msg, "");
}

static void seal_says(struct file_table *t, const char *sentence)
{
	struct ota_err err = {0};

	assert_int_equal(file_table_seal(t, &err), -EBADMSG);
	assert_string_equal(err.msg, sentence);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
}

static uint32_t index_of(const struct file_table *t, const char *path, enum entry_kind kind)
{
	enum entry_kind found;
	uint32_t index;

	assert_true(file_table_find(t, path, strlen(path), &found, &index));
	assert_int_equal(found, kind);
	return index;
}

static bool text_is(struct text a, const char *s)
{
	return a.len == strlen(s) && memcmp(a.at, s, a.len) == 0;
}

static void an_empty_table_is_fine(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	enum entry_kind kind;
	uint32_t index;

	seals(t);
	assert_false(file_table_find(t, "/", 1, &kind, &index));
	assert_false(file_table_find(t, "/a", 2, &kind, &index));
	assert_int_equal(file_table_find_content(t, &digest_of_nothing), FILE_TABLE_NONE);
}

static void entries_are_found_by_path_and_kind(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	enum entry_kind kind;
	uint32_t index;

	add_file(t, "/etc/hosts", 5);
	add_dir(t, "/etc");
	add_symlink(t, "/etc/link", "hosts");
	seals(t);
	assert_int_equal(index_of(t, "/etc", ENTRY_DIR), 0);
	assert_int_equal(index_of(t, "/etc/link", ENTRY_SYMLINK), 0);
	assert_int_equal(index_of(t, "/etc/hosts", ENTRY_FILE), 0);
	assert_false(file_table_find(t, "/etc/host", 9, &kind, &index));
	assert_false(file_table_find(t, "/etc/hosts ", 11, &kind, &index));
	assert_false(file_table_find(t, "/etc/", 5, &kind, &index));
}

static void missing_parents_become_directories_of_root(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	const struct dir_entry *d;

	add_file(t, "/a/b/c/file", 1);
	add_symlink(t, "/a/x/link", "t");
	add_dir(t, "/a/b");
	seals(t);
	assert_int_equal(t->n_dirs, 4);
	d = &t->dirs[index_of(t, "/a/b", ENTRY_DIR)];
	assert_false(d->implied);
	assert_int_equal(d->mode, 0750);
	d = &t->dirs[index_of(t, "/a/b/c", ENTRY_DIR)];
	assert_true(d->implied);
	assert_int_equal(d->mode, 0755);
	assert_int_equal(d->uid, 0);
	assert_int_equal(d->gid, 0);
	assert_true(t->dirs[index_of(t, "/a", ENTRY_DIR)].implied);
	assert_true(t->dirs[index_of(t, "/a/x", ENTRY_DIR)].implied);
}

static void the_deepest_path_implies_all_its_parents(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(path) - 2; i += 2)
		memcpy(path + i, "/a", 2);
	path[sizeof(path) - 2] = '\0';
	add_file(t, path, 1);
	seals(t);
	assert_int_equal(t->n_dirs, strlen(path) / 2 - 1);
}

static void parents_come_before_children_and_files_stay_in_order(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	static const char *const dirs[] = {"/a/b/c", "/a/b", "/a-b", "/z", "/a", "/a/b.d"};
	static const char *const files[] = {"/z/2", "/a/1", "/z/1"};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		add_dir(t, dirs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		add_file(t, files[i], 1);
	seals(t);
	assert_int_equal(t->n_dirs, ARRAY_SIZE(dirs));
	assert_true(index_of(t, "/a", ENTRY_DIR) < index_of(t, "/a/b", ENTRY_DIR));
	assert_true(index_of(t, "/a/b", ENTRY_DIR) < index_of(t, "/a/b/c", ENTRY_DIR));
	assert_true(index_of(t, "/a", ENTRY_DIR) < index_of(t, "/a/b.d", ENTRY_DIR));
	for (uint32_t i = 0; i < ARRAY_SIZE(files); i++)
		assert_int_equal(index_of(t, files[i], ENTRY_FILE), i);
}

static void a_path_that_is_there_twice_is_refused(void **state)
{
	AUTO_FILE_TABLE struct file_table *dirs = file_table_new();
	AUTO_FILE_TABLE struct file_table *mixed = file_table_new();

	add_dir(dirs, "/etc");
	add_dir(dirs, "/etc");
	seal_says(dirs, "The image lists /etc twice, first as a directory, then as a directory");
	add_file(mixed, "/bin", 1);
	add_symlink(mixed, "/bin", "usr/bin");
	seal_says(mixed, "The image lists /bin twice, first as a symbolic link, then as a file");
}

static void only_a_directory_can_hold_something(void **state)
{
	AUTO_FILE_TABLE struct file_table *file = file_table_new();
	AUTO_FILE_TABLE struct file_table *link = file_table_new();

	add_file(file, "/a/b", 1);
	add_dir(file, "/a/b/c/d");
	seal_says(file, "The image lists /a/b/c/d, but /a/b above it is a file");
	add_symlink(link, "/bin", "usr/bin");
	add_file(link, "/bin/sh", 1);
	seal_says(link, "The image lists /bin/sh, but /bin above it is a symbolic link");
}

static void paths_with_more_than_one_spelling_are_refused(void **state)
{
	static const char *const bad[] = {"", "/", "a", "a/b", "./a", "/a/", "//a", "/a//b", "/.",
		"/..", "/a/./b", "/a/../b", "/a/..", "/../a"};
	static char name_too_long[NAME_MAX + 3], path_too_long[PATH_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_FILE_TABLE struct file_table *t = file_table_new();
		char sentence[OTA_ERR_MSG_MAX];

		add_dir(t, bad[i]);
		snprintf(sentence, sizeof(sentence),
			"The image lists %s, but a path must begin with \"/\", have no empty, "
			"\".\" or "
			"\"..\" part and no NUL, and be no longer than the system allows",
			bad[i]);
		seal_says(t, sentence);
	}
	memset(name_too_long, 'n', NAME_MAX + 2);
	for (size_t i = 0; i < PATH_MAX; i++)
		path_too_long[i] = i % 2 ? 'a' : '/';
	name_too_long[0] = '/';
	for (int i = 0; i < 2; i++) {
		AUTO_FILE_TABLE struct file_table *t = file_table_new();
		struct ota_err err = {0};

		add_file(t, i ? path_too_long : name_too_long, 1);
		assert_int_equal(file_table_seal(t, &err), -EBADMSG);
		assert_non_null(strstr(err.msg, "no longer than the system allows"));
	}
}

static void names_that_are_no_text_are_refused_and_shown_escaped(void **state)
{
	AUTO_FILE_TABLE struct file_table *nul = file_table_new();
	AUTO_FILE_TABLE struct file_table *latin = file_table_new();
	struct dir_entry d = {
		.path = {"/a\0b", 4}
        };

	assert_int_equal(file_table_add_dir(nul, &d), 0);
	seal_says(nul, "The image lists /a\\x00b, but a path must begin with \"/\", have no empty, "
		       "\".\" or "
		       "\"..\" part and no NUL, and be no longer than the system allows");
	add_file(latin, "/caf\xe9\x1b[0m", 1);
	seal_says(latin, "The image lists /caf\\xE9\\x1B[0m, but this path is not UTF-8");
}

static void targets_that_no_link_can_have_are_refused(void **state)
{
	static char too_long[PATH_MAX + 1];
	const struct {
		struct text target;
		const char *why;
	} rows[] = {
		{{"", 0},              "has no target"                    },
		{{"a\0b", 3},          "has a NUL in it"                  },
		{{"\xff", 1},          "is not UTF-8"                     },
		{{too_long, PATH_MAX}, "of this symbolic link is too long"},
	};

	memset(too_long, 't', PATH_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FILE_TABLE struct file_table *t = file_table_new();
		struct symlink_entry s = {
			.path = {"/l", 2},
                          .target = rows[i].target
                };
		struct ota_err err = {0};

		assert_int_equal(file_table_add_symlink(t, &s), 0);
		assert_int_equal(file_table_seal(t, &err), -EBADMSG);
		assert_non_null(strstr(err.msg, "The image lists /l, but "));
		assert_non_null(strstr(err.msg, rows[i].why));
	}
}

static void the_updaters_own_folders_are_not_for_images(void **state)
{
	AUTO_FILE_TABLE struct file_table *below = file_table_new();
	AUTO_FILE_TABLE struct file_table *itself = file_table_new();
	AUTO_FILE_TABLE struct file_table *elsewhere = file_table_new();

	add_file(below, "/.ota-resources/x", 1);
	seal_says(below, "The image lists /.ota-resources/x, but what begins with /.ota- belongs "
			 "to the updater");
	add_dir(itself, "/.ota-new");
	seal_says(itself,
		"The image lists /.ota-new, but what begins with /.ota- belongs to the updater");
	add_file(elsewhere, "/home/.ota-x", 1);
	add_file(elsewhere, "/.ota", 1);
	add_file(elsewhere, "/.otax-", 1);
	seals(elsewhere);
}

static void equal_digests_are_one_content(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct digest d = digest_no(7);

	add_file(t, "/a", 3);
	add_file(t, "/b", 7);
	add_file(t, "/c", 7);
	seals(t);
	assert_int_equal(t->n_contents, 2);
	assert_int_equal(t->files[1].content, t->files[2].content);
	assert_int_equal(t->files[1].content, file_table_find_content(t, &d));
	assert_int_equal(t->contents[t->files[2].content].first_file, 1);
	assert_int_equal(t->total_size_bytes, 3 + 7 + 7);
	d = digest_no(8);
	assert_int_equal(file_table_find_content(t, &d), FILE_TABLE_NONE);
}

static void how_many_files_are_expected_is_only_a_hint(void **state)
{
	static const size_t hints[] = {0, 100, 1000, 100000, SIZE_MAX};

	for (size_t k = 0; k < ARRAY_SIZE(hints); k++) {
		AUTO_FILE_TABLE struct file_table *t = file_table_new();

		t->entries_max = 5000;
		file_table_expect_files(t, hints[k]);
		for (uint32_t i = 0; i < 900; i++) {
			char path[16];

			snprintf(path, sizeof(path), "/%u", i);
			add_file(
				t, arena_strndup(file_table_arena(t), path, strlen(path)), i % 300);
		}
		seals(t);
		assert_int_equal(t->n_contents, 300);
		assert_in_range(t->content_slots, 400, 2 * 402 + 1);
		for (uint32_t i = 0; i < 300; i++) {
			struct digest digest = digest_no(i);

			assert_int_equal(file_table_find_content(t, &digest), i);
		}
	}
}

static void one_digest_has_one_size_and_a_known_one_counts(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct file_entry f = {.path = text_of("/a")};
	struct digest d = digest_no(1);

	assert_int_equal(file_table_add_file(t, &f, &d, CONTENT_SIZE_UNKNOWN, false, 0), 0);
	assert_int_equal(t->contents[0].size_bytes, CONTENT_SIZE_UNKNOWN);
	f.path = text_of("/b");
	assert_int_equal(file_table_add_file(t, &f, &d, 10, true, 0), 0);
	f.path = text_of("/c");
	assert_int_equal(file_table_add_file(t, &f, &d, CONTENT_SIZE_UNKNOWN, false, 0), 0);
	f.path = text_of("/d");
	assert_int_equal(file_table_add_file(t, &f, &d, 11, false, 0), -EBADMSG);
	seals(t);
	assert_int_equal(t->n_files, 3);
	assert_int_equal(t->contents[0].size_bytes, 10);
	assert_true(t->contents[0].has_zst);
	assert_int_equal(t->total_size_bytes, 10);
}

static void a_group_takes_owner_and_mode_of_its_first_file(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct file_entry f = {.path = text_of("/b"), .mode = 04755, .uid = 5, .gid = 6};
	struct digest d = digest_no(1);

	add_file(t, "/alone", 1);
	assert_int_equal(file_table_add_file(t, &f, &d, 1, false, 99), 0);
	add_file_of_group(t, "/one-name", 1, 98);
	add_file_of_group(t, "/a", 1, 99);
	seals(t);
	assert_int_equal(t->files[0].group, 0);
	assert_int_equal(t->files[1].group, 1);
	assert_int_equal(t->files[2].group, 2);
	assert_int_equal(t->files[3].group, 1);
	assert_int_equal(t->files[3].mode, 04755);
	assert_int_equal(t->files[3].uid, 5);
	assert_int_equal(t->files[3].gid, 6);
	assert_null(t->groups);
}

static void the_file_systems_own_folder_is_one(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	AUTO_FILE_TABLE struct file_table *whole = file_table_new();
	struct dir_entry d = {.path = text_of("/lost+found"), .mode = 0700};

	add_file(t, "/lost+found", 1);
	seal_says(t, "The image lists /lost+found, but this is where the file system has a folder");
	assert_int_equal(file_table_add_dir(whole, &d), 0);
	seals(whole);
}

static void a_file_has_as_many_names_as_the_file_system_counts(void **state)
{
	char names[FILE_TABLE_NAMES_MAX + 1][16];

	for (unsigned n = FILE_TABLE_NAMES_MAX; n <= FILE_TABLE_NAMES_MAX + 1; n++) {
		AUTO_FILE_TABLE struct file_table *t = file_table_new();

		for (unsigned i = 0; i < n; i++) {
			snprintf(names[i], sizeof(names[i]), "/n%u", i);
			add_file_of_group(t, names[i], 1, 7);
		}
		if (n <= FILE_TABLE_NAMES_MAX)
			seals(t);
		else
			seal_says(t, "The image gives the file /n0 65001 names, but ext4 has at "
				     "most 65000 for a file");
	}
}

static void a_group_has_one_content(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();

	add_file_of_group(t, "/a", 1, 7);
	add_file_of_group(t, "/b", 2, 7);
	seal_says(t, "The image lists /b as another name of /a, but with another digest");
}

static void many_groups_are_kept_apart(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	static char paths[4000][16];

	for (uint32_t i = 0; i < ARRAY_SIZE(paths); i++) {
		snprintf(paths[i], sizeof(paths[i]), "/f%u", i);
		add_file_of_group(t, paths[i], i % 1000, UINT64_MAX - i % 1000);
	}
	seals(t);
	for (uint32_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(t->files[i].group, i % 1000);
}

static void limits_are_kept(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct file_entry f = {.path = text_of("/a")};
	struct dir_entry dir = {.path = text_of("/d")};
	struct symlink_entry link = {.path = text_of("/l"), .target = text_of("t")};
	struct digest d = digest_no(1), e = digest_no(2);

	assert_int_equal(file_table_add_file(t, &f, &d, UINT64_MAX - 1, false, 0), 0);
	assert_int_equal(file_table_add_file(t, &f, &e, 2, false, 0), -E2BIG);
	t->entries_max = 1;
	assert_int_equal(file_table_add_file(t, &f, &d, UINT64_MAX - 1, false, 0), -E2BIG);
	assert_int_equal(file_table_add_dir(t, &dir), -E2BIG);
	assert_int_equal(file_table_add_symlink(t, &link), -E2BIG);
	assert_int_equal(t->n_files, 1);
}

static void directories_without_a_line_count_too(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct ota_err err = {0};

	assert_int_equal(t->entries_max, 16777216);
	t->entries_max = 3;
	add_file(t, "/a/b/c/file", 1);
	assert_int_equal(file_table_seal(t, &err), -E2BIG);
	assert_string_equal(err.msg, "The image has more than 3 entries with the directory /a");
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
}

static void add_xattr(struct file_table *t, enum entry_kind kind, uint32_t index, const char *name)
{
	struct entry_xattr x = {.kind = kind, .index = index, .name = text_of(name)};

	assert_int_equal(file_table_add_xattr(t, &x), 0);
}

static void attributes_are_found_by_entry(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	const struct entry_xattr *x = NULL;

	add_dir(t, "/d");
	add_file_of_group(t, "/f", 1, 7);
	add_file(t, "/g", 2);
	add_file_of_group(t, "/h", 1, 7);
	add_symlink(t, "/l", "t");
	seals(t);
	assert_false(t->has_attributes);
	assert_int_equal(file_table_begin_attributes(t), 0);
	add_xattr(t, ENTRY_FILE, 1, "user.b");
	add_xattr(t, ENTRY_DIR, FILE_TABLE_NONE, "user.root");
	add_xattr(t, ENTRY_FILE, 0, "user.f");
	add_xattr(t, ENTRY_FILE, 1, "user.a");
	file_table_set_mtime(t, ENTRY_FILE, 0, -5, 999999999);
	file_table_set_mtime(t, ENTRY_DIR, FILE_TABLE_NONE, 3, 4);
	assert_int_equal(file_table_end_attributes(t), 0);
	assert_true(t->has_attributes);

	assert_int_equal(file_table_xattrs_of(t, ENTRY_FILE, 1, &x), 2);
	assert_true(text_is(x[0].name, "user.a"));
	assert_true(text_is(x[1].name, "user.b"));
	assert_int_equal(file_table_xattrs_of(t, ENTRY_FILE, 2, &x), 1); /* its group's */
	assert_true(text_is(x[0].name, "user.f"));
	assert_int_equal(file_table_xattrs_of(t, ENTRY_DIR, FILE_TABLE_NONE, &x), 1);
	assert_true(text_is(x[0].name, "user.root"));
	assert_int_equal(file_table_xattrs_of(t, ENTRY_DIR, 0, &x), 0);
	assert_int_equal(file_table_xattrs_of(t, ENTRY_SYMLINK, 0, &x), 0);

	assert_int_equal(t->mtimes[ENTRY_FILE][0].sec, -5);
	assert_int_equal(t->mtimes[ENTRY_FILE][2].sec, -5);
	assert_int_equal(t->mtimes[ENTRY_FILE][2].nsec, 999999999);
	assert_int_equal(t->mtimes[ENTRY_FILE][1].nsec, MTIME_UNKNOWN);
	assert_int_equal(t->mtimes[ENTRY_DIR][0].nsec, MTIME_UNKNOWN);
	assert_int_equal(t->root_mtime.sec, 3);
	assert_int_equal(t->root_mtime.nsec, 4);
}

static void an_xattr_is_there_once(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();

	add_dir(t, "/d");
	seals(t);
	assert_int_equal(t->root_mtime.nsec, MTIME_UNKNOWN);
	assert_int_equal(file_table_begin_attributes(t), 0);
	add_xattr(t, ENTRY_DIR, 0, "user.a");
	add_xattr(t, ENTRY_DIR, 0, "user.b");
	add_xattr(t, ENTRY_DIR, 0, "user.a");
	assert_int_equal(file_table_end_attributes(t), -EEXIST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_table_is_fine),
		cmocka_unit_test(entries_are_found_by_path_and_kind),
		cmocka_unit_test(missing_parents_become_directories_of_root),
		cmocka_unit_test(the_deepest_path_implies_all_its_parents),
		cmocka_unit_test(parents_come_before_children_and_files_stay_in_order),
		cmocka_unit_test(a_path_that_is_there_twice_is_refused),
		cmocka_unit_test(only_a_directory_can_hold_something),
		cmocka_unit_test(paths_with_more_than_one_spelling_are_refused),
		cmocka_unit_test(names_that_are_no_text_are_refused_and_shown_escaped),
		cmocka_unit_test(targets_that_no_link_can_have_are_refused),
		cmocka_unit_test(the_updaters_own_folders_are_not_for_images),
		cmocka_unit_test(equal_digests_are_one_content),
		cmocka_unit_test(how_many_files_are_expected_is_only_a_hint),
		cmocka_unit_test(one_digest_has_one_size_and_a_known_one_counts),
		cmocka_unit_test(a_group_takes_owner_and_mode_of_its_first_file),
		cmocka_unit_test(the_file_systems_own_folder_is_one),
		cmocka_unit_test(a_file_has_as_many_names_as_the_file_system_counts),
		cmocka_unit_test(a_group_has_one_content),
		cmocka_unit_test(many_groups_are_kept_apart),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(directories_without_a_line_count_too),
		cmocka_unit_test(attributes_are_found_by_entry),
		cmocka_unit_test(an_xattr_is_there_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
