/*
 * forecaster: the forecast that somebody has asked for: a session that looks only, and what came out of it.
 *
 * It is the updater's, which runs it like an update and one of both at a time, and under its lock. Whoever wants a
 * forecast asks again and again with the same request until it has ended; one that nobody asks for any more ends,
 * and so does one whose place an update takes.
 */
#pragma once

#include "otaclient/update/request.h"
#include "otaclient/update/session.h"

enum {
	FORECASTER_LEASE_MS = 30 * 1000, /* clients ask every second or so, over whatever network */
};

struct forecaster {
	struct update_env env; /* the updater's, but nothing in it records, tells or refuses */
	struct status *status; /* in it: the machine's says nothing of a forecast */
	uint64_t max_download_bytes;  /* the updater's, to be told of */
	struct update_request *asked; /* the last one; NULL = there was none */
	bool displaced;               /* it runs or ran on only to end: what runs is an update */
	bool ended;
	struct ota_err err; /* what it failed of, once it has ended */
	struct forecast_report report;
};

/* 0 or -ENOMEM. {0} is harmless to forecaster_done(). */
int forecaster_init(struct forecaster *f);
void forecaster_done(struct forecaster *f);

/* A session for @request, which it takes over, of what @env has. Not while another one runs. NULL: no memory. */
struct update_session *forecaster_session(
	struct forecaster *f, const struct update_env *env, struct update_request *request);

/* It could not be begun, so whoever asks again begins anew. */
void forecaster_forget(struct forecaster *f);

/* An update takes its place. @s: the session; NULL: it is over already, and is being cleaned up. */
void forecaster_displace(struct forecaster *f, struct update_session *s);

/* The sentence for a session that was stopped because nobody wants it any more. */
int forecaster_say_unwanted(const struct update_session *s, struct ota_err *err);

/*
 * Is @request one more question for the forecast that was begun last? It has its request_id, url and version; what
 * opens the server's door (cookies) may be new each time.
 */
bool forecaster_knows(const struct forecaster *f, const struct update_request *request);

/* The answer to it. @s: the session, if it still runs. 0, or what it failed of. */
int forecaster_answer(struct forecaster *f, struct update_session *s,
	struct forecast_report *ret_report, struct ota_err *err);

/* The session is over: keep what came out, or @err. Whoever asks gets it once @f->ended is set. */
void forecaster_keep(
	struct forecaster *f, const struct update_session *s, const struct ota_err *err);

/* In place of claiming the standby slot: read what can be read, touch nothing. */
int step_look_at_slots(struct update_session *s, struct ota_err *err);
