/*
 * test_patch_partners: which older content is taken for an earlier form of a new one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "metadata-gen/patch_partners.h"

/* A file of a list: its path, and a number that stands for its content. */
struct file {
	const char *path;
	unsigned content;
	unsigned size;
};

struct list {
	struct buf text;
	struct file_table *table;
};

static void list_done(struct list *l)
{
	file_table_free(l->table);
	buf_done(&l->text);
}

static struct list make_list(const struct file *files, size_t n)
{
	struct list l = {.table = file_table_new()};

	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf_printf(&l.text, "0644,0,0,1,%064x,'%s',%u,,\n",
					 files[i].content, files[i].path, files[i].size),
			0);
	assert_int_equal(
		list_text_read_regulars(buf_str(&l.text), l.text.len_bytes, "list", l.table, NULL),
		0);
	assert_int_equal(file_table_seal(l.table, NULL), 0);
	return l;
}

static unsigned number_of(const struct file_table *t, uint32_t content)
{
	const uint8_t *bytes = t->contents[content].digest.bytes;

	return bytes[DIGEST_BYTES - 1] | (unsigned)bytes[DIGEST_BYTES - 2] << 8;
}

#define FIND(made, old, ret) find(made, ARRAY_SIZE(made), old, ARRAY_SIZE(old), ret)

/* The partners of the first new file, as numbers. Returns how many. */
static uint32_t find(const struct file *made_files, size_t n_made, const struct file *old_files,
	size_t n_old, unsigned ret[PATCH_PARTNERS_MAX])
{
	CLEANUP(list_done) struct list made = make_list(made_files, n_made);
	CLEANUP(list_done) struct list old = make_list(old_files, n_old);
	struct patch_partners partners[8];

	assert_in_range(made.table->n_contents, 1, ARRAY_SIZE(partners));
	assert_int_equal(patch_partners_find(made.table, old.table, partners), 0);
	for (uint32_t i = 0; i < partners[0].n; i++)
		ret[i] = number_of(old.table, partners[0].old[i]);
	return partners[0].n;
}

/* Is an old file alike to a new one? */
static bool alike(struct file made_file, struct file old_file)
{
	CLEANUP(list_done) struct list made = make_list(&made_file, 1);
	CLEANUP(list_done) struct list old = make_list(&old_file, 1);
	const bool wanted = true;
	bool is_alike = false;

	assert_int_equal(patch_partners_alike(made.table, &wanted, old.table, &is_alike), 0);
	return is_alike;
}

static uint64_t fold(const char *name)
{
	return patch_partners_fold(name, strlen(name));
}

static void version_numbers_count_the_same(void **state)
{
	assert_int_equal(
		fold("/lib/modules/5.10.0-28-amd64/a.ko"), fold("/lib/modules/6.1.0-3-amd64/a.ko"));
	assert_int_equal(fold("libssl.so.1.1"), fold("libssl.so.3"));
	assert_int_equal(fold("x86"), fold("x64"));
	assert_int_not_equal(fold("a"), fold("b"));
	assert_int_not_equal(fold("a.1"), fold("a.b"));
	assert_int_not_equal(fold("a1."), fold("a1"));
	assert_int_not_equal(fold("lib.so"), fold("lib.so.1"));
}

static void the_same_path_comes_first(void **state)
{
	const struct file made[] = {
		{"/lib/x-2.so", 1, 100}
        };
	const struct file old[] = {
		{"/lib/x-1.so", 11, 100},
                {"/lib/x-2.so", 12, 500},
                {"/opt/x-7.so", 13, 101}
        };
	unsigned got[PATCH_PARTNERS_MAX];

	assert_int_equal(FIND(made, old, got), 2);
	assert_int_equal(got[0], 12);
	assert_int_equal(got[1], 11);
}

static void of_several_the_nearest_in_size(void **state)
{
	const struct file made[] = {
		{"/lib/x-9.so", 1, 1000}
        };
	const struct file old[] = {
		{"/lib/x-1.so", 11, 10  },
                {"/lib/x-2.so", 12, 900 },
                {"/lib/x-3.so", 13, 1200},
		{"/usr/x-1.so", 14, 1001}
        };
	unsigned got[PATCH_PARTNERS_MAX];

	assert_int_equal(FIND(made, old, got), 2);
	assert_int_equal(got[0], 12);
	assert_int_equal(got[1], 14);
}

static void any_name_of_the_content_counts(void **state)
{
	const struct file made[] = {
		{"/a", 1, 100},
                {"/b", 1, 100}
        };
	const struct file old[] = {
		{"/b", 11, 100}
        };
	unsigned got[PATCH_PARTNERS_MAX];

	assert_int_equal(FIND(made, old, got), 1);
	assert_int_equal(got[0], 11);
}

