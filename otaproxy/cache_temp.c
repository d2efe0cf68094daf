/*
 * cache_temp: an unfinished file of the cache, until it is an entry. Contract: cache_store.h.
 *
 * Readers get a descriptor that cannot write, by way of /proc, since nobody has to know under which name the file is
 * just now.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/hex.h"
#include "otaproxy/cache_parts.h"

enum {
	TEMP_RANDOM_BYTES = 12, /* no two are ever equal */
	TEMP_NAME_MAX = 2 * TEMP_RANDOM_BYTES + 1,
	PROC_PATH_MAX = 32,
};

struct cache_temp {
	const struct cache_store *store;
	int fd;
	bool published;           /* then the name is free */
	char name[TEMP_NAME_MAX]; /* in tmp; "" = not made yet */
};

static int cannot_make(int r, const struct cache_store *s, struct ota_err *err)
{
	return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot make a file in the cache %s: %s",
		s->dir, strerror(-r));
}

int cache_temp_new(const struct cache_store *s, struct cache_temp **ret_temp, struct ota_err *err)
{
	AUTO_CACHE_TEMP struct cache_temp *temp = calloc(1, sizeof(*temp));
	uint8_t rnd[TEMP_RANDOM_BYTES];
	char name[TEMP_NAME_MAX];

	if (!temp)
		return cannot_make(-ENOMEM, s, err);
	temp->store = s;
	temp->fd = -1;
	clock_random(rnd, sizeof(rnd));
	hex_encode(rnd, sizeof(rnd), name);
	temp->fd =
		openat(s->tmp_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (temp->fd < 0)
		return cannot_make(-errno, s, err);
	memcpy(temp->name, name, sizeof(name));
	*ret_temp = TAKE_PTR(temp);
	return 0;
}

void cache_temp_free(struct cache_temp *temp)
{
	if (!temp)
		return;
	if (temp->name[0] && !temp->published)
		unlinkat(temp->store->tmp_fd, temp->name, 0);
	closep(&temp->fd);
	free(temp);
}

void cache_temp_freep(struct cache_temp **temp)
{
	cache_temp_free(*temp);
}

int cache_temp_fd(const struct cache_temp *temp)
{
	return temp->fd;
}

int cache_temp_open_reader(const struct cache_temp *temp, int *ret_fd, struct ota_err *err)
{
	char path[PROC_PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", temp->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot open an unfinished file of the cache %s: %s", temp->store->dir,
			strerror(errno));
	*ret_fd = fd;
	return 0;
}

static int write_all_at_start(int fd, const char *data, size_t len_bytes)
{
	for (size_t at = 0; at < len_bytes;) {
		ssize_t n = pwrite(fd, data + at, len_bytes - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

static int put_head(const struct cache_temp *temp, const struct cache_key *key,
	const struct cache_meta *meta, struct ota_err *err)
{
	char head[CACHE_META_BYTES];
	struct cache_key said = cache_key_of_url(meta->url);
	uint64_t size_bytes = 0;
	struct stat st;
	int r;

	if (fstat(temp->fd, &st) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot look at a file of the cache: %s", strerror(errno));
	/* Of an empty body nothing has been written, not even its place. */
	if (st.st_size > CACHE_META_BYTES)
		size_bytes = (uint64_t)st.st_size - CACHE_META_BYTES;
	if (!digest_equal(&said.digest, &key->digest) || meta->size_bytes != size_bytes ||
		cache_meta_write(meta, head) < 0)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"The head of the cache's entry does not fit its body or its URL");
	r = write_all_at_start(temp->fd, head, sizeof(head));
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot write the head of an entry of the cache %s: %s", temp->store->dir,
			strerror(-r));
	return 0;
}

/* Plain, without any sync: a cut makes it another boot's entry, which is hashed before it counts. */
static int rename_over(const struct cache_store *s, const char *temp_name, const char *name)
{
	if (renameat(s->tmp_fd, temp_name, s->folders[0].fd, name) == 0)
		return 0;
	if (errno != EISDIR)
		return -errno;
	/* A folder of that name is foreign. Left there, it would keep the entry out for ever. */
	folder_remove(s->folders[0].fd, name);
	return renameat(s->tmp_fd, temp_name, s->folders[0].fd, name) < 0 ? -errno : 0;
}

int cache_temp_publish(struct cache_temp *temp, const struct cache_key *key,
	const struct cache_meta *meta, struct ota_err *err)
{
	const struct cache_store *s = temp->store;
	char name[CACHE_NAME_MAX];
	int r;

	assert(!temp->published && (key->kind == CACHE_BY_URL) == (meta != NULL));
	if (meta) {
		r = put_head(temp, key, meta, err);
		if (r < 0)
			return r;
	}
	cache_key_name(key, name);
	r = rename_over(s, temp->name, name);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot put %s into the cache %s: %s",
			name, s->dir, strerror(-r));
	temp->published = true;
	/* What older boots have of it is never looked at again. */
	for (unsigned i = 1; i < s->n_folders; i++)
		unlinkat(s->folders[i].fd, name, 0);
	return 0;
}
