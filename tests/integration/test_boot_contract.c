/*
 * The contract of boot_controller.h as one story, run against every controller: GRUB in a folder, with the real GRUB
 * choosing the slot at each restart; CBoot in a folder, where NVIDIA's tools and CBoot itself are simulated; and
 * fake_boot. Needs grub-emu and e2fsprogs; no root.
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

#include "boot-controllers/boot_controller.h"
#include "common/base/cleanup.h"
#include "tests/support/cboot_machine.h"
#include "tests/support/fake_boot.h"
#include "tests/support/grub_machine.h"

/* A machine with a controller of one kind. */
struct subject {
	int (*open)(struct boot_ctl **ret_ctl, struct ota_err *err);
	char (*restart)(void); /* the slot that comes up: 'a', 'b' or 0 */
	const char *(*put_image)(char slot, const char *release); /* a complete standby root */
	void (*begin)(void);
	void (*end)(void);
	bool fresh_resets; /* does a fresh machine forget a stored status? */
	unsigned tries;    /* starts of a flipped slot that nobody commits */
};

static struct grub_machine machine;

static int grub_open_it(struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return grub_machine_open(&machine, ret_ctl, err);
}

static char grub_restart(void)
{
	return grub_machine_restart(&machine);
}

static const char *grub_put_image(char slot, const char *release)
{
	return grub_machine_put_image(&machine, slot, release);
}

static void grub_begin(void)
{
	grub_machine_init(&machine);
}

static void grub_end(void)
{
	grub_machine_done(&machine);
}

static char fake_dir[64];
static struct fake_boot fake = {
	.dir = fake_dir, .device = {"/dev/a", "/dev/b"},
             .fs_uuid = {"ua",     "ub"    }
};

static int fake_open_it(struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return boot_controller_open("fake", &(struct boot_env){.root = ""}, ret_ctl, err);
}

static char fake_restart(void)
{
	fake_boot_restart(&fake);
	return fake_boot_running(&fake);
}

static const char *fake_put_image(char slot, const char *release)
{
	return fake_dir;
}

static void fake_begin(void)
{
	snprintf(fake_dir, sizeof(fake_dir), "/tmp/fake_boot.XXXXXX");
	assert_non_null(mkdtemp(fake_dir));
	fake_boot_use(&fake);
}

static void fake_end(void)
{
	static const char *const file[] = {
		"running", "saved", "next", "entry_a", "entry_b", "staged", "set_up", ""};

	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", fake_dir, file[i]);
		remove(path);
	}
	fake_boot_use(NULL);
	fake_boot_done(&fake);
}

static struct cboot_machine jetson;

static int cboot_open_it(struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return cboot_machine_open(&jetson, ret_ctl, err);
}

static char cboot_restart(void)
{
	return cboot_machine_restart(&jetson);
}

static const char *cboot_put_image(char slot, const char *release)
{
	return cboot_machine_put_image(&jetson, slot == 'a' ? 0 : 1, release);
}

static void cboot_begin(void)
{
	cboot_machine_init(&jetson, false, false);
}

static void cboot_unified_begin(void)
{
	cboot_machine_init(&jetson, true, false);
}

static void cboot_external_begin(void)
{
	cboot_machine_init(&jetson, false, true);
}

static void cboot_end(void)
{
	cboot_machine_done(&jetson);
}

/* open, restart, put_image, begin, end, fresh_resets, tries */
/* clang-format off */
static const struct subject grub_subject = {
	grub_open_it, grub_restart, grub_put_image, grub_begin, grub_end, true, 1};
static const struct subject fake_subject = {
	fake_open_it, fake_restart, fake_put_image, fake_begin, fake_end, true, 1};
static const struct subject cboot_subject = {
	cboot_open_it, cboot_restart, cboot_put_image, cboot_begin, cboot_end, false,
	CBOOT_MACHINE_TRIES};
static const struct subject cboot_unified_subject = {
	cboot_open_it, cboot_restart, cboot_put_image, cboot_unified_begin, cboot_end, false,
	CBOOT_MACHINE_LOADER_TRIES};
static const struct subject cboot_external_subject = {
	cboot_open_it, cboot_restart, cboot_put_image, cboot_external_begin, cboot_end, false,
	CBOOT_MACHINE_TRIES};
/* clang-format on */

