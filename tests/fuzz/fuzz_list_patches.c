/*
 * fuzz_list_patches: any bytes as the words of "x_list_patches". What is accepted is within its limits, and is written
 * and read back the same; what is not has a reason.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_patches.h"
#include "common/image/patch_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_patch(const struct list_patches *all, const struct list_patch *p)
{
	assert(p->old_bytes > 0 && p->patch_bytes > 0 && p->patch_bytes < p->list_bytes);
	assert(p->list_bytes + p->old_bytes <= PATCH_PAIR_MAX_BYTES);
	assert(list_patches_find(all, p->key, &p->old) == p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *text = strndup((const char *)data, size);
	AUTO_BUF struct buf once = {0}, twice = {0};
	struct list_patches all, again;

	assert(text);
	list_patches_read(text, &all);
	assert(!all.unusable || (all.n == 0 && all.unusable[0]));
	assert(all.n <= LIST_PATCHES_MAX);
	for (unsigned i = 0; i < all.n; i++)
		check_patch(&all, &all.at[i]);
	assert(list_patches_write(&all, &once) == 0);
	list_patches_read(buf_str(&once), &again);
	assert(!again.unusable && again.n == all.n);
	assert(list_patches_write(&again, &twice) == 0);
	assert(strcmp(buf_str(&once), buf_str(&twice)) == 0);
	return 0;
}
