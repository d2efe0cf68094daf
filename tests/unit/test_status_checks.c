/* status_checks: what the last update has left, and whether there is a way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "otaclient/status/status_store.h"
#include "tests/unit/checked_machine.h"

static void begin(struct checked_machine *c)
{
	struct boot_slot *a = &c->m.slots.active, *b = &c->m.slots.standby;

	c->m.boot_tried = c->m.slots_known = true;
	snprintf(a->status_dir, sizeof(a->status_dir), "%s/a", c->dir->path);
	snprintf(b->status_dir, sizeof(b->status_dir), "%s/b", c->dir->path);
	snprintf(b->id, sizeof(b->id), "ota-slot_b");
	snprintf(b->device, sizeof(b->device), "/dev/sda3");
	snprintf(b->fs_uuid, sizeof(b->fs_uuid), "1-2");
}

static void without_slots_nothing_is_said(void **state)
{
	assert_not_looked(
		(struct checked_machine *)*state, check_last_status, "The slots are not known");
	assert_not_looked(
		(struct checked_machine *)*state, check_way_back, "The slots are not known");
}

static void the_last_status_is_told(void **state)
{
	struct checked_machine *c = *state;

	begin(c);
	assert_ok(c, check_last_status, "No status is stored yet");
	put(c, "a/status", "SUCCESS");
	put(c, "a/version", "2026.11\x1b[2J");
	assert_ok(c, check_last_status, "The status is SUCCESS, the version \"2026.11\\x1B[2J\"");
	put(c, "a/status", "FAILURE");
	assert_warning(c, check_last_status, "The last update has failed; version \"2026.11");
	put(c, "a/status", "ROLLBACK_FAILURE");
	assert_warning(c, check_last_status, "The last rollback has failed");
	put(c, "a/status", "UPDATING");
	assert_warning(c, check_last_status, "An update to version \"2026.11");
	put(c, "a/status", "ROLLBACKING");
	assert_warning(c, check_last_status, "A rollback to version \"2026.11");
	put(c, "a/status", "\xff\xfe nonsense");
	assert_ok(c, check_last_status, "No status is stored yet");
}

static void a_way_back_needs_a_whole_slot(void **state)
{
	struct checked_machine *c = *state;
	struct complete_mark mark = {.fs_uuid = "1-2", .unix_s = 1};
	struct ota_err err = {0};

	begin(c);
	assert_ok(c, check_way_back, "ota-slot_b holds no whole system, so there is no way back");
	assert_int_equal(
		status_store_write_complete(c->m.slots.standby.status_dir, &mark, &err), 0);
	assert_ok(c, check_way_back, "ota-slot_b holds a whole system");
	snprintf(c->m.slots.standby.fs_uuid, BOOT_UUID_MAX, "1-3");
	assert_warning(c, check_way_back,
		"The file system on /dev/sda3 is not the one that was marked as whole");
	put(c, "b/complete", "torn");
	look(c, check_way_back);
	assert_int_equal(c->f.verdict, VERDICT_WARNING);
	c->m.slots.standby.status_inside = true;
	assert_not_looked(c, check_way_back, "The other slot's state is inside it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(without_slots_nothing_is_said),
		checked_machine_test(the_last_status_is_told),
		checked_machine_test(a_way_back_needs_a_whole_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
