/*
 * fetch_pool: threads that have contents fetched, each by a fetcher of its own. Contract: fetch_pool.h.
 *
 * A thread has some jobs under way at once; a job is one content: its file is opened here, filled by the fetcher, and
 * hashed here before it gets its name. All threads take the next content from two cursors, for large and for small
 * ones.
 *
 * Shared, under pool.lock: the cursors, the first failure, how many threads run, how many patches failed. Atomic: when
 * the last byte came, and the stop flag. Everything else belongs to one thread. The callers' progress() is called under
 * its own lock.
 */
#include "otaclient/source/fetch_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/crypto/digest.h"
#include "common/image/image_meta.h"
#include "otaclient/fetcher/fetcher.h"

enum {
	/* Beyond the connections, so that a job that waits for its next try does not hold one back. */
	JOBS_EXTRA = 8,
	BATCH_CONTENTS =
		256, /* shuffled inside, so that ECUs behind one proxy ask for different ones */
	LARGE_MIN_BYTES = 512 * 1024,
	/* At once: a window each, 4 MiB for an ordinary image, if their frames do not say their sizes. */
	LARGE_PER_THREAD = 3,
	REPORT_MS = 200,
	STOP_POLL_MS = 100,
	THREADS_MAX = 16,
	/* In a row: then the server has none, or others, and each costs a request in vain. */
	PATCH_FAILURES_MAX = 16,
	PATCH_TRIES_MAX =
		3, /* where the server answers, but wrongly: there is always the whole content */
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
	uint32_t *order;      /* the small contents, then the large ones */
	size_t n_contents, n_small, next_small, next_large;
	unsigned n_running;
	unsigned
		n_patch_failures; /* since a patch was last of use; at the most, none is tried any more */
	struct ota_err first; /* errnum == 0: no failure */

	atomic_bool stop;
	atomic_uint_fast64_t last_byte_ms;

	struct worker *workers;
	unsigned n_workers;
};

struct job {
	struct worker *worker;
	const struct content *content;
	const struct patch *patch; /* it is made with; NULL = the whole is fetched */
	int fd;                    /* of the temporary file; -1 = none */
	struct fetcher_base base;  /* with a patch; fd -1 = not open */
	char name[DIGEST_HEX_MAX]; /* of that file in the worker's folder; "" = none */
	uint64_t n_bytes;          /* plain ones, once they were counted */
};

struct worker {
	struct pool *pool;
	char tmp_name[IO_TMP_NAME_MAX]; /* of its folder for unfinished files; "" = none */
	int tmp_fd;
	struct fetcher *fetcher;
	struct digest_ctx *digest;
	pthread_t thread;
	struct job jobs[FETCHER_JOBS_MAX];
	unsigned n_jobs, n_large;    /* n_large: jobs with a large content */
	struct fetch_progress delta; /* not yet reported */
	uint64_t reported_ms;
};

/* ---- names and sentences ---- */

static struct text path_of(const struct job *j)
{
	return j->worker->pool->table->files[j->content->first_file].path;
}

#define PATH_FMT       "%.*s"
#define PATH_ARG(text) (int)MIN_OF((text).len, (uint32_t)PATH_SHOWN_MAX), (text).at

static enum ota_code store_code(int r)
{
	return r == -ENOSPC || r == -EDQUOT ? OTA_E_STANDBY_SLOT_SPACE
					    : OTA_E_APPLY_OTAUPDATE_FAILED;
}

/* A failure of ours: @what could not be done in the store. */
static int store_failed(int r, const char *what, struct ota_err *err)
{
	return ota_err_set(err, r, store_code(r), "Cannot %s: %s", what, strerror(-r));
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

	if (j->patch)
		return j->patch->size_bytes;
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
		fetcher_wakeup(p->workers[i].fetcher);
}

/* ---- one content: the file ---- */

static int job_open_file(struct job *j, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&j->content->digest, hex);
	/* Patches and large frames are decoded into mapped memory, which is readable too. */
	j->fd = openat(
		j->worker->tmp_fd, hex, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (j->fd < 0)
		return store_failed(-errno, "make its file", err);
	memcpy(j->name, hex, sizeof(j->name));
	return 0;
}

/* Give the file its name; then it counts. */
static int job_keep_file(struct job *j, struct ota_err *err)
{
	const struct worker *w = j->worker;
	int r = io_point("fetch: content");

	if (r == 0 && close(TAKE_FD(j->fd)) < 0)
		r = -errno;
	if (r == 0 && renameat(w->tmp_fd, j->name, w->pool->config->store_dir_fd, j->name) < 0)
		r = -errno;
	if (r < 0)
		return store_failed(r, "keep its file", err);
	j->name[0] = '\0';
	return 0;
}

