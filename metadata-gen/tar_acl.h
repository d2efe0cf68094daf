/*
 * tar_acl: a POSIX ACL as a tar stream has it, in text, into the form of the kernel's extended attribute.
 */
#pragma once

#include <archive_entry.h>

#include "common/base/buf.h"

/*
 * Append the value of the extended attribute for the ACL of @type (ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT);
 * nothing if the entry has none. 0, -ENOMEM, or -EINVAL: it names a user or a group without a number.
 */
int tar_acl_to_xattr(struct archive_entry *e, int type, struct buf *ret_value);
