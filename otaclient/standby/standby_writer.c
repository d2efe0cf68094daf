/*
 * standby_writer: the object, and the store of contents. Contract: standby_writer.h.
 */
#include "otaclient/standby/standby_work.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/slot/slot_folders.h"

/* ---- what the parts share ---- */

int standby_error(struct ota_err *err, int r, const char *what, const char *path)
{
	if (r == -ENOSPC)
		return ota_err_set(err, r, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot %s %s: the standby slot is full", what, path);
	return ota_err_set(
		err, r, OTA_E_APPLY_OTAUPDATE_FAILED, "Cannot %s %s: %s", what, path, strerror(-r));
}

/* A new empty inode in the store under a temporary name. */
int standby_make_tmp(struct standby_writer *w, char ret_name[IO_TMP_NAME_MAX])
{
	int fd;

	io_tmp_name(ret_name);
	fd = openat(
		w->store_fd, ret_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int standby_apply_file(
	struct standby_writer *w, uint32_t file, int fd, const char *path, struct ota_err *err)
{
	struct attrs_want want = attrs_of_file(w->c.table, file);

	return attrs_apply_fd(fd, &want, path, err);
}

int standby_note_made(
	struct standby_writer *w, uint32_t file, int fd, const char *path, struct ota_err *err)
{
	struct attrs_want want = attrs_of_file(w->c.table, file);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return standby_error(err, -errno, "make", path);
	w->made[want.index] = inode_note_of(&st, attrs_want_plain(&want));
	return 0;
}

/* ---- the object ---- */

static int open_store(int standby_fd, struct ota_err *err)
{
	struct stat st;
	int fd, r = 0;

	/* Whatever stands in the store's place that is no directory has no business there. */
	if (fstatat(standby_fd, SLOT_STORE_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		!S_ISDIR(st.st_mode))
		r = standby_remove_tree(standby_fd, SLOT_STORE_NAME, err);
	if (r < 0)
		return r;
	if (mkdirat(standby_fd, SLOT_STORE_NAME, 0700) < 0 && errno != EEXIST)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot make /%s on the standby slot: %s", SLOT_STORE_NAME,
			strerror(errno));
	fd = path_open(standby_fd, SLOT_STORE_NAME, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return ota_err_set(err, fd, OTA_E_UNSPECIFIC,
			"Cannot open /%s on the standby slot: %s", SLOT_STORE_NAME, strerror(-fd));
	r = attrs_unlock_fd(fd);
	if (r == 0 && (fchown(fd, 0, 0) < 0 || fchmod(fd, 0700) < 0))
		r = -errno;
	if (r < 0) {
		closep(&fd);
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot use /%s on the standby slot: %s", SLOT_STORE_NAME, strerror(-r));
	}
	return fd;
}

int standby_writer_open(
	const struct writer_config *config, struct standby_writer **ret_writer, struct ota_err *err)
{
	AUTO_STANDBY_WRITER struct standby_writer *w = calloc(1, sizeof(*w));
	AUTO_CLOSE int root_fd = -1;
	int r;

	if (!w)
		return -ENOMEM;
	w->c = *config;
	w->store_fd = -1;
	w->shares = calloc((size_t)config->table->n_contents + 1, sizeof(*w->shares));
	w->made = calloc((size_t)config->table->n_files + 1, sizeof(*w->made));
	if (!w->shares || !w->made)
		return -ENOMEM;
	/* The root itself may be immutable or carry a default ACL. */
	root_fd = path_open(config->standby_fd, "", O_RDONLY | O_DIRECTORY, 0);
	r = root_fd < 0 ? root_fd : attrs_unlock_fd(root_fd);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot unlock the root of the standby slot: %s", strerror(-r));
	w->store_fd = open_store(config->standby_fd, err);
	if (w->store_fd == -ENOSPC) {
		r = standby_make_room(w, err);
		if (r < 0)
			return r;
		w->store_fd = open_store(config->standby_fd, err);
	}
	if (w->store_fd < 0)
		return w->store_fd;
	*ret_writer = TAKE_PTR(w);
	return 0;
}

void standby_writer_free(struct standby_writer *w)
{
	if (!w)
		return;
	closep(&w->store_fd);
	free(w->shares);
	free(w->made);
	free(w);
}

void standby_writer_freep(struct standby_writer **w)
{
	standby_writer_free(*w);
}

void standby_writer_counts(const struct standby_writer *w, struct writer_counts *ret_counts)
{
	*ret_counts = (struct writer_counts){
		.processed_files = atomic_load(&w->counts.processed_files),
		.processed_bytes = atomic_load(&w->counts.processed_bytes),
		.removed_entries = atomic_load(&w->counts.removed_entries),
		.written_bytes = atomic_load(&w->counts.written_bytes),
	};
}

struct inode_note *standby_writer_take_notes(struct standby_writer *w)
{
	const struct file_table *t = w->c.table;

	for (uint32_t i = 0; i < t->n_files; i++)
		if (t->files[i].group != i)
			w->made[t->files[i].group].ino = 0;
	return TAKE_PTR(w->made);
}

int standby_writer_store_fd(const struct standby_writer *w)
{
	return w->store_fd;
}

/* ---- the store ---- */

/* Give the content its name in the store as a further link of the inode that the inventory found.
 */
static int harvest_one(struct standby_writer *w, uint32_t content, struct ota_err *err)
{
	char buf[PATH_MAX];
	const char *path = inventory_path(w->c.inv, w->c.table, content, buf);
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int dir_fd = -1;
	const char *name = NULL;
	struct stat st;
	int r;

	digest_to_hex(&w->c.table->contents[content].digest, hex);
	if (fstatat(w->store_fd, hex, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (st.st_ino == w->c.inv->sources[content].ino)
			return 0;
		r = standby_remove_tree(w->store_fd, hex, err);
		if (r < 0)
			return r;
	}
	r = io_point("harvest: link a content");
	if (r < 0)
		return r;
	dir_fd = path_open_parent(w->c.standby_fd, path, &name);
	if (dir_fd < 0)
		return standby_error(err, dir_fd, "open the folder of", path);
	if (linkat(dir_fd, name, w->store_fd, hex, 0) < 0) {
		if (errno == EPERM) { /* immutable, or append-only */
			standby_unlock(dir_fd, name);
			if (linkat(dir_fd, name, w->store_fd, hex, 0) == 0)
				return 0;
		}
		return standby_error(err, -errno, "set aside", path);
	}
	return 0;
}

/* Is this name of the store a content that the plan counts on being there? */
static bool is_needed_in_store(const struct standby_writer *w, const char *name, uint64_t ino)
{
	struct digest d;
	uint32_t content;

	if (digest_from_hex(name, strlen(name), &d) < 0)
		return false;
	content = file_table_find_content(w->c.table, &d);
	if (content == FILE_TABLE_NONE)
		return false;
	if (!standby_takes_from_slot(w->c.plan->actions[content]))
		return false;
	return w->c.inv->sources[content].ino == ino;
}

static int clear_store(struct standby_writer *w, struct ota_err *err)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd = dup(w->store_fd);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	rewinddir(dir);
	while ((e = readdir(dir))) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			is_needed_in_store(w, e->d_name, e->d_ino))
			continue;
		r = standby_stopped(w) ? -ECANCELED
				       : standby_remove_tree(w->store_fd, e->d_name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The inode of a kept file that is repeated elsewhere gets another name for a while. */
static void touch_kept(struct standby_writer *w, uint32_t content)
{
	uint32_t file = w->c.inv->sources[content].path;

	if (w->c.plan->actions[content] == PLAN_REPEAT && file < w->c.table->n_files)
		w->c.inv->whole[file] = false;
}

static int harvest_item(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;

	if (!standby_takes_from_slot(w->c.plan->actions[index]))
		return 0;
	if (standby_stopped(w))
		return -ECANCELED;
	touch_kept(w, (uint32_t)index);
	return harvest_one(w, (uint32_t)index, err);
}

static int harvest_all(struct standby_writer *w, struct ota_err *err)
{
	return workers_run(w->c.table->n_contents, 64, 4, harvest_item, w, err);
}

int standby_harvest(struct standby_writer *w, struct ota_err *err)
{
	int r = harvest_all(w, err);

	if (r == -ENOSPC) { /* the store is a folder that grows */
		r = standby_make_room(w, err);
		if (r == 0)
			r = harvest_all(w, err);
	}
	for (uint32_t i = 0; r == 0 && i < w->c.table->n_contents; i++)
		if (w->c.plan->actions[i] == PLAN_MOVE)
			standby_count(w, 1, standby_content_size(w, i));
	return r < 0 ? r : clear_store(w, err);
}

int standby_drop_store(struct standby_writer *w, struct ota_err *err)
{
	int r = io_point("remove the store");

	return r < 0 ? r : standby_remove(w, w->c.standby_fd, SLOT_STORE_NAME, err);
}

int standby_missing(const struct standby_writer *w, uint32_t **ret_contents, size_t *ret_n)
{
	uint32_t *list = malloc(((size_t)w->c.table->n_contents + 1) * sizeof(*list));
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->c.table->n_contents; i++)
		if (w->c.plan->actions[i] == PLAN_FETCH || w->c.plan->actions[i] == PLAN_PATCH)
			list[n++] = i;
	*ret_contents = list;
	*ret_n = n;
	return 0;
}

void standby_add_fetched(struct standby_writer *w, uint64_t files, uint64_t plain_bytes)
{
	standby_count(w, files, plain_bytes);
	atomic_fetch_add(&w->counts.written_bytes, plain_bytes);
}