static void must(int r, const struct ota_err *err)
{
	if (r < 0)
		fail_msg("%s", err->msg);
}

static char slot_of(const char *id)
{
	static const char *const known[] = {"ota-slot_a", "ota-slot_b", "0", "1"};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(id, known[i]) == 0)
			return i % 2 == 0 ? 'a' : 'b';
	fail_msg("There is no slot \"%s\"", id);
	return 0;
}

/* The starts that the loader grants a slot that nobody commits, less the first one; then the old slot is back. */
static void use_up_tries(const struct subject *s, char tried, char old)
{
	for (unsigned i = 1; i < s->tries; i++)
		assert_int_equal(s->restart(), tried);
	assert_int_equal(s->restart(), old);
}

/* As the daemon does at its start; returns the running slot. */
static char start(const struct subject *s, struct boot_ctl **ret_ctl, bool *ret_reset)
{
	struct ota_err err = {0};
	struct slot_pair slots;
	bool reset;

	must(s->open(ret_ctl, &err), &err);
	must((*ret_ctl)->ops->setup(*ret_ctl, &reset, &err), &err);
	must((*ret_ctl)->ops->slots(*ret_ctl, &slots, &err), &err);
	assert_string_not_equal(slots.active.id, slots.standby.id);
	assert_string_not_equal(slots.active.device, slots.standby.device);
	assert_string_not_equal(slots.active.status_dir, slots.standby.status_dir);
	if (ret_reset)
		*ret_reset = reset;
	return slot_of(slots.active.id);
}

static void stop(struct boot_ctl **ctl)
{
	(*ctl)->ops->close(*ctl);
	*ctl = NULL;
}

/* Up to and with flip. */
static void update_to(const struct subject *s, struct boot_ctl *ctl, char slot, const char *release)
{
	struct ota_err err = {0};
	const char *root;

	must(ctl->ops->prepare(ctl, &err), &err);
	root = s->put_image(slot, release);
	must(ctl->ops->stage(ctl, root, &err), &err);
	must(ctl->ops->stage(ctl, root, &err), &err); /* may be repeated */
	must(ctl->ops->flip(ctl, &err), &err);
}

static void the_story(void **state)
{
	const struct subject *s = *state;
	struct ota_err err = {0};
	struct boot_ctl *ctl;
	bool reset;

	/* A fresh machine, and a second start of it. */
	assert_int_equal(start(s, &ctl, &reset), 'a');
	assert_int_equal(reset, s->fresh_resets);
	stop(&ctl);
	assert_int_equal(s->restart(), 'a');
	assert_int_equal(start(s, &ctl, &reset), 'a');
	assert_false(reset);

	/* A prepared and a staged slot are never booted. */
	must(ctl->ops->prepare(ctl, &err), &err);
	assert_int_equal(s->restart(), 'a');
	must(ctl->ops->stage(ctl, s->put_image('b', "5.10.0-2-fake"), &err), &err);
	assert_int_equal(s->restart(), 'a');

	/* A flipped one is tried once. */
	must(ctl->ops->flip(ctl, &err), &err);
	stop(&ctl);
	assert_int_equal(s->restart(), 'b');
	assert_int_equal(start(s, &ctl, &reset), 'b');
	assert_false(reset);
	stop(&ctl);
	use_up_tries(s, 'b', 'a');

	/* Once more, and this time it is kept. */
	assert_int_equal(start(s, &ctl, NULL), 'a');
	update_to(s, ctl, 'b', "5.10.0-3-fake");
	must(ctl->ops->reboot(ctl, &err), &err);
	stop(&ctl);
	assert_int_equal(s->restart(), 'b');
	assert_int_equal(start(s, &ctl, NULL), 'b');
	must(ctl->ops->commit(ctl, &err), &err);
	must(ctl->ops->commit(ctl, &err), &err);
	stop(&ctl);
	assert_int_equal(s->restart(), 'b');
	assert_int_equal(s->restart(), 'b');

	/* The old slot is there until the next prepare. */
	assert_int_equal(start(s, &ctl, NULL), 'b');
	must(ctl->ops->revert(ctl, &err), &err);
	stop(&ctl);
	assert_int_equal(s->restart(), 'a');
	assert_int_equal(start(s, &ctl, NULL), 'a');
	must(ctl->ops->prepare(ctl, &err), &err);
	assert_int_equal(ctl->ops->revert(ctl, &err), -ENOENT);
	assert_int_not_equal(err.errnum, 0);
	assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
	assert_int_equal(s->restart(), 'a');
	stop(&ctl);
}

