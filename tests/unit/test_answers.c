/*
 * test_answers: what this ECU refuses by itself, and what it cannot answer. The rest: integration/test_api.py, and the
 * corpus of fuzz_answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/api/answers.h"
#include "otaclient/api/wire_forecast.h"
#include "tests/unit/sentence.h"

static char version[] = "2", url[] = "http://host/", no_text[] = "", id[] = "some-request";

static struct wire_request_ecu asked_ecu = {
	.ecu_id = "main",
	.update = {version, url, no_text, no_text, no_text, no_text, id},
};

static int answer_update(const struct answerer *a, struct buf *ret_bytes, struct ota_err *err)
{
	struct wire_request request = {.ecus = &asked_ecu, .n_ecus = 1, .request_id = id};

	return answer_request(a, API_UPDATE, &request, ret_bytes, err);
}

static void machine_that_cannot_be_updated_says_so(void **state)
{
	const struct api_config config = {.ecu_id = "main", .ecu_info_loaded = true};
	const struct request_handler handler = {0};
	const struct answerer a = {.config = &config, .handler = &handler};
	AUTO_BUF struct buf bytes = {0};
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	struct ota_err err = {0};

	assert_int_equal(answer_update(&a, &bytes, &err), 0);
	assert_int_equal(
		wire_answer_decode(API_UPDATE, bytes.data, bytes.len_bytes, &answer, &err), 0);
	assert_int_equal(answer.n_ecus, 1);
	assert_string_equal(answer.ecus[0].ecu_id, "main");
	assert_int_equal(answer.ecus[0].result, API_UNRECOVERABLE);
	assert_string_equal(answer.ecus[0].message, "Updates are not possible on this ECU");
}

static struct wire_forecast forecast(
	const struct answerer *a, struct wire_request_ecu *ecus, size_t n)
{
	struct wire_request request = {.ecus = ecus, .n_ecus = n, .request_id = id};
	AUTO_BUF struct buf bytes = {0};
	struct wire_forecast got;
	struct ota_err err = {0};

	assert_int_equal(answer_forecast(a, &request, &bytes, &err), 0);
	assert_int_equal(wire_forecast_decode(bytes.data, bytes.len_bytes, &got, &err), 0);
	return got;
}

static int foresee(void *ctx, const struct update_request *request,
	struct forecast_report *ret_report, struct ota_err *err)
{
	assert_string_equal(request->request_id, id);
	if (ctx)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Not now");
	ret_report->ended = true;
	ret_report->forecast.work.download_bytes = 5;
	strcpy(ret_report->remark, "Only a guess");
	return 0;
}

static void a_forecast_is_for_the_ecu_that_is_asked_and_no_other(void **state)
{
	static char sub[] = "sub";
	struct wire_request_ecu both[] = {asked_ecu, {.ecu_id = sub}};
	struct api_config config = {.ecu_id = "main", .ecu_info_loaded = true};
	struct request_handler handler = {.forecast = foresee};
	const struct answerer a = {.config = &config, .handler = &handler};
	struct wire_forecast f = forecast(&a, both, 1);

	(void)state;
	assert_string_equal(f.ecu_id, "main");
	assert_string_equal(f.request_id, id);
	assert_int_equal(f.result, API_NO_FAILURE);
	assert_string_equal(f.message, "Only a guess");
	assert_int_equal(f.report.forecast.work.download_bytes, 5);
	for (size_t i = 0; i < 3; i++) {
		f = i == 0 ? forecast(&a, both, 2) : forecast(&a, both + 1, i - 1);
		assert_int_equal(f.result, API_UNRECOVERABLE);
		assert_string_equal(f.message, "A forecast is for the ECU that is asked and no "
					       "other, and this is 'main'");
	}
	handler.ctx = &handler;
	f = forecast(&a, both, 1);
	assert_int_equal(f.result, API_RECOVERABLE);
	assert_string_equal(f.message, "Not now");
}

static void an_ecu_that_takes_no_updates_makes_no_forecasts(void **state)
{
	struct api_config config = {.ecu_id = "main", .ecu_info_loaded = true};
	struct request_handler handler = {0};
	atomic_bool ending = false;
	const struct answerer a = {.config = &config, .handler = &handler, .ending = &ending};
	struct wire_forecast f = forecast(&a, &asked_ecu, 1);

	(void)state;
	assert_int_equal(f.result, API_UNRECOVERABLE);
	assert_string_equal(f.message, "Forecasts are not possible on this ECU");
	handler.forecast = foresee;
	atomic_store(&ending, true);
	f = forecast(&a, &asked_ecu, 1);
	assert_int_equal(f.result, API_RECOVERABLE);
	assert_string_equal(
		f.message, "This ECU's otaclient is about to end; nothing was done here");
	config.ecu_info_loaded = false;
	f = forecast(&a, &asked_ecu, 1);
	assert_int_equal(f.result, API_UNRECOVERABLE);
	assert_non_null(strstr(f.message, "its ecu_info.yaml could not be read"));
}

/* ECUs below of which nothing can be told: memory is short. */
static int forward_nothing(void *ctx, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	return -ENOMEM;
}

static int show_nothing(void *ctx, struct wire_status *status)
{
	return -ENOMEM;
}

static void no_answer_is_made_of_half_of_one(void **state)
{
	static const char *const others[] = {"sub"};
	const struct api_tree tree = {.forward = forward_nothing, .status = show_nothing};
	const struct api_config config = {
		.ecu_id = "main",
		.ecu_info_loaded = true,
		.available_ecu_ids = others, /* it only speaks for it */
		.n_available = 1,
		.tree = &tree,
	};
	const struct request_handler handler = {0};
	struct answerer a = {.config = &config, .handler = &handler, .status = status_new()};
	AUTO_BUF struct buf bytes = {0};
	struct ota_err err = {0};

	assert_int_equal(answer_status(&a, &bytes, &err), -ENOMEM);
	assert_sentence(&err, "Cannot answer Status: Cannot allocate memory");
	err = (struct ota_err){0};
	assert_int_equal(answer_update(&a, &bytes, &err), -ENOMEM);
	assert_sentence(&err, "Cannot answer: Cannot allocate memory");
	assert_int_equal(bytes.len_bytes, 0);
	status_free(a.status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machine_that_cannot_be_updated_says_so),
		cmocka_unit_test(a_forecast_is_for_the_ecu_that_is_asked_and_no_other),
		cmocka_unit_test(an_ecu_that_takes_no_updates_makes_no_forecasts),
		cmocka_unit_test(no_answer_is_made_of_half_of_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
