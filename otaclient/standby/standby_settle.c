/*
 * standby_settle: what has become of the files since they were noted. Contract: standby_check.h.
 *
 * Persistent files, hooks and the boot controller may write to the slot once it is the image. What they made another
 * file is not the image's any more, and forgotten here; what they gave other attributes is noted anew. So from here on
 * every note is true to the letter, and the last look can tell what the disk has lost from what somebody has changed.
 *
 * Threads: the loop runs over the files in doubt; each thread changes the notes of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/standby/standby_look.h"

struct settling {
	struct standby_look look;
	struct standby_check *check; /* the same, to be changed */
};

static bool is_before(const struct timespec *t, const struct timespec *since)
{
	return t->tv_sec != since->tv_sec ? t->tv_sec < since->tv_sec : t->tv_nsec < since->tv_nsec;
}

/* An inode of 128 bytes knows no more than the second, so it may have changed once more in that of its note. */
static bool may_have_changed(const struct standby_check *c, const struct stat *st)
{
	return st->st_ctim.tv_nsec == 0 && st->st_ctim.tv_sec >= c->since.tv_sec;
}

static bool is_unchanged(
	struct standby_look *look, uint32_t file, const struct ext4_inode_seen *inode)
{
	return inode_note_holds(&look->check->notes[file], &inode->st) &&
	       !may_have_changed(look->check, &inode->st);
}

static int note_folder(
	struct standby_look *look, size_t dir, const struct stat *st, struct ota_err *err)
{
	struct settling *s = look->ctx;

	s->check->folders[dir] = st ? folder_note_of(st) : (struct folder_note){0};
	return 0;
}

/* Whoever writes to it changes its time, but may set that back. */
static bool has_noted_time_and_size(
	const struct standby_check *c, size_t file, const struct stat *st)
{
	uint64_t size = c->table->contents[c->table->files[file].content].size_bytes;
	const struct mtime_note *m = &c->mtimes[file];

	return m->s == (uint32_t)st->st_mtim.tv_sec && m->ns == (uint32_t)st->st_mtim.tv_nsec &&
	       (size == (uint64_t)st->st_size || size == CONTENT_SIZE_UNKNOWN);
}

static int has_noted_bytes(const struct settling *s, size_t file, int fd, struct ota_err *err)
{
	const struct file_table *t = s->check->table;
	struct digest have;
	int r = standby_look_digest(&s->look, file, fd, &have, err);

	return r < 0 ? r : digest_equal(&have, &t->contents[t->files[file].content].digest);
}

/*
 * An inode that was noted, and has changed since, or may have. Nobody had read what was only believed, so what is wrong
 * with that need not be somebody's change.
 */
static int settle_changed(
	struct settling *s, size_t file, int fd, const struct stat *st, struct ota_err *err)
{
	struct inode_note *note = &s->check->notes[file];
	struct mtime_note *m = &s->check->mtimes[file];
	char path[PATH_MAX];
	int r;

	if (m->attrs_are_guessed && is_before(&st->st_ctim, &s->check->since))
		return standby_not_kept(err, standby_look_path(&s->look, file, path),
			"other attributes than the image's");
	if (!has_noted_time_and_size(s->check, file, st)) {
		note->ino = 0;
		return 0;
	}
	r = has_noted_bytes(s, file, fd, err);
	if (r == 0 && m->attrs_are_guessed)
		return standby_not_kept(err, standby_look_path(&s->look, file, path),
			"other bytes than the image's");
	if (r == 0)
		note->ino = 0;
	if (r <= 0)
		return r;
	m->attrs_are_guessed = false;
	note->ctime_s = (uint32_t)st->st_ctim.tv_sec;
	note->ctime_ns = (uint32_t)st->st_ctim.tv_nsec & INT32_MAX;
	return 0;
}

static int settle_file(void *ctx, size_t index, struct ota_err *err)
{
	struct settling *s = ctx;
	uint32_t file = s->look.order[index];
	struct inode_note *note = &s->check->notes[file];
	AUTO_CLOSE int fd = -1;
	char path[PATH_MAX];
	struct stat st;

	if (standby_look_stopped(&s->look))
		return -ECANCELED;
	fd = path_open(s->look.standby_fd, standby_look_path(&s->look, file, path),
		O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR || fd == -ENXIO) {
		note->ino = 0;
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return standby_cannot_read(err, fd < 0 ? fd : -errno, path);
	if (!S_ISREG(st.st_mode) || (uint32_t)st.st_ino != note->ino) {
		note->ino = 0;
		return 0;
	}
	if (inode_note_holds(note, &st) && !may_have_changed(s->check, &st))
		return 0;
	return settle_changed(s, file, fd, &st, err);
}

static void settling_done(struct settling *s)
{
	standby_look_done(&s->look);
}

int standby_check_settle(struct standby_check *c, int standby_fd, const char *device,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	CLEANUP(settling_done)
	struct settling s = {
		.look =
			{
                               .check = c,
                               .standby_fd = standby_fd,
                               .stop = stop,
                               .stop_ctx = stop_ctx,
                               .is_clear = is_unchanged,
                               .folder = note_folder,
			       },
		.check = c,
	};
	int r;

	s.look.ctx = &s;
	r = standby_look_run(&s.look, device, err);
	if (r < 0)
		return r;
	for (int kind = 0; kind < 3; kind++)
		c->names[kind] = TAKE_PTR(s.look.seen[kind]);
	return workers_run(s.look.n_doubts, 8, WORKERS_FOR_DISK, settle_file, &s, err);
}
