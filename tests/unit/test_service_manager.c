/*
 * service_manager: what arrives at the socket that systemd would listen on. The clock is the test's.
 */
#include "otaclient/service_manager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"

static uint64_t now_ms;

static uint64_t test_monotonic_ms(void)
{
	return now_ms;
}

static const struct clock_ops test_clock = {.monotonic_ms = test_monotonic_ms};

static char folder[] = "/tmp/ota-notify-XXXXXX";
static struct sockaddr_un addr = {.sun_family = AF_UNIX};
static int socket_fd = -1;

static int setup(void **state)
{
	char pid[32];

	now_ms = 5000;
	clock_set_ops(&test_clock);
	strcpy(folder, "/tmp/ota-notify-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", folder);
	socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(socket_fd >= 0);
	assert_int_equal(bind(socket_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	setenv("WATCHDOG_USEC", "20000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	return 0;
}

static int teardown(void **state)
{
	close(socket_fd);
	unlink(addr.sun_path);
	rmdir(folder);
	clock_set_ops(NULL);
	return 0;
}

/* The next message that has come; "" = none. */
static const char *received(void)
{
	static char text[1024];
	ssize_t n = recv(socket_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static struct status_snapshot idle(void)
{
	return (struct status_snapshot){
		.known = true, .ota_status = STATUS_SUCCESS, .firmware_version = "1.0"};
}

static void beginning_and_end_are_told(void **state)
{
	struct service_manager m;

	service_manager_init(&m);
	assert_string_equal(received(), "");
	service_manager_ready(&m);
	assert_string_equal(received(), "READY=1");
	service_manager_stopping();
	assert_string_equal(received(), "STOPPING=1");
}

static void what_it_does_is_told_once_for_each_phase(void **state)
{
	struct status_snapshot now = idle();
	struct service_manager m;

	service_manager_init(&m);
	m.ping_every_ms = 0;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "STATUS=SUCCESS, version \"1.0\"");
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "");
	now.ota_status = STATUS_UPDATING;
	now.update.phase = PHASE_DOWNLOADING_OTA_FILES;
	strcpy(now.update.version, "2.0");
	service_manager_tick(&m, &now);
	assert_string_equal(
		received(), "STATUS=UPDATING to version \"2.0\": DOWNLOADING_OTA_FILES");
	now.update.downloaded_bytes++;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "");
	now.update.phase = PHASE_APPLYING_UPDATE;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "STATUS=UPDATING to version \"2.0\": APPLYING_UPDATE");
}

static void a_failure_is_told_with_its_reason(void **state)
{
	struct status_snapshot now = idle();
	char text[SERVICE_TEXT_MAX];

	now.ota_status = STATUS_FAILURE;
	now.has_failure = true;
	strcpy(now.failure_reason, "E100: No way to the server");
	service_manager_text(&now, text);
	assert_string_equal(text, "FAILURE, version \"1.0\": E100: No way to the server");
	now.known = false;
	service_manager_text(&now, text);
	assert_string_equal(text, "The boot loader is not known: E100: No way to the server");
}

static void a_version_makes_no_line_of_its_own(void **state)
{
	struct status_snapshot now = idle();
	char text[SERVICE_TEXT_MAX];

	strcpy(now.firmware_version, "1\nERRNO=5\xc3\xa4");
	service_manager_text(&now, text);
	assert_string_equal(text, "SUCCESS, version \"1?ERRNO=5??\"");
	memset(now.firmware_version, 'v', sizeof(now.firmware_version) - 1);
	service_manager_text(&now, text);
	assert_int_equal(strlen(text), strlen("SUCCESS, version \"\"") + 64);
}

static void the_watchdog_is_fed_at_half_its_time(void **state)
{
	struct status_snapshot now = idle();
	struct service_manager m;

	service_manager_init(&m);
	service_manager_ready(&m);
	assert_string_equal(received(), "READY=1");
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "STATUS=SUCCESS, version \"1.0\"");
	now_ms += 9999;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "");
	now_ms += 1;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "WATCHDOG=1");
	now_ms += 9999;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "");
	now_ms += 1;
	service_manager_tick(&m, &now);
	assert_string_equal(received(), "WATCHDOG=1");
}

static void a_watchdog_of_another_process_is_not_ours(void **state)
{
	struct service_manager m;

	setenv("WATCHDOG_PID", "1", 1);
	service_manager_init(&m);
	assert_int_equal(m.ping_every_ms, 0);
}

static void without_systemd_nothing_happens(void **state)
{
	struct status_snapshot now = idle();
	struct service_manager m;

	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	service_manager_init(&m);
	service_manager_ready(&m);
	now_ms += 3600 * 1000;
	service_manager_tick(&m, &now);
	service_manager_stopping();
	assert_string_equal(received(), "");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(beginning_and_end_are_told),
		TEST(what_it_does_is_told_once_for_each_phase),
		TEST(a_failure_is_told_with_its_reason),
		TEST(a_version_makes_no_line_of_its_own),
		TEST(the_watchdog_is_fed_at_half_its_time),
		TEST(a_watchdog_of_another_process_is_not_ours),
		TEST(without_systemd_nothing_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
