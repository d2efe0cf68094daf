/*
 * Every file that the GRUB controller or GRUB reads, spoiled in every way: the machine goes on booting its slot, and
 * each start and update either mends it or says what is wrong. Needs grub-emu and e2fsprogs; no root.
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

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "tests/support/grub_machine.h"

#define KERNEL_2 "5.10.0-2-fake"

static struct grub_machine m;
static struct boot_ctl *ctl;
static struct ota_err err;

static int begin(void **state)
{
	err = (struct ota_err){0};
	ctl = NULL;
	grub_machine_init(&m);
	m.env.committed_attempts = 3;
	return 0;
}

static void stop(void)
{
	if (ctl)
		ctl->ops->close(ctl);
	ctl = NULL;
}

static int end(void **state)
{
	io_set_hook(NULL, NULL);
	stop();
	grub_machine_done(&m);
	return 0;
}

static void path_of(const char *path, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%.*s/%s", PATH_MAX - 256, m.dir, path);
}

static void fill(const char *path, int byte, size_t size)
{
	AUTO_FCLOSE FILE *f = NULL;
	char full[PATH_MAX];

	path_of(path, full);
	f = fopen(full, "we");
	assert_non_null(f);
	for (size_t i = 0; i < size; i++)
		putc(byte, f);
}

/* ---- ways to spoil a file ----------------------------------------------------------------------- */

static void lose(const char *path)
{
	grub_machine_remove(&m, path);
}

static void empty(const char *path)
{
	grub_machine_write(&m, path, "");
}

static void zero(const char *path)
{
	fill(path, 0, 1024);
}

static void noise(const char *path)
{
	fill(path, 0xff, 3000);
}

static void open_quote(const char *path)
{
	grub_machine_write(&m, path, "menuentry 'a {\nset x=\"\nGRUB_DEFAULT='\n");
}

static void foreign(const char *path)
{
	grub_machine_write(&m, path, "# Something else\nkey: value\n[section]\n");
}

static void half(const char *path)
{
	AUTO_BUF struct buf b = {0};

	if (!grub_machine_exists(&m, path))
		return;
	grub_machine_read(&m, path, &b);
	b.data[b.len_bytes / 2] = '\0';
	grub_machine_write(&m, path, b.data);
}

static void huge(const char *path)
{
	AUTO_FCLOSE FILE *f = NULL;
	char full[PATH_MAX];

	path_of(path, full);
	f = fopen(full, "we");
	assert_non_null(f);
	for (int i = 0; i < 5 << 14; i++)
		fprintf(f, "# %61d\n", i);
}

static void be_folder(const char *path)
{
	char full[PATH_MAX];

	grub_machine_remove(&m, path);
	path_of(path, full);
	assert_int_equal(mkdir(full, 0755), 0);
}

static void be_fifo(const char *path)
{
	char full[PATH_MAX];

	grub_machine_remove(&m, path);
	path_of(path, full);
	assert_int_equal(mkfifo(full, 0644), 0);
}

static void be_dead_link(const char *path)
{
	char full[PATH_MAX];

	grub_machine_remove(&m, path);
	path_of(path, full);
	assert_int_equal(symlink("nowhere", full), 0);
}

static const struct way {
	const char *name;
	void (*spoil)(const char *path);
} ways[] = {
	{"lost",        lose        },
	{"empty",       empty       },
	{"zero",        zero        },
	{"noise",       noise       },
	{"open quote",  open_quote  },
	{"foreign",     foreign     },
	{"half",        half        },
	{"huge",        huge        },
	{"a folder",    be_folder   },
	{"a fifo",      be_fifo     },
	{"a dead link", be_dead_link},
};

/* ---- what is done then -------------------------------------------------------------------------- */

static int start(void)
{
	bool reset;
	int r;

	err = (struct ota_err){0};
	stop();
	r = grub_machine_open(&m, &ctl, &err);
	if (r == 0)
		r = ctl->ops->setup(ctl, &reset, &err);
	return r < 0 ? r : ctl->ops->settle(ctl, true, &err);
}

static int update(const char *image_file, const struct way *way)
{
	const char *root;
	char path[128];
	int r = ctl->ops->prepare(ctl, &err);

	if (r < 0)
		return r;
	root = grub_machine_put_image(&m, 'b', KERNEL_2);
	if (image_file) {
		snprintf(path, sizeof(path), "slot_b/%s", image_file);
		way->spoil(path);
	}
	r = ctl->ops->stage(ctl, root, &err);
	return r < 0 ? r : ctl->ops->flip(ctl, &err);
}

/* What is not mended, and what is said of it then. */
struct refusal {
	const char *file, *way, *sentence;
};

#define CANNOT_PUT_KERNEL                    \
	"Cannot set up GRUB for two slots: " \
	"Cannot put the kernel " GRUB_MACHINE_KERNEL " and its initrd into /boot/ota-slot_a: "

