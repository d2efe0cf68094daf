/*
 * saved_image: the lists of the image that a slot was built from, in the slot itself.
 *
 *     /.ota-meta/            0700
 *         metadata.jwt       its digest is the image's identity
 *         sign.pem           the certificate, under the name that metadata.jwt gives it
 *         dirs.txt …         every list, under its name
 *         inodes             which content each inode got (inode_index)
 *         on-trial           what is here is not committed yet
 *
 * Declared in standby_writer.h. Durable with the rest of the slot, by its one sync.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "otaclient/slot/slot_folders.h"
#include "otaclient/source/image_source.h"
#include "otaclient/standby/standby_writer.h"

static int save(int dir_fd, const char *name, const void *data, size_t len)
{
	AUTO_CLOSE int fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : file_write_all(fd, data, len);
}

static int save_all(int dir_fd, const struct image *image)
{
	int r = save(dir_fd, "metadata.jwt", image->jwt.data, image->jwt.len_bytes);

	if (r == 0)
		r = save(dir_fd, image->meta.certificate.name, image->cert.data,
			image->cert.len_bytes);
	/* Only its being there counts. */
	if (r == 0)
		r = save(dir_fd, SLOT_TRIAL_NAME, "\n", 1);
	for (int i = 0; r == 0 && i < IMAGE_LIST_COUNT; i++)
		if (image->texts[i].name[0])
			r = save(dir_fd, image->texts[i].name, image->texts[i].text,
				image->texts[i].len_bytes);
	return r;
}

int standby_save_image(int standby_fd, const struct image *image, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = -1;
	int r = standby_remove_tree(standby_fd, SLOT_META_NAME, err);

	if (r < 0)
		return r;
	if (mkdirat(standby_fd, SLOT_META_NAME, 0700) < 0)
		r = -errno;
	dir_fd = r < 0 ? -1 : path_open(standby_fd, SLOT_META_NAME, O_RDONLY | O_DIRECTORY, 0);
	if (dir_fd >= 0)
		r = save_all(dir_fd, image);
	if (r < 0 || dir_fd < 0)
		return ota_err_set(err, r < 0 ? r : dir_fd,
			r == -ENOSPC ? OTA_E_STANDBY_SLOT_SPACE : OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot save the image's lists in /%s: %s", SLOT_META_NAME,
			strerror(r < 0 ? -r : -dir_fd));
	return 0;
}
