/*
 * test_cache_control: what clients and proxies say in ota-file-cache-control.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/cache_control.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct cache_control read_text(const char *text)
{
	struct cache_control cc = {0};
	struct ota_err err = {0};

	if (cache_control_parse(text, strlen(text), &cc, &err) < 0)
		fail_msg("%s was refused: %s", text, err.msg);
	return cc;
}

static void a_flag_counts_by_being_there(void **state)
{
	assert_true(read_text("no_cache").no_cache);
	assert_true(read_text("no_cache=0").no_cache);
	assert_true(read_text("retry_caching=false").retry_caching);
	assert_true(read_text("retry_caching=").retry_caching);
	assert_true(read_text(" \tretry_caching \t, no_cache ").no_cache);
	assert_false(read_text("").no_cache);
	assert_false(read_text("retry_caching").no_cache);
}

static void unknown_directives_are_left_out(void **state)
{
	struct cache_control cc = read_text("use_cache,x=y=z,,=,NO_CACHE,no_cachee,no_cache x");

	assert_false(cc.no_cache || cc.retry_caching || cc.has_digest);
	assert_int_equal(cc.alg, CACHE_ALG_NONE);
}

static void the_digest_is_64_hex_digits(void **state)
{
	struct cache_control cc = read_text("file_sha256 = " HEX_A " ,file_compression_alg=zst");
	char hex[DIGEST_HEX_MAX];

	assert_true(cc.has_digest);
	digest_to_hex(&cc.digest, hex);
	assert_string_equal(hex, HEX_A);
	assert_int_equal(cc.alg, CACHE_ALG_ZST);
}

static void the_compression_has_two_names(void **state)
{
	assert_int_equal(read_text("file_compression_alg=zst").alg, CACHE_ALG_ZST);
	assert_int_equal(read_text("file_compression_alg=zstd").alg, CACHE_ALG_ZST);
	assert_int_equal(read_text("file_compression_alg=gzip").alg, CACHE_ALG_OTHER);
	assert_int_equal(read_text("file_compression_alg=").alg, CACHE_ALG_NONE);
	assert_int_equal(read_text("file_compression_alg").alg, CACHE_ALG_NONE);
}

static void what_cannot_be_served_is_refused(void **state)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{"file_sha256=",				       "The file_sha256 of ota-file-cache-control is not 64 hex digits"},
		{"no_cache,file_sha256",
                 "The file_sha256 of ota-file-cache-control is not 64 hex digits"                                                      },
		{"file_sha256=../../etc/passwd",
                 "The file_sha256 of ota-file-cache-control is not 64 hex digits"                                                      },
		{"file_sha256=" HEX_A "a",
                 "The file_sha256 of ota-file-cache-control is not 64 hex digits"                                                      },
		{"file_sha256=" HEX_A ",file_sha256=" HEX_B,
                 "Two different file_sha256 stand in ota-file-cache-control"                                                           },
		{"file_compression_alg=zst,file_compression_alg=gzip",
                 "Two different file_compression_alg stand in ota-file-cache-control"                                                  },
		{"no_cache\r\nX: y",                                   "ota-file-cache-control has control characters"                 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cache_control cc = {0};
		struct ota_err err = {0};

		assert_int_equal(
			cache_control_parse(cases[i].text, strlen(cases[i].text), &cc, &err),
			-EBADMSG);
		assert_string_equal(err.msg, cases[i].sentence);
		assert_false(cc.no_cache || cc.has_digest || cc.alg != CACHE_ALG_NONE);
	}
}

static void saying_the_same_twice_is_fine(void **state)
{
	struct cache_control cc = read_text("file_sha256=" HEX_A ",file_sha256=" HEX_A
					    ",file_compression_alg=zst,file_compression_alg=zstd");

	assert_true(cc.has_digest);
	assert_int_equal(cc.alg, CACHE_ALG_ZST);
}

static void doubled_fields_are_one_list(void **state)
{
	struct cache_control cc = read_text("file_sha256=" HEX_A);
	struct ota_err err = {0};

	assert_int_equal(cache_control_parse("no_cache", 8, &cc, &err), 0);
	assert_true(cc.no_cache && cc.has_digest);
	assert_int_equal(cache_control_parse("file_sha256=" HEX_B, 76, &cc, &err), -EBADMSG);
}

static void a_long_value_is_refused(void **state)
{
	char text[CACHE_CONTROL_MAX_BYTES + 1];
	struct cache_control cc = {0};
	struct ota_err err = {0};

	memset(text, 'x', sizeof(text));
	assert_int_equal(cache_control_parse(text, sizeof(text) - 1, &cc, &err), 0);
	assert_int_equal(cache_control_parse(text, sizeof(text), &cc, &err), -E2BIG);
	assert_string_equal(err.msg, "ota-file-cache-control is longer than 1024 bytes");
	assert_int_equal(cache_control_parse("no\0cache", 8, &cc, &err), -EBADMSG);
}

static void what_is_written_has_one_order(void **state)
{
	char text[CACHE_CONTROL_TEXT_MAX];
	struct cache_control cc =
		read_text("file_compression_alg=zstd,no_cache,file_sha256=" HEX_A ",retry_caching");

	assert_string_equal(cache_control_write(&cc, text),
		"retry_caching,no_cache,file_sha256=" HEX_A ",file_compression_alg=zst");
	assert_string_equal(cache_control_write(&(struct cache_control){0}, text), "");
	cc = read_text("file_sha256=" HEX_A);
	assert_string_equal(cache_control_write(&cc, text), "file_sha256=" HEX_A);
	cc = read_text("retry_caching");
	assert_string_equal(cache_control_write(&cc, text), "retry_caching");
}

static void a_compression_that_has_no_name_here_takes_the_digest_with_it(void **state)
{
	char text[CACHE_CONTROL_TEXT_MAX];
	struct cache_control cc =
		read_text("retry_caching,file_sha256=" HEX_A ",file_compression_alg=br");

	assert_string_equal(cache_control_write(&cc, text), "retry_caching");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flag_counts_by_being_there),
		cmocka_unit_test(unknown_directives_are_left_out),
		cmocka_unit_test(the_digest_is_64_hex_digits),
		cmocka_unit_test(the_compression_has_two_names),
		cmocka_unit_test(what_cannot_be_served_is_refused),
		cmocka_unit_test(saying_the_same_twice_is_fine),
		cmocka_unit_test(doubled_fields_are_one_list),
		cmocka_unit_test(a_long_value_is_refused),
		cmocka_unit_test(what_is_written_has_one_order),
		cmocka_unit_test(a_compression_that_has_no_name_here_takes_the_digest_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
