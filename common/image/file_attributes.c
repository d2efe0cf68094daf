/*
 * file_attributes: the extended attributes and modification times of a file_table's entries. They are few, or
 * all sorted, so one sorted array and a search by halves do. Contract: file_table.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/image/file_table.h"
#include "common/image/text.h"

/* The names of a group share one inode, whose attributes are kept under its first file. */
static uint32_t inode_index(const struct file_table *t, enum entry_kind kind, uint32_t index)
{
	return kind == ENTRY_FILE ? t->files[index].group : index;
}

int file_table_begin_attributes(struct file_table *t)
{
	const uint32_t n[] = {t->n_dirs, t->n_symlinks, t->n_files};

	assert(t->path_index && !t->has_attributes);
	for (size_t kind = 0; kind < ARRAY_SIZE(n); kind++) {
		t->mtimes[kind] = calloc(n[kind] + 1, sizeof(**t->mtimes));
		if (!t->mtimes[kind])
			return -ENOMEM;
		for (uint32_t i = 0; i < n[kind]; i++)
			t->mtimes[kind][i].nsec = MTIME_UNKNOWN;
	}
	t->has_attributes = true;
	return 0;
}

int file_table_add_xattr(struct file_table *t, const struct entry_xattr *x)
{
	int r = t->n_xattrs < FILE_TABLE_XATTRS_MAX ? 0 : -E2BIG;

	assert(t->has_attributes);
	assert(inode_index(t, x->kind, x->index) == x->index);
	if (r == 0)
		r = array_grow(&t->xattrs, sizeof(*x), t->n_xattrs, &t->xattrs_cap);
	if (r == 0)
		t->xattrs[t->n_xattrs++] = *x;
	return r;
}

void file_table_set_mtime(
	struct file_table *t, enum entry_kind kind, uint32_t index, int64_t sec, uint32_t nsec)
{
	struct entry_mtime m = {.sec = sec, .nsec = nsec};

	assert(t->has_attributes);
	if (index == FILE_TABLE_NONE)
		t->root_mtime = m;
	else
		t->mtimes[kind][index] = m;
}

static int compare_owner(const struct entry_xattr *a, const struct entry_xattr *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return (a->index > b->index) - (a->index < b->index);
}

static int compare_xattrs(const void *a, const void *b)
{
	const struct entry_xattr *x = a, *y = b;
	int c = compare_owner(x, y);

	return c ? c : text_compare(x->name, y->name);
}

int file_table_end_attributes(struct file_table *t)
{
	array_trim(&t->xattrs, sizeof(*t->xattrs), t->n_xattrs, &t->xattrs_cap);
	if (t->n_xattrs > 0)
		qsort(t->xattrs, t->n_xattrs, sizeof(*t->xattrs), compare_xattrs);
	for (uint32_t i = 1; i < t->n_xattrs; i++)
		if (compare_xattrs(&t->xattrs[i - 1], &t->xattrs[i]) == 0)
			return -EEXIST;
	for (uint32_t i = 0; i < t->n_files; i++)
		t->mtimes[ENTRY_FILE][i] = t->mtimes[ENTRY_FILE][t->files[i].group];
	return 0;
}

/* The first xattr that does not sort before @owner. */
static uint32_t xattr_lower_bound(const struct file_table *t, const struct entry_xattr *owner)
{
	uint32_t low = 0, high = t->n_xattrs;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (compare_owner(&t->xattrs[mid], owner) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

uint32_t file_table_xattrs_of(const struct file_table *t, enum entry_kind kind, uint32_t index,
	const struct entry_xattr **ret_first)
{
	struct entry_xattr owner = {
		.kind = kind,
		.index = inode_index(t, kind, index),
	};
	uint32_t first = xattr_lower_bound(t, &owner);
	uint32_t end = first;

	while (end < t->n_xattrs && compare_owner(&t->xattrs[end], &owner) == 0)
		end++;
	*ret_first = end > first ? &t->xattrs[first] : NULL;
	return end - first;
}
