/*
 * trial: check again and again, then commit or go back. Contract: trial.h.
 *
 * Nothing on disk says that a machine is going back: that it was not committed is enough. The status files stay as the
 * update has written them, and the start of the old system tells from them what has happened (first_boot.c).
 *
 * Under the lock: whether it is over. The status says SUCCESS before anybody can find it over.
 */
#include "otaclient/trial/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "otaclient/log/journal.h"
#include "otaclient/trial/first_boot.h"

#define NOTE_NAME "trial"
#define BOOT_ID   "/proc/sys/kernel/random/boot_id"
#define GIVEN_UP  "given up: "

enum {
	NOTE_MAX_BYTES = 1024, /* holds a sentence of struct ota_err */
	BOOT_ID_MAX = 64,
	SLEEP_MS = 200, /* how soon it ends when it is to */
};

struct trial {
	struct trial_config config;
	bool is_rollback;
	atomic_bool stopping;
	uint64_t deadline_ms;       /* monotonic; the thread's */
	char said[OTA_ERR_MSG_MAX]; /* why it is not committed yet, as last logged; "" = nothing */

	pthread_mutex_t lock;
	bool over; /* under lock */

	bool joinable;
	pthread_t thread;
};

/* ---- the note in run_dir ---- */

/* What earlier starts of the daemon have left, as two lines: "<boot id> <begun_ms>", and why it was given up. */
struct note {
	char boot_id[BOOT_ID_MAX]; /* of the machine's start that it is about; "" = not known */
	uint64_t begun_ms;         /* monotonic */
	char given_up[OTA_ERR_MSG_MAX]; /* "" = not yet */
};

static void read_boot_id(char ret_id[BOOT_ID_MAX])
{
	AUTO_BUF struct buf text = {0};

	file_read(AT_FDCWD, BOOT_ID, BOOT_ID_MAX, &text);
	snprintf(ret_id, BOOT_ID_MAX, "%.*s", (int)strcspn(buf_str(&text), "\n"), buf_str(&text));
}

/* What is left of @text behind @begin; "" if it does not begin so. */
static const char *behind(const char *text, const char *begin)
{
	size_t len = strlen(begin);

	return strncmp(text, begin, len) == 0 ? text + len : "";
}

/*
 * A note that is not there, makes no sense, or is about an earlier start of the machine (run_dir may be on disk) is
 * that of a trial that begins now.
 */
static void read_note(const struct trial *t, struct note *ret_note)
{
	AUTO_BUF struct buf text = {0};
	uint64_t now_ms = clock_monotonic_ms(), begun_ms;
	char path[PATH_MAX];
	const char *line, *up;

	*ret_note = (struct note){.begun_ms = now_ms};
	read_boot_id(ret_note->boot_id);
	snprintf(path, sizeof(path), "%s/" NOTE_NAME, t->config.run_dir);
	if (file_read(AT_FDCWD, path, NOTE_MAX_BYTES, &text) < 0)
		return;
	line = behind(buf_str(&text), ret_note->boot_id);
	if (sscanf(line, " %" SCNu64 "\n", &begun_ms) != 1)
		return;
	ret_note->begun_ms = MIN_OF(begun_ms, now_ms);
	line += strcspn(line, "\n");
	up = behind(line, "\n" GIVEN_UP);
	snprintf(
		ret_note->given_up, sizeof(ret_note->given_up), "%.*s", (int)strcspn(up, "\n"), up);
}

