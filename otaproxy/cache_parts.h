/*
 * cache_parts: what the files of the store share with each other and with reclaim. Nobody else includes it.
 */
#pragma once

#include "common/base/folder.h"
#include "otaproxy/cache_store.h"

struct cache_folder {
	int fd;
	char boot_id[CACHE_BOOT_ID_MAX];
	int64_t mtime_s; /* when the store was opened; for choosing which to keep */
};

/* Constant once it is open. */
struct cache_store {
	char *dir; /* for sentences */
	int dir_fd, v1_fd, tmp_fd;
	/* The first is this boot's. The others may have been removed since, and then are empty. */
	struct cache_folder folders[1 + CACHE_OTHER_BOOTS_MAX];
	unsigned n_folders;
};

/* Visit what is in DIR and in DIR/v1 and not the store's. As folder_each(). */
int cache_foreign_each(const struct cache_store *store, folder_visit_fn *visit, void *ctx);
