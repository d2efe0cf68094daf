/*
 * blob_store: contents by digest. Contract: blob_store.h.
 *
 * The lock guards the table of contents, the list and the counters; no I/O happens under it. All else of a
 * content belongs to the thread that claimed it.
 *
 * A compressed content is written under a temporary name and renamed, since the folder may be one that is in use
 * (metadata_gen gen writes into a published image's folder).
 */
#include "metadata-gen/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/codec/zstd_stream.h"

enum {
	CHUNK_BYTES = 1 << 20,
	FLUSH_BYTES = 1 << 18,
	TMP_NAME_MAX = 40,
};

struct blob_store {
	struct blob_config config;
	pthread_mutex_t lock;
	struct arena arena;
	void *by_digest;
	struct blob *list;
	struct blob_counts counts;
	uint64_t n_names; /* temporary names handed out */
};

struct blob_hand {
	struct blob_store *store;
	struct digest_ctx *digest;
	struct zstd_encoder *encoder;
	struct zstd_decoder *decoder;
	void *memory; /* blob_hand_memory() */
	size_t memory_bytes;
	char *chunk;    /* CHUNK_BYTES */
	struct buf out; /* compressed bytes on their way */
};

static int by_digest_cmp(const void *a, const void *b)
{
	const struct blob *x = a, *y = b;

	return memcmp(x->digest.bytes, y->digest.bytes, DIGEST_BYTES);
}

static int no_memory(struct ota_err *err)
{
	return ota_err_set(err, -ENOMEM, OTA_E_UNSPECIFIC, "Out of memory");
}

int blob_store_new(
	const struct blob_config *config, struct blob_store **ret_store, struct ota_err *err)
{
	struct blob_store *store = calloc(1, sizeof(*store));

	if (!store)
		return no_memory(err);
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
	hand->chunk = malloc(CHUNK_BYTES);
	if (!hand->digest || !hand->decoder || !hand->chunk)
		return NULL;
	if (store && store->config.zst_fd >= 0) {
		hand->encoder = zstd_encoder_new(store->config.level);
		if (!hand->encoder)
			return NULL;
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
		return no_memory(err);
	*ret_blob = blob;
	return r;
}

struct blob *blob_store_list(const struct blob_store *store)
{
	return store->list;
}

void blob_store_counts(const struct blob_store *store, struct blob_counts *ret_counts)
{
	*ret_counts = store->counts;
}

static void count(struct blob_store *store, uint64_t *counter)
{
	pthread_mutex_lock(&store->lock);
	++*counter;
	pthread_mutex_unlock(&store->lock);
}

static void temporary_name(struct blob_store *store, char ret_name[TMP_NAME_MAX])
{
	uint64_t n;

	pthread_mutex_lock(&store->lock);
	n = store->n_names++;
	pthread_mutex_unlock(&store->lock);
	snprintf(ret_name, TMP_NAME_MAX, ".tmp-%" PRIu64, n);
}

static int read_some(int fd, void *data, size_t len, uint64_t at, size_t *ret_len)
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

/* ---- looking into compressed contents ---- */

struct verify_sink {
	struct digest_ctx *digest;
	uint64_t n_bytes;
	int fd_out;
	int write_errno; /* the sink's own failure, as against a bad frame */
};

static int verify_piece(void *ctx, const void *data, size_t len_bytes)
{
	struct verify_sink *sink = ctx;

	digest_add(sink->digest, data, len_bytes);
	sink->n_bytes += len_bytes;
	if (sink->fd_out >= 0)
		sink->write_errno = file_write_all(sink->fd_out, data, len_bytes);
	return sink->write_errno;
}

int blob_verify(struct blob_hand *hand, int fd, const struct digest *digest, uint64_t size_bytes,
	int fd_out, struct ota_err *err)
{
	struct verify_sink sink = {.digest = hand->digest, .fd_out = fd_out};
	struct digest found;
	uint64_t at = 0;
	int r = 0;

	zstd_decoder_start(hand->decoder, size_bytes);
	digest_start(hand->digest);
	for (;;) {
		size_t n = 0;

		r = read_some(fd, hand->chunk, CHUNK_BYTES, at, &n);
		if (r < 0)
			return ota_err_wrap(err, r, "It cannot be read");
		if (n == 0)
			break;
		at += n;
		r = zstd_decoder_feed(hand->decoder, hand->chunk, n, verify_piece, &sink);
		if (sink.write_errno < 0)
			return ota_err_wrap(err, sink.write_errno, "Its content cannot be written");
		if (r < 0)
			break;
	}
	if (r == 0)
		r = zstd_decoder_finish(hand->decoder);
	digest_final(hand->digest, &found);
	if (r == -ENOMEM)
		return no_memory(err);
	if (r < 0)
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"it is not one whole zstd frame of at most %" PRIu64 " bytes", size_bytes);
	if (sink.n_bytes != size_bytes)
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"it holds %" PRIu64 " bytes instead of %" PRIu64, sink.n_bytes, size_bytes);
	if (!digest_equal(&found, digest))
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"its content has another digest than its name says");
	return 0;
}

