/*
 * file_copy: read, hash, write. Contract: file_copy.h.
 */
#include "otaclient/slot/file_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"

enum {
	CHUNK_BYTES = 256 * 1024,
	PIECE_BYTES = 64 * 1024,     /* zeros are looked for in pieces of this size */
	RESERVE_MIN_BYTES = 1 << 20, /* for less it costs more than it saves */
};

/* The comparison ends at the first byte that is none, so that data costs nothing. */
static bool is_zero(const char *piece, size_t len)
{
	return piece[0] == 0 && memcmp(piece, piece + 1, len - 1) == 0;
}

/* One piece of disk, and a full disk is known before. 1: the room is there; 0: no such function. */
static int reserve(const struct file_copy *c)
{
	if (c->reserve_bytes < RESERVE_MIN_BYTES)
		return 0;
	if (fallocate(c->dst_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)c->reserve_bytes) == 0)
		return 1;
	return errno == ENOSPC || errno == EDQUOT ? -errno : 0;
}

/* @skip: what is zero may be passed over. */
static int write_chunk(int fd, const char *chunk, size_t len, bool skip)
{
	for (size_t at = 0; at < len;) {
		size_t piece = MIN_OF(len - at, (size_t)PIECE_BYTES);
		int r = 0;

		if (!skip || !is_zero(chunk + at, piece))
			r = file_write_all(fd, chunk + at, piece);
		else if (lseek(fd, (off_t)piece, SEEK_CUR) < 0)
			r = -errno;
		if (r < 0)
			return r;
		at += piece;
	}
	return 0;
}

static ssize_t read_chunk(int fd, char *chunk)
{
	ssize_t n;

	do
		n = read(fd, chunk, CHUNK_BYTES);
	while (n < 0 && errno == EINTR);
	return n;
}

/* Where both are holes nothing needs to be read: go on at the next data, or stay where it cannot be told. */
static int pass_hole(const struct file_copy *c, uint64_t *total)
{
	off_t at = lseek(c->src_fd, 0, SEEK_CUR);
	off_t data = at < 0 ? -1 : lseek(c->src_fd, at, SEEK_DATA);

	if (data < 0 && errno == ENXIO)
		data = lseek(c->src_fd, 0, SEEK_END);
	if (data < 0)
		return 0;
	if (data < at) /* it was cut meanwhile */
		data = lseek(c->src_fd, at, SEEK_SET);
	*total += (uint64_t)(data - at);
	return lseek(c->dst_fd, data - at, SEEK_CUR) < 0 ? -errno : 0;
}

int file_copy(const struct file_copy *c, uint64_t *ret_bytes)
{
	AUTO_FREE char *chunk = malloc(CHUNK_BYTES);
	uint64_t total = 0;
	bool skip;
	int r;

	if (!chunk)
		return -ENOMEM;
	r = reserve(c);
	if (r < 0)
		return r;
	skip = r == 1 || c->holes;
	for (;;) {
		ssize_t n;

		if (c->stop && c->stop(c->stop_ctx))
			return -ECANCELED;
		r = c->holes && !c->hash ? pass_hole(c, &total) : 0;
		if (r < 0)
			return r;
		n = read_chunk(c->src_fd, chunk);
		if (n < 0)
			return -EPIPE;
		if (n == 0)
			break;
		total += (uint64_t)n;
		if (total > c->max_bytes)
			return -EFBIG;
		if (c->hash)
			digest_add(c->hash, chunk, (size_t)n);
		r = write_chunk(c->dst_fd, chunk, (size_t)n, skip);
		if (r < 0)
			return r;
	}
	/* Zeros at the end have only moved the position. */
	if (skip && ftruncate(c->dst_fd, (off_t)total) < 0)
		return -errno;
	*ret_bytes = total;
	return 0;
}
