/*
 * How often GRUB tries what, with the real GRUB (grub-emu) on a machine in a folder: a flipped slot, a committed one
 * that does not come up, entries whose files are missing or torn, and an environment block that cannot be written.
 * Needs grub-emu and e2fsprogs; no root.
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
#include <sys/stat.h>

#include "boot-controllers/grub/grub_env.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "tests/support/grub_bench.h"

#define KERNEL_1 GRUB_MACHINE_KERNEL
#define KERNEL_2 "5.10.0-2-fake"

static void settle(void)
{
	must(ctl->ops->settle(ctl, true, &err));
}

static void load_env(struct grub_env *ret)
{
	AUTO_BUF struct buf b = {0};

	grub_machine_read(&m, "boot/grub/grubenv", &b);
	assert_int_equal(b.len_bytes, GRUB_ENV_BYTES);
	assert_int_equal(grub_env_parse(b.data, b.len_bytes, ret, NULL), 0);
}

/* @want: "" = not set. */
static void assert_env(const char *name, const char *want)
{
	struct grub_env env;
	char value[GRUB_ENV_BYTES] = "";

	load_env(&env);
	grub_env_get(&env, name, value, sizeof(value));
	assert_string_equal(value, want);
}

static void env_set(const char *name, const char *value)
{
	struct grub_env env;
	char block[GRUB_ENV_BYTES + 1] = "";

	load_env(&env);
	assert_int_equal(grub_env_set(&env, name, value), 0);
	grub_env_render(&env, block);
	grub_machine_write(&m, "boot/grub/grubenv", block);
}

/* An update from slot a to slot b, up to the flip. */
static void flip_to_b(void)
{
	start();
	must(ctl->ops->prepare(ctl, &err));
	must(ctl->ops->stage(ctl, grub_machine_put_image(&m, 'b', KERNEL_2), &err));
	must(ctl->ops->flip(ctl, &err));
}

/* Slot b is committed and has come up once more; slot a is whole. */
static void commit_b(void)
{
	flip_to_b();
	assert_int_equal(grub_machine_restart(&m), 'b');
	start();
	must(ctl->ops->commit(ctl, &err));
	settle();
}

static void restarts_are(const char *slots)
{
	for (const char *s = slots; *s; s++) {
		char c = grub_machine_restart(&m);

		if (c != *s)
			fail_msg("The start %zu of \"%s\" is one of slot %c",
				(size_t)(s - slots) + 1, slots, c ? c : '-');
	}
}

static void a_flipped_slot_is_tried_as_often_as_is_set(void **state)
{
	m.env.boot_attempts = 3;
	flip_to_b();
	assert_env("ota_try", "ota-slot_b");
	assert_env("ota_left", "3");
	assert_env("next_entry", "");
	restarts_are("bbbaa");
	start();
	settle();
	assert_env("ota_try", "");
	assert_env("ota_left", "");
	assert_env("saved_entry", "ota-slot_a");
	restarts_are("a");
}

static void all_counts_work(void **state)
{
	m.env.boot_attempts = 12; /* 9 is the most */
	flip_to_b();
	assert_env("ota_left", "9");
	restarts_are("bbbbbbbbbaa");
}

static void a_commit_ends_the_count(void **state)
{
	m.env.boot_attempts = 3;
	flip_to_b();
	restarts_are("bb");
	start();
	must(ctl->ops->commit(ctl, &err));
	assert_env("ota_try", "");
	assert_env("ota_left", "");
	restarts_are("bbbb");
}

static void an_update_without_a_count_is_as_other_clients_write_it(void **state)
{
	flip_to_b();
	assert_env("next_entry", "ota-slot_b");
	assert_env("ota_try", "");
	assert_env("ota_left", "");
	restarts_are("baa");
}

static void a_trial_that_was_not_begun_outlives_a_restart_of_the_daemon(void **state)
{
	for (unsigned n = 1; n <= 2; n++) {
		m.env.boot_attempts = n;
		flip_to_b();
		start();
		settle();
		restarts_are("b");
		restarts_are(n == 1 ? "a" : "ba");
	}
}

static void a_trial_whose_kernel_is_lost_is_over_once_the_old_slot_is_up(void **state)
{
	m.env.boot_attempts = 3;
	flip_to_b();
	grub_machine_remove(&m, "boot/ota-slot_b/vmlinuz-" KERNEL_2);
	restarts_are("a");
	assert_env("ota_left", "2");
	start();
	settle();
	assert_env("ota_try", "");
	restarts_are("a");
}

