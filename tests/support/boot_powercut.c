/*
 * boot_powercut: power cuts in boot controllers. Contract: boot_powercut.h.
 */
#include "tests/support/boot_powercut.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"

static const char next_release[] = "5.10.0-3-fake"; /* of the update after a cut */

static struct {
	unsigned n, cut_at;
	bool off;
	char step[64]; /* the one that was cut */
} power;

static int count_step(void *ctx, const char *what)
{
	if (++power.n < power.cut_at)
		return 0;
	power.off = true;
	if (power.n == power.cut_at)
		snprintf(power.step, sizeof(power.step), "%s", what);
	return -EIO;
}

void powercut_arm(unsigned cut_at)
{
	power.n = 0;
	power.cut_at = cut_at;
	power.off = false;
	io_set_hook(count_step, NULL);
}

/* Where it was cut is still told. */
void powercut_disarm(void)
{
	io_set_hook(NULL, NULL);
	power.off = false;
}

const char *powercut_where(void)
{
	static char text[128];

	snprintf(text, sizeof(text), "After a cut before step %u (%s)", power.cut_at, power.step);
	return text;
}

/* ---- one run of the daemon ---------------------------------------------------------------------- */

static int update(const struct powercut_machine_ops *ops, void *machine, struct boot_ctl *ctl,
	const char *release, struct powercut_truth *truth, struct ota_err *err)
{
	char standby = ops->running(machine) == 'a' ? 'b' : 'a';
	bool *complete = &truth->complete[standby - 'a'];
	int r = ctl->ops->prepare(ctl, err);

	if (r == 0) {
		*complete = false;
		r = ctl->ops->stage(ctl, ops->put_image(machine, standby, release), err);
	}
	if (r == 0) {
		*complete = true; /* closed, before flip */
		r = ctl->ops->flip(ctl, err);
	}
	return r;
}

static int go_back(struct boot_ctl *ctl, struct ota_err *err)
{
	int r = ctl->ops->check(ctl, err);

	if (r == 0)
		r = ctl->ops->keep(ctl, err);
	return r < 0 ? r : ctl->ops->flip(ctl, err);
}

int powercut_run_daemon(const struct powercut_machine_ops *ops, void *machine,
	const struct powercut_task *task, struct powercut_truth *truth)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	bool reset, standby_whole = truth->complete[ops->running(machine) == 'a' ? 1 : 0];
	int r = ops->open(machine, &ctl, &err);

	if (r == 0)
		r = ctl->ops->setup(ctl, &reset, &err);
	if (r == 0 && task->commit)
		r = ctl->ops->commit(ctl, &err);
	if (r == 0 && ctl->ops->settle)
		r = ctl->ops->settle(ctl, standby_whole, &err);
	if (r == 0 && task->release)
		r = update(ops, machine, ctl, task->release, truth, &err);
	if (r == 0 && task->go_back)
		r = go_back(ctl, &err);
	if (ctl)
		ctl->ops->close(ctl);
	if (r < 0 && !power.off)
		fail_msg("%s", err.msg);
	return r;
}

/* ---- cuts --------------------------------------------------------------------------------------- */

bool powercut_is_new_state(const struct powercut_machine_ops *ops, const void *machine,
	const struct powercut_truth *truth, struct buf *last)
{
	AUTO_BUF struct buf now = {0};

	if (!ops->fingerprint)
		return true;
	ops->fingerprint(machine, &now);
	assert_int_equal(buf_printf(&now, "%d %d", truth->complete[0], truth->complete[1]), 0);
	if (last->len_bytes == now.len_bytes &&
		memcmp(buf_str(last), buf_str(&now), now.len_bytes) == 0)
		return false;
	buf_done(last);
	*last = now;
	now = (struct buf){0};
	return true;
}

/* Whatever comes up, an update is carried through and stays. */
static void try_again(
	const struct powercut_machine_ops *ops, void *machine, struct powercut_truth *truth)
{
	char before = ops->restart(machine), want = before == 'a' ? 'b' : 'a';

	powercut_run_daemon(ops, machine,
		&(struct powercut_task){.commit = true, .release = next_release}, truth);
	if (ops->restart(machine) != want)
		fail_msg("%s the second update did not start slot %c", powercut_where(), want);
	powercut_run_daemon(ops, machine, &(struct powercut_task){.commit = true}, truth);
	for (unsigned i = 0; i < ops->kept_starts; i++)
		assert_int_equal(ops->restart(machine), want);
}

void powercut_everywhere(const struct powercut_machine_ops *ops, const void *machine,
	const struct powercut_truth *at_start, const struct powercut_task *task, unsigned cuts_min,
	unsigned states_min)
{
	AUTO_FREE void *copy = calloc(1, ops->size_bytes);
	AUTO_BUF struct buf last = {0};
	unsigned n_cuts = 0, n_states = 0;
	int r = -EIO;

	assert_non_null(copy);
	for (unsigned cut = 1; r < 0; cut++) {
		struct powercut_truth truth = *at_start;

		ops->copy(machine, copy);
		powercut_arm(cut);
		r = powercut_run_daemon(ops, copy, task, &truth);
		powercut_disarm();
		n_cuts += r < 0;
		if (r < 0 && powercut_is_new_state(ops, copy, &truth, &last)) {
			n_states++;
			ops->check(copy, &truth, task);
			try_again(ops, copy, &truth);
		}
		ops->done(copy);
	}
	print_message("%u cuts, %u states\n", n_cuts, n_states);
	assert_true(n_cuts >= cuts_min && n_states >= states_min);
}
