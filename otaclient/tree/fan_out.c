/*
 * fan_out: hand one request on to several direct children at once. Contract: fan_out.h.
 *
 * Each child is asked in a thread of its own, into a place of its own; they are put together when all have ended. What
 * children say is not trusted: entries are bounded in number and size, so that the answer of this ECU fits into a
 * message whatever is below.
 */
#include "otaclient/tree/fan_out.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/workers.h"
#include "common/config/ecu_info.h"
#include "otaclient/status/text.h"

static_assert((int)FAN_OUT_CHILDREN_MAX >= (int)ECU_SECONDARIES_MAX,
	"more children than are asked at once");

/* One child, and what came of it. */
struct asked {
	struct wire_answer answer;
	int r; /* 0 or what peer_ask() returned */
	struct ota_err err;
};

struct run {
	const struct fan_out *f;
	enum api_method method;
	const struct wire_request *request;
	struct asked asked[FAN_OUT_CHILDREN_MAX];
};
#define AUTO_RUN CLEANUP(run_freep)

static void run_freep(struct run **run)
{
	if (*run)
		for (size_t i = 0; i < FAN_OUT_CHILDREN_MAX; i++)
			wire_answer_done(&(*run)->asked[i].answer);
	free(*run);
}

/* A failure is that child's, never the run's. */
static int ask(void *ctx, size_t index, struct ota_err *err)
{
	struct run *run = ctx;
	struct asked *a = &run->asked[index];

	a->r = peer_ask_until(&run->f->children[index]->address, run->method, run->request,
		PEER_TIMEOUT_MS, run->f->stop, &a->answer, &a->err);
	return 0;
}

static int add_failure(const struct run *run, size_t i, struct wire_answer *answer)
{
	const struct tree_child *child = run->f->children[i];
	const struct asked *a = &run->asked[i];
	char sentence[OTA_ERR_MSG_MAX + ECU_ID_MAX];

	if (a->r == -EOPNOTSUPP && run->method == API_ABORT)
		snprintf(sentence, sizeof(sentence),
			"ECU %s at %s does not support the abort endpoint (UNIMPLEMENTED)",
			child->ecu_id, child->address.host);
	else
		snprintf(sentence, sizeof(sentence), "ECU %s cannot be asked: %s", child->ecu_id,
			a->err.msg);
	text_repair(sentence);
	log_warning("%s", sentence);
	return wire_answer_add(answer, child->ecu_id,
		run->method == API_ABORT ? (int)API_ABORT_FAILURE : (int)API_RECOVERABLE, sentence);
}

/* May child @i say this? Not for us or for another one that is asked, and not for an ECU that cannot be. */
static bool is_sound(const struct run *run, size_t i, const struct wire_answer_ecu *ecu)
{
	for (size_t k = 0; k < run->f->n_children; k++)
		if (k != i && strcmp(ecu->ecu_id, run->f->children[k]->ecu_id) == 0)
			return false;
	return ecu->ecu_id[0] && strlen(ecu->ecu_id) < ECU_ID_MAX &&
	       strcmp(ecu->ecu_id, run->f->own_id) != 0;
}

static int add_answer(const struct run *run, size_t i, struct wire_answer *answer)
{
	const struct wire_answer *said = &run->asked[i].answer;
	char message[FAN_OUT_MESSAGE_MAX];
	size_t n_dropped = 0;
	int r = 0;

	for (size_t k = 0; r == 0 && k < said->n_ecus; k++) {
		const struct wire_answer_ecu *ecu = &said->ecus[k];

		if (answer->n_ecus >= WIRE_ECUS_MAX || !is_sound(run, i, ecu)) {
			n_dropped++;
			continue;
		}
		text_put(message, sizeof(message), ecu->message);
		r = wire_answer_add(answer, ecu->ecu_id, ecu->result, message);
		if (r == 0 && ecu->result == API_NO_FAILURE && run->f->accepted)
			run->f->accepted(run->f->ctx, i, ecu->ecu_id);
	}
	if (n_dropped > 0)
		log_warning("%zu entries of the answer of ECU %s make no sense and were left out",
			n_dropped, run->f->children[i]->ecu_id);
	return r;
}

int fan_out_run(const struct fan_out *f, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	AUTO_RUN struct run *run = calloc(1, sizeof(*run));
	int r;

	assert(f->n_children <= FAN_OUT_CHILDREN_MAX);
	if (!run)
		return -ENOMEM;
	run->f = f;
	run->method = m;
	run->request = request;
	r = workers_run(f->n_children, 1, (unsigned)f->n_children, ask, run, NULL);
	for (size_t i = 0; r == 0 && i < f->n_children; i++)
		r = run->asked[i].r < 0 ? add_failure(run, i, answer) : add_answer(run, i, answer);
	return r;
}
