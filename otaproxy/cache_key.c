/*
 * cache_key: keys to file names and back. Contract: cache_key.h. Pure.
 */
#include "otaproxy/cache_key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "otaproxy/cache_meta.h"

static const char url_prefix[] = "url-";
static const char zst_suffix[] = ".zst";

struct cache_key cache_key_of_content(const struct digest *digest, enum cache_form form)
{
	return (struct cache_key){.kind = CACHE_BY_DIGEST, .form = form, .digest = *digest};
}

struct cache_key cache_key_of_url(const char *url)
{
	struct cache_key key = {.kind = CACHE_BY_URL, .form = CACHE_PLAIN};

	digest_of(url, strlen(url), &key.digest);
	return key;
}

uint64_t cache_key_body_offset(const struct cache_key *key)
{
	return key->kind == CACHE_BY_URL ? CACHE_META_BYTES : 0;
}

void cache_key_name(const struct cache_key *key, char ret_name[CACHE_NAME_MAX])
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&key->digest, hex);
	if (key->kind == CACHE_BY_URL)
		snprintf(ret_name, CACHE_NAME_MAX, "%s%s", url_prefix, hex);
	else
		snprintf(ret_name, CACHE_NAME_MAX, "%s%s", hex,
			key->form == CACHE_ZST ? zst_suffix : "");
}

int cache_key_from_name(const char *name, struct cache_key *ret_key)
{
	struct cache_key key = {.kind = CACHE_BY_DIGEST, .form = CACHE_PLAIN};
	const char *hex = name;
	size_t len = strlen(name);
	char again[CACHE_NAME_MAX];

	if (strncmp(name, url_prefix, sizeof(url_prefix) - 1) == 0) {
		key.kind = CACHE_BY_URL;
		hex += sizeof(url_prefix) - 1;
		len -= sizeof(url_prefix) - 1;
	} else if (len >= sizeof(zst_suffix) &&
		   strcmp(name + len - (sizeof(zst_suffix) - 1), zst_suffix) == 0) {
		key.form = CACHE_ZST;
		len -= sizeof(zst_suffix) - 1;
	}
	if (digest_from_hex(hex, len, &key.digest) < 0)
		return -EBADMSG;
	/* Each key has one name: upper-case digits make another file, which is never looked for. */
	cache_key_name(&key, again);
	if (strcmp(name, again) != 0)
		return -EBADMSG;
	*ret_key = key;
	return 0;
}
