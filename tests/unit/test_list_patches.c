/*
 * test_list_patches: which words of "x_list_patches" count, and that one bad word makes all of them an offer that is
 * not taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/image/list_patches.h"

#define A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define P "2123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A good word, and how it may go on. */
#define REGULAR "regular,5000," A ",4000,300," P

static struct digest digest_from(const char *hex)
{
	struct digest d;

	assert_int_equal(digest_from_hex(hex, strlen(hex), &d), 0);
	return d;
}

static void read_good(const char *text, unsigned n, struct list_patches *ret)
{
	list_patches_read(text, ret);
	if (ret->unusable)
		fail_msg("\"%s\": %s", text, ret->unusable);
	assert_int_equal(ret->n, n);
}

static void a_word_says_list_older_list_and_patch(void **state)
{
	struct digest a = digest_from(A), b = digest_from(B), patch = digest_from(P);
	struct list_patches all;
	const struct list_patch *p;

	read_good(REGULAR " x_attributes,70000," B ",1,69999," P " regular,5000," B ",1,1," P, 3,
		&all);
	p = list_patches_find(&all, "regular", &a);
	assert_non_null(p);
	assert_string_equal(p->key, "regular");
	assert_int_equal(p->list_bytes, 5000);
	assert_int_equal(p->old_bytes, 4000);
	assert_int_equal(p->patch_bytes, 300);
	assert_true(digest_equal(&p->old, &a));
	assert_true(digest_equal(&p->patch, &patch));
	assert_int_equal(list_patches_find(&all, "regular", &b)->patch_bytes, 1);
	assert_int_equal(list_patches_find(&all, "x_attributes", &b)->list_bytes, 70000);
	assert_null(list_patches_find(&all, "x_attributes", &a));
	assert_null(list_patches_find(&all, "directory", &a));
}

static void words_with_other_keys_mean_nothing(void **state)
{
	struct list_patches all;

	read_good("", 0, &all);
	read_good("  ", 0, &all);
	read_good("x_later certificate,1 x_patches,5000," A ",4000,300," P " , regula,1 ", 0, &all);
	read_good("x_later " REGULAR " x_later,,,,,,,", 1, &all);
}

static void what_was_written_is_read_back(void **state)
{
	static const char text[] =
		REGULAR " directory,1073741823," B ",1,1073741822," P " symboliclink,2," A ",2,1," P
			" persistent,2," A ",2,1," P " x_attributes,2," A ",2,1," P;
	struct list_patches all, again = {0};
	AUTO_BUF struct buf out = {0};

	read_good(text, 5, &all);
	for (unsigned i = 0; i < all.n; i++)
		list_patches_add(&again, &all.at[i]);
	assert_int_equal(list_patches_write(&again, &out), 0);
	assert_string_equal(buf_str(&out), text);
}

static void one_bad_word_and_none_counts(void **state)
{
	static const char form[] = "a word is no list, older list and patch with their sizes";
	/* clang-format off */
	static const struct {
		const char *word, *why;
	} rows[] = {
		{"regular", form},
		{"regular,", form},
		{"regular,6000," B ",4000,300", form},
		{"regular,6000," B ",4000,300,", form},
		{"directory,6000," B ",4000,300," P ",", form},
		{"directory,6000," B ",4000,300," P ",1", form},
		{"directory,6000," B ",4000,300," P "0", form},
		{"directory,6000," B "0,4000,300," P, form},
		{"directory,6000,B" "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
			",4000,300," P, form},
		{"directory,6000,zz" "23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
			",4000,300," P, form},
		{"directory,,,,,", form},
		{"directory,0," B ",4000,300," P, form},
		{"directory,6000," B ",0,300," P, form},
		{"directory,6000," B ",4000,0," P, form},
		{"directory,-1," B ",4000,300," P, form},
		{"directory,+6000," B ",4000,300," P, form},
		{"directory,6000," B ",4e3,300," P, form},
		{"directory,99999999999999999999999," B ",4000,300," P, form},
		{"directory,1073741825," B ",4000,300," P, form},
		{"directory,1073741824," B ",1,300," P, "a list and the older one are too large for a patch"},
		{"directory,1," B ",1073741824,1," P, "a list and the older one are too large for a patch"},
		{"directory,6000," B ",4000,6000," P, "a patch is not smaller than its list"},
		{"regular,5001," B ",4000,300," P, "a list has two sizes"},
		{REGULAR, "a patch is there twice"},
		{"regular,5000," A ",4001,301," B, "a patch is there twice"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct list_patches all;
		char text[600];

		snprintf(text, sizeof(text), REGULAR " %s x_later", rows[i].word);
		list_patches_read(text, &all);
		assert_int_equal(all.n, 0);
		if (!all.unusable || strcmp(all.unusable, rows[i].why) != 0)
			fail_msg("\"%s\": %s", rows[i].word, all.unusable);
	}
}

static void put_words(unsigned n, struct buf *b)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(buf_printf(b, "regular,5000,%.62s%02x,4000,300," P " ", A, i), 0);
}

static void as_many_as_older_images_may_be_there(void **state)
{
	AUTO_BUF struct buf b = {0}, more = {0};
	struct list_patches all;

	put_words(LIST_PATCHES_PER_LIST_MAX, &b);
	read_good(buf_str(&b), LIST_PATCHES_PER_LIST_MAX, &all);
	put_words(LIST_PATCHES_PER_LIST_MAX + 1, &more);
	list_patches_read(buf_str(&more), &all);
	assert_string_equal(all.unusable, "a list has more patches than are allowed");
	assert_int_equal(all.n, 0);
}

static void all_lists_from_as_many_fit(void **state)
{
	static const char *const keys[] = {
		"directory", "symboliclink", "regular", "persistent", "x_attributes"};
	struct list_patches all = {0}, again;
	AUTO_BUF struct buf out = {0};

	assert_int_equal(ARRAY_SIZE(keys), LIST_PATCH_KEYS);
	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		for (uint8_t i = 0; i < LIST_PATCHES_PER_LIST_MAX; i++)
			list_patches_add(&all, &(struct list_patch){
						       .key = keys[k],
						       .list_bytes = 1 << 29,
						       .old_bytes = 1 << 29,
						       .patch_bytes = 1 << 28,
						       .old = {.bytes = {i}},
					       });
	assert_int_equal(list_patches_write(&all, &out), 0);
	read_good(buf_str(&out), LIST_PATCHES_MAX, &again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_word_says_list_older_list_and_patch),
		cmocka_unit_test(words_with_other_keys_mean_nothing),
		cmocka_unit_test(what_was_written_is_read_back),
		cmocka_unit_test(one_bad_word_and_none_counts),
		cmocka_unit_test(as_many_as_older_images_may_be_there),
		cmocka_unit_test(all_lists_from_as_many_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
