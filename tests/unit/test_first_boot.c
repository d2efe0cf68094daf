/*
 * test_first_boot: every stored status, on the slot that was meant and on the other one.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "otaclient/trial/first_boot.h"

/* A boot controller that only commits, or fails to. */
struct commit_only {
	struct boot_ctl base;
	char dir[64];
	int commit_result;
	unsigned n_commits;
	bool status_inside;
	char standby_uuid[40];
	int settle_result;
	unsigned n_settled, n_settled_whole; /* how often; with a standby that may stand in */
};

static int only_slots(const struct boot_ctl *ctl, struct slot_pair *ret_slots, struct ota_err *err)
{
	const struct commit_only *c = (const struct commit_only *)ctl;

	memset(ret_slots, 0, sizeof(*ret_slots));
	snprintf(ret_slots->active.id, BOOT_SLOT_ID_MAX, "ota-slot_b");
	snprintf(ret_slots->active.fs_uuid, BOOT_UUID_MAX, "0b0b");
	snprintf(ret_slots->active.status_dir, PATH_MAX, "%s/b", c->dir);
	snprintf(ret_slots->standby.id, BOOT_SLOT_ID_MAX, "ota-slot_a");
	snprintf(ret_slots->standby.status_dir, PATH_MAX, "%s/a", c->dir);
	snprintf(ret_slots->standby.device, PATH_MAX, "%s/device-a", c->dir);
	snprintf(ret_slots->standby.fs_uuid, BOOT_UUID_MAX, "%s", c->standby_uuid);
	ret_slots->standby.status_inside = c->status_inside;
	return 0;
}

static int only_commit(struct boot_ctl *ctl, struct ota_err *err)
{
	struct commit_only *c = (struct commit_only *)ctl;

	c->n_commits++;
	if (c->commit_result < 0)
		return ota_err_set(err, c->commit_result, OTA_E_UNSPECIFIC, "grubenv cannot be written");
	return 0;
}

static int only_settle(struct boot_ctl *ctl, bool standby_whole, struct ota_err *err)
{
	struct commit_only *c = (struct commit_only *)ctl;

	c->n_settled++;
	c->n_settled_whole += standby_whole;
	return c->settle_result < 0 ? ota_err_set(err, c->settle_result, OTA_E_UNSPECIFIC,
					      "grubenv cannot be written")
				    : 0;
}

static int only_check(const struct boot_ctl *ctl, struct ota_err *err)
{
	return 0;
}

static const struct boot_controller_ops commit_only_ops = {.slots = only_slots, .commit = only_commit};
static const struct boot_controller_ops settling_ops = {
	.slots = only_slots, .check = only_check, .settle = only_settle, .commit = only_commit};

struct fixture {
	struct commit_only boot;
	struct status *status;
	struct status_snapshot snap;
	bool on_trial; /* of the last run() */
	struct ota_err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->boot.base.ops = &commit_only_ops;
	snprintf(f->boot.dir, sizeof(f->boot.dir), "/tmp/first_boot.XXXXXX");
	assert_non_null(mkdtemp(f->boot.dir));
	f->status = status_new();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->boot.dir);
	assert_int_equal(system(cmd), 0);
	status_free(f->status);
	free(f);
	return 0;
}

static char *status_dir(struct fixture *f, char path[80])
{
	snprintf(path, 80, "%s/b", f->boot.dir);
	return path;
}

