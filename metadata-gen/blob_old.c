/*
 * blob_old: contents of older images, compressed or plain, taken over. Contracts: blob_store.h, blob_parts.h.
 *
 * An older image may have been damaged, or be somebody else's. So the name in the new image comes first, and what
 * is looked into is what that name has: the very bytes of the content, or a frame that decompresses to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "metadata-gen/blob_parts.h"
#include "metadata-gen/old_file.h"

/* ---- compressed ---- */

enum outcome {
	OLD_NONE,    /* there is none of use */
	OLD_REFUSED, /* there should be one, and it is no good */
	OLD_TAKEN,
};

/* An outcome, or why the new image cannot be written. */
static int take_from(struct blob_hand *hand, const struct blob_source *source, struct blob *blob,
	const void *data, struct ota_err *err)
{
	int zst_fd = hand->store->config.zst_fd;
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct ota_err why = {0};
	struct stat st;
	int r;

	blob_name(&blob->digest, name);
	r = old_file_open(source->zst_fd, name, &fd, &st);
	if (r < 0) /* what no list has promised need not be there */
		return source->table || r != -ENOENT ? OLD_REFUSED : OLD_NONE;
	if (!blob_pays(&hand->store->config, blob->size_bytes, (uint64_t)st.st_size))
		return OLD_NONE;
	r = source->in_place ? 1 : old_file_put(source->zst_fd, zst_fd, name, &st, &fd);
	if (r < 0)
		return blob_write_failed(r, blob, ".zst", err);
	if (r == 0)
		return OLD_REFUSED;
	r = data ? blob_matches(hand, fd, data, blob->size_bytes, &why)
		 : blob_verify(hand, fd, &blob->digest, blob->size_bytes, -1, &why);
	if (r < 0 && !source->in_place)
		unlinkat(zst_fd, name, 0);
	if (r == -ENOMEM)
		return blob_no_memory(err);
	if (r < 0)
		return OLD_REFUSED;
	blob->zst_bytes = (uint64_t)st.st_size;
	return OLD_TAKEN;
}

/* What a source's list says of a content. */
enum listed {
	LISTED_NOT,
	LISTED_PLAIN,
	LISTED_ZST,
};

static enum listed look_up(const struct blob_source *source, const struct blob *blob)
{
	uint32_t i;

	if (source->zst_fd < 0)
		return LISTED_NOT;
	if (!source->table)
		return LISTED_ZST;
	i = file_table_find_content(source->table, &blob->digest);
	if (i == FILE_TABLE_NONE)
		return LISTED_NOT;
	return source->table->contents[i].has_zst ? LISTED_ZST : LISTED_PLAIN;
}

int blob_take_over(struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err)
{
	struct blob_store *store = hand->store;

	for (unsigned i = 0; i < store->config.n_sources; i++) {
		const struct blob_source *source = &store->config.sources[i];
		enum listed listed = look_up(source, blob);
		int r;

		if (listed == LISTED_PLAIN)
			return 1;
		if (listed == LISTED_NOT)
			continue;
		r = take_from(hand, source, blob, data, err);
		if (r < 0)
			return r;
		if (r == OLD_REFUSED)
			blob_count(store, &store->counts.n_refused[i]);
		if (r != OLD_TAKEN)
			continue;
		blob->has_zst = true;
		blob_count(store, &store->counts.n_reused);
		return 1;
	}
	return 0;
}

/* ---- plain ---- */

/* Are the bytes at @fd, from its start, the content's? */
static bool is_content(struct blob_hand *hand, int fd, const struct blob *blob, const void *data)
{
	struct digest found;
	uint64_t size = 0;
	size_t n = 1;

	if (!data)
		return digest_of_fd(hand->digest, fd, &found, &size) == 0 &&
		       size == blob->size_bytes && digest_equal(&found, &blob->digest);
	while (n > 0 && size <= blob->size_bytes) {
		if (blob_read_some(fd, hand->chunk, BLOB_CHUNK_BYTES, size, &n) < 0 ||
			n > blob->size_bytes - size ||
			memcmp(hand->chunk, (const char *)data + size, n) != 0)
			return false;
		size += n;
	}
	return size == blob->size_bytes;
}

/* A plain file is only ever linked: to copy it would be no less work than to write it. */
static bool link_plain(struct blob_hand *hand, const struct blob_source *source,
	const struct blob *blob, const void *data)
{
	const struct file_table *t = source->table;
	int plain_fd = hand->store->config.plain_fd;
	uint32_t i = file_table_find_content(t, &blob->digest);
	AUTO_FREE char *path = NULL;
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (i == FILE_TABLE_NONE)
		return false;
	path = strndup(t->files[t->contents[i].first_file].path.at,
		t->files[t->contents[i].first_file].path.len);
	fd = path ? path_open(source->plain_fd, path, O_RDONLY | O_NONBLOCK, 0) : -ENOMEM;
	digest_to_hex(&blob->digest, hex);
	if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size != blob->size_bytes ||
		!old_file_link(source->plain_fd, path + 1, plain_fd, hex, &st))
		return false;
	if (is_content(hand, fd, blob, data))
		return true;
	unlinkat(plain_fd, hex, 0);
	return false;
}

bool blob_link_plain(struct blob_hand *hand, const struct blob *blob, const void *data)
{
	const struct blob_config *config = &hand->store->config;

	for (unsigned i = 0; i < config->n_sources && blob->size_bytes > 0; i++)
		if (config->sources[i].table && config->sources[i].plain_fd >= 0 &&
			link_plain(hand, &config->sources[i], blob, data))
			return true;
	return false;
}

bool blob_may_be_old(const struct blob_store *store, uint64_t size_bytes)
{
	for (unsigned i = 0; i < store->config.n_sources; i++) {
		const struct file_table *t = store->config.sources[i].table;

		if (!t)
			return true;
		for (uint32_t k = 0; k < t->n_contents; k++)
			if (t->contents[k].size_bytes == size_bytes)
				return true;
	}
	return false;
}
