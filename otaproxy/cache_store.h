/*
 * cache_store: the folder of cached bodies. The file system is the index: an entry is there when its file is.
 *
 *     DIR/v1/<boot id>/<name>   entries written while the kernel had that boot id; names: cache_key.h
 *     DIR/v1/tmp/               unfinished ones
 *     DIR/CACHEDIR.TAG          says that it is a cache, whoever owns that file
 *     DIR/…                     anything else is foreign: never served, removed first when room is needed
 *
 * Nothing is synced. So after a power cut a file may hold wrong bytes, and what another boot wrote is untrusted until
 * somebody has hashed it. Whoever publishes under a digest has hashed the bytes before (body_check).
 *
 * Every function may be called by several threads at once: the store itself is constant once it is open, all state
 * is the file system's. A cache_temp belongs to one thread, except for what is said there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "otaproxy/cache_key.h"
#include "otaproxy/cache_meta.h"

enum {
	CACHE_BOOT_ID_MAX = 36 + 1, /* a UUID with the NUL */
	CACHE_OTHER_BOOTS_MAX =
		64, /* folders of other boots that are searched; older ones are removed */
	CACHE_ATIME_RENEW_S = 60, /* a hit is noted in the file's atime at most this often */
};

#define CACHE_BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

/* 0, or -errno; -EBADMSG: the file holds no UUID. */
int cache_boot_id_read(const char *path, char ret_id[CACHE_BOOT_ID_MAX], struct ota_err *err);

/*
 * For root, before @dir is opened as another user: throw away what is not @owner's of all that a store makes in it.
 * What another user has left would be in the way, and to give it away is not safe: a file may have had other names.
 * Adds to @ret_n how many names have gone. 0, also if there is nothing yet; else what could not be removed.
 */
int cache_store_claim(const char *dir, uid_t owner, unsigned *ret_n, struct ota_err *err);

struct cache_store;

/*
 * Make what is missing of the folders (0700; @dir's parent must be there), throw away what was unfinished, note the
 * other boots' folders. Foreign content stays. -EINVAL: @boot_id is no UUID; -EWOULDBLOCK: another process has it open;
 * -ENOTEMPTY: it has content, and is no cache's folder.
 */
int cache_store_open(
	const char *dir, const char *boot_id, struct cache_store **ret_store, struct ota_err *err);
void cache_store_free(struct cache_store *store);
void cache_store_freep(struct cache_store **store);
#define AUTO_CACHE_STORE CLEANUP(cache_store_freep)

struct cache_hit {
	int fd; /* for reading; the caller's, cache_hit_done() */
	uint64_t body_offset;
	uint64_t size_bytes; /* of the body */
	bool trusted;        /* written, or hashed, since the machine was started */
	unsigned folder;     /* for cache_store_trust() */
	/* CACHE_BY_URL only. Untrusted: the body must hash to meta.digest. */
	struct cache_meta meta;
};
void cache_hit_init(struct cache_hit *hit);
void cache_hit_done(struct cache_hit *hit);
#define AUTO_CACHE_HIT CLEANUP(cache_hit_done)

/*
 * Look for an entry, trusted ones first, and note the use of it for reclaim's order. @ret_hit is initialised and not
 * done here. 0; -ENOENT: there is none (err is left alone); or what the file system says.
 */
int cache_store_find(const struct cache_store *store, const struct cache_key *key,
	struct cache_hit *ret_hit, struct ota_err *err);

/*
 * The caller has hashed the untrusted @hit: from now on it is trusted. 0, also if another thread was faster;
 * -ENOENT: the entry has been dropped or replaced meanwhile (err is left alone), the open hit is good all the same.
 */
int cache_store_trust(const struct cache_store *store, const struct cache_key *key,
	struct cache_hit *hit, struct ota_err *err);

/* Remove the entry, of every boot; none is fine. */
int cache_store_drop(
	const struct cache_store *store, const struct cache_key *key, struct ota_err *err);

/*
 * The vehicle is done: remove all that is in the folder, unfinished and foreign content too. Only the store's own
 * empty folders stay, so that it can go on. What cannot be removed does not stop the rest.
 */
int cache_store_wipe(const struct cache_store *store, struct ota_err *err);

/* A file that becomes an entry, or goes when it is freed. */
struct cache_temp;

int cache_temp_new(
	const struct cache_store *store, struct cache_temp **ret_temp, struct ota_err *err);
void cache_temp_free(struct cache_temp *temp); /* removes the file unless it was published */
void cache_temp_freep(struct cache_temp **temp);
#define AUTO_CACHE_TEMP CLEANUP(cache_temp_freep)

/* For reading and writing, borrowed. The body begins at cache_key_body_offset(). */
int cache_temp_fd(const struct cache_temp *temp);

/*
 * A descriptor for reading what is being written, the caller's; before or after the publishing, from any thread as long
 * as @temp lives; it outlives @temp.
 */
int cache_temp_open_reader(const struct cache_temp *temp, int *ret_fd, struct ota_err *err);

/*
 * Make it the entry of @key, replacing what was there. @meta: NULL for CACHE_BY_DIGEST. -EINVAL: the meta cannot be
 * written (cache_meta.h), is another URL's or has another size than the body. After a failure @temp is still
 * unpublished.
 */
int cache_temp_publish(struct cache_temp *temp, const struct cache_key *key,
	const struct cache_meta *meta, struct ota_err *err);