/* The fetcher says that it is right. Only what is hashed here counts. */
static int job_check_file(struct job *j, struct ota_err *err)
{
	struct digest digest;
	int r = fetcher_take(&j->fd, plain_max(j), j->worker->digest, &digest, &j->n_bytes);

	if (r < 0 && r != -EFBIG)
		return store_failed(r, "look at its file", err);
	if (r == -EFBIG || !digest_equal(&digest, &j->content->digest))
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"What the fetcher has written is not what it has told of");
	return 0;
}

/* Whatever is left of the job's files goes. */
static void job_drop_file(struct job *j)
{
	if (j->fd >= 0)
		close(TAKE_FD(j->fd));
	if (j->base.fd >= 0)
		close(TAKE_FD(j->base.fd));
	if (j->name[0])
		unlinkat(j->worker->tmp_fd, j->name, 0);
	j->name[0] = '\0';
}

/* ---- whether patches are of use ---- */

static bool patches_given_up(struct pool *p)
{
	bool given_up;

	pthread_mutex_lock(&p->lock);
	given_up = p->n_patch_failures == PATCH_FAILURES_MAX;
	pthread_mutex_unlock(&p->lock);
	return given_up;
}

/* Those under way when patches were given up count no longer, neither way. */
static void patch_was_of_use(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	if (p->n_patch_failures < PATCH_FAILURES_MAX)
		p->n_patch_failures = 0;
	pthread_mutex_unlock(&p->lock);
}

static void patch_was_of_no_use(struct pool *p, const char *why)
{
	bool is_last;

	pthread_mutex_lock(&p->lock);
	is_last = p->n_patch_failures == PATCH_FAILURES_MAX - 1;
	if (p->n_patch_failures < PATCH_FAILURES_MAX)
		p->n_patch_failures++;
	pthread_mutex_unlock(&p->lock);
	if (is_last)
		log_warning("No more patches are fetched for this image: %d in a row were of no "
			    "use, the last "
			    "one since: %s",
			PATCH_FAILURES_MAX, why);
}

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

/* May its frame need a large window? */
static bool is_large(const struct pool *p, const struct content *content)
{
	return content->has_zst && p->config->compressed_dir[0] &&
	       (!size_is_known(content) || content->size_bytes >= LARGE_MIN_BYTES);
}

static int job_start(struct job *j, struct ota_err *err);

/* The patch was of no use: the whole content, then. @err says why the patch was not. */
static int job_start_whole(struct job *j, struct ota_err *err)
{
	struct text path = path_of(j);

	j->worker->delta.errors++;
	log_each_warning("The patch to " PATH_FMT " is not used: %s", PATH_ARG(path), err->msg);
	patch_was_of_no_use(j->worker->pool, err->msg);
	*err = (struct ota_err){0};
	job_drop_file(j);
	j->patch = NULL;
	return job_start(j, err);
}

/* Check what came and give it its name. */
static int job_settle(struct job *j, const struct fetcher_result *result, struct ota_err *err)
{
	int r = result->r;

	*err = result->err;
	if (r == 0)
		r = job_check_file(j, err);
	return r == 0 ? job_keep_file(j, err) : r;
}

static void job_done(void *ctx, const struct fetcher_result *result)
{
	struct job *j = ctx;
	struct worker *w = j->worker;
	struct ota_err err;
	int r;

	w->delta.errors += result->retries;
	r = job_settle(j, result, &err);
	if (r < 0 && j->patch) {
		r = job_start_whole(j, &err);
		if (r == 0)
			return;
	}
	if (r == 0 && j->patch)
		patch_was_of_use(w->pool);
	if (r == 0)
		content_stored(j);
	else
		job_failed(j, r, &err);
	job_drop_file(j);
	if (is_large(w->pool, j->content))
		w->n_large--;
	worker_next(w, j);
}

/* Does the server have the whole of it compressed? */
static bool has_blob(const struct job *j)
{
	return j->content->has_zst && j->worker->pool->config->compressed_dir[0];
}

static int job_url(const struct job *j, struct buf *ret_url)
{
	const struct fetch_config *config = j->worker->pool->config;
	struct text path = path_of(j);

	if (j->patch)
		return image_url_patch(config->base_url, &j->content->digest,
			&config->patches->bases[j->patch->base].digest, ret_url);
	if (has_blob(j))
		return image_url_blob(
			config->base_url, config->compressed_dir, &j->content->digest, ret_url);
	return image_url_plain(config->base_url, config->rootfs_dir, path.at, path.len, ret_url);
}

