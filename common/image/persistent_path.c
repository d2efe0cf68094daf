/*
 * persistent_path: the places that belong to a machine, not to a system. Contract: persistent_path.h.
 */
#include "common/image/persistent_path.h"

#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"

const char *persistent_path_refusal(const char *path)
{
	static const char *const never[] = {
		"/boot", "/dev", "/proc", "/sys", "/run", "/lost+found"};

	if (!path_is_canonical(path, strlen(path)))
		return "it is no absolute path in its plain spelling";
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (path_is_below(path, never[i]))
			return "this folder belongs to the machine, not to a system";
	if (strncmp(path, "/.ota-", 6) == 0)
		return "names that begin with /.ota- are the updater's own";
	if (strcmp(path, "/swapfile") == 0 || strcmp(path, "/swap.img") == 0)
		return "a swap file holds nothing worth keeping";
	return NULL;
}
