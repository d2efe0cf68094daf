/*
 * flight_body: gather, write, read. Contract: flight_body.h.
 *
 * Most files of a root file system are small. Their bodies never wait for the disk: readers have them from memory, and
 * the file is made afterwards, if it is to be kept.
 */
#include "otaproxy/flight_body.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/cleanup.h"

enum {
	COMPARE_BYTES = 16 * 1024,
};

struct flight_body {
	const struct cache_store *store;
	uint64_t offset;
	bool gather;
	bool ended;
	struct cache_temp *temp; /* owns @fd; NULL without a store */

	uint64_t n_written; /* in the file */
	uint8_t *gathered;  /* what follows; NULL = nothing yet */
	size_t n_gathered;

	/* For readers: one of both, constant from the first readable byte on. */
	uint8_t *memory; /* the whole body, that is @gathered; NULL = in the file */
	size_t memory_bytes;
	int fd; /* -1 = not made */
	/* What the disk had no room for: from this byte of the body on; UINT64_MAX = nothing. */
	_Atomic uint64_t rest;
	int rest_fd; /* in memory; constant once @rest says that there is one */
};

struct flight_body *flight_body_new(const struct cache_store *store, uint64_t offset, bool gather)
{
	struct flight_body *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->fd = b->rest_fd = -1;
	atomic_init(&b->rest, UINT64_MAX);
	b->store = store;
	b->offset = offset;
	b->gather = gather;
	return b;
}

void flight_body_free(struct flight_body *b)
{
	if (!b)
		return;
	if (!b->temp)
		closep(&b->fd);
	closep(&b->rest_fd);
	cache_temp_free(b->temp);
	free(b->gathered);
	free(b);
}

uint64_t flight_body_size(const struct flight_body *b)
{
	return b->n_written + b->n_gathered;
}

/* ---- writing ---- */

/*
 * A cache that cannot be written to, because its disk has an error or is read-only or its folder is gone, is as good as
 * a full one: what comes goes through, past it, until it works again.
 */
static int as_no_room(int r, struct ota_err *err)
{
	static const int useless[] = {EROFS, EIO, ENOENT, EACCES, EPERM, ESTALE, ENODEV, ENXIO};

	for (size_t i = 0; i < ARRAY_SIZE(useless); i++)
		if (r == -useless[i])
			r = -ENOSPC;
	if (err && r < 0)
		err->errnum = r;
	return r;
}

static int make_memory(int *ret_fd, struct ota_err *err)
{
	int fd = memfd_create("body", MFD_CLOEXEC);

	if (fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot hold a body in memory: %s", strerror(errno));
	*ret_fd = fd;
	return 0;
}

static bool has_file(const struct flight_body *b)
{
	return b->fd >= 0 || b->rest_fd >= 0;
}

static int make_file(struct flight_body *b, struct ota_err *err)
{
	int r;

	if (has_file(b))
		return 0;
	if (!b->store)
		return make_memory(&b->fd, err);
	r = cache_temp_new(b->store, &b->temp, err);
	if (r == 0)
		b->fd = cache_temp_fd(b->temp);
	return as_no_room(r, err);
}

int flight_body_reserve(struct flight_body *b, uint64_t total_bytes, struct ota_err *err)
{
	struct statvfs fs;
	int r;

	/* Of what stays in memory nothing goes out before all of it is there. */
	if (!b->store || total_bytes == UINT64_MAX || total_bytes == 0 ||
		(b->gather && total_bytes <= FLIGHT_BODY_GATHER_BYTES))
		return 0;
	r = make_file(b, err);
	if (r < 0)
		return r;
	/* Asked before, since one that fails may have taken all there is in the meantime. */
	if (fstatvfs(b->fd, &fs) == 0 && fs.f_blocks > 0 &&
		total_bytes / MAX_OF(fs.f_frsize, 1ul) >= fs.f_bavail)
		r = -ENOSPC;
	else if (fallocate(b->fd, FALLOC_FL_KEEP_SIZE, (off_t)b->offset, (off_t)total_bytes) < 0)
		r = -errno;
	if (r != -ENOSPC && r != -EDQUOT)
		return 0;
	return ota_err_set(err, r, OTA_E_UNSPECIFIC,
		"There is no room in the cache for a body of %" PRIu64 " bytes", total_bytes);
}

static int write_piece(
	struct flight_body *b, const uint8_t *data, size_t len_bytes, struct ota_err *err)
{
	int r = make_file(b, err);
	bool is_rest = b->rest_fd >= 0;
	int fd = is_rest ? b->rest_fd : b->fd;
	uint64_t at = is_rest ? b->n_written - atomic_load(&b->rest) : b->offset + b->n_written;

	if (r < 0)
		return r;
	for (size_t done = 0; done < len_bytes;) {
		ssize_t n = pwrite(fd, data + done, len_bytes - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : -ENOSPC;
			ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write to the cache: %s",
				strerror(-r));
			return as_no_room(r, err);
		}
		done += (size_t)n;
	}
	b->n_written += len_bytes;
	return 0;
}