static int job_ask(struct job *j, struct ota_err *err)
{
	bool is_zst = !j->patch && has_blob(j);
	const struct digest *digest = j->patch ? &j->patch->digest : &j->content->digest;
	AUTO_BUF struct buf url = {0};
	char hex[DIGEST_HEX_MAX], control[CONTROL_MAX];
	int r = job_url(j, &url);

	if (r < 0)
		return ota_err_no_memory(err, "its URL");
	digest_to_hex(digest, hex);
	snprintf(control, sizeof(control), "file_sha256=%s%s", hex,
		is_zst ? ",file_compression_alg=zst" : "");
	return fetcher_add(j->worker->fetcher,
		&(struct fetcher_job){
			.url = buf_str(&url),
			.cache_control = control,
			.fd = j->fd,
			.digest = digest,
			.is_zst = is_zst,
			.base = j->patch ? &j->base : NULL,
			.size_known = size_is_known(j->content),
			.plain_bytes = plain_max(j),
			.max_wire_bytes = wire_max(j),
			.tries_max = j->patch ? PATCH_TRIES_MAX : 0,
			.outlast_outages = true, /* the pool watches for inactivity */
			.undo_encoding = !is_zst && !j->patch,
			.done = job_done,
			.ctx = j,
		},
		err);
}

/* Has the content a patch, and is its older content there? Without, the whole is fetched. */
static void job_choose_patch(struct job *j)
{
	struct pool *p = j->worker->pool;
	const struct fetch_config *config = p->config;
	uint32_t patch = FILE_TABLE_NONE;

	j->patch = NULL;
	if (config->patches && !patches_given_up(p))
		patch = config->patch_of(
			config->patch_ctx, (uint32_t)(j->content - p->table->contents));
	if (patch == FILE_TABLE_NONE)
		return;
	j->base.size_bytes =
		config->patches->bases[config->patches->patches[patch].base].size_bytes;
	j->base.fd = config->open_base(config->patch_ctx, config->patches->patches[patch].base);
	if (j->base.fd >= 0)
		j->patch = &config->patches->patches[patch];
}

static int job_start(struct job *j, struct ota_err *err)
{
	int r = job_open_file(j, err);

	if (r < 0)
		return r;
	if (digest_equal(&j->content->digest, &digest_of_nothing)) /* nobody needs to send it */
		return job_keep_file(j, err);
	return job_ask(j, err);
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
		int r;

		job_choose_patch(j);
		r = job_start(j, &err);
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
	*ret_err = fetcher_trouble(w->fetcher);
	if (ret_err->errnum == 0)
		ota_err_set(ret_err, -ETIMEDOUT, OTA_E_NETWORK, "The server sends nothing");
	ota_err_wrap(ret_err, -ETIMEDOUT, "No byte came for %u s", limit_ms / 1000);
	return true;
}

static void count_wire_bytes(struct worker *w)
{
	uint64_t last = clock_monotonic_ms() - fetcher_idle_ms(w->fetcher);
	uint_fast64_t known = atomic_load(&w->pool->last_byte_ms);

	w->delta.wire_bytes += fetcher_take_wire_bytes(w->fetcher);
	while (last > known && !atomic_compare_exchange_weak(&w->pool->last_byte_ms, &known, last))
		;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;
	struct ota_err err = {0};

	for (unsigned i = 0; i < w->n_jobs; i++)
		worker_next(w, &w->jobs[i]);
	while (!atomic_load(&p->stop) && fetcher_pending(w->fetcher) > 0) {
		int r = fetcher_run(w->fetcher, REPORT_MS, &err);

		count_wire_bytes(w);
		if (r < 0 || is_idle_too_long(w, &err))
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
	return ota_err_no_memory(err, "the fetching of contents");
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
	unsigned n_jobs = p->config->http.max_connections;
	int r;

	n_jobs = (n_jobs ? n_jobs : (unsigned)FETCHER_CONNECTIONS_DEFAULT) + JOBS_EXTRA;
	n_jobs = MIN_OF(n_jobs, (unsigned)FETCHER_JOBS_MAX);
	w->pool = p;
	w->tmp_fd = -1;
	w->reported_ms = clock_monotonic_ms();
	r = fetcher_new(&p->config->http, &w->fetcher, err);
	if (r == 0)
		r = worker_make_folder(w, err);
	if (r < 0)
		return r;
	w->digest = digest_ctx_new();
	if (!w->digest)
		return no_memory(err);
	for (unsigned i = 0; i < n_jobs; i++) {
		w->jobs[i].worker = w;
		w->jobs[i].fd = w->jobs[i].base.fd = -1;
	}
	w->n_jobs = n_jobs;
	return 0;
}

static void worker_done(struct worker *w)
{
	fetcher_free(w->fetcher);
	for (unsigned i = 0; i < w->n_jobs; i++)
		job_drop_file(&w->jobs[i]);
	digest_ctx_free(w->digest);
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
