/*
 * rootfs_select: decide for each name of a rootfs_tree whether the image lists it, and report what it does not.
 */
#pragma once

#include "common/base/err.h"
#include "metadata-gen/ignore_rules.h"
#include "metadata-gen/kernel_choice.h"
#include "metadata-gen/rootfs_tree.h"

enum {
	SELECT_NAMES_SHOWN = 3, /* first names that a report shows of each kind */
};

/* What stayed out, by rootfs_fate; names are borrowed from the tree. */
struct select_report {
	struct {
		size_t n;
		const char *first[SELECT_NAMES_SHOWN];
	} left[FATE_COUNT];
	size_t n_awkward_links; /* that clients before version 4 cannot read */
	const char *first_awkward[SELECT_NAMES_SHOWN];
	size_t n_lost_xattrs; /* listed entries with an attribute that no image can carry */
	const char *first_lost[SELECT_NAMES_SHOWN];
};

/*
 * What becomes of a name by its place and kind alone: known while a stream is read. For links the ignore rules
 * may need the whole tree, so FATE_LISTED is not final for them.
 */
enum rootfs_fate rootfs_fate_of(const struct rootfs_tree *tree, const struct rootfs_entry *entry,
	const struct ignore_rules *rules);

/*
 * Decide for all entries of the sorted @tree; count names and number the hard link groups. 0, or
 *   -EINVAL  a name that is to be listed cannot be carried by the format; it is shown with escapes
 *   -ENOENT  kernel_choice_apply()'s
 *   the errno of an entry that could not be read
 */
int rootfs_select(struct rootfs_tree *tree, const struct ignore_rules *rules,
	enum kernel_choice kernels, struct select_report *ret_report, struct ota_err *err);

/*
 * Is the entry a file that clients fetch by a fixed name, listed or not? It is served plain (docs/formats.md,
 * "files with fixed names").
 */
bool rootfs_is_served_by_name(const struct rootfs_entry *entry);

/* One line per kind on stderr. */
void select_report_show(const struct select_report *report);
