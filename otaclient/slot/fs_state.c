/*
 * fs_state: the superblock of an ext4. Contract: fs_state.h.
 *
 * The device is read as every mount of it on this machine sees it, so a mount that has just been made
 * shows at once. One that only reads changes none of these fields.
 */
#include "otaclient/slot/fs_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/hex.h"

enum {
	/* ext4's superblock, and where in it these fields are; all numbers are little-endian. */
	SB_AT = 1024,
	SB_BYTES = 1024,
	SB_MOUNT_TIME = 0x2c,
	SB_MAGIC = 0x38,
	SB_STATE = 0x3a,
	SB_INCOMPAT = 0x60,
	SB_UUID = 0x68,
	SB_LAST_ORPHAN = 0xe8,
	UUID_BYTES = 16,

	STATE_CLEAN = 1, /* and no other bit: such as "has errors" */
	INCOMPAT_RECOVER = 0x4,
};

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_closed(const uint8_t *sb)
{
	return (sb[SB_STATE] | sb[SB_STATE + 1] << 8) == STATE_CLEAN &&
	       !(le32(sb + SB_INCOMPAT) & INCOMPAT_RECOVER) && le32(sb + SB_LAST_ORPHAN) == 0;
}

int fs_state_read(const char *device, struct fs_state *ret_state)
{
	AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);
	uint8_t sb[SB_BYTES];
	char hex[2 * UUID_BYTES + 1];
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, sb, sizeof(sb), SB_AT);
	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof(sb) || sb[SB_MAGIC] != 0x53 || sb[SB_MAGIC + 1] != 0xef)
		return -EINVAL;
	hex_encode(sb + SB_UUID, UUID_BYTES, hex);
	snprintf(ret_state->uuid, sizeof(ret_state->uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", hex,
		hex + 8, hex + 12, hex + 16, hex + 20);
	ret_state->mounted_unix_s = le32(sb + SB_MOUNT_TIME);
	ret_state->closed = is_closed(sb);
	return 0;
}
