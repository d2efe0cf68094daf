/*
 * hex: bytes as lower-case hexadecimal text and back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* @ret_text takes 2 × len characters and a NUL. */
void hex_encode(const uint8_t *data, size_t len_bytes, char *ret_text);

/* @text_len must be 2 × the bytes of @ret_data. Either case. 0, or -EBADMSG if anything is no hex
 * digit. */
int hex_decode(const char *text, size_t text_len, uint8_t *ret_data);