/* clang-format off */
static const struct refusal refusals[] = {
	{"boot/grub/grub.cfg", "a folder", "Cannot set up GRUB for two slots: Cannot make grub.cfg: "
		"Cannot write /boot/grub/grub.cfg: Is a directory"},
	{"boot/grub/grubenv", "a folder", "Cannot tell GRUB that ota-slot_a has come up: "
		"Cannot write /boot/grub/grubenv: Is a directory"},
	{"boot/grub/ota-committed.cfg", "a folder", "Cannot take ota-slot_b out of GRUB's reach: "
		"Cannot write /boot/grub/ota-committed.cfg: Is a directory"},
	{"boot/grub/ota-slot_a.cfg", "a folder", "Cannot set up GRUB for two slots: "
		"Cannot write ota-slot_a.cfg: Is a directory"},
	{"boot/ota-slot_a/vmlinuz-" GRUB_MACHINE_KERNEL, "a folder", CANNOT_PUT_KERNEL "Is a directory"},
	{"boot/ota-slot_a/initrd.img-" GRUB_MACHINE_KERNEL, "a folder", CANNOT_PUT_KERNEL "Is a directory"},
	{"slot_a/etc/fstab", "huge", "Cannot make ota-slot_b bootable: Cannot make the fstab of ota-slot_b: "
		"Cannot read /etc/fstab: File too large"},
	{"slot_a/etc/fstab", "a dead link", "Cannot make ota-slot_b bootable: "
		"Cannot make the fstab of ota-slot_b: Cannot read /etc/fstab: It is a symbolic link"},
	{"slot_b/etc/fstab", "huge", "Cannot make ota-slot_b bootable: Cannot make the fstab of ota-slot_b: "
		"Cannot read /etc/fstab: File too large"},
	{"slot_b/etc/fstab", "a dead link", "Cannot make ota-slot_b bootable: "
		"Cannot make the fstab of ota-slot_b: Cannot read /etc/fstab: It is a symbolic link"},
	{"slot_b/etc/fstab", "a folder", "Cannot make ota-slot_b bootable: "
		"Cannot write the slot's /etc/fstab: Is a directory"},
	{"slot_b/etc/default/grub", "zero", "Cannot make ota-slot_b bootable: "
		"/etc/default/grub is no text or has more than 262144 bytes or 512 names"},
	{"slot_b/etc/default/grub", "huge", "Cannot make ota-slot_b bootable: "
		"Cannot read /etc/default/grub: File too large"},
	{"slot_b/etc/default/grub", "a dead link", "Cannot make ota-slot_b bootable: "
		"Cannot read /etc/default/grub: It is a symbolic link"},
	{"slot_b/etc/default/grub", "a folder", "Cannot make ota-slot_b bootable: "
		"Cannot write the slot's /etc/default/grub: Is a directory"},
	{"slot_b/etc/grub.d/30_ota", "a folder", "Cannot make ota-slot_b bootable: "
		"Cannot write the slot's /etc/grub.d/30_ota: Is a directory"},
	{"slot_b/etc/grub.d/30_uefi-firmware", "a folder", "Cannot make ota-slot_b bootable: "
		"Cannot write the slot's /etc/grub.d/30_uefi-firmware: Is a directory"},
};
/* clang-format on */

static bool is_refused(const char *file, const struct way *way, int r)
{
	const char *want = "";

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (strcmp(refusals[i].file, file) == 0 && strcmp(refusals[i].way, way->name) == 0)
			want = refusals[i].sentence;
	if (strcmp(want, r < 0 ? err.msg : "") != 0)
		fail_msg("%s is %s: \"%s\"", file, way->name, err.msg);
	return r < 0;
}

/* The next machine in its place. */
static void replace_machine(const struct grub_machine *with, char running)
{
	stop();
	grub_machine_done(&m);
	m = *with;
	grub_machine_run_on(&m, running);
}

static void what_is_spoiled_on_the_machine_is_mended_or_told(void **state)
{
	static const char *const file[] = {"boot/grub/grub.cfg", "boot/grub/grubenv",
		"boot/grub/ota-committed.cfg", "boot/grub/ota-slot_a.cfg",
		"boot/ota-slot_a/kernel.sha256", "slot_a/etc/fstab", "slot_a/etc/default/grub",
		"slot_a/etc/grub.d/30_ota", "slot_a/etc/grub.d/30_uefi-firmware"};

	assert_int_equal(start(), 0);
	for (size_t f = 0; f < ARRAY_SIZE(file); f++) {
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
			struct grub_machine copy;
			int r;

			grub_machine_copy(&m, &copy);
			ways[w].spoil(file[f]);
			r = start();
			if (r == 0)
				r = update(NULL, NULL);
			if (!is_refused(file[f], &ways[w], r))
				assert_int_equal(grub_machine_restart(&m), 'b');
			replace_machine(&copy, 'a');
		}
	}
}

