/*
 * old_lists: the lists that the running system was made from, as saved_image has left them in its /.ota-meta. A list of
 * a new image may be one of them, or a patch may start there. They are somebody else's files: nothing counts but what
 * has the digest that is asked for.
 */
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"
#include "common/image/image_meta.h"

struct old_lists {
	int dir_fd;             /* -1: there are none */
	struct image_meta meta; /* what they say of themselves; no signature was looked at */
};

/* @root: of the running system; NULL = none is asked. Or the folder itself; -1 = none. */
void old_lists_open(const char *root, struct old_lists *ret);
void old_lists_open_at(int root_fd, struct old_lists *ret);
void old_lists_done(struct old_lists *old);

/* The older form of @part, one of @meta's; NULL: there is none. */
const struct image_part *old_lists_part(
	const struct old_lists *old, const struct image_meta *meta, const struct image_part *part);

/* Open it for reading. 0; or -ENOENT and others, with a sentence. */
int old_lists_file(const struct old_lists *old, const struct image_part *old_part, int *ret_fd,
	struct ota_err *err);

/* Its bytes are no such list: the sentence. -EBADMSG. */
int old_lists_wrong(const struct image_part *old_part, struct ota_err *err);
