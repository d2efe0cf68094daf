/*
 * The GRUB controller on a machine in a folder: what it puts where, what it keeps of others, how it takes a machine
 * over, and what it says when it cannot. Needs grub-emu and e2fsprogs; no root.
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
#include <unistd.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_env.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "tests/support/grub_bench.h"

#define KERNEL_1 GRUB_MACHINE_KERNEL
#define KERNEL_2 "5.10.0-20-fake"

static void assert_file(const char *path, const char *want)
{
	AUTO_BUF struct buf b = {0};

	grub_machine_read(&m, path, &b);
	assert_string_equal(buf_str(&b), want);
}

static void assert_has(const char *path, const char *part)
{
	AUTO_BUF struct buf b = {0};

	grub_machine_read(&m, path, &b);
	if (!strstr(buf_str(&b), part))
		fail_msg("%s has no \"%s\":\n%s", path, part, buf_str(&b));
}

static void assert_mode(const char *path, mode_t mode)
{
	char full[PATH_MAX];
	struct stat st;

	snprintf(full, sizeof(full), "%.*s/%s", PATH_MAX - 256, m.dir, path);
	assert_int_equal(lstat(full, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | mode);
}

static ino_t inode_of(const char *path)
{
	char full[PATH_MAX];
	struct stat st;

	snprintf(full, sizeof(full), "%.*s/%s", PATH_MAX - 256, m.dir, path);
	assert_int_equal(lstat(full, &st), 0);
	return st.st_ino;
}

static void assert_links(const char *a, const char *b)
{
	assert_int_equal(inode_of(a), inode_of(b));
}

static void make_link(const char *target, const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%.*s/%s", PATH_MAX - 256, m.dir, path);
	unlink(full);
	assert_int_equal(symlink(target, full), 0);
}

static void make_folder(const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%.*s/%s", PATH_MAX - 256, m.dir, path);
	assert_int_equal(mkdir(full, 0755), 0);
}

static void make_executable(const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%.*s/%s", PATH_MAX - 256, m.dir, path);
	assert_int_equal(chmod(full, 0755), 0);
}

static void write_frame(const char *version, const char *body)
{
	AUTO_BUF struct buf b = {0};

	assert_int_equal(grub_cfg_wrap(body, strlen(body), version, "2.06", &b), 0);
	grub_machine_write(&m, "boot/grub/grub.cfg", buf_str(&b));
}

static void env_set(const char *name, const char *value)
{
	AUTO_BUF struct buf b = {0};
	struct grub_env env = {0};
	char block[GRUB_ENV_BYTES + 1] = "";

	if (grub_machine_exists(&m, "boot/grub/grubenv")) {
		grub_machine_read(&m, "boot/grub/grubenv", &b);
		assert_int_equal(grub_env_parse(b.data, b.len_bytes, &env, NULL), 0);
	}
	assert_int_equal(grub_env_set(&env, name, value), 0);
	grub_env_render(&env, block);
	grub_machine_write(&m, "boot/grub/grubenv", block);
}

static void assert_env(const char *name, const char *want)
{
	AUTO_BUF struct buf b = {0};
	struct grub_env env;
	char value[GRUB_ENV_BYTES] = "";

	grub_machine_read(&m, "boot/grub/grubenv", &b);
	assert_int_equal(b.len_bytes, GRUB_ENV_BYTES);
	assert_int_equal(grub_env_parse(b.data, b.len_bytes, &env, NULL), 0);
	grub_env_get(&env, name, value, sizeof(value));
	assert_string_equal(value, want);
}

static void a_fresh_machine_gets_all_files_of_the_layout(void **state)
{
	assert_true(start());
	assert_file("boot/ota-slot_a/vmlinuz-" KERNEL_1, "kernel of the fresh machine\n");
	assert_links("boot/ota-slot_a/vmlinuz-" KERNEL_1, "boot/vmlinuz-" KERNEL_1);
	assert_links("boot/ota-slot_a/initrd.img-" KERNEL_1, "boot/initrd.img-" KERNEL_1);
	assert_true(grub_machine_exists(&m, "boot/ota-slot_a/grub"));
	assert_has("boot/grub/grub.cfg", "# otaclient_version: 4.0.0\n# grub_version: 2.06-fake\n");
	assert_has("boot/grub/ota-slot_a.cfg",
		"menuentry 'ota-slot_a' --class os $menuentry_id_option 'ota-slot_a' {");
	assert_has("boot/grub/ota-slot_a.cfg",
		"root=UUID=aaaaaaaa-0000-4000-8000-000000000002 ro  quiet splash panic=10; fi\n");
	assert_false(grub_machine_exists(&m, "boot/grub/ota-slot_b.cfg"));
	assert_has("boot/grub/ota-committed.cfg", "set default=\"ota-slot_a\"\n");
	assert_env("saved_entry", "ota-slot_a");
	assert_has("slot_a/etc/default/grub",
		"GRUB_DEFAULT=saved\nGRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX=\"quiet splash\"");
	assert_mode("slot_a/etc/grub.d/30_ota", 0750);
	assert_has("slot_a/etc/grub.d/30_ota", "#!/bin/sh\n");
	assert_mode("slot_a/etc/grub.d/30_uefi-firmware", 0640);
	assert_file("slot_a/etc/fstab",
		"UUID=aaaaaaaa-0000-4000-8000-000000000002\t/\text4\terrors=remount-ro\t0\t1\n"
		"UUID=b0070000-0000-4000-8000-000000000001\t/boot\text4\tdefaults\t0\t2\n");
	assert_file("boot/ota-partition.sda2/slot_in_use", "sda2");
	assert_links(
		"boot/ota-partition.sda2/vmlinuz-" KERNEL_1, "boot/ota-slot_a/vmlinuz-" KERNEL_1);
	assert_false(grub_machine_exists(&m, "boot/.ota_empty_boot"));
}

static void a_uefi_machine_keeps_its_esp(void **state)
{
	m.disk.uefi = true;
	snprintf(m.disk.esp.fs_uuid, sizeof(m.disk.esp.fs_uuid), "1234-ABCD");
	start();
	assert_has("slot_a/etc/fstab", "UUID=1234-ABCD\t/boot/efi\tvfat\tdefaults\t0\t1\n");
}

static int no_writes(void *ctx, const char *what)
{
	fail_msg("A second start writes: %s", what);
	return 0;
}

static void a_second_start_writes_nothing(void **state)
{
	start();
	io_set_hook(no_writes, NULL);
	assert_false(start());
	io_set_hook(NULL, NULL);
}

static void leftovers_of_a_cut_go(void **state)
{
	start();
	grub_machine_write(&m, "boot/.ota_io_tmp_1", "");
	grub_machine_write(&m, "boot/grub/.ota_io_tmp_2", "");
	grub_machine_write(&m, "boot/ota-slot_a/.ota_io_tmp_3", "");
	grub_machine_write(&m, "boot/grub/ota-slot_b.cfg.staged", "");
	start();
	assert_false(grub_machine_exists(&m, "boot/.ota_io_tmp_1"));
	assert_false(grub_machine_exists(&m, "boot/grub/.ota_io_tmp_2"));
	assert_false(grub_machine_exists(&m, "boot/ota-slot_a/.ota_io_tmp_3"));
	assert_false(grub_machine_exists(&m, "boot/grub/ota-slot_b.cfg.staged"));
}

static void a_running_kernel_without_files_is_an_error(void **state)
{
	bool reset = true;

	grub_machine_remove(&m, "boot/initrd.img-" KERNEL_1);
	must(grub_machine_open(&m, &ctl, &err));
	assert_int_equal(ctl->ops->setup(ctl, &reset, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
	assert_string_equal(err.msg,
		"Cannot set up GRUB for two slots: There is no vmlinuz-" KERNEL_1
		" with its initrd.img-" KERNEL_1
		" in /boot, so the running system could not be booted again");
}

/* prepare, a new image, stage */
static int stage_image(const char *release)
{
	must(ctl->ops->prepare(ctl, &err));
	return ctl->ops->stage(ctl, grub_machine_put_image(&m, 'b', release), &err);
}

