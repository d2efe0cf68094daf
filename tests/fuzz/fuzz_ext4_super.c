/* Any bytes as a superblock. */
#include <assert.h>
#include <stdint.h>

#include "otaclient/doctor/ext4_super.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ext4_super s;

	if (ext4_super_parse(data, size, &s) == 0)
		assert(size >= EXT4_SUPER_BYTES && s.size_bytes >= 1024 &&
			s.size_bytes >> 63 == 0 && s.inode_bytes <= UINT16_MAX);
	return 0;
}