/* Take over an old blob if its bytes are right: 1. 0: there is none of use. */
static int take_over(struct blob_hand *hand, struct blob *blob, struct ota_err *err)
{
	const struct blob_config *config = &hand->store->config;
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	struct ota_err why = {0};
	int r;

	if (config->old_fd < 0)
		return 0;
	blob_name(&blob->digest, name);
	fd = openat(config->old_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	r = blob_verify(hand, fd, &blob->digest, blob->size_bytes, -1, &why);
	if (r == -ENOMEM)
		return no_memory(err);
	if (r < 0) {
		count(hand->store, &hand->store->counts.n_refused_old);
		return 0;
	}
	/* A link that cannot be made (too many, another owner's file) costs only the compression. */
	if (!config->same_dir && linkat(config->old_fd, name, config->zst_fd, name, 0) < 0)
		return 0;
	blob->has_zst = true;
	blob->zst_bytes = (uint64_t)st.st_size;
	count(hand->store, &hand->store->counts.n_reused);
	return 1;
}

/* ---- compressing ---- */

/* Where compressed bytes go. With a file they are flushed there, else they gather in memory. */
struct zst_sink {
	struct buf *out;
	int fd;             /* -1: keep all in memory */
	uint64_t n_bytes;   /* so far */
	uint64_t max_bytes; /* more than this does not pay */
	bool too_large;
};

static int zst_flush(struct zst_sink *sink)
{
	int r = file_write_all(sink->fd, buf_str(sink->out), sink->out->len_bytes);

	sink->out->len_bytes = 0;
	return r;
}

static int zst_piece(void *ctx, const void *data, size_t len_bytes)
{
	struct zst_sink *sink = ctx;
	int r;

	sink->n_bytes += len_bytes;
	if (sink->n_bytes > sink->max_bytes) {
		sink->too_large = true;
		return -EFBIG;
	}
	r = buf_append(sink->out, data, len_bytes);
	if (r == 0 && sink->fd >= 0 && sink->out->len_bytes >= FLUSH_BYTES)
		r = zst_flush(sink);
	return r;
}

static void zst_sink_start(
	struct zst_sink *sink, struct blob_hand *hand, int fd, uint64_t size_bytes)
{
	*sink = (struct zst_sink){
		.out = &hand->out,
		.fd = fd,
		.max_bytes = (uint64_t)((double)size_bytes / hand->store->config.min_ratio),
	};
	hand->out.len_bytes = 0;
}

/* The law of the format's threshold, in the numbers that were really reached. */
static bool pays(const struct blob_config *config, uint64_t plain_bytes, uint64_t zst_bytes)
{
	return zst_bytes > 0 && (double)plain_bytes / (double)zst_bytes >= config->min_ratio;
}

static int write_failed(int r, const struct blob *blob, const char *dot_zst, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&blob->digest, hex);
	return ota_err_wrap(err, r, "Cannot write %s%s", hex, dot_zst);
}

static int tmp_open(
	struct blob_hand *hand, int dir_fd, char ret_tmp[TMP_NAME_MAX], struct ota_err *err)
{
	int fd;

