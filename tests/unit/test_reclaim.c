/*
 * test_reclaim: what goes first, how far a run gets, and what it says about the room that is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/cache_parts.h"
#include "otaproxy/reclaim.h"
#include "tests/unit/cache_room.h"

enum {
	MANY = 5000, /* more than are removed in one pass */
};

/* A disk that is used to @base_pct, and by a percent more for each file in the cache. */
struct fake_disk {
	const struct tmp_dir *dir;
	unsigned base_pct;
	int r; /* what asking it comes to */
};

static unsigned n_files;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	n_files += type == FTW_F && strcmp(path + ftw->base, "CACHEDIR.TAG") != 0;
	return 0;
}

static unsigned files_in(const char *path)
{
	n_files = 0;
	nftw(path, count_file, 16, FTW_PHYS);
	return n_files;
}

static int fake_used_pct(void *ctx, int dir_fd, unsigned *ret_pct)
{
	const struct fake_disk *fake = ctx;

	if (fake->r < 0)
		return fake->r;
	*ret_pct = fake->base_pct + files_in(fake->dir->path);
	return 0;
}

static enum cache_room run(
	const struct tmp_dir *d, const struct cache_store *store, unsigned base_pct)
{
	struct fake_disk fake = {.dir = d, .base_pct = base_pct};
	struct reclaim_disk disk = {.used_pct = fake_used_pct, .ctx = &fake};
	enum cache_room room;
	struct ota_err err = {0};

	if (reclaim_run(store, &RECLAIM_MARKS_DEFAULT, &disk, &room, &err) < 0)
		fail_msg("%s", err.msg);
	return room;
}

static void set_atime(
	const struct tmp_dir *d, const char *boot_id, const struct cache_key *key, time_t atime_s)
{
	struct timespec times[2] = {{.tv_sec = atime_s}, {.tv_nsec = UTIME_OMIT}};
	char name[CACHE_NAME_MAX], path[256];

	cache_key_name(key, name);
	snprintf(path, sizeof(path), "v1/%s/%s", boot_id, name);
	assert_int_equal(utimensat(d->fd, path, times, 0), 0);
}

static void up_to_the_soft_mark_nothing_goes(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(store, "a");

	cache_room_put_file(d->fd, "cache_db", "");
	assert_int_equal(run(d, store, RECLAIM_SOFT_PCT - 2), ROOM_FREE);
	assert_true(cache_room_has(store, &key));
	assert_true(cache_room_is_there(d, "cache_db"));
}

static void foreign_content_goes_first(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(store, "a");

	set_atime(d, BOOT_1, &key, 1000);
	cache_room_put_file(d->fd, "cache_db", "");
	assert_int_equal(mkdirat(d->fd, "folder", 0700), 0);
	cache_room_put_file(d->fd, "folder/file", "");
	assert_int_equal(symlinkat("v1", d->fd, "link"), 0);
	cache_room_put_file(d->fd, "v1/stray", "");
	assert_int_equal(mkdirat(d->fd, "lost+found", 0700), 0);
	/* Four files: 76 %; with the entry alone 73 %. */
	assert_int_equal(run(d, store, 72), ROOM_FREE);
	assert_true(cache_room_has(store, &key));
	assert_false(cache_room_is_there(d, "cache_db"));
	assert_false(cache_room_is_there(d, "folder"));
	assert_false(cache_room_is_there(d, "v1/stray"));
	assert_true(cache_room_is_there(d, "lost+found"));
}

static void the_least_recently_used_go_next_whichever_boot_wrote_them(void **state)
{
	static const char *const bodies[] = {"0", "1", "2", "3", "4", "5"};
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	struct cache_store *old = cache_room_open(d, BOOT_1);
	struct cache_key keys[ARRAY_SIZE(bodies)];

	/* Even ones are the old boot's; the higher the number the less recently used. */
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i += 2) {
		keys[i] = cache_room_put(old, bodies[i]);
		set_atime(d, BOOT_1, &keys[i], 10000 - (time_t)i);
	}
	cache_store_free(old);
	store = cache_room_open(d, BOOT_2);
	for (size_t i = 1; i < ARRAY_SIZE(bodies); i += 2) {
		keys[i] = cache_room_put(store, bodies[i]);
		set_atime(d, BOOT_2, &keys[i], 10000 - (time_t)i);
	}
	/* 76 % with six, 73 % with three. */
	assert_int_equal(run(d, store, 70), ROOM_FREE);
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		assert_int_equal(cache_room_has(store, &keys[i]), i < 3);
}

