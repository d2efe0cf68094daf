/*
 * Power cuts in the GRUB controller: every durable step of every operation is the last one once, and then the real
 * GRUB must still lead to a complete slot: as the machine is, without an environment block, and when the kernel that
 * it chose does not load. Then the update is tried again and must come to its end. Needs grub-emu and e2fsprogs; no
 * root.
 *
 * Elsewhere: that what was published is on the raw disk (the pseudo-ECU's tests replay its writes).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "tests/support/boot_powercut.h"
#include "tests/support/grub_machine.h"

#define KERNEL_1 GRUB_MACHINE_KERNEL
#define KERNEL_2 "5.10.0-2-fake"
#define KERNEL_3 "5.10.0-3-fake"

static void copy_it(const void *from, void *ret)
{
	grub_machine_copy(from, ret);
}

static void done_it(void *machine)
{
	grub_machine_done(machine);
}

static int open_it(void *machine, struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return grub_machine_open(machine, ret_ctl, err);
}

static char running(const void *machine)
{
	return ((const struct grub_machine *)machine)->disk.active == GRUB_SLOT_A ? 'a' : 'b';
}

static const char *put_image(void *machine, char slot, const char *release)
{
	return grub_machine_put_image(machine, slot, release);
}

static char restart(void *machine)
{
	return grub_machine_restart(machine);
}

/* All that GRUB could read, in one text. */
static void fingerprint(const void *machine, struct buf *ret)
{
	static const char script[] = "cd \"$0\" && find boot -type f -exec sha256sum {} + | sort";
	const struct grub_machine *m = machine;

	machine_tool("sh", "-c", script, m->dir, ret);
}

static void assert_boots_complete(
	struct grub_machine *m, const struct powercut_truth *truth, const char *when)
{
	struct grub_machine_boot b = grub_machine_try(m);

	if (!b.slot || !truth->complete[b.slot - 'a'])
		fail_msg("%s, %s: GRUB leads to slot %c", powercut_where(), when,
			b.slot ? b.slot : '-');
}

/* Take the kernel that GRUB would choose away. */
static void lose_chosen_kernel(struct grub_machine *m)
{
	struct grub_machine_boot b = grub_machine_try(m);
	char path[192];

	snprintf(path, sizeof(path), "boot/ota-slot_%c/vmlinuz-%s", b.slot, b.release);
	grub_machine_remove(m, path);
}

/* As it is, without an environment block, and when the chosen kernel does not load. */
static void check(
	void *machine, const struct powercut_truth *truth, const struct powercut_task *task)
{
	struct grub_machine *m = machine;
	struct grub_machine broken, lost;
	char entry[2][64];

	grub_machine_copy(m, &broken);
	grub_machine_break_env(&broken);
	assert_boots_complete(&broken, truth, "without an environment block");
	grub_machine_done(&broken);

	for (int i = 0; i < 2; i++)
		snprintf(entry[i], sizeof(entry[i]), "boot/grub/ota-slot_%c.cfg", 'a' + i);
	grub_machine_copy(m, &lost);
	if (grub_machine_exists(&lost, entry[0]) && grub_machine_exists(&lost, entry[1])) {
		lose_chosen_kernel(&lost);
		assert_boots_complete(&lost, truth, "with the chosen kernel lost");
	}
	grub_machine_done(&lost);
	assert_boots_complete(m, truth, "as it is");
}

static const struct powercut_machine_ops ops = {
	.size_bytes = sizeof(struct grub_machine),
	.copy = copy_it,
	.done = done_it,
	.open = open_it,
	.running = running,
	.put_image = put_image,
	.restart = restart,
	.fingerprint = fingerprint,
	.check = check,
	.kept_starts = 1,
};

/* One run of the daemon with the power on. */
static void run(
	struct grub_machine *m, const struct powercut_task *task, struct powercut_truth *truth)
{
	assert_int_equal(powercut_run_daemon(&ops, m, task, truth), 0);
}

