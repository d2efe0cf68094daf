/*
 * tree_server: the daemon's API with a scripted machine behind it, and the real tree of ECUs below it.
 *
 *     tree_server [--port N] [--ecu-id ID] [--available ID]... [--child ID:PORT]... [--wait-limit S]
 *
 * Prints "port N" when it listens, then one line per request that reaches the machine. Update is accepted unless
 * the URL is http://busy/; the machine then is UPDATING until lines on stdin move it:
 *
 *     boot STATUS VERSION         what booted
 *     phase NUMBER                the phase of the update
 *     progress DONE TOTAL BYTES   sizes processed, in all, and downloaded
 *     live NUMBER                 the live status
 *     wait                        until no ECU below is in an update; prints "waited"
 *
 * With children, which are asked on 127.0.0.1 as the daemon asks them, it also prints what their states mean whenever
 * that changes, as "below in_update=0 network=0 success=0", and "origins URL..." before they are told to update.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/config/ecu_info.h"
#include "otaclient/api/service.h"
#include "otaclient/tree/tree.h"

static struct api_service *service;
static struct status *status;
static struct tree *tree; /* NULL = no children */
static uint32_t wait_limit_s;
static atomic_bool ending;

static void on_signal(int sig)
{
	api_service_stop(service);
}

static int fake_update(void *ctx, const struct update_request *r, struct ota_err *err)
{
	if (strcmp(r->url, "http://busy/") == 0)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Another update is running");
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

static void set_progress(struct update_stats *u, const void *arg)
{
	const unsigned long long *n = arg;

	u->processed_files_size = n[0];
	u->total_files_size = u->total_download_files_size = n[1];
	u->downloaded_bytes = u->downloaded_files_size = n[2];
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

static void obey(char *line)
{
	unsigned long long n[3] = {0};
	char word[32], text[256];

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "boot %31s %255s", word, text) == 2)
		status_set_booted(status, ota_status_from_name(word), text, NULL);
	else if (sscanf(line, "phase %llu", n) == 1)
		status_set_phase(status, (enum update_phase)n[0]);
	else if (sscanf(line, "progress %llu %llu %llu", n, n + 1, n + 2) == 3)
		status_change(status, set_progress, n);
	else if (sscanf(line, "live %llu", n) == 1)
		status_set_live(status, (enum ota_status)n[0]);
	else if (strcmp(line, "wait") == 0)
		printf("%s\n",
			tree_wait_for_children(tree, is_ending, NULL) >= 0 ? "waited" : "ended");
	printf("done %s\n", line);
}

/* Not cancelled at the end: the address sanitizer cannot bear that. */
static void *read_orders(void *arg)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char line[512];

	setvbuf(stdin, NULL, _IONBF, 0); /* what has been read is no longer there for poll() */
	while (!atomic_load(&ending)) {
		if (poll(&in, 1, 50) <= 0)
			continue;
		if (!fgets(line, sizeof(line), stdin))
			break;
		obey(line);
	}
	return NULL;
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
	const struct request_handler handler = {.update = fake_update, .abort = fake_abort};
	struct api_config config = {.listen_ip = "127.0.0.1", .ecu_info_loaded = true};
	struct ota_err err = {0};
	pthread_t orders;

	if (parse_options(argc, argv, &config, &ecu) < 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	status = status_new();
	if (!status)
		return 1;
	if (start(&config, &ecu, &handler, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	printf("port %u\n", (unsigned)api_service_port(service));
	if (pthread_create(&orders, NULL, read_orders, NULL) != 0 || api_service_run(service) < 0)
		return 1;
	atomic_store(&ending, true);
	pthread_join(orders, NULL);
	api_service_free(service);
	tree_free(tree);
	status_free(status);
	printf("stopped\n");
	return 0;
}
