/*
 * doctor: every check is run and reported once, in order, whatever one of them does; and the machine is as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>

#include "boot-controllers/boot_inspect.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/doctor/doctor.h"
#include "tests/unit/checked_machine.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

struct seen {
	unsigned n;
	char id[128][DOCTOR_ID_MAX];
	struct finding f[128];
};

static void see(void *ctx, const char *group, const char *id, const struct finding *f)
{
	struct seen *s = ctx;

	assert_true(group[0]);
	assert_true(f->what[0]);
	for (unsigned i = 0; i < s->n; i++)
		assert_string_not_equal(s->id[i], id);
	snprintf(s->id[s->n], DOCTOR_ID_MAX, "%s", id);
	s->f[s->n++] = *f;
}

static const struct finding *seen_of(const struct seen *s, const char *id)
{
	for (unsigned i = 0; i < s->n; i++)
		if (strcmp(s->id[i], id) == 0)
			return &s->f[i];
	fail_msg("There was no %s", id);
	return NULL;
}

static void run(struct checked_machine *c, uint32_t limit_ms, struct seen *ret)
{
	const struct doctor_options o = {.root = c->dir->path, .limit_ms = limit_ms};
	struct doctor_counts counts = {0};
	struct ota_err err = {0};
	unsigned sum = 0;

	*ret = (struct seen){0};
	assert_int_equal(doctor_run(&o, see, ret, &counts, &err), 0);
	for (unsigned v = 0; v <= VERDICT_FAILURE; v++)
		sum += counts.n[v];
	assert_int_equal(sum, ret->n);
}

static void ignore(void *ctx, const char *group, const char *id, const struct finding *f)
{
}

static int run_without_a_process(void *ctx)
{
	const struct doctor_options o = {.root = "/nowhere", .limit_ms = 1000};
	struct doctor_counts counts = {0};
	struct ota_err err = {0};

	CHECK(refusal_call(SYS_clone, EAGAIN) == 0);
	CHECK(doctor_run(&o, ignore, NULL, &counts, &err) == -EAGAIN);
	CHECK(sentence_is(
		&err, "Cannot start a process for the checks: Resource temporarily unavailable"));
	return 0;
}

static void a_machine_that_cannot_start_a_process_is_not_looked_at(void **state)
{
	assert_int_equal(in_child(run_without_a_process, NULL), 0);
}

/* --- a boot loader whose checks misbehave --- */

static struct boot_ctl ctl;

/* How often it was opened, over all processes; NULL = nobody counts. */
static const char *count_file;
static off_t hang_at;

