/*
 * source_part: one file of an image, from its server into an unnamed file, checked by its digest.
 *
 * For image_source and source_lists alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/crypto/digest.h"
#include "otaclient/fetcher/fetcher.h"
#include "otaclient/inventory/old_lists.h"
#include "otaclient/source/image_source.h"

/* An image that is being fetched. */
struct source {
	const struct image_source_config *config;
	struct fetcher *fetcher;
	struct digest_ctx *digest;
	struct old_lists old;
};

void source_done(struct source *s);

struct source_part {
	const char *name;
	uint64_t max_bytes;
	const struct digest *digest; /* what it must have; NULL = not known before */
	bool is_zst;                 /* the server has one zstd frame of it */
	/* The server has a patch to it, to be fetched in its place; NULL = not so. base_fd: what it starts from. */
	const struct list_patch *patch;
	int base_fd;
	bool outlast_outages;
	uint32_t total_timeout_ms;
	unsigned tries_max;

	struct buf *buf; /* where its bytes go; NULL = they stay in the file */

	int fd; /* owned by whoever asks for it, -1 before */
	uint64_t n_bytes;
	struct fetcher_result result;
	bool done;
};

/* Into part->buf. @base: of the image's URLs. */
int source_part_fetch(
	struct source *s, struct source_part *part, const char *base, struct ota_err *err);

/* With its bytes in part->buf, or in part->fd, which the caller closes. part->done: what is wrong is the file's. */
int source_part_fetch_file(
	struct source *s, struct source_part *part, const char *base, struct ota_err *err);

/* An unnamed file for it in part->fd. */
int source_part_scratch(struct source *s, struct source_part *part, struct ota_err *err);

/* stop() said so: -ECANCELED, with the sentence. */
int source_stopped(struct ota_err *err);

/* The sentence for a file that cannot be kept; returns @r. */
int source_part_failed(int r, const struct source_part *part, struct ota_err *err);
