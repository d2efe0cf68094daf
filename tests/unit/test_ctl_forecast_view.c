/*
 * forecast_view: what otactl prints of a forecast.
 */
#include "otaclient/ctl/forecast_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/printed.h"

static struct wire_forecast some(void)
{
	struct wire_forecast f = {
		.ecu_id = "main",
		.report = {.ended = true,
			   .forecast = {.work = {.download_bytes = 3 << 20, .write_bytes = 40 << 20},
				.download_s = 30,
				.whole_s = 130}},
	};

	f.report.forecast.actions[PLAN_KEEP] = (struct forecast_action){20, 25, 100 << 20, 0};
	f.report.forecast.actions[PLAN_PATCH] = (struct forecast_action){2, 2, 10 << 20, 1 << 20};
	f.report.forecast.actions[PLAN_FETCH] = (struct forecast_action){1, 1, 2 << 20, 2 << 20};
	return f;
}

static void a_forecast_is_a_block(void **state)
{
	struct wire_forecast w = some();
	FILE *f = print_begin();

	(void)state;
	forecast_view(f, &w);
	assert_printed(f, "main\n"
			  "  to download       up to 3.0 MiB\n"
			  "  to write          40.0 MiB\n"
			  "  standby slot      changed in place\n"
			  "  keep              25 files, 100 MiB\n"
			  "  patch             2 files, 10.0 MiB, up to 1.0 MiB to download\n"
			  "  fetch             1 file, 2.0 MiB, up to 2.0 MiB to download\n"
			  "  time              about 2 min 10 s, 30 s of it for the download\n");
}

static void what_is_not_known_is_said(void **state)
{
	struct wire_forecast w = some();
	FILE *f = print_begin();

	(void)state;
	w.report.forecast = (struct forecast){
		.rebuild = true, .download_s = ESTIMATE_UNKNOWN, .whole_s = ESTIMATE_UNKNOWN};
	strcpy(w.message, "The standby\x1b slot cannot be read");
	forecast_view(f, &w);
	assert_printed(f, "main\n"
			  "  to download       nothing\n"
			  "  to write          0 B\n"
			  "  standby slot      made anew\n"
			  "  time              not known: what was measured is too little\n"
			  "  remark            The standby? slot cannot be read\n");
	w.report.forecast.download_s = 60;
	f = print_begin();
	forecast_view(f, &w);
	fclose(f);
	assert_non_null(strstr(
		printed, "  time              about 1 min 0 s for the download, else not known\n"));
	free(printed);
}

static void scripts_get_all_figures(void **state)
{
	struct wire_forecast w = some();
	FILE *f = print_begin();

	(void)state;
	w.report.forecast.whole_s = ESTIMATE_UNKNOWN;
	strcpy(w.message, "A \"remark\"");
	forecast_view_json(f, &w);
	assert_printed(f,
		"{\"ecu_id\": \"main\", \"download_bytes\": 3145728, \"write_bytes\": 41943040, "
		"\"download_seconds\": 30, \"whole_seconds\": null, \"rebuild\": false, "
		"\"actions\": {"
		"\"keep\": {\"contents\": 20, \"files\": 25, \"bytes\": 104857600, "
		"\"download_bytes\": 0}, "
		"\"move\": {\"contents\": 0, \"files\": 0, \"bytes\": 0, \"download_bytes\": 0}, "
		"\"repeat\": {\"contents\": 0, \"files\": 0, \"bytes\": 0, \"download_bytes\": 0}, "
		"\"copy\": {\"contents\": 0, \"files\": 0, \"bytes\": 0, \"download_bytes\": 0}, "
		"\"patch\": {\"contents\": 2, \"files\": 2, \"bytes\": 10485760, "
		"\"download_bytes\": 1048576}, "
		"\"fetch\": {\"contents\": 1, \"files\": 1, \"bytes\": 2097152, "
		"\"download_bytes\": 2097152}}, "
		"\"remark\": \"A \\\"remark\\\"\"}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forecast_is_a_block),
		cmocka_unit_test(what_is_not_known_is_said),
		cmocka_unit_test(scripts_get_all_figures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
