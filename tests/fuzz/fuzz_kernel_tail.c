/*
 * fuzz_kernel_tail: anything as a kernel's message, and as its log: a line comes out that is clean, or none.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "otaclient/kernel_tail.h"
#include "otaclient/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *line)
{
	size_t len = strnlen(line, KERNEL_LINE_MAX);

	assert(len < KERNEL_LINE_MAX);
	assert(text_is_clean(line, len));
	assert(!memchr(line, '\n', len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[KERNEL_LINE_MAX];
	/* As long as it is and not a byte longer, so that a sanitizer sees who reads on. */
	char *text = malloc(size > 0 ? size : 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	if (kernel_tail_take(text, size, line))
		check(line);
	if (kernel_tail_death_line(text, size, line))
		check(line);
	free(text);
	return 0;
}
