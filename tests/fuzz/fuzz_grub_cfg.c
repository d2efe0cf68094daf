/* Any text as grub.cfg, and any text in our frame. */
#include <assert.h>
#include <stdint.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "common/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf b = {0}, moved = {0};
	struct grub_cfg_info info;

	grub_cfg_check((const char *)data, size, &info, NULL);
	if (grub_cfg_hook_first((const char *)data, size, &moved, NULL) == 0)
		assert(moved.len_bytes == size);
	assert(grub_cfg_wrap((const char *)data, size, "4.0.0", "2.06", &b) == 0);
	assert(grub_cfg_check(b.data, b.len_bytes, &info, NULL) == 0);
	return 0;
}
