/*
 * inventory: what the searches of the slots fill. Contract: inventory.h; standby: inventory_standby.c, the
 * active slot: inventory_active.c.
 */
#include "otaclient/inventory/inventory.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "otaclient/inventory/inode_index.h"

struct inventory *inventory_new(const struct file_table *table)
{
	AUTO_INVENTORY struct inventory *inv = calloc(1, sizeof(*inv));

	if (!inv)
		return NULL;
	inv->sources = calloc((size_t)table->n_contents + 1, sizeof(*inv->sources));
	inv->kept_ino = calloc((size_t)table->n_files + 1, sizeof(*inv->kept_ino));
	inv->anchor = calloc((size_t)table->n_files + 1, sizeof(*inv->anchor));
	inv->whole = calloc((size_t)table->n_files + 1, sizeof(*inv->whole));
	if (!inv->sources || !inv->kept_ino || !inv->anchor || !inv->whole)
		return NULL;
	for (uint32_t i = 0; i < table->n_files; i++)
		inv->anchor[i] = FILE_TABLE_NONE;
	return TAKE_PTR(inv);
}

void inventory_free(struct inventory *inv)
{
	if (!inv)
		return;
	free(inv->sources);
	free(inv->kept_ino);
	free(inv->anchor);
	free(inv->foreign_paths);
	free(inv->base_paths);
	free(inv->whole);
	inode_index_free(inv->known);
	arena_done(&inv->arena);
	free(inv);
}

void inventory_freep(struct inventory **inv)
{
	inventory_free(*inv);
}

int inventory_want_bases(struct inventory *inv, const struct patch_list *patches)
{
	inv->base_paths = malloc(((size_t)patches->n_bases + 1) * sizeof(*inv->base_paths));
	if (!inv->base_paths)
		return -ENOMEM;
	for (uint32_t i = 0; i < patches->n_bases; i++)
		inv->base_paths[i] = FILE_TABLE_NONE;
	inv->patches = patches;
	return 0;
}

const struct inode_note *inventory_whole(const struct inventory *inv, uint32_t file)
{
	return inv->whole[file] ? inode_index_note(inv->known, inv->kept_ino[file]) : NULL;
}

const char *inventory_path_by_number(
	const struct inventory *inv, const struct file_table *t, uint32_t path, char buf[PATH_MAX])
{
	return path < t->n_files ? text_path(t->files[path].path, buf)
				 : inv->foreign_paths[path - t->n_files];
}

const char *inventory_path(const struct inventory *inv, const struct file_table *table,
	uint32_t content, char buf[PATH_MAX])
{
	return inventory_path_by_number(inv, table, inv->sources[content].path, buf);
}

const char *inventory_base_path(const struct inventory *inv, const struct file_table *table,
	uint32_t base, char buf[PATH_MAX])
{
	uint32_t path = inv->base_paths ? inv->base_paths[base] : FILE_TABLE_NONE;

	return path == FILE_TABLE_NONE ? NULL : inventory_path_by_number(inv, table, path, buf);
}