static void a_start_of_the_daemon_does_not_end_its_own_trial(void **state)
{
	m.env.boot_attempts = 2;
	flip_to_b();
	restarts_are("b");
	start();
	settle();
	assert_env("saved_entry", "ota-slot_a");
	restarts_are("ba");
}

static void a_try_that_grub_cannot_count_is_not_made(void **state)
{
	static const char *const how[] = {"fail", "lose"};

	for (unsigned n = 1; n <= 2; n++) {
		for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
			m.env.boot_attempts = n;
			flip_to_b();
			m.save_env = how[i];
			restarts_are("aaa");
			m.save_env = NULL;
			stop();
			must(grub_machine_open(&m, &ctl, &err));
		}
	}
}

/* As the daemon asks at its start. */
static struct boot_traces traces(void)
{
	struct boot_traces t;

	stop();
	must(grub_machine_open(&m, &ctl, &err));
	ctl->ops->traces(ctl, &t);
	return t;
}

static void a_trial_that_grub_cannot_begin_is_known_and_can_be_forgotten(void **state)
{
	for (unsigned n = 1; n <= 2; n++) {
		m.env.boot_attempts = n;
		flip_to_b();
		assert_true(traces().not_begun);
		m.save_env = "lose";
		restarts_are("a");
		m.save_env = NULL;
		assert_true(traces().not_begun);
		start();
		must(ctl->ops->forget_trial(ctl, &err));
		settle();
		assert_false(traces().not_begun);
		assert_int_equal(traces().trouble.errnum, 0);
		restarts_are("aa");
		/* One that GRUB has begun is none. */
		flip_to_b();
		restarts_are("b");
		grub_machine_run_on(&m, 'a');
		assert_false(traces().not_begun);
		must(ctl->ops->forget_trial(ctl, &err));
		assert_env("ota_left", n == 1 ? "" : "1");
		grub_machine_run_on(&m, 'a');
		start();
		settle();
	}
}

static int no_more_writes(void *ctx, const char *what)
{
	return strstr(what, "grubenv") ? -EROFS : 0;
}

static void a_trial_that_cannot_be_forgotten_is_told(void **state)
{
	flip_to_b();
	start();
	io_set_hook(no_more_writes, NULL);
	assert_int_equal(ctl->ops->forget_trial(ctl, &err), -EROFS);
	assert_non_null(
		strstr(err.msg, "GRUB may yet try ota-slot_b: Cannot write /boot/grub/grubenv"));
}

static struct {
	unsigned n, at;
} power;

static int cut(void *ctx, const char *what)
{
	return ++power.n < power.at ? 0 : -EIO;
}

static void a_cut_while_a_trial_is_forgotten_tries_it_or_does_not(void **state)
{
	bool done = false;
	unsigned n_tried = 0;

	for (unsigned at = 1; !done; at++) {
		flip_to_b();
		m.save_env = "lose";
		restarts_are("a");
		m.save_env = NULL;
		start();
		power.n = 0;
		power.at = at;
		io_set_hook(cut, NULL);
		done = ctl->ops->forget_trial(ctl, &err) == 0;
		io_set_hook(NULL, NULL);
		if (grub_machine_restart(&m) == 'b') {
			assert_false(done);
			n_tried++;
			restarts_are("a");
		}
	}
	assert_true(n_tried > 0);
}

static void what_grub_could_not_load_is_named(void **state)
{
	static const struct {
		const char *path, *content, *said;
	} harm[] = {
		{"boot/ota-slot_b/vmlinuz-" KERNEL_2,    "",
                 "ota-slot_b.cfg boots \"/ota-slot_b/vmlinuz-" KERNEL_2
			"\", which is not there"							       },
		{"boot/ota-slot_b/vmlinuz-" KERNEL_2,    "half",
                 "/boot/ota-slot_b/vmlinuz-" KERNEL_2
			" is cut short or changed: it is not what "
			"its digest says"								      },
		{"boot/ota-slot_b/initrd.img-" KERNEL_2, "",
                 "ota-slot_b.cfg boots \"/ota-slot_b/initrd.img-" KERNEL_2
			"\", which is not there"							       },
		{"boot/grub/ota-slot_b.cfg",             "",     "/boot/grub/ota-slot_b.cfg is no menu entry: "},
	};

	for (size_t i = 0; i < ARRAY_SIZE(harm); i++) {
		flip_to_b();
		assert_int_equal(traces().trouble.errnum, 0);
		grub_machine_write(&m, harm[i].path, harm[i].content);
		assert_non_null(strstr(traces().trouble.msg, harm[i].said));
		/* A digest that GRUB would not understand is none. */
		grub_machine_write(&m, "boot/ota-slot_b/kernel.sha256", "nonsense\n");
		assert_int_equal(traces().trouble.errnum == 0, i == 1);
		grub_machine_run_on(&m, 'a');
	}
}

