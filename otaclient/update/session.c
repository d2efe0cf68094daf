/*
 * session: life of one update's belongings. Contract: session.h.
 */
#include "otaclient/update/session.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/base/log.h"
#include "otaclient/update/metrics.h"

enum {
	PUBLISH_INTERVAL_MS = 500,
};

void update_request_free(struct update_request *r)
{
	if (!r)
		return;
	free(r->version);
	free(r->url);
	free(r->cookies);
	free(r->release_name);
	free(r->release_id);
	free(r->image_id);
	free(r->request_id);
	free(r);
}

static void request_freep(struct update_request **r)
{
	update_request_free(*r);
}

static char *dup_or_empty(const char *s)
{
	return strdup(s ? s : "");
}

struct update_request *update_request_dup(const struct update_request *r)
{
	CLEANUP(request_freep) struct update_request *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return NULL;
	copy->version = dup_or_empty(r->version);
	copy->url = dup_or_empty(r->url);
	copy->cookies = dup_or_empty(r->cookies);
	copy->release_name = dup_or_empty(r->release_name);
	copy->release_id = dup_or_empty(r->release_id);
	copy->image_id = dup_or_empty(r->image_id);
	copy->request_id = dup_or_empty(r->request_id);
	if (!copy->version || !copy->url || !copy->cookies || !copy->release_name ||
		!copy->release_id || !copy->image_id || !copy->request_id)
		return NULL;
	return TAKE_PTR(copy);
}

/* The version is free text: what a file name or a log line could not carry becomes '_'. */
static void make_id(struct update_session *s)
{
	uint8_t rnd[4];
	char hex[2 * sizeof(rnd) + 1];
	char version[101];

	clock_random(rnd, sizeof(rnd));
	hex_encode(rnd, sizeof(rnd), hex);
	snprintf(version, sizeof(version), "%s", s->request ? s->request->version : "__rollback");
	for (char *p = version; *p; p++)
		if ((unsigned char)*p < 0x20 || strchr("./<>:\"\\|?*", *p))
			*p = '_';
	snprintf(s->id, sizeof(s->id), "%" PRId64 "-%s-%s", clock_unix_s(), version, hex);
}

struct update_session *session_new(const struct update_env *env, struct update_request *request)
{
	struct update_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->env = env;
	s->proxy = env->proxy;
	s->request = request;
	pthread_mutex_init(&s->lock, NULL);
	slot_mount_init(&s->mount);
	s->mount.stop = session_poll;
	s->mount.stop_ctx = s;
	make_id(s);
	return s;
}

void session_free(struct update_session *s)
{
	if (!s)
		return;
	standby_writer_free(s->writer);
	standby_check_free(s->check);
	slot_mount_done(&s->mount);
	plan_free(s->plan);
	inventory_free(s->inventory);
	if (s->has_image)
		image_done(&s->image);
	free(s->cookie_header);
	update_request_free(s->request);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void session_freep(struct update_session **s)
{
	session_free(*s);
}

/* The first reason counts. */
static void set_stop(struct update_session *s, enum session_stop why)
{
	int not_yet = SESSION_STOP_NOT;

	atomic_compare_exchange_strong(&s->stop, &not_yet, (int)why);
}

bool session_enter(struct update_session *s, enum abort_rule rule)
{
	bool go;

	pthread_mutex_lock(&s->lock);
	if (s->abort_accepted)
		set_stop(s, SESSION_STOP_ABORT);
	go = s->rule == END_NOT || atomic_load(&s->stop) == SESSION_STOP_NOT;
	if (go)
		s->rule = rule;
	pthread_mutex_unlock(&s->lock);
	return go;
}

/* The live status is told before the update can notice, and so before it says that it has ended. */
static const char *accept_abort(struct update_session *s)
{
	s->abort_accepted = true;
	status_set_live(s->env->status, STATUS_ABORTING);
	if (s->rule == END_SOON)
		return "Abort queued, will proceed after critical zone exits";
	set_stop(s, SESSION_STOP_ABORT);
	return "Abort accepted, aborting update immediately";
}

int session_abort(struct update_session *s, struct ota_err *ret_answer)
{
	const char *answer = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->abort_accepted)
		answer = "Abort already in progress";
	else if (s->rule != END_NOT)
		answer = accept_abort(s);
	pthread_mutex_unlock(&s->lock);
	if (!answer)
		return ota_err_set(ret_answer, -EBUSY, OTA_E_OTA_BUSY,
			"Cannot abort: update is in FINAL_PHASE");
	snprintf(ret_answer->msg, sizeof(ret_answer->msg), "%s", answer);
	return 0;
}

