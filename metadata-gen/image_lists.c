/*
 * image_lists: from tree to list texts. Contract: image_lists.h.
 */
#include "metadata-gen/image_lists.h"

#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "metadata-gen/blob_store.h"

static struct text text_of(const char *s)
{
	return (struct text){.at = s, .len = (uint32_t)strlen(s)};
}

/* Lines are joined: there is no LF behind the last one. */
static int begin_line(struct buf *b)
{
	return b->len_bytes > 0 ? buf_puts(b, "\n") : 0;
}

static int write_dir(struct image_lists *lists, const struct rootfs_entry *e)
{
	struct dir_entry d = {
		.path = text_of(e->image_path),
		.uid = e->node->uid,
		.gid = e->node->gid,
		.mode = e->node->mode,
	};
	int r = begin_line(&lists->dirs);

	lists->n_dirs++;
	return r < 0 ? r : list_text_write_dir(&lists->dirs, &d);
}

static int write_symlink(struct image_lists *lists, const struct rootfs_entry *e)
{
	struct symlink_entry s = {
		.path = text_of(e->image_path),
		.target = text_of(e->node->target),
		.uid = e->node->uid,
		.gid = e->node->gid,
	};
	int r = begin_line(&lists->symlinks);

	lists->n_symlinks++;
	return r < 0 ? r : list_text_write_symlink(&lists->symlinks, &s);
}

static int write_regular(struct image_lists *lists, const struct rootfs_entry *e)
{
	const struct rootfs_node *node = e->node;
	struct regular_line line = {
		.path = text_of(e->image_path),
		.uid = node->uid,
		.gid = node->gid,
		.mode = node->mode,
		.n_links = node->group_no ? node->n_listed : 1,
		.group_no = node->group_no,
		.digest = node->blob->digest,
		.size_bytes = node->blob->size_bytes,
		.has_zst = node->blob->has_zst,
	};
	int r = begin_line(&lists->regulars);

	lists->n_files++;
	lists->total_size_bytes += line.size_bytes;
	return r < 0 ? r : list_text_write_regular(&lists->regulars, &line);
}

static int write_attributes(struct buf *b, const char *path, const struct rootfs_node *node)
{
	int r = 0;

	if (node->mtime_nsec != MTIME_UNKNOWN) {
		r = begin_line(b);
		if (r == 0)
			r = list_text_write_mtime(
				b, text_of(path), node->mtime_sec, node->mtime_nsec);
	}
	for (const struct rootfs_xattr *x = node->xattrs; x && r == 0; x = x->next) {
		r = begin_line(b);
		if (r == 0)
			r = list_text_write_xattr(
				b, text_of(path), x->name, x->value, x->len_bytes);
	}
	return r;
}

static int write_entry(struct image_lists *lists, const struct rootfs_entry *e)
{
	int r = 0;

	switch (e->node->kind) {
	case ROOTFS_DIR:
		r = write_dir(lists, e);
		break;
	case ROOTFS_SYMLINK:
		r = write_symlink(lists, e);
		break;
	case ROOTFS_FILE:
		r = write_regular(lists, e);
		break;
	case ROOTFS_SPECIAL:
		return 0;
	}
	/* The names of a group share their attributes, which stand under the first one. */
	if (r < 0 || (e->node->group_no && e->node->group_no <= lists->n_groups))
		return r;
	lists->n_groups = MAX_OF(lists->n_groups, e->node->group_no);
	return write_attributes(&lists->attributes, e->image_path, e->node);
}

int image_lists_write(
	const struct rootfs_tree *tree, struct image_lists *ret_lists, struct ota_err *err)
{
	AUTO_IMAGE_LISTS struct image_lists lists = {0};
	int r = 0;

	/* With a prefix the tree's root is a folder that the image does not list. */
	if (tree->root && tree->prefix[0] == '\0')
		r = write_attributes(&lists.attributes, "/", tree->root);
	for (size_t i = 0; i < tree->n_entries && r == 0; i++)
		if (tree->entries[i]->fate == FATE_LISTED)
			r = write_entry(&lists, tree->entries[i]);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot write the lists of the image");
	*ret_lists = lists;
	lists = (struct image_lists){0};
	return 0;
}

void image_lists_done(struct image_lists *lists)
{
	buf_done(&lists->dirs);
	buf_done(&lists->symlinks);
	buf_done(&lists->regulars);
	buf_done(&lists->attributes);
}