static void an_entry_with_a_time_in_the_future_goes_before_all_others(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key used = cache_room_put(store, "used just now");
	struct cache_key old = cache_room_put(store, "old");
	struct cache_key near = cache_room_put(store, "near"), far = cache_room_put(store, "far");
	time_t now_s = time(NULL);

	set_atime(d, BOOT_1, &used, now_s + CACHE_ATIME_RENEW_S / 2);
	set_atime(d, BOOT_1, &old, 1000);
	set_atime(d, BOOT_1, &near, now_s + 1000);
	set_atime(d, BOOT_1, &far, now_s + 10 * 365 * 86400);
	/* 76 % with four, 73 % with one: were times all that counts, far were that one. */
	assert_int_equal(run(d, store, 72), ROOM_FREE);
	assert_true(cache_room_has(store, &used));
	assert_false(cache_room_has(store, &old));
	assert_false(cache_room_has(store, &near));
	assert_false(cache_room_has(store, &far));
}

static void what_is_no_entry_goes_from_the_boots_folders_too(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(store, "a");

	cache_room_put_file(d->fd, "v1/" BOOT_1 "/stray", "");
	assert_int_equal(mkdirat(d->fd, "v1/" BOOT_1 "/folder", 0700), 0);
	cache_room_put_file(d->fd, "v1/" BOOT_1 "/folder/a", "");
	cache_room_put_file(d->fd, "v1/" BOOT_1 "/folder/b", "");
	assert_int_equal(run(d, store, 72), ROOM_FREE);
	assert_true(cache_room_has(store, &key));
	assert_false(cache_room_is_there(d, "v1/" BOOT_1 "/stray"));
	assert_false(cache_room_is_there(d, "v1/" BOOT_1 "/folder"));
}

static void a_full_disk_leaves_nothing_but_unfinished_files(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct cache_key key = cache_room_put(store, "a");

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	/* The unfinished one counts: 76, 80 and 81 %. */
	assert_int_equal(run(d, store, RECLAIM_SOFT_PCT), ROOM_TIGHT);
	assert_false(cache_room_has(store, &key));
	cache_room_put(store, "a");
	assert_int_equal(run(d, store, RECLAIM_HARD_PCT - 1), ROOM_TIGHT);
	cache_room_put(store, "a");
	assert_int_equal(run(d, store, RECLAIM_HARD_PCT), ROOM_NONE);
	assert_int_equal(cache_temp_publish(temp, &key, NULL, NULL), 0);
}

/* A disk that is full until @n_left more looks at it. */
static int full_for_a_while(void *ctx, int dir_fd, unsigned *ret_pct)
{
	unsigned *n_left = ctx;

	*ret_pct = *n_left > 0 ? 90 : 50;
	if (*n_left > 0)
		--*n_left;
	return 0;
}

static void more_entries_than_one_pass_takes_go_in_their_order(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	/* One look at the start, one after each pass over the names, one after each removal. */
	unsigned n_left = MANY - 10 + 3;
	struct reclaim_disk disk = {.used_pct = full_for_a_while, .ctx = &n_left};
	enum cache_room room;
	char name[CACHE_NAME_MAX], path[256];

	for (uint32_t i = 0; i < MANY; i++) {
		struct digest digest = {0};
		struct cache_key key;

		memcpy(digest.bytes, &i, sizeof(i));
		key = cache_key_of_content(&digest, CACHE_ZST);
		cache_key_name(&key, name);
		snprintf(path, sizeof(path), "v1/" BOOT_1 "/%s", name);
		cache_room_put_file(d->fd, path, "");
		/* Scattered over time. */
		set_atime(d, BOOT_1, &key, 1000 + (time_t)(i * 7919 % MANY));
	}
	assert_int_equal(reclaim_run(store, &RECLAIM_MARKS_DEFAULT, &disk, &room, NULL), 0);
	assert_int_equal(room, ROOM_FREE);
	assert_int_equal(n_left, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		struct digest digest = {0};
		struct cache_key key;

		memcpy(digest.bytes, &i, sizeof(i));
		key = cache_key_of_content(&digest, CACHE_ZST);
		cache_key_name(&key, name);
		snprintf(path, sizeof(path), "v1/" BOOT_1 "/%s", name);
		assert_int_equal(cache_room_is_there(d, path), i * 7919 % MANY >= MANY - 9);
	}
}

