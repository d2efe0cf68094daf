/*
 * test_cache_store: what is published is found again, what another boot left is not trusted, and nothing foreign is
 * ever served.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/folder.h"
#include "tests/unit/cache_room.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

enum {
	NAME_OF_BODY_MAX = 256,
};

static const char url[] = "http://origin/img/metadata.jwt";

/* "v1/<boot id>/<name of the key>" */
static const char *entry_path(
	const char *boot_id, const struct cache_key *key, char path[NAME_OF_BODY_MAX])
{
	char name[CACHE_NAME_MAX];

	cache_key_name(key, name);
	snprintf(path, NAME_OF_BODY_MAX, "v1/%s/%s", boot_id, name);
	return path;
}

static void assert_body(const struct cache_hit *hit, const char *body)
{
	char have[NAME_OF_BODY_MAX];
	size_t len = strlen(body);

	assert_int_equal(hit->size_bytes, len);
	assert_int_equal(pread(hit->fd, have, sizeof(have), (off_t)hit->body_offset), len);
	assert_memory_equal(have, body, len);
}

static struct cache_meta meta_of(const char *body)
{
	struct cache_meta meta = {.etag = "\"1\"", .content_type = "text/plain"};

	memcpy(meta.url, url, sizeof(url));
	meta.size_bytes = strlen(body);
	digest_of(body, strlen(body), &meta.digest);
	return meta;
}

static void put_by_url(const struct cache_store *store, const char *body)
{
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct cache_key key = cache_key_of_url(url);
	struct cache_meta meta = meta_of(body);

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(
		pwrite(cache_temp_fd(temp), body, strlen(body), (off_t)cache_key_body_offset(&key)),
		strlen(body));
	assert_int_equal(cache_temp_publish(temp, &key, &meta, NULL), 0);
}

