/*
 * fetch_pool: bring contents of an image from its server into a folder, each under its digest.
 *
 * A content is asked for as a patch where one was chosen, else as a compressed blob where the image has one, else as
 * a plain file of the image. Its bytes count only when their digest is right, and only then get their name. A patch
 * that is of no use, for whatever reason, costs a warning and the whole content; many in a row end the asking for more.
 *
 * Formats: docs/formats.md, "URLs of an image's files" and "ota-file-cache-control".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/image/file_table.h"
#include "common/image/patch_list.h"
#include "common/net/http.h"

enum {
	FETCH_THREADS_DEFAULT = 2,
	FETCH_INACTIVITY_MS = 600 * 1000, /* a long tunnel is no reason to give up */
};
#define FETCH_UNKNOWN_SIZE_MAX_BYTES ((uint64_t)4 << 30)

struct fetch_config {
	struct http_config http;         /* proxy, tls_ca, cookies, … */
	const char *base_url;            /* exactly one '/' at its end */
	const char *rootfs_dir;          /* of the image */
	const char *compressed_dir;      /* "" = none */
	int store_dir_fd;                /* verified contents land here under their digest (hex) */
	unsigned n_threads;              /* 0 = FETCH_THREADS_DEFAULT */
	uint32_t inactivity_ms;          /* no byte for this long fails the pool; 0 = the above */
	uint64_t max_unknown_size_bytes; /* limit where the list gives no size; 0 = the above */

	const struct patch_list *patches; /* NULL = none */
	/* The patch for a content, an index of the list; FILE_TABLE_NONE = fetch the whole. Any thread. */
	uint32_t (*patch_of)(void *ctx, uint32_t content);
	/* The older content of a patch, open for reading, or -errno. Any thread. */
	int (*open_base)(void *ctx, uint32_t base);
	void *patch_ctx;
};

struct fetch_progress {
	uint64_t files, plain_bytes, wire_bytes, errors;
};

/*
 * Fetch all of @contents (indices into @table's contents, each once). Both callbacks may be NULL.
 * progress() is called from the pool's threads, one at a time, with what was added since its last
 * call: at most every 200 ms and per finished file. stop() is polled by the caller's thread; true
 * ends the pool.
 *
 * Returns 0 when every content stands in the store, or the first failure, whose sentence names the
 * content; all other transfers are then dropped, what is finished stays:
 *
 * - -ECANCELED: stop() said so (E207)
 * - -EACCES: 401 or 403 (E204)
 * - -ENOENT, -EBADMSG, -EFBIG: the server has not what the image lists (E203)
 * - -ENOSPC, -EDQUOT: the store is full (E307)
 * - -ETIMEDOUT, -EIO, -EPROTO: the network or the server (E100)
 *
 * Nothing here is made durable: the owner of the store syncs its file system.
 */
int fetch_pool_run(const struct fetch_config *config, const struct file_table *table,
	const uint32_t *contents, size_t n_contents,
	void (*progress)(void *ctx, const struct fetch_progress *delta), bool (*stop)(void *ctx),
	void *ctx, struct ota_err *err);
