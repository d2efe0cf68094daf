/*
 * tree_server: the daemon's API with a scripted machine behind it, and the real tree of ECUs below it.
 *
 *     tree_server [--port N] [--ecu-id ID] [--available ID]... [--child ID:PORT]... [--wait-limit S]
 *
 * Prints "port N" when it listens, then one line per request that reaches the machine (scripted_machine), and obeys
 * lines on stdin: the machine's orders, and
 *
 *     wait                        until no ECU below is in an update; prints "waited"
 *
 * With children, which are asked on 127.0.0.1 as the daemon asks them, it also prints what their states mean whenever
 * that changes, as "below in_update=0 network=0 success=0", and "origins URL..." before they are told to update.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/config/ecu_info.h"
#include "otaclient/api/service.h"
#include "otaclient/tree/tree.h"
#include "tests/support/scripted_machine.h"

static struct api_service *service;
static struct status *status;
static struct tree *tree; /* NULL = no children */
static uint32_t wait_limit_s;
static atomic_bool ending;

static void on_signal(int sig)
{
	api_service_stop(service);
}

static bool is_ending(void *ctx)
{
	return atomic_load(&ending);
}

static void print_summary(void *ctx, const struct summary *now)
{
	printf("below in_update=%d network=%d success=%d\n", now->child_in_update,
		now->child_needs_network, now->all_success);
}

static void print_origins(void *ctx, const struct wire_request *request)
{
	AUTO_BUF struct buf urls = {0};

	for (size_t i = 0; i < request->n_ecus; i++)
		if (buf_printf(&urls, " %s", request->ecus[i].update.url) < 0)
			abort();
	printf("origins%s\n", buf_str(&urls));
}

static void obey(const char *order)
{
	if (strcmp(order, "wait") == 0)
		printf("%s\n",
			tree_wait_for_children(tree, is_ending, NULL) >= 0 ? "waited" : "ended");
	else
		scripted_obey(status, order);
}

/* "ID:PORT" */
static int add_child(struct ecu_info *ecu, const char *text)
{
	struct ecu_secondary *c = &ecu->secondaries[ecu->n_secondaries];

	if (ecu->n_secondaries >= ECU_SECONDARIES_MAX ||
		sscanf(text, "%127[^:]:%u", c->ecu_id, &c->port) != 2)
		return -EINVAL;
	snprintf(c->ip_addr, sizeof(c->ip_addr), "127.0.0.1");
	ecu->n_secondaries++;
	return 0;
}

static void add_available(struct ecu_info *ecu, const char *id)
{
	snprintf(ecu->available_ecu_ids[ecu->n_available], ECU_ID_MAX, "%s", id);
	ecu->n_available++;
}

static int parse_options(int argc, char **argv, struct api_config *config, struct ecu_info *ecu)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!value)
			return -EINVAL;
		if (strcmp(argv[i], "--port") == 0)
			config->port = (uint16_t)atoi(argv[++i]);
		else if (strcmp(argv[i], "--ecu-id") == 0)
			snprintf(ecu->ecu_id, sizeof(ecu->ecu_id), "%s", argv[++i]);
		else if (strcmp(argv[i], "--available") == 0 && ecu->n_available < ECU_IDS_MAX)
			add_available(ecu, argv[++i]);
		else if (strcmp(argv[i], "--wait-limit") == 0)
			wait_limit_s = (uint32_t)atoi(argv[++i]);
		else if (strcmp(argv[i], "--child") != 0 || add_child(ecu, argv[++i]) < 0)
			return -EINVAL;
	}
	return 0;
}

static int start(struct api_config *config, struct ecu_info *ecu,
	const struct request_handler *handler, struct ota_err *err)
{
	static const char *available[ECU_IDS_MAX];
	const struct tree_config tree_config = {.ecu = ecu,
		.status = status,
		.wait_limit_s = wait_limit_s,
		.before_update = print_origins,
		.on_change = print_summary};
	int r = ecu->n_secondaries > 0 ? tree_new(&tree_config, &tree, err) : 0;

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < ecu->n_available; i++)
		available[i] = ecu->available_ecu_ids[i];
	config->available_ecu_ids = available;
	config->n_available = ecu->n_available;
	config->ecu_id = ecu->ecu_id;
	config->tree = tree ? tree_api(tree) : NULL;
	return api_service_start(config, status, handler, &service, err);
}

int main(int argc, char **argv)
{
	static struct ecu_info ecu = {.ecu_id = "main"};
	struct request_handler handler = {.update = scripted_update, .abort = scripted_abort};
	struct api_config config = {.listen_ip = "127.0.0.1", .ecu_info_loaded = true};
	struct ota_err err = {0};

	if (parse_options(argc, argv, &config, &ecu) < 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	status = status_new();
	if (!status)
		return 1;
	handler.ctx = status;
	if (start(&config, &ecu, &handler, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	printf("port %u\n", (unsigned)api_service_port(service));
	if (scripted_orders_start(obey) < 0 || api_service_run(service, NULL) < 0)
		return 1;
	atomic_store(&ending, true);
	scripted_orders_stop();
	api_service_free(service);
	tree_free(tree);
	status_free(status);
	printf("stopped\n");
	return 0;
}
