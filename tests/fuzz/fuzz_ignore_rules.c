/*
 * fuzz_ignore_rules: any text is a rule file, and any path can be asked about. Input: a path, LF, rules.
 */
#include <assert.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "metadata-gen/ignore_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *lf = memchr(data, '\n', size);
	size_t path_len = lf ? (size_t)(lf - data) : size;
	AUTO_IGNORE_RULES struct ignore_rules *rules = NULL;
	AUTO_FREE char *path = strndup((const char *)data, path_len);
	bool as_file, as_dir;

	if (size == 0 || path_len > 256 || size > 4096)
		return 0;
	if (!lf || ignore_rules_parse((const char *)lf + 1, size - path_len - 1, &rules, NULL) < 0)
		return 0;
	as_file = ignore_rules_match(rules, path, true);
	as_dir = ignore_rules_match(rules, path, false);
	/* Without negative rules, being no file can only make a path match more rules. */
	if (!memchr(lf, '!', size - path_len))
		assert(as_dir || !as_file);
	return 0;
}