static const struct powercut_task start_only = {.commit = true},
				  to_kernel_2 = {.release = KERNEL_2}, go_back = {.go_back = true};

static void a_cut_in_an_update_leaves_a_complete_slot(void **state)
{
	struct powercut_truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	grub_machine_init(&m);
	run(&m, &start_only, &truth);
	powercut_everywhere(&ops, &m, &truth, &to_kernel_2, 50, 10);
	grub_machine_done(&m);
}

static void a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot(void **state)
{
	struct powercut_truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	grub_machine_init(&m);
	run(&m, &(struct powercut_task){.commit = true, .release = KERNEL_2}, &truth);
	assert_int_equal(grub_machine_restart(&m), 'b');
	powercut_everywhere(&ops, &m, &truth,
		&(struct powercut_task){.commit = true, .release = KERNEL_3}, 50, 10);
	grub_machine_done(&m);
}

static void a_cut_with_counted_starts_leaves_a_complete_slot(void **state)
{
	struct powercut_truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	grub_machine_init(&m);
	m.env.boot_attempts = 2;
	m.env.committed_attempts = 2;
	run(&m, &(struct powercut_task){.commit = true, .release = KERNEL_2}, &truth);
	assert_int_equal(grub_machine_restart(&m), 'b');
	/* The first try has been counted; the commit, the new count and the next update come in one run. */
	powercut_everywhere(&ops, &m, &truth,
		&(struct powercut_task){.commit = true, .release = KERNEL_3}, 50, 10);
	grub_machine_done(&m);
}

static void a_cut_in_a_rollback_leaves_a_complete_slot(void **state)
{
	struct powercut_truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	grub_machine_init(&m);
	run(&m, &(struct powercut_task){.commit = true, .release = KERNEL_2}, &truth);
	assert_int_equal(grub_machine_restart(&m), 'b');
	run(&m, &start_only, &truth);
	powercut_everywhere(&ops, &m, &truth, &go_back, 10, 3);
	/* Without a cut it is tried once. */
	run(&m, &go_back, &truth);
	assert_int_equal(grub_machine_restart(&m), 'a');
	assert_int_equal(grub_machine_restart(&m), 'b');
	grub_machine_done(&m);
}

static void a_cut_in_the_first_start_leaves_the_machine_as_it_booted(void **state)
{
	AUTO_BUF struct buf last = {0};
	unsigned n_cuts = 0, n_states = 0;

	for (unsigned cut = 1;; cut++) {
		static const char distribution[] = "# grub.cfg of the distribution\n";
		struct powercut_truth truth = {
			.complete = {true, false}
                };
		AUTO_BUF struct buf cfg = {0};
		struct grub_machine m;
		int r;

		grub_machine_init(&m);
		grub_machine_write(&m, "boot/grub/grub.cfg", distribution);
		powercut_arm(cut);
		r = powercut_run_daemon(&ops, &m, &(struct powercut_task){0}, &truth);
		powercut_disarm();
		n_cuts += r < 0;
		if (powercut_is_new_state(&ops, &m, &truth, &last)) {
			n_states++;
			grub_machine_read(&m, "boot/grub/grub.cfg", &cfg);
			if (strcmp(buf_str(&cfg), distribution) != 0)
				check(&m, &truth, NULL);
			else
				assert_true(grub_machine_exists(&m, "boot/vmlinuz-" KERNEL_1));
			run(&m, &start_only, &truth);
			assert_int_equal(grub_machine_restart(&m), 'a');
		}
		grub_machine_done(&m);
		if (r == 0)
			break;
	}
	print_message("%u cuts, %u states\n", n_cuts, n_states);
	assert_true(n_cuts > 50 && n_states >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_in_the_first_start_leaves_the_machine_as_it_booted),
		cmocka_unit_test(a_cut_in_an_update_leaves_a_complete_slot),
		cmocka_unit_test(a_cut_with_counted_starts_leaves_a_complete_slot),
		cmocka_unit_test(a_cut_in_a_rollback_leaves_a_complete_slot),
		cmocka_unit_test(a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
