/*
 * answers: what each method of the API answers. No gRPC here: bytes in, bytes out.
 */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "otaclient/api/service.h"

/*
 * Answer one call of @m. What an ECU refuses is an entry of the answer, not an error. Errors:
 *   -EBADMSG, -E2BIG  the request cannot be read; the sentence names the field
 *   -EAGAIN           Status, before the boot controller has started
 *   -ENOMEM
 */
int answer_call(const struct api_config *config, struct status *status,
	const struct request_handler *handler, enum api_method m, const void *data, size_t len_bytes,
	struct buf *ret_bytes, struct ota_err *err);
