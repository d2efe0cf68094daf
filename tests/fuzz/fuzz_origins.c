/*
 * fuzz_origins: any list of servers; each entry finds itself and is one spelling of a URL.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/net/http_url.h"
#include "otaproxy/origins.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ORIGINS struct origins *o = NULL;

	if (origins_parse((const char *)data, size, "list", &o, NULL) < 0)
		return 0;
	assert(o->known && o->n <= ORIGINS_LINES_MAX);
	for (unsigned i = 0; i < o->n; i++) {
		const struct origin *entry = &o->list[i], *found;
		char text[AUTHORITY_ORIGIN_MAX], again[AUTHORITY_ORIGIN_MAX];
		struct authority a;

		authority_origin(&entry->authority, entry->https, text);
		assert(http_url_check(text, NULL) == 0);
		found = origins_find(o, &entry->authority);
		assert(found && strcmp(found->authority.host, entry->authority.host) == 0);
		assert(authority_parse(strchr(text, '/') + 2, strlen(strchr(text, '/') + 2), &a) ==
			0);
		assert(strcmp(authority_origin(&a, entry->https, again), text) == 0);
	}
	return 0;
}
