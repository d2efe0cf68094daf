/*
 * program_folder: which files of a folder are programs to be trusted, and running them. Contract: program_folder.h.
 *
 * Whoever could exchange a folder on the way, or a file, between the look and the start must be root: that is
 * what is looked at, and so names may be used again afterwards.
 */
#include "otaclient/hooks/program_folder.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/folder.h"
#include "common/base/path.h"
#include "common/base/run.h"
#include "otaclient/hooks/program_start.h"
#include "otaclient/status/text.h"

enum {
	NOTED_MAX = 8, /* names that are left out one by one; of the rest there is one line */
	SENTENCE_MAX = 1024,
};

struct listing {
	const struct program_folder *folder;
	struct ota_err *err;
	bool look_inside; /* refuse what is sure not to start */
	unsigned n_left_out;
	unsigned n;
	char names[PROGRAM_FOLDER_MAX][NAME_MAX + 1];
};

static void note(const struct program_folder *f, bool trouble, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void note(const struct program_folder *f, bool trouble, const char *fmt, ...)
{
	char sentence[SENTENCE_MAX];
	va_list ap;

	if (!f->note)
		return;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	f->note(f->ctx, trouble, sentence);
}

/* ---- trust --------------------------------------------------------------------------------------
 */

static int refuse(struct ota_err *err, const char *dir, const char *name, const char *why)
{
	return ota_err_set(err, -EPERM, OTA_E_UNSPECIFIC, "%s%s%s is refused: %s", dir,
		name[0] ? "/" : "", name, why);
}

/* Why nobody but root, or we, could have put there what is there; NULL = nobody could. */
static const char *distrust(const struct stat *st)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "it does not belong to root";
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return "others than root may write to it";
	return NULL;
}

/* In a folder with the sticky bit, as /tmp is one, others may add names but not exchange ours. */
static const char *distrust_on_the_way(const struct stat *st)
{
	struct stat sticky = *st;

	if (st->st_mode & S_ISVTX)
		sticky.st_mode &= ~(mode_t)(S_IWGRP | S_IWOTH);
	return distrust(&sticky);
}

/* One step down the path of the folder. Closes @dir_fd. */
static int enter(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		fd = -errno;
	closep(&dir_fd);
	return fd;
}

/* Every folder on the way is looked at. The descriptor, or -ENOENT if it ends before. */
static int open_folder(const char *dir, struct ota_err *err)
{
	char path[PATH_MAX], *rest = path, *name;
	AUTO_CLOSE int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *why;
	struct stat st;

	assert(path_is_canonical(dir, strlen(dir)));
	snprintf(path, sizeof(path), "%s", dir);
	while ((name = strsep(&rest, "/"))) {
		if (name[0] != '\0')
			fd = enter(TAKE_FD(fd), name);
		if (fd == -ENOENT)
			return -ENOENT;
		if (fd == -ENOTDIR || fd == -ELOOP)
			return refuse(err, dir, "", "a link or no folder is on the way to it");
		if (fd < 0 || fstat(fd, &st) < 0)
			return ota_err_set(err, fd < 0 ? fd : -errno, OTA_E_UNSPECIFIC,
				"Cannot open %s: %s", dir, strerror(fd < 0 ? -fd : errno));
		why = rest ? distrust_on_the_way(&st) : distrust(&st);
		if (why && rest)
			why = "others than root could exchange a folder on the way to it";
		if (why)
			return refuse(err, dir, "", why);
	}
	return TAKE_FD(fd);
}

/* ---- what is in the folder ----------------------------------------------------------------------
 */

static bool is_program_name(const char *name)
{
	static const char set[] = "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-_";

	return name[strspn(name, set)] == '\0';
}

static int leave_out(struct listing *l, const char *name, const char *why)
{
	if (++l->n_left_out <= NOTED_MAX)
		note(l->folder, false, "%s/%s is left out: %s", l->folder->dir, name, why);
	return 0;
}