static int open_it(struct boot_ctl **ret_ctl, const struct boot_env *env, struct ota_err *err)
{
	int fd =
		count_file ? open(count_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	if (fd >= 0) {
		assert_int_equal(write(fd, "x", 1), 1);
		while (lseek(fd, 0, SEEK_END) == hang_at)
			pause();
		close(fd);
	}
	*ret_ctl = &ctl;
	return 0;
}

static int slots_of_it(
	const struct boot_ctl *base, struct slot_pair *ret_slots, struct ota_err *err)
{
	*ret_slots = (struct slot_pair){
		.active = {.id = "one", .device = "/dev/none1", .status_dir = "/nowhere"},
		.standby = {.id = "two", .device = "/dev/none2", .status_dir = "/nowhere"},
	};
	return 0;
}

static void close_it(struct boot_ctl *base)
{
}

static void is_well(const struct boot_ctl *base, struct finding *ret)
{
	finding_ok(ret, "well \xff");
}

static void hangs(const struct boot_ctl *base, struct finding *ret)
{
	for (;;)
		pause();
}

static void crashes(const struct boot_ctl *base, struct finding *ret)
{
	raise(SIGKILL);
}

static void says_nothing(const struct boot_ctl *base, struct finding *ret)
{
}

static const struct boot_check its_checks[] = {
	{"boot.a", is_well     },
	{"boot.b", hangs       },
	{"boot.c", is_well     },
	{"boot.d", crashes     },
	{"boot.e", says_nothing},
	{"boot.f", hangs       },
	{NULL,     NULL        },
};

static const struct boot_controller_ops its_ops = {
	.name = "grub", /* a word that ecu_info.yaml may have */
	.open = open_it,
	.slots = slots_of_it,
	.close = close_it,
	.checks = its_checks,
};

static void a_check_that_hangs_or_crashes_does_not_keep_the_others(void **state)
{
	struct checked_machine *c = *state;
	struct seen without, with;
	uint64_t before_ms;

	put(c, "boot/ota/ecu_info.yaml", "ecu_id: main\nbootloader: grub\n");
	run(c, 20000, &without);
	assert_finding(seen_of(&without, "boot.controller"), VERDICT_FAILURE, "\"grub\"");

	ctl.ops = &its_ops;
	boot_controller_register_for_test(&its_ops);
	before_ms = clock_monotonic_ms();
	run(c, 2000, &with);
	boot_controller_register_for_test(NULL);
	assert_true(clock_monotonic_ms() - before_ms < 30000);
	assert_int_equal(with.n, without.n + 6);
	assert_finding(seen_of(&with, "boot.controller"), VERDICT_OK,
		"one runs from /dev/none1, the other slot is two on /dev/none2");
	assert_finding(seen_of(&with, "boot.a"), VERDICT_OK, "well ?");
	assert_finding(seen_of(&with, "boot.b"), VERDICT_NOT_LOOKED,
		"It could not be looked at within 2 s");
	assert_finding(seen_of(&with, "boot.c"), VERDICT_OK, "well ?");
	assert_finding(
		seen_of(&with, "boot.d"), VERDICT_NOT_LOOKED, "The check ended before its time");
	assert_finding(seen_of(&with, "boot.e"), VERDICT_NOT_LOOKED, "The check said nothing");
	assert_finding(seen_of(&with, "boot.f"), VERDICT_NOT_LOOKED, "within 2 s");
	/* In the table's order, the boot loader's behind the controller. */
	assert_string_equal(with.id[0], "config.ecu_info");
	for (unsigned i = 0; i < with.n; i++)
		if (strcmp(with.id[i], "boot.controller") == 0)
			assert_string_equal(with.id[i + 1], "boot.a");
}

static void a_controller_that_hangs_later_is_told_once(void **state)
{
	struct checked_machine *c = *state;
	char path[PATH_MAX];
	struct seen s;

	put(c, "boot/ota/ecu_info.yaml", "ecu_id: main\nbootloader: grub\n");
	snprintf(path, sizeof(path), "%s/count", c->dir->path);
	count_file = path;
	hang_at = 2; /* for what stands behind boot.b, which hangs */
	ctl.ops = &its_ops;
	boot_controller_register_for_test(&its_ops);
	run(c, 2000, &s);
	boot_controller_register_for_test(NULL);
	count_file = NULL;
	assert_finding(seen_of(&s, "boot.controller"), VERDICT_OK, "one runs from /dev/none1");
	assert_finding(seen_of(&s, "boot.b"), VERDICT_NOT_LOOKED, "within 2 s");
	assert_finding(seen_of(&s, "boot.controller_again"), VERDICT_NOT_LOOKED, "within 2 s");
	assert_finding(seen_of(&s, "slots.ids"), VERDICT_OK, "have their own UUIDs");
	for (unsigned i = 0; i < s.n; i++)
		assert_string_not_equal(s.id[i], "boot.c");
}

/* --- nothing is changed --- */

static struct buf listing;

static int list_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return buf_printf(&listing, "%s %o %u:%u %ld %ld.%ld %ld.%ld\n", path, st->st_mode,
		st->st_uid, st->st_gid, (long)st->st_size, (long)st->st_mtim.tv_sec,
		st->st_mtim.tv_nsec, (long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static void list(const char *path, struct buf *ret)
{
	listing = (struct buf){0};
	assert_int_equal(nftw(path, list_one, 16, FTW_PHYS), 0);
	*ret = listing;
}

static void nothing_is_changed(void **state)
{
	struct checked_machine *c = *state;
	AUTO_BUF struct buf before = {0}, after = {0};
	struct seen s;

	put(c, "boot/ota/ecu_info.yaml", "ecu_id: main\nbootloader: grub\n");
	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: true\n");
	put(c, "boot/grub/grub.cfg", "menuentry 'x' {\n}\n");
	put(c, "etc/otaclient/hooks.d/pre-update/10-x", "#!/bin/sh\ntouch /tmp/x\n");
	put(c, "etc/systemd/system.conf", "[Manager]\n");
	put(c, "opt/ota/client/certs/x.root.pem", "none\n");
	put(c, "ota-cache/", "");
	put(c, "var/tmp/", "");
	list(c->dir->path, &before);
	run(c, 20000, &s);
	list(c->dir->path, &after);
	assert_string_equal(buf_str(&before), buf_str(&after));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(a_check_that_hangs_or_crashes_does_not_keep_the_others),
		checked_machine_test(a_controller_that_hangs_later_is_told_once),
		checked_machine_test(nothing_is_changed),
		cmocka_unit_test(a_machine_that_cannot_start_a_process_is_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