static void what_is_published_is_found(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(store, "hello");
	struct cache_key zst = cache_room_key("hello", CACHE_ZST);
	struct cache_key empty = cache_room_put(store, "");
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1}, nothing = {.fd = -1};
	char path[NAME_OF_BODY_MAX];
	struct stat st;

	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_body(&hit, "hello");
	assert_true(hit.trusted);
	assert_int_equal(hit.body_offset, 0);
	assert_int_equal(cache_store_find(store, &empty, &nothing, NULL), 0);
	assert_body(&nothing, "");
	/* The other form is another entry. */
	assert_false(cache_room_has(store, &zst));
	assert_int_equal(fstatat(d->fd, "v1/tmp", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(fstatat(d->fd, entry_path(BOOT_1, &key, path), &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void an_entry_by_url_comes_with_its_head(void **state)
{
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(*state, BOOT_1);
	struct cache_key key = cache_key_of_url(url);
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1}, second = {.fd = -1}, third = {.fd = -1};
	struct cache_meta meta = meta_of("first");

	put_by_url(store, "first");
	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_int_equal(hit.body_offset, CACHE_META_BYTES);
	assert_memory_equal(&hit.meta, &meta, sizeof(meta));
	/* The new one replaces it; who reads the old one goes on. */
	put_by_url(store, "the second");
	assert_int_equal(cache_store_find(store, &key, &second, NULL), 0);
	assert_body(&second, "the second");
	assert_body(&hit, "first");
	put_by_url(store, "");
	assert_int_equal(cache_store_find(store, &key, &third, NULL), 0);
	assert_body(&third, "");
}

static void a_head_that_does_not_fit_is_not_published(void **state)
{
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(*state, BOOT_1);
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct cache_key key = cache_key_of_url(url), other = cache_key_of_url("http://other/");
	struct cache_meta meta = meta_of("body");
	struct ota_err err = {0};

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(cache_temp_publish(temp, &key, &meta, &err), -EINVAL);
	assert_string_equal(
		err.msg, "The head of the cache's entry does not fit its body or its URL");
	assert_int_equal(pwrite(cache_temp_fd(temp), "body", 4, CACHE_META_BYTES), 4);
	assert_int_equal(cache_temp_publish(temp, &other, &meta, NULL), -EINVAL);
	meta.etag[0] = '\n';
	assert_int_equal(cache_temp_publish(temp, &key, &meta, NULL), -EINVAL);
	meta.etag[0] = '"';
	assert_false(cache_room_has(store, &key));
	/* It is still there to be published. */
	assert_int_equal(cache_temp_publish(temp, &key, &meta, NULL), 0);
	assert_true(cache_room_has(store, &key));
}

static void a_broken_entry_by_url_is_none_and_goes(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_key_of_url(url), other = cache_key_of_url("http://other/");
	char path[NAME_OF_BODY_MAX], other_path[NAME_OF_BODY_MAX];

	entry_path(BOOT_1, &key, path);
	entry_path(BOOT_1, &other, other_path);
	cache_room_put_file(d->fd, path, "short");
	assert_false(cache_room_has(store, &key));
	assert_false(cache_room_is_there(d, path));
	put_by_url(store, "body");
	assert_int_equal(renameat(d->fd, path, d->fd, other_path), 0);
	assert_false(cache_room_has(store, &other));
	assert_false(cache_room_is_there(d, other_path));
	put_by_url(store, "body");
	{
		AUTO_CLOSE int fd = openat(d->fd, path, O_WRONLY | O_CLOEXEC);

		assert_int_equal(ftruncate(fd, CACHE_META_BYTES + 3), 0);
	}
	assert_false(cache_room_has(store, &key));
	assert_false(cache_room_is_there(d, path));
}

static void an_unfinished_file_goes_with_its_owner(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_temp *temp = NULL;
	AUTO_CLOSE int reader = -1;
	char data[8];

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(cache_temp_open_reader(temp, &reader, NULL), 0);
	assert_int_equal(file_write_all(cache_temp_fd(temp), "growing", 7), 0);
	assert_int_equal(pread(reader, data, sizeof(data), 0), 7);
	assert_int_equal(write(reader, "x", 1), -1);
	cache_temp_free(temp);
	cache_temp_free(NULL);
	/* The reader is not hurt, and the folder is empty: */
	assert_int_equal(pread(reader, data, sizeof(data), 0), 7);
	assert_int_equal(unlinkat(d->fd, "v1/tmp", AT_REMOVEDIR), 0);
}

static void a_reader_can_be_opened_after_the_publishing(void **state)
{
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(*state, BOOT_1);
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct cache_key key = cache_room_key("body", CACHE_PLAIN);
	AUTO_CLOSE int reader = -1;
	char data[8];

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(file_write_all(cache_temp_fd(temp), "body", 4), 0);
	assert_int_equal(cache_temp_publish(temp, &key, NULL, NULL), 0);
	assert_int_equal(cache_store_drop(store, &key, NULL), 0);
	assert_int_equal(cache_temp_open_reader(temp, &reader, NULL), 0);
	assert_int_equal(pread(reader, data, sizeof(data), 0), 4);
}

static void a_new_store_throws_unfinished_files_away(void **state)
{
	struct tmp_dir *d = *state;

	cache_store_free(cache_room_open(d, BOOT_1));
	cache_room_put_file(d->fd, "v1/tmp/left", "half");
	assert_int_equal(mkdirat(d->fd, "v1/tmp/folder", 0700), 0);
	cache_store_free(cache_room_open(d, BOOT_1));
	assert_int_equal(unlinkat(d->fd, "v1/tmp", AT_REMOVEDIR), 0);
}

static void what_another_boot_left_is_trusted_once_it_was_hashed(void **state)
{
	struct tmp_dir *d = *state;
	struct cache_store *old = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(old, "hello");
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1}, twin = {.fd = -1};
	char path[NAME_OF_BODY_MAX];

	cache_store_free(old);
	store = cache_room_open(d, BOOT_2);
	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_int_equal(cache_store_find(store, &key, &twin, NULL), 0);
	assert_false(hit.trusted);
	assert_body(&hit, "hello");
	assert_int_equal(cache_store_trust(store, &key, &hit, NULL), 0);
	assert_true(hit.trusted);
	assert_true(cache_room_is_there(d, entry_path(BOOT_2, &key, path)));
	assert_false(cache_room_is_there(d, entry_path(BOOT_1, &key, path)));
	/* Another thread had hashed it too; and a second time changes nothing. */
	assert_int_equal(cache_store_trust(store, &key, &twin, NULL), 0);
	assert_true(twin.trusted);
	assert_int_equal(cache_store_trust(store, &key, &twin, NULL), 0);
	cache_hit_done(&hit);
	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_true(hit.trusted);
}

static void trust_goes_to_the_file_that_was_hashed_and_no_other(void **state)
{
	struct tmp_dir *d = *state;
	struct cache_store *old = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(old, "hello"), gone = cache_room_put(old, "gone");
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1}, other = {.fd = -1};
	char path[NAME_OF_BODY_MAX];

	cache_store_free(old);
	store = cache_room_open(d, BOOT_2);
	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_int_equal(cache_store_find(store, &gone, &other, NULL), 0);
	entry_path(BOOT_1, &key, path);
	assert_int_equal(unlinkat(d->fd, path, 0), 0);
	cache_room_put_file(d->fd, path, "wrong");
	assert_int_equal(cache_store_trust(store, &key, &hit, NULL), -ENOENT);
	assert_false(hit.trusted);
	assert_int_equal(cache_store_drop(store, &gone, NULL), 0);
	assert_int_equal(cache_store_trust(store, &gone, &other, NULL), -ENOENT);
	/* A newly published one is no longer the old boot's. */
	cache_room_put(store, "hello");
	assert_false(cache_room_is_there(d, path));
	cache_hit_done(&hit);
	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_true(hit.trusted);
	assert_body(&hit, "hello");
}

static void a_dropped_entry_is_gone_from_every_boot(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	struct cache_store *old = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(old, "hello");
	char path[NAME_OF_BODY_MAX];
	struct ota_err err = {0};

	cache_store_free(old);
	store = cache_room_open(d, BOOT_2);
	cache_room_put_file(d->fd, entry_path(BOOT_2, &key, path), "hello");
	assert_int_equal(cache_store_drop(store, &key, NULL), 0);
	assert_false(cache_room_has(store, &key));
	assert_int_equal(cache_store_drop(store, &key, NULL), 0);
	assert_int_equal(mkdirat(d->fd, path, 0700), 0);
	assert_int_equal(cache_store_drop(store, &key, &err), -EISDIR);
	assert_non_null(strstr(err.msg, "Cannot remove 2cf24dba5fb0a30e26e83b2ac5b9e29e"));
	assert_non_null(strstr(err.msg, ": Is a directory"));
}

static void nothing_but_a_regular_file_is_served(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_key("hello", CACHE_PLAIN);
	char path[NAME_OF_BODY_MAX], name[CACHE_NAME_MAX];

	/* As other proxies lay it out, straight in the folder. */
	cache_key_name(&key, name);
	cache_room_put_file(d->fd, name, "hello");
	cache_room_put_file(d->fd, "cache_db", "");
	assert_false(cache_room_has(store, &key));
	entry_path(BOOT_1, &key, path);
	assert_int_equal(symlinkat("../../cache_db", d->fd, path), 0);
	assert_false(cache_room_has(store, &key));
	assert_int_equal(unlinkat(d->fd, path, 0), 0);
	assert_int_equal(mkfifoat(d->fd, path, 0600), 0);
	assert_false(cache_room_has(store, &key));
	assert_int_equal(unlinkat(d->fd, path, 0), 0);
	assert_int_equal(mkdirat(d->fd, path, 0700), 0);
	assert_false(cache_room_has(store, &key));
	/* Opening leaves foreign content alone. */
	cache_store_free(TAKE_PTR(store));
	store = cache_room_open(d, BOOT_2);
	assert_true(cache_room_is_there(d, name));
	assert_true(cache_room_is_there(d, "cache_db"));
}

static void a_folder_in_an_entrys_place_gives_way_to_it(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_key("hello", CACHE_PLAIN);
	char path[NAME_OF_BODY_MAX], below[NAME_OF_BODY_MAX + 8];

	assert_int_equal(mkdirat(d->fd, entry_path(BOOT_1, &key, path), 0700), 0);
	snprintf(below, sizeof(below), "%s/below", path);
	cache_room_put_file(d->fd, below, "of another program");
	cache_room_put(store, "hello");
	assert_true(cache_room_has(store, &key));
}

static int64_t now_s;

static int64_t test_unix_s(void)
{
	return now_s;
}

static void test_random(void *ret_data, size_t len_bytes)
{
	static unsigned char n;

	memset(ret_data, n++, len_bytes);
}

static void a_hit_renews_an_old_atime_and_keeps_the_mtime(void **state)
{
	static const struct clock_ops ops = {.unix_s = test_unix_s, .random = test_random};
	static const struct {
		int64_t atime_s, now_s, want_s;
	} rows[] = {
		{1000, 1060, 1060 - CACHE_ATIME_RENEW_S},
		{1000, 1061, 1061                      },
		{5000, 1061, 1061                      },
	};
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(store, "hello");
	char path[NAME_OF_BODY_MAX];

	clock_set_ops(&ops);
	entry_path(BOOT_1, &key, path);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct timespec times[2] = {{.tv_sec = rows[i].atime_s}, {.tv_sec = 77}};
		struct stat st;

		now_s = rows[i].now_s;
		assert_int_equal(utimensat(d->fd, path, times, 0), 0);
		assert_true(cache_room_has(store, &key));
		assert_int_equal(fstatat(d->fd, path, &st, 0), 0);
		assert_int_equal(st.st_atim.tv_sec, rows[i].want_s);
		assert_int_equal(st.st_mtim.tv_sec, 77);
	}
	clock_set_ops(NULL);
}

