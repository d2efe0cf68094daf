/* Any bytes as an inode of a table. */
#include <assert.h>
#include <stdint.h>

#include "otaclient/slot/ext4_inodes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t blocks[] = {1024, 2048, 4096, 65536};
	struct ext4_inode_seen seen;
	uint32_t block;

	if ((size != 128 && size < 160) || size > 4096)
		return 0;
	/* Its checksum, which is nobody's concern here, says how large a block is; none: the usual. */
	block = blocks[(data[0x7c] + 2) % 4];
	ext4_inode_decode(data, size, block, &seen);
	assert(seen.st.st_mtim.tv_nsec >= 0 && seen.st.st_mtim.tv_nsec < 1 << 30);
	assert(!seen.is_one_piece ||
		(seen.at_bytes % block == 0 && seen.at_bytes / block >> 48 == 0 &&
			seen.st.st_size > 0 && seen.st.st_size <= 32768 * (int64_t)block));
	return 0;
}
