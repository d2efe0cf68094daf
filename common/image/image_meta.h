/*
 * image_meta: metadata.jwt, the signed table of contents of an image.
 *
 * What is verified is the slice as received, and only what was verified is then used; until then nothing
 * but the certificate's name and digest is taken from it, both checked for form.
 *
 * Format: docs/formats.md, "metadata.jwt".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/crypto/cert_store.h"
#include "common/crypto/digest.h"
#include "common/image/list_patches.h"

enum {
	IMAGE_META_JWT_MAX_BYTES = 256 * 1024,             /* a real one has about 1 kB */
	IMAGE_META_NAME_MAX = 256,                         /* one path component with its NUL */
	IMAGE_META_ZST_NAME_MAX = IMAGE_META_NAME_MAX + 4, /* the same with ".zst" */
	IMAGE_META_TEXT_MAX = 256, /* a remark for builders with its NUL; ours has 50 */
};

/* A file of the image that metadata.jwt vouches for. name[0] == '\0': the image has none. */
struct image_part {
	char name[IMAGE_META_NAME_MAX]; /* always a single path component */
	struct digest digest;
};

struct image_meta {
	struct image_part dirs, symlinks, regulars, persistents, certificate;
	struct image_part attributes; /* our extension "x_attributes"; optional */
	struct image_part patches;    /* 〃 "x_patches" */
	char rootfs_dir[IMAGE_META_NAME_MAX];
	char compressed_dir[IMAGE_META_NAME_MAX]; /* "" = no compressed contents */
	char compression[IMAGE_META_TEXT_MAX];    /* our extension "x_compression"; "" = not said */
	/* 〃 "x_compressed_lists": the keys of lists that are there as <name>.zst, too, with a space between */
	char compressed_lists[IMAGE_META_TEXT_MAX];
	struct list_patches list_patches;         /* 〃 "x_list_patches" */
	uint64_t total_regular_size_bytes;        /* 0 = not said */
	struct digest jwt_digest;                 /* of the whole file: the identity of the image */
};

/* Step 1: form only. Nothing in @ret_meta may be believed yet but what finds the certificate. -EBADMSG, E203. */
int image_meta_parse(const char *jwt, size_t len_bytes, struct image_meta *ret_meta, struct ota_err *err);

/*
 * Step 2: the certificate file's digest, its chain to @store (NULL: signature only, for inspect), the signature.
 * 0; -EPERM or -ENOKEY (cert_store.h) with E309 for certificate and signature; -EBADMSG.
 */
int image_meta_verify(const char *jwt, size_t len_bytes, const struct image_meta *meta, const char *cert_pem,
	size_t cert_len, const struct cert_store *store, struct ota_err *err);

/*
 * Is the list @part, one of @meta's, there as one zstd frame, too, under its name with ".zst"? The digest of the part
 * is that of the plain list. For builders: say that it is.
 */
bool image_meta_has_zst(const struct image_meta *meta, const struct image_part *part);
void image_meta_add_zst(struct image_meta *meta, const struct image_part *part);
void image_part_zst_name(const struct image_part *part, char ret_name[IMAGE_META_ZST_NAME_MAX]);

/* The patch to the list @part, one of @meta's, from the older one with digest @old; NULL: there is none. */
const struct list_patch *image_meta_list_patch(
	const struct image_meta *meta, const struct image_part *part, const struct digest *old);
/* For builders: one more, at most 16 for a list; its key is set here. */
void image_meta_add_list_patch(
	struct image_meta *meta, const struct image_part *part, const struct list_patch *patch);

/* For builders: append the whole metadata.jwt for @meta, signed. */
int image_meta_write(const struct image_meta *meta, const struct sign_key *key, struct buf *ret_jwt,
	struct ota_err *err);

/* Append the URL of a file of the image to @ret_url; @base has exactly one '/' at its end. 0 or -ENOMEM. */
int image_url_part(const char *base, const char *name, struct buf *ret_url);
int image_url_plain(const char *base, const char *rootfs_dir, const char *path, size_t path_len,
	struct buf *ret_url); /* percent-encoding as docs/formats.md says */
int image_url_blob(const char *base, const char *compressed_dir, const struct digest *digest,
	struct buf *ret_url);
int image_url_patch(
	const char *base, const struct digest *made, const struct digest *old, struct buf *ret_url);
