/*
 * kernel_tail: the last words of a kernel: of the one that runs, from its log device, and of one that has
 * died, from where the firmware or the memory kept them (pstore).
 *
 * Reads only. What pstore holds is not ours to delete: systemd-pstore, or the operator, empties it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

#define KERNEL_TAIL_DEVICE "/dev/kmsg"

enum {
	KERNEL_TAIL_MAX_BYTES = 4096, /* of lines that are handed out, the last ones */
	KERNEL_LINE_MAX = 256,        /* with the NUL */
};

/*
 * Warnings and worse that the running kernel has logged, a line each with its time: the last
 * KERNEL_TAIL_MAX_BYTES of them. 0 or -errno.
 */
int kernel_tail_warnings(const char *device, struct buf *ret_lines);
/* The same from @fd, which does not block and hands out a message at each read, as that device does. */
int kernel_tail_warnings_from(int fd, struct buf *ret_lines);

/* One message as /dev/kmsg hands it out, as a line; false: it is not one, or no warning. Pure. */
bool kernel_tail_take(const char *message, size_t len_bytes, char ret_line[KERNEL_LINE_MAX]);

/* What a kernel that died has left. */
struct kernel_death {
	char line
		[KERNEL_LINE_MAX]; /* what it died of, "Kernel panic - not syncing: …"; "" = none found */
	char where[256];           /* the file */
	struct buf tail;           /* its last lines; owned */
};
void kernel_death_done(struct kernel_death *d);
#define AUTO_KERNEL_DEATH CLEANUP(kernel_death_done)

/*
 * Look for it below @root ("" = this machine): /sys/fs/pstore, and where systemd-pstore puts what it finds
 * there at each start, /var/lib/systemd/pstore. Only what was written at @since_unix_s or later counts: older
 *files are of another death. An empty line if there is none.
 */
void kernel_tail_find_death(const char *root, int64_t since_unix_s, struct kernel_death *ret_death);

/* The line that says of what a kernel died, in its log as pstore keeps it; false: none does. Pure. */
bool kernel_tail_death_line(const char *log, size_t len_bytes, char ret_line[KERNEL_LINE_MAX]);
