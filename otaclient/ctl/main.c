/*
 * otactl: an operator's or a fleet agent's hand on one ECU, and through it on those below: status, update, abort,
 * rollback; and a look at the machine that it runs on: doctor.
 *
 * Reads its arguments (options.h), asks the ECU's API (api/peer.h) and shows the answer (commands.c). Exit codes:
 * 0 done, 1 failed with one sentence on stderr, 2 wrong usage.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "otaclient/ctl/columns.h"
#include "otaclient/ctl/commands.h"
#include "otaclient/ctl/interrupt.h"

enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

static int fail(const struct ctl *c)
{
	fflush(stdout);
	fputs("otactl: ", stderr);
	columns_print(stderr, c->err.msg);
	fputc('\n', stderr);
	return EXIT_FAILED;
}

static int wrong_usage(const struct ctl *c)
{
	fputs("otactl: ", stderr);
	columns_print(stderr, c->err.msg);
	fputs(". Try 'otactl --help'.\n", stderr);
	return EXIT_USAGE;
}

/* Interrupted, a watch has done what it was for; a wait has not. */
static int expect_interrupts(const struct ctl *c)
{
	if (c->opt.watch)
		return interrupt_start(NULL, EXIT_DONE);
	return c->opt.wait ? interrupt_start("otactl: Interrupted\n", EXIT_FAILED) : 0;
}

static int run(struct ctl *c)
{
	int r = expect_interrupts(c);

	if (r < 0)
		return ota_err_wrap(&c->err, r, "Cannot start a thread");
	peer_open();
	r = commands_run(c);
	peer_close();
	return r;
}

int main(int argc, char **argv)
{
	AUTO_FREE struct ctl *c = calloc(1, sizeof(*c));
	enum options_result given;
	int r = 0;

	if (!c)
		return EXIT_FAILED;
	given = options_parse(&c->opt, argc, argv, &c->err);
	if (given == OPTIONS_WRONG)
		return wrong_usage(c);
	if (given == OPTIONS_OK)
		r = run(c);
	if (r < 0 || ctl_finish_output(&c->err) < 0)
		return fail(c);
	return r == COMMANDS_SAID_WHY ? EXIT_FAILED : EXIT_DONE;
}
