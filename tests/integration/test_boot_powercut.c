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
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/run.h"
#include "tests/support/grub_machine.h"

#define KERNEL_1 GRUB_MACHINE_KERNEL
#define KERNEL_2 "5.10.0-2-fake"
#define KERNEL_3 "5.10.0-3-fake"

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

static bool power_is_off(void)
{
	return power.n >= power.cut_at;
}

/* In place of a release: no update, but back to the other slot. */
static const char go_back[] = "back";

/* What is true of the machine: which slots are complete, and whether the other one was destroyed. */
struct truth {
	bool complete[2];
};

static int update(struct grub_machine *m, struct boot_ctl *ctl, char standby, const char *release,
	bool *complete, struct ota_err *err)
{
	int r = ctl->ops->prepare(ctl, err);

	if (r == 0) {
		*complete = false;
		r = ctl->ops->stage(ctl, grub_machine_put_image(m, standby, release), err);
	}
	if (r == 0) {
		*complete = true; /* closed, before flip */
		r = ctl->ops->flip(ctl, err);
	}
	return r;
}

static int roll_back(struct boot_ctl *ctl, struct ota_err *err)
{
	int r = ctl->ops->check(ctl, err);

	if (r == 0)
		r = ctl->ops->keep(ctl, err);
	return r < 0 ? r : ctl->ops->flip(ctl, err);
}

/* One run of the daemon up to the restart: start, perhaps commit, update or go back. Stops where the power goes off. */
static int run_daemon(struct grub_machine *m, const char *release, bool commit, struct truth *truth)
{
	char standby = m->disk.active == GRUB_SLOT_A ? 'b' : 'a';
	bool *complete = &truth->complete[standby - 'a'];
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	bool reset;
	int r = grub_machine_open(m, &ctl, &err);

	if (r == 0)
		r = ctl->ops->setup(ctl, &reset, &err);
	if (r == 0 && commit)
		r = ctl->ops->commit(ctl, &err);
	if (r == 0 && release)
		r = release == go_back ? roll_back(ctl, &err)
				       : update(m, ctl, standby, release, complete, &err);
	if (ctl)
		ctl->ops->close(ctl);
	if (r < 0 && !power_is_off())
		fail_msg("%s", err.msg);
	return r;
}

/* All that GRUB could read, in one text; two cuts that leave the same need one look. */
static void fingerprint(const struct grub_machine *m, struct buf *ret)
{
	static const char script[] = "cd \"$0\" && find boot -type f -exec sha256sum {} + | sort";
	const char *const argv[] = {"sh", "-c", script, m->dir, NULL};
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = ret}, &err) < 0)
		fail_msg("%s", err.msg);
}

static bool looks_new(const struct grub_machine *m, const struct truth *truth, struct buf *last)
{
	AUTO_BUF struct buf now = {0};

	fingerprint(m, &now);
	assert_int_equal(buf_printf(&now, "%d %d", truth->complete[0], truth->complete[1]), 0);
	if (last->len_bytes == now.len_bytes &&
		memcmp(buf_str(last), buf_str(&now), now.len_bytes) == 0)
		return false;
	buf_done(last);
	*last = now;
	now = (struct buf){0};
	return true;
}

static void assert_boots_complete(
	struct grub_machine *m, const struct truth *truth, const char *when)
{
	struct grub_machine_boot b = grub_machine_try(m);

	if (!b.slot || !truth->complete[b.slot - 'a'])
		fail_msg("After a cut before step %u (%s), %s: GRUB leads to slot %c", power.cut_at,
			power.last, when, b.slot ? b.slot : '-');
}

/* Take the kernel that GRUB would choose away. */
static void lose_chosen_kernel(struct grub_machine *m)
{
	struct grub_machine_boot b = grub_machine_try(m);
	char path[192];

	snprintf(path, sizeof(path), "boot/ota-slot_%c/vmlinuz-%s", b.slot, b.release);
	grub_machine_remove(m, path);
}

