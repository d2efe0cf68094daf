/* slots_checks: two slots, of files in place of devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/unit/checked_machine.h"
#include "tests/unit/superblock.h"

#define GB ((off_t)1 << 30)

static void set_device(
	struct checked_machine *c, const char *name, off_t size, struct boot_slot *slot)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", c->dir->path, name);
	put(c, name, "");
	assert_int_equal(truncate(path, size), 0);
	snprintf(slot->device, sizeof(slot->device), "%s", path);
}

static void write_at(const struct boot_slot *slot, const void *data, size_t len, off_t at)
{
	int fd = open(slot->device, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, data, len, at), len);
	close(fd);
}

static void put_super(const struct boot_slot *slot, const uint8_t sb[1024])
{
	write_at(slot, sb, 1024, 1024);
}

/* Two equal slots; the other one is empty. */
static struct boot_slot *begin(struct checked_machine *c)
{
	c->m.boot_tried = c->m.slots_known = true;
	set_device(c, "a", 4 * GB, &c->m.slots.active);
	set_device(c, "b", 4 * GB, &c->m.slots.standby);
	return &c->m.slots.standby;
}

static void without_slots_nothing_is_said_of_them(void **state)
{
	check_fn *const all[] = {check_slot_sizes, check_slot_ids, check_standby_fs,
		check_standby_state, check_standby_use, check_standby_room};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_not_looked((struct checked_machine *)*state, all[i],
			"The slots are not known, as said above");
}

static void slots_should_be_equal(void **state)
{
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c);

	assert_ok(c, check_slot_sizes, "Both slots have 4294 MB");
	set_device(c, "b", 4 * GB - (1 << 20), b);
	assert_ok(c, check_slot_sizes, "Both slots have 4293 MB");
	set_device(c, "b", 3 * GB, b);
	assert_warning(c, check_slot_sizes, "The slots are not equal: ");
	unlink(b->device);
	assert_failure(c, check_slot_sizes, "/b: No such file or directory");
	snprintf(b->device, sizeof(b->device), "/dev/null");
	assert_failure(c, check_slot_sizes, "/dev/null is no block device");
}

static void the_other_slot_is_ext4_or_becomes_so(void **state)
{
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c);
	uint8_t sb[1024], swap[10];

	assert_ok(c, check_standby_fs, "holds no file system: the first update makes one");
	assert_ok(c, check_standby_state, "will be made anew");
	memcpy(swap, "SWAPSPACE2", 10);
	superblock_make(sb, 4 * GB / 4096, 1 << 20);
	put_super(b, sb);
	snprintf(b->fs_label, sizeof(b->fs_label), "root_b");
	assert_ok(c, check_standby_fs, "holds an ext4 with the label root_b");
	sb[SUPERBLOCK_INODE_SIZE] = 128;
	sb[SUPERBLOCK_INODE_SIZE + 1] = 0;
	put_super(b, sb);
	assert_warning(c, check_standby_fs, "has inodes of 128 bytes");
	sb[SUPERBLOCK_INCOMPAT] = 0;
	put_super(b, sb);
	assert_warning(c, check_standby_fs, "holds an ext4 without extents, or an ext2 or ext3");
	memset(sb, 0, sizeof(sb));
	put_super(b, sb);
	write_at(b, swap, sizeof(swap), 4096 - 10);
	memset(sb, 0, sizeof(sb));
	sb[0] = 1;   /* version */
	sb[4] = 255; /* last page */
	put_super(b, sb);
	assert_warning(c, check_standby_fs, "holds no ext4 but swap");
	unlink(b->device);
	assert_failure(c, check_standby_fs, "/b: No such file or directory");
	assert_failure(c, check_standby_state, "/b: No such file or directory");
}

static void errors_and_a_dirty_state_are_told(void **state)
{
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c);
	uint8_t sb[1024];

	superblock_make(sb, 4 * GB / 4096, 1 << 20);
	put_super(b, sb);
	assert_ok(c, check_standby_state, "is clean");
	sb[SUPERBLOCK_STATE] = 0;
	put_super(b, sb);
	assert_warning(c, check_standby_state, "was not unmounted as it should be");
	sb[SUPERBLOCK_INCOMPAT] |= 0x4;
	put_super(b, sb);
	assert_ok(c, check_standby_state, "is clean, once its journal is replayed");
	sb[SUPERBLOCK_STATE] = 3;
	put_super(b, sb);
	assert_warning(c, check_standby_state, "has errors");
}

