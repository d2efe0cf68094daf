/*
 * disk_sample: read and hash a little, against the clock. Contract: disk_sample.h.
 */
#include "otaclient/update/disk_sample.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/path.h"
#include "common/crypto/digest.h"

enum {
	ENOUGH_BYTES = ESTIMATE_DISK_MIN_BYTES,
	ENOUGH_MS = 300,
	PIECE_BYTES = 1 << 20,
	PIECE_ALIGN = 4096,        /* of what goes past the page cache */
	FILE_MIN_BYTES = 64 << 10, /* of a smaller one, finding it is most of the time */
	FILES = 512,               /* looked at, all over the image */
};

struct reading {
	struct digest_ctx *digest;
	char *piece;
	uint64_t bytes;
};

/* As a whole; an error ends it like the end of the file. */
static void read_file(struct reading *r, int root_fd, const struct text *path)
{
	char name[PATH_MAX];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	ssize_t n;

	snprintf(name, sizeof(name), "%.*s", (int)path->len, path->at);
	fd = path_open(root_fd, name, O_RDONLY | O_NOATIME | O_NONBLOCK | O_DIRECT, 0);
	if (fd < 0)
		fd = path_open(root_fd, name, O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	while (r->bytes < ENOUGH_BYTES && (n = read(fd, r->piece, PIECE_BYTES)) > 0) {
		digest_add(r->digest, r->piece, (size_t)n);
		r->bytes += (uint64_t)n;
	}
}

void disk_sample_take(const struct file_table *t, const struct inventory *inv, int standby_fd,
	int active_fd, bool (*stop)(void *ctx), void *stop_ctx, struct sample *ret_sample)
{
	AUTO_DIGEST_CTX struct digest_ctx *digest = digest_ctx_new();
	AUTO_FREE char *piece = aligned_alloc(PIECE_ALIGN, PIECE_BYTES);
	struct reading r = {.digest = digest, .piece = piece};
	uint64_t began_ms = clock_monotonic_ms(), spent_ms = 0;
	uint32_t stride = t->n_files / FILES + 1;
	struct digest ignored;

	*ret_sample = (struct sample){0};
	if (!digest || !piece)
		return;
	digest_start(digest);
	for (uint32_t i = 0; i < t->n_files; i += stride) {
		uint64_t size = t->contents[t->files[i].content].size_bytes;
		bool kept = inv->kept_ino[i] != 0 && standby_fd >= 0;

		if (size < FILE_MIN_BYTES || size == CONTENT_SIZE_UNKNOWN)
			continue;
		read_file(&r, kept ? standby_fd : active_fd, &t->files[i].path);
		spent_ms = clock_monotonic_ms() - began_ms;
		if (r.bytes >= ENOUGH_BYTES || spent_ms >= ENOUGH_MS || stop(stop_ctx))
			break;
	}
	digest_final(digest, &ignored);
	/* What took no time that can be told took as little as can be told. */
	if (r.bytes > 0)
		*ret_sample = (struct sample){r.bytes, MAX_OF(spent_ms, (uint64_t)1)};
}
