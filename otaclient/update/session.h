/*
 * session: everything that one update has in its hands, from the accepted request to the reboot. A
 * rollback is a session without a request.
 *
 * Owned and used by the updater's thread alone, but for what says whether it is to stop: anyone may ask
 * for that, and the workers of the long steps poll session_poll(). How far it is and whether an abort was
 * accepted are under its lock, so that both have one order: what was accepted before the last step that
 * can be stopped has ended stops the update, and what comes later is refused.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/err.h"
#include "common/crypto/cert_store.h"
#include "otaclient/flight/flight_recorder.h"
#include "otaclient/hooks/hooks.h"
#include "otaclient/inventory/inventory.h"
#include "otaclient/inventory/plan.h"
#include "otaclient/proxy/proxy_child.h"
#include "otaclient/proxy/proxy_wishes.h"
#include "otaclient/slot/slot_mount.h"
#include "otaclient/source/image_source.h"
#include "otaclient/standby/standby_check.h"
#include "otaclient/standby/standby_writer.h"
#include "otaclient/status/status.h"
#include "otaclient/update/forecast.h"
#include "otaclient/update/request.h"

/* The ECUs below, which fetch through this one: it does not restart while one of them is in an update. */
struct children {
	/* Until none is: 0; 1 when it was not waited for any longer; or -ECANCELED when @stop has said so. */
	int (*wait)(void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx);
	void *ctx;
};

/* What the machine and its configuration give to every update. Outlives all sessions; nothing in it
 * is owned. */
struct update_env {
	struct status *status;
	struct boot_ctl *boot;
	const struct cert_store *certs;
	struct flight_recorder *recorder; /* NULL = nothing is recorded */
	const char *proxy;                /* for downloads; NULL = straight to the server */
	const char *past_proxy; /* in place of @proxy, if proxy_child does not come up; 〃 */
	struct proxy_child *proxy_child;   /* what is behind @proxy; NULL = none of ours */
	struct proxy_wishes *proxy_wishes; /* says that proxy_child is needed; NULL with it */
	const struct children *children;   /* NULL = none */
	const char *tls_ca;                /* NULL = the system's store */
	const char *run_dir;               /* mount points go below it */
	const char *scratch_dir;           /* on disk, for the image's lists */
	const char *active_root;           /* "/" but in tests */
	unsigned connections;              /* per download thread; 0 = default */
	uint32_t inactivity_ms;            /* no byte for this long fails a download */
	uint32_t retry_base_ms;            /* as in struct http_config; 0 but in tests */
	const char *ecu_id;                /* in the record of an update; NULL = "" */
	uint64_t max_download_bytes;       /* an update that would take more is refused; 0 = any */
	bool proxy_keeps;                  /* what is behind @proxy keeps what passes */
	struct hooks hooks;                /* programs of the integrator */
	/* Gets the record of each update (metrics.h) at its end: before the restart, or once it has failed. NULL is
	 * fine. */
	void (*report)(void *ctx, const char *record);
	void *report_ctx;
};

enum {
	SESSION_ID_MAX = 160,
};

/* Why an update is to stop before its end. */
enum session_stop {
	SESSION_STOP_NOT = 0,
	SESSION_STOP_ABORT,    /* somebody asked for it */
	SESSION_STOP_END,      /* the daemon ends */
	SESSION_STOP_UNWANTED, /* a forecast that nobody asks for any more */
};

/* What an abort may do while a step runs. */
enum abort_rule {
	END_NOW,  /* end the update there and then */
	END_SOON, /* end it behind this step, which is short */
	END_NOT,  /* nothing: the new system is being set up to boot */
};

struct update_session {
	const struct update_env *env;
	struct update_request *request; /* owned; NULL = a rollback */
	bool looks_only;                /* a forecast: nothing is changed */
	char id[SESSION_ID_MAX];        /* "<unix s>-<version>-<8 hex>", for the log */
	char *cookie_header;            /* owned; NULL = none */
	const char *proxy;              /* env's proxy or past_proxy */

	struct image image;
	bool has_image;
	struct slot_pair slots;
	struct slot_mount mount;
	struct inventory *inventory;
	struct plan *plan;
	struct sample net, disk;  /* receiving the image's lists; looking through the slots */
	struct forecast forecast; /* of @plan */
	struct standby_writer *writer;
	struct standby_check *check; /* NULL = the slot is not the image yet */
	bool may_destroy; /* step_prepare_standby has passed: the standby slot's old content is
			     forfeit */
	bool refused;     /* by a hook before anything was touched: no status is to be written */
	bool left_behind; /* an ECU below was in an update for too long to be waited for */
	bool pruned;
	bool has_believed; /* the plan was made on notes of the last update */
	bool believes_nothing; /* the notes on the standby slot were not true: every file is read before it counts */
	bool reported;                            /* its record was sent */
	char standby_version[STATUS_VERSION_MAX]; /* of the standby slot as it was found */
	bool flipped; /* the next boot tries the standby slot, whatever fails now */

	pthread_mutex_t lock;
	enum abort_rule rule; /* under lock: of the step that runs */
	bool abort_accepted;  /* under lock */

	atomic_int stop;                      /* enum session_stop; set under lock */
	atomic_uint_fast64_t wanted_until_ms; /* of a forecast: unless somebody asks for it again */
	atomic_uint_fast64_t published_ms;    /* when the counters were last told to the status */
};

/* Takes @request over; NULL makes a rollback's. NULL: no memory. */
struct update_session *session_new(const struct update_env *env, struct update_request *request);

/* Unmounts and releases everything. */
void session_free(struct update_session *s);
void session_freep(struct update_session **s);
#define AUTO_SESSION CLEANUP(session_freep)

/*
 * Before each step: from here on an abort may do what @rule says. False: the update is to stop here. Once a step was
 * entered with END_NOT nothing stops it any more, unless the update goes back to a step before.
 */
bool session_enter(struct update_session *s, enum abort_rule rule);

/*
 * From any thread: somebody wants the update aborted. 0: it will be, and the live status says so already; -EBUSY: it is
 * too far. @ret_answer->msg is the sentence of the answer either way (docs/api.md).
 */
int session_abort(struct update_session *s, struct ota_err *ret_answer);
bool session_is_aborted(struct update_session *s); /* an abort was accepted */

/* From any thread: the daemon ends. */
void session_request_end(struct update_session *s);

/* "update", "rollback" or "forecast" */
const char *session_name(const struct update_session *s);

/*
 * Polled by long work, on any of its threads: true if the update is to stop. Now and then it also
 * passes the writer's counters on to the status.
 */
bool session_poll(void *session);

/* Pass the writer's counters on to the status now. */
void session_publish(struct update_session *s);

/*
 * The end of the session: have its record sent, once. @failure: what it failed of; NULL: the restart comes next.
 */
void session_report(struct update_session *s, const struct ota_err *failure);

void update_request_free(struct update_request *r);
/* A copy of all strings. NULL: no memory. */
struct update_request *update_request_dup(const struct update_request *r);
