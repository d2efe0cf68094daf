/*
 * check_job: from one place where the body may lie to the next, until one is right. Contract: check_job.h.
 *
 * A copy takes no more of the disk than what is fetched may: it is begun, and goes on, only while there is room for all
 * of it below the hard mark.
 */
#include "otaproxy/check_job.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "otaproxy/body_check.h"

enum {
	PIECE_BYTES = 64 * 1024,
	/* Of what is compressed: four bytes may stand for 128 KiB, and 32 MiB are hashed in well below 100 ms. */
	ZST_PIECE_BYTES = 1024,
};

/* What comes next; or -errno: nothing is to be had here. */
enum {
	DONE,
	MORE,
};

struct check_job {
	const struct checker_config *config;
	struct cache_key key;
	unsigned place;          /* 0: the store; from 1 on: the external caches */
	struct cache_hit hit;    /* what is open there; fd -1 = nothing yet */
	struct cache_temp *copy; /* NULL = it is an entry already */
	struct body_check *check;
	uint64_t at; /* of the body, that has been hashed */
};

struct check_job *check_job_new(const struct checker_config *config, const struct cache_key *key)
{
	struct check_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->config = config;
	j->key = *key;
	cache_hit_init(&j->hit);
	j->check = body_check_new();
	if (!j->check) {
		free(j);
		return NULL;
	}
	return j;
}

void check_job_free(struct check_job *j)
{
	if (!j)
		return;
	cache_hit_done(&j->hit);
	cache_temp_free(j->copy);
	body_check_free(j->check);
	free(j);
}

static int leave_place(struct check_job *j)
{
	cache_hit_done(&j->hit);
	cache_hit_init(&j->hit);
	cache_temp_free(TAKE_PTR(j->copy));
	j->at = 0;
	j->place++;
	return MORE;
}

/* ---- the store ---- */

static int open_entry(struct check_job *j, struct ota_err *err)
{
	/* What is kept by URL has the digest of its very bytes in its head. */
	const struct digest *digest =
		j->key.kind == CACHE_BY_URL ? &j->hit.meta.digest : &j->key.digest;
	int r = cache_store_find(j->config->store, &j->key, &j->hit, err);

	if (r < 0)
		return r;
	if (j->hit.trusted)
		return DONE;
	r = body_check_start(j->check, digest, j->key.form, BODY_CONTENT_MAX_BYTES);
	return r < 0 ? r : MORE;
}

static int end_entry(struct check_job *j, int verdict, struct ota_err *err)
{
	int r = -ENOENT;

	if (verdict == 0)
		return cache_store_trust(j->config->store, &j->key, &j->hit, err);
	counters_add(j->config->counters, COUNTER_REJECTED, 1);
	log_warning("An entry of the cache is damaged and has been dropped");
	r = cache_store_drop(j->config->store, &j->key, err);
	return r < 0 ? r : -ENOENT;
}

/* ---- external caches ---- */

static bool has_room(const struct check_job *j)
{
	return inflight_room(j->config->inflight) == ROOM_FREE &&
	       reclaim_would_fit(j->config->store, &j->config->marks, j->hit.size_bytes - j->at);
}

static int open_file(const char *folder, const struct cache_key *key)
{
	char name[CACHE_NAME_MAX], path[PATH_MAX];
	AUTO_CLOSE int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cache_key_name(key, name);
	snprintf(path, sizeof(path), "data/%s", name);
	return dir_fd < 0 ? -errno
			  : openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int open_external(struct check_job *j, const char *folder, struct ota_err *err)
{
	struct stat st;
	int r;

	j->hit.fd = open_file(folder, &j->key);
	if (j->hit.fd < 0 || fstat(j->hit.fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -ENOENT;
	j->hit.size_bytes = (uint64_t)st.st_size;
	if (!has_room(j))
		return -ENOENT;
	r = cache_temp_new(j->config->store, &j->copy, err);
	if (r == 0)
		r = body_check_start(j->check, &j->key.digest, j->key.form, BODY_CONTENT_MAX_BYTES);
	return r < 0 ? r : MORE;
}

static int end_external(struct check_job *j, int verdict, struct ota_err *err)
{
	if (verdict == 0)
		return cache_temp_publish(j->copy, &j->key, NULL, err);
	if (verdict == -EBADMSG)
		counters_add(j->config->counters, COUNTER_REJECTED, 1);
	if (verdict == -ENOSPC || verdict == -EDQUOT)
		inflight_set_room(j->config->inflight, ROOM_NONE);
	return -ENOENT;
}

/* ---- step by step ---- */

/* MORE: there is something to hash; DONE: no place is left, or it is trusted; or -errno. */
static int open_place(struct check_job *j, struct ota_err *err)
{
	const char *folder;

	if (j->place == 0)
		return open_entry(j, err);
	folder = j->key.kind == CACHE_BY_DIGEST ? j->config->externals[j->place - 1] : NULL;
	return folder ? open_external(j, folder, err) : DONE;
}

/* Hash a piece. MORE, DONE: the body is right; or -errno. */
static int feed(struct check_job *j)
{
	static _Thread_local uint8_t piece[PIECE_BYTES];
	const uint64_t most = j->key.form == CACHE_ZST ? ZST_PIECE_BYTES : PIECE_BYTES;
	ssize_t n;
	int r;

	if (j->at == j->hit.size_bytes)
		return body_check_finish(j->check);
	n = pread(j->hit.fd, piece, (size_t)MIN_OF(j->hit.size_bytes - j->at, most),
		(off_t)(j->hit.body_offset + j->at));
	if (n < 0 && errno == EINTR)
		return MORE;
	if (n <= 0)
		return n < 0 ? -errno : -EBADMSG;
	r = body_check_feed(j->check, piece, (size_t)n);
	if (r == 0 && j->copy)
		r = file_write_all(cache_temp_fd(j->copy), piece, (size_t)n);
	j->at += (uint64_t)n;
	return r < 0 ? r : MORE;
}

static int step(struct check_job *j, struct ota_err *err)
{
	int r;

	if (j->hit.fd < 0) {
		r = open_place(j, err);
	} else {
		r = feed(j);
		if (r == MORE)
			return r;
		r = j->copy ? end_external(j, r, err) : end_entry(j, r, err);
	}
	if (r < 0 && r != -ENOENT && err->errnum != 0)
		log_warning("%s", err->msg);
	/* An entry that the store cannot handle is not to be had elsewhere either. */
	if (r < 0 && r != -ENOENT && j->place == 0)
		return DONE;
	return r < 0 ? leave_place(j) : r;
}

int check_job_go_on(struct check_job *j, uint64_t until_ms, const atomic_bool *stop)
{
	int r;

	if (j->copy && !has_room(j))
		leave_place(j);
	do {
		struct ota_err err = {0};

		r = step(j, &err);
	} while (r == MORE && !atomic_load(stop) && clock_monotonic_ms() < until_ms);
	return r;
}
