/*
 * test_cache_key: each key has one name, and each name at most one key.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/cache_key.h"
#include "otaproxy/cache_meta.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void a_key_and_its_name_say_the_same(void **state)
{
	const struct cache_key keys[] = {
		cache_key_of_content(&digest_of_nothing, CACHE_PLAIN),
		cache_key_of_content(&digest_of_nothing, CACHE_ZST),
		cache_key_of_url(""),
	};
	static const char *const names[] = {HEX, (HEX ".zst"), ("url-" HEX)};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char name[CACHE_NAME_MAX];
		struct cache_key back;

		cache_key_name(&keys[i], name);
		assert_string_equal(name, names[i]);
		assert_int_equal(cache_key_from_name(name, &back), 0);
		assert_int_equal(back.kind, keys[i].kind);
		assert_int_equal(back.form, keys[i].form);
		assert_true(digest_equal(&back.digest, &keys[i].digest));
		assert_int_equal(cache_key_body_offset(&back), i == 2 ? CACHE_META_BYTES : 0);
	}
}

static void other_names_have_no_key(void **state)
{
	static const char *const names[] = {
		"",
		"tmp",
		".zst",
		"url-",
		"url-.zst",
		"url-" HEX ".zst",
		"URL_" HEX,
		HEX ".zstd",
		HEX "0",
		"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
		"cache_db",
	};
	struct cache_key key;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(cache_key_from_name(names[i], &key), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_and_its_name_say_the_same),
		cmocka_unit_test(other_names_have_no_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