/* What a link names must lie beside it, and be no further link. */
static int follow_link(struct listing *l, int dir_fd, const char *name, struct stat *ret_st)
{
	char target[NAME_MAX + 2];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (!path_is_component(target, (size_t)n))
		return refuse(l->err, l->folder->dir, name, "it is a link that leaves the folder");
	if (fstatat(dir_fd, target, ret_st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(ret_st->st_mode))
		return refuse(l->err, l->folder->dir, name, "it is a link to no regular file");
	return 0;
}

static int visit(void *ctx, int dir_fd, const char *name)
{
	struct listing *l = ctx;
	const char *dir = l->folder->dir, *why;
	char beginning[PROGRAM_START_WHY_MAX];
	struct stat st;
	int r;

	if (!is_program_name(name))
		return leave_out(
			l, name, "its name has other characters than letters, digits, - and _");
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	r = S_ISLNK(st.st_mode) ? follow_link(l, dir_fd, name, &st) : 0;
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return leave_out(l, name, "it is no regular file");
	if (!(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return leave_out(l, name, "it is not executable");
	why = distrust(&st);
	if (!why && (st.st_mode & (S_ISUID | S_ISGID)))
		why = "it would change its user or group";
	if (!why && l->look_inside && program_start_fails(dir_fd, name, beginning))
		why = beginning;
	if (why)
		return refuse(l->err, dir, name, why);
	if (l->n == PROGRAM_FOLDER_MAX)
		return ota_err_set(l->err, -E2BIG, OTA_E_UNSPECIFIC,
			"%s holds more than %d programs; none is run", dir, PROGRAM_FOLDER_MAX);
	snprintf(l->names[l->n++], sizeof(l->names[0]), "%s", name);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Only if all of them may be run; in their order. @err is empty. */
static int list_programs(const struct program_folder *f, bool look_inside,
	struct listing **ret_listing, struct ota_err *err)
{
	AUTO_FREE struct listing *l = calloc(1, sizeof(*l));
	AUTO_CLOSE int fd = -1;
	int r;

	if (!l)
		return ota_err_wrap(err, -ENOMEM, "Cannot read %s", f->dir);
	l->folder = f;
	l->err = err;
	l->look_inside = look_inside;
	fd = open_folder(f->dir, err);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	r = fd < 0 ? 0 : folder_each(fd, visit, l);
	if (r < 0 && err->errnum == 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot read %s: %s", f->dir, strerror(-r));
	if (r < 0)
		return r;
	if (l->n_left_out > NOTED_MAX)
		note(f, false, "%u more names in %s are left out", l->n_left_out - NOTED_MAX,
			f->dir);
	qsort(l->names, l->n, sizeof(l->names[0]), compare_names);
	*ret_listing = TAKE_PTR(l);
	return 0;
}

/* ---- what a program says ------------------------------------------------------------------------
 */

struct listener {
	const struct program_folder *folder;
	const char *name;
	char line[PROGRAM_FOLDER_LINE_MAX_BYTES]; /* that is being collected */
	size_t len;
	char last[PROGRAM_FOLDER_LINE_MAX_BYTES]; /* that was not empty; as it came */
	unsigned n_passed_on;
	uint64_t n_left_out;
};

/* Output is anything: what is shown must be text. */
static void make_text(char *line)
{
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	text_repair(line);
}

static void line_ends(struct listener *l)
{
	l->line[l->len] = '\0';
	l->len = 0;
	if (l->line[strspn(l->line, " \t")] == '\0')
		return;
	memcpy(l->last, l->line, sizeof(l->last));
	if (l->n_passed_on == PROGRAM_FOLDER_LINES_MAX) {
		l->n_left_out++;
		return;
	}
	l->n_passed_on++;
	make_text(l->line);
	note(l->folder, false, "%s %s: %s", l->folder->what, l->name, l->line);
}

static void listen_to(void *ctx, const char *data, size_t len_bytes)
{
	struct listener *l = ctx;

	for (size_t i = 0; i < len_bytes; i++) {
		if (data[i] == '\n' || data[i] == '\r')
			line_ends(l);
		else if (l->len < sizeof(l->line) - 1)
			l->line[l->len++] = data[i] ? data[i] : ' ';
	}
}

static void listener_finish(struct listener *l, char ret_last_line[PROGRAM_FOLDER_LINE_MAX_BYTES])
{
	line_ends(l);
	if (l->n_left_out > 0)
		note(l->folder, false, "%s %s: %" PRIu64 " more lines were left out",
			l->folder->what, l->name, l->n_left_out);
	make_text(l->last);
	memcpy(ret_last_line, l->last, sizeof(l->last));
}

/* ---- running them -------------------------------------------------------------------------------
 */

static void put_env(const struct program_folder *f, const char *ret_env[])
{
	size_t n = 0;

	ret_env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	ret_env[n++] = "LANG=C";
	for (size_t i = 0; f->env && f->env[i]; i++) {
		assert(i + 1 < PROGRAM_FOLDER_ENV_MAX);
		ret_env[n++] = f->env[i];
	}
	ret_env[n] = NULL;
}

/* Better words than those of the kernel, which calls a missing interpreter a missing file. */
static bool know_why_not_started(
	const struct program_folder *f, const char *name, char ret_why[PROGRAM_START_WHY_MAX])
{
	AUTO_CLOSE int fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && program_start_fails(fd, name, ret_why);
}

/* What run_tool() has told, as a result and a sentence of ours. */
static int judge(const struct program_folder *f, int r, const struct ota_err *run_err,
	struct program_result *result, struct ota_err *err)
{
	const char *said = result->last_line[0] ? result->last_line : "it said nothing";
	double limit_s = (f->timeout_ms ? f->timeout_ms : RUN_TIMEOUT_DEFAULT_MS) / 1000.0;
	char why[PROGRAM_START_WHY_MAX];

	switch (r) {
	case 0:
		result->end = result->number == 0 ? PROGRAM_DONE : PROGRAM_FAILED;
		if (result->end == PROGRAM_DONE)
			return 0;
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC,
			"The %s %s failed with status %d: %s", f->what, result->name,
			result->number, said);
	case -EINTR:
		result->end = PROGRAM_SIGNAL;
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "The %s %s was ended by signal %d: %s",
			f->what, result->name, result->number, said);
	case -ETIMEDOUT:
		result->end = PROGRAM_LATE;
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"The %s %s did not end within %g s and was stopped: %s", f->what,
			result->name, limit_s, said);
	case -ECANCELED:
		result->end = PROGRAM_STOPPED;
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "The %s %s was stopped by request",
			f->what, result->name);
	default:
		result->end = PROGRAM_NOT_RUN;
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "The %s %s did not start: %s", f->what,
			result->name,
			know_why_not_started(f, result->name, why) ? why : run_err->msg);
	}
}

