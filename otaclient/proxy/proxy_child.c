/*
 * proxy_child: one thread that starts the program, sees it end and ends it. Contract: proxy_child.h.
 *
 * In:  what is wanted (any thread), the program's end, the clock.
 * Out: a process or none, the file of origins, sentences for the log.
 *
 * The thread lives as long as the object: the kernel takes the end of the thread that forked for the end of the
 * parent, and would end the program with it. It looks every TICK_MS while there is a process or one is wanted, and
 * sleeps otherwise. Under the lock is only what the callers and the thread tell each other (struct shared); the
 * process belongs to the thread.
 *
 * Elsewhere: the proxy itself (otaproxy, of which nothing is included), when it is wanted (the daemon), the disk that
 * is mounted for it (external_cache), fork and exec (proxy_process), the file of origins (proxy_origins), asking it
 * whether it serves (proxy_ready).
 */
#include "otaclient/proxy/proxy_child.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/run.h"
#include "otaclient/proxy/external_cache.h"
#include "otaclient/proxy/proxy_origins.h"
#include "otaclient/proxy/proxy_process.h"
#include "otaclient/proxy/proxy_ready.h"

enum {
	TICK_MS = 200,
	ARGS_MAX = 24, /* more than there are options */
	EXTERNAL_ARGS_MAX = 4,
	TROUBLE_MAX = 192,
	STACK_BYTES = 512 * 1024, /* libraries look for disks on it */
	PROXY_EXIT_USAGE = 2,     /* otaproxy(8) */
};

/* What the callers and the thread tell each other. */
struct shared {
	bool wanted;
	bool wipe;       /* empty the cache when it has ended */
	bool ending;     /* proxy_child_free() waits */
	unsigned n_runs; /* processes so far */
	bool running;    /* the n_runs-th has not been seen to end */
	bool wiped;      /* and nobody has wanted it since */
	bool refused;    /* its command line; another try would end alike */
	char trouble
		[TROUBLE_MAX]; /* why the last one ended or did not start; "" = it was told to */
};

/* The process, as its thread sees it. */
struct process {
	pid_t pid; /* 0 = none */
	uint64_t started_ms;
	uint64_t term_ms; /* when it was told to end; 0 = it was not */
	bool killed;
	uint64_t next_start_ms; /* not before this */
	uint64_t backoff_ms;    /* after the next unwanted end */
	bool has_disk;          /* mounted for it */
	char disk_dir[PATH_MAX];
};

struct proxy_child {
	struct arena strings;
	const char *program, *run_dir, *cache_dir;
	const char *external_folder; /* NULL = none */
	bool external_disk;
	const char *args[ARGS_MAX]; /* NULL-terminated */
	const char *wipe_args[8];   /* 〃 */
	char *url;                  /* of the proxy itself */
	void (*note)(void *ctx, bool trouble, const char *sentence);
	void *note_ctx;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* wanted, wipe or ending */
	struct shared shared;

	struct process process;
	pthread_t thread;
	bool has_thread;
};

/* ---- command lines ---- */

static const char *keep(struct proxy_child *c, const char *s)
{
	return arena_strndup(&c->strings, s, strlen(s));
}

/* Append @option and, unless it is NULL, a copy of @value. False: no memory. */
static bool arg_add(struct proxy_child *c, const char **args, size_t room, const char *option,
	const char *value)
{
	size_t n = 0;

	while (args[n])
		n++;
	assert(n + 2 < room);
	args[n] = option;
	if (!value)
		return true;
	args[n + 1] = keep(c, value);
	return args[n + 1] != NULL;
}

static bool fill_args(struct proxy_child *c, const struct proxy_child_config *config)
{
	AUTO_BUF struct buf origins = {0};
	char port[8];
	bool ok = buf_printf(&origins, "%s/" PROXY_ORIGINS_NAME, config->run_dir) == 0;

	snprintf(port, sizeof(port), "%u", config->port);
	const struct {
		const char *option, *value;
		bool wanted;
	} options[] = {
		{c->program,      NULL,                true                       },
		{"--listen",      config->listen_addr, true                       },
		{"--port",        port,                true                       },
		{"--cache-dir",   config->cache_dir,   true                       },
		{"--upper-proxy", config->upper_proxy, config->upper_proxy != NULL},
		{"--tls-ca",      config->tls_ca,      config->tls_ca != NULL     },
		{"--https",       NULL,                config->https              },
		{"--no-cache",    NULL,                config->no_cache           },
		{"--origins",     buf_str(&origins),   config->use_origins        },
		{"--user",        config->user,        config->user != NULL       },
		{"--log-level",   config->log_level,   config->log_level != NULL  },
	};
	for (size_t i = 0; i < ARRAY_SIZE(options) && ok; i++)
		if (options[i].wanted)
			ok = arg_add(c, c->args, ARRAY_SIZE(c->args), options[i].option,
				options[i].value);
	return ok;
}

