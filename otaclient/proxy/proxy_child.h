/*
 * proxy_child: the caching proxy as a program that the daemon starts, watches and stops.
 *
 * It runs while somebody wants it, and PROXY_CHILD_KEEP_MS at least once it has started; a proxy that
 * dies is started again. It never outlives the daemon. What it is told is its command line and the
 * file of origins:
 *
 *     otaproxy --listen ADDR --port N --cache-dir DIR [--upper-proxy URL] [--tls-ca FILE]
 *              [--https] [--no-cache] [--origins FILE] [--user NAME] [--log-level L]
 *              [--external DIR]...
 *     otaproxy --wipe --cache-dir DIR [--user NAME]
 *
 * All functions but new and free may be called from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

enum {
	PROXY_CHILD_KEEP_MS = 120 * 1000,
	PROXY_CHILD_TERM_MS = 10 * 1000, /* from SIGTERM to SIGKILL */
	/* Whoever lived PROXY_CHILD_SOUND_MS begins with the shortest back-off again. */
	PROXY_CHILD_BACKOFF_MIN_MS = 1000,
	PROXY_CHILD_BACKOFF_MAX_MS = 30 * 1000,
	PROXY_CHILD_SOUND_MS = 60 * 1000,
};

/* Borrowed for the call of proxy_child_new(). */
struct proxy_child_config {
	const char *program;     /* absolute path */
	const char *listen_addr; /* IPv4 or IPv6; "0.0.0.0" and "::" are any */
	uint16_t port;
	const char *cache_dir;
	const char *upper_proxy; /* URL; NULL = none */
	const char *tls_ca; /* file that https servers must lead to; NULL = the system's store */
	bool https;         /* ask every origin by TLS */
	bool use_origins;   /* tell it the file that proxy_child_origins() writes */
	bool no_cache;
	/* Whether a disk with files to take from is plugged in is seen at each start (external_cache.h). */
	bool external_disk;
	const char *external_folder; /* with such files, mounted by somebody else; NULL = none */
	const char *user;      /* that it becomes, a name or "uid:gid"; NULL = it stays as we are */
	const char *run_dir;   /* for the file of origins and the disk; made if it is missing */
	const char *log_level; /* NULL = its default */
	/* One sentence per event, from the supervising thread; @trouble: worth a warning. NULL is fine. */
	void (*note)(void *ctx, bool trouble, const char *sentence);
	void *note_ctx;
};

/* Nothing is started yet. 0, or -ENOMEM, or pthread_create's error. */
struct proxy_child;
int proxy_child_new(const struct proxy_child_config *config, struct proxy_child **ret_child,
	struct ota_err *err);

/* Stops the program (for which it may take PROXY_CHILD_TERM_MS) and forgets what was wanted. */
void proxy_child_free(struct proxy_child *c);
void proxy_child_freep(struct proxy_child **c);
#define AUTO_PROXY_CHILD CLEANUP(proxy_child_freep)

/* Start it if it does not run, or let it end when its time is over. Returns at once. */
void proxy_child_want(struct proxy_child *c, bool wanted);

/*
 * Nobody wants it any more and the vehicle is done: once it has ended, its cache is emptied. Once, until it is
 * wanted again; may be repeated.
 */
void proxy_child_finish(struct proxy_child *c);

/* Replace the file of origins (proxy_origins.h). A proxy that runs already may go on with the old ones. */
int proxy_child_origins(
	struct proxy_child *c, const char *const *origins, size_t n_origins, struct ota_err *err);

/* Where it is asked, "http://127.0.0.1:8082/", if it runs now and is to; else NULL. Lives as long as @c. */
const char *proxy_child_url(struct proxy_child *c);

/*
 * Until it answers a GET with anything, as HTTP. @stop (may be NULL) is asked several times a second whether to
 * give up. 0, or what proxy_ready_wait() could not do, or with E311
 *   -ETIMEDOUT  with the last thing that was in the way
 *   -ECANCELED  @stop has said so
 *   -ESHUTDOWN  it is not wanted, or not any more
 *   -EINVAL     it refuses its command line; it is not started again until it is wanted anew
 */
int proxy_child_wait_ready(struct proxy_child *c, uint32_t timeout_ms, bool (*stop)(void *ctx),
	void *ctx, struct ota_err *err);
