/*
 * test_plan: one content, one source; and how an image gets onto a slot that is too small for both.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/inventory/plan.h"
#include "tests/unit/planned.h"

/* Five contents of 8192, 4096, 100, 0 and 5000 bytes; the first under three names, two of them one group. */
static const char regulars[] =
	"0644,0,0,2,1111111111111111111111111111111111111111111111111111111111111111,'/a',8192,1,\n"
	"0644,0,0,2,1111111111111111111111111111111111111111111111111111111111111111,'/b',8192,1,\n"
	"0644,0,0,1,1111111111111111111111111111111111111111111111111111111111111111,'/c',8192,,\n"
	"0644,0,0,1,2222222222222222222222222222222222222222222222222222222222222222,'/d',4096,,\n"
	"0644,0,0,1,3333333333333333333333333333333333333333333333333333333333333333,'/e',100,,\n"
	"0644,0,0,1,e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855,'/f',0,,\n"
	"0644,0,0,1,5555555555555555555555555555555555555555555555555555555555555555,'/g',5000,,\n";

static int setup(void **state)
{
	struct planned *f = planned_new(regulars);

	assert_int_equal(f->table->n_files, 7);
	assert_int_equal(f->table->n_contents, 5);
	*state = f;
	return 0;
}

static void keep(struct planned *f, const char *path, uint64_t ino)
{
	uint32_t i = file_at(f, path);

	f->inv->kept_ino[i] = ino;
	f->inv->anchor[f->table->files[i].group] = i;
	f->inv->sources[f->table->files[i].content].place = PLACE_KEPT;
}

static void nothing_on_the_machine_means_fetch_everything(void **state)
{
	struct planned *f = *state;

	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_int_equal(f->plan->sums[PLAN_FETCH].contents, 4);
	assert_int_equal(f->plan->sums[PLAN_FETCH].files, 6);
	assert_int_equal(f->plan->sums[PLAN_KEEP].files, 0);
	assert_int_equal(f->plan->sums[PLAN_MOVE].files, 1); /* the empty file needs no bytes */
	/* 2 × 8192 for the group and /c, 4096, 4096 and 8192 for 5000 bytes */
	assert_int_equal(f->plan->write_bytes, 2 * 8192 + 4096 + 4096 + 8192);
	assert_false(f->plan->rebuild);
}

/* What is there is of no use, so it may go at once. */
static void a_slot_that_nothing_is_taken_from_is_cleared_first(void **state)
{
	struct planned *f = *state;

	f->inv->sources[content_of(f, "/e")].place = PLACE_ACTIVE;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_true(f->plan->prune_first);
	f->inv->sources[content_of(f, "/e")].place = PLACE_STANDBY;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_false(f->plan->prune_first);
	f->inv->sources[content_of(f, "/e")].place = PLACE_ACTIVE;
	keep(f, "/f", 10); /* also if it is empty */
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_false(f->plan->prune_first);
	keep(f, "/a", 11);
	assert_int_equal(f->inv->anchor[file_at(f, "/c")], FILE_TABLE_NONE);
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_int_equal(f->plan->actions[content_of(f, "/a")], PLAN_REPEAT);
	assert_false(f->plan->prune_first);
}

static void each_place_gives_the_cheapest_action(void **state)
{
	struct planned *f = *state;

	keep(f, "/d", 10);
	f->inv->sources[content_of(f, "/a")].place = PLACE_STANDBY;
	f->inv->sources[content_of(f, "/e")].place = PLACE_ACTIVE_LIKELY;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_int_equal(f->plan->actions[content_of(f, "/d")], PLAN_KEEP);
	assert_int_equal(f->plan->actions[content_of(f, "/a")], PLAN_MOVE);
	assert_int_equal(f->plan->actions[content_of(f, "/e")], PLAN_COPY);
	assert_int_equal(f->plan->actions[content_of(f, "/g")], PLAN_FETCH);
	assert_int_equal(f->plan->takers[content_of(f, "/a")], 2);
	/* moving costs no byte for one group, the second gets a copy */
	assert_int_equal(f->plan->write_bytes, 8192 + 4096 + 8192);
}

static void a_kept_inode_is_copied_for_a_second_group(void **state)
{
	struct planned *f = *state;

	keep(f, "/a", 10);
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_int_equal(f->plan->actions[content_of(f, "/a")], PLAN_REPEAT);
	assert_int_equal(f->plan->takers[content_of(f, "/a")], 1);
}

static void old_names_go_first_when_both_do_not_fit(void **state)
{
	struct planned *f = *state;
	struct slot_space s = plenty;

	keep(f, "/d", 10);
	f->inv->prune_back_bytes = 64 * 1024;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_false(f->plan->prune_first);
	s.free_bytes = 16 * 1024;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_true(f->plan->prune_first);
	assert_false(f->plan->rebuild);
}

/* A list of long ago. */
static void old_names_go_first_when_a_size_is_not_known(void **state)
{
	struct planned *f = *state;

	keep(f, "/d", 10);
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_false(f->plan->prune_first);
	f->table->contents[content_of(f, "/a")].size_bytes = CONTENT_SIZE_UNKNOWN;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_true(f->plan->prune_first);
}

/* Copies make their folders before the old ones have gone. */
static void room_for_folders_counts_too(void **state)
{
	struct planned *f = *state;
	struct slot_space s = plenty;

	keep(f, "/d", 10);
	f->inv->prune_back_bytes = 64 << 20;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	s.free_inodes = f->plan->write_inodes + PLAN_SPARE_INODES + f->table->n_dirs;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_false(f->plan->prune_first);
	f->table->n_dirs++;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_true(f->plan->prune_first);
	f->table->n_dirs--;
}

