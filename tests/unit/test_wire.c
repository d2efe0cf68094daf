/*
 * wire: the API's messages, byte for byte as agents have always seen them.
 */
#include "otaclient/api/wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"

/* A string literal with its NULs, as arguments data, length. */
#define BYTES(s) (s), sizeof(s) - 1

/* A string that is no const, as struct update_request has them. */
#define STR(s) ((char[]){s})

static void the_smallest_healthy_entry_has_these_bytes(void **state)
{
	static const char want[] = "\x12\x05"
				   "ecu-1"
				   "\x1a\x29" /* the entry */
				   "\x0a\x05"
				   "ecu-1"
				   "\x12\x03"
				   "1.0"
				   "\x1a\x05" OTA_VERSION "\x58\x01\x60\x00\x6a\x00\x72\x00\x7a\x0c"
				   "\xfa\x01\x00\x82\x02\x00\x8a\x02\x00\x92\x02\x00";
	struct status_snapshot snapshot = {.known = true, .ota_status = STATUS_SUCCESS};
	AUTO_WIRE_STATUS struct wire_status status = {0};
	AUTO_BUF struct buf bytes = {0};
	struct wire_status_ecu ecu;

	(void)state;
	strcpy(snapshot.firmware_version, "1.0");
	wire_status_ecu_from(&snapshot, "ecu-1", 1, &ecu);
	assert_int_equal(wire_status_add_available(&status, "ecu-1"), 0);
	assert_int_equal(wire_status_add(&status, &ecu), 0);
	assert_int_equal(wire_status_encode(&status, &bytes), 0);
	assert_int_equal(bytes.len_bytes, sizeof(want) - 1);
	assert_memory_equal(bytes.data, want, sizeof(want) - 1);
}

static void a_request_comes_back_with_all_its_fields(void **state)
{
	struct wire_request_ecu ecus[] = {
		{"main",         {.version = STR("2.0"),
				 .url = STR("http://x/"),
				 .cookies = STR("{\"a\":\"b\"}"),
				 .release_name = STR("n"),
				 .release_id = STR("r"),
				 .image_id = STR("i")}},
		{"sub \xc3\xa9", {.version = STR("3.0")}                      },
	};
	struct wire_request request = {.ecus = ecus, .n_ecus = 2, .request_id = STR("17-ab")};
	AUTO_WIRE_REQUEST struct wire_request got = {0};
	AUTO_BUF struct buf bytes = {0};

	(void)state;
	assert_int_equal(wire_request_encode(API_UPDATE, &request, &bytes), 0);
	assert_int_equal(
		wire_request_decode(API_UPDATE, bytes.data, bytes.len_bytes, &got, NULL), 0);
	assert_int_equal(got.n_ecus, 2);
	assert_string_equal(got.request_id, "17-ab");
	assert_string_equal(got.ecus[0].ecu_id, "main");
	assert_string_equal(got.ecus[0].update.version, "2.0");
	assert_string_equal(got.ecus[0].update.url, "http://x/");
	assert_string_equal(got.ecus[0].update.cookies, "{\"a\":\"b\"}");
	assert_string_equal(got.ecus[0].update.release_name, "n");
	assert_string_equal(got.ecus[0].update.release_id, "r");
	assert_string_equal(got.ecus[0].update.image_id, "i");
	assert_string_equal(got.ecus[0].update.request_id, "17-ab");
	assert_string_equal(got.ecus[1].ecu_id, "sub \xc3\xa9");
	assert_string_equal(got.ecus[1].update.url, "");
}

static void an_abort_and_a_rollback_carry_ids_only(void **state)
{
	static const enum api_method methods[] = {API_ABORT, API_ROLLBACK};
	struct wire_request_ecu ecus[] = {
		{"main", {.version = STR("not sent")}}
        };
	struct wire_request request = {.ecus = ecus, .n_ecus = 1, .request_id = STR("x")};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		AUTO_WIRE_REQUEST struct wire_request got = {0};
		AUTO_BUF struct buf bytes = {0};

		assert_int_equal(wire_request_encode(methods[i], &request, &bytes), 0);
		assert_int_equal(bytes.len_bytes, 8 + 3);
		assert_memory_equal(bytes.data, "\x0a\x06\x0a\x04main\x12\x01x", bytes.len_bytes);
		assert_int_equal(
			wire_request_decode(methods[i], bytes.data, bytes.len_bytes, &got, NULL),
			0);
		assert_string_equal(got.ecus[0].ecu_id, "main");
		assert_string_equal(got.request_id, "x");
	}
}

