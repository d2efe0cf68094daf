/*
 * io: the one layer that every durable change goes through: state files, renames, syncs, boot
 * flips.
 *
 * Each step has a name and, in the order of execution, a number; a test can count them, stop the
 * process at the Nth, make the Nth fail, and replay what a power cut there would leave.
 * docs/power-cuts.md lists the names.
 *
 * The bulk of a slot's content (thousands of files below the standby root) does not pass through
 * here: it is made durable at once by io_sync_fs(). io_point() marks where that work may be cut.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * Called before each durable step, from whatever thread does it. Returns 0, or a negative errno
 * that the step fails with, or does not return. Set before threads start; NULL takes it off.
 */
typedef int io_hook_fn(void *ctx, const char *what);
void io_set_hook(io_hook_fn *hook, void *ctx);

/* A place between two durable steps where a test may stop the process. 0 or the hook's error. */
int io_point(const char *what);

/*
 * A new name for what is not finished yet. All of them begin alike, so that whoever owns the folder knows and removes
 * what a cut has left there.
 */
#define IO_TMP_PREFIX ".ota_io_tmp_"
enum {
	IO_TMP_RANDOM_BYTES = 6,
	IO_TMP_NAME_MAX = sizeof(IO_TMP_PREFIX) + 2 * IO_TMP_RANDOM_BYTES,
};
void io_tmp_name(char ret_name[IO_TMP_NAME_MAX]);

/*
 * Replace or make @name in @dir_fd with @data: temporary name, write, fsync, rename, fsync of the
 * folder. After 0 the new content is there whatever happens; before, the old one is. @name is one
 * path component.
 */
int io_replace_file(const char *what, int dir_fd, const char *name, const void *data,
	size_t len_bytes, mode_t mode);

/*
 * The same for a file that a boot loader cannot do without: at no write of the disk is there neither
 * the old file nor the new one for a reader that does not replay the journal. After 0 it is
 * published, as by io_publish_boot(). @dir_fd is open for reading. A cut may leave the old content
 * under an unfinished name.
 */
int io_replace_boot_file(const char *what, int dir_fd, const char *name, const void *data,
	size_t len_bytes, mode_t mode);

/* The same as io_replace_file() with the content of @src_fd from its start; its owner is not kept. */
int io_install_file(const char *what, int dir_fd, const char *name, int src_fd, mode_t mode);

/* Replace or make the symbolic link @name; rename and fsync of the folder as above. */
int io_replace_symlink(const char *what, int dir_fd, const char *name, const char *target);

/* Make @name another name of @old_name (one file system), replacing what was there; as above. */
int io_replace_link(
	const char *what, int old_dir_fd, const char *old_name, int dir_fd, const char *name);

/* rename(2), then fsync of the target folder. */
int io_rename(const char *what, int old_dir_fd, const char *old_name, int dir_fd, const char *name);

/* unlinkat(2) with @flags, then fsync of the folder. -ENOENT is returned like any other error. */
int io_unlink(const char *what, int dir_fd, const char *name, int flags);

/* mkdirat(2), then fsync of the parent; an existing directory is fine. */
int io_mkdir(const char *what, int dir_fd, const char *name, mode_t mode);

/*
 * Overwrite part of @fd in place and sync the data. A cut leaves the old bytes there, the new ones, or any mixture: for
 * files that vouch for each part, and whose room is there already, so that a full disk does not matter.
 */
int io_overwrite(const char *what, int fd, const void *data, size_t len_bytes, off_t offset);

int io_sync_file(const char *what, int fd); /* fsync */
int io_sync_fs(const char *what, int fd);   /* syncfs */

/*
 * Make what a boot loader reads durable on the raw disk: a loader does not replay the journal, so
 * after fsync and rename it would still see the old file. syncfs where that writes the journal back
 * (ext4); freeze and thaw elsewhere.
 */
int io_publish_boot(const char *what, int fd);

/*
 * End a freeze that io_publish_boot() has begun in a process that was killed in it: whoever wrote there would wait for
 * ever. For the start, before anything is written. 0 also if there is none; or -errno.
 */
int io_thaw_boot(int fd);