static void only_the_latest_of_many_boots_are_kept(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	char path[NAME_OF_BODY_MAX], id[CACHE_BOOT_ID_MAX];
	unsigned n_left = 0;

	cache_store_free(cache_room_open(d, BOOT_1));
	for (unsigned i = 0; i < CACHE_OTHER_BOOTS_MAX + 10; i++) {
		struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};

		snprintf(id, sizeof(id), "%08x-0000-0000-0000-000000000000", i);
		snprintf(path, sizeof(path), "v1/%s", id);
		assert_int_equal(mkdirat(d->fd, path, 0700), 0);
		snprintf(path, sizeof(path), "v1/%s/x", id);
		cache_room_put_file(d->fd, path, "x");
		path[strlen(path) - 2] = '\0';
		assert_int_equal(utimensat(d->fd, path, times, 0), 0);
	}
	store = cache_room_open(d, BOOT_2);
	for (unsigned i = 0; i < CACHE_OTHER_BOOTS_MAX + 10; i++) {
		snprintf(path, sizeof(path), "v1/%08x-0000-0000-0000-000000000000", i);
		n_left += cache_room_is_there(d, path);
		assert_int_equal(cache_room_is_there(d, path), i >= 10);
	}
	assert_int_equal(n_left, CACHE_OTHER_BOOTS_MAX);
	/* An empty one has nothing to offer. */
	assert_false(cache_room_is_there(d, "v1/" BOOT_1));
}

