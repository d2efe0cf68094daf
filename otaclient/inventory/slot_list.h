/*
 * slot_list: what the list of the image that a slot was built from says of the slot's files (/.ota-meta/regulars.txt).
 *
 * The slot may have changed since, and whoever has changed it may have changed the list: it says where to look, and
 * counts for nothing else. Read in pieces, so that it takes no memory to speak of.
 */
#pragma once

#include "common/base/err.h"
#include "common/image/list_text.h"

/*
 * Call @each with every line. 0; -ENOENT: the slot has no list (no update has made it, or by another client);
 * -EBADMSG: what is there is not what the metadata.jwt beside it says, or no list, which shows after some lines or at
 * the end; what @each or reading said.
 */
int slot_list_read(int slot_fd, list_text_regular_fn *each, void *ctx, struct ota_err *err);
