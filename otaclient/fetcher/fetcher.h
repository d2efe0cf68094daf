/*
 * fetcher: downloads by a process without rights, as the daemon sees it.
 *
 * Bytes that nothing vouches for yet are received, decrypted and decompressed in a child that can open neither files
 * nor sockets: it gets files to write to with its jobs, and asks here for addresses and sockets. What it reports is
 * not believed; fetcher_take() hashes what it has written, once nobody can write to it any more.
 *
 * One fetcher belongs to one thread, but for fetcher_wakeup().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"
#include "common/net/http.h"

#define FETCHER_USER    "otafetcher"
#define FETCHER_PROGRAM "otaclient-fetcher" /* beside our own program, or in ../libexec */

enum {
	FETCHER_JOBS_FD = 3, /* in the child */
	FETCHER_NEEDS_FD = 4,
	FETCHER_JOBS_MAX = 48, /* at once */
	FETCHER_CONNECTIONS_DEFAULT = 8,
};

struct fetcher_result {
	int r; /* as in struct http_result */
	struct ota_err err;
	unsigned status, retries;
};

/* An older content, which a patch starts from. */
struct fetcher_base {
	int fd; /* open for reading; the caller's until done() */
	uint64_t size_bytes;
};

struct fetcher_job {
	const char *url;
	const char *name; /* of the file, for sentences; NULL = it is the content of the digest */
	const char *cache_control;   /* as in struct http_request */
	int fd;                      /* open for reading and writing, empty; the caller's */
	const struct digest *digest; /* NULL = not known */
	bool is_zst;                 /* the server has one zstd frame of it */
	/*
	 * The server has a patch to it from this content; NULL = not so. digest is then
	 * that of the patch, and the size is known. What is wrong with it is told at once, and not asked for again.
	 */
	const struct fetcher_base *base;
	bool size_known;
	uint64_t plain_bytes;    /* its size, or if that is not known the most that it may have */
	uint64_t max_wire_bytes; /* the most that the body may have */
	bool undo_encoding, outlast_outages; /* as in struct http_request */
	unsigned tries_max;
	uint32_t total_timeout_ms;
	/* Once, from fetcher_run(); may add jobs. */
	void (*done)(void *ctx, const struct fetcher_result *result);
	void *ctx;
};

struct fetcher;

/*
 * Start the program. @http: proxy, tls_ca, cookies, user_agent, max_connections and times count; borrowed as long as
 * the fetcher is there. 0, or with the sentence what keeps it from starting.
 */
int fetcher_new(const struct http_config *http, struct fetcher **ret_fetcher, struct ota_err *err);
void fetcher_free(struct fetcher *f); /* ends it at once; jobs go without done() */
void fetcher_freep(struct fetcher **f);
#define AUTO_FETCHER CLEANUP(fetcher_freep)

/* For tests: somebody else plays the program, at the other ends of these sockets. Takes both over. NULL: no memory. */
struct fetcher *fetcher_new_for_test(int jobs_fd, int needs_fd);
/* For tests: the process. */
pid_t fetcher_pid(const struct fetcher *f);

/* Copies what it needs of @job. 0 or -ENOMEM. At most FETCHER_JOBS_MAX may be under way. */
int fetcher_add(struct fetcher *f, const struct fetcher_job *job, struct ota_err *err);
size_t fetcher_pending(const struct fetcher *f);

/*
 * Wait up to @wait_ms for something to happen, and see to it. 0; or the program has ended a second time, or does not
 * keep to what was agreed: nothing more comes of it. The first time it is started again, and all jobs begin anew.
 */
int fetcher_run(struct fetcher *f, uint32_t wait_ms, struct ota_err *err);
void fetcher_wakeup(struct fetcher *f); /* any thread: fetcher_run() returns */

/* Body bytes that came since the last call. */
uint64_t fetcher_take_wire_bytes(struct fetcher *f);
/* Milliseconds since the last ones worth the name, or the last result. */
uint64_t fetcher_idle_ms(const struct fetcher *f);
/* What the last failed try came to; errnum 0 = none. */
struct ota_err fetcher_trouble(const struct fetcher *f);

/*
 * The file of a job that is done, in place of *@fd from now on for reading only: is nobody left who could write to it,
 * and what is in it? 0, or -EBUSY: the fetcher still holds it; -EFBIG: it has more than @max_bytes; -EOPNOTSUPP: its
 * file system cannot tell; or -errno.
 */
int fetcher_take(int *fd, uint64_t max_bytes, struct digest_ctx *ctx, struct digest *ret_digest,
	uint64_t *ret_size_bytes);
/* Can the file system of @fd, which is open for writing, tell? */
bool fetcher_can_take(int fd);
