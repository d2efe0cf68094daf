/*
 * fake_tree: the ECUs below a scripted server. Contract: fake_tree.h.
 */
#include "tests/support/fake_tree.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

enum { CHILDREN_MAX = 64 };

static struct child {
	const char *id;
	bool reports;
	int status;
	char version[256], reason[256], refusal[256];
	struct update_stats update;
} children[CHILDREN_MAX];
static const char *ids[CHILDREN_MAX + 1] = {"main"};
static size_t n_children;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* around everything above */

void fake_tree_add(const char *ecu_id)
{
	if (n_children == CHILDREN_MAX)
		abort();
	ids[n_children + 1] = ecu_id;
	children[n_children++].id = ecu_id;
}

static int add_status(void *ctx, struct wire_status *status)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; r == 0 && i < n_children; i++) {
		const struct child *c = &children[i];
		struct wire_status_ecu entry = {.ecu_id = c->id,
			.firmware_version = c->version,
			.ota_status = c->status,
			.failure_reason = c->reason};

		if (c->status == STATUS_UPDATING)
			entry.update = c->update;
		if (c->reports)
			r = wire_status_add(status, &entry);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

static bool is_named(const struct wire_request *request, const char *id)
{
	for (size_t i = 0; i < request->n_ecus; i++)
		if (strcmp(request->ecus[i].ecu_id, id) == 0)
			return true;
	return false;
}

static int answer_abort(struct child *c, struct wire_answer *answer)
{
	if (c->status != STATUS_UPDATING)
		return wire_answer_add(answer, c->id, API_ABORT_FAILURE,
			"Cannot abort: no active OTA update in progress");
	c->status = STATUS_ABORTED;
	return wire_answer_add(answer, c->id, API_NO_FAILURE, "Abort accepted");
}

static int answer_update(struct child *c, struct wire_answer *answer)
{
	if (c->refusal[0])
		return wire_answer_add(answer, c->id, API_RECOVERABLE, c->refusal);
	c->status = STATUS_UPDATING;
	memset(&c->update, 0, sizeof(c->update));
	return wire_answer_add(answer, c->id, API_NO_FAILURE, "");
}

static int forward(void *ctx, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; r == 0 && i < n_children; i++) {
		if (m == API_ABORT)
			r = answer_abort(&children[i], answer);
		else if (m == API_UPDATE && is_named(request, children[i].id))
			r = answer_update(&children[i], answer);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

const struct api_tree *fake_tree(const char *const **ret_ids, size_t *ret_n)
{
	static const struct api_tree tree = {.forward = forward, .status = add_status};

	if (n_children == 0)
		return NULL;
	*ret_ids = ids;
	*ret_n = n_children + 1;
	return &tree;
}

static void obey(struct child *c, const char *order)
{
	unsigned long long n[3];
	char word[32];

	if (sscanf(order, "status %31s %255s", word, c->version) == 2) {
		c->status = ota_status_from_name(word);
		c->reports = true;
	} else if (sscanf(order, "phase %llu", n) == 1) {
		c->status = STATUS_UPDATING;
		c->update.phase = (enum update_phase)n[0];
	} else if (sscanf(order, "progress %llu %llu %llu", n, n + 1, n + 2) == 3) {
		c->update.processed_files_size = n[0];
		c->update.total_files_size = c->update.total_download_files_size = n[1];
		c->update.downloaded_bytes = c->update.downloaded_files_size = n[2];
	} else if (sscanf(order, "fail %255[^\n]", c->reason) == 1) {
		c->status = STATUS_FAILURE;
	} else if (strcmp(order, "gone") == 0) {
		c->reports = false;
	} else if (sscanf(order, "refuse %255[^\n]", c->refusal) != 1) {
		abort();
	}
}

void fake_tree_obey(const char *order)
{
	char *rest;
	unsigned long n = strtoul(order, &rest, 10);

	if (n < 1 || n > n_children || *rest != ' ')
		abort();
	pthread_mutex_lock(&lock);
	obey(&children[n - 1], rest + 1);
	pthread_mutex_unlock(&lock);
}
