/*
 * test_health: one round of checks, against a stand-in for systemd, programs of the test's, and a port where nobody
 * listens. An API that answers, and a whole system: tests/integration/ecu.
 */
#include "otaclient/trial/health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "otaclient/trial/trial_checks.h"
#include "tests/support/fake_systemd.h"

struct fixture {
	struct fake_systemd systemd;
	struct health_config config;
	char dir[64];
	char results[1024], notes[2048];
	struct ota_err err;
};

static void result(void *ctx, const char *name, bool ok, const char *how)
{
	struct fixture *f = ctx;
	size_t used = strlen(f->results);

	snprintf(f->results + used, sizeof(f->results) - used, "%s: %s\n", name, ok ? "well" : how);
	if (ok)
		assert_string_equal(how, "");
}

static void note(void *ctx, bool trouble, const char *sentence)
{
	struct fixture *f = ctx;
	size_t used = strlen(f->notes);

	snprintf(f->notes + used, sizeof(f->notes) - used, "%s\n", sentence);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/test_health.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->config = (struct health_config){
		.bus_address = fake_systemd_start(&f->systemd),
		.program_ms = 1000,
		.result = result,
		.note = note,
		.ctx = f,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	fake_systemd_stop();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

static int check(struct fixture *f)
{
	int r;

	f->results[0] = f->notes[0] = '\0';
	f->err = (struct ota_err){0};
	r = health_check(&f->config, NULL, NULL, &f->err);
	if (r < 0)
		assert_int_equal(f->err.code, OTA_E_NOT_HEALTHY);
	return r;
}

static void put_program(struct fixture *f, const char *name, const char *script)
{
	char path[128];
	int fd;

	f->config.programs_dir = f->dir;
	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, script, strlen(script)), 0);
	close(fd);
}

static void nothing_that_is_to_be_checked_is_well(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(check(f), 0);
	assert_string_equal(f->results, "");
	f->config.target = f->config.units = f->config.programs_dir = "";
	assert_int_equal(check(f), 0);
	f->config.units = " \n";
	assert_int_equal(check(f), 0);
	f->config.programs_dir = "/no/such/folder";
	assert_int_equal(check(f), 0);
	assert_string_equal(f->results, "");
}

/* ---- systemd ---- */

static void a_target_must_be_reached(void **state)
{
	/* clang-format off */
	static const struct {
		struct fake_unit unit;
		const char *running;
		const char *sentence; /* NULL = well */
	} rows[] = {
		{{"up.target", "loaded", "active", "active", NULL}, NULL, NULL},
		{{"up.target", "loaded", "active", "active", NULL}, "slow.service", NULL},
		{{"up.target", "loaded", "active", "active", "stop"}, NULL,
			"up.target is not reached: it is active (active), about to stop"},
		{{"up.target", "loaded", "inactive", "dead", "start"}, "slow.service",
			"up.target is not reached: it is inactive (dead), about to start, waiting for slow.service"},
		{{"up.target", "loaded", "inactive", "dead", NULL}, NULL,
			"up.target is not reached: it is inactive (dead)"},
		{{"up.target", "loaded", "failed", "failed", NULL}, NULL,
			"up.target is not reached: it is failed (failed)"},
		{{"up.target", "masked", "inactive", "dead", NULL}, NULL,
			"systemd has not loaded up.target: it is \"masked\""},
		{{"other.target", "loaded", "active", "active", NULL}, NULL, "systemd knows no up.target"},
	};
	/* clang-format on */
	struct fixture *f = *state;

	f->config.target = "up.target";
	f->systemd.n_units = 1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		f->systemd.units = &rows[i].unit;
		f->systemd.running_job = rows[i].running;
		if (!rows[i].sentence) {
			assert_int_equal(check(f), 0);
			assert_string_equal(f->results, "up.target: well\n");
			continue;
		}
		assert_true(check(f) < 0);
		assert_string_equal(f->err.msg, rows[i].sentence);
		assert_int_equal(strncmp(f->results, "up.target: ", strlen("up.target: ")), 0);
	}
}

static void listed_units_must_not_have_failed(void **state)
{
	/* clang-format off */
	static const struct {
		struct fake_unit unit;
		const char *sentence; /* NULL = well */
	} rows[] = {
		{{"a.service", "loaded", "active", "running", NULL}, NULL},
		{{"a.service", "loaded", "active", "exited", NULL}, NULL},
		{{"a.service", "loaded", "reloading", "reload", NULL}, NULL},
		{{"a.service", "loaded", "inactive", "dead", NULL}, NULL},
		{{"a.service", "loaded", "failed", "failed", NULL}, "a.service has failed"},
		{{"a.service", "loaded", "activating", "auto-restart", NULL}, "a.service is activating (auto-restart)"},
		{{"a.service", "loaded", "deactivating", "stop", NULL}, "a.service is deactivating (stop)"},
		{{"a.service", "loaded", "inactive", "dead", "start"}, "a.service is inactive (dead), about to start"},
		{{"a.service", "error", "inactive", "dead", NULL}, "systemd has not loaded a.service: it is \"error\""},
		{{"c.service", "loaded", "active", "running", NULL}, "systemd knows no a.service"},
	};
	/* clang-format on */
	struct fixture *f = *state;

	f->config.units = "a.service";
	f->systemd.n_units = 1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		f->systemd.units = &rows[i].unit;
		if (!rows[i].sentence) {
			assert_int_equal(check(f), 0);
			continue;
		}
		assert_true(check(f) < 0);
		assert_string_equal(f->err.msg, rows[i].sentence);
	}
}

