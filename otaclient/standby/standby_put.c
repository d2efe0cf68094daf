/*
 * standby_put: a content gets its place on the standby slot. Contract: standby_work.h.
 *
 * What one file alone wants gets that file's name and attributes at once where nothing is in the way: through the
 * store it would cost two more changes of folders. All else goes to the store.
 */
#include "otaclient/standby/standby_work.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "common/crypto/digest.h"
#include "otaclient/slot/file_copy.h"

/* 0: @fd has the content. -ENODATA: what is on the active slot is another. */
static int fill_from_file(
	struct standby_writer *w, uint32_t content, int src_fd, int fd, uint64_t *ret_bytes)
{
	const struct content *want = &w->c.table->contents[content];
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	struct digest have;
	int r;

	if (!hash)
		return -ENOMEM;
	digest_start(hash);
	/* The active slot is alive: the file may have become another, and of any size. */
	r = file_copy(
		&(struct file_copy){
			.src_fd = src_fd,
			.dst_fd = fd,
			.max_bytes = want->size_bytes,
			.reserve_bytes = standby_content_size(w, content),
			.hash = hash,
			.stop = w->c.stop,
			.stop_ctx = w->c.stop_ctx,
		},
		ret_bytes);
	digest_final(hash, &have);
	if (r == -EPIPE || r == -EFBIG || (r == 0 && !digest_equal(&have, &want->digest)))
		return -ENODATA;
	return r;
}

static int fill(struct standby_writer *w, uint32_t content, const struct standby_origin *from,
	int fd, uint64_t *ret_bytes)
{
	int r;

	*ret_bytes = 0;
	if (from->data) {
		*ret_bytes = w->c.table->contents[content].size_bytes;
		r = file_write_all(fd, from->data, (size_t)*ret_bytes);
	} else {
		r = fill_from_file(w, content, from->fd, fd, ret_bytes);
	}
	atomic_fetch_add(&w->counts.written_bytes, *ret_bytes);
	return r;
}

static int put_in_store(struct standby_writer *w, uint32_t content,
	const struct standby_origin *from, struct ota_err *err)
{
	char tmp[IO_TMP_NAME_MAX], hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int fd = standby_make_tmp(w, tmp);
	uint64_t bytes;
	int r;

	if (fd < 0)
		return standby_error(err, fd, "make a copy of", from->path);
	r = fill(w, content, from, fd, &bytes);
	if (r == 0)
		r = io_point("copy: store a content");
	digest_to_hex(&w->c.table->contents[content].digest, hex);
	if (r == 0 && renameat(w->store_fd, tmp, w->store_fd, hex) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(w->store_fd, tmp, 0);
		return r == -ENODATA ? r : standby_error(err, r, "copy", from->path);
	}
	standby_count(w, 1, bytes);
	return 0;
}

/* The folders on the way to @path that are not there yet. All are the image's. */
static int make_folders(int standby_fd, const char *path)
{
	char folder[PATH_MAX];

	for (const char *end = strchr(path + 1, '/'); end; end = strchr(end + 1, '/')) {
		AUTO_CLOSE int parent = -1;
		const char *name;

		snprintf(folder, sizeof(folder), "%.*s", (int)(end - path), path);
		parent = path_open_parent(standby_fd, folder, &name);
		if (parent < 0)
			return parent;
		if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* Something is there that the prune must see first: the old file, a link, a folder that is locked. */
static bool is_in_the_way(int r)
{
	return r == -EEXIST || r == -ENOTDIR || r == -ELOOP || r == -EXDEV || r == -EPERM ||
	       r == -EACCES;
}

/* A new file, with the mode that it is to have, which spares a change; none that could lend rights meanwhile. */
static int make_at(int standby_fd, const char *path, uint16_t mode)
{
	int flags = O_RDWR | O_CREAT | O_EXCL;
	int fd = path_open(standby_fd, path, flags, mode & 0777);

	if (fd == -ENOENT) {
		int r = make_folders(standby_fd, path);

		fd = r < 0 ? r : path_open(standby_fd, path, flags, mode & 0777);
	}
	return fd;
}

static void remove_at(int standby_fd, const char *path)
{
	const char *name;
	AUTO_CLOSE int parent = path_open_parent(standby_fd, path, &name);

	if (parent >= 0)
		unlinkat(parent, name, 0);
}

/* 0: the file is placed. 1: its name is not free. -ENODATA as fill(). */
static int put_at_name(struct standby_writer *w, uint32_t file, const struct standby_origin *from,
	struct ota_err *err)
{
	uint32_t content = w->c.table->files[file].content;
	char path[PATH_MAX];
	AUTO_CLOSE int fd = -1;
	uint64_t bytes;
	int r = io_point("copy: make a file");

	if (r < 0)
		return standby_error(err, r, "copy", from->path);
	text_path(w->c.table->files[file].path, path);
	fd = make_at(w->c.standby_fd, path, w->c.table->files[file].mode);
	if (fd < 0)
		return is_in_the_way(fd) ? 1 : standby_error(err, fd, "make a copy of", from->path);
	r = fill(w, content, from, fd, &bytes);
	if (r < 0) {
		/* Where it cannot go it is no file of the image, and the prune or the store's own takes its place. */
		remove_at(w->c.standby_fd, path);
		return r == -ENODATA ? r : standby_error(err, r, "copy", from->path);
	}
	r = standby_apply_file(w, file, fd, path, err);
	if (r == 0)
		r = standby_note_made(w, file, fd, path, err);
	if (r < 0)
		return r;
	standby_count(w, 1, bytes);
	return 0;
}

int standby_put(struct standby_writer *w, uint32_t content, uint32_t file,
	const struct standby_origin *from, struct ota_err *err)
{
	int r = 1;

	if (file != FILE_TABLE_NONE)
		r = put_at_name(w, file, from, err);
	if (r == 1)
		r = put_in_store(w, content, from, err);
	if (r == 0)
		w->c.inv->sources[content].place = PLACE_STANDBY;
	return r;
}
