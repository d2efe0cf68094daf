/*
 * old_lists: find and open lists in /.ota-meta. Contract: old_lists.h.
 */
#include "otaclient/inventory/old_lists.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "otaclient/slot/slot_folders.h"

void old_lists_open(const char *root, struct old_lists *ret)
{
	AUTO_CLOSE int root_fd = root ? open(root, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	old_lists_open_at(root_fd, ret);
}

void old_lists_open_at(int root_fd, struct old_lists *ret)
{
	AUTO_CLOSE int dir_fd = -1;
	AUTO_BUF struct buf jwt = {0};

	*ret = (struct old_lists){.dir_fd = -1};
	if (root_fd >= 0)
		dir_fd = path_open(root_fd, SLOT_META_NAME, O_RDONLY | O_DIRECTORY, 0);
	/* A system that no update has made has none, which is nothing to speak of. */
	if (dir_fd >= 0 && file_read(dir_fd, "metadata.jwt", IMAGE_META_JWT_MAX_BYTES, &jwt) == 0 &&
		image_meta_parse(buf_str(&jwt), jwt.len_bytes, &ret->meta, NULL) == 0)
		ret->dir_fd = TAKE_FD(dir_fd);
}

void old_lists_done(struct old_lists *old)
{
	closep(&old->dir_fd);
	old->dir_fd = -1;
}

const struct image_part *old_lists_part(
	const struct old_lists *old, const struct image_meta *meta, const struct image_part *part)
{
	size_t offset = (size_t)((const char *)part - (const char *)meta);
	const struct image_part *same =
		(const struct image_part *)(const void *)((const char *)&old->meta + offset);

	/* That one is not kept. */
	if (old->dir_fd < 0 || part == &meta->patches)
		return NULL;
	return same->name[0] ? same : NULL;
}

static int failed(int r, const struct image_part *old_part, const char *why, struct ota_err *err)
{
	return ota_err_set(
		err, r, OTA_E_UNSPECIFIC, "The running system's %s %s", old_part->name, why);
}

int old_lists_file(const struct old_lists *old, const struct image_part *old_part, int *ret_fd,
	struct ota_err *err)
{
	AUTO_CLOSE int fd = openat(old->dir_fd, old_part->name,
		O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"The running system's %s cannot be opened: %s", old_part->name,
			strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return failed(-EINVAL, old_part, "is no regular file", err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int old_lists_wrong(const struct image_part *old_part, struct ota_err *err)
{
	return failed(-EBADMSG, old_part, "is another than its metadata.jwt says", err);
}