static bool fill_wipe_args(struct proxy_child *c, const struct proxy_child_config *config)
{
	const size_t room = ARRAY_SIZE(c->wipe_args);

	return arg_add(c, c->wipe_args, room, c->program, NULL) &&
	       arg_add(c, c->wipe_args, room, "--wipe", NULL) &&
	       arg_add(c, c->wipe_args, room, "--cache-dir", config->cache_dir) &&
	       (!config->user || arg_add(c, c->wipe_args, room, "--user", config->user));
}

/* Where it is reached from here: "any address" is one to listen on, not one to connect to. */
static bool fill_url(struct proxy_child *c, const struct proxy_child_config *config)
{
	const char *addr = config->listen_addr;

	if (strcmp(addr, "0.0.0.0") == 0)
		addr = "127.0.0.1";
	else if (strcmp(addr, "::") == 0)
		addr = "::1";
	if (asprintf(&c->url, strchr(addr, ':') ? "http://[%s]:%u/" : "http://%s:%u/", addr,
		    config->port) < 0)
		c->url = NULL;
	return c->url != NULL;
}

/* ---- what the thread does ---- */

__attribute__((format(printf, 3, 4))) static void tell(
	struct proxy_child *c, bool trouble, const char *fmt, ...)
{
	char sentence[OTA_ERR_MSG_MAX];
	va_list ap;

	if (!c->note)
		return;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	c->note(c->note_ctx, trouble, sentence);
}

static void shared_set_running(struct proxy_child *c, bool running, const char *trouble)
{
	pthread_mutex_lock(&c->lock);
	c->shared.running = running;
	c->shared.n_runs += running;
	snprintf(c->shared.trouble, sizeof(c->shared.trouble), "%s", trouble);
	pthread_mutex_unlock(&c->lock);
}

static void shared_set_refused(struct proxy_child *c)
{
	pthread_mutex_lock(&c->lock);
	c->shared.refused = true;
	pthread_mutex_unlock(&c->lock);
}

/* The back-off before the next start, which grows from one failure to the next. */
static uint64_t back_off(struct process *p, uint64_t now)
{
	uint64_t wait_ms = p->backoff_ms;

	p->next_start_ms = now + wait_ms;
	p->backoff_ms = MIN_OF(2 * wait_ms, (uint64_t)PROXY_CHILD_BACKOFF_MAX_MS);
	return wait_ms;
}

/* Append an option for each external cache that is there. One that cannot be used is done without. */
static void add_externals(struct proxy_child *c, const char **args)
{
	struct process *p = &c->process;
	struct ota_err err = {0};
	int r;

	while (*args)
		args++;
	r = c->external_disk ? external_cache_mount(c->run_dir, p->disk_dir, &err) : -ENOENT;
	p->has_disk = r == 0;
	if (p->has_disk) {
		*args++ = "--external";
		*args++ = p->disk_dir;
		tell(c, false, "otaproxy may take files from the disk " EXTERNAL_CACHE_LABEL);
	} else if (r != -ENOENT) {
		tell(c, true, "No files are taken from the disk " EXTERNAL_CACHE_LABEL ": %s",
			err.msg);
	}
	if (c->external_folder && external_cache_check_folder(c->external_folder, &err) == 0) {
		*args++ = "--external";
		*args++ = c->external_folder;
	} else if (c->external_folder) {
		tell(c, true, "No files are taken from external_nfs_cache_mnt_point: %s", err.msg);
	}
	*args = NULL;
}

static void drop_disk(struct proxy_child *c)
{
	struct ota_err err = {0};

	if (c->process.has_disk && external_cache_unmount(c->run_dir, &err) < 0)
		tell(c, true, "%s", err.msg);
	c->process.has_disk = false;
}

static void start_it(struct proxy_child *c)
{
	const char *args[ARGS_MAX + EXTERNAL_ARGS_MAX];
	struct process *p = &c->process;
	char trouble[TROUBLE_MAX];
	uint64_t now;
	int r;

	memcpy(args, c->args, sizeof(c->args));
	add_externals(c, args);
	now = clock_monotonic_ms(); /* the disk may have taken its time */
	r = proxy_process_start(args, &p->pid);
	p->term_ms = 0;
	p->killed = false;
	p->started_ms = now;
	if (r == 0) {
		shared_set_running(c, true, "");
		tell(c, false, "otaproxy has started as process %d", (int)p->pid);
		return;
	}
	drop_disk(c);
	snprintf(trouble, sizeof(trouble), "cannot be started: %s", strerror(-r));
	shared_set_running(c, false, trouble);
	tell(c, true, "Cannot start %s: %s; the next try is in %" PRIu64 " s", c->program,
		strerror(-r), back_off(p, now) / 1000);
}