/* From slot b, committed, back to slot a, which was left whole. */
static void the_way_back(void **state)
{
	const struct subject *s = *state;
	struct ota_err err = {0};
	struct boot_ctl *ctl;

	assert_int_equal(start(s, &ctl, NULL), 'a');
	assert_int_equal(ctl->ops->check(ctl, &err), -ENOENT); /* there was no update yet */
	assert_int_not_equal(err.errnum, 0);
	assert_int_equal(ctl->ops->keep(ctl, &err), -ENOENT);
	update_to(s, ctl, 'b', "5.10.0-2-fake");
	stop(&ctl);
	assert_int_equal(s->restart(), 'b');
	assert_int_equal(start(s, &ctl, NULL), 'b');
	must(ctl->ops->commit(ctl, &err), &err);

	/* Until flip the running slot boots. */
	must(ctl->ops->check(ctl, &err), &err);
	assert_int_equal(s->restart(), 'b');
	must(ctl->ops->keep(ctl, &err), &err);
	must(ctl->ops->keep(ctl, &err), &err);
	assert_int_equal(s->restart(), 'b');
	stop(&ctl);

	/* Then the other one is tried once. */
	assert_int_equal(start(s, &ctl, NULL), 'b');
	must(ctl->ops->keep(ctl, &err), &err);
	must(ctl->ops->flip(ctl, &err), &err);
	stop(&ctl);
	assert_int_equal(s->restart(), 'a');
	assert_int_equal(start(s, &ctl, NULL), 'a');
	stop(&ctl);
	use_up_tries(s, 'a', 'b');

	/* Once more, and this time it is kept; and the same in the other direction. */
	for (int i = 0; i < 2; i++) {
		char from = i == 0 ? 'b' : 'a', to = i == 0 ? 'a' : 'b';

		assert_int_equal(start(s, &ctl, NULL), from);
		must(ctl->ops->keep(ctl, &err), &err);
		must(ctl->ops->flip(ctl, &err), &err);
		must(ctl->ops->reboot(ctl, &err), &err);
		stop(&ctl);
		assert_int_equal(s->restart(), to);
		assert_int_equal(start(s, &ctl, NULL), to);
		must(ctl->ops->commit(ctl, &err), &err);
		stop(&ctl);
		assert_int_equal(s->restart(), to);
		assert_int_equal(s->restart(), to);
	}

	/* A slot that was prepared for an update is none to go back to. */
	assert_int_equal(start(s, &ctl, NULL), 'b');
	must(ctl->ops->check(ctl, &err), &err);
	must(ctl->ops->prepare(ctl, &err), &err);
	assert_int_equal(ctl->ops->check(ctl, &err), -ENOENT);
	assert_int_equal(ctl->ops->keep(ctl, &err), -ENOENT);
	stop(&ctl);
	assert_int_equal(s->restart(), 'b');
}

static void a_lost_kernel_of_the_slot_to_go_back_to_is_noticed(void **state)
{
	struct ota_err err = {0};
	struct boot_ctl *ctl;

	assert_int_equal(start(&grub_subject, &ctl, NULL), 'a');
	update_to(&grub_subject, ctl, 'b', "5.10.0-2-fake");
	stop(&ctl);
	assert_int_equal(grub_restart(), 'b');
	assert_int_equal(start(&grub_subject, &ctl, NULL), 'b');
	must(ctl->ops->commit(ctl, &err), &err);
	grub_machine_remove(&machine, "boot/ota-slot_a/vmlinuz-" GRUB_MACHINE_KERNEL);
	assert_int_equal(ctl->ops->check(ctl, &err), -ENOENT);
	assert_string_equal(err.msg,
		"GRUB cannot boot ota-slot_a: ota-slot_a.cfg boots "
		"\"/ota-slot_a/vmlinuz-" GRUB_MACHINE_KERNEL "\", which is not there");
	err = (struct ota_err){0};
	assert_int_equal(ctl->ops->keep(ctl, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_PREROLLBACK);
	stop(&ctl);
	assert_int_equal(grub_restart(), 'b');
}

static int begin(void **state)
{
	((const struct subject *)*state)->begin();
	return 0;
}

static int end(void **state)
{
	((const struct subject *)*state)->end();
	return 0;
}

static void an_unknown_boot_loader_is_refused(void **state)
{
	static const char *const name[] = {"jetson-uefi", "rpi_boot", "lilo"};

	for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
		struct boot_ctl *ctl = NULL;
		struct ota_err err = {0};
		char want[160];

		assert_int_equal(
			boot_controller_open(name[i], &(struct boot_env){.root = ""}, &ctl, &err),
			-ENODEV);
		assert_int_equal(err.code, OTA_E_BOOTCONTROL_UNSUPPORTED);
		snprintf(want, sizeof(want),
			"The boot loader \"%s\" of ecu_info.yaml is not supported; this version "
			"knows "
			"grub and jetson-cboot",
			name[i]);
		assert_string_equal(err.msg, want);
		assert_null(ctl);
	}
}

