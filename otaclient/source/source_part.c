/*
 * source_part: one file of an image, fetched and checked. Contract: source_part.h.
 *
 * It goes into an unnamed file: on disk where that can be, for lists are large, else in memory.
 */
#include "otaclient/source/source_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

enum {
	FETCH_CONTROL_MAX = 128,
	RUN_MS = 500, /* between two looks at stop() */
};

void source_done(struct source *s)
{
	fetcher_free(s->fetcher);
	digest_ctx_free(s->digest);
	old_lists_done(&s->old);
}

int source_part_failed(int r, const struct source_part *part, struct ota_err *err)
{
	return ota_err_set(err, r,
		r == -ENOSPC || r == -EDQUOT ? OTA_E_STANDBY_SLOT_SPACE : OTA_E_UNSPECIFIC,
		"Cannot keep the image's %s: %s", part->name, strerror(-r));
}

static void part_done(void *ctx, const struct fetcher_result *result)
{
	struct source_part *part = ctx;

	part->result = *result;
	part->done = true;
}

/* Opened anew, since the kernel does not count the writers of what memfd_create() has returned. */
static int open_memory(void)
{
	AUTO_CLOSE int fd = memfd_create("image list", MFD_CLOEXEC);
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd < 0 ? fd : open(path, O_RDWR | O_CLOEXEC);
}

/* On disk, if the file system there can tell whether the fetcher still writes to it. */
static int open_scratch(int dir_fd)
{
	AUTO_CLOSE int fd = -1;

	if (dir_fd >= 0)
		fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 && fetcher_can_take(fd) ? TAKE_FD(fd) : open_memory();
}

int source_part_scratch(struct source *s, struct source_part *part, struct ota_err *err)
{
	part->fd = open_scratch(s->config->scratch_dir_fd);
	return part->fd < 0 ? source_part_failed(-errno, part, err) : 0;
}

static int part_url(const struct source_part *part, const char *base, struct buf *ret_url)
{
	if (part->patch)
		return image_url_patch(base, part->digest, &part->patch->old, ret_url);
	return image_url_part(base, part->name, ret_url);
}

/* What a cache on the way may keep it by. */
static void part_control(const struct source_part *part, char ret_control[FETCH_CONTROL_MAX])
{
	char hex[DIGEST_HEX_MAX];

	if (!part->digest) {
		snprintf(ret_control, FETCH_CONTROL_MAX, "no_cache");
		return;
	}
	digest_to_hex(part->patch ? &part->patch->patch : part->digest, hex);
	snprintf(ret_control, FETCH_CONTROL_MAX, "file_sha256=%s%s", hex,
		part->is_zst ? ",file_compression_alg=zst" : "");
}

static int part_request(
	struct source *s, struct source_part *part, const char *base, struct ota_err *err)
{
	const struct list_patch *patch = part->patch;
	const struct fetcher_base old = {
		.fd = part->base_fd, .size_bytes = patch ? patch->old_bytes : 0};
	AUTO_BUF struct buf url = {0};
	char control[FETCH_CONTROL_MAX];
	int r = part_url(part, base, &url);

	if (r < 0)
		return ota_err_no_memory(err, "a URL");
	part_control(part, control);
	r = source_part_scratch(s, part, err);
	if (r < 0)
		return r;
	return fetcher_add(s->fetcher,
		&(struct fetcher_job){
			.url = buf_str(&url),
			.name = patch ? NULL : part->name,
			.cache_control = control,
			.fd = part->fd,
			.digest = patch ? &patch->patch : part->digest,
			.is_zst = part->is_zst,
			.base = patch ? &old : NULL,
			.size_known = patch,
			.plain_bytes = part->max_bytes,
			.max_wire_bytes = patch ? patch->patch_bytes : part->max_bytes,
			.tries_max = part->tries_max,
			.total_timeout_ms = part->total_timeout_ms,
			.outlast_outages = part->outlast_outages,
			/* A cache on the way may have had it compressed, but not once more. */
			.undo_encoding = !part->is_zst && !patch,
			.done = part_done,
			.ctx = part,
		},
		err);
}

static int inactive(struct source *s, uint32_t limit_ms, struct ota_err *err)
{
	struct ota_err trouble = fetcher_trouble(s->fetcher);

	if (trouble.errnum == 0)
		ota_err_set(&trouble, -ETIMEDOUT, OTA_E_NETWORK, "The server sends nothing");
	*err = trouble;
	return ota_err_wrap(err, -ETIMEDOUT, "No byte came for %u s", limit_ms / 1000);
}

int source_stopped(struct ota_err *err)
{
	return ota_err_set(
		err, -ECANCELED, OTA_E_ABORTED, "The fetching of the image's metadata was stopped");
}

/* Wait for @part; its result is the result. */
static int part_wait(struct source *s, struct source_part *part, struct ota_err *err)
{
	const struct image_source_config *config = s->config;
	uint32_t limit_ms = config->inactivity_ms ? config->inactivity_ms
						  : (uint32_t)IMAGE_SOURCE_INACTIVITY_MS;
	uint64_t started_ms = clock_monotonic_ms();

	while (!part->done) {
		int r = fetcher_run(s->fetcher, RUN_MS, err);
		uint64_t wire_bytes = fetcher_take_wire_bytes(s->fetcher);

		if (config->progress && wire_bytes > 0)
			config->progress(config->ctx, wire_bytes);
		if (r < 0)
			return r;
		if (!part->done && config->stop && config->stop(config->ctx))
			return source_stopped(err);
		if (!part->done && clock_monotonic_ms() - started_ms >= limit_ms &&
			fetcher_idle_ms(s->fetcher) >= limit_ms)
			return inactive(s, limit_ms, err);
	}
	if (part->result.r < 0)
		*err = part->result.err;
	return part->result.r;
}

/* The fetcher says that it is right. What counts is what is seen here. */
static int part_check(struct source *s, struct source_part *part, struct ota_err *err)
{
	struct digest digest;
	int r = fetcher_take(&part->fd, part->max_bytes, s->digest, &digest, &part->n_bytes);

	if (r < 0)
		return source_part_failed(r, part, err);
	if (part->digest && !digest_equal(&digest, part->digest))
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"The fetcher's %s is not the one that the image's metadata.jwt names",
			part->name);
	if (!part->buf)
		return 0;
	if (lseek(part->fd, 0, SEEK_SET) < 0)
		return source_part_failed(-errno, part, err);
	r = file_read_fd(part->fd, part->max_bytes, part->buf);
	return r < 0 ? source_part_failed(r, part, err) : 0;
}

int source_part_fetch_file(
	struct source *s, struct source_part *part, const char *base, struct ota_err *err)
{
	int r = part_request(s, part, base, err);

	if (r == 0)
		r = part_wait(s, part, err);
	return r == 0 ? part_check(s, part, err) : r;
}

int source_part_fetch(
	struct source *s, struct source_part *part, const char *base, struct ota_err *err)
{
	int r = source_part_fetch_file(s, part, base, err);

	closep(&part->fd);
	part->fd = -1;
	return r;
}
