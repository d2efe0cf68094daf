/*
 * base64url: RFC 4648 §5, as metadata.jwt uses it.
 */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"

/* Append the encoding of @data with its '=' padding. 0 or -ENOMEM. */
int base64url_encode(const void *data, size_t len_bytes, struct buf *ret_text);

/* Append the decoding; padding may be there or not. 0, -EBADMSG (any other character), -ENOMEM. */
int base64url_decode(const char *text, size_t len_bytes, struct buf *ret_data);
