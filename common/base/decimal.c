/*
 * decimal: digits to numbers, with a limit. Contract: decimal.h.
 */
#include "common/base/decimal.h"

#include <errno.h>

int decimal_read(const char **at, const char *end, uint64_t max, uint64_t *ret_number)
{
	const char *s = *at;
	uint64_t n = 0;

	for (; s < end && *s >= '0' && *s <= '9'; s++) {
		unsigned digit = (unsigned)(*s - '0');

		if (digit > max || n > (max - digit) / 10)
			return -EINVAL;
		n = n * 10 + digit;
	}
	if (s == *at)
		return -EINVAL;
	*at = s;
	*ret_number = n;
	return 0;
}

int decimal_parse(const char *text, size_t len, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	const char *end = text + len;
	uint64_t n;

	if (decimal_read(&text, end, max, &n) < 0 || text != end || n < min)
		return -EINVAL;
	*ret_number = n;
	return 0;
}