	temporary_name(hand->store, ret_tmp);
	fd = openat(dir_fd, ret_tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? ota_err_wrap(err, -errno, "Cannot make a temporary file in the image") : fd;
}

/* The finished temporary file becomes the blob. */
static int zst_settle(struct blob_hand *hand, struct blob *blob, const char *tmp,
	uint64_t zst_bytes, struct ota_err *err)
{
	int dir_fd = hand->store->config.zst_fd;
	char name[BLOB_NAME_MAX];

	blob_name(&blob->digest, name);
	if (renameat(dir_fd, tmp, dir_fd, name) < 0)
		return write_failed(-errno, blob, ".zst", err);
	blob->has_zst = true;
	blob->zst_bytes = zst_bytes;
	count(hand->store, &hand->store->counts.n_compressed);
	return 0;
}

static bool may_compress(const struct blob_hand *hand, uint64_t size_bytes)
{
	return hand->store->config.zst_fd >= 0 && size_bytes > 0 &&
	       size_bytes >= hand->store->config.min_bytes;
}

static int zst_from_memory(
	struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err)
{
	int dir_fd = hand->store->config.zst_fd;
	char tmp[TMP_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct zst_sink sink;
	int r;

	zst_sink_start(&sink, hand, -1, blob->size_bytes);
	r = zstd_encoder_start(hand->encoder, blob->size_bytes);
	if (r == 0)
		r = zstd_encoder_feed(hand->encoder, data, blob->size_bytes, zst_piece, &sink);
	if (r == 0)
		r = zstd_encoder_finish(hand->encoder, zst_piece, &sink);
	if (sink.too_large)
		return 0;
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot compress a content");
	if (!pays(&hand->store->config, blob->size_bytes, sink.n_bytes))
		return 0;
	fd = tmp_open(hand, dir_fd, tmp, err);
	if (fd < 0)
		return fd;
	r = file_write_all(fd, buf_str(&hand->out), hand->out.len_bytes);
	if (r < 0) {
		unlinkat(dir_fd, tmp, 0);
		return write_failed(r, blob, ".zst", err);
	}
	return zst_settle(hand, blob, tmp, sink.n_bytes, err);
}

/* What one pass over a large file has found. */
struct pass {
	struct digest digest;
	char tmp[TMP_NAME_MAX]; /* the compressed form, if pays */
	uint64_t zst_bytes;
	bool pays;
};

/* Hash @fd and, with @sink, compress it until it is clear that this does not pay. */
static int pass_read(struct blob_hand *hand, int fd, uint64_t size_bytes, struct zst_sink *sink,
	struct pass *pass, struct ota_err *err)
{
	bool compress = sink != NULL;
	int r = compress ? zstd_encoder_start(hand->encoder, size_bytes) : 0;
	uint64_t at = 0;
	size_t n = 1;

	digest_start(hand->digest);
	while (r == 0 && n > 0) {
		r = read_some(fd, hand->chunk, CHUNK_BYTES, at, &n);
		if (r < 0)
			break;
		digest_add(hand->digest, hand->chunk, n);
		at += n;
		if (at > size_bytes || !compress)
			continue;
		r = n > 0 ? zstd_encoder_feed(hand->encoder, hand->chunk, n, zst_piece, sink) : 0;
		if (r < 0 && sink->too_large) {
			compress = false;
			r = 0;
		}
	}
	digest_final(hand->digest, &pass->digest);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot read or compress a content");
	if (at != size_bytes)
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC,
			"its size changed from %" PRIu64 " to %" PRIu64 " bytes while it was read",
			size_bytes, at);
	if (!compress)
		return 0;
	r = zstd_encoder_finish(hand->encoder, zst_piece, sink);
	if (r == 0)
		r = zst_flush(sink);
	if (r < 0 && !sink->too_large)
		return ota_err_wrap(err, r, "Cannot write a compressed content");
	pass->zst_bytes = sink->n_bytes;
	pass->pays = !sink->too_large && pays(&hand->store->config, size_bytes, sink->n_bytes);
	return 0;
}

/* One pass that hashes and compresses; leaves the temporary file only if it pays. */
static int pass_compress(struct blob_hand *hand, int fd, uint64_t size_bytes, struct pass *ret_pass,
	struct ota_err *err)
{
	int dir_fd = hand->store->config.zst_fd;
	AUTO_CLOSE int out = tmp_open(hand, dir_fd, ret_pass->tmp, err);
	struct zst_sink sink;
	int r;

	if (out < 0)
		return out;
	ret_pass->pays = false;
	zst_sink_start(&sink, hand, out, size_bytes);
	r = pass_read(hand, fd, size_bytes, &sink, ret_pass, err);
	if (r < 0 || !ret_pass->pays)
		unlinkat(dir_fd, ret_pass->tmp, 0);
	return r;
}

static int zst_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err)
{
	struct pass pass;
	int r = pass_compress(hand, fd, blob->size_bytes, &pass, err);

	if (r < 0)
		return r;
	if (!digest_equal(&pass.digest, &blob->digest)) {
		if (pass.pays)
			unlinkat(hand->store->config.zst_fd, pass.tmp, 0);
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC, "it changed while it was read");
	}
	return pass.pays ? zst_settle(hand, blob, pass.tmp, pass.zst_bytes, err) : 0;
}

