/*
 * cache_meta: the head's lines, written and read. Contract: cache_meta.h. Pure.
 *
 * A head may come back torn from a power cut: some of its sectors, zeros for the others. So the line that is needed
 * most stands last, no NUL may come before the end, and what is read must be what the writer would write.
 */
#include "otaproxy/cache_meta.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

enum {
	SIZE_DIGITS_MAX = 20,
	NAMES_MAX_BYTES = 256, /* all that is not a value */
};

static_assert(CACHE_META_URL_MAX + 4 * CACHE_META_FIELD_MAX + SIZE_DIGITS_MAX + DIGEST_HEX_MAX +
			      NAMES_MAX_BYTES <=
		      CACHE_META_BYTES,
	"every head fits");

static const char first_line[] = "ota-cache-entry 1\n";

#define FIELD(name, member)                                         \
	{                                                           \
		(name), offsetof(struct cache_meta, member),        \
			sizeof(((struct cache_meta *)NULL)->member) \
	}

static const struct text_field {
	const char *name;
	size_t offset;
	size_t size_bytes; /* with the NUL */
} text_fields[] = {
	FIELD("url", url),
	FIELD("etag", etag),
	FIELD("last-modified", last_modified),
	FIELD("content-type", content_type),
	FIELD("content-encoding", content_encoding),
};

static bool is_clean(const char *text, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return true;
}

static bool is_writable(const struct cache_meta *meta)
{
	for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++) {
		const char *text = (const char *)meta + text_fields[i].offset;
		size_t len = strnlen(text, text_fields[i].size_bytes);

		if (len == text_fields[i].size_bytes || !is_clean(text, len))
			return false;
	}
	return meta->url[0] && meta->size_bytes <= INT64_MAX - CACHE_META_BYTES;
}

int cache_meta_write(const struct cache_meta *meta, char ret_head[CACHE_META_BYTES])
{
	char hex[DIGEST_HEX_MAX];

	if (!is_writable(meta))
		return -EINVAL;
	digest_to_hex(&meta->digest, hex);
	memset(ret_head, 0, CACHE_META_BYTES);
	snprintf(ret_head, CACHE_META_BYTES,
		"%surl: %s\netag: %s\nlast-modified: %s\ncontent-type: %s\ncontent-encoding: %s\n"
		"size: %" PRIu64 "\nsha256: %s\n",
		first_line, meta->url, meta->etag, meta->last_modified, meta->content_type,
		meta->content_encoding, meta->size_bytes, hex);
	return 0;
}

/* The value of the line at *@at, which must be @name's; moves on to the next line. @head ends in a NUL. */
static const char *take_line(const char **at, const char *name, size_t *ret_len)
{
	size_t name_len = strlen(name);
	const char *value = *at + name_len + 2, *end;

	if (strncmp(*at, name, name_len) != 0 || strncmp(*at + name_len, ": ", 2) != 0)
		return NULL;
	end = strchr(value, '\n');
	if (!end)
		return NULL;
	*ret_len = (size_t)(end - value);
	*at = end + 1;
	return value;
}

static bool take_lines(const char *at, struct cache_meta *meta)
{
	const char *value;
	size_t len;

	if (strncmp(at, first_line, sizeof(first_line) - 1) != 0)
		return false;
	at += sizeof(first_line) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++) {
		value = take_line(&at, text_fields[i].name, &len);
		if (!value || len >= text_fields[i].size_bytes)
			return false;
		memcpy((char *)meta + text_fields[i].offset, value, len);
	}
	value = take_line(&at, "size", &len);
	if (!value || decimal_parse(value, len, 0, INT64_MAX, &meta->size_bytes) < 0)
		return false;
	value = take_line(&at, "sha256", &len);
	return value && digest_from_hex(value, len, &meta->digest) == 0;
}

int cache_meta_read(const char *head, size_t len_bytes, struct cache_meta *ret_meta)
{
	struct cache_meta meta = {0};
	char again[CACHE_META_BYTES];

	if (len_bytes != CACHE_META_BYTES || head[CACHE_META_BYTES - 1] != '\0' ||
		!take_lines(head, &meta))
		return -EBADMSG;
	/* One form only: what was added, left out or spelt otherwise shows here. */
	if (cache_meta_write(&meta, again) < 0 || memcmp(head, again, sizeof(again)) != 0)
		return -EBADMSG;
	*ret_meta = meta;
	return 0;
}