/* It has ended, as it was told or by itself. */
static void it_ended(struct proxy_child *c, int status, bool wanted, uint64_t now)
{
	struct process *p = &c->process;
	uint64_t lived_ms = now - p->started_ms, wait_ms;
	char how[TROUBLE_MAX];

	p->pid = 0;
	drop_disk(c);
	if (lived_ms >= PROXY_CHILD_SOUND_MS)
		p->backoff_ms = PROXY_CHILD_BACKOFF_MIN_MS;
	if (p->term_ms != 0) {
		p->next_start_ms = now;
		shared_set_running(c, false, "");
		tell(c, false, "otaproxy has ended, as it was told");
		return;
	}
	proxy_process_status_text(status, how, sizeof(how));
	shared_set_running(c, false, how);
	if (WIFEXITED(status) && WEXITSTATUS(status) == PROXY_EXIT_USAGE) {
		shared_set_refused(c);
		tell(c, true, "otaproxy refuses its command line (%s) and is not started again",
			how);
		return;
	}
	wait_ms = back_off(p, now);
	/* So it ends on a signal of somebody else: while the machine shuts down each process gets one. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		tell(c, false, "otaproxy has ended");
	else if (wanted)
		tell(c, true,
			"otaproxy %s after %" PRIu64 " s; it is started again in %" PRIu64 " s",
			how, lived_ms / 1000, wait_ms / 1000);
	else
		tell(c, true, "otaproxy %s after %" PRIu64 " s; nobody needs it any more", how,
			lived_ms / 1000);
}

static void tell_it_to_end(struct proxy_child *c, uint64_t now)
{
	c->process.term_ms = MAX_OF(now, (uint64_t)1);
	/* It may still answer, and is not to be counted on. */
	shared_set_running(c, false, "is being stopped");
	kill(c->process.pid, SIGTERM);
}

static void kill_it(struct proxy_child *c)
{
	c->process.killed = true;
	kill(-c->process.pid, SIGKILL);
	tell(c, true, "otaproxy did not end within %d s of being told to and was killed",
		PROXY_CHILD_TERM_MS / 1000);
}

static void wipe_cache(struct proxy_child *c)
{
	const struct run_args args = {.argv = c->wipe_args};
	struct ota_err err = {0};

	if (run_tool(&args, &err) < 0)
		tell(c, true, "Cannot empty the cache in %s: %s", c->cache_dir, err.msg);
	else
		tell(c, false, "The cache in %s has been emptied: the vehicle is done",
			c->cache_dir);
}

static void tick_process(struct proxy_child *c, const struct shared *want)
{
	struct process *p = &c->process;
	uint64_t now = clock_monotonic_ms();
	int status;

	if (waitpid(p->pid, &status, WNOHANG) == p->pid)
		it_ended(c, status, want->wanted && !want->ending, now);
	else if (p->term_ms == 0 &&
		 (want->ending || (!want->wanted && now - p->started_ms >= PROXY_CHILD_KEEP_MS)))
		tell_it_to_end(c, now);
	else if (p->term_ms != 0 && !p->killed && now - p->term_ms >= PROXY_CHILD_TERM_MS)
		kill_it(c);
}

static bool may_start(const struct shared *want)
{
	return want->wanted && !want->refused;
}

static void tick(struct proxy_child *c, const struct shared *want)
{
	if (c->process.pid != 0)
		tick_process(c, want);
	else if (may_start(want) && clock_monotonic_ms() >= c->process.next_start_ms)
		start_it(c);
	else if (want->wipe)
		wipe_cache(c);
}

/* Wait until there may be something to do; false: the end. */
static bool next_want(struct proxy_child *c, struct shared *ret_want)
{
	struct shared *s = &c->shared;

	pthread_mutex_lock(&c->lock);
	while (c->process.pid == 0 && !may_start(s) && !s->wipe && !s->ending)
		pthread_cond_wait(&c->changed, &c->lock);
	*ret_want = *s;
	if (c->process.pid == 0 && s->wipe)
		s->wipe = false; /* taken */
	pthread_mutex_unlock(&c->lock);
	return !ret_want->ending || c->process.pid != 0;
}

static void *supervise(void *arg)
{
	struct proxy_child *c = arg;
	struct shared want;

	while (next_want(c, &want)) {
		tick(c, &want);
		/* Nothing is left to watch: next_want() waits. */
		if (c->process.pid != 0 || may_start(&want))
			clock_sleep_ms(TICK_MS);
	}
	return NULL;
}

