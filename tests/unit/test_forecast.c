/*
 * test_forecast: what a plan comes to in bytes, and what is too much.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/update/forecast.h"
#include "tests/unit/planned.h"

/* Contents of 8192 (two inodes), 4096, 100, 5000 and 40000 bytes, and one without a size. */
static const char regulars[] =
	"0644,0,0,1,1111111111111111111111111111111111111111111111111111111111111111,'/a',8192,,\n"
	"0644,0,0,1,1111111111111111111111111111111111111111111111111111111111111111,'/b',8192,,\n"
	"0644,0,0,1,2222222222222222222222222222222222222222222222222222222222222222,'/d',4096,,\n"
	"0644,0,0,1,3333333333333333333333333333333333333333333333333333333333333333,'/e',100,,\n"
	"0644,0,0,1,5555555555555555555555555555555555555555555555555555555555555555,'/g',5000,,\n"
	"0644,0,0,1,6666666666666666666666666666666666666666666666666666666666666666,'/"
	"h',40000,,zst\n"
	"0644,0,0,1,7777777777777777777777777777777777777777777777777777777777777777,'/i',,,\n";

static const char patches[] =
	"6666666666666666666666666666666666666666666666666666666666666666,"
	"8888888888888888888888888888888888888888888888888888888888888888,39000,"
	"700,9999999999999999999999999999999999999999999999999999999999999999\n";

static const struct sample net = {1 << 20, 1000}, disk = {16 << 20, 1000};

static int setup(void **state)
{
	struct planned *f = planned_new(regulars);
	struct ota_err err = {0};

	if (patch_list_read(
		    patches, sizeof(patches) - 1, "patches.txt", f->table, &f->patches, &err) < 0)
		fail_msg("%s", err.msg);
	*state = f;
	return 0;
}

static struct content_source *source_of(const struct planned *f, const char *path)
{
	return &f->inv->sources[content_of(f, path)];
}

static struct forecast made(struct planned *f, bool can_keep_fs)
{
	struct forecast fc;

	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, can_keep_fs, NULL), 0);
	plan_use_patches(f->plan, f->table, f->inv);
	forecast_make(f->plan, f->table, f->patches, &net, &disk, &fc);
	return fc;
}

static void what_is_nowhere_is_downloaded_once_and_written_for_each_inode(void **state)
{
	struct forecast fc = made(*state, true);

	assert_int_equal(fc.work.download_bytes, 8192 + 4096 + 100 + 5000 + 40000);
	assert_int_equal(fc.work.fetch_bytes, fc.work.download_bytes);
	assert_int_equal(fc.work.check_bytes, fc.work.download_bytes);
	assert_int_equal(fc.work.copy_bytes, 0);
	assert_int_equal(fc.work.write_bytes, 2 * 8192 + 4096 + 4096 + 8192 + 40960);
	assert_int_equal(fc.actions[PLAN_FETCH].contents, 6);
	assert_int_equal(fc.actions[PLAN_FETCH].files, 7);
	assert_int_equal(fc.actions[PLAN_FETCH].download_bytes, fc.work.download_bytes);
	assert_int_equal(fc.n_unsized, 1);
	assert_false(fc.rebuild);
	assert_int_equal(fc.download_s, 1);
	assert_int_equal(fc.whole_s, 1);
}

static void a_patch_counts_with_its_size(void **state)
{
	struct planned *f = *state;
	struct forecast fc;

	assert_int_equal(inventory_want_bases(f->inv, f->patches), 0);
	f->inv->base_paths[0] = 0;
	fc = made(f, true);
	assert_int_equal(fc.actions[PLAN_PATCH].contents, 1);
	assert_int_equal(fc.actions[PLAN_PATCH].download_bytes, 700);
	assert_int_equal(fc.actions[PLAN_PATCH].bytes, 40000);
	assert_int_equal(fc.work.download_bytes, 8192 + 4096 + 100 + 5000 + 700);
	assert_int_equal(fc.work.fetch_bytes, 8192 + 4096 + 100 + 5000 + 40000);
}

static void what_is_on_the_machine_is_not_downloaded(void **state)
{
	struct planned *f = *state;
	struct forecast fc;

	source_of(f, "/a")->place = PLACE_ACTIVE;
	source_of(f, "/d")->place = PLACE_STANDBY;
	source_of(f, "/e")->place = PLACE_ACTIVE_LIKELY;
	fc = made(f, false);
	assert_true(fc.rebuild);
	assert_int_equal(fc.actions[PLAN_COPY].contents, 2);
	assert_int_equal(fc.actions[PLAN_COPY].download_bytes, 0);
	assert_int_equal(fc.work.copy_bytes, 2 * 8192 + 100); /* each inode is written */
	assert_int_equal(fc.actions[PLAN_MOVE].contents, 1);
	assert_int_equal(fc.work.download_bytes, 5000 + 40000);
}

static void a_limit_is_kept_to_the_byte_and_0_is_none(void **state)
{
	struct forecast fc = made(*state, true);
	struct ota_err err = {0};

	assert_int_equal(forecast_check(&fc, 0, &err), 0);
	assert_int_equal(forecast_check(&fc, 57388, &err), 0);
	assert_int_equal(forecast_check(&fc, 57387, &err), -EFBIG);
	assert_int_equal(err.code, OTA_E_HOOK);
	assert_true(ota_code_is_recoverable(err.code));
	assert_string_equal(err.msg,
		"The update would download up to 57388 bytes, and max_download_mib of "
		"otaclient.yaml allows 57387");
}

static void every_action_has_a_name(void **state)
{
	static const char *const names[PLAN_ACTIONS] = {
		"keep", "move", "repeat", "copy", "patch", "fetch"};

	(void)state;
	for (int a = 0; a < PLAN_ACTIONS; a++)
		assert_string_equal(forecast_action_name((enum plan_action)a), names[a]);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, planned_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_is_nowhere_is_downloaded_once_and_written_for_each_inode),
		CASE(a_patch_counts_with_its_size),
		CASE(what_is_on_the_machine_is_not_downloaded),
		CASE(a_limit_is_kept_to_the_byte_and_0_is_none),
		cmocka_unit_test(every_action_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
