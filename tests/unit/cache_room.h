/*
 * cache_room: a store in a folder of the test's own, and putting entries into it.
 */
#pragma once

#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "otaproxy/cache_store.h"
#include "tests/unit/tmp_dir.h"

#define BOOT_1 "11111111-aaaa-4bbb-8ccc-000000000001"
#define BOOT_2 "22222222-aaaa-4bbb-8ccc-000000000002"

static inline struct cache_store *cache_room_open(const struct tmp_dir *d, const char *boot_id)
{
	struct cache_store *store = NULL;
	struct ota_err err = {0};

	if (cache_store_open(d->path, boot_id, &store, &err) < 0)
		fail_msg("%s", err.msg);
	return store;
}

static inline struct cache_key cache_room_key(const char *body, enum cache_form form)
{
	struct digest digest;

	digest_of(body, strlen(body), &digest);
	return cache_key_of_content(&digest, form);
}

/* Publish @body as it is, under its own digest. */
static inline struct cache_key cache_room_put(const struct cache_store *store, const char *body)
{
	struct cache_key key = cache_room_key(body, CACHE_PLAIN);
	AUTO_CACHE_TEMP struct cache_temp *temp = NULL;

	assert_int_equal(cache_temp_new(store, &temp, NULL), 0);
	assert_int_equal(file_write_all(cache_temp_fd(temp), body, strlen(body)), 0);
	assert_int_equal(cache_temp_publish(temp, &key, NULL, NULL), 0);
	return key;
}

static inline void cache_room_put_file(int dir_fd, const char *path, const char *text)
{
	AUTO_CLOSE int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

static inline bool cache_room_has(const struct cache_store *store, const struct cache_key *key)
{
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1};
	int r = cache_store_find(store, key, &hit, NULL);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

static inline bool cache_room_is_there(const struct tmp_dir *d, const char *path)
{
	struct stat st;

	return fstatat(d->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}
