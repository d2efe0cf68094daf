/*
 * blob_store: the table of contents by digest. Contract: blob_store.h.
 *
 * The lock guards the table, the list and the counters; no I/O happens under it. All else of a content belongs to
 * the thread that claimed it.
 *
 * Elsewhere: compressed forms (blob_zst.c, blob_old.c), contents in (blob_fill.c), contents out (blob_place.c).
 */
#include "metadata-gen/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "metadata-gen/blob_parts.h"

static int by_digest_cmp(const void *a, const void *b)
{
	const struct blob *x = a, *y = b;

	return memcmp(x->digest.bytes, y->digest.bytes, DIGEST_BYTES);
}

int blob_no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "a content");
}

void blob_settings(const struct blob_config *config, char ret_text[BLOB_SETTINGS_MAX])
{
	if (config->zst_fd >= 0)
		snprintf(ret_text, BLOB_SETTINGS_MAX,
			"zstd level=%d min_bytes=%" PRIu64 " min_ratio=%g", config->level,
			config->min_bytes, config->min_ratio);
	else /* patches have a level all the same */
		snprintf(ret_text, BLOB_SETTINGS_MAX, "none level=%d", config->level);
}

int blob_store_new(
	const struct blob_config *config, struct blob_store **ret_store, struct ota_err *err)
{
	struct blob_store *store = calloc(1, sizeof(*store));

	if (!store)
		return blob_no_memory(err);
	store->config = *config;
	pthread_mutex_init(&store->lock, NULL);
	*ret_store = store;
	return 0;
}

static void keep(void *blob)
{
}

void blob_store_free(struct blob_store *store)
{
	if (!store)
		return;
	tdestroy(store->by_digest, keep);
	arena_done(&store->arena);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

void blob_store_freep(struct blob_store **store)
{
	blob_store_free(*store);
}

struct blob_hand *blob_hand_new(struct blob_store *store)
{
	AUTO_BLOB_HAND struct blob_hand *hand = calloc(1, sizeof(*hand));

	if (!hand)
		return NULL;
	hand->store = store;
	hand->digest = digest_ctx_new();
	hand->decoder = zstd_decoder_new();
	hand->chunk = malloc(BLOB_CHUNK_BYTES);
	if (!hand->digest || !hand->decoder || !hand->chunk)
		return NULL;
	if (store && store->config.zst_fd >= 0) {
		hand->encoder = zstd_encoder_new(store->config.level);
		if (!hand->encoder)
			return NULL;
		zstd_encoder_share(hand->encoder, store->config.n_jobs);
	}
	return TAKE_PTR(hand);
}

void blob_hand_free(struct blob_hand *hand)
{
	if (!hand)
		return;
	digest_ctx_free(hand->digest);
	zstd_encoder_free(hand->encoder);
	zstd_decoder_free(hand->decoder);
	free(hand->memory);
	free(hand->chunk);
	buf_done(&hand->out);
	free(hand);
}

void blob_hand_freep(struct blob_hand **hand)
{
	blob_hand_free(*hand);
}

struct digest_ctx *blob_hand_digest(struct blob_hand *hand)
{
	return hand->digest;
}

void *blob_hand_memory(struct blob_hand *hand, size_t size_bytes)
{
	if (size_bytes > hand->memory_bytes || !hand->memory) {
		size_t want = MAX_OF(size_bytes, (size_t)BLOB_MIN_BYTES);

		free(hand->memory);
		hand->memory = malloc(want);
		hand->memory_bytes = hand->memory ? want : 0;
	}
	return hand->memory;
}

void blob_name(const struct digest *digest, char ret_name[BLOB_NAME_MAX])
{
	digest_to_hex(digest, ret_name);
	memcpy(ret_name + DIGEST_HEX_MAX - 1, ".zst", sizeof(".zst"));
}

int blob_claim(struct blob_store *store, const struct digest *digest, uint64_t size_bytes,
	struct blob **ret_blob, struct ota_err *err)
{
	struct blob key = {.digest = *digest};
	struct blob *blob = NULL;
	void *found;
	int r = 0;

	pthread_mutex_lock(&store->lock);
	found = tfind(&key, &store->by_digest, by_digest_cmp);
	if (found) {
		blob = *(struct blob **)found;
	} else {
		blob = arena_alloc(&store->arena, sizeof(*blob));
		r = -ENOMEM;
		if (blob) {
			*blob = (struct blob){.digest = *digest, .size_bytes = size_bytes};
			r = tsearch(blob, &store->by_digest, by_digest_cmp) ? 1 : -ENOMEM;
		}
		if (r == 1) {
			blob->next = store->list;
			store->list = blob;
		}
	}
	pthread_mutex_unlock(&store->lock);
	if (r < 0)
		return blob_no_memory(err);
	*ret_blob = blob;
	return r;
}

void blob_store_counts(const struct blob_store *store, struct blob_counts *ret_counts)
{
	*ret_counts = store->counts;
}

void blob_count(struct blob_store *store, uint64_t *counter)
{
	pthread_mutex_lock(&store->lock);
	++*counter;
	pthread_mutex_unlock(&store->lock);
}

void blob_temporary_name(struct blob_store *store, char ret_name[BLOB_TMP_NAME_MAX])
{
	uint64_t n;

	pthread_mutex_lock(&store->lock);
	n = store->n_names++;
	pthread_mutex_unlock(&store->lock);
	snprintf(ret_name, BLOB_TMP_NAME_MAX, ".tmp-%" PRIu64, n);
}

int blob_read_some(int fd, void *data, size_t len, uint64_t at, size_t *ret_len)
{
	for (;;) {
		ssize_t n = pread(fd, data, len, (off_t)at);

		if (n >= 0) {
			*ret_len = (size_t)n;
			return 0;
		}
		if (errno != EINTR)
			return -errno;
	}
}
int blob_write_failed(int r, const struct blob *blob, const char *dot_zst, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&blob->digest, hex);
	return ota_err_wrap(err, r, "Cannot write %s%s", hex, dot_zst);
}

