/*
 * Power cuts in the CBoot controller: every durable step and every call of NVIDIA's tools that changes something is the
 * last one once, and then CBoot must still lead to a complete slot. Then the update is tried again and must come to its
 * end. NVIDIA's tools and CBoot are simulated (tests/support/fake-cboot); needs no root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "tests/support/cboot_machine.h"

/* The power goes off before step @cut_at; nothing durable happens from then on. */
static struct {
	unsigned n, cut_at;
	char last[64]; /* the step that was cut */
} power;

static int count_step(void *ctx, const char *what)
{
	if (++power.n < power.cut_at)
		return 0;
	if (power.n == power.cut_at)
		snprintf(power.last, sizeof(power.last), "%s", what);
	return -EIO;
}

/* What one run of the daemon is to do after its start. */
struct task {
	bool commit;
	const char *release; /* update to it; NULL = no update */
	bool go_back;
	bool flipped_before; /* the machine was told to start the other slot, but did not restart yet */
};

/* Which slots hold a complete system. */
struct truth {
	bool complete[2];
	bool flipped; /* flip() has returned 0 */
};

static int update(struct cboot_machine *m, struct boot_ctl *ctl, const char *release,
	struct truth *truth, struct ota_err *err)
{
	unsigned standby = 1 - m->disk.active;
	int r = ctl->ops->prepare(ctl, err);

	if (r == 0) {
		truth->complete[standby] = false;
		r = ctl->ops->stage(ctl, cboot_machine_put_image(m, standby, release), err);
	}
	if (r == 0) {
		truth->complete[standby] = true; /* closed, before flip */
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

/* One run of the daemon up to the restart. Stops where the power goes off. */
static int run_daemon(struct cboot_machine *m, const struct task *task, struct truth *truth)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	bool reset;
	int r = cboot_machine_open(m, &ctl, &err);

	if (r == 0)
		r = ctl->ops->setup(ctl, &reset, &err);
	if (r == 0 && task->commit)
		r = ctl->ops->commit(ctl, &err);
	if (r == 0 && task->release)
		r = update(m, ctl, task->release, truth, &err);
	if (r == 0 && task->go_back)
		r = go_back(ctl, &err);
	truth->flipped = r == 0 && (task->release || task->go_back);
	if (ctl)
		ctl->ops->close(ctl);
	if (r < 0 && power.n < power.cut_at)
		fail_msg("%s", err.msg);
	return r;
}

/* A machine that nobody looks after, until its counters have run out: each start leads to a complete slot. */
static void assert_boots_complete(const struct cboot_machine *m, const struct truth *truth)
{
	struct cboot_machine copy;

	cboot_machine_copy(m, &copy);
	for (int i = 0; i < CBOOT_MACHINE_LOADER_TRIES + 2; i++) {
		char slot = cboot_machine_try(&copy);

		if (!slot || !truth->complete[slot - 'a'])
			fail_msg(
				"After a cut before step %u (%s), start %d: CBoot leads to slot %c",
				power.cut_at, power.last, i + 1, slot ? slot : '-');
	}
	cboot_machine_done(&copy);
}

/* Whatever booted, an update is carried through. */
static void try_again(struct cboot_machine *m, struct truth *truth)
{
	char before = cboot_machine_restart(m), want = before == 'a' ? 'b' : 'a';

	power.cut_at = UINT32_MAX;
	assert_int_equal(
		run_daemon(m, &(struct task){.commit = true, .release = "4.9.3-tegra"}, truth), 0);
	if (cboot_machine_restart(m) != want)
		fail_msg("After a cut before %s the second update did not start slot %c",
			power.last, want);
	assert_int_equal(run_daemon(m, &(struct task){.commit = true}, truth), 0);
	for (int i = 0; i < CBOOT_MACHINE_TRIES + 1; i++)
		assert_int_equal(cboot_machine_restart(m), want);
}

/* Cut @m's next run at every step it has. @want_cuts: fewer would be a test that looks away. */
static void cut_everywhere(struct cboot_machine *m, const struct truth *at_start,
	const struct task *task, unsigned want_cuts)
{
	const char active = m->disk.active == 0 ? 'a' : 'b';
	unsigned n_cuts = 0;

	for (unsigned cut = 1;; cut++) {
		struct truth truth = *at_start;
		struct cboot_machine copy;
		int r;

		cboot_machine_copy(m, &copy);
		power.n = 0;
		power.cut_at = cut;
		io_set_hook(count_step, NULL);
		r = run_daemon(&copy, task, &truth);
		io_set_hook(NULL, NULL);
		if (r < 0) {
			struct cboot_machine look;

			n_cuts++;
			assert_boots_complete(&copy, &truth);
			/* Until flip() has returned, the machine comes back as it was. */
			cboot_machine_copy(&copy, &look);
			if (!task->flipped_before && cboot_machine_try(&look) != active)
				fail_msg("After a cut before step %u (%s) the running slot did not "
					 "come back",
					cut, power.last);
			cboot_machine_done(&look);
			try_again(&copy, &truth);
		}
		cboot_machine_done(&copy);
		if (r == 0)
			break;
	}
	print_message("%u cuts\n", n_cuts);
	assert_true(n_cuts >= want_cuts);
}

/* unified, external, cuts in an update, in a way back */
static const struct kind {
	bool unified, external;
	unsigned cuts_update, cuts_back;
} kinds[] = {
	{false, false, 15, 3},
	{true,  false, 13, 2},
	{false, true,  20, 3},
};

static struct truth with_one_slot(struct cboot_machine *m, const struct kind *kind)
{
	struct truth truth = {
		.complete = {true, false}
        };

