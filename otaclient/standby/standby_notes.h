/*
 * standby_notes: what standby_check knows of each file, for its parts alone: standby_check.c notes and saves,
 * standby_settle.c notes what was changed since, standby_read.c reads.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "common/image/file_table.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/standby/standby_check.h"

struct mtime_note {
	uint32_t s;
	uint32_t ns : 31;
	uint32_t attrs_are_guessed : 1; /* nobody has looked at them (inventory_whole) */
};

/* The time of its last change, and what it is. */
struct folder_note {
	uint32_t ino; /* 0: it could not be opened, and is not looked at */
	uint32_t ctime_s, ctime_ns;
};

static inline struct folder_note folder_note_of(const struct stat *st)
{
	return (struct folder_note){
		.ino = (uint32_t)st->st_ino,
		.ctime_s = (uint32_t)st->st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st->st_ctim.tv_nsec,
	};
}

static inline bool folder_note_equal(const struct folder_note *a, const struct folder_note *b)
{
	return a->ino == b->ino && a->ctime_s == b->ctime_s && a->ctime_ns == b->ctime_ns;
}

struct standby_check {
	const struct file_table *table;
	/*
	 * One per file. Whoever changes it, or puts another in its place, changes the first; whoever
	 * changes more than owner and attributes, the second, too.
	 */
	struct inode_note *notes; /* ino 0: it is none of the image's any more */
	struct mtime_note *mtimes;
	uint8_t *names[3]; /* from settle on, by entry_kind: what standby_look must see again */
	struct folder_note *folders; /* one per folder, and the root; from settle on */
	struct timespec since;       /* the update itself changed no file later */
};

/* "Cannot read @path back from the standby slot: …"; returns @r. */
int standby_cannot_read(struct ota_err *err, int r, const char *path);

/* "The standby slot does not keep what is written to it: @path has @what"; returns -EBADMSG. */
int standby_not_kept(struct ota_err *err, const char *path, const char *what);

/* A group has one inode, and so is looked at once; an empty file has nothing to read. */
static inline bool standby_looks_at(const struct file_table *t, size_t file)
{
	const struct file_entry *f = &t->files[file];

	return f->group == file && t->contents[f->content].size_bytes != 0;
}
