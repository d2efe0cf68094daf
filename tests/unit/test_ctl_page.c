/*
 * page: the table on a terminal of any size, and the lines of a log.
 */
#include "otaclient/ctl/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/ctl/columns.h"
#include "tests/unit/printed.h"

static struct wire_status_ecu entry(const char *id, int status, const char *reason)
{
	return (struct wire_status_ecu){.ecu_id = id,
		.firmware_version = "1.0",
		.ota_status = status,
		.failure_reason = reason};
}

static struct wire_status_ecu downloading(const char *id, uint64_t bytes)
{
	struct wire_status_ecu e = entry(id, STATUS_UPDATING, "");

	e.update = (struct update_stats){.phase = PHASE_DOWNLOADING_OTA_FILES,
		.total_files_size = 40 << 20,
		.processed_files_size = 10 << 20,
		.total_download_files_size = 20 << 20,
		.downloaded_files_size = 8 << 20,
		.downloaded_bytes = bytes};
	return e;
}

/* Two looks two seconds apart, so that there is a speed; then "maps" is gone. "far" never was there. */
static void look_at_vehicle(struct roster *r)
{
	const char *available[] = {"main", "camera", "far"};
	struct wire_status_ecu e[] = {entry("main", STATUS_SUCCESS, ""),
		downloading("camera", 2 << 20),
		entry("lidar", STATUS_FAILURE, "E203: The image has no regulars.txt"),
		entry("maps", STATUS_UPDATING, "")};
	struct wire_status s = {.ecus = e, .n_ecus = 4, .available = available, .n_available = 3};

	e[3].update.phase = PHASE_FINALIZING_UPDATE;
	roster_look(r, &s, 1000);
	e[1].update.downloaded_bytes = 4 << 20;
	s.n_ecus = 3;
	roster_look(r, &s, 3000);
}

static void a_wide_terminal_shows_everything(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	FILE *f = print_begin();

	(void)state;
	look_at_vehicle(&r);
	page_print(f, &r, NULL, 79, 23, 3000);
	assert_printed(f,
		"5 ECUs: 1 at work, 1 restarting, 1 silent, 1 failed\n"
		"ECU     STATE        DONE                             BYTES       SPEED    LEFT\n"
		"main    SUCCESS      version 1.0\n"
		"camera  downloading  [##........]   25 %  10.0 MiB/40.0 MiB   1.0 MiB/s      6s\n"
		"far     not seen     no report for 2 s\n"
		"lidar   FAILURE      E203: The image has no regulars.txt\n"
		"maps    restarting   no answer for 2 s\n");
}

static void a_narrow_terminal_shows_the_most_important(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	FILE *f = print_begin();

	(void)state;
	look_at_vehicle(&r);
	page_print(f, &r, NULL, 39, 4, 3000);
	assert_printed(f, "5 ECUs: 1 at work, 1 restarting, 1 sil\xe2\x80\xa6\n"
			  "ECU     STATE                 LEFT\n"
			  "main    SUCCESS      version 1.0\n"
			  "and 4 more\n");
}

static void why_nobody_answers_is_said_once(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	struct wire_status_ecu e[] = {
		entry("main", STATUS_ROLLBACKING, ""), downloading("camera", 1)};
	struct wire_status s = {.ecus = e, .n_ecus = 2};
	FILE *f = print_begin();

	(void)state;
	roster_look(&r, &s, 1000);
	roster_look(&r, NULL, 64000);
	page_print(
		f, &r, "10.0.0.1:50051 did not answer Status: Connection refused", 59, 23, 64000);
	assert_printed(f, "2 ECUs: 1 restarting\n"
			  "10.0.0.1:50051 did not answer Status: Connection refused\n"
			  "main    restarting   no answer for 1 min 3 s\n"
			  "camera  downloading  as of 1 min 3 s ago\n");
}

static void what_is_not_known_is_a_dash(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	struct wire_status_ecu e[] = {entry("m", STATUS_UPDATING, ""), entry("n", 42, "")};
	struct wire_status s = {.ecus = e, .n_ecus = 2};
	FILE *f = print_begin();

	(void)state;
	e[1].firmware_version = "";
	roster_look(&r, &s, 1000);
	page_print(f, &r, NULL, 79, 23, 1000);
	assert_printed(f,
		"2 ECUs: 1 at work\n"
		"ECU  STATE     DONE                                   BYTES       SPEED    LEFT\n"
		"m    starting  [................]      \xe2\x80\x94                  \xe2\x80\x94"
		"           \xe2\x80\x94       \xe2\x80\x94\n"
		"n    UNKNOWN \n");
}

