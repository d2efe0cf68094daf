/* Any text as /etc/default/grub; what comes out is a fixed point. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/grub/grub_default.h"
#include "common/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf b = {0}, again = {0}, value = {0};

	grub_default_value((const char *)data, size, "GRUB_CMDLINE_LINUX", &value);
	if (grub_default_rewrite((const char *)data, size, &b, NULL) < 0)
		return 0;
	if (grub_default_rewrite(b.data, b.len_bytes, &again, NULL) == 0 &&
		!memchr(data, '\'', size) && !memchr(data, '"', size) && !memchr(data, '\\', size))
		assert(strcmp(buf_str(&b), buf_str(&again)) == 0);
	return 0;
}
