/*
 * standby_check: every file of the image, read from the disk. Contract: standby_check.h.
 *
 * Threads: both loops run over files; each thread writes and reads its own file's note.
 */
#include "otaclient/standby_check.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"

/* Which inode a file was, and as of when. Whoever changes one, or puts another in its place, changes this. */
struct note {
	uint32_t ino; /* ext4 has no more; 0 = not noted */
	uint32_t ctime_s, ctime_ns;
};

struct standby_check {
	const struct file_table *table;
	struct note *notes; /* one per file */
};

/* What one loop works with. */
struct look {
	const struct standby_check *check;
	int standby_fd;
	inventory_stop_fn *stop;
	void *stop_ctx;
};

static const char *path_of(const struct file_table *t, size_t file, char buf[PATH_MAX])
{
	struct text path = t->files[file].path;

	assert(path.len < PATH_MAX); /* file_table_seal() saw to it */
	memcpy(buf, path.at, path.len);
	buf[path.len] = '\0';
	return buf;
}

static int cannot_read(struct ota_err *err, int r, const char *path)
{
	return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
		"Cannot read %s back from the standby slot: %s", path, strerror(-r));
}

/* A group has one inode, and so is looked at once; an empty file has nothing to read. */
static bool is_looked_at(const struct file_table *t, size_t file)
{
	const struct file_entry *f = &t->files[file];

	return f->group == file && t->contents[f->content].size_bytes != 0;
}

static bool stopped(const struct look *l)
{
	return l->stop && l->stop(l->stop_ctx);
}

static int note_file(void *ctx, size_t index, struct ota_err *err)
{
	const struct look *l = ctx;
	const struct file_table *t = l->check->table;
	AUTO_CLOSE int fd = -1;
	char path[PATH_MAX];
	struct stat st;

	if (!is_looked_at(t, index))
		return 0;
	if (stopped(l))
		return -ECANCELED;
	fd = path_open(l->standby_fd, path_of(t, index, path), O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return cannot_read(err, fd < 0 ? fd : -errno, path);
	l->check->notes[index] = (struct note){
		.ino = (uint32_t)st.st_ino,
		.ctime_s = (uint32_t)st.st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st.st_ctim.tv_nsec,
	};
	return 0;
}

/* An inode of 128 bytes has forgotten the nanoseconds. */
static bool is_as_noted(const struct note *n, const struct stat *st)
{
	return S_ISREG(st->st_mode) && n->ino == (uint32_t)st->st_ino &&
	       n->ctime_s == (uint32_t)st->st_ctim.tv_sec &&
	       (st->st_ctim.tv_nsec == 0 || n->ctime_ns == (uint32_t)st->st_ctim.tv_nsec);
}

static int read_file(void *ctx, size_t index, struct ota_err *err)
{
	const struct look *l = ctx;
	const struct file_table *t = l->check->table;
	AUTO_DIGEST_CTX struct digest_ctx *hash = NULL;
	AUTO_CLOSE int fd = -1;
	char path[PATH_MAX];
	struct digest have;
	struct stat st;
	int r;

	if (!is_looked_at(t, index))
		return 0;
	fd = path_open(
		l->standby_fd, path_of(t, index, path), O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	/* Gone, or a link now: somebody has changed it, for the file system as such is whole. */
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return cannot_read(err, fd < 0 ? fd : -errno, path);
	if (!is_as_noted(&l->check->notes[index], &st))
		return 0;
	hash = digest_ctx_new();
	if (!hash)
		return -ENOMEM;
	r = digest_of_fd_unless(hash, fd, l->stop, l->stop_ctx, &have, NULL);
	if (r < 0)
		return r == -ECANCELED ? r : cannot_read(err, r, path);
	if (!digest_equal(&have, &t->contents[t->files[index].content].digest))
		return ota_err_set(err, -EBADMSG, OTA_E_APPLY_OTAUPDATE_FAILED,
			"The standby slot does not keep what is written to it: %s has other bytes "
			"than the image's",
			path);
	return 0;
}

int standby_check_note(const struct file_table *table, int standby_fd, inventory_stop_fn *stop,
	void *stop_ctx, struct standby_check **ret_check, struct ota_err *err)
{
	struct standby_check *c = calloc(1, sizeof(*c));
	struct look look = {
		.check = c, .standby_fd = standby_fd, .stop = stop, .stop_ctx = stop_ctx};
	int r = -ENOMEM;

	if (c) {
		c->table = table;
		c->notes = calloc((size_t)table->n_files + 1, sizeof(*c->notes));
	}
	if (c && c->notes)
		r = workers_run(table->n_files, 64, 4, note_file, &look, err);
	if (r < 0) {
		standby_check_free(c);
		return r;
	}
	*ret_check = c;
	return 0;
}

int standby_check_read(const struct standby_check *c, int standby_fd, inventory_stop_fn *stop,
	void *stop_ctx, struct ota_err *err)
{
	struct look look = {
		.check = c, .standby_fd = standby_fd, .stop = stop, .stop_ctx = stop_ctx};

	return workers_run(c->table->n_files, 8, WORKERS_FOR_DISK, read_file, &look, err);
}

void standby_check_free(struct standby_check *c)
{
	if (!c)
		return;
	free(c->notes);
	free(c);
}
