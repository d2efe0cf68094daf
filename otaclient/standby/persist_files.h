/*
 * persist_files: carry over what a machine keeps across updates, from the active slot to the new
 * system.
 *
 * Contents, owners (by name, through both slots' passwd and group files), modes, times, xattrs,
 * ACLs and hard links among the entries are kept. A directory replaces the one that the image
 * brought.
 *
 * Parents are resolved inside each slot: a link that leads to a directory is followed; anything
 * else on the way is an error. Never touched, by whatever way: "/", /boot, /dev, /proc, /sys, /run,
 * /.ota-*, swap files. Holes stay holes.
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"

/* One sentence for each entry, or part of one, that could not be carried over as it should. */
typedef void persist_note_fn(void *ctx, const char *sentence);

/*
 * Copy each entry of a persistents.txt. An entry that is not there, is refused or cannot be read is
 * told to @note and skipped; the machine is the better for an update without it. 0, or what makes
 * the slot itself unfit: -EBADMSG  the list breaks its grammar (E203) -ENOSPC   the standby slot is
 * full (E307) -EIO, …   it cannot be written (E313)
 */
int persist_files_copy(const char *list, size_t len_bytes, const char *list_name, int active_fd,
	int standby_fd, persist_note_fn *note, void *note_ctx, struct ota_err *err);
