/*
 * blob_place: plain contents to the names that have them. Contract: blob_store.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "metadata-gen/blob_parts.h"

/* Make the folders on the way to @path. */
static int make_parents(int dir_fd, const char *path)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len + 1);
	for (char *slash = strchr(dir, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdirat(dir_fd, dir, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

/* Write the content at @path from the place where it is already. */
static int copy_placed(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	AUTO_CLOSE int fd = openat(dir_fd, blob->placed, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int out = -1;

	if (fd < 0)
		return -errno;
	out = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	return out < 0 ? -errno : blob_copy_checked(hand, blob, fd, out, err);
}

/* Write the content at @path from its compressed form. */
static int unpack(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1, out = -1;

	blob_name(&blob->digest, name);
	fd = openat(hand->store->config.zst_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	out = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (out < 0)
		return -errno;
	return blob_verify(hand, fd, &blob->digest, blob->size_bytes, out, err);
}

static int place(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	if (blob->placed) {
		if (linkat(dir_fd, blob->placed, dir_fd, path, 0) == 0)
			return 0;
		if (errno != EMLINK)
			return -errno;
		return copy_placed(hand, blob, dir_fd, path, err);
	}
	if (!blob->has_plain)
		return unpack(hand, blob, dir_fd, path, err);
	digest_to_hex(&blob->digest, hex);
	return renameat(hand->store->config.plain_fd, hex, dir_fd, path) < 0 ? -errno : 0;
}

int blob_place(struct blob_hand *hand, struct blob *blob, int dir_fd, const char *path,
	struct ota_err *err)
{
	int r = place(hand, blob, dir_fd, path, err);

	if (r == -ENOENT) {
		r = make_parents(dir_fd, path);
		if (r == 0)
			r = place(hand, blob, dir_fd, path, err);
	}
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot put %s into the image", path);
	if (blob->has_plain && !blob->placed)
		blob->has_plain = false; /* it was moved */
	blob->placed = path;
	return 0;
}