static void nonsense_in_the_count_boots_the_committed_slot(void **state)
{
	static const char *const bad[] = {"0", "10", "-1", "x", "", "3 3", "03", "$ota_left", "'"};

	m.env.boot_attempts = 2;
	flip_to_b();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		env_set("ota_left", bad[i]);
		assert_int_equal(grub_machine_try(&m).slot, 'a');
	}
	env_set("ota_left", "2");
	env_set("ota_try", "ota-slot_c");
	assert_int_equal(grub_machine_try(&m).slot, 'a');
	env_set("ota_try", "ota-slot_b x");
	assert_int_equal(grub_machine_try(&m).slot, 'a');
	env_set("ota_try", "ota-slot_b");
	assert_int_equal(grub_machine_try(&m).slot, 'b');
}

static void a_committed_slot_that_does_not_come_up_gives_way_to_the_other(void **state)
{
	m.env.committed_attempts = 3;
	commit_b();
	assert_env("ota_spare", "ota-slot_a");
	assert_env("ota_spare_after", "3");
	/* Then they take turns: neither is known to be the better one. */
	restarts_are("bbbababa");
	start();
	settle();
	assert_env("saved_entry", "ota-slot_a");
	assert_env("ota_spare", "");
	restarts_are("aaaaaa");
}

static void a_slot_that_comes_up_is_counted_anew(void **state)
{
	m.env.committed_attempts = 2;
	commit_b();
	for (int i = 0; i < 3; i++) {
		restarts_are("bb");
		start();
		settle();
		assert_env("ota_spare_after", "2");
	}
	restarts_are("bba");
}

static void a_committed_slot_is_not_counted_unless_it_is_wished(void **state)
{
	commit_b();
	assert_env("ota_spare", "");
	restarts_are("bbbbbbbbbbb");
	/* Switched off later. */
	m.env.committed_attempts = 1;
	start();
	settle();
	assert_env("ota_spare", "ota-slot_a");
	m.env.committed_attempts = 0;
	start();
	settle();
	assert_env("ota_spare", "");
}

static void a_slot_that_is_not_whole_is_no_spare(void **state)
{
	m.env.committed_attempts = 2;
	commit_b();
	must(ctl->ops->settle(ctl, false, &err));
	assert_env("ota_spare", "");
	settle();
	assert_env("ota_spare", "ota-slot_a");
	grub_machine_remove(&m, "boot/ota-slot_a/initrd.img-" KERNEL_1);
	settle();
	assert_env("ota_spare", "");
	restarts_are("bbbb");
}

static void a_slot_that_is_to_be_changed_is_no_spare(void **state)
{
	m.env.committed_attempts = 2;
	commit_b();
	assert_env("ota_spare", "ota-slot_a");
	must(ctl->ops->keep(ctl, &err));
	assert_env("ota_spare", "");
	settle();
	assert_env("ota_spare", "ota-slot_a");
	must(ctl->ops->prepare(ctl, &err));
	assert_env("ota_spare", "");
	settle();
	assert_env("ota_spare", "");
	restarts_are("bbbb");
}

static void a_count_of_the_committed_slot_that_grub_cannot_write_changes_nothing(void **state)
{
	m.env.committed_attempts = 1;
	commit_b();
	m.save_env = "fail";
	restarts_are("bbbb");
	m.save_env = "lose";
	restarts_are("bbbb");
}

/* For a new file; publishing needs none. */
static int no_room(void *ctx, const char *what)
{
	unsigned *n = ctx;

	return strcmp(what, "replace grubenv at start") == 0 && (*n)++ == 0 ? -ENOSPC : 0;
}

static int no_writes(void *ctx, const char *what)
{
	return -EROFS;
}

