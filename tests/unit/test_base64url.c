/*
 * test_base64url: both spellings of each value are read, the padded one is written, anything else is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/codec/base64url.h"

static const struct {
	const char *plain, *padded, *unpadded;
} values[] = {
	{"",		     "",			 ""		      },
	{"f",		    "Zg==",                     "Zg"                    },
	{"fo",		   "Zm8=",                     "Zm8"                   },
	{"foo",		  "Zm9v",                     "Zm9v"                  },
	{"foob",		 "Zm9vYg==",                 "Zm9vYg"                },
	{"fooba",                "Zm9vYmE=",                 "Zm9vYmE"               },
	{"foobar",               "Zm9vYmFy",                 "Zm9vYmFy"              },
	{"\xfb\xff\xfe",         "-__-",                     "-__-"                  },
	{"{\"alg\": \"ES256\"}", "eyJhbGciOiAiRVMyNTYifQ==", "eyJhbGciOiAiRVMyNTYifQ"},
};

static void decodes_to(const char *text, const char *plain)
{
	AUTO_BUF struct buf out = {0};

	assert_int_equal(base64url_decode(text, strlen(text), &out), 0);
	assert_int_equal(out.len_bytes, strlen(plain));
	assert_string_equal(buf_str(&out), plain);
}

static void values_are_written_with_padding(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		AUTO_BUF struct buf out = {0};

		assert_int_equal(
			base64url_encode(values[i].plain, strlen(values[i].plain), &out), 0);
		assert_string_equal(buf_str(&out), values[i].padded);
	}
}

static void values_are_read_with_padding_and_without(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		decodes_to(values[i].padded, values[i].plain);
		decodes_to(values[i].unpadded, values[i].plain);
	}
}

static void every_byte_survives(void **state)
{
	uint8_t data[256];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t len = 0; len <= sizeof(data); len++) {
		AUTO_BUF struct buf text = {0};
		AUTO_BUF struct buf back = {0};

		assert_int_equal(base64url_encode(data, len, &text), 0);
		assert_int_equal(base64url_decode(buf_str(&text), text.len_bytes, &back), 0);
		assert_int_equal(back.len_bytes, len);
		assert_memory_equal(buf_str(&back), data, len);
	}
}

static void other_spellings_are_refused(void **state)
{
	static const char *const wrong[] = {
		"Z",
		"Zm9vY",
		"Zg=",
		"Zm8==",
		"Zm9v=",
		"Zm9v====",
		"=",
		"==",
		"====",
		"Z===",
		"Zg==Zg==",
		"Zm9v\n",
		" Zm9v",
		"Zm 9v",
		"+//+",
		"Zm9v.Zm9v",
		"Zm9\xc3",
		"Zh==",
		"Zh",
		"Zm9=",
		"Zm9",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		AUTO_BUF struct buf out = {0};

		buf_puts(&out, "kept");
		assert_int_equal(base64url_decode(wrong[i], strlen(wrong[i]), &out), -EBADMSG);
		assert_string_equal(buf_str(&out), "kept");
	}
}

static void a_nul_is_no_end(void **state)
{
	AUTO_BUF struct buf out = {0};

	assert_int_equal(base64url_decode("Zm9v\0\0\0\0", 8, &out), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_written_with_padding),
		cmocka_unit_test(values_are_read_with_padding_and_without),
		cmocka_unit_test(every_byte_survives),
		cmocka_unit_test(other_spellings_are_refused),
		cmocka_unit_test(a_nul_is_no_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
