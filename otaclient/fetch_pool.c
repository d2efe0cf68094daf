/*
 * fetch_pool: threads that fetch contents, each with a client of its own. Contract: fetch_pool.h.
 *
 * A thread runs some jobs at once; a job is one content on its way: HTTP body → zstd frame → digest → file. All
 * threads take the next content from two cursors, for large and for small ones.
 *
 * Shared, under pool.lock: the cursors, the first failure, how many threads run. Atomic: when the last byte came,
 * and the stop flag. Everything else belongs to one thread. The callers' progress() is called under its own lock.
 */
#include "otaclient/fetch_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/codec/zstd_stream.h"
#include "common/crypto/digest.h"
#include "common/image/image_meta.h"

enum {
	CONNECTIONS_DEFAULT = 8,
	/* Beyond the connections, so that a job that waits for its next try does not hold one back. */
	JOBS_EXTRA = 8,
	BATCH_CONTENTS =
		256, /* shuffled inside, so that ECUs behind one proxy ask for different ones */
	PREALLOC_MIN_BYTES = 1 << 20,
	DECODER_KEEP_BYTES = 512 * 1024,
	/* At once: a window each, 4 MiB for an ordinary image. */
	LARGE_PER_THREAD = 3,
	REPORT_MS = 200,
	STOP_POLL_MS = 100,
	THREADS_MAX = 16,
	STACK_BYTES = 512 * 1024,
	PATH_SHOWN_MAX = 120, /* characters of a path in a sentence */
	CONTROL_MAX = 160,
};

struct pool {
	const struct fetch_config *config;
	const struct file_table *table;
	void (*progress)(void *ctx, const struct fetch_progress *delta);
	void *ctx;
	pthread_mutex_t progress_lock;

	pthread_mutex_t lock;
	pthread_cond_t ended; /* a thread ended, or failed */
	uint32_t *order; /* the small contents, then the large ones */
	size_t n_contents, n_small, next_small, next_large;
	unsigned n_running;
	struct ota_err first; /* errnum == 0: no failure */

	atomic_bool stop;
	atomic_uint_fast64_t last_byte_ms;

	struct worker *workers;
	unsigned n_workers;
};

struct worker {
	struct pool *pool;
	char tmp_name[IO_TMP_NAME_MAX]; /* of its folder for unfinished files; "" = none */
	int tmp_fd;
	struct http_client *client;
	pthread_t thread;
	struct job *jobs;
	unsigned n_jobs, n_large; /* n_large: jobs with a large content */
	struct fetch_progress delta; /* not yet reported */
	uint64_t reported_ms;
};

struct job {
	struct worker *worker;
	const struct content *content;
	int fd;                    /* of the temporary file; -1 = none */
	char name[DIGEST_HEX_MAX]; /* of that file in the worker's folder; "" = none */
	struct digest_ctx *digest;
	struct zstd_decoder *zstd;
	bool asked_zst;      /* a blob was asked for */
	bool is_zst;         /* the body is one; an answer may say otherwise */
	uint64_t n_bytes;    /* plain ones that came */
	struct ota_err *err; /* of the callback that runs */
};

/* ---- names and sentences ---- */

static struct text path_of(const struct job *j)
{
	return j->worker->pool->table->files[j->content->first_file].path;
}

#define PATH_FMT       "%.*s"
#define PATH_ARG(text) (int)MIN_OF((text).len, (uint32_t)PATH_SHOWN_MAX), (text).at

/* Bytes that are not the content's: ask again. */
static int wrong_bytes(struct job *j, const char *how)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&j->content->digest, hex);
	return ota_err_set(j->err, -EAGAIN, OTA_E_OTA_IMAGE_INVALID,
		"What the server sends is not the content %s: %s", hex, how);
}

static enum ota_code store_code(int r)
{
	return r == -ENOSPC || r == -EDQUOT ? OTA_E_STANDBY_SLOT_SPACE
					    : OTA_E_APPLY_OTAUPDATE_FAILED;
}