static void a_full_boot_does_not_keep_a_start_from_being_counted_anew(void **state)
{
	unsigned n_last = 0;

	m.env.committed_attempts = 2;
	commit_b();
	env_set("theirs", "1");
	for (int i = 0; i < 3; i++) {
		unsigned n = 0;

		restarts_are("bb");
		start();
		io_set_hook(no_room, &n);
		settle();
		io_set_hook(NULL, NULL);
		assert_int_equal(n, 2);
		assert_env("ota_spare_after", "2");
		assert_env("theirs", "1");
	}
	/* Without a block there is no place to overwrite, and nothing to count either. */
	grub_machine_write(&m, "boot/grub/grubenv", "");
	io_set_hook(no_room, &n_last);
	assert_int_equal(ctl->ops->settle(ctl, true, &err), -ENOSPC);
	assert_string_equal(err.msg, "Cannot tell GRUB that ota-slot_b has come up: Cannot write "
				     "/boot/grub/grubenv: No space left on "
				     "device");
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
}

static void what_stands_in_grubenvs_place_on_a_full_boot_does_not_hold_it_up(void **state)
{
	char path[PATH_MAX];
	unsigned n = 0;

	m.env.committed_attempts = 2;
	commit_b();
	restarts_are("b");
	start();
	grub_machine_remove(&m, "boot/grub/grubenv");
	machine_dir_path(m.dir, "boot/grub/grubenv", path);
	assert_int_equal(mkfifo(path, 0644), 0);
	io_set_hook(no_room, &n);
	assert_int_equal(ctl->ops->settle(ctl, true, &err), -ENOSPC);
	io_set_hook(NULL, NULL);
	/* Once there is room it is replaced. */
	settle();
	assert_env("saved_entry", "ota-slot_b");
}

static void a_boot_that_takes_no_writes_is_told(void **state)
{
	m.env.committed_attempts = 2;
	commit_b();
	restarts_are("b");
	start();
	io_set_hook(no_writes, NULL);
	assert_int_equal(ctl->ops->settle(ctl, true, &err), -EROFS);
	assert_string_equal(err.msg, "Cannot tell GRUB that ota-slot_b has come up: Cannot write "
				     "/boot/grub/grubenv: Read-only file "
				     "system");
}

static void nonsense_about_the_spare_boots_the_committed_slot(void **state)
{
	static const char *const bad[] = {"00", "x", "", "-0", "0 0"};

	m.env.committed_attempts = 2;
	commit_b();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		env_set("ota_spare_after", bad[i]);
		assert_int_equal(grub_machine_try(&m).slot, 'b');
	}
	env_set("ota_spare_after", "0");
	env_set("ota_spare", "ota-slot_b");
	assert_int_equal(grub_machine_try(&m).slot, 'b');
	env_set("ota_spare", "ota-slot_a");
	assert_int_equal(grub_machine_try(&m).slot, 'a');
}

/* After another client has written the block, there is no count and no spare. */
static void a_block_of_another_client_is_understood(void **state)
{
	static const char theirs[] = "# GRUB Environment Block\nsaved_entry=ota-slot_b\n";
	char block[GRUB_ENV_BYTES + 1];

	m.env.committed_attempts = 2;
	m.env.boot_attempts = 3;
	commit_b();
	memset(block, '#', GRUB_ENV_BYTES);
	block[GRUB_ENV_BYTES] = '\0';
	memcpy(block, theirs, strlen(theirs));
	grub_machine_write(&m, "boot/grub/grubenv", block);
	restarts_are("bbbb");
	memcpy(block + strlen(theirs), "next_entry=ota-slot_a\n", 22);
	grub_machine_write(&m, "boot/grub/grubenv", block);
	restarts_are("abb");
}

static void a_torn_block_boots_the_committed_slot_and_is_mended(void **state)
{
	static const char *const torn[] = {"", "torn", "# GRUB Environment Block\n"};

	m.env.committed_attempts = 2;
	commit_b();
	for (size_t i = 0; i < ARRAY_SIZE(torn); i++) {
		grub_machine_write(&m, "boot/grub/grubenv", torn[i]);
		restarts_are("bbbb");
		start();
		settle();
		assert_env("saved_entry", "ota-slot_b");
		assert_env("ota_spare", "ota-slot_a");
	}
}

static void cut_short(const char *path)
{
	AUTO_BUF struct buf b = {0};

	grub_machine_read(&m, path, &b);
	b.data[b.len_bytes - 3] = '\0';
	grub_machine_write(&m, path, b.data);
}