/* ---- plain contents ---- */

static bool wants_plain(const struct blob_hand *hand, const struct blob *blob)
{
	return hand->store->config.plain_fd >= 0 &&
	       (!blob->has_zst || hand->store->config.all_plain);
}

static int plain_from_memory(
	struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int fd = -1;
	int r;

	digest_to_hex(&blob->digest, hex);
	fd = openat(
		hand->store->config.plain_fd, hex, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	r = fd < 0 ? -errno : file_write_all(fd, data, blob->size_bytes);
	if (r < 0)
		return write_failed(r, blob, "", err);
	blob->has_plain = true;
	return 0;
}

/* Copy @fd to @out, hashing: the bytes must still be the blob's. */
static int copy_checked(
	struct blob_hand *hand, const struct blob *blob, int fd, int out, struct ota_err *err)
{
	struct digest found;
	uint64_t at = 0;
	size_t n = 1;
	int r = 0;

	digest_start(hand->digest);
	while (r == 0 && n > 0 && at <= blob->size_bytes) {
		r = read_some(fd, hand->chunk, CHUNK_BYTES, at, &n);
		if (r < 0)
			break;
		digest_add(hand->digest, hand->chunk, n);
		at += n;
		r = file_write_all(out, hand->chunk, n);
	}
	digest_final(hand->digest, &found);
	if (r < 0)
		return write_failed(r, blob, "", err);
	if (!digest_equal(&found, &blob->digest))
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC, "it changed while it was read");
	return 0;
}

static int plain_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int out = -1;
	int r;

	digest_to_hex(&blob->digest, hex);
	out = openat(
		hand->store->config.plain_fd, hex, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (out < 0)
		return write_failed(-errno, blob, "", err);
	r = copy_checked(hand, blob, fd, out, err);
	if (r == 0)
		blob->has_plain = true;
	return r;
}

static int drop_plain(struct blob_hand *hand, struct blob *blob, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&blob->digest, hex);
	if (unlinkat(hand->store->config.plain_fd, hex, 0) < 0)
		return ota_err_wrap(err, -errno, "Cannot remove the plain copy of %s", hex);
	blob->has_plain = false;
	return 0;
}

/* ---- the ways in ---- */

int blob_fill(struct blob_hand *hand, struct blob *blob, const void *data, bool spare,
	struct ota_err *err)
{
	int r;

	if (spare)
		return plain_from_memory(hand, blob, data, err);
	blob->tried = true;
	if (may_compress(hand, blob->size_bytes)) {
		r = take_over(hand, blob, err);
		if (r == 0)
			r = zst_from_memory(hand, blob, data, err);
		if (r < 0)
			return r;
	}
	return wants_plain(hand, blob) ? plain_from_memory(hand, blob, data, err) : 0;
}

/* A claimed content that is too large for memory, its digest already known. */
static int fill_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err)
{
	int r;

	blob->tried = true;
	if (may_compress(hand, blob->size_bytes)) {
		r = take_over(hand, blob, err);
		if (r == 0)
			r = zst_from_file(hand, blob, fd, err);
		if (r < 0)
			return r;
	}
	return wants_plain(hand, blob) ? plain_from_file(hand, blob, fd, err) : 0;
}

static int take_small(
	struct blob_hand *hand, int fd, size_t size, struct blob **ret_blob, struct ota_err *err)
{
	/* One byte more than it should have shows that a file has grown. */
	char *data = blob_hand_memory(hand, size + 1);
	struct digest digest;
	size_t at = 0, n = 1;
	int r;

	if (!data)
		return no_memory(err);
	while (n > 0 && at <= size) {
		r = read_some(fd, data + at, size + 1 - at, at, &n);
		if (r < 0)
			return ota_err_wrap(err, r, "it cannot be read");
		at += n;
	}
	if (at != size)
		return ota_err_set(
			err, -EAGAIN, OTA_E_UNSPECIFIC, "its size changed while it was read");
	digest_start(hand->digest);
	digest_add(hand->digest, data, size);
	digest_final(hand->digest, &digest);
	r = blob_claim(hand->store, &digest, size, ret_blob, err);
	return r == 1 ? blob_fill(hand, *ret_blob, data, false, err) : r;
}