static uint64_t now_ms;

static uint64_t test_monotonic_ms(void)
{
	return now_ms;
}

static void a_service_that_comes_and_goes_is_not_well(void **state)
{
	static const struct clock_ops test_clock = {.monotonic_ms = test_monotonic_ms};
	static const struct fake_unit flaps = {.name = "a.service",
		.load = "loaded",
		.active = "active",
		.sub = "running",
		.n_restarts = 7,
		.up_us = 1000 * 1000 * 1000};
	struct fixture *f = *state;

	clock_set_ops(&test_clock);
	f->systemd.units = &flaps;
	f->systemd.n_units = 1;
	f->config.units = "a.service";
	now_ms = 1000 * 1000 + HEALTH_STEADY_MS - 1;
	assert_true(check(f) < 0);
	assert_string_equal(f->err.msg,
		"a.service had to be started again (7 times), and is not up for 30 s yet");
	now_ms++;
	assert_int_equal(check(f), 0);
	/* A clock that is not systemd's makes nobody well. */
	now_ms = 0;
	assert_true(check(f) < 0);
	clock_set_ops(NULL);
}

static void every_listed_unit_is_looked_at_until_one_is_not_well(void **state)
{
	static const struct fake_unit units[] = {
		{"a.service", "loaded", "active", "running", NULL},
		{"b.mount",   "loaded", "active", "mounted", NULL},
		{"c.service", "loaded", "failed", "failed",  NULL},
		{"d.service", "loaded", "active", "running", NULL},
	};
	struct fixture *f = *state;

	f->systemd.units = units;
	f->systemd.n_units = ARRAY_SIZE(units);
	f->config.units = "  a.service\tb.mount c.service\nd.service ";
	assert_true(check(f) < 0);
	assert_string_equal(
		f->results, "a.service: well\nb.mount: well\nc.service: c.service has failed\n");
	f->config.units = "a.service\tb.mount d.service";
	assert_int_equal(check(f), 0);
	f->config.units = "a.service lidar";
	assert_true(check(f) < 0);
	assert_string_equal(f->err.msg, "\"lidar\" is no name of a unit of systemd");
}

static void a_systemd_that_cannot_be_asked_is_not_well(void **state)
{
	struct fixture *f = *state;

	f->config.target = "up.target";
	f->systemd.fails = "I am tired";
	assert_true(check(f) < 0);
	assert_string_equal(f->err.msg, "Cannot ask systemd: I am tired");
	f->config.bus_address = "unix:path=/no/such/socket";
	assert_true(check(f) < 0);
	assert_string_equal(f->err.msg, "Cannot ask systemd: No such file or directory");
	assert_string_equal(f->results, "systemd: Cannot ask systemd: No such file or directory\n");
}

static void a_systemd_that_says_nothing_is_not_waited_for_long(void **state)
{
	struct fixture *f = *state;

	f->config.target = "up.target";
	f->systemd.never_answers = 1;
	assert_int_equal(check(f), -ETIMEDOUT);
	assert_string_equal(f->err.msg, "Cannot ask systemd: Connection timed out");
}

/* Where this test runs there may be one, so the sign of it is taken as it is. */
static void where_no_systemd_runs_none_is_waited_for(void **state)
{
	struct fixture *f = *state;

	if (access("/run/systemd/system", F_OK) == 0)
		fail_msg("This machine runs systemd; run this test in a container");
	f->config.bus_address = NULL;
	f->config.target = "up.target";
	f->config.units = "a.service";
	assert_int_equal(check(f), 0);
	assert_string_equal(f->results, "");
	assert_string_equal(
		f->notes, "No systemd runs here, so no target and no units are waited for\n");
}

/* ---- programs ---- */

static void every_program_must_end_well(void **state)
{
	static const char *const env[] = {"OTA_VERSION=v 2", NULL};
	struct fixture *f = *state;

	f->config.programs_env = env;
	put_program(f, "10-version", "#!/bin/sh\n[ \"$OTA_VERSION\" = 'v 2' ]\n");
	put_program(f, "20-disk", "#!/bin/sh\nexit 0\n");
	assert_int_equal(check(f), 0);
	assert_string_equal(f->results, "10-version: well\n20-disk: well\n");
	put_program(f, "15-network", "#!/bin/sh\necho no route >&2\nexit 3\n");
	assert_true(check(f) < 0);
	assert_non_null(strstr(f->err.msg, "15-network"));
	assert_non_null(strstr(f->err.msg, "no route"));
	assert_non_null(strstr(f->results, "10-version: well\n15-network: "));
	assert_null(strstr(f->results, "20-disk"));
}

