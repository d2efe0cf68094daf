/* Any bytes as an inode of a table. */
#include <assert.h>
#include <stdint.h>

#include "otaclient/slot/ext4_inodes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ext4_inode_seen seen;

	if ((size != 128 && size < 160) || size > 4096)
		return 0;
	ext4_inode_decode(data, size, 4096, &seen);
	assert(seen.st.st_mtim.tv_nsec >= 0 && seen.st.st_mtim.tv_nsec < 1 << 30);
	assert(!seen.is_one_piece || (seen.at_bytes % 4096 == 0 && seen.st.st_size > 0 &&
					     seen.st.st_size <= 32768 * INT64_C(4096)));
	return 0;
}
