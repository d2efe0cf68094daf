/*
 * standby_check: what is noted of a slot that is the image. Contract: standby_check.h. What was changed since:
 * standby_settle.c; the reading: standby_read.c.
 *
 * Threads: the loop runs over files; each thread writes its own file's note.
 */
#include "otaclient/standby/standby_notes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/slot/slot_folders.h"

#define NSEC_BITS INT32_MAX /* what is written to 31 bits; nanoseconds have 30 */

/* What the loop works with. */
struct noting {
	struct standby_check *check;
	const struct inventory *inv;
	int standby_fd;
	inventory_stop_fn *stop;
	void *stop_ctx;
};

int standby_cannot_read(struct ota_err *err, int r, const char *path)
{
	return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
		"Cannot read %s back from the standby slot: %s", path, strerror(-r));
}

int standby_not_kept(struct ota_err *err, const char *path, const char *what)
{
	return ota_err_set(err, -EBADMSG, OTA_E_APPLY_OTAUPDATE_FAILED,
		"The standby slot does not keep what is written to it: %s has %s", path, what);
}

/* The image says what it is. */
static bool has_image_mtime(const struct file_table *t, size_t file)
{
	return t->has_attributes && t->mtimes[ENTRY_FILE][file].nsec != MTIME_UNKNOWN;
}

static struct mtime_note image_mtime(const struct file_table *t, size_t file)
{
	const struct entry_mtime *m = &t->mtimes[ENTRY_FILE][file];

	return (struct mtime_note){.s = (uint32_t)m->sec, .ns = m->nsec & NSEC_BITS};
}

/* Nothing was done to it: it is what the last note says, and the last look will tell if it is not. */
static void note_again(struct standby_check *c, size_t file, const struct inode_note *last)
{
	c->notes[file] = *last;
	c->mtimes[file] = image_mtime(c->table, file);
	c->mtimes[file].attrs_are_guessed = true;
}

static int note_file(void *ctx, size_t index, struct ota_err *err)
{
	const struct noting *l = ctx;
	const struct file_table *t = l->check->table;
	AUTO_CLOSE int fd = -1;
	const struct inode_note *last;
	struct attrs_want want;
	char path[PATH_MAX];
	struct stat st;

	if (!standby_looks_at(t, index)) {
		l->check->notes[index].ino = 0;
		return 0;
	}
	last = inventory_whole(l->inv, (uint32_t)index);
	if (last) {
		note_again(l->check, index, last);
		return 0;
	}
	/* A small inode has only the seconds of the image's time. */
	if (l->check->notes[index].ino != 0 && l->check->notes[index].ctime_ns != 0 &&
		has_image_mtime(t, index)) {
		l->check->mtimes[index] = image_mtime(t, index);
		return 0;
	}
	if (l->stop && l->stop(l->stop_ctx))
		return -ECANCELED;
	want = attrs_of_file(t, (uint32_t)index);
	fd = path_open(l->standby_fd, text_path(t->files[index].path, path), O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return standby_cannot_read(err, fd < 0 ? fd : -errno, path);
	l->check->notes[index] = inode_note_of(&st, attrs_want_plain(&want));
	l->check->mtimes[index] = (struct mtime_note){
		.s = (uint32_t)st.st_mtim.tv_sec,
		.ns = (uint32_t)st.st_mtim.tv_nsec & NSEC_BITS,
	};
	return 0;
}

int standby_check_note(const struct file_table *table, const struct inventory *inv,
	struct inode_note *made, int standby_fd, inventory_stop_fn *stop, void *stop_ctx,
	struct standby_check **ret_check, struct ota_err *err)
{
	struct standby_check *c = calloc(1, sizeof(*c));
	struct noting noting = {
		.check = c,
		.standby_fd = standby_fd,
		.inv = inv,
		.stop = stop,
		.stop_ctx = stop_ctx,
	};
	int r = -ENOMEM;

	if (c) {
		c->table = table;
		c->notes = made ? TAKE_PTR(made)
				: calloc((size_t)table->n_files + 1, sizeof(*c->notes));
		c->mtimes = calloc((size_t)table->n_files + 1, sizeof(*c->mtimes));
		c->folders = calloc((size_t)table->n_dirs + 1, sizeof(*c->folders));
		clock_await_file_time(&c->since);
	}
	if (c && c->notes && c->mtimes && c->folders)
		r = workers_run(table->n_files, 64, 4, note_file, &noting, err);
	if (r < 0) {
		standby_check_free(c);
		free(made);
		return r;
	}
	*ret_check = c;
	return 0;
}

int standby_check_save(const struct standby_check *c, int standby_fd, struct ota_err *err)
{
	AUTO_CLOSE int meta_fd = path_open(standby_fd, SLOT_META_NAME, O_RDONLY | O_DIRECTORY, 0);
	int r = meta_fd < 0 ? meta_fd : inode_index_save(meta_fd, c->table, c->notes, &c->since);

	/* No room; or a list of the image has the name. The next update does without. */
	if (r == -ENOSPC || r == -EEXIST) {
		log_info("What the inodes hold is not noted in /%s: %s", SLOT_META_NAME,
			strerror(-r));
		return 0;
	}
	return r < 0 ? ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
			       "Cannot note in /%s what the inodes hold: %s", SLOT_META_NAME,
			       strerror(-r))
		     : 0;
}

void standby_check_free(struct standby_check *c)
{
	if (!c)
		return;
	for (int kind = 0; kind < 3; kind++)
		free(c->names[kind]);
	free(c->notes);
	free(c->mtimes);
	free(c->folders);
	free(c);
}