static void a_new_file_system_when_pruning_is_not_enough(void **state)
{
	struct planned *f = *state;
	struct slot_space s = plenty;

	s.free_bytes = 16 * 1024;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_true(f->plan->rebuild);
}

static void an_image_that_fits_no_way_is_refused_with_both_figures(void **state)
{
	struct planned *f = *state;
	struct slot_space s = {.free_bytes = 0, .total_bytes = 16 * 1024, .total_inodes = 100};
	struct ota_err err = {0};

	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, &err), -ENOSPC);
	assert_int_equal(err.code, OTA_E_STANDBY_SLOT_SPACE);
	assert_string_equal(err.msg,
		"The image does not fit the standby slot: it needs 0 MiB and 6 inodes, the slot has 0 MiB and 100");
}

static void too_few_inodes_are_no_room_either(void **state)
{
	struct planned *f = *state;
	struct slot_space s = plenty;

	s.total_inodes = 5;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), -ENOSPC);
}

static void the_store_and_its_like_need_inodes_too(void **state)
{
	struct planned *f = *state;
	struct slot_space s = plenty;

	keep(f, "/d", 10);
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_false(f->plan->prune_first);
	s.free_inodes = f->plan->write_inodes;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_true(f->plan->prune_first);
	s.total_inodes = 6; /* the image's */
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &s, true, NULL), 0);
	assert_true(f->plan->rebuild);
}

static void sums_follow_changed_actions(void **state)
{
	struct planned *f = *state;
	uint32_t c = content_of(f, "/e");

	f->inv->sources[c].place = PLACE_ACTIVE_LIKELY;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	assert_int_equal(f->plan->sums[PLAN_COPY].contents, 1);
	f->plan->actions[c] = PLAN_FETCH;
	plan_sum_up(f->plan, f->table, f->inv);
	assert_int_equal(f->plan->sums[PLAN_COPY].contents, 0);
	assert_int_equal(f->plan->sums[PLAN_FETCH].contents, 4);
}

#define HEX(c) c "111111111111111111111111111111111111111111111111111111111111111"

static void what_is_fetched_is_patched_where_the_older_content_is_found(void **state)
{
	/* To /d two patches, the better one from a content that is not there; to /e and /g one each. */
	static const char text
		[] = "2222222222222222222222222222222222222222222222222222222222222222," HEX("a") ",9,80," HEX(
			"0") "\n"
			     "2222222222222222222222222222222222222222222222222222222222222222"
			     "," HEX("b") ",9,70," HEX(
				     "0") "\n"
					  "22222222222222222222222222222222222222222222222222222222"
					  "22222222," HEX("c") ",9,60," HEX(
						  "0") "\n"
						       "3333333333333333333333333333333333333333333"
						       "333333333333333333333," HEX(
							       "a") ",9,80," HEX("0") "\n"
										      "555555555555"
										      "555555555555"
										      "555555555555"
										      "555555555555"
										      "555555555555"
										      "5555," HEX("c") ",9,80," HEX(
											      "0");
	AUTO_PATCH_LIST struct patch_list *patches = NULL;
	struct planned *f = *state;
	uint32_t d = content_of(f, "/d"), e = content_of(f, "/e"), g = content_of(f, "/g");

	assert_int_equal(
		patch_list_read(text, strlen(text), "patches.txt", f->table, &patches, NULL), 0);
	assert_int_equal(inventory_want_bases(f->inv, patches), 0);
	f->inv->base_paths[0] = f->inv->base_paths[1] = 0;
	f->inv->sources[e].place = PLACE_ACTIVE;
	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	plan_use_patches(f->plan, f->table, f->inv);

	assert_int_equal(f->plan->actions[d], PLAN_PATCH);
	assert_int_equal(patches->patches[f->plan->patch_of[d]].size_bytes, 70);
	assert_int_equal(f->plan->actions[e], PLAN_COPY);
	assert_int_equal(f->plan->actions[g], PLAN_FETCH);
	assert_int_equal(f->plan->sums[PLAN_PATCH].contents, 1);
	assert_int_equal(f->plan->sums[PLAN_PATCH].bytes, 4096);
	assert_int_equal(f->plan->sums[PLAN_FETCH].contents, 2);
}

static void without_patches_nothing_is_patched(void **state)
{
	struct planned *f = *state;

	assert_int_equal(plan_make(f->plan, f->table, f->inv, &plenty, true, NULL), 0);
	plan_use_patches(f->plan, f->table, f->inv);
	assert_int_equal(f->plan->sums[PLAN_PATCH].contents, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, planned_teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_on_the_machine_means_fetch_everything),
		T(a_slot_that_nothing_is_taken_from_is_cleared_first),
		T(each_place_gives_the_cheapest_action),
		T(a_kept_inode_is_copied_for_a_second_group),
		T(old_names_go_first_when_both_do_not_fit),
		T(old_names_go_first_when_a_size_is_not_known),
		T(room_for_folders_counts_too),
		T(a_new_file_system_when_pruning_is_not_enough),
		T(an_image_that_fits_no_way_is_refused_with_both_figures),
		T(too_few_inodes_are_no_room_either),
		T(the_store_and_its_like_need_inodes_too),
		T(sums_follow_changed_actions),
		T(what_is_fetched_is_patched_where_the_older_content_is_found),
		T(without_patches_nothing_is_patched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
