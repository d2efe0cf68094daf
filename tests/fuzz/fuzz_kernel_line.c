/* Any bytes as the kernel's command line. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/kernel_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"panic", "a", ""};
	char value[64];

	for (unsigned i = 0; i < 3; i++)
		if (kernel_line_value((const char *)data, size, names[i], value, sizeof(value)) ==
			0)
			assert(memchr(value, '\0', sizeof(value)));
	assert(kernel_line_panic_s((const char *)data, size) <= 1000000);
	return 0;
}
