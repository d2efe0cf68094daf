/*
 * test_patch_list: lists of patches that are written are read back, and of what is wrong the sentence says what.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "common/image/patch_list.h"

#define REST             "dd0eed717ffeaf2a95fd774108263053c866c40a82e34e58ca796eea42b7727"
#define A                "a" REST
#define B                "b" REST
#define C                "c" REST
#define P                "1" REST /* a patch */
#define NUL_DIGEST_UPPER "ADD0EED717FFEAF2A95FD774108263053C866C40A82E34E58CA796EEA42B7727"

/* Contents A and B, the latter first; what C has is older. */
static struct file_table *make_table(void)
{
	static const char files[] =
		"0644,0,0,1," B ",'/b',2000,,zst\n0644,0,0,1," A ",'/a',1000,,\n"
		"0644,0,0,1,e" REST ",'/e',,,";
	struct file_table *t = file_table_new();

	assert_int_equal(list_text_read_regulars(files, strlen(files), "files", t, NULL), 0);
	assert_int_equal(file_table_seal(t, NULL), 0);
	return t;
}

static void digest_is(const struct digest *digest, const char *hex)
{
	char is[DIGEST_HEX_MAX];

	digest_to_hex(digest, is);
	assert_string_equal(is, hex);
}

static void lines_are_read(void **state)
{
	static const char text[] =
		A "," B ",2000,70," P "\n" A "," C ",5,71," P "\n" B "," C ",5,72," P;
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_PATCH_LIST struct patch_list *list = NULL;
	struct digest digest;

	assert_int_equal(patch_list_read(text, strlen(text), "patches.txt", t, &list, NULL), 0);
	assert_int_equal(list->n_patches, 3);
	assert_int_equal(list->n_bases, 2);
	/* By content of the table, where B comes first. */
	assert_int_equal(list->first[0], 0);
	assert_int_equal(list->first[1], 1);
	assert_int_equal(list->first[2], 3);
	assert_int_equal(list->first[3], 3);
	assert_int_equal(list->patches[0].content, 0);
	assert_int_equal(list->patches[0].size_bytes, 72);
	digest_is(&list->patches[0].digest, P);
	digest_is(&list->bases[list->patches[0].base].digest, C);
	assert_int_equal(list->patches[1].size_bytes, 70);
	digest_is(&list->bases[list->patches[1].base].digest, B);
	assert_int_equal(list->bases[list->patches[1].base].size_bytes, 2000);
	assert_int_equal(list->patches[2].base, list->patches[0].base);

	digest_from_hex(C, 64, &digest);
	assert_int_equal(patch_list_find_base(list, &digest), list->patches[0].base);
	digest_from_hex(A, 64, &digest);
	assert_int_equal(patch_list_find_base(list, &digest), FILE_TABLE_NONE);
}

static void a_list_without_lines_is_one(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_PATCH_LIST struct patch_list *list = NULL;

	assert_int_equal(patch_list_read("", 0, "patches.txt", t, &list, NULL), 0);
	assert_int_equal(list->n_patches, 0);
	assert_int_equal(list->first[2], 0);
}

static void what_is_written_is_read(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_PATCH_LIST struct patch_list *list = NULL;
	struct patch_base base = {.size_bytes = 123};
	AUTO_BUF struct buf b = {0};
	struct digest made, patch;
	char name[PATCH_NAME_MAX];

	digest_from_hex(A, 64, &made);
	digest_from_hex(C, 64, &base.digest);
	digest_from_hex(P, 64, &patch);
	assert_int_equal(patch_list_write(&b, &made, &base, 45, &patch), 0);
	assert_string_equal(buf_str(&b), A "," C ",123,45," P);
	assert_int_equal(
		patch_list_read(buf_str(&b), b.len_bytes, "patches.txt", t, &list, NULL), 0);
	assert_int_equal(list->bases[0].size_bytes, 123);
	patch_name(&made, &base.digest, name);
	assert_string_equal(name, A "." C ".zst");
}

static void refuses(const char *text, const char *sentence)
{
	AUTO_FILE_TABLE struct file_table *t = make_table();
	struct patch_list *list = NULL;
	struct ota_err err = {0};

	assert_int_equal(
		patch_list_read(text, strlen(text), "patches.txt", t, &list, &err), -EBADMSG);
	assert_null(list);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	if (!strstr(err.msg, sentence))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, sentence);
}

static void what_is_wrong_is_refused(void **state)
{
	refuses("x", "Line 1 of patches.txt: expected the digest of a content, in 64 lower-case "
		     "hex digits, found");
	refuses(NUL_DIGEST_UPPER "," C ",5,70," P, "expected the digest of a content");
	refuses(A ";" C ",5,70," P, "expected a comma");
	refuses(A ",c,5,70," P,
		"expected the digest of an older content, in 64 lower-case hex digits");
	refuses(A "," C ",-5,70," P, "expected the size of the older content");
	refuses(A "," C ",1073741825,70," P, "the size of the older content");
	refuses(A "," C ",5,x," P, "expected the size of a patch");
	refuses(A "," C ",5,70,1", "expected the digest of a patch, in 64 lower-case hex digits");
	refuses(A "," C ",5,70," P ",", "expected nothing more on the line");
	refuses(C "," A ",5,70," P, C " is no content of the image");
	refuses("e" REST "," C ",5,70," P, "has no size in the image's list of files");
	refuses(A "," C ",0,70," P, "has a base that is empty or too large");
	refuses(A "," C ",1073741824,70," P, "has a base that is empty or too large");
	refuses(A "," C ",5,0," P, "has a patch that is empty or larger than itself");
	refuses(A "," C ",5,1000," P, "has a patch that is empty or larger than itself");
	refuses(A "," C ",5,70," P "\n" A "," C ",5,70," P,
		"Line 2 of patches.txt: " A " is out of order");
	refuses(A "," C ",5,70," P "\n" A "," B ",5,70," P, "is out of order");
	refuses(B "," C ",5,70," P "\n" A "," C ",5,70," P, "is out of order");
	refuses(A "," C ",5,70," P "\n" B "," C ",6,70," P,
		"patches.txt gives an older content two sizes");
}

static void too_many_for_one_content_are_refused(void **state)
{
	AUTO_BUF struct buf b = {0};

	for (int i = 0; i <= PATCHES_PER_CONTENT_MAX; i++)
		assert_int_equal(buf_printf(&b, A ",%064x,5,70," P "\n", i), 0);
	refuses(buf_str(&b), "has more patches than are allowed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_read),
		cmocka_unit_test(a_list_without_lines_is_one),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(what_is_wrong_is_refused),
		cmocka_unit_test(too_many_for_one_content_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
