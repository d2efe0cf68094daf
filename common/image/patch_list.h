/*
 * patch_list: patches.txt, the patches that an image offers: each makes one content of the image out of a content of
 * an older one. A patch is an offer: whoever has not its base, or does not know of patches, takes the whole content.
 *
 * Format: docs/formats.md, "patches.txt".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/image/file_table.h"

enum {
	PATCHES_PER_CONTENT_MAX =
		16, /* as many older images; bounds memory against a hostile list */
	PATCH_NAME_MAX = 2 * DIGEST_HEX_MAX + 5, /* "<new>.<old>.zst" with its NUL */
};

/* New and old content together; no window of zstd's must be larger, and both sides map both whole. */
#define PATCH_PAIR_MAX_BYTES ((uint64_t)1 << 30)

/* The folder of an image that has its patches. */
#define PATCH_DIR "patches"

/* A content that some patch starts from. */
struct patch_base {
	struct digest digest;
	uint64_t size_bytes;
};

struct patch {
	uint32_t content; /* that it makes, an index of the image's file_table */
	uint32_t base;    /* index into bases */
	uint64_t size_bytes;
	struct digest digest; /* of the patch itself */
};

/* Immutable once it is read. */
struct patch_list {
	struct patch *patches;    /* those of one content side by side */
	uint32_t *first;          /* per content its first patch; one more entry at the end */
	struct patch_base *bases; /* distinct, by digest */
	uint32_t n_patches, n_bases;
};

/*
 * Read a list for the sealed table @t. 0, or
 *   -EBADMSG  E203, "Line 7 of patches.txt: …"
 *   -E2BIG    E203, a limit is passed
 *   -ENOMEM
 * Nothing is borrowed.
 */
int patch_list_read(const char *text, size_t len_bytes, const char *name,
	const struct file_table *t, struct patch_list **ret_list, struct ota_err *err);
void patch_list_free(struct patch_list *list);
void patch_list_freep(struct patch_list **list);
#define AUTO_PATCH_LIST CLEANUP(patch_list_freep)

/* The index of a base, or FILE_TABLE_NONE. */
uint32_t patch_list_find_base(const struct patch_list *list, const struct digest *digest);

/* Append one line without LF. Lines are sorted by @made, then by the base's digest. 0 or -ENOMEM. */
int patch_list_write(struct buf *b, const struct digest *made, const struct patch_base *base,
	uint64_t patch_bytes, const struct digest *patch);

/* The name of its file in PATCH_DIR. */
void patch_name(
	const struct digest *made, const struct digest *base, char ret_name[PATCH_NAME_MAX]);