static void a_program_that_hangs_is_ended(void **state)
{
	struct fixture *f = *state;

	put_program(f, "10-hangs", "#!/bin/sh\nsleep 1000\n");
	f->config.program_ms = 100;
	assert_int_equal(check(f), -ETIMEDOUT);
	assert_non_null(strstr(f->results, "10-hangs: "));
}

static void a_folder_that_others_may_write_to_is_not_well(void **state)
{
	struct fixture *f = *state;

	put_program(f, "10-ok", "#!/bin/sh\nexit 0\n");
	assert_int_equal(chmod(f->dir, 0777), 0);
	assert_int_equal(check(f), -EPERM);
	assert_int_equal(strncmp(f->results, f->dir, strlen(f->dir)), 0);
}

static bool stop_now(void *ctx)
{
	return --*(int *)ctx <= 0;
}

static void it_ends_when_it_is_to(void **state)
{
	struct fixture *f = *state;
	int polls = 6;

	put_program(f, "10-hangs", "#!/bin/sh\nsleep 1000\n");
	f->config.program_ms = 60 * 1000;
	assert_int_equal(health_check(&f->config, stop_now, &polls, &f->err), -ECANCELED);
	/* Its end says nothing of the system. */
	assert_string_equal(f->results, "");
	polls = 1;
	assert_int_equal(health_check(&f->config, stop_now, &polls, &f->err), -ECANCELED);
}

/* ---- the API ---- */

static void an_api_that_does_not_answer_is_not_well_and_ends_the_round(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct peer_address own;

	/* Bound, so that nobody else listens there. */
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	health_own_address("127.0.0.1", ntohs(a.sin_port), &own);
	f->config.api = &own;
	f->config.target = "up.target";
	put_program(f, "10-ok", "#!/bin/sh\nexit 0\n");
	assert_true(check(f) < 0);
	assert_int_equal(strncmp(f->err.msg, "The API does not answer: ", 25), 0);
	assert_int_equal(strncmp(f->results, "the API: The API does not answer: ", 34), 0);
	assert_null(strchr(f->results, '\n')[1] ? f->results : NULL);
}

static void the_own_address_is_one_that_can_be_asked(void **state)
{
	struct peer_address own;

	health_own_address("192.168.10.1", 50051, &own);
	assert_string_equal(own.host, "192.168.10.1");
	assert_int_equal(own.port, 50051);
	health_own_address("0.0.0.0", 1, &own);
	assert_string_equal(own.host, "127.0.0.1");
	health_own_address("::", 1, &own);
	assert_string_equal(own.host, "::1");
}

/* ---- as the daemon has it ---- */

static void the_settings_say_what_is_checked(void **state)
{
	struct fixture *f = *state;
	static struct trial_checks checks;
	static const char text[] = "{listen_port: 5, health_units: a.service}";
	struct settings settings;

	settings_parse(text, strlen(text), "test", NULL, NULL, &settings);
	trial_checks_init(&checks, &settings,
		&(struct trial_checked){.version = "v 2",
			.slot = "ota-slot_b",
			.ecu_id = "me",
			.listen_ip = "0.0.0.0"});
	assert_string_equal(checks.health.target, "multi-user.target");
	assert_string_equal(checks.health.units, "a.service");
	assert_string_equal(checks.health.programs_dir, "/etc/otaclient/health.d");
	assert_int_equal(checks.health.program_ms, 300 * 1000);
	assert_string_equal(checks.health.api->host, "127.0.0.1");
	assert_int_equal(checks.health.api->port, 5);
	/* Run on the stand-ins. */
	checks.health.api = NULL;
	checks.health.units = checks.health.target = NULL;
	checks.health.programs_dir = f->dir;
	put_program(f, "10-env",
		"#!/bin/sh\n[ \"$OTA_VERSION,$OTA_SLOT,$OTA_ECU_ID\" = 'v 2,ota-slot_b,me' ]\n");
	assert_int_equal(trial_checks_run(&checks, NULL, NULL, &f->err), 0);
	put_program(f, "20-fails", "#!/bin/sh\nexit 1\n");
	assert_true(trial_checks_run(&checks, NULL, NULL, &f->err) < 0);
	assert_int_equal(checks.n_rounds, 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_that_is_to_be_checked_is_well),
		T(a_target_must_be_reached),
		T(listed_units_must_not_have_failed),
		T(a_service_that_comes_and_goes_is_not_well),
		T(every_listed_unit_is_looked_at_until_one_is_not_well),
		T(a_systemd_that_cannot_be_asked_is_not_well),
		T(a_systemd_that_says_nothing_is_not_waited_for_long),
		T(where_no_systemd_runs_none_is_waited_for),
		T(every_program_must_end_well),
		T(a_program_that_hangs_is_ended),
		T(a_folder_that_others_may_write_to_is_not_well),
		T(it_ends_when_it_is_to),
		T(an_api_that_does_not_answer_is_not_well_and_ends_the_round),
		cmocka_unit_test(the_own_address_is_one_that_can_be_asked),
		T(the_settings_say_what_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
