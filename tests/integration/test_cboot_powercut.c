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

#include "common/base/cleanup.h"
#include "tests/support/boot_powercut.h"
#include "tests/support/cboot_machine.h"

static void copy_it(const void *from, void *ret)
{
	cboot_machine_copy(from, ret);
}

static void done_it(void *machine)
{
	cboot_machine_done(machine);
}

static int open_it(void *machine, struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return cboot_machine_open(machine, ret_ctl, err);
}

static char running(const void *machine)
{
	return ((const struct cboot_machine *)machine)->disk.active == 0 ? 'a' : 'b';
}

static const char *put_image(void *machine, char slot, const char *release)
{
	return cboot_machine_put_image(machine, slot == 'a' ? 0 : 1, release);
}

static char restart(void *machine)
{
	return cboot_machine_restart(machine);
}

/* A machine that nobody looks after, until its counters have run out: each start leads to a complete slot. */
static void check(
	void *machine, const struct powercut_truth *truth, const struct powercut_task *task)
{
	struct cboot_machine copy;

	cboot_machine_copy(machine, &copy);
	for (int i = 0; i < CBOOT_MACHINE_LOADER_TRIES + 2; i++) {
		char slot = cboot_machine_try(&copy);

		if (!slot || !truth->complete[slot - 'a'])
			fail_msg("%s, start %d: CBoot leads to slot %c", powercut_where(), i + 1,
				slot ? slot : '-');
		/* Until flip() has returned, the machine comes back as it was. */
		if (i == 0 && !task->flipped_before && slot != running(machine))
			fail_msg("%s the running slot did not come back", powercut_where());
	}
	cboot_machine_done(&copy);
	/*
	 * The next update brings none: where the cut came between the tool's own switch and ours, firmware has to wait for
	 * a restart (test_cboot_firmware.c).
	 */
	((struct cboot_machine *)machine)->firmware = false;
}

/* All that CBoot, NVIDIA's tools and the next start could read; not what a cut has left half-written. */
static void fingerprint(const void *machine, struct buf *ret)
{
	static const char script[] =
		"cd \"$0\" && find nvbootctrl-state slot_?/boot slot_?/run emmc_? firmware_? "
		"-type f ! -name '.ota_io_tmp_*' -exec sha256sum {} + 2>/dev/null | sort";
	const struct cboot_machine *m = machine;

	machine_tool("sh", "-c", script, m->dir, ret);
}

static const struct powercut_machine_ops ops = {
	.size_bytes = sizeof(struct cboot_machine),
	.copy = copy_it,
	.done = done_it,
	.open = open_it,
	.running = running,
	.put_image = put_image,
	.restart = restart,
	.fingerprint = fingerprint,
	.check = check,
	.kept_starts = CBOOT_MACHINE_TRIES + 1,
};

/* unified, external, with firmware, cuts in an update, in a way back */
static const struct kind {
	bool unified, external, firmware;
	unsigned cuts_update, cuts_back;
} kinds[] = {
	{false, false, false, 15, 3},
	{true,  false, false, 13, 2},
	{false, true,  false, 20, 3},
	{false, false, true,  20, 3},
	{true,  false, true,  14, 2},
};

/* One run of the daemon with the power on. */
static void run(
	struct cboot_machine *m, const struct powercut_task *task, struct powercut_truth *truth)
{
	assert_int_equal(powercut_run_daemon(&ops, m, task, truth), 0);
}

static const struct powercut_task start_only = {0}, commit = {.commit = true},
				  update = {.release = "4.9.2-tegra"}, go_back = {.go_back = true};

static struct powercut_truth with_one_slot(struct cboot_machine *m, const struct kind *kind)
{
	struct powercut_truth truth = {
		.complete = {true, false}
        };

	cboot_machine_init(m, kind->unified, kind->external);
	m->firmware = kind->firmware;
	run(m, &start_only, &truth);
	return truth;
}

static struct powercut_truth with_two_slots(struct cboot_machine *m, const struct kind *kind)
{
	struct powercut_truth truth = with_one_slot(m, kind);

	run(m, &update, &truth);
	assert_int_equal(cboot_machine_restart(m), 'b');
	run(m, &commit, &truth);
	return truth;
}

static void a_cut_in_an_update_leaves_a_complete_slot(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct powercut_truth truth = with_one_slot(&m, &kinds[i]);

		powercut_everywhere(&ops, &m, &truth, &update, kinds[i].cuts_update, 8);
		cboot_machine_done(&m);
	}
}

static void a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct powercut_truth truth = with_one_slot(&m, &kinds[i]);

		run(&m, &update, &truth);
		assert_int_equal(cboot_machine_restart(&m), 'b');
		powercut_everywhere(&ops, &m, &truth,
			&(struct powercut_task){.commit = true, .release = "4.9.4-tegra"},
			kinds[i].cuts_update + 1, 8);
		cboot_machine_done(&m);
	}
}

static void a_cut_in_a_way_back_leaves_a_complete_slot(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct powercut_truth truth = with_two_slots(&m, &kinds[i]);

		powercut_everywhere(&ops, &m, &truth, &go_back, kinds[i].cuts_back, 2);
		cboot_machine_done(&m);
	}
}

/* The restart after a flip did not come, and the daemon starts over: its next update begins on the running slot. */
static void a_switch_that_no_restart_followed_is_taken_back(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct cboot_machine m;
		struct powercut_truth truth = with_one_slot(&m, &kinds[i]);
		struct boot_ctl *ctl;
		struct ota_err err = {0};

		run(&m, &update, &truth);
		powercut_everywhere(&ops, &m, &truth,
			&(struct powercut_task){.release = "4.9.4-tegra", .flipped_before = true},
			kinds[i].cuts_update, 8);
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
