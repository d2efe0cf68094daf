/*
 * image_parts: the signed files of an image on disk: lists, certificate, metadata.jwt; and reading them back.
 */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/crypto/cert_store.h"
#include "common/image/file_table.h"
#include "common/image/image_meta.h"
#include "metadata-gen/image_lists.h"

/* Names inside an image that are the same in all of them. */
#define IMAGE_PLAIN_DIR  "data"
#define IMAGE_ZST_DIR    "data.zst"
#define IMAGE_JWT        "metadata.jwt"
#define IMAGE_TOTAL_SIZE "total_regular_size.txt"

/* What signs an image; read before any work is done. */
struct image_signer {
	struct sign_key *key;
	struct buf cert; /* PEM */
	char cert_name[IMAGE_META_NAME_MAX];
};
#define AUTO_IMAGE_SIGNER CLEANUP(image_signer_done)
/* 0, or a sentence: unreadable, not a P-256 certificate, or the key is not the certificate's. */
int image_signer_load(struct image_signer *signer, const char *key_path, const char *cert_path,
	struct ota_err *err);
void image_signer_done(struct image_signer *signer);

/* The last component of a path. */
const char *image_base_name(const char *path);

/* Make the file @name in @dir_fd, which must not be there, and describe it in @ret_part (may be NULL). */
int image_part_make(int dir_fd, const char *name, const void *data, size_t len_bytes,
	struct image_part *ret_part, struct ota_err *err);

/*
 * One zstd frame of a list, if that is clearly smaller. 1; 0: it is not, and @ret_zst stays empty; or -errno. The same
 * bytes, level and library give the same frame.
 */
enum {
	LIST_ZST_MIN_BYTES = 4096, /* fewer come in one or two packets anyway */
};
int image_list_compress(
	const void *data, size_t len_bytes, int level, struct buf *ret_zst, struct ota_err *err);

/* Describe a text under a name. */
int image_part_describe(const char *name, const void *data, size_t len_bytes,
	struct image_part *ret_part, struct ota_err *err);

/*
 * Read the lists as a client will and refuse what it would refuse: what is built can be installed. The table
 * borrows the texts.
 */
int image_lists_check(const struct image_lists *lists, struct ota_err *err);

/* Check the persistents list of the operator: every line can be read. */
int image_persistents_check(
	const char *text, size_t len_bytes, const char *name, struct ota_err *err);

/* Call @warn for each line that can be read, but that every machine will refuse. The list has passed the check. */
void image_persistents_warn(
	const char *text, size_t len_bytes, const char *name, void (*warn)(const char *sentence));
