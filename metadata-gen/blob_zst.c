/*
 * blob_zst: the compressed forms of contents: made, and looked into. Contracts: blob_store.h, blob_parts.h.
 *
 * A compressed content is written under a temporary name and renamed, since the folder may be one that is in use
 * (metadata_gen gen writes into a published image's folder).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "metadata-gen/blob_parts.h"

enum {
	FLUSH_BYTES = 1 << 18, /* written at a time */
};

/* ---- looking into them ---- */

struct verify_sink {
	struct digest_ctx *digest; /* NULL: the bytes are compared with @same */
	const char *same;
	uint64_t n_bytes;
	int fd_out;
	int write_errno; /* the sink's own failure, as against a bad frame */
	bool differs;
};

static int verify_piece(void *ctx, const void *data, size_t len_bytes)
{
	struct verify_sink *sink = ctx;

	/* The decoder hands out no more than the content has. */
	if (sink->digest)
		digest_add(sink->digest, data, len_bytes);
	else if (memcmp(sink->same + sink->n_bytes, data, len_bytes) != 0)
		sink->differs = true;
	sink->n_bytes += len_bytes;
	if (sink->fd_out >= 0)
		sink->write_errno = file_write_all(sink->fd_out, data, len_bytes);
	return sink->differs ? -EBADMSG : sink->write_errno;
}

/* 0, -EBADMSG for the frame or its content, or another failure with a sentence. */
static int decode(struct blob_hand *hand, int fd, uint64_t size_bytes, struct verify_sink *sink,
	struct ota_err *err)
{
	uint64_t at = 0;
	size_t n = 1;
	int r = 0;

	zstd_decoder_start(hand->decoder, size_bytes);
	while (r == 0 && n > 0) {
		r = blob_read_some(fd, hand->chunk, BLOB_CHUNK_BYTES, at, &n);
		if (r < 0)
			return ota_err_wrap(err, r, "it cannot be read");
		at += n;
		r = zstd_decoder_feed(hand->decoder, hand->chunk, n, verify_piece, sink);
		if (sink->write_errno < 0)
			return ota_err_wrap(
				err, sink->write_errno, "its content cannot be written");
	}
	if (r == 0)
		r = zstd_decoder_finish(hand->decoder);
	if (r == -ENOMEM)
		return blob_no_memory(err);
	if (r < 0 && !sink->differs)
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"it is not one whole zstd frame of at most %" PRIu64 " bytes", size_bytes);
	if (r == 0 && sink->n_bytes != size_bytes)
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"it holds %" PRIu64 " bytes instead of %" PRIu64, sink->n_bytes,
			size_bytes);
	return 0;
}

static int differs(struct ota_err *err)
{
	return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"its content has another digest than its name says");
}

int blob_verify(struct blob_hand *hand, int fd, const struct digest *digest, uint64_t size_bytes,
	int fd_out, struct ota_err *err)
{
	struct verify_sink sink = {.digest = hand->digest, .fd_out = fd_out};
	struct digest found;
	int r;

	digest_start(hand->digest);
	r = decode(hand, fd, size_bytes, &sink, err);
	digest_final(hand->digest, &found);
	if (r < 0)
		return r;
	return digest_equal(&found, digest) ? 0 : differs(err);
}

int blob_matches(
	struct blob_hand *hand, int fd, const void *data, uint64_t size_bytes, struct ota_err *err)
{
	struct verify_sink sink = {.same = data, .fd_out = -1};
	int r = decode(hand, fd, size_bytes, &sink, err);

	if (r < 0)
		return r;
	return sink.differs ? differs(err) : 0;
}

/* ---- compressing ---- */

bool blob_pays(const struct blob_config *config, uint64_t plain_bytes, uint64_t zst_bytes)
{
	return zst_bytes > 0 && (double)plain_bytes / (double)zst_bytes >= config->min_ratio;
}

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

static int tmp_open(
	struct blob_hand *hand, int dir_fd, char ret_tmp[BLOB_TMP_NAME_MAX], struct ota_err *err)
{
	int fd;

	blob_temporary_name(hand->store, ret_tmp);
	fd = openat(dir_fd, ret_tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? ota_err_wrap(err, -errno, "Cannot make a temporary file in the image") : fd;
}

int blob_zst_settle(struct blob_hand *hand, struct blob *blob, const char *tmp, uint64_t zst_bytes,
	struct ota_err *err)
{
	int dir_fd = hand->store->config.zst_fd;
	char name[BLOB_NAME_MAX];

	blob_name(&blob->digest, name);
	if (renameat(dir_fd, tmp, dir_fd, name) < 0)
		return blob_write_failed(-errno, blob, ".zst", err);
	blob->has_zst = true;
	blob->zst_bytes = zst_bytes;
	blob_count(hand->store, &hand->store->counts.n_compressed);
	return 0;
}

int blob_zst_from_memory(
	struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err)
{
	int dir_fd = hand->store->config.zst_fd;
	char tmp[BLOB_TMP_NAME_MAX];
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
	if (!blob_pays(&hand->store->config, blob->size_bytes, sink.n_bytes))
		return 0;
	fd = tmp_open(hand, dir_fd, tmp, err);
	if (fd < 0)
		return fd;
	r = file_write_all(fd, buf_str(&hand->out), hand->out.len_bytes);
	if (r < 0) {
		unlinkat(dir_fd, tmp, 0);
		return blob_write_failed(r, blob, ".zst", err);
	}
	return blob_zst_settle(hand, blob, tmp, sink.n_bytes, err);
}

/* Hash @fd and, with @sink, compress it until it is clear that this does not pay. */
static int pass_read(struct blob_hand *hand, int fd, uint64_t size_bytes, struct zst_sink *sink,
	struct blob_pass *pass, struct ota_err *err)
{
	bool compress = sink != NULL;
	int r = compress ? zstd_encoder_start(hand->encoder, size_bytes) : 0;
	uint64_t at = 0;
	size_t n = 1;

	digest_start(hand->digest);
	while (r == 0 && n > 0) {
		r = blob_read_some(fd, hand->chunk, BLOB_CHUNK_BYTES, at, &n);
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
	pass->pays = !sink->too_large && blob_pays(&hand->store->config, size_bytes, sink->n_bytes);
	return 0;
}

int blob_pass_hash(struct blob_hand *hand, int fd, uint64_t size_bytes, struct blob_pass *ret_pass,
	struct ota_err *err)
{
	return pass_read(hand, fd, size_bytes, NULL, ret_pass, err);
}

int blob_pass_compress(struct blob_hand *hand, int fd, uint64_t size_bytes,
	struct blob_pass *ret_pass, struct ota_err *err)
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

int blob_zst_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err)
{
	struct blob_pass pass;
	int r = blob_pass_compress(hand, fd, blob->size_bytes, &pass, err);

	if (r < 0)
		return r;
	if (!digest_equal(&pass.digest, &blob->digest)) {
		if (pass.pays)
			unlinkat(hand->store->config.zst_fd, pass.tmp, 0);
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC, "it changed while it was read");
	}
	return pass.pays ? blob_zst_settle(hand, blob, pass.tmp, pass.zst_bytes, err) : 0;
}
