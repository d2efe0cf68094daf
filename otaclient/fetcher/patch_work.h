/*
 * patch_work: a patch that is applied while it comes: older content and file are both mapped, and no byte is copied
 * between.
 *
 * A page that cannot be read, because its sector is bad or the older file has become shorter, is a failure of that one
 * patch: patch_work_catch_faults() sees to that. For a process with one thread that works on patches.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct patch_work;

/* Once, at the start of the process. */
void patch_work_catch_faults(void);

/*
 * @fd: open for reading and writing; it gets @made_bytes. Both are borrowed. 0, or -ENOSPC, -ENOMEM, -errno, -ESTALE:
 * the older content has not that size.
 */
int patch_work_start(int base_fd, uint64_t base_bytes, int fd, uint64_t made_bytes,
	struct patch_work **ret_work);
void patch_work_end(struct patch_work *w); /* NULL is fine; afterwards nothing is mapped */

/* 0, or -EBADMSG: it is no patch to that content; -EIO: a page cannot be read; -ENOMEM. */
int patch_work_feed(struct patch_work *w, const void *data, size_t len_bytes);

/* Is the content complete? 0 or -EBADMSG. */
int patch_work_finish(const struct patch_work *w);
