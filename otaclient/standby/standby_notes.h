/*
 * standby_notes: what standby_check knows of each file, for its two parts alone: standby_check.c notes and saves,
 * standby_read.c reads.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include "common/image/file_table.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/standby/standby_check.h"

struct mtime_note {
	uint32_t s;
	uint32_t ns : 31;
	uint32_t attrs_are_guessed : 1; /* nobody has looked at them (inventory_whole) */
};

struct standby_check {
	const struct file_table *table;
	/*
	 * One per file. Whoever changes it, or puts another in its place, changes the first; whoever
	 * changes more than owner and attributes, the second, too.
	 */
	struct inode_note *notes;
	struct mtime_note *mtimes;
	struct timespec since; /* the notes are of then, or a little later */
};

/* "Cannot read @path back from the standby slot: …"; returns @r. */
int standby_cannot_read(struct ota_err *err, int r, const char *path);

/* A group has one inode, and so is looked at once; an empty file has nothing to read. */
static inline bool standby_looks_at(const struct file_table *t, size_t file)
{
	const struct file_entry *f = &t->files[file];

	return f->group == file && t->contents[f->content].size_bytes != 0;
}