static int write_gathered(struct flight_body *b, struct ota_err *err)
{
	int r = b->n_gathered > 0 ? write_piece(b, b->gathered, b->n_gathered, err) : 0;

	if (r == 0)
		b->n_gathered = 0;
	return r;
}

/* What goes into a file is written in whole buffers; whether it does, the first byte past the first one decides. */
static int gather(struct flight_body *b, const uint8_t *data, size_t len_bytes, struct ota_err *err)
{
	if (!b->gathered)
		b->gathered = malloc(FLIGHT_BODY_GATHER_BYTES);
	if (!b->gathered)
		return ota_err_no_memory(err, "a body");
	while (len_bytes > 0) {
		size_t n = MIN_OF(len_bytes, (size_t)FLIGHT_BODY_GATHER_BYTES - b->n_gathered);
		int r = 0;

		memcpy(b->gathered + b->n_gathered, data, n);
		b->n_gathered += n;
		data += n;
		len_bytes -= n;
		if (b->n_gathered == FLIGHT_BODY_GATHER_BYTES && (has_file(b) || len_bytes > 0))
			r = write_gathered(b, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int flight_body_add(struct flight_body *b, const void *data, size_t len_bytes,
	uint64_t *ret_readable, struct ota_err *err)
{
	int r = b->gather ? gather(b, data, len_bytes, err) : write_piece(b, data, len_bytes, err);

	assert(!b->ended);
	if (r == 0)
		*ret_readable = b->n_written;
	return r;
}

int flight_body_leave_disk(struct flight_body *b, struct ota_err *err)
{
	int r = make_memory(&b->rest_fd, err);

	if (r == 0)
		atomic_store(&b->rest, b->n_written);
	return r;
}

int flight_body_end(struct flight_body *b, uint64_t *ret_readable, struct ota_err *err)
{
	int r = has_file(b) ? write_gathered(b, err) : 0;

	if (r < 0)
		return r;
	b->ended = true;
	if (!has_file(b)) {
		b->memory = b->gathered;
		b->memory_bytes = b->n_gathered;
	}
	*ret_readable = flight_body_size(b);
	return 0;
}

void flight_body_rewind(struct flight_body *b)
{
	b->n_gathered = 0;
}

bool flight_body_has(const struct flight_body *b, uint64_t at, const void *data, size_t len_bytes)
{
	uint8_t before[COMPARE_BYTES];

	for (size_t done = 0; done < len_bytes;) {
		size_t n = MIN_OF(len_bytes - done, sizeof(before));

		if (flight_body_read(b, at + done, before, n) != (ssize_t)n ||
			memcmp(before, (const uint8_t *)data + done, n) != 0)
			return false;
		done += n;
	}
	return true;
}

int flight_body_file(struct flight_body *b, struct cache_temp **ret_temp, struct ota_err *err)
{
	int r = 0;

	assert(b->ended && b->store);
	if (!b->temp)
		r = write_piece(b, b->gathered, b->n_gathered, err);
	if (r == 0)
		*ret_temp = b->temp;
	return r;
}

/* ---- reading ---- */

uint8_t *flight_body_memory(const struct flight_body *b)
{
	return b->memory;
}

static ssize_t read_at(int fd, uint64_t at, void *buf, size_t max)
{
	ssize_t n;

	do
		n = pread(fd, buf, max, (off_t)at);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t flight_body_read(const struct flight_body *b, uint64_t at, void *buf, size_t max)
{
	uint64_t rest = atomic_load(&b->rest);

	if (b->memory) {
		if (at >= b->memory_bytes)
			return 0;
		max = MIN_OF(max, b->memory_bytes - (size_t)at);
		memcpy(buf, b->memory + at, max);
		return (ssize_t)max;
	}
	if (at >= rest)
		return read_at(b->rest_fd, at - rest, buf, max);
	return read_at(b->fd, b->offset + at, buf, (size_t)MIN_OF((uint64_t)max, rest - at));
}

static void punch(int fd, uint64_t at, uint64_t len_bytes)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len_bytes);
}

void flight_body_forget(const struct flight_body *b, uint64_t from, uint64_t to)
{
	uint64_t rest = atomic_load(&b->rest);

	if (b->memory)
		return;
	if (from < rest && b->fd >= 0)
		punch(b->fd, b->offset + from, MIN_OF(to, rest) - from);
	if (to > rest)
		punch(b->rest_fd, MAX_OF(from, rest) - rest, to - MAX_OF(from, rest));
}
