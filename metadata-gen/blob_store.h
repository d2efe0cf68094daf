/*
 * blob_store: the distinct contents of an image. Each is hashed, and kept once: compressed under its digest
 * where that pays, else plain until it is placed under the names that have it.
 *
 * Any number of threads may work on different contents, each with a blob_hand of its own. A content belongs to
 * the thread that claimed it first, until the threads are joined.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"
#include "common/image/file_table.h"

enum {
	BLOB_MIN_BYTES = 16384, /* smaller contents are not compressed, by default */
	BLOB_LEVEL = 10,        /* zstd level, by default */
	BLOB_LEVEL_MAX = 19,    /* beyond, the window may pass what clients accept */
	BLOB_MEMORY_MAX =
		16 << 20, /* contents up to this are held in memory, one for each thread */
};
#define BLOB_MIN_RATIO 1.25 /* plain / compressed; less is kept plain, by default */

/* Where contents may be taken over from, each once it is verified. */
struct blob_source {
	int zst_fd; /* the folder of its compressed contents; -1: none of use. Borrowed, as the others */
	int plain_fd;  /* the folder of its plain files; only with a table. -1: none */
	bool in_place; /* zst_fd is the store's own folder */
	/*
	 * What the contents of an image are, by a list that can be believed: with zst_fd, a content without a
	 * compressed form did not pay; and what is not listed is not looked for. NULL: no list, so each compressed
	 * content is looked for.
	 */
	const struct file_table *table;
};

enum {
	BLOB_SOURCES_MAX = 2,
};

struct blob_config {
	int zst_fd; /* folder of the compressed contents; -1: none are made. Borrowed, as the others */
	int plain_fd; /* folder for plain contents that are to be placed; -1: none are kept */
	struct blob_source sources[BLOB_SOURCES_MAX]; /* asked in this order */
	unsigned n_sources;
	bool all_plain; /* keep every content plain as well */
	uint64_t min_bytes;
	double min_ratio;
	int level;
	unsigned n_jobs; /* threads that a very large content may have */
};

struct blob {
	struct digest digest;
	uint64_t size_bytes;
	bool has_zst;
	bool has_plain;     /* in plain_fd, under its digest, until it is placed */
	bool tried;         /* it is settled whether it has a compressed form */
	bool wanted;        /* a file of the image has it */
	const char *placed; /* where it is in the image's plain folder; NULL: nowhere yet */
	uint64_t zst_bytes; /* with has_zst; 0 if it was taken over */
	struct blob *next;  /* of all in the store */
};

struct blob_store;
struct blob_hand; /* one thread's hashing and compressing tools */

struct blob_counts {
	uint64_t n_compressed, n_reused;
	uint64_t n_refused[BLOB_SOURCES_MAX]; /* of each source, what was no good */
};

/* The settings that decide what a compressed form is, as metadata.jwt says them. */
enum {
	BLOB_SETTINGS_MAX = 96,
};
void blob_settings(const struct blob_config *config, char ret_text[BLOB_SETTINGS_MAX]);

int blob_store_new(
	const struct blob_config *config, struct blob_store **ret_store, struct ota_err *err);
void blob_store_free(struct blob_store *store);
void blob_store_freep(struct blob_store **store);
#define AUTO_BLOB_STORE CLEANUP(blob_store_freep)

struct blob_hand *blob_hand_new(struct blob_store *store); /* NULL: no memory */
void blob_hand_free(struct blob_hand *hand);
void blob_hand_freep(struct blob_hand **hand);
#define AUTO_BLOB_HAND CLEANUP(blob_hand_freep)
struct digest_ctx *blob_hand_digest(struct blob_hand *hand); /* borrowed */
/* A buffer of at least that many bytes, kept for the next call; NULL: no memory. */
void *blob_hand_memory(struct blob_hand *hand, size_t size_bytes);

/* Find or make the record of a content. 1: it is new and the caller's to fill; 0: it is known; -ENOMEM. */
int blob_claim(struct blob_store *store, const struct digest *digest, uint64_t size_bytes,
	struct blob **ret_blob, struct ota_err *err);

/*
 * Fill a claimed content from memory. With @spare it is kept plain for now, and compressed by blob_settle() only
 * if it turns out to be wanted.
 */
int blob_fill(struct blob_hand *hand, struct blob *blob, const void *data, bool spare,
	struct ota_err *err);

/*
 * Take in a whole open file of @size_bytes, from its start: hash, claim, fill. It is read once, except that a
 * file over BLOB_MEMORY_MAX is read a second time if it does not compress, if @hash_first, or if a source might have
 * had it and has not. -EAGAIN: its bytes changed meanwhile.
 */
int blob_take_file(struct blob_hand *hand, int fd, uint64_t size_bytes, bool hash_first,
	struct blob **ret_blob, struct ota_err *err);

/*
 * A content too large for memory that comes as a stream: write it to the file that this opens in plain_fd, then
 * keep it under its digest (@ret_is_new: it was not known). The name is the caller's to keep in between.
 */
enum {
	BLOB_SPOOL_NAME_MAX = 32,
};
int blob_spool_open(struct blob_store *store, char ret_name[BLOB_SPOOL_NAME_MAX], int *ret_fd,
	struct ota_err *err);
int blob_spool_keep(struct blob_store *store, const char *name, const struct digest *digest,
	uint64_t size_bytes, struct blob **ret_blob, bool *ret_is_new, struct ota_err *err);

/* Compress a content that is there plain and was not tried yet, if that pays. Anything else: nothing. */
int blob_settle(struct blob_hand *hand, struct blob *blob, struct ota_err *err);

/*
 * Put the plain content at @path below @dir_fd ("etc/hosts"), making folders as needed; names of one content are
 * linked. @path is borrowed for the life of the store. One thread only.
 */
int blob_place(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err);

/* After the threads. */
void blob_store_counts(const struct blob_store *store, struct blob_counts *ret_counts);

/* Remove what no file of the image wants, and the plain folder's leftovers. */
int blob_store_sweep(struct blob_store *store, struct ota_err *err);

enum {
	BLOB_NAME_MAX = DIGEST_HEX_MAX + 4, /* "<digest>.zst" */
};
void blob_name(const struct digest *digest, char ret_name[BLOB_NAME_MAX]);

/*
 * Decode the blob open at @fd: is it one frame with exactly this content? 0, or -EBADMSG with the reason in @err;
 * @fd_out: write the content there too, -1: nowhere.
 */
int blob_verify(struct blob_hand *hand, int fd, const struct digest *digest, uint64_t size_bytes,
	int fd_out, struct ota_err *err);