static void check_all_ways(struct grub_machine *m, const struct truth *truth)
{
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

/* After the cut: whatever booted, the same update is carried through. */
static void try_again(struct grub_machine *m, struct truth *truth)
{
	char before = grub_machine_restart(m), want = before == 'a' ? 'b' : 'a';

	power.n = 0;
	assert_int_equal(run_daemon(m, KERNEL_3, true, truth), 0);
	if (grub_machine_restart(m) != want)
		fail_msg("After a cut before step %u (%s) the second update did not start slot %c",
			power.cut_at, power.last, want);
	assert_int_equal(run_daemon(m, NULL, true, truth), 0);
	assert_int_equal(grub_machine_restart(m), want);
}

/* Cut @m's next run at every step it has. */
static void cut_everywhere(
	struct grub_machine *m, const struct truth *at_start, const char *release, bool commit)
{
	const unsigned cuts_min = release == go_back ? 10 : 50,
		       states_min = release == go_back ? 3 : 10;
	AUTO_BUF struct buf last = {0};
	unsigned n_cuts = 0, n_states = 0;

	for (unsigned cut = 1;; cut++) {
		struct truth truth = *at_start;
		struct grub_machine copy;
		int r;

		grub_machine_copy(m, &copy);
		power.n = 0;
		power.cut_at = cut;
		io_set_hook(count_step, NULL);
		r = run_daemon(&copy, release, commit, &truth);
		io_set_hook(NULL, NULL);
		n_cuts += r < 0;
		if (r < 0 && looks_new(&copy, &truth, &last)) {
			n_states++;
			check_all_ways(&copy, &truth);
			power.cut_at = UINT32_MAX;
			try_again(&copy, &truth);
		}
		grub_machine_done(&copy);
		if (r == 0)
			break;
	}
	print_message("%u cuts, %u states\n", n_cuts, n_states);
	assert_true(n_cuts >= cuts_min && n_states >= states_min);
}

static void a_cut_in_an_update_leaves_a_complete_slot(void **state)
{
	struct truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	power.cut_at = UINT32_MAX;
	grub_machine_init(&m);
	assert_int_equal(run_daemon(&m, NULL, true, &truth), 0);
	cut_everywhere(&m, &truth, KERNEL_2, false);
	grub_machine_done(&m);
}

static void a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot(void **state)
{
	struct truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	power.cut_at = UINT32_MAX;
	grub_machine_init(&m);
	assert_int_equal(run_daemon(&m, KERNEL_2, true, &truth), 0);
	assert_int_equal(grub_machine_restart(&m), 'b');
	cut_everywhere(&m, &truth, KERNEL_3, true);
	grub_machine_done(&m);
}

static void a_cut_in_a_rollback_leaves_a_complete_slot(void **state)
{
	struct truth truth = {
		.complete = {true, false}
        };
	struct grub_machine m;

	power.cut_at = UINT32_MAX;
	grub_machine_init(&m);
	assert_int_equal(run_daemon(&m, KERNEL_2, true, &truth), 0);
	assert_int_equal(grub_machine_restart(&m), 'b');
	assert_int_equal(run_daemon(&m, NULL, true, &truth), 0);
	cut_everywhere(&m, &truth, go_back, false);
	/* Without a cut it is tried once. */
	power.cut_at = UINT32_MAX;
	assert_int_equal(run_daemon(&m, go_back, false, &truth), 0);
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
		struct truth truth = {
			.complete = {true, false}
                };
		AUTO_BUF struct buf cfg = {0};
		struct grub_machine m;
		int r;

		grub_machine_init(&m);
		grub_machine_write(&m, "boot/grub/grub.cfg", distribution);
		power.n = 0;
		power.cut_at = cut;
		io_set_hook(count_step, NULL);
		r = run_daemon(&m, NULL, false, &truth);
		io_set_hook(NULL, NULL);
		n_cuts += r < 0;
		if (looks_new(&m, &truth, &last)) {
			n_states++;
			grub_machine_read(&m, "boot/grub/grub.cfg", &cfg);
			if (strcmp(buf_str(&cfg), distribution) != 0)
				check_all_ways(&m, &truth);
			else
				assert_true(grub_machine_exists(&m, "boot/vmlinuz-" KERNEL_1));
			power.cut_at = UINT32_MAX;
			assert_int_equal(run_daemon(&m, NULL, true, &truth), 0);
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
		cmocka_unit_test(a_cut_in_a_rollback_leaves_a_complete_slot),
		cmocka_unit_test(a_cut_in_a_commit_and_the_update_after_it_leaves_a_complete_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