static void an_update_changes_what_is_its_own_and_nothing_else(void **state)
{
	const char *root;

	start();
	env_set("recordfail", "1");
	grub_machine_write(&m, "boot/vmlinuz-4.19.0-1-fake", "of long ago");
	grub_machine_write(&m, "boot/initrd.img-4.19.0-1-fake", "of long ago");
	grub_machine_write(&m, "boot/config-4.19.0-1-fake", "no kernel");
	make_folder("boot/ota");
	grub_machine_write(&m, "boot/ota/ecu_info.yaml", "mine");
	grub_machine_write(&m, "boot/ota/proxy_info.yaml", "mine");
	make_folder("boot/ota-partition.sda3");

	must(ctl->ops->prepare(ctl, &err));
	assert_file("boot/ota-partition.sda2/status", "FAILURE");
	root = grub_machine_put_image(&m, 'b', KERNEL_2);
	grub_machine_write(&m, "slot_b/boot/vmlinuz-5.10.0-3-fake", "older");
	grub_machine_write(&m, "slot_b/boot/initrd.img-5.10.0-3-fake", "older");
	grub_machine_write(&m, "slot_b/boot/vmlinuz-6.0.0-1-fake", "no initrd");
	grub_machine_write(&m, "slot_b/boot/ota/ecu_info.yaml", "image's");
	grub_machine_write(&m, "slot_b/boot/ota/proxy_info.yaml", "image's");
	grub_machine_write(&m, "slot_b/etc/fstab",
		"/dev/x / xfs rw 0 0\n/swap none swap sw\n/swap2 none swap sw 0 0 # two\n");
	must(ctl->ops->stage(ctl, root, &err));
	must(ctl->ops->flip(ctl, &err));

	assert_file("boot/ota-slot_b/vmlinuz-" KERNEL_2, "kernel " KERNEL_2 "\n");
	assert_links("boot/ota-slot_b/vmlinuz-" KERNEL_2, "boot/vmlinuz-" KERNEL_2);
	assert_true(grub_machine_exists(&m, "boot/vmlinuz-" KERNEL_1));
	assert_true(grub_machine_exists(&m, "boot/ota-slot_a/vmlinuz-" KERNEL_1));
	assert_false(grub_machine_exists(&m, "boot/vmlinuz-4.19.0-1-fake"));
	assert_false(grub_machine_exists(&m, "boot/initrd.img-4.19.0-1-fake"));
	assert_true(grub_machine_exists(&m, "boot/config-4.19.0-1-fake"));
	assert_false(grub_machine_exists(&m, "boot/ota-partition.sda3"));
	assert_file("boot/ota/ecu_info.yaml", "mine");
	assert_file("boot/ota/proxy_info.yaml", "image's");
	assert_file("slot_b/etc/fstab",
		"UUID=bbbbbbbb-0000-4000-8000-000000000003\t/\text4\terrors=remount-ro\t0\t1\n"
		"UUID=b0070000-0000-4000-8000-000000000001\t/boot\text4\tdefaults\t0\t2\n"
		"/swap\tnone\tswap\tsw\t0\t0\n/swap2\tnone\tswap\tsw\t0\t0\n");
	assert_env("recordfail", "1");
	assert_env("saved_entry", "ota-slot_a");
	assert_env("next_entry", "ota-slot_b");
	assert_int_equal(grub_machine_restart(&m), 'b');
	assert_env("recordfail", "1");
	assert_env("next_entry", "");
	assert_false(start());
	must(ctl->ops->commit(ctl, &err));
	assert_env("saved_entry", "ota-slot_b");
	assert_env("recordfail", "1");
	assert_has("boot/grub/ota-committed.cfg", "\"ota-slot_b\"");
}

