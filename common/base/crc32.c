/*
 * crc32: the checksum of zip and PNG. Contract: crc32.h.
 *
 * Bit by bit: what is summed up here is at most a megabyte, now and then, so no table.
 */
#include "common/base/crc32.h"

uint32_t crc32_of(const void *data, size_t len_bytes)
{
	const uint8_t *bytes = data;
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len_bytes; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}