	power.cut_at = UINT32_MAX;
	cboot_machine_init(m, kind->unified, kind->external);
	assert_int_equal(run_daemon(m, &(struct task){0}, &truth), 0);
	return truth;
}

static struct truth with_two_slots(struct cboot_machine *m, const struct kind *kind)
{
	struct truth truth = with_one_slot(m, kind);

	assert_int_equal(run_daemon(m, &(struct task){.release = "4.9.2-tegra"}, &truth), 0);
	assert_int_equal(cboot_machine_restart(m), 'b');
	assert_int_equal(run_daemon(m, &(struct task){.commit = true}, &truth), 0);
	return truth;
}

static void a_cut_in_an_update_leaves_a_complete_slot(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct truth truth = with_one_slot(&m, &kinds[i]);

		cut_everywhere(
			&m, &truth, &(struct task){.release = "4.9.2-tegra"}, kinds[i].cuts_update);
		cboot_machine_done(&m);
	}
}

static void a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct truth truth = with_one_slot(&m, &kinds[i]);

		assert_int_equal(
			run_daemon(&m, &(struct task){.release = "4.9.2-tegra"}, &truth), 0);
		assert_int_equal(cboot_machine_restart(&m), 'b');
		cut_everywhere(&m, &truth, &(struct task){.commit = true, .release = "4.9.4-tegra"},
			kinds[i].cuts_update + 1);
		cboot_machine_done(&m);
	}
}

static void a_cut_in_a_way_back_leaves_a_complete_slot(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct truth truth = with_two_slots(&m, &kinds[i]);

		cut_everywhere(&m, &truth, &(struct task){.go_back = true}, kinds[i].cuts_back);
		cboot_machine_done(&m);
	}
}

/* The restart after a flip did not come, and the daemon starts over: its next update begins on the running slot. */
static void a_switch_that_no_restart_followed_is_taken_back(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct truth truth = with_one_slot(&m, &kinds[i]);
		struct boot_ctl *ctl;
		struct ota_err err = {0};

		assert_int_equal(
			run_daemon(&m, &(struct task){.release = "4.9.2-tegra"}, &truth), 0);
		assert_true(truth.flipped);
		cut_everywhere(&m, &truth,
			&(struct task){.release = "4.9.4-tegra", .flipped_before = true},
			kinds[i].cuts_update);
		assert_int_equal(cboot_machine_open(&m, &ctl, &err), 0);
		assert_int_equal(ctl->ops->prepare(ctl, &err), 0);
		ctl->ops->close(ctl);
		for (int n = 0; n < CBOOT_MACHINE_LOADER_TRIES + 1; n++)
			assert_int_equal(cboot_machine_restart(&m), 'a');
		cboot_machine_done(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_in_an_update_leaves_a_complete_slot),
		cmocka_unit_test(a_cut_in_a_way_back_leaves_a_complete_slot),
		cmocka_unit_test(a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot),
		cmocka_unit_test(a_switch_that_no_restart_followed_is_taken_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
