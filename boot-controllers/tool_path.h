/*
 * tool_path: where a boot loader's external tool is: on the machine, or among the stand-ins of a test.
 */
#pragma once

#include <limits.h>

/*
 * How to run the tool @name: @standard, or, if a test set @tools_path, where that has it. A tools_path
 * without it gives a path that is not there.
 */
void tool_path_find(
	const char *tools_path, const char *name, const char *standard, char ret_path[PATH_MAX]);