static void a_disk_that_cannot_be_asked_is_an_error(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct fake_disk fake = {.dir = d, .r = -EIO};
	struct reclaim_disk disk = {.used_pct = fake_used_pct, .ctx = &fake};
	enum cache_room room = ROOM_FREE;
	struct ota_err err = {0};
	char want[256];

	assert_int_equal(reclaim_run(store, &RECLAIM_MARKS_DEFAULT, &disk, &room, &err), -EIO);
	snprintf(want, sizeof(want), "Cannot make room in the cache %s: Input/output error",
		d->path);
	assert_string_equal(err.msg, want);
}

static void the_real_disk_is_asked(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct reclaim_marks above_all = {.soft_pct = 100, .hard_pct = 100};
	enum cache_room room = ROOM_NONE;
	unsigned pct = 101;

	assert_int_equal(reclaim_real_disk.used_pct(NULL, d->fd, &pct), 0);
	assert_true(pct <= 100);
	assert_int_equal(reclaim_real_disk.used_pct(NULL, -1, &pct), -EBADF);
	assert_int_equal(reclaim_run(store, &above_all, &reclaim_real_disk, &room, NULL), 0);
	assert_int_equal(room, ROOM_FREE);
}

/* The sizes are those of the real disk, which others write to as well: so nothing is asked that is close to a border. */
static void what_would_fit_is_measured_by_the_hard_mark(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct reclaim_marks full = {.soft_pct = 100, .hard_pct = 100};
	struct reclaim_marks none = {.soft_pct = RECLAIM_GAP_PCT, .hard_pct = RECLAIM_GAP_PCT};
	struct statvfs fs;
	uint64_t free_bytes, tenth_bytes;

	assert_int_equal(fstatvfs(d->fd, &fs), 0);
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	tenth_bytes = (uint64_t)fs.f_blocks * fs.f_frsize / 10;
	assert_true(reclaim_would_fit(store, &full, 0));
	assert_true(reclaim_would_fit(store, &full, free_bytes / 2));
	/* more than there is, whatever the mark */
	assert_false(reclaim_would_fit(store, &full, free_bytes));
	assert_false(reclaim_would_fit(store, &full, UINT64_MAX));
	/* a tenth of the disk is above a mark of two percent */
	assert_false(reclaim_would_fit(store, &none, tenth_bytes));
	/* a disk that cannot be asked has no room */
	store->dir_fd = -1 - store->dir_fd;
	assert_false(reclaim_would_fit(store, &full, 0));
	store->dir_fd = -1 - store->dir_fd;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(up_to_the_soft_mark_nothing_goes),
		tmp_dir_test(foreign_content_goes_first),
		tmp_dir_test(the_least_recently_used_go_next_whichever_boot_wrote_them),
		tmp_dir_test(an_entry_with_a_time_in_the_future_goes_before_all_others),
		tmp_dir_test(what_is_no_entry_goes_from_the_boots_folders_too),
		tmp_dir_test(a_full_disk_leaves_nothing_but_unfinished_files),
		tmp_dir_test(more_entries_than_one_pass_takes_go_in_their_order),
		tmp_dir_test(a_disk_that_cannot_be_asked_is_an_error),
		tmp_dir_test(the_real_disk_is_asked),
		tmp_dir_test(what_would_fit_is_measured_by_the_hard_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
