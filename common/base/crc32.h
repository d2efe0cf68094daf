/*
 * crc32: the checksum of zip and PNG, against accidents such as torn writes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint32_t crc32_of(const void *data, size_t len_bytes);