static void an_answer_has_the_same_bytes_for_every_method(void **state)
{
	static const enum api_method methods[] = {
		API_UPDATE, API_ABORT, API_ROLLBACK, API_CLIENT_UPDATE};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		AUTO_WIRE_ANSWER struct wire_answer answer = {0}, got = {0};
		AUTO_BUF struct buf bytes = {0};

		assert_int_equal(wire_answer_add(&answer, "main", 1, "No"), 0);
		assert_int_equal(wire_answer_add(&answer, "sub", 0, NULL), 0);
		assert_int_equal(wire_answer_encode(methods[i], &answer, &bytes), 0);
		assert_int_equal(bytes.len_bytes, 14 + 7);
		assert_memory_equal(bytes.data,
			"\x0a\x0c\x0a\x04main\x10\x01\x1a\x02No\x0a\x05\x0a\x03sub",
			bytes.len_bytes);
		assert_int_equal(
			wire_answer_decode(methods[i], bytes.data, bytes.len_bytes, &got, NULL), 0);
		assert_int_equal(got.n_ecus, 2);
		assert_int_equal(got.ecus[0].result, 1);
		assert_string_equal(got.ecus[0].message, "No");
		assert_string_equal(got.ecus[1].message, "");
	}
}

static void a_string_that_is_no_text_is_refused_by_name(void **state)
{
	static const struct {
		const char *bytes;
		size_t len_bytes;
		const char *sentence;
	} rows[] = {
		{BYTES("\x0a\x05\x0a\x03"
		       "a\0b"),
                 "ecu[0].ecu_id contains a NUL character"                                      },
		{BYTES("\x0a\x03\x0a\x01"
		       "a\x0a\x06\x0a\x01"
		       "b\x12\x01\xff"),
                 "ecu[1].version is not valid UTF-8"                                           },
		{BYTES("\x0a\x04\x1a\x02\xc0\x80"),       "ecu[0].url is not valid UTF-8"      },
		{BYTES("\x0a\x05\x22\x03\xed\xa0\x80"),   "ecu[0].cookies is not valid UTF-8"  },
		{BYTES("\x12\x01\0"),                     "request_id contains a NUL character"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_WIRE_REQUEST struct wire_request got = {0};
		struct ota_err err = {0};

		assert_int_equal(wire_request_decode(
					 API_UPDATE, rows[i].bytes, rows[i].len_bytes, &got, &err),
			-EBADMSG);
		assert_string_equal(err.msg, rows[i].sentence);
		assert_int_equal(err.code, OTA_E_INVALID_REQUEST);
		assert_null(got.ecus);
	}
}

static void what_is_no_message_is_refused(void **state)
{
	AUTO_WIRE_REQUEST struct wire_request got = {0};
	struct ota_err err = {0};

	(void)state;
	assert_int_equal(wire_request_decode(API_UPDATE, BYTES("\x0a\x7f"), &got, &err), -EBADMSG);
	assert_string_equal(err.msg, "The message is no UpdateRequest");
	assert_int_equal(wire_request_decode(API_ABORT, BYTES("\xff\xff"), &got, &err), -EBADMSG);
	assert_string_equal(err.msg, "The message is no AbortRequest");
}

static void an_empty_message_is_a_request_for_nobody(void **state)
{
	AUTO_WIRE_REQUEST struct wire_request got = {0};

	(void)state;
	assert_int_equal(wire_request_decode(API_UPDATE, NULL, 0, &got, NULL), 0);
	assert_int_equal(got.n_ecus, 0);
	assert_string_equal(got.request_id, "");
}

static void too_many_ecus_are_refused(void **state)
{
	AUTO_WIRE_REQUEST struct wire_request got = {0};
	AUTO_FREE char *bytes = malloc(2 * (WIRE_ECUS_MAX + 1));
	struct ota_err err = {0};

	(void)state;
	for (size_t i = 0; i <= WIRE_ECUS_MAX; i++)
		memcpy(bytes + 2 * i, "\x0a\x00", 2);
	assert_int_equal(
		wire_request_decode(API_UPDATE, bytes, 2 * (WIRE_ECUS_MAX + 1), &got, &err),
		-E2BIG);
	assert_string_equal(err.msg, "The message names 1025 ECUs, at most 1024 are possible");
	assert_int_equal(wire_request_decode(API_UPDATE, bytes, 2 * WIRE_ECUS_MAX, &got, &err), 0);
}

static void a_message_of_tiny_parts_does_not_eat_the_memory(void **state)
{
	AUTO_WIRE_REQUEST struct wire_request got = {0};
	AUTO_FREE char *bytes = malloc(WIRE_MESSAGE_MAX_BYTES);
	struct ota_err err = {0};

	(void)state;
	for (size_t i = 0; i < WIRE_MESSAGE_MAX_BYTES; i += 2)
		memcpy(bytes + i, "\x0a\x00", 2);
	assert_int_equal(
		wire_request_decode(API_UPDATE, bytes, WIRE_MESSAGE_MAX_BYTES, &got, &err), -E2BIG);
	assert_string_equal(err.msg, "The message is too large for UpdateRequest");
}

static void progress_comes_back_while_updating(void **state)
{
	struct status_snapshot snapshot = {
		.known = true,
		.ota_status = STATUS_UPDATING,
		.update = {.version = "2.0",
			   .total_files_size = 1,
			   .total_files_num = 2,
			   .start_unix_s = 3,
			   .phase = PHASE_DOWNLOADING_OTA_FILES,
			   .total_download_files_num = 4,
			   .total_download_files_size = 5,
			   .downloaded_files_num = 6,
			   .downloaded_bytes = UINT64_C(7) << 40,
			   .downloaded_files_size = 8,
			   .downloading_errors = 9,
			   .total_remove_files_num = 10,
			   .removed_files_num = 11,
			   .processed_files_num = 12,
			   .processed_files_size = 13},
	};
	AUTO_WIRE_STATUS struct wire_status status = {0}, got = {0};
	AUTO_BUF struct buf bytes = {0};
	struct wire_status_ecu ecu;
	const struct update_stats *u;

	(void)state;
	snapshot.update.phase_began_ms[PHASE_INITIALIZING] = 1000;
	snapshot.update.phase_began_ms[PHASE_CALCULATING_DELTA] = 2000;
	snapshot.update.phase_began_ms[PHASE_DOWNLOADING_OTA_FILES] = 7000;
	wire_status_ecu_from(&snapshot, "main", 16000, &ecu);
	assert_int_equal(wire_status_add(&status, &ecu), 0);
	assert_int_equal(wire_status_encode(&status, &bytes), 0);
	assert_int_equal(wire_status_decode(bytes.data, bytes.len_bytes, &got, NULL), 0);
	u = &wire_status_find(&got, "main")->update;
	assert_string_equal(u->version, "2.0");
	assert_int_equal(u->total_files_size, 1);
	assert_int_equal(u->total_files_num, 2);
	assert_int_equal(u->start_unix_s, 3);
	assert_int_equal(u->phase, PHASE_DOWNLOADING_OTA_FILES);
	assert_int_equal(u->total_download_files_num, 4);
	assert_int_equal(u->total_download_files_size, 5);
	assert_int_equal(u->downloaded_files_num, 6);
	assert_int_equal(u->downloaded_bytes, UINT64_C(7) << 40);
	assert_int_equal(u->downloaded_files_size, 8);
	assert_int_equal(u->downloading_errors, 9);
	assert_int_equal(u->total_remove_files_num, 10);
	assert_int_equal(u->removed_files_num, 11);
	assert_int_equal(u->processed_files_num, 12);
	assert_int_equal(u->processed_files_size, 13);
	assert_int_equal(got.ecus[0].times.total_s, 15);
	assert_int_equal(got.ecus[0].times.delta_s, 5);
	assert_int_equal(got.ecus[0].times.download_s, 9);
	assert_int_equal(got.ecus[0].times.apply_s, 0);
}

static void the_plan_comes_back_once_there_is_one(void **state)
{
	struct status_snapshot snapshot = {
		.ota_status = STATUS_UPDATING,
		.update = {.phase = PHASE_CALCULATING_DELTA,
			   .planned = {.received_bytes = 1000,
				.work = {.download_bytes = 500,
					.check_bytes = 4000,
					.write_bytes = 7},
				.net = {1000, 1000},
				.disk = {8 << 20, 8 << 20}}},
	};
	AUTO_WIRE_STATUS struct wire_status sent = {0}, got = {0};
	AUTO_BUF struct buf bytes = {0};
	struct wire_status_ecu ecu;

	(void)state;
	wire_status_ecu_from(&snapshot, "main", 1000, &ecu);
	assert_int_equal(ecu.update.total_download_bytes, 0);
	assert_int_equal(ecu.update.remaining_s, 0);
	snapshot.update.planned.made_ms = 1000;
	wire_status_ecu_from(&snapshot, "main", 1000, &ecu);
	assert_int_equal(wire_status_add(&sent, &ecu), 0);
	assert_int_equal(wire_status_encode(&sent, &bytes), 0);
	assert_int_equal(wire_status_decode(bytes.data, bytes.len_bytes, &got, NULL), 0);
	assert_int_equal(got.ecus[0].update.total_download_bytes, 1500);
	assert_int_equal(got.ecus[0].update.total_write_bytes, 7);
	assert_int_equal(got.ecus[0].update.remaining_s, 5); /* 0.5 s and 4 s */
	/* Known, and over any moment: not the same as not known. */
	snapshot.update.phase = PHASE_PROCESSING_POSTUPDATE;
	snapshot.update.phase_began_ms[PHASE_APPLYING_UPDATE] = 1000;
	wire_status_ecu_from(&snapshot, "main", 100000, &ecu);
	assert_int_equal(ecu.update.remaining_s, 1);
	snapshot.update.planned.disk.bytes = 0;
	wire_status_ecu_from(&snapshot, "main", 100000, &ecu);
	assert_int_equal(ecu.update.remaining_s, 0);
}

static void progress_is_hidden_unless_updating(void **state)
{
	struct status_snapshot snapshot = {.ota_status = STATUS_ABORTING};
	struct wire_status_ecu ecu;

	(void)state;
	snapshot.update.total_files_num = 7;
	wire_status_ecu_from(&snapshot, "main", 1, &ecu);
	assert_int_equal(ecu.update.total_files_num, 0);
}

static void a_failure_is_shown_while_failed(void **state)
{
	struct status_snapshot snapshot = {
		.ota_status = STATUS_FAILURE,
		.has_failure = true,
		.failure_reason = "E203: broken",
	};
	struct wire_status_ecu ecu;

	(void)state;
	wire_status_ecu_from(&snapshot, "main", 1, &ecu);
	assert_int_equal(ecu.failure_type, API_UNRECOVERABLE);
	assert_string_equal(ecu.failure_reason, "E203: broken");
	snapshot.failure_is_recoverable = true;
	wire_status_ecu_from(&snapshot, "main", 1, &ecu);
	assert_int_equal(ecu.failure_type, API_RECOVERABLE);
	snapshot.ota_status = STATUS_SUCCESS;
	wire_status_ecu_from(&snapshot, "main", 1, &ecu);
	assert_int_equal(ecu.failure_type, API_NO_FAILURE);
	assert_null(ecu.failure_reason);
}

static void a_sentence_cut_inside_a_character_stays_readable(void **state)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0}, got = {0};
	AUTO_BUF struct buf bytes = {0};

	(void)state;
	assert_int_equal(wire_answer_add(&answer, "main", 2, "caf\xc3\xa9 \xff \xe3\x81"), 0);
	assert_int_equal(wire_answer_encode(API_UPDATE, &answer, &bytes), 0);
	assert_int_equal(
		wire_answer_decode(API_UPDATE, bytes.data, bytes.len_bytes, &got, NULL), 0);
	assert_string_equal(got.ecus[0].message, "caf\xc3\xa9 ? ??");
}