static void a_wiped_store_is_empty_and_goes_on(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct cache_store *old = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(old, "old"), mine;
	char name[CACHE_NAME_MAX];
	struct ota_err err = {0};

	cache_store_free(old);
	store = cache_room_open(d, BOOT_2);
	mine = cache_room_put(store, "new");
	cache_room_put_file(d->fd, "cache_db", "");
	cache_room_put_file(d->fd, "v1/stray", "");
	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(cache_store_wipe(store, NULL), 0);
	assert_false(cache_room_has(store, &key));
	assert_false(cache_room_has(store, &mine));
	assert_int_equal(cache_temp_publish(temp, &mine, NULL, &err), -ENOENT);
	cache_key_name(&mine, name);
	assert_sentence(
		&err, "Cannot put %s into the cache %s: No such file or directory", name, d->path);
	cache_room_put(store, "new");
	assert_true(cache_room_has(store, &mine));
	assert_int_equal(cache_store_wipe(store, NULL), 0);
	/* Nothing but the three folders and the tag. */
	assert_int_equal(unlinkat(d->fd, "CACHEDIR.TAG", 0), 0);
	assert_int_equal(unlinkat(d->fd, "v1/" BOOT_2, AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(d->fd, "v1/tmp", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(d->fd, "v1", AT_REMOVEDIR), 0);
	assert_int_equal(rmdir(d->path), 0);
	assert_int_equal(mkdir(d->path, 0700), 0); /* for the teardown */
}

static int open_fails(const char *dir, const char *boot_id, struct ota_err *ret_err)
{
	struct cache_store *store = NULL;

	*ret_err = (struct ota_err){0};
	return cache_store_open(dir, boot_id, &store, ret_err);
}

/* Its own, for anybody's says only that its content may go. */
static void a_cache_is_known_by_its_tag_also_without_v1(void **state)
{
	struct tmp_dir *d = *state;
	struct ota_err err;

	cache_store_free(cache_room_open(d, BOOT_1));
	cache_room_put_file(d->fd, "stranger", "");
	assert_int_equal(folder_remove(d->fd, "v1"), 0);
	cache_store_free(cache_room_open(d, BOOT_1));
	assert_int_equal(folder_remove(d->fd, "v1"), 0);
	cache_room_put_file(d->fd, "CACHEDIR.TAG",
		"Signature: 8a477f597d28d172789f06886806bc55\n# This is somebody else's.\n");
	assert_int_equal(open_fails(d->path, BOOT_1, &err), -ENOTEMPTY);
	assert_non_null(strstr(err.msg, " is no cache: it holds stranger; "));
}

static void a_folder_that_cannot_be_opened_is_named(void **state)
{
	struct tmp_dir *d = *state;
	char dir[128], want[512];
	struct ota_err err;

	assert_int_equal(open_fails(d->path, "no id", &err), -EINVAL);
	assert_string_equal(err.msg, "\"no id\" is no boot id");
	snprintf(dir, sizeof(dir), "%s/not/there", d->path);
	assert_int_equal(open_fails(dir, BOOT_1, &err), -ENOENT);
	snprintf(want, sizeof(want), "Cannot make the cache folder %s: No such file or directory",
		dir);
	assert_string_equal(err.msg, want);
	snprintf(dir, sizeof(dir), "%s/file", d->path);
	cache_room_put_file(d->fd, "file", "");
	assert_int_equal(open_fails(dir, BOOT_1, &err), -ENOTDIR);
	snprintf(want, sizeof(want), "Cannot open the cache folder %s: Not a directory", dir);
	assert_string_equal(err.msg, want);
	assert_int_equal(symlinkat("/tmp", d->fd, "v1"), 0);
	assert_true(open_fails(d->path, BOOT_1, &err) < 0);
	snprintf(want, sizeof(want), "Cannot open the folder v1 of the cache %s: ", d->path);
	assert_memory_equal(err.msg, want, strlen(want));
	cache_store_free(NULL);
}

/* Deeper than anything is removed. */
static void make_deep(int dir_fd, const char *folder)
{
	char path[NAME_OF_BODY_MAX];
	size_t len = (size_t)snprintf(path, sizeof(path), "%s", folder);

	for (unsigned i = 0; i < FOLDER_DEPTH_MAX + 2; i++) {
		memcpy(path + len, "/d", 3);
		len += 2;
		assert_int_equal(mkdirat(dir_fd, path, 0700), 0);
	}
}

static void what_cannot_be_removed_or_moved_is_said(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = NULL;
	struct cache_store *old = cache_room_open(d, BOOT_1);
	struct cache_key key = cache_room_put(old, "hello");
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1};
	char path[NAME_OF_BODY_MAX];
	struct ota_err err = {0};

	cache_store_free(old);
	store = cache_room_open(d, BOOT_2);
	assert_int_equal(mkdirat(d->fd, entry_path(BOOT_2, &key, path), 0700), 0);
	assert_int_equal(cache_store_find(store, &key, &hit, NULL), 0);
	assert_int_equal(cache_store_trust(store, &key, &hit, &err), -EISDIR);
	assert_false(hit.trusted);
	assert_non_null(strstr(err.msg, "Cannot keep 2cf24dba5fb0a30e26e83b2ac5b9e29e"));
	make_deep(d->fd, "v1/tmp");
	assert_int_equal(cache_store_wipe(store, &err), -ELOOP);
	assert_sentence(&err, "Cannot empty the cache %s: %s", d->path, strerror(ELOOP));
	/* The rest went. */
	assert_false(cache_room_is_there(d, path));
	assert_false(cache_room_is_there(d, "v1/" BOOT_1));
	cache_store_free(TAKE_PTR(store));
	assert_int_equal(open_fails(d->path, BOOT_2, &err), -ELOOP);
	assert_sentence(&err, "Cannot remove the unfinished files of the cache %s: %s", d->path,
		strerror(ELOOP));
}

static void the_boot_id_is_a_uuid_in_a_file(void **state)
{
	struct tmp_dir *d = *state;
	char path[128], id[CACHE_BOOT_ID_MAX], want[256];
	struct ota_err err = {0};

	assert_int_equal(cache_boot_id_read(CACHE_BOOT_ID_PATH, id, NULL), 0);
	assert_int_equal(strlen(id), CACHE_BOOT_ID_MAX - 1);
	snprintf(path, sizeof(path), "%s/id", d->path);
	assert_int_equal(cache_boot_id_read(path, id, &err), -ENOENT);
	snprintf(want, sizeof(want), "Cannot read the boot id from %s: No such file or directory",
		path);
	assert_string_equal(err.msg, want);
	cache_room_put_file(d->fd, "id", BOOT_2 "\n");
	assert_int_equal(cache_boot_id_read(path, id, NULL), 0);
	assert_string_equal(id, BOOT_2);
	cache_room_put_file(d->fd, "id", BOOT_2 "\n\n");
	assert_int_equal(cache_boot_id_read(path, id, NULL), -EBADMSG);
	cache_room_put_file(d->fd, "id", "../../../../../../../../../../../../");
	assert_int_equal(cache_boot_id_read(path, id, &err), -EBADMSG);
	snprintf(want, sizeof(want), "%s holds no boot id", path);
	assert_string_equal(err.msg, want);
	cache_room_put_file(d->fd, "id", "");
	assert_int_equal(cache_boot_id_read(path, id, NULL), -EBADMSG);
}

static void what_the_file_system_refuses_is_said(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(d, BOOT_1);
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;
	struct cache_temp *no_temp = NULL;
	struct cache_key key = cache_key_of_url(url);
	struct cache_meta meta = meta_of("");
	struct cache_hit hit;
	struct ota_err err = {0}, find_err = {0}, temp_err = {0}, reader_err = {0};
	char name[CACHE_NAME_MAX];
	int r, find_r, temp_r, reader_r, fd;

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	refusal_limit(RLIMIT_FSIZE, 100);
	r = cache_temp_publish(temp, &key, &meta, &err);
	refusal_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	assert_int_equal(r, -EFBIG);
	assert_sentence(
		&err, "Cannot write the head of an entry of the cache %s: File too large", d->path);
	assert_int_equal(cache_temp_publish(temp, &key, &meta, NULL), 0);

	refusal_limit(RLIMIT_NOFILE, 3);
	find_r = cache_store_find(store, &key, &hit, &find_err);
	temp_r = cache_temp_new(store, &no_temp, &temp_err);
	reader_r = cache_temp_open_reader(temp, &fd, &reader_err);
	refusal_limit(RLIMIT_NOFILE, 1024);
	cache_key_name(&key, name);
	assert_int_equal(find_r, -EMFILE);
	assert_sentence(
		&find_err, "Cannot open %s of the cache %s: Too many open files", name, d->path);
	assert_int_equal(temp_r, -EMFILE);
	assert_sentence(
		&temp_err, "Cannot make a file in the cache %s: Too many open files", d->path);
	assert_int_equal(reader_r, -EMFILE);
	assert_sentence(&reader_err,
		"Cannot open an unfinished file of the cache %s: Too many open files", d->path);
}

/* What the opening says where @n_more files may be open. */
static const struct ota_err *open_with(const struct tmp_dir *d, int n_more)
{
	static struct ota_err err;
	int r, next = dup(0);

	close(next);
	refusal_limit(RLIMIT_NOFILE, (rlim_t)(next + n_more));
	r = open_fails(d->path, BOOT_2, &err);
	refusal_limit(RLIMIT_NOFILE, 1024);
	assert_int_equal(r, -EMFILE);
	return &err;
}

static void a_store_that_may_not_open_one_more_file_says_what_for(void **state)
{
	struct tmp_dir *d = *state;
	struct cache_store *old = cache_room_open(d, BOOT_1);

	cache_room_put(old, "hello");
	cache_store_free(old);
	assert_sentence(
		open_with(d, 0), "Cannot open the cache folder %s: Too many open files", d->path);
	assert_sentence(open_with(d, 1),
		"Cannot open the folder v1 of the cache %s: Too many open files", d->path);
	assert_sentence(open_with(d, 2),
		"Cannot open the folder tmp of the cache %s: Too many open files", d->path);
	assert_sentence(open_with(d, 3),
		"Cannot open the folder " BOOT_2 " of the cache %s: Too many open files", d->path);
	assert_sentence(open_with(d, 4),
		"Cannot remove the unfinished files of the cache %s: Too many open files", d->path);
	assert_sentence(open_with(d, 5),
		"Cannot look for older entries of the cache %s: Too many open files", d->path);
}

static int publish_without_a_look(void *ctx)
{
	struct cache_temp *temp = ctx;
	struct cache_key key = cache_key_of_url(url);
	struct cache_meta meta = meta_of("");
	struct ota_err err = {0};

	CHECK(refusal_call(SYS_newfstatat, EIO) == 0 && refusal_call(SYS_fstat, EIO) == 0);
	CHECK(cache_temp_publish(temp, &key, &meta, &err) == -EIO);
	CHECK(sentence_is(&err, "Cannot look at a file of the cache: Input/output error"));
	return 0;
}

static void a_file_that_cannot_be_looked_at_is_not_published(void **state)
{
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(*state, BOOT_1);
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(in_child(publish_without_a_look, temp), 0);
}

static int open_where_nothing_can_be_locked(void *ctx)
{
	const struct tmp_dir *d = ctx;
	struct cache_store *store = NULL;
	struct ota_err err = {0};

	CHECK(refusal_call(SYS_flock, ENOLCK) == 0);
	CHECK(cache_store_open(d->path, BOOT_1, &store, &err) == -ENOLCK);
	CHECK(sentence_is(&err, "Cannot lock the cache %s: No locks available", d->path));
	return 0;
}

static void a_cache_that_cannot_be_locked_is_not_used(void **state)
{
	assert_int_equal(in_child(open_where_nothing_can_be_locked, *state), 0);
}

struct crowd {
	const struct cache_store *store;
	atomic_uint n_wrong, n_hits;
};

enum {
	CROWD_THREADS = 4,
	CROWD_TURNS = 200,
};

static const char crowd_body[] = "the same for all";

static bool crowd_publish(const struct cache_store *store, const struct cache_key *key)
{
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;

	return cache_temp_new(store, &temp, NULL) == 0 &&
	       file_write_all(cache_temp_fd(temp), crowd_body, sizeof(crowd_body)) == 0 &&
	       cache_temp_publish(temp, key, NULL, NULL) == 0;
}

static void *crowd_thread(void *ctx)
{
	struct crowd *crowd = ctx;
	struct cache_key key;
	struct digest digest;

	digest_of(crowd_body, sizeof(crowd_body), &digest);
	key = cache_key_of_content(&digest, CACHE_PLAIN);
	for (unsigned i = 0; i < CROWD_TURNS; i++) {
		AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1};
		char have[sizeof(crowd_body) + 1];
		int r = cache_store_find(crowd->store, &key, &hit, NULL);

		if (r == 0) {
			crowd->n_hits++;
			if (pread(hit.fd, have, sizeof(have), 0) != sizeof(crowd_body) ||
				memcmp(have, crowd_body, sizeof(crowd_body)) != 0)
				crowd->n_wrong++;
			r = cache_store_trust(crowd->store, &key, &hit, NULL);
		}
		if (r < 0 && r != -ENOENT)
			crowd->n_wrong++;
		if (i % 3 == 0 && cache_store_drop(crowd->store, &key, NULL) < 0)
			crowd->n_wrong++;
		else if (i % 3 == 1 && !crowd_publish(crowd->store, &key))
			crowd->n_wrong++;
	}
	return NULL;
}