static void nothing_for_what_is_there_or_has_no_like(void **state)
{
	const struct file there[] = {
		{"/new", 1, 100}
        };
	const struct file old[] = {
		{"/old", 1, 100},
                {"/new", 2, 100}
        };
	const struct file unlike[] = {
		{"/c", 3, 100}
        };
	unsigned got[PATCH_PARTNERS_MAX];

	assert_int_equal(FIND(there, old, got), 0);
	assert_int_equal(FIND(unlike, old, got), 0);
}

static void pairs_that_are_too_large_are_none(void **state)
{
	const struct file made[] = {
		{"/a", 1, 600u << 20}
        };
	const struct file old[] = {
		{"/a", 11, 600u << 20}
        };
	const struct file less[] = {
		{"/a", 12, 400u << 20}
        };
	unsigned got[PATCH_PARTNERS_MAX];

	assert_int_equal(FIND(made, old, got), 0);
	assert_int_equal(FIND(made, less, got), 1);
}

static void each_partner_says_how_it_was_found(void **state)
{
	const struct file made_files[] = {
		{"/lib/1/x-2.so", 1, 100}
        };
	const struct file old_files[] = {
		{"/lib/1/x-2.so", 11, 500},
                {"/lib/2/x-1.so", 12, 110},
                {"/opt/x-7.so",   13, 100}
        };
	CLEANUP(list_done) struct list made = make_list(made_files, ARRAY_SIZE(made_files));
	CLEANUP(list_done) struct list old = make_list(old_files, ARRAY_SIZE(old_files));
	struct patch_partners p;

	assert_int_equal(patch_partners_find(made.table, old.table, &p), 0);
	assert_int_equal(p.n, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(number_of(old.table, p.old[i]), 11 + i);
	assert_int_equal(p.way[0], PATCH_WAY_PATH);
	assert_int_equal(p.way[1], PATCH_WAY_VERSIONED);
	assert_int_equal(p.way[2], PATCH_WAY_NAME);
}

static void the_same_folder_or_ending_and_about_the_same_size_are_alike(void **state)
{
	const struct file made = {"/usr/lib/app-2.0/core.so.2", 1, 1000};

	assert_true(alike(made, (struct file){"/usr/lib/app-1.9/main", 2, 1000}));
	assert_true(alike(made, (struct file){"/opt/kernel.so.17", 2, 1000}));
	assert_false(alike(made, (struct file){"/opt/kernel", 2, 1000}));
	assert_false(alike(made, (struct file){"/usr/lib/main", 2, 1000}));
	/* Within a factor of two in any case; of more than four in none. */
	assert_true(alike(made, (struct file){"/opt/a.so.1", 2, 500}));
	assert_true(alike(made, (struct file){"/opt/a.so.1", 2, 2000}));
	assert_false(alike(made, (struct file){"/opt/a.so.1", 2, 240}));
	assert_false(alike(made, (struct file){"/opt/a.so.1", 2, 4100}));
}

static void what_is_no_ending_makes_nothing_alike(void **state)
{
	assert_false(
		alike((struct file){"/a/.profile", 1, 100}, (struct file){"/b/.profile", 2, 100}));
	assert_false(alike((struct file){"/a/one", 1, 100}, (struct file){"/b/two", 2, 100}));
	assert_false(alike((struct file){"/a/x.", 1, 100}, (struct file){"/b/y.", 2, 100}));
	assert_false(alike((struct file){"/a/x-1.5", 1, 100}, (struct file){"/b/y-1.5", 2, 100}));
	assert_true(alike((struct file){"/one", 1, 100}, (struct file){"/two", 2, 100}));
}

static void only_what_is_wanted_is_looked_for(void **state)
{
	const struct file files[] = {
		{"/a/x.so", 1, 100},
                {"/b/x.py", 2, 100}
        };
	CLEANUP(list_done) struct list made = make_list(files, ARRAY_SIZE(files));
	CLEANUP(list_done) struct list old = make_list(files, ARRAY_SIZE(files));
	const bool wanted[] = {false, true};
	bool is_alike[] = {true, false};

	assert_int_equal(patch_partners_alike(made.table, wanted, old.table, is_alike), 0);
	assert_false(is_alike[0]);
	assert_true(is_alike[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_numbers_count_the_same),
		cmocka_unit_test(the_same_path_comes_first),
		cmocka_unit_test(of_several_the_nearest_in_size),
		cmocka_unit_test(any_name_of_the_content_counts),
		cmocka_unit_test(nothing_for_what_is_there_or_has_no_like),
		cmocka_unit_test(pairs_that_are_too_large_are_none),
		cmocka_unit_test(each_partner_says_how_it_was_found),
		cmocka_unit_test(the_same_folder_or_ending_and_about_the_same_size_are_alike),
		cmocka_unit_test(what_is_no_ending_makes_nothing_alike),
		cmocka_unit_test(only_what_is_wanted_is_looked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