static void store(struct fixture *f, enum ota_status status, const char *slot_in_use)
{
	char dir[80];

	assert_int_equal(status_store_write_status(status_dir(f, dir), status, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(dir, slot_in_use, NULL), 0);
}

static enum ota_status stored(struct fixture *f)
{
	char dir[80];

	return status_store_read_status(status_dir(f, dir));
}

static int run(struct fixture *f, bool reset)
{
	int r = first_boot_run(&f->boot.base, reset, f->status, &f->on_trial, &f->err);

	status_get(f->status, &f->snap);
	return r;
}

/* A start that finds the new system running, and its commit. */
static void run_and_commit(struct fixture *f)
{
	assert_int_equal(run(f, false), 0);
	assert_true(f->on_trial);
	assert_int_equal(first_boot_commit(&f->boot.base, f->boot.dir, &f->err), 0);
}

static void the_table_covers_every_status_and_slot(void **state)
{
	static const struct {
		enum ota_status stored;
		enum first_boot_action same, other;
	} want[] = {
		{STATUS_NONE, FIRST_BOOT_INITIALIZE, FIRST_BOOT_INITIALIZE},
		{STATUS_INITIALIZED, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
		{STATUS_SUCCESS, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
		{STATUS_FAILURE, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
		{STATUS_UPDATING, FIRST_BOOT_COMMIT, FIRST_BOOT_FAIL},
		{STATUS_ROLLBACKING, FIRST_BOOT_COMMIT, FIRST_BOOT_FAIL_ROLLBACK},
		{STATUS_ROLLBACK_FAILURE, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
		{STATUS_CLIENT_UPDATING, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
		{STATUS_ABORTING, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
		{STATUS_ABORTED, FIRST_BOOT_KEEP, FIRST_BOOT_KEEP},
	};

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_int_equal(first_boot_decide(want[i].stored, true), want[i].same);
		assert_int_equal(first_boot_decide(want[i].stored, false), want[i].other);
	}
}

static void a_fresh_machine_is_initialized(void **state)
{
	struct fixture *f = *state;
	char dir[80], slot[STATUS_SLOT_MAX];

	assert_int_equal(run(f, false), 0);
	assert_int_equal(f->snap.ota_status, STATUS_INITIALIZED);
	assert_true(f->snap.known);
	assert_int_equal(stored(f), STATUS_INITIALIZED);
	status_store_read_slot_in_use(status_dir(f, dir), slot);
	assert_string_equal(slot, "ota-slot_b");
	assert_int_equal(f->boot.n_commits, 0);
	assert_false(f->on_trial);
}

static void a_new_system_is_on_trial_until_it_is_committed(void **state)
{
	struct fixture *f = *state;
	char dir[80];

	store(f, STATUS_UPDATING, "ota-slot_b");
	assert_int_equal(status_store_write_version(status_dir(f, dir), "v2", NULL), 0);
	/* However often the daemon starts. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(run(f, false), 0);
		assert_true(f->on_trial);
		assert_int_equal(f->snap.ota_status, STATUS_UPDATING);
		assert_int_equal(f->snap.update.phase, PHASE_FINALIZING_UPDATE);
		assert_string_equal(f->snap.update.version, "v2");
		assert_string_equal(f->snap.firmware_version, "v2");
		assert_int_equal(stored(f), STATUS_UPDATING);
		assert_int_equal(f->boot.n_commits, 0);
	}
	assert_int_equal(first_boot_commit(&f->boot.base, f->boot.dir, &f->err), 0);
	assert_int_equal(run(f, false), 0);
	assert_false(f->on_trial);
	assert_int_equal(f->snap.ota_status, STATUS_SUCCESS);
}

static void a_new_system_that_came_up_is_committed_and_marked_complete(void **state)
{
	struct fixture *f = *state;
	struct complete_mark mark;
	char dir[80], meta[80];
	int root;

	store(f, STATUS_UPDATING, "ota-slot_b");
	assert_int_equal(status_store_write_version(status_dir(f, dir), "v2", NULL), 0);
	snprintf(meta, sizeof(meta), "%s/.ota-meta", f->boot.dir);
	assert_int_equal(mkdir(meta, 0700), 0);
	root = open(meta, O_RDONLY | O_DIRECTORY);
	assert_int_equal(io_replace_file("test", root, "metadata.jwt", "jwt", 3, 0600), 0);
	assert_int_equal(io_replace_file("test", root, "on-trial", "\n", 1, 0600), 0);
	run_and_commit(f);
	assert_int_equal(f->boot.n_commits, 1);
	assert_int_equal(faccessat(root, "on-trial", F_OK, 0), -1);
	assert_int_equal(faccessat(root, "metadata.jwt", F_OK, 0), 0);
	close(root);
	assert_int_equal(stored(f), STATUS_SUCCESS);
	assert_int_equal(status_store_read_complete(dir, &mark, NULL), 0);
	assert_string_equal(mark.fs_uuid, "0b0b");
}

static void a_system_that_is_no_image_is_marked_too(void **state)
{
	struct fixture *f = *state;
	struct complete_mark mark;
	char dir[80];

	store(f, STATUS_UPDATING, "ota-slot_b");
	run_and_commit(f);
	assert_int_equal(status_store_read_complete(status_dir(f, dir), &mark, NULL), 0);
	assert_true(digest_equal(&mark.image, &(struct digest){0}));
	assert_string_equal(mark.fs_uuid, "0b0b");
}

/* The beginning of an ext4: its superblock with a last-mount time. */
static void make_device(struct fixture *f, uint8_t magic)
{
	uint8_t disk[4096] = {0};
	char path[80];
	FILE *file;

	memcpy(disk + 1024 + 0x2c, "\x01\x02\x03\x84", 4);
	memset(disk + 1024 + 0x68, 0xab, 16);
	disk[1024 + 0x38] = magic;
	disk[1024 + 0x39] = 0xef;
	snprintf(path, sizeof(path), "%s/device-a", f->boot.dir);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(disk, sizeof(disk), 1, file), 1);
	assert_int_equal(fclose(file), 0);
}

static void the_mark_of_the_old_slot_gets_the_time_when_it_was_left(void **state)
{
	struct fixture *f = *state;
	struct complete_mark mark = {.fs_uuid = "0a0a", .unix_s = 7};
	char dir[80];

	snprintf(dir, sizeof(dir), "%s/a", f->boot.dir);
	assert_int_equal(status_store_write_complete(dir, &mark, NULL), 0);
	store(f, STATUS_UPDATING, "ota-slot_b");
	/* What cannot be read is not sealed, and is no reason not to commit. */
	make_device(f, 0x54);
	run_and_commit(f);
	assert_int_equal(status_store_read_complete(dir, &mark, NULL), 0);
	assert_int_equal(mark.other_mount_s, 0);
	store(f, STATUS_UPDATING, "ota-slot_b");
	make_device(f, 0x53);
	run_and_commit(f);
	assert_int_equal(status_store_read_complete(dir, &mark, NULL), 0);
	assert_int_equal(mark.other_mount_s, 0x84030201);
	assert_string_equal(mark.fs_uuid, "0a0a");
	assert_int_equal(mark.unix_s, 7);
}

static void the_loader_is_told_whether_the_other_slot_may_stand_in(void **state)
{
	struct fixture *f = *state;

	f->boot.base.ops = &settling_ops;
	snprintf(f->boot.standby_uuid, sizeof(f->boot.standby_uuid),
		"abababab-abab-abab-abab-abababababab");
	first_boot_settle(&f->boot.base);
	assert_int_equal(f->boot.n_settled, 1);
	assert_int_equal(f->boot.n_settled_whole, 0);
	/* A commit seals the slot that is left; from then on it may. */
	store(f, STATUS_UPDATING, "ota-slot_b");
	make_device(f, 0x53);
	run_and_commit(f);
	assert_int_equal(f->boot.n_settled, 2);
	assert_int_equal(f->boot.n_settled_whole, 1);
	/* One that cannot be told, or is another file system by now, is no reason to stop. */
	f->boot.settle_result = -ENOSPC;
	snprintf(f->boot.standby_uuid, sizeof(f->boot.standby_uuid), "0b0b");
	first_boot_settle(&f->boot.base);
	assert_int_equal(f->boot.n_settled, 3);
	assert_int_equal(f->boot.n_settled_whole, 1);
}

static void an_old_slot_that_never_was_updated_is_marked_when_it_was_left(void **state)
{
	struct fixture *f = *state;
	struct complete_mark mark;
	char dir[80];

	snprintf(dir, sizeof(dir), "%s/a", f->boot.dir);
	store(f, STATUS_UPDATING, "ota-slot_b");
	make_device(f, 0x53);
	run_and_commit(f);
	assert_int_equal(status_store_read_complete(dir, &mark, NULL), 0);
	assert_true(digest_equal(&mark.image, &(struct digest){0}));
	assert_string_equal(mark.fs_uuid, "abababab-abab-abab-abab-abababababab");
	assert_int_equal(mark.other_mount_s, 0x84030201);
}

/* Its folder is then that of an empty mount point. What is known of it stands with the running slot. */
static void an_old_slot_with_its_status_inside_is_marked_from_outside(void **state)
{
	struct fixture *f = *state;
	struct complete_mark mark;
	char dir[80], other[96];

	snprintf(dir, sizeof(dir), "%s/a", f->boot.dir);
	f->boot.status_inside = true;
	store(f, STATUS_UPDATING, "ota-slot_b");
	make_device(f, 0x53);
	run_and_commit(f);
	assert_int_equal(stored(f), STATUS_SUCCESS);
	assert_int_equal(status_store_read_complete(dir, &mark, NULL), -ENOENT);
	snprintf(other, sizeof(other), "%s/other", status_dir(f, dir));
	assert_int_equal(status_store_read_complete(other, &mark, NULL), 0);
	assert_string_equal(mark.fs_uuid, "abababab-abab-abab-abab-abababababab");
	assert_int_equal(mark.other_mount_s, 0x84030201);
}

static void a_torn_mark_of_the_old_slot_is_not_mended(void **state)
{
	struct fixture *f = *state;
	struct complete_mark mark;
	char dir[80];
	int fd;

	snprintf(dir, sizeof(dir), "%s/a", f->boot.dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(io_replace_file("test", fd, "complete", "otaclient-", 10, 0644), 0);
	close(fd);
	store(f, STATUS_UPDATING, "ota-slot_b");
	make_device(f, 0x53);
	run_and_commit(f);
	assert_int_equal(stored(f), STATUS_SUCCESS);
	assert_int_equal(status_store_read_complete(dir, &mark, NULL), -EBADMSG);
}

static void a_rollback_from_which_the_machine_came_back_has_failed(void **state)
{
	struct fixture *f = *state;
	char dir[80];

	snprintf(dir, sizeof(dir), "%s/a", f->boot.dir);
	assert_int_equal(status_store_write_status(dir, STATUS_ROLLBACKING, NULL), 0);
	store(f, STATUS_FAILURE, "ota-slot_a");
	assert_int_equal(run(f, false), 0);
	assert_int_equal(f->snap.ota_status, STATUS_ROLLBACK_FAILURE);
	assert_int_equal(stored(f), STATUS_ROLLBACK_FAILURE);
	assert_int_equal(status_store_read_status(dir), STATUS_FAILURE);
	assert_int_equal(f->boot.n_commits, 0);
	/* It stays so. */
	assert_int_equal(run(f, false), 0);
	assert_int_equal(f->snap.ota_status, STATUS_ROLLBACK_FAILURE);
}

static void a_slot_that_was_gone_back_to_is_committed(void **state)
{
	struct fixture *f = *state;

	store(f, STATUS_ROLLBACKING, "ota-slot_b");
	assert_int_equal(run(f, false), 0);
	assert_int_equal(f->snap.ota_status, STATUS_ROLLBACKING);
	assert_true(f->on_trial);
	assert_int_equal(first_boot_commit(&f->boot.base, f->boot.dir, &f->err), 0);
	assert_int_equal(stored(f), STATUS_SUCCESS);
	assert_int_equal(f->boot.n_commits, 1);
}

static void the_old_slot_after_an_update_says_failure(void **state)
{
	struct fixture *f = *state;

	store(f, STATUS_FAILURE, "ota-slot_a");
	assert_int_equal(run(f, false), 0);
	assert_int_equal(f->snap.ota_status, STATUS_FAILURE);
	assert_int_equal(f->boot.n_commits, 0);
}

static void an_update_that_landed_on_the_wrong_slot_has_failed(void **state)
{
	struct fixture *f = *state;

	store(f, STATUS_UPDATING, "ota-slot_a");
	assert_int_equal(run(f, false), 0);
	assert_int_equal(f->snap.ota_status, STATUS_FAILURE);
	assert_int_equal(stored(f), STATUS_FAILURE);
	assert_int_equal(f->boot.n_commits, 0);
}

static void a_commit_that_fails_may_be_tried_again(void **state)
{
	struct fixture *f = *state;

	store(f, STATUS_UPDATING, "ota-slot_b");
	f->boot.commit_result = -EIO;
	assert_int_equal(run(f, false), 0);
	assert_int_equal(first_boot_commit(&f->boot.base, f->boot.dir, &f->err), -EIO);
	assert_int_equal(f->err.code, OTA_E_BOOTCONTROL_STARTUP);
	assert_string_equal(f->err.msg, "Cannot commit the slot ota-slot_b: grubenv cannot be written");
	assert_int_equal(stored(f), STATUS_UPDATING);
	f->boot.commit_result = 0;
	run_and_commit(f);
	assert_int_equal(stored(f), STATUS_SUCCESS);
}

/* The power goes off before the @cut_at-th durable operation. */
static struct {
	unsigned n, cut_at;
	bool cut;
} power;

static int count_operation(void *ctx, const char *what)
{
	power.cut = power.cut || ++power.n == power.cut_at;
	return power.cut ? -EIO : 0;
}

static bool is_marked_as_trial(struct fixture *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/.ota-meta/on-trial", f->boot.dir);
	return access(path, F_OK) == 0;
}

/* SUCCESS is the last thing that is written: until it is there, the next start begins the commit anew. */
static void a_cut_anywhere_in_the_commit_is_made_good_by_the_next_start(void **state)
{
	struct fixture *f = *state;
	unsigned n_begun_anew = 0;
	bool done = false;
	char meta[128];

	snprintf(meta, sizeof(meta), "%s/.ota-meta", f->boot.dir);
	assert_int_equal(mkdir(meta, 0700), 0);
	make_device(f, 0x53);
	for (unsigned cut = 1; !done; cut++) {
		AUTO_CLOSE int fd = open(meta, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct complete_mark mark;
		char dir[80];

		assert_int_equal(io_replace_file("test", fd, "on-trial", "\n", 1, 0600), 0);
		store(f, STATUS_UPDATING, "ota-slot_b");
		power.n = 0;
		power.cut = false;
		power.cut_at = cut;
		io_set_hook(count_operation, NULL);
		done = first_boot_commit(&f->boot.base, f->boot.dir, &f->err) == 0 && !power.cut;
		io_set_hook(NULL, NULL);
		if (stored(f) == STATUS_UPDATING) {
			n_begun_anew++;
			run_and_commit(f);
		}
		assert_int_equal(stored(f), STATUS_SUCCESS);
		assert_false(is_marked_as_trial(f));
		assert_int_equal(status_store_read_complete(status_dir(f, dir), &mark, NULL), 0);
	}
	assert_true(n_begun_anew > 3);
}

static void a_reset_forgets_what_is_stored(void **state)
{
	struct fixture *f = *state;

	store(f, STATUS_UPDATING, "ota-slot_a");
	assert_int_equal(run(f, true), 0);
	assert_int_equal(f->snap.ota_status, STATUS_INITIALIZED);
	assert_int_equal(f->boot.n_commits, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_covers_every_status_and_slot),
		T(a_fresh_machine_is_initialized),
		T(a_new_system_is_on_trial_until_it_is_committed),
		T(a_new_system_that_came_up_is_committed_and_marked_complete),
		T(the_mark_of_the_old_slot_gets_the_time_when_it_was_left),
		T(the_loader_is_told_whether_the_other_slot_may_stand_in),
		T(a_system_that_is_no_image_is_marked_too),
		T(an_old_slot_that_never_was_updated_is_marked_when_it_was_left),
		T(an_old_slot_with_its_status_inside_is_marked_from_outside),
		T(a_torn_mark_of_the_old_slot_is_not_mended),
		T(a_rollback_from_which_the_machine_came_back_has_failed),
		T(a_slot_that_was_gone_back_to_is_committed),
		T(the_old_slot_after_an_update_says_failure),
		T(an_update_that_landed_on_the_wrong_slot_has_failed),
		T(a_commit_that_fails_may_be_tried_again),
		T(a_cut_anywhere_in_the_commit_is_made_good_by_the_next_start),
		T(a_reset_forgets_what_is_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