static void a_slot_whose_files_are_lost_or_torn_is_not_loaded(void **state)
{
	static const struct {
		const char *path, *content; /* NULL: removed; "cut": without its last bytes */
	} harm[] = {
		{"boot/ota-slot_b/vmlinuz-" KERNEL_2,    NULL },
		{"boot/ota-slot_b/vmlinuz-" KERNEL_2,    ""   },
		{"boot/ota-slot_b/vmlinuz-" KERNEL_2,    "cut"},
		{"boot/ota-slot_b/initrd.img-" KERNEL_2, NULL },
		{"boot/ota-slot_b/initrd.img-" KERNEL_2, ""   },
		{"boot/grub/ota-slot_b.cfg",             NULL },
	};

	flip_to_b();
	for (int committed = 0; committed < 2; committed++) {
		for (size_t i = 0; i < ARRAY_SIZE(harm); i++) {
			struct grub_machine copy;

			grub_machine_copy(&m, &copy);
			if (!harm[i].content)
				grub_machine_remove(&m, harm[i].path);
			else if (strcmp(harm[i].content, "cut") == 0)
				cut_short(harm[i].path);
			else
				grub_machine_write(&m, harm[i].path, harm[i].content);
			assert_int_equal(grub_machine_try(&m).slot, 'a');
			assert_int_equal(grub_machine_try(&m).slot, 'a');
			grub_machine_done(&m);
			m = copy;
		}
		stop();
		assert_int_equal(grub_machine_restart(&m), 'b');
		start();
		must(ctl->ops->commit(ctl, &err));
	}
}

static void a_machine_with_one_slot_starts_over_and_never_waits_for_a_key(void **state)
{
	static const char *const file[] = {"vmlinuz-", "initrd.img-"};

	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		char path[128];
		struct grub_machine_boot b;

		start();
		snprintf(path, sizeof(path), "boot/ota-slot_a/%s" KERNEL_1, file[i]);
		grub_machine_write(&m, path, "");
		b = grub_machine_try(&m);
		assert_int_equal(b.slot, 0);
		assert_true(b.restarts);
		stop();
		grub_machine_done(&m);
		grub_machine_init(&m);
	}
}

static void with_both_slots_torn_the_machine_starts_over(void **state)
{
	struct grub_machine_boot b;

	commit_b();
	grub_machine_write(&m, "boot/ota-slot_a/vmlinuz-" KERNEL_1, "");
	grub_machine_write(&m, "boot/ota-slot_b/vmlinuz-" KERNEL_2, "");
	b = grub_machine_try(&m);
	assert_int_equal(b.slot, 0);
	assert_true(b.restarts);
}

/* Somebody has put another kernel there by hand; where nothing else can be booted it is better than nothing. */
static void the_only_slot_is_loaded_whatever_its_kernel_is(void **state)
{
	start();
	grub_machine_write(&m, "boot/ota-slot_a/vmlinuz-" KERNEL_1, "another kernel\n");
	restarts_are("a");
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_flipped_slot_is_tried_as_often_as_is_set),
		T(all_counts_work),
		T(a_commit_ends_the_count),
		T(an_update_without_a_count_is_as_other_clients_write_it),
		T(a_trial_that_was_not_begun_outlives_a_restart_of_the_daemon),
		T(a_trial_whose_kernel_is_lost_is_over_once_the_old_slot_is_up),
		T(a_start_of_the_daemon_does_not_end_its_own_trial),
		T(a_try_that_grub_cannot_count_is_not_made),
		T(a_trial_that_grub_cannot_begin_is_known_and_can_be_forgotten),
		T(a_trial_that_cannot_be_forgotten_is_told),
		T(a_cut_while_a_trial_is_forgotten_tries_it_or_does_not),
		T(what_grub_could_not_load_is_named),
		T(nonsense_in_the_count_boots_the_committed_slot),
		T(a_committed_slot_that_does_not_come_up_gives_way_to_the_other),
		T(a_slot_that_comes_up_is_counted_anew),
		T(a_committed_slot_is_not_counted_unless_it_is_wished),
		T(a_slot_that_is_not_whole_is_no_spare),
		T(a_slot_that_is_to_be_changed_is_no_spare),
		T(a_count_of_the_committed_slot_that_grub_cannot_write_changes_nothing),
		T(a_full_boot_does_not_keep_a_start_from_being_counted_anew),
		T(what_stands_in_grubenvs_place_on_a_full_boot_does_not_hold_it_up),
		T(a_boot_that_takes_no_writes_is_told),
		T(nonsense_about_the_spare_boots_the_committed_slot),
		T(a_block_of_another_client_is_understood),
		T(a_torn_block_boots_the_committed_slot_and_is_mended),
		T(a_slot_whose_files_are_lost_or_torn_is_not_loaded),
		T(a_machine_with_one_slot_starts_over_and_never_waits_for_a_key),
		T(with_both_slots_torn_the_machine_starts_over),
		T(the_only_slot_is_loaded_whatever_its_kernel_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