static void two_file_systems_need_two_uuids(void **state)
{
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c), *a = &c->m.slots.active;

	assert_ok(c, check_slot_ids, "have their own UUIDs");
	snprintf(a->fs_label, sizeof(a->fs_label), "root");
	snprintf(b->fs_label, sizeof(b->fs_label), "root");
	assert_warning(c, check_slot_ids, "have the same label, root");
	snprintf(a->fs_uuid, sizeof(a->fs_uuid), "1-2");
	snprintf(b->fs_uuid, sizeof(b->fs_uuid), "1-2");
	assert_failure(c, check_slot_ids, "have the same UUID, 1-2");
}

static void the_other_slot_may_be_nobody_elses(void **state)
{
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c);
	char text[PATH_MAX + 64];

	assert_ok(c, check_standby_use, "Nobody uses ");
	snprintf(text, sizeof(text), "Filename Type Size Used Priority\n%s2 partition 1 0 -2\n",
		b->device);
	put(c, "proc/swaps", text);
	assert_ok(c, check_standby_use, "Nobody uses ");
	snprintf(text, sizeof(text), "Filename Type Size Used Priority\n%s partition 1 0 -2\n",
		b->device);
	put(c, "proc/swaps", text);
	assert_failure(c, check_standby_use, "is in use as swap space");
	put(c, "proc/swaps", "");
	put(c, "sys/dev/block/0:0/holders/dm-3/", "");
	assert_failure(c, check_standby_use, "is a part of dm-3");
	unlink(b->device);
	assert_failure(c, check_standby_use, "Cannot look at ");
}

static void the_running_system_must_fit_into_the_other_slot(void **state)
{
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c);
	uint8_t sb[1024];
	struct statvfs v;
	uint64_t used;

	assert_int_equal(statvfs(c->dir->path, &v), 0);
	used = (uint64_t)(v.f_blocks - v.f_bfree) * v.f_frsize;
	set_device(c, "b", (off_t)1 << 42, b);
	assert_ok(c, check_standby_room, "has room for 4134163 MB in 268435456 files");
	superblock_make(sb, ((uint64_t)1 << 42) / 4096, UINT32_MAX);
	set_device(c, "b", (off_t)used, b);
	put_super(b, sb);
	assert_failure(c, check_standby_room, "MB, but the running system has ");
	set_device(c, "b", (off_t)(used / 94 * 105), b);
	put_super(b, sb);
	assert_warning(c, check_standby_room, "MB, and the running system has ");
	/* What counts is the file system, where there is one. */
	set_device(c, "b", (off_t)1 << 42, b);
	superblock_make(sb, ((uint64_t)1 << 42) / 4096, 1);
	put_super(b, sb);
	assert_failure(c, check_standby_room, "has room for 1 files, but the running system has ");
	superblock_make(sb, 1000, UINT32_MAX);
	put_super(b, sb);
	assert_failure(c, check_standby_room, "has room for 3 MB, but the running system has ");
}

/* A folder cannot be read as a device that fails cannot. */
static void a_device_that_cannot_be_read_is_told(void **state)
{
	check_fn *const all[] = {check_standby_fs, check_standby_state};
	struct checked_machine *c = *state;
	struct boot_slot *b = begin(c);

	snprintf(b->device, sizeof(b->device), "%s", c->dir->path);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_failure(c, all[i], "cannot be read: Is a directory");
}

static void a_running_system_that_cannot_be_looked_at_is_told(void **state)
{
	struct checked_machine *c = *state;
	struct machine gone;

	begin(c);
	assert_int_equal(machine_init(&gone, "/nonexistent", NULL), 0);
	gone.boot_tried = gone.slots_known = true;
	gone.slots = c->m.slots;
	c->f = (struct finding){0};
	check_standby_room(&gone, &c->f);
	assert_finding(&c->f, VERDICT_NOT_LOOKED,
		"How much the running system takes is not known: No such file or directory");
	machine_done(&gone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(without_slots_nothing_is_said_of_them),
		checked_machine_test(slots_should_be_equal),
		checked_machine_test(the_other_slot_is_ext4_or_becomes_so),
		checked_machine_test(errors_and_a_dirty_state_are_told),
		checked_machine_test(two_file_systems_need_two_uuids),
		checked_machine_test(the_other_slot_may_be_nobody_elses),
		checked_machine_test(the_running_system_must_fit_into_the_other_slot),
		checked_machine_test(a_device_that_cannot_be_read_is_told),
		checked_machine_test(a_running_system_that_cannot_be_looked_at_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