/* A failure of ours: @what could not be done in the store. */
static int store_failed(struct job *j, int r, const char *what)
{
	return ota_err_set(j->err, r, store_code(r), "Cannot %s: %s", what, strerror(-r));
}

static bool size_is_known(const struct content *content)
{
	return content->size_bytes != CONTENT_SIZE_UNKNOWN;
}

static uint64_t plain_max(const struct job *j)
{
	uint64_t limit = j->worker->pool->config->max_unknown_size_bytes;

	if (size_is_known(j->content))
		return j->content->size_bytes;
	return limit ? limit : FETCH_UNKNOWN_SIZE_MAX_BYTES;
}

/* A frame of what cannot be compressed is longer than its content, by far less than this. */
static uint64_t wire_max(const struct job *j)
{
	uint64_t plain = plain_max(j);

	return plain + plain / 64 + (1 << 20);
}

/* ---- progress and failure ---- */

static void report(struct worker *w)
{
	struct pool *p = w->pool;
	struct fetch_progress delta = w->delta;

	w->reported_ms = clock_monotonic_ms();
	w->delta = (struct fetch_progress){0};
	if (!p->progress || !(delta.files | delta.plain_bytes | delta.wire_bytes | delta.errors))
		return;
	pthread_mutex_lock(&p->progress_lock);
	p->progress(p->ctx, &delta);
	pthread_mutex_unlock(&p->progress_lock);
}

static void report_sometimes(struct worker *w)
{
	if (clock_monotonic_ms() - w->reported_ms >= REPORT_MS)
		report(w);
}

/* The first failure ends the pool. */
static void pool_fail(struct pool *p, const struct ota_err *err)
{
	pthread_mutex_lock(&p->lock);
	if (p->first.errnum == 0)
		p->first = *err;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	atomic_store(&p->stop, true);
	for (unsigned i = 0; i < p->n_workers; i++)
		http_client_wakeup(p->workers[i].client);
}

/* ---- one content: the file ---- */

static int preallocate(struct job *j)
{
	uint64_t size = j->content->size_bytes;

	if (!size_is_known(j->content) || size < PREALLOC_MIN_BYTES)
		return 0;
	/* One piece of disk, and a full disk is known before the bytes are paid for. */
	if (fallocate(j->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0 &&
		(errno == ENOSPC || errno == EDQUOT))
		return store_failed(j, -errno, "reserve space for it");
	return 0;
}

static int job_open_file(struct job *j)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&j->content->digest, hex);
	j->fd = openat(
		j->worker->tmp_fd, hex, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (j->fd < 0)
		return store_failed(j, -errno, "make its file");
	memcpy(j->name, hex, sizeof(j->name));
	return preallocate(j);
}

/* Give the file its name; then it counts. */
static int job_keep_file(struct job *j)
{
	const struct worker *w = j->worker;
	int r = io_point("fetch: content");

	if (r == 0 && close(TAKE_FD(j->fd)) < 0)
		r = -errno;
	if (r == 0 && renameat(w->tmp_fd, j->name, w->pool->config->store_dir_fd, j->name) < 0)
		r = -errno;
	if (r < 0)
		return store_failed(j, r, "keep its file");
	j->name[0] = '\0';
	return 0;
}

/* Whatever is left of the job's file goes. */
static void job_drop_file(struct job *j)
{
	if (j->fd >= 0)
		close(TAKE_FD(j->fd));
	if (j->name[0])
		unlinkat(j->worker->tmp_fd, j->name, 0);
	j->name[0] = '\0';
}

/* ---- one content: the body ---- */

static void job_begin_body(struct job *j)
{
	j->n_bytes = 0;
	j->is_zst = j->asked_zst;
	digest_start(j->digest);
	zstd_decoder_start(j->zstd, plain_max(j));
}

static int job_restart(void *ctx, struct ota_err *err)
{
	struct job *j = ctx;

	j->err = err;
	if (ftruncate(j->fd, 0) < 0 || lseek(j->fd, 0, SEEK_SET) < 0)
		return store_failed(j, -errno, "empty its file");
	job_begin_body(j);
	return preallocate(j);
}