/* It need not last longer than the machine runs, so a plain file that is renamed will do. */
static int put_note(const char *dir, const struct buf *text)
{
	AUTO_CLOSE int dir_fd = -1, fd = -1;
	int r;

	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	/* Of a run that was killed, or whatever it is. */
	unlinkat(dir_fd, NOTE_NAME ".new", 0);
	fd = openat(dir_fd, NOTE_NAME ".new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		0600);
	if (fd < 0)
		return -errno;
	r = file_write_all(fd, text->data, text->len_bytes);
	if (r == 0 && renameat(dir_fd, NOTE_NAME ".new", dir_fd, NOTE_NAME) < 0)
		r = -errno;
	return r;
}

static void write_note(const struct trial *t, const struct note *note)
{
	AUTO_BUF struct buf text = {0};
	int r = buf_printf(&text, "%s %" PRIu64 "\n", note->boot_id, note->begun_ms);

	if (r == 0 && note->given_up[0])
		r = buf_printf(&text, GIVEN_UP "%s\n", note->given_up);
	if (r == 0)
		r = put_note(t->config.run_dir, &text);
	if (r < 0)
		log_warning(
			"A restart of otaclient begins the trial anew: cannot write %s/" NOTE_NAME
			": %s",
			t->config.run_dir, strerror(-r));
}

/* ---- waiting ---- */

static bool is_stopping(void *trial)
{
	return atomic_load(&((struct trial *)trial)->stopping);
}

/* Of one round: many programs that each take their time may take much more than there is. */
static bool is_to_end(void *trial)
{
	const struct trial *t = trial;

	return is_stopping(trial) || clock_monotonic_ms() >= t->deadline_ms + TRIAL_OVERTIME_MS;
}

static void sleep_until(struct trial *t, uint64_t until_ms)
{
	for (uint64_t now; !is_stopping(t) && (now = clock_monotonic_ms()) < until_ms;)
		clock_sleep_ms(MIN_OF(until_ms - now, (uint64_t)SLEEP_MS));
}

/* For who asks for the status meanwhile. */
static void remark(struct trial *t, const char *what, const char *why)
{
	char sentence[OTA_ERR_MSG_MAX + 32];

	snprintf(sentence, sizeof(sentence), "%s: %s", what, why);
	status_set_remark(t->config.status, sentence);
}

/* The same every few seconds is worth one line. */
static void say_why_not(struct trial *t, const struct ota_err *err)
{
	if (strcmp(t->said, err->msg) == 0)
		return;
	memcpy(t->said, err->msg, sizeof(t->said));
	log_info("The new system is not committed yet: %s", err->msg);
	remark(t, "Not committed yet", err->msg);
}

/* ---- the two ends ---- */

static int commit(struct trial *t, struct ota_err *err)
{
	const struct trial_config *c = &t->config;
	int r = first_boot_commit(c->boot, c->root, err);

	if (r < 0)
		return r;
	if (c->committed)
		c->committed(c->ctx);
	pthread_mutex_lock(&t->lock);
	t->over = true;
	status_set_remark(c->status, "");
	status_set_live(c->status, STATUS_SUCCESS);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/*
 * What cannot be reverted is left by the restart, too: without a commit the loader boots the old slot. Only the restart
 * can be wanting, so it is asked for until it comes.
 */
static void go_back(struct trial *t, struct note *note, const struct ota_err *why)
{
	const struct log_event event = {.id = JOURNAL_TRIAL_FAILED, .code = (int)why->code};
	struct boot_ctl *boot = t->config.boot;
	struct ota_err err = {0};

	log_event(LOG_LEVEL_ERROR, &event,
		"E%03d: The new system is given up, and the machine goes back: %s", why->code,
		why->msg);
	remark(t, "The machine goes back", why->msg);
	snprintf(note->given_up, sizeof(note->given_up), "%s", why->msg);
	write_note(t, note);
	if (t->config.given_up)
		t->config.given_up(t->config.ctx, why);
	if (boot->ops->revert(boot, &err) < 0) {
		ota_err_blame(&err, OTA_E_BOOTCONTROL_PREROLLBACK);
		log_error("E%03d: %s", err.code, err.msg);
	}
	while (!is_stopping(t)) {
		err = (struct ota_err){0};
		if (boot->ops->reboot(boot, &err) < 0)
			log_error("E%03d: %s", err.code, err.msg);
		sleep_until(t, clock_monotonic_ms() + TRIAL_RESTART_WAIT_MS);
		if (!is_stopping(t))
			log_error("The machine did not restart within %d s; it is asked again",
				TRIAL_RESTART_WAIT_MS / 1000);
	}
}

static int give_up(const struct trial *t, const struct ota_err *last, struct ota_err *ret_why)
{
	uint32_t s = t->config.timeout_s;

	*ret_why = *last;
	if (last->errnum == 0)
		ota_err_set(ret_why, -ETIMEDOUT, OTA_E_NOT_HEALTHY,
			"otaclient has started anew, and the time was over already");
	ret_why->code = OTA_E_NOT_HEALTHY;
	return ota_err_wrap(ret_why, last->errnum < 0 ? last->errnum : -ETIMEDOUT,
		"Not healthy within %u s", s);
}

/* One round of checks, and the commit if all is well. */
static int try_once(struct trial *t, struct ota_err *err)
{
	const struct trial_config *c = &t->config;
	int r = c->check ? c->check(c->ctx, is_to_end, t, err) : 0;

	if (r == -ECANCELED) {
		*err = (struct ota_err){0};
		return ota_err_set(err, r, OTA_E_NOT_HEALTHY,
			"The checks that were begun have not come to their end");
	}
	return r < 0 ? r : commit(t, err);
}

void trial_run(struct trial *t)
{
	struct ota_err err = {0}, why;
	struct note note;

	read_note(t, &note);
	write_note(t, &note);
	if (note.given_up[0]) {
		ota_err_set(&why, -ECANCELED, OTA_E_NOT_HEALTHY, "%s", note.given_up);
		go_back(t, &note, &why);
		return;
	}
	t->deadline_ms = note.begun_ms + (uint64_t)t->config.timeout_s * 1000;
	while (clock_monotonic_ms() < t->deadline_ms) {
		err = (struct ota_err){0};
		if (try_once(t, &err) == 0 || is_stopping(t))
			return;
		say_why_not(t, &err);
		sleep_until(t, MIN_OF(t->deadline_ms, clock_monotonic_ms() + TRIAL_ROUND_MS));
		if (is_stopping(t))
			return;
	}
	give_up(t, &err, &why);
	go_back(t, &note, &why);
}

/* ---- life, and what requests are answered ---- */

struct trial *trial_new(const struct trial_config *config)
{
	struct trial *t = calloc(1, sizeof(*t));
	struct status_snapshot now;

	if (!t)
		return NULL;
	t->config = *config;
	status_get(config->status, &now);
	t->is_rollback = now.ota_status == STATUS_ROLLBACKING;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

static void *trial_thread(void *trial)
{
	trial_run(trial);
	return NULL;
}

int trial_start(struct trial *t)
{
	int r = pthread_create(&t->thread, NULL, trial_thread, t);

	t->joinable = r == 0;
	return -r;
}

void trial_stop(struct trial *t)
{
	atomic_store(&t->stopping, true);
}

void trial_free(struct trial *t)
{
	if (!t)
		return;
	trial_stop(t);
	if (t->joinable)
		pthread_join(t->thread, NULL);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool is_over(struct trial *t)
{
	bool over;

	if (!t)
		return true;
	pthread_mutex_lock(&t->lock);
	over = t->over;
	pthread_mutex_unlock(&t->lock);
	return over;
}

int trial_refuse(struct trial *t, struct ota_err *err)
{
	return is_over(t)
		       ? 0
		       : ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY,
				 "The system that has just started is being checked; this request "
				 "has been ignored");
}

int trial_refuse_abort(struct trial *t, struct ota_err *ret_answer)
{
	return is_over(t) || t->is_rollback ? 0
					    : ota_err_set(ret_answer, -EBUSY, OTA_E_OTA_BUSY,
						      "Cannot abort: update is in FINAL_PHASE, the "
						      "new system has started "
						      "already");
}