/* Hash and compress in one pass; the digest shows only afterwards whether that was needed. */
static int take_in_one_pass(struct blob_hand *hand, int fd, uint64_t size_bytes,
	struct blob **ret_blob, struct ota_err *err)
{
	struct pass pass;
	int r = pass_compress(hand, fd, size_bytes, &pass, err);

	if (r < 0)
		return r;
	r = blob_claim(hand->store, &pass.digest, size_bytes, ret_blob, err);
	if (r <= 0) {
		if (pass.pays)
			unlinkat(hand->store->config.zst_fd, pass.tmp, 0);
		return r;
	}
	(*ret_blob)->tried = true;
	r = pass.pays ? zst_settle(hand, *ret_blob, pass.tmp, pass.zst_bytes, err) : 0;
	if (r == 0 && wants_plain(hand, *ret_blob))
		r = plain_from_file(hand, *ret_blob, fd, err);
	return r;
}

int blob_take_file(struct blob_hand *hand, int fd, uint64_t size_bytes, bool hash_first,
	struct blob **ret_blob, struct ota_err *err)
{
	struct pass pass;
	int r;

	if (size_bytes <= BLOB_MEMORY_MAX)
		return take_small(hand, fd, (size_t)size_bytes, ret_blob, err);
	if (!hash_first && may_compress(hand, size_bytes))
		return take_in_one_pass(hand, fd, size_bytes, ret_blob, err);
	r = pass_read(hand, fd, size_bytes, NULL, &pass, err);
	if (r < 0)
		return r;
	r = blob_claim(hand->store, &pass.digest, size_bytes, ret_blob, err);
	return r == 1 ? fill_from_file(hand, *ret_blob, fd, err) : r;
}

int blob_spool_open(struct blob_store *store, char ret_name[BLOB_SPOOL_NAME_MAX], int *ret_fd,
	struct ota_err *err)
{
	char name[TMP_NAME_MAX];
	int fd;

	temporary_name(store, name);
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

int blob_settle(struct blob_hand *hand, struct blob *blob, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int fd = -1;
	int r;

	if (blob->tried || !blob->has_plain)
		return 0;
	blob->tried = true;
	if (!may_compress(hand, blob->size_bytes))
		return 0;
	digest_to_hex(&blob->digest, hex);
	fd = openat(hand->store->config.plain_fd, hex, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ota_err_wrap(err, -errno, "Cannot open the plain copy of %s", hex);
	r = take_over(hand, blob, err);
	if (r == 0)
		r = zst_from_file(hand, blob, fd, err);
	if (r < 0)
		return r;
	return wants_plain(hand, blob) ? 0 : drop_plain(hand, blob, err);
}

/* ---- placing ---- */

/* Make the folders on the way to @path. */
static int make_parents(int dir_fd, const char *path)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len + 1);
	for (char *slash = strchr(dir, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdirat(dir_fd, dir, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

/* Write the content at @path from the place where it is already. */
static int copy_placed(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	AUTO_CLOSE int fd = openat(dir_fd, blob->placed, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int out = -1;

	if (fd < 0)
		return -errno;
	out = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	return out < 0 ? -errno : copy_checked(hand, blob, fd, out, err);
}

/* Write the content at @path from its compressed form. */
static int unpack(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1, out = -1;

	blob_name(&blob->digest, name);
	fd = openat(hand->store->config.zst_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	out = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (out < 0)
		return -errno;
	return blob_verify(hand, fd, &blob->digest, blob->size_bytes, out, err);
}

static int place(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	if (blob->placed) {
		if (linkat(dir_fd, blob->placed, dir_fd, path, 0) == 0)
			return 0;
		if (errno != EMLINK)
			return -errno;
		return copy_placed(hand, blob, dir_fd, path, err);
	}
	if (!blob->has_plain)
		return unpack(hand, blob, dir_fd, path, err);
	digest_to_hex(&blob->digest, hex);
	return renameat(hand->store->config.plain_fd, hex, dir_fd, path) < 0 ? -errno : 0;
}

int blob_place(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	int r = place(hand, blob, dir_fd, path, err);

	if (r == -ENOENT) {
		r = make_parents(dir_fd, path);
		if (r == 0)
			r = place(hand, blob, dir_fd, path, err);
	}
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot put %s into the image", path);
	if (blob->has_plain && !blob->placed)
		blob->has_plain = false; /* it was moved */
	blob->placed = path;
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
