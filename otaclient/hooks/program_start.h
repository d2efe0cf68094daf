/*
 * program_start: would the kernel start a file, as far as its beginning tells? Runs nothing.
 *
 * For what is looked at hours before it is run: a script whose interpreter is missing, or that was written on another
 * system, is executable like any other.
 */
#pragma once

#include <stdbool.h>

enum {
	PROGRAM_START_WHY_MAX = 256, /* a part of a sentence, with the NUL */
};

/*
 * Is @name below @dir_fd, an executable regular file or a link to one, sure not to start? Why: "its interpreter
 * \"/bin/tcsh\" is not there". False also for what cannot be read, and for what is no script: the kernel may know it.
 */
bool program_start_fails(int dir_fd, const char *name, char ret_why[PROGRAM_START_WHY_MAX]);