bool blob_may_compress(const struct blob_hand *hand, uint64_t size_bytes)
{
	return hand->store->config.zst_fd >= 0 && size_bytes > 0 &&
	       size_bytes >= hand->store->config.min_bytes;
}

int blob_spool_open(struct blob_store *store, char ret_name[BLOB_SPOOL_NAME_MAX], int *ret_fd,
	struct ota_err *err)
{
	char name[BLOB_TMP_NAME_MAX];
	int fd;

	blob_temporary_name(store, name);
	fd = openat(store->config.plain_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return ota_err_wrap(err, -errno, "Cannot make a temporary file in the image");
	memcpy(ret_name, name, strlen(name) + 1);
	*ret_fd = fd;
	return 0;
}

int blob_spool_keep(struct blob_store *store, const char *name, const struct digest *digest,
	uint64_t size_bytes, struct blob **ret_blob, bool *ret_is_new, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	int r = blob_claim(store, digest, size_bytes, ret_blob, err);

	if (r < 0)
		return r;
	*ret_is_new = r == 1;
	digest_to_hex(digest, hex);
	if (r == 0)
		r = unlinkat(store->config.plain_fd, name, 0);
	else
		r = renameat(store->config.plain_fd, name, store->config.plain_fd, hex);
	if (r < 0)
		return ota_err_wrap(err, -errno, "Cannot keep a content in the image");
	if (*ret_is_new)
		(*ret_blob)->has_plain = true;
	return 0;
}
int blob_store_sweep(struct blob_store *store, struct ota_err *err)
{
	for (struct blob *blob = store->list; blob; blob = blob->next) {
		char name[BLOB_NAME_MAX];

		blob_name(&blob->digest, name);
		if (blob->has_zst && !blob->wanted && unlinkat(store->config.zst_fd, name, 0) < 0)
			return ota_err_wrap(err, -errno, "Cannot remove %s", name);
		name[DIGEST_HEX_MAX - 1] = '\0';
		if (blob->has_plain && unlinkat(store->config.plain_fd, name, 0) < 0)
			return ota_err_wrap(err, -errno, "Cannot remove %s", name);
		blob->has_plain = false;
	}
	return 0;
}
