/*
 * tool_path: where an external tool is. Contract: tool_path.h.
 */
#include "boot-controllers/tool_path.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"

void tool_path_find(
	const char *tools_path, const char *name, const char *standard, char ret_path[PATH_MAX])
{
	const char *p = tools_path;

	if (!p)
		snprintf(ret_path, PATH_MAX, "%s", standard);
	while (p) {
		size_t len = strcspn(p, ":");

		snprintf(ret_path, PATH_MAX, "%.*s/%s", (int)MIN_OF(len, (size_t)PATH_MAX - 64), p,
			name);
		p = access(ret_path, X_OK) == 0 || p[len] == '\0' ? NULL : p + len + 1;
	}
}