static int run_program(const struct program_folder *f, const char *name,
	struct program_result *result, struct ota_err *err)
{
	struct listener listener = {.folder = f, .name = name};
	const char *env[2 + PROGRAM_FOLDER_ENV_MAX];
	char path[PATH_MAX + NAME_MAX + 1];
	const char *const argv[] = {path, NULL};
	struct ota_err run_err = {0};
	struct run_args args = {
		.argv = argv,
		.dir = "/",
		.env = env,
		.timeout_ms = f->timeout_ms,
		.grace_ms = PROGRAM_FOLDER_GRACE_MS,
		.end_group = true,
		.ret_status = &result->number,
		.ret_signal = &result->number,
		.output = listen_to,
		.output_ctx = &listener,
		.stop = f->stop,
		.stop_ctx = f->ctx,
	};
	uint64_t began = clock_monotonic_ms();
	int r;

	*result = (struct program_result){.end = PROGRAM_STOPPED};
	snprintf(result->name, sizeof(result->name), "%s", name);
	if (f->stop && f->stop(f->ctx))
		return ota_err_set(err, -ECANCELED, OTA_E_UNSPECIFIC,
			"The %s %s was not started any more", f->what, name);
	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	put_env(f, env);
	r = run_tool(&args, &run_err);
	listener_finish(&listener, result->last_line);
	result->took_ms = clock_monotonic_ms() - began;
	return judge(f, r, &run_err, result, err);
}

static void tell_result(
	const struct program_folder *f, const struct program_result *result, const char *sentence)
{
	if (result->end == PROGRAM_DONE)
		note(f, false, "%s %s ended well after %.1f s", f->what, result->name,
			(double)result->took_ms / 1000.0);
	else
		note(f, true, "%s", sentence);
	if (f->result)
		f->result(f->ctx, result);
}

int program_folder_run(
	const struct program_folder *f, struct program_result *ret_failed, struct ota_err *err)
{
	AUTO_FREE struct listing *l = NULL;
	struct program_result result = {.end = PROGRAM_NOT_RUN}, failed = result;
	struct ota_err first = {0};
	int r = list_programs(f, false, &l, &first);

	for (unsigned i = 0; r == 0 && i < l->n; i++) {
		struct ota_err own = {0};
		int program_r = run_program(f, l->names[i], &result, &own);

		tell_result(f, &result, own.msg);
		if (program_r < 0 && (first.errnum == 0 || program_r == -ECANCELED)) {
			first = own;
			failed = result;
		}
		if (program_r == -ECANCELED || !f->go_on)
			r = program_r;
	}
	if (first.errnum == 0)
		return 0;
	if (ret_failed)
		*ret_failed = failed;
	if (err)
		*err = first;
	return first.errnum;
}

int program_folder_check(const struct program_folder *f, unsigned *ret_n, struct ota_err *err)
{
	AUTO_FREE struct listing *l = NULL;
	struct ota_err own = {0};
	int r = list_programs(f, !f->go_on, &l, &own);

	if (r == 0 && ret_n)
		*ret_n = l->n;
	if (r < 0 && err)
		*err = own;
	return r;
}
