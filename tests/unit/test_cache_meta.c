/*
 * test_cache_meta: the head of an entry that is kept by URL comes back as it was written, or not at all.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/cache_meta.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char lines[] = "ota-cache-entry 1\n"
			    "url: http://origin/metadata.jwt\n"
			    "etag: \"5f\"\n"
			    "last-modified: \n"
			    "content-type: application/jwt\n"
			    "content-encoding: \n"
			    "size: 1234\n"
			    "sha256: " HEX "\n";

static struct cache_meta sample(void)
{
	return (struct cache_meta){
		.url = "http://origin/metadata.jwt",
		.etag = "\"5f\"",
		.content_type = "application/jwt",
		.size_bytes = 1234,
		.digest = digest_of_nothing,
	};
}

static int read_text(const char *text, struct cache_meta *ret_meta)
{
	char head[CACHE_META_BYTES] = {0};

	memcpy(head, text, strlen(text));
	return cache_meta_read(head, sizeof(head), ret_meta);
}

/* The lines with @from replaced by @to. */
static int read_changed(const char *from, const char *to)
{
	char head[CACHE_META_BYTES] = {0};
	const char *at = strstr(lines, from);
	struct cache_meta meta;

	assert_non_null(at);
	snprintf(head, sizeof(head), "%.*s%s%s", (int)(at - lines), lines, to, at + strlen(from));
	return cache_meta_read(head, sizeof(head), &meta);
}

static void a_head_is_lines_of_text_and_zeros(void **state)
{
	static const char zeros[CACHE_META_BYTES];
	struct cache_meta meta = sample(), back;
	char head[CACHE_META_BYTES];

	assert_int_equal(cache_meta_write(&meta, head), 0);
	assert_string_equal(head, lines);
	assert_memory_equal(head + strlen(lines), zeros, sizeof(head) - strlen(lines));
	assert_int_equal(cache_meta_read(head, sizeof(head), &back), 0);
	assert_memory_equal(&back, &meta, sizeof(meta));
}

static void the_largest_head_fits(void **state)
{
	struct cache_meta meta = sample(), back = {0};
	char head[CACHE_META_BYTES];

	memset(meta.url, 'u', sizeof(meta.url) - 1);
	memset(meta.etag, 'e', sizeof(meta.etag) - 1);
	memset(meta.last_modified, 'l', sizeof(meta.last_modified) - 1);
	memset(meta.content_type, 't', sizeof(meta.content_type) - 1);
	memset(meta.content_encoding, 'c', sizeof(meta.content_encoding) - 1);
	meta.size_bytes = INT64_MAX - CACHE_META_BYTES;
	assert_int_equal(cache_meta_write(&meta, head), 0);
	assert_int_equal(cache_meta_read(head, sizeof(head), &back), 0);
	assert_memory_equal(&back, &meta, sizeof(meta));
}

static void what_would_not_come_back_is_not_written(void **state)
{
	struct cache_meta meta = sample();
	char head[CACHE_META_BYTES];

	meta.url[0] = '\0';
	assert_int_equal(cache_meta_write(&meta, head), -EINVAL);
	meta = sample();
	memset(meta.etag, 'e', sizeof(meta.etag));
	assert_int_equal(cache_meta_write(&meta, head), -EINVAL);
	meta = sample();
	memcpy(meta.content_type, "a\r\nb", 5);
	assert_int_equal(cache_meta_write(&meta, head), -EINVAL);
	meta = sample();
	meta.size_bytes = UINT64_MAX;
	assert_int_equal(cache_meta_write(&meta, head), -EINVAL);
}

static void a_head_in_any_other_form_is_refused(void **state)
{
	struct cache_meta meta;
	char big[CACHE_META_FIELD_MAX + 16];

	assert_int_equal(read_text(lines, &meta), 0);
	assert_int_equal(read_text("", &meta), -EBADMSG);
	assert_int_equal(cache_meta_read(lines, sizeof(lines), &meta), -EBADMSG);
	assert_int_equal(read_changed("entry 1", "entry 2"), -EBADMSG);
	assert_int_equal(read_changed("url: http://origin/metadata.jwt", "url: "), -EBADMSG);
	assert_int_equal(read_changed("etag", "ETag"), -EBADMSG);
	assert_int_equal(read_changed("etag: \"5f\"\n", ""), -EBADMSG);
	assert_int_equal(read_changed("etag: \"5f\"", "etag: \x01"), -EBADMSG);
	assert_int_equal(read_changed("size: 1234", "size: "), -EBADMSG);
	assert_int_equal(read_changed("size: 1234", "size: 01234"), -EBADMSG);
	assert_int_equal(read_changed("size: 1234", "size: +1234"), -EBADMSG);
	assert_int_equal(read_changed("size: 1234", "size: 9223372036854775807"), -EBADMSG);
	assert_int_equal(read_changed("size: 1234", "size: 99999999999999999999"), -EBADMSG);
	assert_int_equal(read_changed("e3b0", "E3B0"), -EBADMSG);
	assert_int_equal(read_changed("e3b0", "e3b"), -EBADMSG);
	assert_int_equal(read_changed(HEX "\n", HEX), -EBADMSG);
	assert_int_equal(read_changed(HEX "\n", HEX "\nmore: 1\n"), -EBADMSG);
	memset(big, 'e', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(read_changed("\"5f\"", big), -EBADMSG);
}

static void a_torn_head_is_refused(void **state)
{
	struct cache_meta meta = sample(), back;
	char head[CACHE_META_BYTES];

	/* Every sector of it that holds text is needed; the last line is in the last of them. */
	memset(meta.url, 'u', sizeof(meta.url) - 1);
	for (size_t at = 0; at < 2200; at += 512) {
		assert_int_equal(cache_meta_write(&meta, head), 0);
		memset(head + at, 0, 512);
		assert_int_equal(cache_meta_read(head, sizeof(head), &back), -EBADMSG);
	}
	assert_int_equal(cache_meta_write(&meta, head), 0);
	head[sizeof(head) - 1] = 'x';
	assert_int_equal(cache_meta_read(head, sizeof(head), &back), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_is_lines_of_text_and_zeros),
		cmocka_unit_test(the_largest_head_fits),
		cmocka_unit_test(what_would_not_come_back_is_not_written),
		cmocka_unit_test(a_head_in_any_other_form_is_refused),
		cmocka_unit_test(a_torn_head_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
