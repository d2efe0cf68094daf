/*
 * slot_list: whole lines, as many as fit a buffer. Contract: slot_list.h.
 */
#include "otaclient/inventory/slot_list.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/crypto/digest.h"
#include "otaclient/inventory/old_lists.h"

static const char list_name[] = "the slot's list of files"; /* in sentences */

/* Far more than the longest line: a path in which each apostrophe is written as four characters. */
enum {
	BUFFER_BYTES = 256 << 10,
};

/* Give the whole lines to @each, and keep the rest. */
static int take_lines(
	char *data, size_t *len, list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	const char *last_lf = memrchr(data, '\n', *len);
	size_t whole = last_lf ? (size_t)(last_lf - data) + 1 : 0;
	int r;

	if (whole == 0)
		return *len == BUFFER_BYTES ? -EBADMSG : 0;
	r = list_text_each_regular(data, whole, list_name, each, ctx, err);
	*len -= whole;
	memmove(data, data + whole, *len);
	return r;
}

static int read_list(
	int fd, struct digest_ctx *hash, list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	AUTO_FREE char *data = malloc(BUFFER_BYTES);
	uint64_t left = LIST_TEXT_MAX_BYTES;
	size_t len = 0;
	int r = 0;

	if (!data)
		return -ENOMEM;
	while (r == 0) {
		ssize_t n = read(fd, data + len, BUFFER_BYTES - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The last line may do without its end. */
		if (n == 0)
			return list_text_each_regular(data, len, list_name, each, ctx, err);
		if ((uint64_t)n > left)
			return -EBADMSG;
		left -= (uint64_t)n;
		digest_add(hash, data + len, (size_t)n);
		len += (size_t)n;
		r = take_lines(data, &len, each, ctx, err);
	}
	return r;
}

int slot_list_read(int slot_fd, list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	CLEANUP(old_lists_done) struct old_lists lists;
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	AUTO_CLOSE int fd = -1;
	struct digest have;
	int r;

	old_lists_open_at(slot_fd, &lists);
	if (!hash)
		return -ENOMEM;
	if (lists.dir_fd < 0)
		return -ENOENT;
	r = old_lists_file(&lists, &lists.meta.regulars, &fd, err);
	if (r < 0)
		return r == -ENOENT ? r : -EBADMSG;
	digest_start(hash);
	r = read_list(fd, hash, each, ctx, err);
	if (r < 0)
		return r;
	digest_final(hash, &have);
	return digest_equal(&have, &lists.meta.regulars.digest)
		       ? 0
		       : old_lists_wrong(&lists.meta.regulars, err);
}
