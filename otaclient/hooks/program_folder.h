/*
 * program_folder: run each program that an integrator has put in a folder, one after the other.
 *
 * A program is a regular file that is executable and whose name consists of letters, digits, '-' and '_' (as run-parts
 * has it), or a link to one beside it; all else in the folder is left out, with a note. They run in the order of the
 * bytes of their names, as who runs this, in "/", without arguments, stdin from /dev/null, with PATH, LANG=C and what
 * the caller adds as their whole environment. There is no shell.
 *
 * They run with the daemon's rights. So everything is refused, and nothing is run, when the folder, one above it or one
 * of the programs belongs to another user than root (or ours), or others may write to it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	PROGRAM_FOLDER_MAX = 256,       /* programs; more were put there by mistake */
	PROGRAM_FOLDER_ENV_MAX = 32,    /* variables of the caller, with the NULL */
	PROGRAM_FOLDER_LINES_MAX = 200, /* of one program that are passed on; the rest is counted */
	PROGRAM_FOLDER_LINE_MAX_BYTES = 256, /* of a line, with the NUL; the rest is left out */
	PROGRAM_FOLDER_GRACE_MS = 2000,      /* between SIGTERM and SIGKILL at the time limit */
};

/* How a program has ended. */
enum program_end {
	PROGRAM_DONE,    /* with status 0 */
	PROGRAM_FAILED,  /* with another status, @number */
	PROGRAM_SIGNAL,  /* by the signal @number */
	PROGRAM_LATE,    /* not within its time, so it was ended with all that it had started */
	PROGRAM_STOPPED, /* because stop() said so */
	PROGRAM_NOT_RUN, /* it could not be started */
};

struct program_result {
	char name[NAME_MAX + 1];
	enum program_end end;
	int number;                                    /* see above, else 0 */
	char last_line[PROGRAM_FOLDER_LINE_MAX_BYTES]; /* of its output: valid UTF-8 without control
							  characters; "" = it said nothing */
	uint64_t took_ms;
};

/* All borrowed. */
struct program_folder {
	const char *dir;        /* an absolute path in its only spelling */
	const char *what;       /* what one of them is, for sentences: "pre-update hook" */
	const char *const *env; /* "NAME=value", NULL at the end; NULL = nothing is added */
	uint32_t timeout_ms;    /* for each; 0 = RUN_TIMEOUT_DEFAULT_MS */
	bool go_on;             /* run the others, too, when one has failed */

	/* Asked several times a second: is it to end? NULL = never. */
	bool (*stop)(void *ctx);
	/* After each program. NULL = not wanted. */
	void (*result)(void *ctx, const struct program_result *result);
	/* For the log: what begins and ends, what is left out, and each line of output; @trouble is
	 * worth a warning. NULL = nobody listens. */
	void (*note)(void *ctx, bool trouble, const char *sentence);
	void *ctx;
};

/*
 * 0: there is no such folder, no program in it, or all have ended with status 0. Else the sentence names the folder or
 * the first program that failed, how, and the last line that it has said; @ret_failed (may be NULL) is its result, or
 * has no name where the folder was refused.
 *   -EPERM      something is not to be trusted, or not what it must be; nothing was run
 *   -E2BIG      more than PROGRAM_FOLDER_MAX programs; nothing was run
 *   -EIO        a program ended with another status than 0
 *   -EINTR      〃 by a signal
 *   -ETIMEDOUT  〃 not within its time
 *   -ECANCELED  stop() said so
 */
int program_folder_run(const struct program_folder *folder, struct program_result *ret_failed,
	struct ota_err *err);

/*
 * Would they be run, and start? Looks at everything and runs nothing. @ret_n (may be NULL): so many programs. As above;
 * -EPERM also for a program that is sure not to start (program_start), unless the others go on without it.
 */
int program_folder_check(const struct program_folder *folder, unsigned *ret_n, struct ota_err *err);
