/*
 * kernel_line: the kernel's command line, as the kernel reads it. Pure.
 */
#pragma once

#include <stddef.h>

enum {
	KERNEL_LINE_MAX_BYTES = 64 * 1024, /* no architecture takes more than 4 kB */
};

/*
 * The value of the last word "@name=value" of a line, without quotes. What stands behind "--" is for process 1, not for
 * the kernel. -ENOENT: there is no such word. -ENAMETOOLONG: it is longer than @size.
 */
int kernel_line_value(
	const char *line, size_t len_bytes, const char *name, char *ret_value, size_t size);

/*
 * After how many seconds a kernel with that line restarts after a panic, and an initrd that cannot mount its root: 0 if
 * it never does, negative if at once. No word, or one that is no number, is 0, as it is for the kernel.
 */
int kernel_line_panic_s(const char *line, size_t len_bytes);
