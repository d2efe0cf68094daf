/*
 * scripted_machine: a status that changes as it is told. Contract: scripted_machine.h.
 */
#include "tests/support/scripted_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"

int scripted_update(void *ctx, const struct update_request *r, struct ota_err *err)
{
	if (strcmp(r->url, "http://busy/") == 0)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Another update is running");
	if (strcmp(r->url, "http://invalid/") == 0)
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST, "The URL has no host");
	status_begin_update(ctx, r->version);
	printf("update version=%s url=%s cookies=%s release=%s/%s/%s request_id=%s\n", r->version,
		r->url, r->cookies, r->release_name, r->release_id, r->image_id, r->request_id);
	return 0;
}

int scripted_abort(void *ctx, struct ota_err *err)
{
	struct status_snapshot now;

	status_get(ctx, &now);
	if (now.ota_status != STATUS_UPDATING)
		return -EINVAL;
	if (now.update.phase >= PHASE_PROCESSING_POSTUPDATE)
		return ota_err_set(
			err, -EBUSY, OTA_E_OTA_BUSY, "Cannot abort: the new slot is being set up");
	status_set_live(ctx, STATUS_ABORTED);
	printf("abort\n");
	return 0;
}

int scripted_rollback(void *ctx, struct ota_err *err)
{
	status_set_live(ctx, STATUS_ROLLBACKING);
	printf("rollback\n");
	return 0;
}

int scripted_forecast(void *ctx, const struct update_request *r, struct forecast_report *ret_report,
	struct ota_err *err)
{
	static char last_id[256];
	struct forecast *f = &ret_report->forecast;

	if (strcmp(r->url, "http://busy/") == 0)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Another update is running");
	if (strcmp(last_id, r->request_id) != 0) {
		snprintf(last_id, sizeof(last_id), "%s", r->request_id);
		printf("forecast version=%s url=%s cookies=%s request_id=%s\n", r->version, r->url,
			r->cookies, r->request_id);
		return 0;
	}
	ret_report->ended = true;
	f->work = (struct workload){.download_bytes = 3 << 20, .write_bytes = 4 << 20};
	f->actions[PLAN_FETCH] = (struct forecast_action){2, 2, 3 << 20, 3 << 20};
	f->download_s = f->whole_s = 61;
	return 0;
}

static void set_progress(struct update_stats *u, const void *arg)
{
	const unsigned long long *n = arg;

	u->processed_files_size = n[0];
	u->total_files_size = u->total_download_files_size = n[1];
	u->downloaded_bytes = u->downloaded_files_size = n[2];
}

static void set_plan(struct update_stats *u, const void *arg)
{
	const unsigned long long *n = arg;

	u->planned = (struct plan_figures){
		.made_ms = 1,
		.work = {.download_bytes = n[0], .check_bytes = n[1], .write_bytes = n[1]},
		.net = {1 << 20,                      1000                                  },
		.disk = {8 << 20,                      1000}
        };
}

bool scripted_obey(struct status *status, const char *order)
{
	unsigned long long n[3] = {0};
	struct ota_err err = {0};
	char word[32], text[256];

	if (sscanf(order, "boot %31s %255s", word, text) == 2) {
		status_set_booted(status, ota_status_from_name(word), text, NULL);
	} else if (sscanf(order, "phase %llu", n) == 1) {
		status_set_phase(status, (enum update_phase)n[0]);
	} else if (sscanf(order, "progress %llu %llu %llu", n, n + 1, n + 2) == 3) {
		status_change(status, set_progress, n);
	} else if (sscanf(order, "planned %llu %llu", n, n + 1) == 2) {
		status_change(status, set_plan, n);
	} else if (sscanf(order, "fail %llu %255[^\n]", n, text) == 2) {
		ota_err_set(&err, -EIO, (enum ota_code)n[0], "%s", text);
		status_set_failure(status, STATUS_FAILURE, &err);
	} else if (sscanf(order, "live %llu", n) == 1) {
		status_set_live(status, (enum ota_status)n[0]);
	} else {
		return false;
	}
	return true;
}

/* ---- orders ---- */

static struct {
	void (*obey)(const char *order);
	pthread_t thread;
	int ended[2]; /* a pipe: its other end is closed */
} orders;

static void *read_orders(void *arg)
{
	struct pollfd fds[2] = {0};
	char line[512];
	size_t len = 0;

	fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	fds[1].fd = orders.ended[0];
	while (poll(fds, ARRAY_SIZE(fds), -1) > 0 && !fds[1].revents) {
		if (len == sizeof(line) - 1 || read(STDIN_FILENO, line + len, 1) <= 0)
			break;
		if (line[len++] != '\n')
			continue;
		line[len - 1] = '\0';
		orders.obey(line);
		printf("done %s\n", line);
		len = 0;
	}
	return NULL;
}

int scripted_orders_start(void (*obey)(const char *order))
{
	orders.obey = obey;
	if (pipe2(orders.ended, O_CLOEXEC) < 0)
		return -errno;
	return -pthread_create(&orders.thread, NULL, read_orders, NULL);
}

void scripted_orders_stop(void)
{
	close(orders.ended[1]);
	pthread_join(orders.thread, NULL);
}
