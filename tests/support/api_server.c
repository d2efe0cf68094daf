/*
 * api_server: the daemon's API with a scripted machine behind it, for tests of clients.
 *
 *     api_server [--port N] [--no-ecu-info] [--main-is-last] [--rollback] [--ticks N] [--child ID]...
 *
 * With --ticks it stops itself when the service has called its timer N times. Prints "port N" when it listens, then one
 * line per request that reaches the machine. Update is accepted unless the URL says otherwise: http://busy/,
 * http://invalid/; the machine then is UPDATING until lines on stdin move it:
 *
 *     boot STATUS VERSION         what booted
 *     phase NUMBER                the phase of the update
 *     progress DONE TOTAL BYTES   sizes processed, in all, and downloaded
 *     fail CODE SENTENCE          FAILURE
 *     live NUMBER                 the live status
 *     child N …                   an ECU below, from 1; orders of its own, see fake_tree.h
 *     fork                        run a child, print what descriptors it has
 *     stop                        stop as a signal would
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/run.h"
#include "otaclient/api/service.h"
#include "tests/support/fake_tree.h"

static struct api_service *service;
static struct status *status;

static void on_signal(int sig)
{
	api_service_stop(service);
}

static void count_tick(void *ctx)
{
	unsigned *left = ctx;

	if (*left > 0 && --*left == 0)
		api_service_stop(service);
}

static int fake_update(void *ctx, const struct update_request *r, struct ota_err *err)
{
	if (strcmp(r->url, "http://busy/") == 0)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Another update is running");
	if (strcmp(r->url, "http://invalid/") == 0)
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST, "The URL has no host");
	status_begin_update(status, r->version);
	printf("update version=%s url=%s cookies=%s release=%s/%s/%s request_id=%s\n", r->version,
		r->url, r->cookies, r->release_name, r->release_id, r->image_id, r->request_id);
	return 0;
}

static int fake_abort(void *ctx, struct ota_err *err)
{
	struct status_snapshot now;

	status_get(status, &now);
	if (now.ota_status != STATUS_UPDATING)
		return -EINVAL;
	if (now.update.phase >= PHASE_PROCESSING_POSTUPDATE)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Cannot abort: the new slot is being set up");
	status_set_live(status, STATUS_ABORTED);
	printf("abort\n");
	return 0;
}

static int fake_rollback(void *ctx, struct ota_err *err)
{
	status_set_live(status, STATUS_ROLLBACKING);
	printf("rollback\n");
	return 0;
}

static void set_progress(struct update_stats *u, const void *arg)
{
	const unsigned long long *n = arg;

	u->processed_files_size = n[0];
	u->total_files_size = u->total_download_files_size = n[1];
	u->downloaded_bytes = u->downloaded_files_size = n[2];
}

static void show_descriptors_of_a_child(void)
{
	const char *const argv[] = {"ls", "/proc/self/fd", NULL};
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = &out}, &err) < 0)
		printf("failed %s\n", err.msg);
	for (char *p = out.data; p && *p; p++)
		if (*p == '\n')
			*p = ' ';
	printf("child %s\n", buf_str(&out));
}

static void obey(char *line)
{
	unsigned long long n[3] = {0};
	struct ota_err err = {0};
	char word[32], text[256];

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "boot %31s %255s", word, text) == 2)
		status_set_booted(status, ota_status_from_name(word), text, NULL);
	else if (sscanf(line, "phase %llu", n) == 1)
		status_set_phase(status, (enum update_phase)n[0]);
	else if (sscanf(line, "progress %llu %llu %llu", n, n + 1, n + 2) == 3)
		status_change(status, set_progress, n);
	else if (sscanf(line, "fail %llu %255[^\n]", n, text) == 2) {
		ota_err_set(&err, -EIO, (enum ota_code)n[0], "%s", text);
		status_set_failure(status, STATUS_FAILURE, &err);
	} else if (sscanf(line, "live %llu", n) == 1)
		status_set_live(status, (enum ota_status)n[0]);
	else if (strncmp(line, "child ", 6) == 0)
		fake_tree_obey(line + 6);
	else if (strcmp(line, "fork") == 0)
		show_descriptors_of_a_child();
	else if (strcmp(line, "stop") == 0)
		raise(SIGTERM);
	printf("done %s\n", line);
}

/* Until stdin ends, or the read end of the pipe @arg sees its other end closed. (A thread that is cancelled instead
 * is reported by the address sanitizer now and then.) */
static void *read_orders(void *arg)
{
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
                {.fd = *(int *)arg                 }
        };
	char line[512];
	size_t len = 0;

	while (poll(fds, ARRAY_SIZE(fds), -1) > 0 && !fds[1].revents) {
		if (len == sizeof(line) - 1 || read(STDIN_FILENO, line + len, 1) <= 0)
			break;
		line[len + 1] = '\0';
		if (line[len++] != '\n')
			continue;
		obey(line);
		len = 0;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const available[] = {"main", "sub", "main"};
	static const char *const main_is_last[] = {"sub", "main"};
	struct request_handler handler = {.update = fake_update, .abort = fake_abort};
	struct api_config config = {
		.listen_ip = "127.0.0.1",
		.ecu_id = "main",
		.available_ecu_ids = available,
		.n_available = ARRAY_SIZE(available),
		.ecu_info_loaded = true,
	};
	struct ota_err err = {0};
	unsigned ticks = 0;
	pthread_t orders;
	int ended[2];

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--port") == 0 && i + 1 < argc)
			config.port = (uint16_t)atoi(argv[++i]);
		else if (strcmp(argv[i], "--no-ecu-info") == 0)
			config.ecu_info_loaded = false;
		else if (strcmp(argv[i], "--main-is-last") == 0) {
			config.available_ecu_ids = main_is_last;
			config.n_available = ARRAY_SIZE(main_is_last);
		} else if (strcmp(argv[i], "--rollback") == 0)
			handler.rollback = fake_rollback;
		else if (strcmp(argv[i], "--ticks") == 0 && i + 1 < argc) {
			ticks = (unsigned)atoi(argv[++i]);
			config.tick = count_tick;
			config.tick_ctx = &ticks;
		} else if (strcmp(argv[i], "--child") == 0 && i + 1 < argc)
			fake_tree_add(argv[++i]);
		else
			return 2;
	}
	config.tree = fake_tree(&config.available_ecu_ids, &config.n_available);
	setvbuf(stdout, NULL, _IOLBF, 0);
	status = status_new();
	if (!status)
		return 1;
	if (api_service_start(&config, status, &handler, &service, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	printf("port %u\n", (unsigned)api_service_port(service));
	if (pipe2(ended, O_CLOEXEC) < 0 ||
		pthread_create(&orders, NULL, read_orders, &ended[0]) != 0 ||
		api_service_run(service) < 0)
		return 1;
	close(ended[1]);
	pthread_join(orders, NULL);
	api_service_free(service);
	status_free(status);
	printf("stopped\n");
	return 0;
}