/* "name" or "name=value" up to the next comma, spaces around it gone. */
static bool next_directive(char **rest, char **ret_name, char **ret_value)
{
	char *name = strsep(rest, ","), *end;

	if (!name)
		return false;
	name += strspn(name, " \t");
	end = name + strlen(name);
	while (end > name && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	*ret_name = strsep(&name, "=");
	*ret_value = name ? name : end;
	return true;
}

/* A cache says what it really sends, if it knows. */
static int job_header(void *ctx, const char *name, const char *value, struct ota_err *err)
{
	struct job *j = ctx;
	char copy[CONTROL_MAX], *rest = copy, *directive, *argument;
	bool has_digest = false, has_alg = false;
	struct digest digest;

	if (strcasecmp(name, "ota-file-cache-control") != 0 || strlen(value) >= sizeof(copy))
		return 0;
	j->err = err;
	memcpy(copy, value, strlen(value) + 1);
	while (next_directive(&rest, &directive, &argument)) {
		if (strcmp(directive, "file_sha256") == 0) {
			has_digest = true;
			if (digest_from_hex(argument, strlen(argument), &digest) < 0 ||
				!digest_equal(&digest, &j->content->digest))
				return wrong_bytes(
					j, "the cache on the way says that it is another");
		} else if (strcmp(directive, "file_compression_alg") == 0) {
			has_alg = true;
			j->is_zst = strcmp(argument, "zst") == 0 || strcmp(argument, "zstd") == 0;
		}
	}
	/* It has the content by its digest, and no compression to tell of. */
	if (has_digest && !has_alg)
		j->is_zst = false;
	return 0;
}

static int take_plain(void *ctx, const void *data, size_t len)
{
	struct job *j = ctx;
	int r;

	if (len > plain_max(j) - j->n_bytes)
		return wrong_bytes(j, "it is longer");
	j->n_bytes += len;
	digest_add(j->digest, data, len);
	r = file_write_all(j->fd, data, len);
	return r < 0 ? store_failed(j, r, "write its file") : 0;
}

static int job_data(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	struct job *j = ctx;
	struct worker *w = j->worker;
	int r;

	j->err = err;
	w->delta.wire_bytes += len;
	atomic_store(&w->pool->last_byte_ms, clock_monotonic_ms());
	report_sometimes(w);
	if (!j->is_zst)
		return take_plain(j, data, len);
	r = zstd_decoder_feed(j->zstd, data, len, take_plain, j);
	return r == -EBADMSG ? wrong_bytes(j, "it is no whole zstd frame of that size") : r;
}

static int job_end(void *ctx, struct ota_err *err)
{
	struct job *j = ctx;
	struct digest digest;

	j->err = err;
	if (j->is_zst && zstd_decoder_finish(j->zstd) < 0)
		return wrong_bytes(j, "its zstd frame ends early");
	if (size_is_known(j->content) && j->n_bytes != j->content->size_bytes)
		return wrong_bytes(j, "it is shorter");
	digest_final(j->digest, &digest);
	if (!digest_equal(&digest, &j->content->digest))
		return wrong_bytes(j, "its digest is another");
	return job_keep_file(j);
}

static const struct http_sink job_sink = {
	.restart = job_restart,
	.header = job_header,
	.data = job_data,
	.end = job_end,
};

/* ---- one content: from a cursor to the store ---- */

static void worker_next(struct worker *w, struct job *j);

static void content_stored(struct job *j)
{
	j->worker->delta.files++;
	j->worker->delta.plain_bytes += j->n_bytes;
	report(j->worker);
}

static void job_failed(struct job *j, int r, const struct ota_err *err)
{
	struct text path = path_of(j);
	struct ota_err told = *err;

	j->worker->delta.errors++;
	ota_err_wrap(&told, r, "Cannot fetch the content of " PATH_FMT, PATH_ARG(path));
	pool_fail(j->worker->pool, &told);
}

/* Does its frame need a large window? */
static bool is_large(const struct pool *p, const struct content *content)
{
	return content->has_zst && p->config->compressed_dir[0] &&
	       (!size_is_known(content) || content->size_bytes >= DECODER_KEEP_BYTES);
}

/*
 * A decoder keeps the window of the largest frame it has seen: up to 4 MiB for an ordinary image, and there are as many
 * decoders as connections. After a large content it starts anew.
 */
static int job_renew_decoder(struct job *j)
{
	if (!is_large(j->worker->pool, j->content))
		return 0;
	j->worker->n_large--;
	zstd_decoder_free(j->zstd);
	j->zstd = zstd_decoder_new();
	return j->zstd ? 0 : -ENOMEM;
}

static void job_done(void *ctx, const struct http_result *result)
{
	struct job *j = ctx;
	struct worker *w = j->worker;
	struct ota_err err = {0};

	w->delta.errors += result->retries;
	if (result->r == 0)
		content_stored(j);
	else
		job_failed(j, result->r, &result->err);
	job_drop_file(j);
	if (job_renew_decoder(j) < 0)
		job_failed(j, -ENOMEM, &err);
	else
		worker_next(w, j);
}

static int job_url(const struct job *j, struct buf *ret_url)
{
	const struct fetch_config *config = j->worker->pool->config;
	struct text path = path_of(j);

	if (j->asked_zst)
		return image_url_blob(
			config->base_url, config->compressed_dir, &j->content->digest, ret_url);
	return image_url_plain(config->base_url, config->rootfs_dir, path.at, path.len, ret_url);
}

static int job_start(struct job *j, struct ota_err *err)
{
	AUTO_BUF struct buf url = {0};
	char hex[DIGEST_HEX_MAX], control[CONTROL_MAX];
	int r;

	j->err = err;
	j->asked_zst = j->content->has_zst && j->worker->pool->config->compressed_dir[0];
	job_begin_body(j);
	r = job_open_file(j);
	if (r < 0)
		return r;
	if (digest_equal(&j->content->digest, &digest_of_nothing)) /* nobody needs to send it */
		return job_keep_file(j);
	digest_to_hex(&j->content->digest, hex);
	snprintf(control, sizeof(control), "file_sha256=%s%s", hex,
		j->asked_zst ? ",file_compression_alg=zst" : "");
	r = job_url(j, &url);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "No memory for its URL");
	return http_client_add(j->worker->client,
		&(struct http_request){
			.url = buf_str(&url),
			.max_bytes = wire_max(j),
			.cache_control = control,
			.outlast_outages = true, /* the pool watches for inactivity */
			.undo_encoding = !j->asked_zst,
			.sink = job_sink,
			.sink_ctx = j,
			.done = job_done,
			.done_ctx = j,
		},
		err);
}