/* ---- the object ---- */

static int thread_start(struct proxy_child *c)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int e;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	e = pthread_create(&c->thread, &attr, supervise, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	c->has_thread = e == 0;
	return -e;
}

int proxy_child_new(const struct proxy_child_config *config, struct proxy_child **ret_child,
	struct ota_err *err)
{
	AUTO_PROXY_CHILD struct proxy_child *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return ota_err_no_memory(err, "the watch over otaproxy");
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	c->note = config->note;
	c->note_ctx = config->note_ctx;
	c->process.backoff_ms = PROXY_CHILD_BACKOFF_MIN_MS;
	c->external_disk = config->external_disk;
	if (config->external_folder) {
		c->external_folder = keep(c, config->external_folder);
		if (!c->external_folder)
			return ota_err_no_memory(err, "the watch over otaproxy");
	}
	c->program = keep(c, config->program);
	c->run_dir = keep(c, config->run_dir);
	c->cache_dir = keep(c, config->cache_dir);
	if (!c->program || !c->run_dir || !c->cache_dir || !fill_args(c, config) ||
		!fill_wipe_args(c, config) || !fill_url(c, config))
		return ota_err_no_memory(err, "the watch over otaproxy");
	r = thread_start(c);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot start the thread that watches over otaproxy");
	*ret_child = TAKE_PTR(c);
	return 0;
}

void proxy_child_free(struct proxy_child *c)
{
	if (!c)
		return;
	if (c->has_thread) {
		pthread_mutex_lock(&c->lock);
		c->shared.ending = true;
		pthread_cond_signal(&c->changed);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->thread, NULL);
	}
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	arena_done(&c->strings);
	free(c->url);
	free(c);
}

void proxy_child_freep(struct proxy_child **c)
{
	proxy_child_free(*c);
}

void proxy_child_want(struct proxy_child *c, bool wanted)
{
	pthread_mutex_lock(&c->lock);
	if (wanted && !c->shared.wanted)
		c->shared.refused = false;
	c->shared.wanted = wanted;
	if (wanted)
		c->shared.wipe = c->shared.wiped = false;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void proxy_child_finish(struct proxy_child *c)
{
	pthread_mutex_lock(&c->lock);
	c->shared.wanted = false;
	if (!c->shared.wiped)
		c->shared.wipe = c->shared.wiped = true;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

int proxy_child_origins(
	struct proxy_child *c, const char *const *origins, size_t n_origins, struct ota_err *err)
{
	return proxy_origins_write(c->run_dir, origins, n_origins, err);
}

/* ---- ready ---- */

static struct shared look(struct proxy_child *c)
{
	struct shared now;

	pthread_mutex_lock(&c->lock);
	now = c->shared;
	pthread_mutex_unlock(&c->lock);
	return now;
}

const char *proxy_child_url(struct proxy_child *c)
{
	struct shared now = look(c);

	return now.running && now.wanted ? c->url : NULL;
}

/* Which of its processes was asked. */
struct ready_check {
	struct proxy_child *child;
	unsigned n_runs;
};

static int check_runs(void *ctx, bool answered, struct ota_err *ret_why)
{
	struct ready_check *check = ctx;
	struct shared now = look(check->child);

	/* Another program may have the port, and answer; ours then ends. */
	if (answered && now.running && now.n_runs == check->n_runs)
		return 0;
	if (answered)
		return ota_err_set(ret_why, -EAGAIN, OTA_E_OTAPROXY_FAILED, "it ended");
	if (!now.wanted || now.ending)
		return ota_err_set(ret_why, -ESHUTDOWN, OTA_E_OTAPROXY_FAILED,
			"otaproxy is not wanted, so it cannot become ready");
	if (now.refused)
		return ota_err_set(ret_why, -EINVAL, OTA_E_OTAPROXY_FAILED,
			"otaproxy refuses its command line; the lines that it has logged say why");
	if (!now.running)
		return ota_err_set(ret_why, -EAGAIN, OTA_E_OTAPROXY_FAILED, "it %s",
			now.trouble[0] ? now.trouble : "has not started yet");
	check->n_runs = now.n_runs;
	return 0;
}

int proxy_child_wait_ready(struct proxy_child *c, uint32_t timeout_ms, bool (*stop)(void *ctx),
	void *ctx, struct ota_err *err)
{
	struct ready_check check = {.child = c};
	const struct proxy_ready ready = {
		.name = "otaproxy",
		.url = c->url,
		.timeout_ms = timeout_ms,
		.stop = stop,
		.stop_ctx = ctx,
		.check = check_runs,
		.check_ctx = &check,
	};

	return proxy_ready_wait(&ready, err);
}
