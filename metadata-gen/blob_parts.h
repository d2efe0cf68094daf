/*
 * blob_parts: what the files of the blob_store share: blob_store.c (the table), blob_zst.c (compressed forms),
 * blob_old.c (those of older images), blob_fill.c (contents in), blob_place.c (contents out). Private to them.
 */
#pragma once

#include <pthread.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/codec/zstd_stream.h"
#include "metadata-gen/blob_store.h"

enum {
	BLOB_CHUNK_BYTES = 1 << 20, /* read at a time */
	BLOB_TMP_NAME_MAX = BLOB_SPOOL_NAME_MAX,
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
	char *chunk;    /* BLOB_CHUNK_BYTES */
	struct buf out; /* compressed bytes on their way */
};

int blob_no_memory(struct ota_err *err);
/* "Cannot write <digest>.zst: …" */
int blob_write_failed(int r, const struct blob *blob, const char *dot_zst, struct ota_err *err);
void blob_count(struct blob_store *store, uint64_t *counter);
void blob_temporary_name(struct blob_store *store, char ret_name[BLOB_TMP_NAME_MAX]);
/* pread that is not disturbed by signals; *ret_len 0 at the end. */
int blob_read_some(int fd, void *data, size_t len, uint64_t at, size_t *ret_len);

/* Are contents of this size compressed at all? */
bool blob_may_compress(const struct blob_hand *hand, uint64_t size_bytes);

/*
 * Take over an old blob if its bytes are right: those at @data, or if that is NULL those of the digest. 1: it is
 * settled whether the content has a compressed form; 0: there is none of use, and nothing is known.
 */
int blob_take_over(
	struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err);

/* Link a plain file of a source under the content's digest in plain_fd, if its bytes are right (as above). */
bool blob_link_plain(struct blob_hand *hand, const struct blob *blob, const void *data);

/* Might a source have a content of this size? */
bool blob_may_be_old(const struct blob_store *store, uint64_t size_bytes);

/* The law of the format's threshold, in the numbers that were really reached. */
bool blob_pays(const struct blob_config *config, uint64_t plain_bytes, uint64_t zst_bytes);

/* As blob_verify(), by the bytes themselves. */
int blob_matches(
	struct blob_hand *hand, int fd, const void *data, uint64_t size_bytes, struct ota_err *err);

/* Compress a claimed content, if that pays. */
int blob_zst_from_memory(
	struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err);
int blob_zst_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err);

/* What one pass over a large file has found. */
struct blob_pass {
	struct digest digest;
	char tmp[BLOB_TMP_NAME_MAX]; /* the compressed form, if pays */
	uint64_t zst_bytes;
	bool pays;
};

/* Hash a file. */
int blob_pass_hash(struct blob_hand *hand, int fd, uint64_t size_bytes, struct blob_pass *ret_pass,
	struct ota_err *err);

/* Hash and compress it at once; leaves the temporary file only if that pays. */
int blob_pass_compress(struct blob_hand *hand, int fd, uint64_t size_bytes,
	struct blob_pass *ret_pass, struct ota_err *err);

/* The finished temporary file becomes the blob. */
int blob_zst_settle(struct blob_hand *hand, struct blob *blob, const char *tmp, uint64_t zst_bytes,
	struct ota_err *err);

/* Copy @fd to @out: the bytes must be the blob's. */
int blob_copy_checked(
	struct blob_hand *hand, const struct blob *blob, int fd, int out, struct ota_err *err);
