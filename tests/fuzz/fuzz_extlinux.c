/* Any bytes as an extlinux.conf; what is accepted has the new root, and rewriting it once more changes nothing. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/cboot/extlinux.h"
#include "common/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char uuid[] = "11111111-2222-3333-4444-555555555555";
	struct extlinux_entry entry, before;
	AUTO_BUF struct buf once = {0}, twice = {0};
	struct ota_err err = {0};
	int readable = extlinux_read((const char *)data, size, &before, &err);

	if (extlinux_set_root((const char *)data, size, uuid, &once, &err) < 0)
		return 0;
	assert(strstr(buf_str(&once), uuid));
	if (once.len_bytes <= EXTLINUX_MAX_BYTES &&
		extlinux_set_root(buf_str(&once), once.len_bytes, uuid, &twice, NULL) == 0)
		assert(twice.len_bytes == once.len_bytes &&
			memcmp(buf_str(&twice), buf_str(&once), once.len_bytes) == 0);
	if (readable == 0 && extlinux_read(buf_str(&once), once.len_bytes, &entry, NULL) == 0) {
		assert(strncmp(entry.root, "PARTUUID=", 9) == 0 &&
			strcmp(entry.root + 9, uuid) == 0);
		assert(strcmp(entry.kernel, before.kernel) == 0);
	}
	return 0;
}