static void the_images_ecu_info_fills_a_gap(void **state)
{
	const char *root;

	start();
	must(ctl->ops->prepare(ctl, &err));
	root = grub_machine_put_image(&m, 'b', KERNEL_2);
	grub_machine_write(&m, "slot_b/boot/ota/ecu_info.yaml", "image's");
	must(ctl->ops->stage(ctl, root, &err));
	assert_file("boot/ota/ecu_info.yaml", "image's");
}

static void an_image_without_a_kernel_is_refused(void **state)
{
	const char *root;

	start();
	must(ctl->ops->prepare(ctl, &err));
	root = grub_machine_put_image(&m, 'b', KERNEL_2);
	grub_machine_remove(&m, "slot_b/boot/initrd.img-" KERNEL_2);
	assert_int_equal(ctl->ops->stage(ctl, root, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	assert_string_equal(err.msg,
		"Cannot make ota-slot_b bootable: The image has no kernel with an initrd: it needs "
		"/boot/vmlinuz-<release> and /boot/initrd.img-<release>");
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void a_kernel_name_that_is_script_is_no_kernel(void **state)
{
	start();
	assert_int_equal(stage_image("5.10 {reboot}"), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
}

static void a_full_boot_is_told_with_both_figures(void **state)
{
	char path[PATH_MAX];
	const char *root;

	start();
	must(ctl->ops->prepare(ctl, &err));
	root = grub_machine_put_image(&m, 'b', KERNEL_2);
	snprintf(path, sizeof(path), "%.*s/boot/initrd.img-%s", PATH_MAX - 64, root, KERNEL_2);
	assert_int_equal(truncate(path, 1LL << 40), 0); /* sparse */
	assert_int_equal(ctl->ops->stage(ctl, root, &err), -ENOSPC);
	assert_int_equal(err.code, OTA_E_STANDBY_SLOT_SPACE);
	assert_non_null(strstr(
		err.msg, " MB free, but the kernel " KERNEL_2 " and its initrd need 1099513 MB"));
	assert_false(grub_machine_exists(&m, "boot/ota-slot_b/vmlinuz-" KERNEL_2));
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void an_image_without_grub_tools_gets_a_plain_entry(void **state)
{
	start();
	grub_machine_remove(&m, "tools/grub-mkconfig");
	must(stage_image(KERNEL_2));
	must(ctl->ops->flip(ctl, &err));
	assert_has("boot/grub/ota-slot_b.cfg", "# Made without grub-mkconfig");
	assert_has("boot/grub/ota-slot_b.cfg",
		"root=UUID=bbbbbbbb-0000-4000-8000-000000000003 ro quiet splash panic=10; fi\n");
	assert_int_equal(grub_machine_restart(&m), 'b');
}

static void a_machine_without_grub_tools_boots_too(void **state)
{
	grub_machine_remove(&m, "tools/grub-mkconfig");
	assert_true(start());
	assert_has("boot/grub/grub.cfg", "# grub_version: unknown_grub_version\n");
	assert_int_equal(grub_machine_restart(&m), 'a');
	must(stage_image(KERNEL_2));
	must(ctl->ops->flip(ctl, &err));
	assert_int_equal(grub_machine_restart(&m), 'b');
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void a_failing_grub_mkconfig_fails_the_stage(void **state)
{
	start();
	grub_machine_write(&m, "tools/grub-mkconfig",
		"#!/bin/sh\necho 'grub-probe: no such disk' >&2\nexit 1\n");
	assert_int_equal(stage_image(KERNEL_2), -EIO);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	assert_non_null(strstr(err.msg, "failed with status 1: grub-probe: no such disk"));
}

static void a_flip_without_a_stage_is_refused(void **state)
{
	start();
	must(ctl->ops->prepare(ctl, &err));
	assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void a_full_environment_block_stops_the_flip(void **state)
{
	char big[GRUB_ENV_BYTES];

	start();
	must(stage_image(KERNEL_2));
	memset(big, 'x', sizeof(big));
	big[960] = '\0';
	env_set("theirs", big);
	assert_int_equal(ctl->ops->flip(ctl, &err), -ENOSPC);
	assert_string_equal(err.msg,
		"Cannot make the next boot try ota-slot_b: Cannot change /boot/grub/grubenv: "
		"variables of others fill its 1024 bytes");
	assert_env("theirs", big);
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static unsigned fail_at, n_publish;

static int fail_a_publish(void *ctx, const char *what)
{
	return strcmp(what, "replace grubenv at flip") == 0 && ++n_publish == fail_at ? -EIO : 0;
}

static void a_failed_flip_is_none(void **state)
{
	start();
	must(stage_image(KERNEL_2));
	for (fail_at = 1; fail_at <= 5; fail_at++) {
		n_publish = 0;
		io_set_hook(fail_a_publish, NULL);
		assert_int_equal(ctl->ops->flip(ctl, &err), -EIO);
		io_set_hook(NULL, NULL);
		assert_int_equal(grub_machine_try(&m).slot, 'a');
	}
	must(ctl->ops->flip(ctl, &err));
	assert_int_equal(grub_machine_try(&m).slot, 'b');
}

static void a_standby_that_was_overwritten_loses_its_entry(void **state)
{
	start();
	must(stage_image(KERNEL_2));
	must(ctl->ops->flip(ctl, &err));
	assert_int_equal(grub_machine_restart(&m), 'b');
	assert_int_equal(grub_machine_restart(&m), 'a');
	snprintf(m.disk.slot[GRUB_SLOT_B].fs_uuid, BOOT_UUID_MAX, "somebody-elses");
	start();
	assert_false(grub_machine_exists(&m, "boot/grub/ota-slot_b.cfg"));
}

static void update_grub_by_hand_is_undone_at_the_next_start_and_before_an_update(void **state)
{
	start();
	grub_machine_write(&m, "boot/grub/grub.cfg", "menuentry 'Distribution' { true; }\n");
	assert_true(start());
	assert_has("boot/grub/grub.cfg", "ota-committed.cfg");

	grub_machine_write(&m, "boot/grub/grub.cfg", "menuentry 'Distribution' { true; }\n");
	must(ctl->ops->prepare(ctl, &err));
	assert_has("boot/grub/grub.cfg", "ota-committed.cfg");
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void a_frame_of_another_client_is_replaced_and_its_choice_kept(void **state)
{
	static const char *const version[] = {"3.14.0", "3.14.2"};

	start();
	must(stage_image(KERNEL_2));
	must(ctl->ops->flip(ctl, &err));
	assert_int_equal(grub_machine_restart(&m), 'b');
	for (size_t i = 0; i < ARRAY_SIZE(version); i++) {
		write_frame(version[i], "source ${config_directory}/ota-slot_a.cfg");
		grub_machine_remove(&m, "boot/grub/ota-committed.cfg");
		assert_false(start());
		assert_has("boot/grub/grub.cfg", "# otaclient_version: 4.0.0\n");
		/* The trial is not over. */
		assert_env("saved_entry", "ota-slot_a");
		assert_has("boot/grub/ota-committed.cfg", "ota-slot_a");
	}
	must(ctl->ops->commit(ctl, &err));
	assert_int_equal(grub_machine_restart(&m), 'b');
}

static void legacy_file(unsigned n, const char *name, const char *text)
{
	char path[320];

	snprintf(path, sizeof(path), "boot/ota-partition.sda%u/%s", n, name);
	grub_machine_write(&m, path, text);
}

static void make_legacy_folder(char slot, const char *release, const char *status, char active)
{
	unsigned n = slot == 'a' ? 2 : 3;
	char path[192], text[256];

	snprintf(path, sizeof(path), "boot/ota-partition.sda%u", n);
	make_folder(path);
	snprintf(text, sizeof(text), "vmlinuz-%s", release);
	legacy_file(n, text, "kernel\n");
	snprintf(path, sizeof(path), "boot/ota-partition.sda%u/vmlinuz-ota", n);
	make_link(text, path);
	snprintf(text, sizeof(text), "initrd.img-%s", release);
	legacy_file(n, text, "initrd\n");
	legacy_file(n, "status", status);
	legacy_file(n, "version", slot == 'a' ? "1.0" : "2.0");
	legacy_file(n, "slot_in_use", active == 'a' ? "sda2" : "sda3");
	snprintf(text, sizeof(text),
		"menuentry 'Old' $menuentry_id_option 'old' {\n\tlinux /vmlinuz-ota "
		"root=/dev/sda%u ro old\n"
		"\tinitrd /initrd.img-ota\n}\n",
		n);
	legacy_file(n, "grub.cfg", text);
}

/* A machine of the older layout that runs @active; its loader boots @saved by itself. */
static void make_legacy(char active, char saved)
{
	const char *status = active == saved ? "SUCCESS" : "UPDATING";

	grub_machine_put_image(&m, 'b', KERNEL_2);
	make_legacy_folder('a', KERNEL_1, active == 'a' ? status : "FAILURE", active);
	make_legacy_folder('b', KERNEL_2, active == 'b' ? status : "FAILURE", active);
	make_link(saved == 'a' ? "ota-partition.sda2" : "ota-partition.sda3", "boot/ota-partition");
	make_link("../ota-partition/grub.cfg", "boot/grub/grub.cfg");
	make_link("ota-partition/vmlinuz-ota", "boot/vmlinuz-ota");
	make_link("ota-partition/initrd.img-ota", "boot/initrd.img-ota");
	make_link("ota-partition.sda3/vmlinuz-ota", "boot/vmlinuz-ota.standby");
	if (active == 'b') {
		snprintf(m.release, sizeof(m.release), KERNEL_2);
		grub_machine_run_on(&m, 'b');
	}
}

static void the_older_layout_is_taken_over_with_its_status(void **state)
{
	struct stat st;
	char path[PATH_MAX];

	make_legacy('a', 'a');
	assert_false(start());
	assert_file("boot/ota-slot_a/status", "SUCCESS");
	assert_file("boot/ota-slot_a/version", "1.0");
	assert_file("boot/ota-slot_a/slot_in_use", "ota-slot_a");
	snprintf(path, sizeof(path), "%.*s/boot/grub/grub.cfg", PATH_MAX - 64, m.dir);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_false(grub_machine_exists(&m, "boot/ota-partition"));
	assert_false(grub_machine_exists(&m, "boot/vmlinuz-ota"));
	assert_false(grub_machine_exists(&m, "boot/vmlinuz-ota.standby"));
	assert_true(grub_machine_exists(&m, "boot/ota-partition.sda2/status"));
	assert_false(grub_machine_exists(&m, "boot/grub/ota-slot_b.cfg"));
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void a_trial_that_began_under_the_older_layout_can_still_fail(void **state)
{
	make_legacy('b', 'a');
	assert_false(start());
	assert_file("boot/ota-slot_b/status", "UPDATING");
	assert_file("boot/ota-slot_b/slot_in_use", "ota-slot_b");
	assert_int_equal(grub_machine_try(&m).slot, 'a');
	assert_has("boot/grub/ota-slot_a.cfg",
		"linux /ota-slot_a/vmlinuz-" KERNEL_1
		" root=UUID=aaaaaaaa-0000-4000-8000-000000000002 ro old panic=10; fi\n");
	must(ctl->ops->commit(ctl, &err));
	assert_int_equal(grub_machine_restart(&m), 'b');
}

static void a_trial_without_a_way_back_in_the_older_layout_is_not_taken_over(void **state)
{
	bool reset;

	make_legacy('b', 'a');
	grub_machine_remove(&m, "boot/ota-partition.sda2/vmlinuz-" KERNEL_1);
	must(grub_machine_open(&m, &ctl, &err));
	assert_int_equal(ctl->ops->setup(ctl, &reset, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
	assert_string_equal(err.msg,
		"Cannot set up GRUB for two slots: Cannot take over the older layout of /boot: The "
		"slot to return to has no kernel in the older layout");
}

static void going_back_to_the_other_slot_needs_its_entry(void **state)
{
	start();
	assert_int_equal(ctl->ops->revert(ctl, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_PREROLLBACK);
	assert_string_equal(err.msg,
		"Cannot go back to ota-slot_b: /boot/grub/ota-slot_b.cfg cannot be read: No such "
		"file or directory");
	assert_int_equal(grub_machine_restart(&m), 'a');
}

static void nonsense_in_saved_entry_boots_the_committed_slot(void **state)
{
	start();
	must(stage_image(KERNEL_2));
	must(ctl->ops->flip(ctl, &err));
	assert_int_equal(grub_machine_restart(&m), 'b');
	start();
	must(ctl->ops->commit(ctl, &err));
	env_set("saved_entry", "gnulinux-simple");
	assert_int_equal(grub_machine_try(&m).slot, 'b');
	env_set("saved_entry", "0");
	assert_int_equal(grub_machine_try(&m).slot, 'b');
}

static void entries_of_other_scripts_do_not_shift_the_fallback(void **state)
{
	grub_machine_write(&m, "slot_a/etc/grub.d/05_theirs",
		"#!/bin/sh\necho \"menuentry 'Theirs' { linux /theirs root=x; initrd /theirs; "
		"}\"\n");
	make_executable("slot_a/etc/grub.d/05_theirs");
	start();
	assert_has("boot/grub/grub.cfg", "Theirs");
	must(stage_image(KERNEL_2));
	must(ctl->ops->flip(ctl, &err));
	grub_machine_remove(&m, "boot/ota-slot_b/vmlinuz-" KERNEL_2);
	assert_int_equal(grub_machine_try(&m).slot, 'a');
}

static void a_restart_is_asked_of_the_machine(void **state)
{
	start();
	must(ctl->ops->reboot(ctl, &err));
	assert_true(grub_machine_exists(&m, "reboot-was-asked"));
	grub_machine_write(&m, "tools/reboot", "#!/bin/sh\nkill $$\n");
	must(ctl->ops->reboot(ctl, &err));
	assert_int_equal(err.errnum, 0);
	grub_machine_write(&m, "tools/reboot", "#!/bin/sh\necho 'not now' >&2\nexit 1\n");
	assert_int_equal(ctl->ops->reboot(ctl, &err), -EIO);
	assert_non_null(strstr(err.msg, "Cannot restart the machine"));
	assert_non_null(strstr(err.msg, "not now"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_fresh_machine_gets_all_files_of_the_layout),
		T(a_uefi_machine_keeps_its_esp),
		T(a_second_start_writes_nothing),
		T(leftovers_of_a_cut_go),
		T(a_running_kernel_without_files_is_an_error),
		T(an_update_changes_what_is_its_own_and_nothing_else),
		T(the_images_ecu_info_fills_a_gap),
		T(an_image_without_a_kernel_is_refused),
		T(a_kernel_name_that_is_script_is_no_kernel),
		T(a_full_boot_is_told_with_both_figures),
		T(an_image_without_grub_tools_gets_a_plain_entry),
		T(a_machine_without_grub_tools_boots_too),
		T(a_failing_grub_mkconfig_fails_the_stage),
		T(a_flip_without_a_stage_is_refused),
		T(a_full_environment_block_stops_the_flip),
		T(a_failed_flip_is_none),
		T(a_standby_that_was_overwritten_loses_its_entry),
		T(update_grub_by_hand_is_undone_at_the_next_start_and_before_an_update),
		T(a_frame_of_another_client_is_replaced_and_its_choice_kept),
		T(the_older_layout_is_taken_over_with_its_status),
		T(a_trial_that_began_under_the_older_layout_can_still_fail),
		T(a_trial_without_a_way_back_in_the_older_layout_is_not_taken_over),
		T(going_back_to_the_other_slot_needs_its_entry),
		T(nonsense_in_saved_entry_boots_the_committed_slot),
		T(entries_of_other_scripts_do_not_shift_the_fallback),
		T(a_restart_is_asked_of_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