/* Whatever ECUs are called and say, on a terminal of any size. */
static void no_page_is_larger_than_its_terminal(void **state)
{
	static const char *const names[] = {"main",
		"\xe8\xbb\x8a\xe4\xb8\xa1\xe5\x88\xb6\xe5\xbe\xa1", "a\033[2J\r\n\xe2\x80\xae",
		"e\xcc\x81\xcc\x81\xcc\x81", "\xf0\x9f\x9a\x97\xf0\x9f\x9a\x97", "",
		"an-id-that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and",
		"\xff\xfe"};
	struct wire_status_ecu e[ARRAY_SIZE(names)];
	struct wire_status s = {.ecus = e, .n_ecus = ARRAY_SIZE(names)};
	AUTO_ROSTER struct roster r = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		e[i] = i % 2 ? downloading(names[i], 1) : entry(names[i], STATUS_FAILURE, names[i]);
	e[1].update.processed_files_size = e[1].update.total_files_size = UINT64_MAX;
	roster_look(&r, &s, 1000);
	for (unsigned columns = 1; columns < 220; columns++) {
		for (unsigned rows = 1; rows < 13; rows++) {
			FILE *f = print_begin();
			unsigned n = 0;

			page_print(f, &r, rows % 2 ? names[6] : NULL, columns, rows, 2000);
			fclose(f);
			for (char *line = strtok(printed, "\n"); line;
				line = strtok(NULL, "\n"), n++) {
				assert_true(columns_of(line) <= columns);
				assert_null(strpbrk(line, "\r\033"));
			}
			assert_true(n <= rows);
			free(printed);
		}
	}
}

static void a_log_has_a_line_when_something_happens(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	FILE *f = print_begin();

	(void)state;
	look_at_vehicle(&r);
	page_print_lines(f, &r, NULL, 3000);
	assert_printed(f,
		"main: SUCCESS, version 1.0\n"
		"camera: DOWNLOADING_OTA_FILES 25 %, 10.0 MiB of 40.0 MiB, 1.0 MiB/s, 6 s left\n"
		"far: NOT_REPORTED, no report for 2 s\n"
		"lidar: FAILURE, E203: The image has no regulars.txt\n"
		"maps: RESTARTING, no answer for 2 s\n");
	f = print_begin();
	page_print_lines(f, &r, NULL, 12999);
	assert_printed(f, "");
	f = print_begin();
	page_print_lines(f, &r, NULL, 13000);
	assert_printed(f,
		"camera: DOWNLOADING_OTA_FILES 25 %, 10.0 MiB of 40.0 MiB, 1.0 MiB/s, 6 s left\n");
	f = print_begin();
	page_print_lines(f, &r, NULL, 63000 - 1);
	page_print_lines(f, &r, NULL, 63000);
	fclose(f);
	assert_non_null(strstr(printed, "maps: RESTARTING, no answer for 1 min 2 s\n"));
	free(printed);
}

static void a_log_says_why_the_asked_ecu_is_silent_and_no_more(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	FILE *f = print_begin();

	(void)state;
	look_at_vehicle(&r);
	page_print_lines(f, &r, NULL, 3000);
	fclose(f);
	free(printed);
	roster_look(&r, NULL, 5000);
	f = print_begin();
	page_print_lines(f, &r, "nobody\033 there", 5000);
	assert_printed(f, "main: SILENT, no answer for 2 s: nobody? there\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wide_terminal_shows_everything),
		cmocka_unit_test(a_narrow_terminal_shows_the_most_important),
		cmocka_unit_test(why_nobody_answers_is_said_once),
		cmocka_unit_test(what_is_not_known_is_a_dash),
		cmocka_unit_test(no_page_is_larger_than_its_terminal),
		cmocka_unit_test(a_log_has_a_line_when_something_happens),
		cmocka_unit_test(a_log_says_why_the_asked_ecu_is_silent_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
