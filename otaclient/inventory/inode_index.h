/*
 * inode_index: which content each inode of a slot got from the update that made it, whether it got
 * extended attributes, and when the inode changed last.
 *
 *     /.ota-meta/inodes      written when the slot is the image, before the boot loader is told of it
 *
 * It spares the next update that changes this slot its first reading: an inode that has not changed
 * since is taken for what it was. That is a guess until the end, when the whole slot is read from
 * the disk and hashed anyway (standby_check); if it was wrong the update begins again and reads. While
 * the system that the update made is on trial nothing is believed; an update that fails behind its prune
 * leaves no index.
 *
 * Format: docs/formats.md, "Inodes". One index may be searched by several threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/image/file_table.h"

/* One inode, as it was left. */
struct inode_note {
	uint32_t ino; /* ext4 has no more; 0 = none */
	uint32_t ctime_s;
	uint32_t ctime_ns : 31;
	uint32_t is_plain : 1; /* the image gives it no extended attributes */
};

/* @is_plain: as above. */
struct inode_note inode_note_of(const struct stat *st, bool is_plain);

/* Does @st say what was noted? An inode of 128 bytes has forgotten the nanoseconds. */
bool inode_note_holds(const struct inode_note *note, const struct stat *st);

/* Order @files, numbers into @notes, by their inodes. */
void inode_notes_sort(const struct inode_note *notes, uint32_t *files, size_t n);

/*
 * Write @notes, one per file of @table, below @meta_fd. Left out is what could change once more
 * without its time showing it: the nanoseconds are not kept, or the change is as late as @now. 0 or
 * -errno: there is none then. -EEXIST: something has its name.
 */
int inode_index_save(int meta_fd, const struct file_table *table, const struct inode_note *notes,
	const struct timespec *now);

struct inode_index;

/*
 * Read what the slot at @slot_fd says of itself. NULL in @ret_index if there is nothing to be
 * believed: it is not there, on trial, damaged. -ENOMEM is the only error.
 */
int inode_index_load(int slot_fd, const struct file_table *table, struct inode_index **ret_index);

/* The same from a file that is open; -EBADMSG if it holds no whole index, or what read said. */
int inode_index_read(int fd, const struct file_table *table, struct inode_index **ret_index);

/* The content of @table that the inode got; FILE_TABLE_NONE if that is not known, or it has changed since.
 * INODE_INDEX_OTHER: a content that @table has not. */
uint32_t inode_index_find(const struct inode_index *index, const struct stat *st);
#define INODE_INDEX_OTHER (FILE_TABLE_NONE - 1)

/* How many inodes it has. */
uint32_t inode_index_count(const struct inode_index *index);

/* Which of these is it, from 0? FILE_TABLE_NONE: none. */
uint32_t inode_index_number(const struct inode_index *index, uint64_t ino);

/* What was noted of an inode, whatever it is now; NULL: nothing. Borrowed. */
const struct inode_note *inode_index_note(const struct inode_index *index, uint64_t ino);

void inode_index_free(struct inode_index *index);
void inode_index_freep(struct inode_index **index);
#define AUTO_INODE_INDEX CLEANUP(inode_index_freep)