/* Large contents first, as many as the thread may have at once, for they take longest; then small ones. */
static const struct content *take_next(struct worker *w)
{
	struct pool *p = w->pool;
	const struct content *content = NULL;

	if (atomic_load(&p->stop))
		return NULL;
	pthread_mutex_lock(&p->lock);
	if (p->next_large < p->n_contents && w->n_large < LARGE_PER_THREAD) {
		content = &p->table->contents[p->order[p->next_large++]];
		w->n_large++;
	} else if (p->next_small < p->n_small) {
		content = &p->table->contents[p->order[p->next_small++]];
	}
	pthread_mutex_unlock(&p->lock);
	return content;
}

/* Give the job @j the next content that needs the network. */
static void worker_next(struct worker *w, struct job *j)
{
	while ((j->content = take_next(w))) {
		struct ota_err err = {0};
		int r = job_start(j, &err);

		if (r < 0) {
			job_failed(j, r, &err);
			job_drop_file(j);
			return;
		}
		if (j->fd >= 0)
			return;
		content_stored(j); /* it was empty */
		if (is_large(w->pool, j->content))
			w->n_large--;
	}
}

/* ---- threads ---- */

static bool is_idle_too_long(struct worker *w, struct ota_err *ret_err)
{
	struct pool *p = w->pool;
	uint32_t limit_ms =
		p->config->inactivity_ms ? p->config->inactivity_ms : (uint32_t)FETCH_INACTIVITY_MS;
	uint64_t last = atomic_load(&p->last_byte_ms), now = clock_monotonic_ms();

	if (now < last + limit_ms)
		return false;
	*ret_err = http_client_trouble(w->client);
	if (ret_err->errnum == 0)
		ota_err_set(ret_err, -ETIMEDOUT, OTA_E_NETWORK, "The server sends nothing");
	ota_err_wrap(ret_err, -ETIMEDOUT, "No byte came for %u s", limit_ms / 1000);
	return true;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;
	struct ota_err err = {0};

	for (unsigned i = 0; i < w->n_jobs; i++)
		worker_next(w, &w->jobs[i]);
	while (!atomic_load(&p->stop) && http_client_pending(w->client) > 0) {
		if (http_client_run(w->client, REPORT_MS, &err) < 0 || is_idle_too_long(w, &err))
			pool_fail(p, &err);
		report_sometimes(w);
	}
	report(w);
	pthread_mutex_lock(&p->lock);
	p->n_running--;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int no_memory(struct ota_err *err)
{
	return ota_err_set(err, -ENOMEM, OTA_E_UNSPECIFIC, "No memory to fetch contents");
}

/*
 * A folder of its own for unfinished files. In the store itself, which may hold 100 000 names, two threads that
 * make and rename files spend most of their time on its lock and its index (measured on ext4).
 */
static int worker_make_folder(struct worker *w, struct ota_err *err)
{
	int store_fd = w->pool->config->store_dir_fd;
	char name[IO_TMP_NAME_MAX];

	io_tmp_name(name);
	if (mkdirat(store_fd, name, 0700) == 0) {
		memcpy(w->tmp_name, name, sizeof(w->tmp_name));
		w->tmp_fd = openat(store_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (w->tmp_fd >= 0)
		return 0;
	return ota_err_set(err, -errno, store_code(-errno), "Cannot make a folder in the store: %s",
		strerror(errno));
}

static int worker_init(struct worker *w, struct pool *p, struct ota_err *err)
{
	struct http_config http = p->config->http;
	int r;

	w->pool = p;
	w->tmp_fd = -1;
	w->reported_ms = clock_monotonic_ms();
	if (http.max_connections == 0)
		http.max_connections = CONNECTIONS_DEFAULT;
	r = http_client_new(&http, &w->client, err);
	if (r == 0)
		r = worker_make_folder(w, err);
	if (r < 0)
		return r;
	w->jobs = calloc(http.max_connections + JOBS_EXTRA, sizeof(*w->jobs));
	if (!w->jobs)
		return no_memory(err);
	w->n_jobs = http.max_connections + JOBS_EXTRA;
	for (unsigned i = 0; i < w->n_jobs; i++)
		w->jobs[i] = (struct job){.worker = w, .fd = -1};
	for (unsigned i = 0; i < w->n_jobs; i++) {
		w->jobs[i].digest = digest_ctx_new();
		w->jobs[i].zstd = zstd_decoder_new();
		if (!w->jobs[i].digest || !w->jobs[i].zstd)
			return no_memory(err);
	}
	return 0;
}

static void worker_done(struct worker *w)
{
	http_client_free(w->client);
	for (unsigned i = 0; i < w->n_jobs; i++) {
		job_drop_file(&w->jobs[i]);
		digest_ctx_free(w->jobs[i].digest);
		zstd_decoder_free(w->jobs[i].zstd);
	}
	free(w->jobs);
	closep(&w->tmp_fd);
	if (w->tmp_name[0])
		unlinkat(w->pool->config->store_dir_fd, w->tmp_name, AT_REMOVEDIR);
}

static void shuffle(uint32_t *list, size_t n)
{
	for (size_t left = n; left > 1; left--) {
		uint32_t *a = &list[left - 1];
		uint32_t *b = &list[clock_random_below(left)];
		uint32_t t = *a;

		*a = *b;
		*b = t;
	}
}

/* The contents in an order that other ECUs do not have. */
static int order_make(struct pool *p, const uint32_t *contents, size_t n, struct ota_err *err)
{
	size_t n_large = 0;

	p->order = calloc(n, sizeof(*p->order));
	if (!p->order)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (is_large(p, &p->table->contents[contents[i]]))
			p->order[n - ++n_large] = contents[i];
		else
			p->order[p->n_small++] = contents[i];
	}
	for (size_t from = 0; from < p->n_small; from += BATCH_CONTENTS)
		shuffle(p->order + from, MIN_OF(p->n_small - from, (size_t)BATCH_CONTENTS));
	shuffle(p->order + p->n_small, n_large);
	p->n_contents = n;
	p->next_large = p->n_small;
	return 0;
}

/* Signals are for the daemon's own threads. Fewer threads than wished for will do. */
static int threads_start(struct pool *p, struct ota_err *err)
{
	sigset_t all, before;
	pthread_attr_t attr;
	unsigned started = 0;
	int e = 0;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&p->lock);
	while (started < p->n_workers && e == 0) {
		e = pthread_create(
			&p->workers[started].thread, &attr, worker_main, &p->workers[started]);
		if (e == 0)
			started++;
	}
	p->n_running = started;
	pthread_mutex_unlock(&p->lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (started == 0)
		return ota_err_set(err, -e, OTA_E_UNSPECIFIC,
			"Cannot start a thread to fetch contents: %s", strerror(e));
	return (int)started;
}

static void wait_a_little(struct pool *p)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += STOP_POLL_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_cond_timedwait(&p->ended, &p->lock, &until);
}

/* Until all threads have ended; meanwhile the caller may want to stop. */
static void threads_watch(struct pool *p, bool (*stop)(void *ctx))
{
	struct ota_err stopped = {0};

	ota_err_set(&stopped, -ECANCELED, OTA_E_ABORTED, "The fetching was stopped");
	pthread_mutex_lock(&p->lock);
	while (p->n_running > 0) {
		wait_a_little(p);
		pthread_mutex_unlock(&p->lock);
		if (stop && !atomic_load(&p->stop) && stop(p->ctx))
			pool_fail(p, &stopped);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static int pool_init(
	struct pool *p, const uint32_t *contents, size_t n_contents, struct ota_err *err)
{
	unsigned n = p->config->n_threads ? p->config->n_threads : (unsigned)FETCH_THREADS_DEFAULT;
	pthread_condattr_t attr;
	int r;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->ended, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->progress_lock, NULL);
	atomic_store(&p->last_byte_ms, clock_monotonic_ms());
	r = order_make(p, contents, n_contents, err);
	if (r < 0)
		return r;
	n = MIN_OF(n, (unsigned)THREADS_MAX);
	p->workers = calloc(n, sizeof(*p->workers));
	if (!p->workers)
		return no_memory(err);
	for (; p->n_workers < n; p->n_workers++) {
		r = worker_init(&p->workers[p->n_workers], p, err);
		if (r < 0) {
			worker_done(&p->workers[p->n_workers]);
			return r;
		}
	}
	return 0;
}

static void pool_done(struct pool *p)
{
	for (unsigned i = 0; i < p->n_workers; i++)
		worker_done(&p->workers[i]);
	free(p->workers);
	free(p->order);
	pthread_mutex_destroy(&p->progress_lock);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->ended);
}

int fetch_pool_run(const struct fetch_config *config, const struct file_table *table,
	const uint32_t *contents, size_t n_contents,
	void (*progress)(void *ctx, const struct fetch_progress *delta), bool (*stop)(void *ctx),
	void *ctx, struct ota_err *err)
{
	struct pool p = {.config = config, .table = table, .progress = progress, .ctx = ctx};
	int r;

	if (n_contents == 0)
		return 0;
	r = pool_init(&p, contents, n_contents, err);
	if (r == 0)
		r = threads_start(&p, err);
	if (r > 0) {
		threads_watch(&p, stop);
		for (int i = 0; i < r; i++)
			pthread_join(p.workers[i].thread, NULL);
		r = p.first.errnum;
		if (r < 0 && err)
			*err = p.first;
	}
	pool_done(&p);
	return r;
}