static void both_forms_of_an_entry_are_read(void **state)
{
	AUTO_WIRE_STATUS struct wire_status got = {0};

	(void)state;
	/* ecu_v2 {ecu_id: "a", ota_status: FAILURE}, no optional field; then a status of the future
	 */
	assert_int_equal(wire_status_decode(BYTES("\x1a\x05\x0a\x01"
						  "a\x58\x02\x1a\x05\x0a\x01"
						  "b\x58\x2a"),
				 &got, NULL),
		0);
	assert_int_equal(got.n_ecus, 2);
	assert_int_equal(got.ecus[0].ota_status, STATUS_FAILURE);
	assert_string_equal(got.ecus[0].failure_reason, "");
	assert_int_equal(got.ecus[1].ota_status, 42);
}

static void entries_of_the_old_kind_are_skipped(void **state)
{
	AUTO_WIRE_STATUS struct wire_status got = {0};

	(void)state;
	assert_int_equal(wire_status_decode(BYTES("\x0a\x03\x0a\x01"
						  "a\x12\x01"
						  "a"),
				 &got, NULL),
		0);
	assert_int_equal(got.n_ecus, 0);
	assert_int_equal(got.n_available, 1);
	assert_string_equal(got.available[0], "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_healthy_entry_has_these_bytes),
		cmocka_unit_test(a_request_comes_back_with_all_its_fields),
		cmocka_unit_test(an_abort_and_a_rollback_carry_ids_only),
		cmocka_unit_test(an_answer_has_the_same_bytes_for_every_method),
		cmocka_unit_test(a_string_that_is_no_text_is_refused_by_name),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(an_empty_message_is_a_request_for_nobody),
		cmocka_unit_test(too_many_ecus_are_refused),
		cmocka_unit_test(a_message_of_tiny_parts_does_not_eat_the_memory),
		cmocka_unit_test(progress_comes_back_while_updating),
		cmocka_unit_test(the_plan_comes_back_once_there_is_one),
		cmocka_unit_test(progress_is_hidden_unless_updating),
		cmocka_unit_test(a_failure_is_shown_while_failed),
		cmocka_unit_test(a_sentence_cut_inside_a_character_stays_readable),
		cmocka_unit_test(both_forms_of_an_entry_are_read),
		cmocka_unit_test(entries_of_the_old_kind_are_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
