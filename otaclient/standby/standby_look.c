/*
 * standby_look: names, then inodes. Contract: standby_look.h.
 *
 * What they say is believed only where it leaves no doubt.
 *
 * Threads: the first loop runs over folders; each entry has its name in one of them.
 */
#include "otaclient/standby/standby_look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "otaclient/slot/entry_attrs.h"

const char *standby_look_path(const struct standby_look *l, size_t file, char buf[PATH_MAX])
{
	return text_path(l->check->table->files[file].path, buf);
}

int standby_look_digest(const struct standby_look *l, size_t file, int fd,
	struct digest *ret_digest, struct ota_err *err)
{
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	char path[PATH_MAX];
	int r;

	if (!hash)
		return -ENOMEM;
	r = digest_of_fd_unless(hash, fd, l->stop, l->stop_ctx, ret_digest, NULL);
	return r == 0 || r == -ECANCELED
		       ? r
		       : standby_cannot_read(err, r, standby_look_path(l, file, path));
}

bool standby_look_stopped(const struct standby_look *l)
{
	return l->stop && l->stop(l->stop_ctx);
}

/* ---- names ---- */

static uint8_t seen_of_file(const struct standby_check *c, uint32_t file, uint64_t ino)
{
	uint32_t group = c->table->files[file].group;
	uint32_t noted = c->notes[group].ino;

	if (group != file)
		return noted == 0 || noted == ino ? SEEN_NAME : 0;
	return noted != 0 && noted == ino ? SEEN_NAME | SEEN_NOTED : SEEN_NAME;
}

static void see_name(struct standby_look *l, const char *path, int dir_fd, const struct dirent *e)
{
	static const unsigned char types[] = {
		[ENTRY_DIR] = DT_DIR, [ENTRY_SYMLINK] = DT_LNK, [ENTRY_FILE] = DT_REG};
	const struct file_table *t = l->check->table;
	enum entry_kind kind;
	uint32_t i;

	if (!file_table_find(t, path, strlen(path), &kind, &i) || e->d_type != types[kind])
		return;
	if (kind == ENTRY_FILE)
		l->seen[kind][i] = seen_of_file(l->check, i, e->d_ino);
	else if (kind == ENTRY_DIR || attrs_symlink_holds(dir_fd, e->d_name, t->symlinks[i].target))
		l->seen[kind][i] = SEEN_NAME;
}

static int see_folder(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_look *l = ctx;
	const struct file_table *t = l->check->table;
	AUTO_CLOSEDIR DIR *dir = NULL;
	char path[PATH_MAX] = "", name[PATH_MAX];
	const struct dirent *e;
	struct stat st;
	int fd, r;

	if (standby_look_stopped(l))
		return -ECANCELED;
	if (index < t->n_dirs)
		text_path(t->dirs[index].path, path);
	fd = path_open(l->standby_fd, path, O_RDONLY | O_DIRECTORY, 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		closep(&fd);
	r = l->folder(l, index, dir && fstat(fd, &st) == 0 ? &st : NULL, err);
	/* The files of one that cannot be read are looked at by name. */
	while (r == 0 && dir && (e = readdir(dir)))
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", path, e->d_name) < sizeof(name))
			see_name(l, name, fd, e);
	return r;
}

/* ---- inodes ---- */

/* Inodes and files both come in the order of their numbers. */
static bool take_inode(void *ctx, const struct ext4_inode_seen *inode)
{
	struct standby_look *l = ctx;

	for (; l->n_done < l->n_order; l->n_done++) {
		uint32_t file = l->order[l->n_done], ino = l->check->notes[file].ino;

		if (ino > inode->st.st_ino)
			break;
		if (ino != inode->st.st_ino || !(l->seen[ENTRY_FILE][file] & SEEN_NOTED) ||
			!l->is_clear(l, file, inode))
			l->order[l->n_doubts++] = file;
	}
	return l->n_done < l->n_order;
}

static int look_at_inodes(struct standby_look *l, const char *device)
{
	int r = ext4_inodes_read(device, take_inode, l->stop, l->stop_ctx, l);

	if (r == -ENOMEM || r == -ECANCELED)
		return r;
	while (l->n_done < l->n_order)
		l->order[l->n_doubts++] = l->order[l->n_done++];
	return 0;
}

/* ---- both ---- */

/* Inodes in their order lie near each other, as a rule. */
static void order_files(struct standby_look *l)
{
	const struct standby_check *c = l->check;

	for (uint32_t i = 0; i < c->table->n_files; i++)
		if (standby_looks_at(c->table, i) && c->notes[i].ino != 0)
			l->order[l->n_order++] = i;
	inode_notes_sort(c->notes, l->order, l->n_order);
}

int standby_look_run(struct standby_look *l, const char *device, struct ota_err *err)
{
	const struct file_table *t = l->check->table;
	int r;

	l->seen[ENTRY_DIR] = calloc((size_t)t->n_dirs + 1, 1);
	l->seen[ENTRY_SYMLINK] = calloc((size_t)t->n_symlinks + 1, 1);
	l->seen[ENTRY_FILE] = calloc((size_t)t->n_files + 1, 1);
	l->order = malloc(((size_t)t->n_files + 1) * sizeof(*l->order));
	if (!l->seen[ENTRY_DIR] || !l->seen[ENTRY_SYMLINK] || !l->seen[ENTRY_FILE] || !l->order)
		return -ENOMEM;
	order_files(l);
	/* One more is the root. */
	r = workers_run((size_t)t->n_dirs + 1, 4, WORKERS_FOR_DISK, see_folder, l, err);
	return r < 0 ? r : look_at_inodes(l, device);
}

void standby_look_done(struct standby_look *l)
{
	for (int kind = 0; kind < 3; kind++)
		free(TAKE_PTR(l->seen[kind]));
	free(l->order);
	l->order = NULL;
}
