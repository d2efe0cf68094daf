/* slot_note: what one slot leaves for the other, read from two folders. What comes of it: test_cboot_rollback.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "otaclient/slot/slot_note.h"
#include "otaclient/status/status_store.h"
#include "tests/support/machine_dir.h"
#include "tests/unit/sentence.h"

static char dir[PATH_MAX];
static struct slot_pair here, there; /* as slot 0 and slot 1 see them; the folders are 0 and 1 */

static int begin(void **state)
{
	machine_dir_new("slot_note", dir);
	here = (struct slot_pair){
		.active.id = "0", .standby = {.id = "1", .status_inside = true}
        };
	there = (struct slot_pair){
		.active.id = "1", .standby = {.id = "0", .status_inside = true}
        };
	machine_dir_make(dir, "0");
	machine_dir_make(dir, "1");
	machine_dir_path(dir, "0", here.active.status_dir);
	machine_dir_path(dir, "1", there.active.status_dir);
	machine_dir_write(dir, "0/status", "FAILURE");
	machine_dir_write(dir, "0/slot_in_use", "1");
	return 0;
}

static int end(void **state)
{
	machine_dir_done(dir);
	return 0;
}

static void leave(void)
{
	struct ota_err err = {0};

	if (slot_note_leave(&there, &err) < 0)
		fail_msg("%s", err.msg);
}

static void take(enum ota_status want, const char *want_slot)
{
	const char *own = here.active.status_dir;
	char slot[STATUS_SLOT_MAX];
	struct ota_err err = {0};

	if (slot_note_take(&here.active, there.active.status_dir, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(ota_status_name(status_store_read_status(own)), ota_status_name(want));
	status_store_read_slot_in_use(own, slot);
	assert_string_equal(slot, want_slot);
}

static void a_note_is_taken_once(void **state)
{
	leave();
	take(STATUS_ROLLBACKING, "0");
	machine_dir_write(dir, "0/status", "FAILURE");
	machine_dir_write(dir, "0/slot_in_use", "1");
	take(STATUS_FAILURE, "1");
	leave(); /* another one */
	take(STATUS_ROLLBACKING, "0");
}

static void the_one_who_leaves_says_so(void **state)
{
	AUTO_BUF struct buf status = {0}, slot = {0};

	leave();
	machine_dir_read(dir, "1/status", &status);
	machine_dir_read(dir, "1/slot_in_use", &slot);
	assert_string_equal(buf_str(&status), "ROLLBACKING");
	assert_string_equal(buf_str(&slot), "0");
}

static void without_a_whole_note_nothing_is_taken(void **state)
{
	static const char hex[] = "0123456789abcdef0123456789abcdef\n";
	/* file of the other slot, its text */
	static const char *const odd[][2] = {
		{"1/status",         "FAILURE"                            },
		{"1/status",         "SUCCESS"                            },
		{"1/status",         ""				   },
		{"1/slot_in_use",    "1"                                  },
		{"1/slot_in_use",    "ota-slot_a"                         },
		{"1/rollback_token", ""                                   },
		{"1/rollback_token", "0123456789abcdef0123456789abcde\n"  },
		{"1/rollback_token", "0123456789abcdef0123456789abcdef"   },
		{"1/rollback_token", "0123456789abcdef0123456789abcdeg\n" },
		{"1/rollback_token", "0123456789abcdef0123456789abcdef0\n"},
	};

	take(STATUS_FAILURE, "1"); /* there are no files at all */
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		leave();
		machine_dir_write(dir, odd[i][0], odd[i][1]);
		take(STATUS_FAILURE, "1");
	}
	leave();
	machine_dir_write(dir, "1/rollback_token", hex);
	take(STATUS_ROLLBACKING, "0");
}

/* The other slot is back and has given it up. */
static void what_was_given_up_is_not_gone_on_with(void **state)
{
	leave();
	take(STATUS_ROLLBACKING, "0");
	take(STATUS_ROLLBACKING, "0"); /* still asked for */
	machine_dir_write(dir, "1/status", "ROLLBACK_FAILURE");
	take(STATUS_FAILURE, "0");
}

/* This slot asked the other one, and a cut came before it had named it. */
static void an_own_request_is_none_of_the_others(void **state)
{
	leave();
	take(STATUS_ROLLBACKING, "0");
	machine_dir_write(dir, "1/rollback_token", "0123456789abcdef0123456789abcdef\n");
	machine_dir_write(dir, "1/status", "SUCCESS");
	take(STATUS_ROLLBACKING, "0");
}

static void the_mark_is_with_the_slot_that_can_be_written(void **state)
{
	char mark[PATH_MAX], want[PATH_MAX];

	machine_dir_path(dir, "0/other", want);
	slot_note_mark_dir(&here, mark);
	assert_string_equal(mark, want);
	snprintf(here.standby.status_dir, PATH_MAX, "/boot/ota-slot_b");
	here.standby.status_inside = false;
	slot_note_mark_dir(&here, mark);
	assert_string_equal(mark, "/boot/ota-slot_b");
}

static int fail_publishing(void *ctx, const char *what)
{
	return strcmp(what, "publish the status") == 0 ? -EIO : 0;
}

static void a_note_that_the_other_slot_may_not_see_is_a_failure(void **state)
{
	struct ota_err err = {0};
	int r;

	io_set_hook(fail_publishing, NULL);
	r = slot_note_leave(&there, &err);
	io_set_hook(NULL, NULL);
	assert_int_equal(r, -EIO);
	assert_sentence(&err, "Cannot publish %s: Input/output error", there.active.status_dir);
}

#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_note_is_taken_once),
		T(the_one_who_leaves_says_so),
		T(without_a_whole_note_nothing_is_taken),
		T(what_was_given_up_is_not_gone_on_with),
		T(an_own_request_is_none_of_the_others),
		T(the_mark_is_with_the_slot_that_can_be_written),
		T(a_note_that_the_other_slot_may_not_see_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