static void what_is_spoiled_in_an_image_is_replaced_or_told(void **state)
{
	static const char *const file[] = {"etc/fstab", "etc/default/grub", "etc/grub.d/30_ota",
		"etc/grub.d/30_uefi-firmware", "boot/ota/ecu_info.yaml"};

	assert_int_equal(start(), 0);
	for (size_t f = 0; f < ARRAY_SIZE(file); f++) {
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
			char path[128];
			bool refused;

			err = (struct ota_err){0};
			snprintf(path, sizeof(path), "slot_b/%s", file[f]);
			refused = is_refused(path, &ways[w], update(file[f], &ways[w]));
			assert_int_equal(grub_machine_try(&m).slot, refused ? 'a' : 'b');
		}
	}
}

/* One of the two places of each is whole: the slot's folder, or the top of /boot. */
static void what_stands_in_a_kernels_place_is_replaced_or_told(void **state)
{
	static const char *const file[] = {"boot/ota-slot_a/vmlinuz-" GRUB_MACHINE_KERNEL,
		"boot/ota-slot_a/initrd.img-" GRUB_MACHINE_KERNEL,
		"boot/vmlinuz-" GRUB_MACHINE_KERNEL, "boot/initrd.img-" GRUB_MACHINE_KERNEL};
	static const struct way stand_ins[] = {
		{"lost",        lose        },
		{"empty",       empty       },
		{"a folder",    be_folder   },
		{"a fifo",      be_fifo     },
		{"a dead link", be_dead_link},
	};

	assert_int_equal(start(), 0);
	for (size_t f = 0; f < ARRAY_SIZE(file); f++) {
		for (size_t w = 0; w < ARRAY_SIZE(stand_ins); w++) {
			struct grub_machine copy;
			int r;

			grub_machine_copy(&m, &copy);
			/* A link to the other place would spoil both. */
			lose(file[f]);
			stand_ins[w].spoil(file[f]);
			r = start();
			if (r == 0)
				r = update(NULL, NULL);
			if (!is_refused(file[f], &stand_ins[w], r))
				assert_int_equal(grub_machine_restart(&m), 'b');
			replace_machine(&copy, 'a');
		}
	}
}

/* By GRUB alone, before any daemon could mend it. */
static void grub_leads_to_a_whole_slot_whatever_is_spoiled(void **state)
{
	/* file, the slot that comes up */
	static const struct {
		const char *file;
		char slot;
	} files[] = {
		{"boot/grub/grubenv",             'b'},
		{"boot/grub/ota-committed.cfg",   'b'},
		{"boot/grub/ota-slot_a.cfg",      'b'},
		{"boot/ota-slot_a/kernel.sha256", 'b'},
		{"boot/grub/ota-slot_b.cfg",      'a'},
	};

	assert_int_equal(start(), 0);
	assert_int_equal(update(NULL, NULL), 0);
	assert_int_equal(grub_machine_restart(&m), 'b');
	assert_int_equal(start(), 0);
	assert_int_equal(ctl->ops->commit(ctl, &err), 0);
	for (size_t f = 0; f < ARRAY_SIZE(files); f++) {
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
			struct grub_machine copy;
			char slot;

			grub_machine_copy(&m, &copy);
			ways[w].spoil(files[f].file);
			slot = grub_machine_try(&m).slot;
			if (slot != files[f].slot)
				fail_msg("%s is %s: GRUB leads to %c", files[f].file, ways[w].name,
					slot ? slot : '-');
			replace_machine(&copy, 'b');
		}
	}
}

static int error_of_all;

static int fail_all(void *ctx, const char *what)
{
	return error_of_all;
}

static void a_boot_that_takes_no_writes_refuses_an_update_before_it_begins(void **state)
{
	static const int error[] = {-EROFS, -ENOSPC, -EIO};

	assert_int_equal(start(), 0);
	for (size_t i = 0; i < ARRAY_SIZE(error); i++) {
		char want[256];

		error_of_all = error[i];
		io_set_hook(fail_all, NULL);
		err = (struct ota_err){0};
		assert_int_equal(ctl->ops->prepare(ctl, &err), error[i]);
		io_set_hook(NULL, NULL);
		snprintf(want, sizeof(want), "Cannot take ota-slot_b out of GRUB's reach: ");
		assert_memory_equal(err.msg, want, strlen(want));
		assert_non_null(strstr(err.msg, strerror(-error[i])));
		assert_int_equal(err.code, OTA_E_BOOTCONTROL_PREUPDATE);
		assert_int_equal(grub_machine_try(&m).slot, 'a');
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_spoiled_on_the_machine_is_mended_or_told),
		T(what_is_spoiled_in_an_image_is_replaced_or_told),
		T(what_stands_in_a_kernels_place_is_replaced_or_told),
		T(grub_leads_to_a_whole_slot_whatever_is_spoiled),
		T(a_boot_that_takes_no_writes_refuses_an_update_before_it_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
