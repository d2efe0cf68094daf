/*
 * api_server: the daemon's API with a scripted machine behind it, for tests of clients.
 *
 *     api_server [--port N] [--no-ecu-info] [--main-is-last | --only-others] [--rollback] [--ticks N] [--child ID]...
 *
 * With --ticks it stops itself when the service has called its timer N times. Prints "port N" when it listens, then one
 * line per request that reaches the machine (scripted_machine), and obeys lines on stdin: the machine's orders, and
 *
 *     child N …                   an ECU below, from 1; orders of its own, see fake_tree.h
 *     fork                        run a child, print what descriptors it has
 *     stop                        stop as a signal would
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/run.h"
#include "otaclient/api/service.h"
#include "tests/support/fake_tree.h"
#include "tests/support/scripted_machine.h"

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

static void obey(const char *order)
{
	if (strncmp(order, "child ", 6) == 0)
		fake_tree_obey(order + 6);
	else if (strcmp(order, "fork") == 0)
		show_descriptors_of_a_child();
	else if (strcmp(order, "stop") == 0)
		raise(SIGTERM);
	else
		scripted_obey(status, order);
}

int main(int argc, char **argv)
{
	static const char *const available[] = {"main", "sub", "main"};
	static const char *const main_is_last[] = {"sub", "main"};
	struct request_handler handler = {
		.update = scripted_update, .abort = scripted_abort, .forecast = scripted_forecast};
	struct api_config config = {
		.listen_ip = "127.0.0.1",
		.ecu_id = "main",
		.available_ecu_ids = available,
		.n_available = ARRAY_SIZE(available),
		.ecu_info_loaded = true,
	};
	struct ota_err err = {0};
	unsigned ticks = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--port") == 0 && i + 1 < argc)
			config.port = (uint16_t)atoi(argv[++i]);
		else if (strcmp(argv[i], "--no-ecu-info") == 0)
			config.ecu_info_loaded = false;
		else if (strcmp(argv[i], "--main-is-last") == 0) {
			config.available_ecu_ids = main_is_last;
			config.n_available = ARRAY_SIZE(main_is_last);
		} else if (strcmp(argv[i], "--only-others") == 0) {
			config.available_ecu_ids = main_is_last;
			config.n_available = 1;
		} else if (strcmp(argv[i], "--rollback") == 0)
			handler.rollback = scripted_rollback;
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
	handler.ctx = status;
	if (api_service_start(&config, status, &handler, &service, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	printf("port %u\n", (unsigned)api_service_port(service));
	if (scripted_orders_start(obey) < 0 || api_service_run(service, NULL) < 0)
		return 1;
	scripted_orders_stop();
	api_service_free(service);
	status_free(status);
	printf("stopped\n");
	return 0;
}
