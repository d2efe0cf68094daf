/*
 * list_write: the writing half of list_text: one line for one entry, without its LF.
 *
 * The lines are those that older readers expect: all separators are always there, symbolic links
 * have mode 0777. Contract: list_text.h; format: docs/formats.md.
 */
#include "common/image/list_text.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/image/utf8.h"

/* A line that could not be finished leaves nothing behind. */
static int line_result(struct buf *b, size_t start, int r)
{
	if (r < 0 && b->data) {
		b->len_bytes = start;
		b->data[start] = '\0';
	}
	return r;
}

static int put_quoted(struct buf *b, struct text t)
{
	const char *at = t.at, *end = t.at + t.len, *quote;
	int r = buf_puts(b, "'");

	while (r == 0 && (quote = memchr(at, '\'', (size_t)(end - at)))) {
		r = buf_append(b, at, (size_t)(quote - at));
		if (r == 0)
			r = buf_puts(b, "'\\''");
		at = quote + 1;
	}
	if (r == 0)
		r = buf_append(b, at, (size_t)(end - at));
	return r == 0 ? buf_puts(b, "'") : r;
}

static int put_hex(struct buf *b, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	char hex[2 * 64 + 1];
	int r = 0;

	for (size_t n; r == 0 && len > 0; bytes += n, len -= n) {
		n = len < 64 ? len : 64;
		hex_encode(bytes, n, hex);
		r = buf_append(b, hex, 2 * n);
	}
	return r;
}

int list_text_write_dir(struct buf *b, const struct dir_entry *d)
{
	size_t start = b->len_bytes;
	int r = buf_printf(b, "%04o,%" PRIu32 ",%" PRIu32 ",", d->mode, d->uid, d->gid);

	if (r == 0)
		r = put_quoted(b, d->path);
	return line_result(b, start, r);
}

int list_text_write_symlink(struct buf *b, const struct symlink_entry *s)
{
	size_t start = b->len_bytes;
	int r = buf_printf(b, "0777,%" PRIu32 ",%" PRIu32 ",", s->uid, s->gid);

	if (r == 0)
		r = put_quoted(b, s->path);
	if (r == 0)
		r = buf_puts(b, ",");
	if (r == 0)
		r = put_quoted(b, s->target);
	return line_result(b, start, r);
}

int list_text_write_regular(struct buf *b, const struct regular_line *l)
{
	size_t start = b->len_bytes;
	char hex[DIGEST_HEX_MAX];
	int r;

	assert(l->size_bytes != CONTENT_SIZE_UNKNOWN);
	digest_to_hex(&l->digest, hex);
	r = buf_printf(b, "%04o,%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%s,", l->mode, l->uid, l->gid,
		l->n_links, hex);
	if (r == 0)
		r = put_quoted(b, l->path);
	if (r == 0)
		r = buf_printf(b, ",%" PRIu64 ",", l->size_bytes);
	if (r == 0 && l->group_no != 0)
		r = buf_printf(b, "%" PRIu64, l->group_no);
	if (r == 0)
		r = buf_puts(b, l->has_zst ? ",zst" : ",");
	return line_result(b, start, r);
}

int list_text_write_mtime(struct buf *b, struct text path, int64_t sec, uint32_t nsec)
{
	size_t start = b->len_bytes;
	int r = put_quoted(b, path);

	if (r == 0)
		r = buf_printf(b, ",mtime,%016" PRIx64 "%08" PRIx32, (uint64_t)sec, nsec);
	return line_result(b, start, r);
}

int list_text_write_xattr(struct buf *b, struct text path, const char *xattr_name,
	const void *value, size_t len_bytes)
{
	size_t start = b->len_bytes;
	int r = put_quoted(b, path);

	if (r == 0)
		r = buf_printf(b, ",xattr:%s,", xattr_name);
	if (r == 0)
		r = put_hex(b, value, len_bytes);
	return line_result(b, start, r);
}

const char *list_text_cannot_carry(const char *s, size_t len_bytes)
{
	if (len_bytes == 0)
		return "it is empty";
	if (memchr(s, '\0', len_bytes))
		return "it has a NUL in it";
	if (memchr(s, '\n', len_bytes))
		return "it has a line feed in it";
	if (memchr(s, '\r', len_bytes))
		return "it has a carriage return in it";
	if (!utf8_is_valid(s, len_bytes))
		return "it is not UTF-8";
	return NULL;
}

bool list_text_symlink_is_portable(struct text path, struct text target)
{
	if (path.len > 0 && path.at[path.len - 1] == '\'')
		return false;
	return target.len < 2 || memcmp(target.at, ",'", 2) != 0;
}
