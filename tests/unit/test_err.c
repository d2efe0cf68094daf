/*
 * err: sentences grow outwards, the innermost code wins.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/err.h"

static void a_set_error_carries_code_and_sentence(void **state)
{
	struct ota_err err = {0};

	assert_int_equal(ota_err_set(&err, -EBADMSG, OTA_E_METADATAJWT_INVALID,
				 "Line %u of %s has no digest", 7, "regulars.txt"),
		-EBADMSG);
	assert_int_equal(err.errnum, -EBADMSG);
	assert_int_equal(err.code, OTA_E_METADATAJWT_INVALID);
	assert_string_equal(err.msg, "Line 7 of regulars.txt has no digest");
}

static void wrapping_puts_words_in_front_and_keeps_the_code(void **state)
{
	struct ota_err err = {0};

	ota_err_set(&err, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE, "The slot is full");
	assert_int_equal(ota_err_wrap(&err, -EIO, "Cannot write %s", "/etc/x"), -EIO);
	assert_int_equal(ota_err_wrap(&err, -EIO, "Update failed"), -EIO);
	assert_int_equal(err.errnum, -EIO);
	assert_int_equal(err.code, OTA_E_STANDBY_SLOT_SPACE);
	assert_string_equal(err.msg, "Update failed: Cannot write /etc/x: The slot is full");
}

static void wrapping_a_silent_error_speaks_for_it(void **state)
{
	struct ota_err err = {0};

	assert_int_equal(ota_err_wrap(&err, -ENOENT, "Cannot open %s", "x"), -ENOENT);
	assert_int_equal(err.code, OTA_E_UNSPECIFIC);
	assert_string_equal(err.msg, "Cannot open x: No such file or directory");
}

static void a_lack_of_memory_says_for_what(void **state)
{
	struct ota_err err = {0};

	assert_int_equal(ota_err_no_memory(&err, "an image's lists"), -ENOMEM);
	assert_int_equal(err.errnum, -ENOMEM);
	assert_int_equal(err.code, OTA_E_UNSPECIFIC);
	assert_string_equal(err.msg, "No memory for an image's lists");
}

static void nobody_needs_to_listen(void **state)
{
	assert_int_equal(ota_err_no_memory(NULL, "x"), -ENOMEM);
	assert_int_equal(ota_err_set(NULL, -EIO, OTA_E_NETWORK, "x"), -EIO);
	assert_int_equal(ota_err_wrap(NULL, -EIO, "x"), -EIO);
	ota_err_blame(NULL, OTA_E_NETWORK);
}

static void blame_falls_only_where_nobody_was_blamed(void **state)
{
	struct ota_err err = {0};

	ota_err_set(&err, -EIO, OTA_E_UNSPECIFIC, "x");
	ota_err_blame(&err, OTA_E_NETWORK);
	assert_int_equal(err.code, OTA_E_NETWORK);
	ota_err_blame(&err, OTA_E_COOKIE_INVALID);
	assert_int_equal(err.code, OTA_E_NETWORK);
}

static void long_sentences_are_cut_at_their_end(void **state)
{
	char words[2 * OTA_ERR_MSG_MAX];
	struct ota_err err = {0};

	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	ota_err_set(&err, -EIO, OTA_E_NETWORK, "%s", words);
	assert_int_equal(strlen(err.msg), OTA_ERR_MSG_MAX - 1);
	ota_err_wrap(&err, -EIO, "outside");
	assert_int_equal(strlen(err.msg), OTA_ERR_MSG_MAX - 1);
	assert_memory_equal(err.msg, "outside: www", 12);
	ota_err_set(&err, -EIO, OTA_E_NETWORK, "inside");
	ota_err_wrap(&err, -EIO, "%s", words);
	assert_int_equal(strlen(err.msg), OTA_ERR_MSG_MAX - 1);
	assert_ptr_equal(strchr(err.msg, ':'), NULL);
}

static void codes_below_300_may_be_tried_again(void **state)
{
	assert_true(ota_code_is_recoverable(OTA_E_NETWORK));
	assert_true(ota_code_is_recoverable(OTA_E_OTA_IMAGE_INVALID));
	assert_false(ota_code_is_recoverable(OTA_E_STANDBY_SLOT_SPACE));
	assert_false(ota_code_is_recoverable(OTA_E_METADATAJWT_CERT_INVALID));
	for (enum ota_code c = 0; c < 400; c++) {
		assert_non_null(ota_code_text(c));
		if (strcmp(ota_code_text(c), ota_code_text(OTA_E_UNSPECIFIC)) != 0)
			assert_int_equal(ota_code_is_recoverable(c), c < 300);
	}
	assert_string_equal(ota_code_text(OTA_E_OTA_BUSY), "another operation is running");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_set_error_carries_code_and_sentence),
		cmocka_unit_test(wrapping_puts_words_in_front_and_keeps_the_code),
		cmocka_unit_test(wrapping_a_silent_error_speaks_for_it),
		cmocka_unit_test(a_lack_of_memory_says_for_what),
		cmocka_unit_test(nobody_needs_to_listen),
		cmocka_unit_test(blame_falls_only_where_nobody_was_blamed),
		cmocka_unit_test(long_sentences_are_cut_at_their_end),
		cmocka_unit_test(codes_below_300_may_be_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
