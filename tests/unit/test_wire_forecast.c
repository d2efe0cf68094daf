/*
 * test_wire_forecast: the answer to Forecast comes back as it was sent, and what is none is refused.
 */
#include "otaclient/api/wire_forecast.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/api/wire.h"

static struct wire_forecast some(void)
{
	struct wire_forecast f = {
		.ecu_id = "main",
		.result = API_NO_FAILURE,
		.message = "A remark",
		.request_id = "id-1",
		.report = {.ended = true,
			   .phase = PHASE_CALCULATING_DELTA,
			   .forecast = {.work = {.download_bytes = UINT64_C(7) << 40,
					     .write_bytes = 2},
				.download_s = 3,
				.whole_s = ESTIMATE_UNKNOWN,
				.rebuild = true}},
	};

	for (uint64_t a = 0; a < PLAN_ACTIONS; a++)
		f.report.forecast.actions[a] = (struct forecast_action){a, a + 1, a + 2, a + 3};
	return f;
}

static struct wire_forecast there_and_back(const struct wire_forecast *f)
{
	AUTO_BUF struct buf bytes = {0};
	struct wire_forecast got;
	struct ota_err err = {0};

	assert_int_equal(wire_forecast_encode(f, &bytes), 0);
	if (wire_forecast_decode(bytes.data, bytes.len_bytes, &got, &err) < 0)
		fail_msg("%s", err.msg);
	return got;
}

static void a_forecast_comes_back_with_all_its_fields(void **state)
{
	struct wire_forecast f = some(), got = there_and_back(&f);

	(void)state;
	assert_memory_equal(&got, &f, sizeof(f));
}

static void one_that_is_being_made_has_no_figures(void **state)
{
	struct wire_forecast f = some(), got;

	(void)state;
	f.report.ended = false;
	got = there_and_back(&f);
	assert_false(got.report.ended);
	assert_int_equal(got.report.phase, PHASE_CALCULATING_DELTA);
	assert_int_equal(got.report.forecast.work.download_bytes, 0);
	assert_true(got.report.forecast.download_s == ESTIMATE_UNKNOWN);
}

static void what_takes_no_time_is_not_taken_for_unknown(void **state)
{
	struct wire_forecast f = some(), got;

	(void)state;
	f.report.forecast.download_s = f.report.forecast.whole_s = 0;
	got = there_and_back(&f);
	assert_int_equal(got.report.forecast.download_s, 1);
	assert_int_equal(got.report.forecast.whole_s, 1);
}

static void a_sentence_that_was_cut_inside_a_character_stays_text(void **state)
{
	struct wire_forecast f = some();

	(void)state;
	strcpy(f.message, "M\xc3");
	assert_string_equal(there_and_back(&f).message, "M?");
}

static void assert_refused(const char *bytes, size_t len, int r, const char *why)
{
	struct wire_forecast got = {.result = 99};
	struct ota_err err = {0};

	assert_int_equal(wire_forecast_decode(bytes, len, &got, &err), r);
	assert_string_equal(err.msg, why);
	assert_int_equal(got.result, 99);
}

static void what_is_no_forecast_is_refused(void **state)
{
	static const char large[WIRE_FORECAST_MAX_BYTES + 1];

	(void)state;
	assert_refused("\x0a\xff", 2, -EBADMSG, "The message is no ForecastResponse");
	assert_refused("\x0a\x02"
		       "a\xff",
		4, -EBADMSG, "ecu_id of a forecast is no text");
	assert_refused("\x1a\x03"
		       "a\0b",
		5, -EBADMSG, "message of a forecast is no text");
	assert_refused("\x22\x01\x80", 3, -EBADMSG, "request_id of a forecast is no text");
	assert_refused(
		large, sizeof(large), -E2BIG, "The message is too large for a ForecastResponse");
}

static void actions_of_a_newer_peer_are_left_out(void **state)
{
	/* action {"melt", files 9}, action {"keep", files 5}, ended */
	static const char bytes[] =
		"\x28\x01\xaa\x01\x08\x0a\x04melt\x18\x09\xaa\x01\x08\x0a\x04keep\x18\x05";
	struct wire_forecast got;
	struct ota_err err = {0};

	(void)state;
	if (wire_forecast_decode(bytes, sizeof(bytes) - 1, &got, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(got.report.ended);
	assert_int_equal(got.report.forecast.actions[PLAN_KEEP].files, 5);
	for (int a = 1; a < PLAN_ACTIONS; a++)
		assert_int_equal(got.report.forecast.actions[a].files, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forecast_comes_back_with_all_its_fields),
		cmocka_unit_test(one_that_is_being_made_has_no_figures),
		cmocka_unit_test(what_takes_no_time_is_not_taken_for_unknown),
		cmocka_unit_test(a_sentence_that_was_cut_inside_a_character_stays_text),
		cmocka_unit_test(what_is_no_forecast_is_refused),
		cmocka_unit_test(actions_of_a_newer_peer_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
