/*
 * old_image: an image that a new one takes over from what did not change. Its lists decide what is looked for, what
 * is known not to compress, and which patches are good, so they must be believed first: signed by the key that signs
 * the new image, or by a signer whom given certificates vouch for, and each with the digest that was signed.
 *
 * Contents are checked by who takes them (blob_old.c), patches by old_image_patch().
 */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"
#include "common/crypto/cert_store.h"
#include "common/image/image_meta.h"
#include "common/image/patch_list.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_reader.h"

struct old_image {
	struct image_reader reader;
	struct patch_list *patches;         /* NULL = it has none */
	int patch_fd;                       /* -1: it has no folder of them */
	char settings[IMAGE_META_TEXT_MAX]; /* how it was compressed */
	bool same_settings;                 /* as the new one is going to be */
};

#define OLD_IMAGE_NONE                                       \
	{                                                    \
		.reader = IMAGE_READER_NONE, .patch_fd = -1, \
	}

struct old_image_trust {
	const struct sign_key *key; /* of the new image */
	const char *cert_path;      /* for the sentence, where the key is another */
	const char *certs_dir;      /* NULL: the key's own images alone are believed */
};

/* @settings: of the new image, as blob_settings() says them. 0, or a sentence. */
int old_image_open(const char *image_dir, const struct old_image_trust *trust, const char *settings,
	struct old_image *ret, struct ota_err *err);
void old_image_done(struct old_image *old);
#define AUTO_OLD_IMAGE CLEANUP(old_image_done)

/* May contents of the image at @dir_fd be taken for ones with these settings? Nothing is believed but that. */
bool old_image_has_settings(int dir_fd, const char *settings);

/*
 * Put its patch between two contents at @name in @dir_fd. 1 with its size and digest, which the bytes at that name
 * have; 0: it has none of use; or why it cannot be written. @ctx is the thread's.
 */
int old_image_patch(const struct old_image *old, struct digest_ctx *ctx, const struct digest *made,
	const struct digest *base, uint64_t max_bytes, int dir_fd, struct patch *ret_patch,
	struct ota_err *err);
