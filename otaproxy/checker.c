/*
 * checker: one thread, one question after the other. Contract: checker.h.
 *
 * Shared, under checker.lock: the queue and the wish to stop. All else belongs to the thread.
 */
#include "otaproxy/checker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "otaproxy/body_check.h"

enum {
	PIECE_BYTES = 256 * 1024,
};

struct question {
	struct question *next;
	struct cache_key key;
	void (*done)(void *ctx);
	void *ctx;
};

struct checker {
	struct checker_config config;
	struct body_check *check;
	uint8_t *piece;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t asked;
	struct question *first, **last;
	bool stop;
};

/* ---- hashing ---- */

/* Feed @size_bytes of @fd to the check, and to @out_fd if that is not -1. 0, -EBADMSG or what the disk says. */
static int feed(struct checker *c, int fd, uint64_t offset, uint64_t size_bytes, int out_fd)
{
	for (uint64_t done = 0; done < size_bytes;) {
		ssize_t n = pread(fd, c->piece,
			(size_t)MIN_OF(size_bytes - done, (uint64_t)PIECE_BYTES),
			(off_t)(offset + done));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		r = body_check_feed(c->check, c->piece, (size_t)n);
		if (r == 0 && out_fd >= 0)
			r = file_write_all(out_fd, c->piece, (size_t)n);
		if (r < 0)
			return r;
		done += (uint64_t)n;
	}
	return body_check_finish(c->check);
}

static int check_entry(struct checker *c, const struct cache_key *key, const struct cache_hit *hit)
{
	/* What is kept by URL has the digest of its very bytes in its head. */
	const struct digest *digest = key->kind == CACHE_BY_URL ? &hit->meta.digest : &key->digest;
	int r = body_check_start(c->check, digest, key->form, BODY_CONTENT_MAX_BYTES);

	return r < 0 ? r : feed(c, hit->fd, hit->body_offset, hit->size_bytes, -1);
}

/* ---- entries of another boot ---- */

/* 0: it is trusted now; -ENOENT: there is none. */
static int trust_entry(struct checker *c, const struct cache_key *key, struct ota_err *err)
{
	AUTO_CACHE_HIT struct cache_hit hit;
	int r;

	cache_hit_init(&hit);
	r = cache_store_find(c->config.store, key, &hit, err);
	if (r < 0 || hit.trusted)
		return r;
	if (check_entry(c, key, &hit) == 0)
		return cache_store_trust(c->config.store, key, &hit, err);
	counters_add(c->config.counters, COUNTER_REJECTED, 1);
	log_warning("An entry of the cache is damaged and has been dropped");
	r = cache_store_drop(c->config.store, key, err);
	return r < 0 ? r : -ENOENT;
}

/* ---- external caches ---- */

static int open_external(const char *folder, const struct cache_key *key)
{
	char name[CACHE_NAME_MAX], path[PATH_MAX];
	AUTO_CLOSE int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cache_key_name(key, name);
	snprintf(path, sizeof(path), "data/%s", name);
	return dir_fd < 0 ? -errno
			  : openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int copy_external(
	struct checker *c, const struct cache_key *key, int fd, struct ota_err *err)
{
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -ENOENT;
	r = cache_temp_new(c->config.store, &temp, err);
	if (r == 0)
		r = body_check_start(c->check, &key->digest, key->form, BODY_CONTENT_MAX_BYTES);
	if (r == 0)
		r = feed(c, fd, 0, (uint64_t)st.st_size, cache_temp_fd(temp));
	if (r == 0)
		return cache_temp_publish(temp, key, NULL, err);
	if (r == -EBADMSG)
		counters_add(c->config.counters, COUNTER_REJECTED, 1);
	return r;
}

static int take_external(struct checker *c, const struct cache_key *key, struct ota_err *err)
{
	if (key->kind != CACHE_BY_DIGEST)
		return -ENOENT;
	for (size_t i = 0; c->config.externals[i]; i++) {
		AUTO_CLOSE int fd = open_external(c->config.externals[i], key);

		if (fd >= 0 && copy_external(c, key, fd, err) == 0)
			return 0;
	}
	return -ENOENT;
}

/* ---- the thread ---- */

static void answer(struct checker *c, const struct cache_key *key)
{
	struct ota_err err = {0};
	int r = trust_entry(c, key, &err);

	if (r == -ENOENT)
		r = take_external(c, key, &err);
	if (r < 0 && r != -ENOENT && err.errnum != 0)
		log_warning("%s", err.msg);
}

static struct question *next_question(struct checker *c, bool *ret_stop)
{
	struct question *q;

	pthread_mutex_lock(&c->lock);
	while (!c->first && !c->stop)
		pthread_cond_wait(&c->asked, &c->lock);
	q = c->first;
	if (q) {
		c->first = q->next;
		if (!c->first)
			c->last = &c->first;
	}
	*ret_stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return q;
}

static void *checker_thread(void *arg)
{
	struct checker *c = arg;
	struct question *q;
	bool stop;

	while ((q = next_question(c, &stop))) {
		if (!stop)
			answer(c, &q->key);
		q->done(q->ctx);
		free(q);
	}
	return NULL;
}

void checker_free(struct checker *c)
{
	if (!c)
		return;
	body_check_free(c->check);
	free(c->piece);
	pthread_cond_destroy(&c->asked);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int checker_start(
	const struct checker_config *config, struct checker **ret_checker, struct ota_err *err)
{
	struct checker *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return ota_err_set(
			err, -ENOMEM, OTA_E_UNSPECIFIC, "There is not enough memory to begin");
	c->config = *config;
	c->last = &c->first;
	c->check = body_check_new();
	c->piece = malloc(PIECE_BYTES);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->asked, NULL);
	r = c->check && c->piece ? pthread_create(&c->thread, NULL, checker_thread, c) : ENOMEM;
	if (r != 0) {
		checker_free(c);
		return ota_err_set(
			err, -r, OTA_E_UNSPECIFIC, "Cannot start a thread: %s", strerror(r));
	}
	*ret_checker = c;
	return 0;
}

bool checker_has_externals(const struct checker *checker)
{
	return checker->config.externals[0];
}

int checker_ask(
	struct checker *checker, const struct cache_key *key, void (*done)(void *ctx), void *ctx)
{
	struct question *q = calloc(1, sizeof(*q));
	bool stop;

	if (!q)
		return -ENOMEM;
	*q = (struct question){.key = *key, .done = done, .ctx = ctx};
	pthread_mutex_lock(&checker->lock);
	stop = checker->stop;
	if (!stop) {
		*checker->last = q;
		checker->last = &q->next;
		q = NULL;
		pthread_cond_signal(&checker->asked);
	}
	pthread_mutex_unlock(&checker->lock);
	free(q);
	return stop ? -ESHUTDOWN : 0;
}

void checker_stop(struct checker *checker)
{
	if (!checker)
		return;
	pthread_mutex_lock(&checker->lock);
	checker->stop = true;
	pthread_cond_signal(&checker->asked);
	pthread_mutex_unlock(&checker->lock);
	pthread_join(checker->thread, NULL);
}