bool session_is_aborted(struct update_session *s)
{
	bool aborted;

	pthread_mutex_lock(&s->lock);
	aborted = s->abort_accepted;
	pthread_mutex_unlock(&s->lock);
	return aborted;
}

static void stop_for(struct update_session *s, enum session_stop why)
{
	pthread_mutex_lock(&s->lock);
	set_stop(s, why);
	pthread_mutex_unlock(&s->lock);
}

void session_request_end(struct update_session *s)
{
	stop_for(s, SESSION_STOP_END);
}

const char *session_name(const struct update_session *s)
{
	return s->looks_only ? "forecast" : s->request ? "update" : "rollback";
}

struct counters {
	struct writer_counts writer;
	uint64_t kept_files, kept_bytes;
};

static void change_counters(struct update_stats *u, const void *arg)
{
	const struct counters *c = arg;

	u->processed_files_num = c->kept_files + c->writer.processed_files;
	u->processed_files_size = c->kept_bytes + c->writer.processed_bytes;
	u->removed_files_num = c->writer.removed_entries;
	u->written_bytes = c->writer.written_bytes;
}

void session_publish(struct update_session *s)
{
	struct counters c = {0};

	if (!s->writer)
		return;
	standby_writer_counts(s->writer, &c.writer);
	c.kept_files = s->plan->sums[PLAN_KEEP].files;
	c.kept_bytes = s->plan->sums[PLAN_KEEP].bytes;
	status_change(s->env->status, change_counters, &c);
}

bool session_poll(void *session)
{
	struct update_session *s = session;
	uint64_t now = clock_monotonic_ms();
	uint64_t last = atomic_load(&s->published_ms);

	if (now - last >= PUBLISH_INTERVAL_MS &&
		atomic_compare_exchange_strong(&s->published_ms, &last, now))
		session_publish(s);
	if (s->looks_only && now > atomic_load(&s->wanted_until_ms))
		stop_for(s, SESSION_STOP_UNWANTED);
	return atomic_load(&s->stop) != SESSION_STOP_NOT;
}

/*
 * The proxy is still wanted, so it is there if it ever was; without its word the record goes out as well. Where this
 * update went another way, it has nothing to say about it.
 */
static bool ask_proxy(const struct update_session *s, struct proxy_counts *ret_counts)
{
	const struct update_env *env = s->env;
	const char *url = env->proxy_child && s->proxy == env->proxy
				  ? proxy_child_url(env->proxy_child)
				  : NULL;
	struct ota_err err = {0};

	if (!url)
		return false;
	if (proxy_counts_ask(url, ret_counts, &err) == 0)
		return true;
	log_debug("Update %s: its record goes without what the proxy has counted: %s", s->id,
		err.msg);
	return false;
}

/* The sums are taken now, when no worker counts any more. */
void session_report(struct update_session *s, const struct ota_err *failure)
{
	const struct update_env *env = s->env;
	AUTO_BUF struct buf record = {0};
	struct proxy_counts counts;
	struct status_snapshot now;
	struct metrics m;

	/* A rollback is none of the server's statistics. */
	if (s->reported || !env->report || !s->request)
		return;
	s->reported = true;
	session_publish(s);
	status_get(env->status, &now);
	m = (struct metrics){
		.now = &now,
		.ecu_id = env->ecu_id ? env->ecu_id : "",
		.session_id = s->id,
		.request_id = s->request->request_id,
		.standby_version = s->standby_version,
		.target_version = s->request->version,
		.bootloader = env->boot->ops->name,
		.in_place = s->plan && !s->plan->rebuild,
		.proxy_keeps = env->proxy_keeps,
		.failure = failure,
		.failed_status = session_is_aborted(s) ? STATUS_ABORTED : STATUS_FAILURE,
		.restarts = !failure,
		.now_ms = clock_monotonic_ms(),
	};
	if (ask_proxy(s, &counts))
		m.proxy_counts = &counts;
	if (s->has_image) {
		m.n_directories = s->image.table->n_dirs;
		m.n_symlinks = s->image.table->n_symlinks;
	}
	if (metrics_record(&m, &record) == 0)
		env->report(env->report_ctx, buf_str(&record));
	else
		log_warning("Update %s: no memory for its record", s->id);
}
