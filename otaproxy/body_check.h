/*
 * body_check: does a body that streams by have the content that its digest says?
 *
 * Nothing is stored: a frame that unpacks to far more than it should costs one decoder's window and the time for
 * plain_max_bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/crypto/digest.h"
#include "otaproxy/cache_key.h"

/* A content that claims more than this is none of an image: no file of a root file system is larger. */
#define BODY_CONTENT_MAX_BYTES ((uint64_t)64 << 30)

struct body_check;

/* Reusable, one thread at a time. NULL: no memory. */
struct body_check *body_check_new(void);
void body_check_free(struct body_check *check);
void body_check_freep(struct body_check **check);
#define AUTO_BODY_CHECK CLEANUP(body_check_freep)

/*
 * Begin anew. @digest: of the content, copied. @plain_max_bytes: the most that the content may have, plain or
 * unpacked. 0 or -ENOMEM.
 */
int body_check_start(struct body_check *check, const struct digest *digest, enum cache_form form,
	uint64_t plain_max_bytes);

/*
 * The next bytes of the body. 0, -EBADMSG (no zstd frame, or bytes behind it), -EFBIG (more content than allowed)
 * or -ENOMEM. The first failure is the verdict, whatever comes after.
 */
int body_check_feed(struct body_check *check, const void *data, size_t len_bytes);

/* That was all. 0: the body is whole and has the content; -EBADMSG: not; or what feed() said. */
int body_check_finish(struct body_check *check);
