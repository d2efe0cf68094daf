/* Any two texts as mount tables; what comes out is a table of six fields that merges into itself. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/grub/fstab.h"
#include "common/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fstab_ids ids = {.root_uuid = "r", .boot_uuid = "b", .esp_uuid = "e"};
	AUTO_BUF struct buf b = {0}, again = {0};
	const char *text = (const char *)data;
	size_t half = size / 2;

	if (fstab_merge(&ids, text, half, text + half, size - half, &b, NULL) < 0)
		return 0;
	assert(fstab_merge(&ids, b.data, b.len_bytes, b.data, b.len_bytes, &again, NULL) == 0);
	assert(b.len_bytes == again.len_bytes && memcmp(b.data, again.data, b.len_bytes) == 0);
	return 0;
}