static void a_hit_is_whole_whatever_other_threads_do(void **state)
{
	AUTO_CACHE_STORE struct cache_store *store = cache_room_open(*state, BOOT_1);
	struct crowd crowd = {.store = store};
	pthread_t threads[CROWD_THREADS];

	for (unsigned i = 0; i < CROWD_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_thread, &crowd), 0);
	for (unsigned i = 0; i < CROWD_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(crowd.n_wrong, 0);
	assert_true(crowd.n_hits > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(what_is_published_is_found),
		tmp_dir_test(an_entry_by_url_comes_with_its_head),
		tmp_dir_test(a_head_that_does_not_fit_is_not_published),
		tmp_dir_test(a_broken_entry_by_url_is_none_and_goes),
		tmp_dir_test(an_unfinished_file_goes_with_its_owner),
		tmp_dir_test(a_reader_can_be_opened_after_the_publishing),
		tmp_dir_test(a_new_store_throws_unfinished_files_away),
		tmp_dir_test(what_another_boot_left_is_trusted_once_it_was_hashed),
		tmp_dir_test(trust_goes_to_the_file_that_was_hashed_and_no_other),
		tmp_dir_test(a_dropped_entry_is_gone_from_every_boot),
		tmp_dir_test(nothing_but_a_regular_file_is_served),
		tmp_dir_test(a_folder_in_an_entrys_place_gives_way_to_it),
		tmp_dir_test(a_hit_renews_an_old_atime_and_keeps_the_mtime),
		tmp_dir_test(only_the_latest_of_many_boots_are_kept),
		tmp_dir_test(a_wiped_store_is_empty_and_goes_on),
		tmp_dir_test(a_cache_is_known_by_its_tag_also_without_v1),
		tmp_dir_test(a_folder_that_cannot_be_opened_is_named),
		tmp_dir_test(what_cannot_be_removed_or_moved_is_said),
		tmp_dir_test(the_boot_id_is_a_uuid_in_a_file),
		tmp_dir_test(what_the_file_system_refuses_is_said),
		tmp_dir_test(a_store_that_may_not_open_one_more_file_says_what_for),
		tmp_dir_test(a_file_that_cannot_be_looked_at_is_not_published),
		tmp_dir_test(a_cache_that_cannot_be_locked_is_not_used),
		tmp_dir_test(a_hit_is_whole_whatever_other_threads_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
