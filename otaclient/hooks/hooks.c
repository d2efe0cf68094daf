/*
 * hooks: names of the folders, names of the variables, and the log. Contract: hooks.h.
 *
 * A thread of hooks_start() owns copies of all that it is told; the flag that ends it is all that is shared.
 */
#include "otaclient/hooks/hooks.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/hooks/program_folder.h"

enum {
	N_HOOKS = HOOK_POST_COMMIT + 1,
};

static const char *const hook_names[N_HOOKS] = {
	[HOOK_PRE_UPDATE] = "pre-update",
	[HOOK_POST_UPDATE] = "post-update",
	[HOOK_PRE_REBOOT] = "pre-reboot",
	[HOOK_POST_COMMIT] = "post-commit",
};

/* ---- the environment ----------------------------------------------------------------------------
 */

struct hook_env {
	unsigned n;
	char *text[PROGRAM_FOLDER_ENV_MAX]; /* owned; NULL at the end */
};

static void hook_env_done(struct hook_env *env)
{
	for (unsigned i = 0; i < env->n; i++)
		free(env->text[i]);
}

static int put(struct hook_env *env, const char *name, const char *value)
{
	if (!value)
		return 0;
	if (asprintf(&env->text[env->n], "OTA_%s=%s", name, value) < 0) {
		env->text[env->n] = NULL;
		return -ENOMEM;
	}
	env->n++;
	return 0;
}

/* @ret_env is empty; on failure it holds what fitted. */
static int hook_env_make(struct hook_env *ret_env, enum hook which, const struct hook_facts *f)
{
	char bytes[24];
	const struct {
		const char *name, *value;
	} rows[] = {
		{"HOOK",           hook_names[which]               },
		{"ACTION",         f->action                       },
		{"SESSION",        f->session                      },
		{"ECU_ID",         f->ecu_id                       },
		{"VERSION",        f->version                      },
		{"FROM_VERSION",   f->from_version                 },
		{"URL",            f->url                          },
		{"SLOT",           f->slot                         },
		{"FROM_SLOT",      f->from_slot                    },
		{"STANDBY_ROOT",   f->standby_root                 },
		{"DOWNLOAD_BYTES", f->download_bytes ? bytes : NULL},
	};
	int r = 0;

	snprintf(bytes, sizeof(bytes), "%" PRIu64, f->download_bytes ? *f->download_bytes : 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0; i++)
		r = put(ret_env, rows[i].name, rows[i].value);
	return r;
}

/* ---- running them -------------------------------------------------------------------------------
 */

/* One run: what program_folder's callbacks need. */
struct hook_run {
	const char *session;     /* NULL = not known */
	bool (*stop)(void *ctx); /* NULL = never */
	void *stop_ctx;
};

static void log_note(void *ctx, bool trouble, const char *sentence)
{
	const struct hook_run *run = ctx;
	const struct log_event event = {.session = run->session};

	/* Each is about another program, however many come from here. */
	log_put(&(const struct log_entry){.level = trouble ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
			.file = __FILE__,
			.function = __func__,
			.line = __LINE__,
			.each = true,
			.event = &event},
		"%s", sentence);
}

static bool is_stopped(void *ctx)
{
	const struct hook_run *run = ctx;

	return run->stop && run->stop(run->stop_ctx);
}

static int folder_of(const struct hooks *hooks, enum hook which, char ret_dir[PATH_MAX],
	char ret_what[32], struct program_folder *ret_folder)
{
	if (snprintf(ret_dir, PATH_MAX, "%s/%s", hooks->dir, hook_names[which]) >= PATH_MAX)
		return -ENAMETOOLONG;
	snprintf(ret_what, 32, "%s hook", hook_names[which]);
	*ret_folder = (struct program_folder){
		.dir = ret_dir,
		.what = ret_what,
		.timeout_ms = hooks->timeout_ms,
		/* After the commit each has a duty of its own; before it the first no decides. */
		.go_on = which == HOOK_POST_COMMIT,
	};
	return 0;
}

/* @ret_failed: as program_folder_run() has it; NULL = not wanted. */
static int run_with_env(const struct hooks *hooks, enum hook which, const struct hook_env *env,
	struct hook_run *run, struct program_result *ret_failed, struct ota_err *err)
{
	char dir[PATH_MAX], what[32];
	struct program_folder folder;
	int r = folder_of(hooks, which, dir, what, &folder);

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot run the hooks in %s", hooks->dir);
	folder.env = (const char *const *)env->text;
	folder.stop = is_stopped;
	folder.note = log_note;
	folder.ctx = run;
	r = program_folder_run(&folder, ret_failed, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_HOOK);
	return r;
}

int hooks_check(const struct hooks *hooks, struct ota_err *err)
{
	char dir[PATH_MAX], what[32];
	struct program_folder folder;
	int r = 0;

	for (unsigned which = 0; hooks->dir && which < N_HOOKS && r == 0; which++) {
		r = folder_of(hooks, (enum hook)which, dir, what, &folder);
		if (r < 0)
			return ota_err_wrap(err, r, "Cannot look at the hooks in %s", hooks->dir);
		r = program_folder_check(&folder, NULL, err);
	}
	if (r < 0)
		ota_err_blame(err, OTA_E_HOOK);
	return r;
}

int hooks_run(const struct hooks *hooks, enum hook which, const struct hook_facts *facts,
	bool (*stop)(void *ctx), void *stop_ctx, struct ota_err *err)
{
	CLEANUP(hook_env_done) struct hook_env env = {0};
	struct hook_run run = {.session = facts->session, .stop = stop, .stop_ctx = stop_ctx};

	if (!hooks->dir)
		return 0;
	if (hook_env_make(&env, which, facts) < 0)
		return ota_err_no_memory(err, "the environment of the hooks");
	return run_with_env(hooks, which, &env, &run, NULL, err);
}

/* ---- in a thread --------------------------------------------------------------------------------
 */

struct hooks_thread {
	struct hooks hooks;
	enum hook which;
	struct hook_env env;
	atomic_bool stop;
	pthread_t thread;
};

static bool is_to_end(void *ctx)
{
	struct hooks_thread *t = ctx;

	return atomic_load(&t->stop);
}

/* Each program that failed has been told of already, but not what was refused. */
static void *hooks_thread_run(void *arg)
{
	struct hooks_thread *t = arg;
	struct hook_run run = {.stop = is_to_end, .stop_ctx = t};
	struct program_result failed = {0};
	struct ota_err err = {0};

	if (run_with_env(&t->hooks, t->which, &t->env, &run, &failed, &err) < 0 &&
		failed.name[0] == '\0')
		log_warning("%s", err.msg);
	return NULL;
}

static void destroy(struct hooks_thread *t)
{
	hook_env_done(&t->env);
	free(t);
}

struct hooks_thread *hooks_start(
	const struct hooks *hooks, enum hook which, const struct hook_facts *facts)
{
	struct hooks_thread *t;
	int r = -ENOMEM;

	if (!hooks->dir)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (t) {
		t->hooks = *hooks;
		t->which = which;
		r = hook_env_make(&t->env, which, facts);
	}
	if (r == 0)
		r = -pthread_create(&t->thread, NULL, hooks_thread_run, t);
	if (r == 0)
		return t;
	log_warning("The %s hooks are not run: %s", hook_names[which], strerror(-r));
	if (t)
		destroy(t);
	return NULL;
}

void hooks_thread_free(struct hooks_thread *t)
{
	if (!t)
		return;
	atomic_store(&t->stop, true);
	pthread_join(t->thread, NULL);
	destroy(t);
}
