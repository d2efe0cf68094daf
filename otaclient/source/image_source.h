/*
 * image_source: from the URL of an update request to a verified image in memory: its signed
 * metadata, its lists, and the file_table made of them.
 *
 * Patches are an offer: an image whose list of them cannot be had is installed without, with a warning in the log.
 *
 * Nothing of the image is used before its signature was checked against the installed certificates,
 * and no list before its digest was. The lists stay mapped for as long as the image lives, because
 * the table borrows from them.
 *
 * A list that the running system was made from, too, is taken from there, and a list that an image offers a patch to
 * from one of these is made by it. Whatever keeps that from working costs a warning, and the list is fetched.
 *
 * Formats: docs/formats.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/crypto/cert_store.h"
#include "common/image/file_table.h"
#include "common/image/image_meta.h"
#include "common/image/patch_list.h"
#include "common/net/http.h"

enum {
	IMAGE_SOURCE_PROBE_MS = 5 * 1000, /* for the question which format the image has */
	IMAGE_SOURCE_INACTIVITY_MS = 600 * 1000,
};

struct image_source_config {
	struct http_config http; /* proxy, tls_ca, cookies, … */
	const char *url;         /* as in the update request */
	const struct cert_store *certs;
	const char *running_root; /* whose lists spare fetching some; NULL = none are looked for */
	int scratch_dir_fd;       /* a folder on disk for unnamed files; -1 or no support: memory */
	uint32_t inactivity_ms;   /* no byte of a list for this long: give up; 0 = the above */
	/* Both may be NULL; called from the caller's thread, at least once a second. */
	void (*progress)(void *ctx, uint64_t wire_bytes); /* bytes since the last call */
	bool (*stop)(void *ctx);                          /* true: give up with -ECANCELED */
	void *ctx;
};

enum image_list {
	IMAGE_LIST_DIRS,
	IMAGE_LIST_SYMLINKS,
	IMAGE_LIST_REGULARS,
	IMAGE_LIST_PERSISTENTS,
	IMAGE_LIST_ATTRIBUTES,
	IMAGE_LIST_COUNT,
};

/* A list as it came from the server. name[0] == '\0': the image has none; text is then "". */
struct image_text {
	char name[IMAGE_META_NAME_MAX];
	const char *text; /* not NUL-terminated; read-only mapping owned by the image */
	size_t len_bytes;
};

struct image {
	struct image_meta meta;
	char *base_url; /* normalised, exactly one '/' at its end; for fetch_config */
	struct buf jwt; /* metadata.jwt and the certificate as received, for saving */
	struct buf cert;
	struct image_text texts[IMAGE_LIST_COUNT];
	struct file_table *table;   /* sealed */
	struct patch_list *patches; /* NULL: it offers none, or none that can be had */
};

/*
 * Fetch, verify and read the image's metadata. Returns 0 and fills @ret_image (image_done() when
 * finished), or:
 *
 * - -EINVAL: the URL is none (E308)
 * - -EACCES: 401 or 403 (E204)
 * - -ENOENT: 404 or 410 (E203)
 * - -EBADMSG, -E2BIG, -EFBIG, -ENOTSUP: no valid image of our format (E203)
 * - -EPERM: certificate or signature, or no trusted certificates are installed (E309)
 * - -ENOSPC: the scratch folder is full (E307)
 * - -ECANCELED: stop() said so (E207)
 * - others: the network or the server (E101)
 */
int image_source_open(
	const struct image_source_config *config, struct image *ret_image, struct ota_err *err);

void image_done(struct image *image);
#define AUTO_IMAGE CLEANUP(image_done)

/*
 * The base URL of an image's files, malloc'ed: without query and fragment, exactly one '/' at its
 * end, characters that no URL may carry percent-encoded. -EINVAL with E308.
 */
int image_source_base_url(const char *url, char **ret_base_url, struct ota_err *err);