static void a_machine_without_grub_is_refused(void **state)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};

	assert_int_equal(boot_controller_open(
				 "grub", &(struct boot_env){.root = "/nonexistent"}, &ctl, &err),
		-ENODEV);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_UNSUPPORTED);
	assert_string_equal(err.msg,
		"Cannot use the boot loader \"grub\": Cannot open /nonexistent/boot/grub: No "
		"such file or directory");
}

static void a_machine_that_is_no_jetson_is_refused(void **state)
{
	static const char *const name[] = {"cboot", "jetson-cboot"};

	for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
		struct boot_ctl *ctl = NULL;
		struct ota_err err = {0};

		assert_int_equal(
			boot_controller_open(name[i],
				&(struct boot_env){.root = "/proc/self/fdinfo"}, &ctl, &err),
			-ENODEV);
		assert_int_equal(err.code, OTA_E_BOOTCONTROL_UNSUPPORTED);
		assert_string_equal(err.msg,
			"Cannot use the boot loader \"jetson-cboot\": This is no Jetson: "
			"/etc/nv_tegra_release cannot be read: No such file or directory");
		assert_null(ctl);
	}
}

static void a_boot_loader_that_nobody_chose_is_not_called_chosen(void **state)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};

	assert_int_equal(boot_controller_open("auto_detect",
				 &(struct boot_env){.root = "/nonexistent"}, &ctl, &err),
		-ENODEV);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_UNSUPPORTED);
#ifdef __x86_64__
	assert_string_equal(err.msg,
		"Cannot use \"grub\", the usual boot loader of such a machine (none is chosen): "
		"Cannot open /nonexistent/boot/grub: No such file or directory");
#else
	assert_string_equal(
		err.msg, "No boot loader is chosen, and none is supported on this kind of machine");
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"grub keeps the contract",                            the_story,    begin, end,
                 (void *)(uintptr_t)&grub_subject          },
		{"fake_boot keeps the contract",                       the_story,    begin, end,
                 (void *)(uintptr_t)&fake_subject          },
		{"cboot keeps the contract",                           the_story,    begin, end,
                 (void *)(uintptr_t)&cboot_subject         },
		{"unified cboot keeps the contract",                   the_story,    begin, end,
                 (void *)(uintptr_t)&cboot_unified_subject },
		{"cboot with an external root keeps the contract",     the_story,    begin, end,
                 (void *)(uintptr_t)&cboot_external_subject},
		{"cboot finds the way back",                           the_way_back, begin, end,
                 (void *)(uintptr_t)&cboot_subject         },
		{"unified cboot finds the way back",                   the_way_back, begin, end,
                 (void *)(uintptr_t)&cboot_unified_subject },
		{"grub finds the way back",                            the_way_back, begin, end,
                 (void *)(uintptr_t)&grub_subject          },
		{"fake_boot finds the way back",                       the_way_back, begin, end,
                 (void *)(uintptr_t)&fake_subject          },
		{"a_lost_kernel_of_the_slot_to_go_back_to_is_noticed",
                 a_lost_kernel_of_the_slot_to_go_back_to_is_noticed,                 begin, end,
                 (void *)(uintptr_t)&grub_subject          },
		cmocka_unit_test(an_unknown_boot_loader_is_refused),
		cmocka_unit_test(a_machine_without_grub_is_refused),
		cmocka_unit_test(a_machine_that_is_no_jetson_is_refused),
		cmocka_unit_test(a_boot_loader_that_nobody_chose_is_not_called_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
