/*
 * mount: the door to libmount (mountinfo), libblkid (labels) and mount(2). Contract: mount.h.
 */
#include "common/base/mount.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"

enum {
	SEEN_MAX = 256,
	SEEN_NAME_MAX = 32,
};

static void unref_tablep(struct libmnt_table **tb)
{
	mnt_unref_table(*tb);
}

static int mountinfo_load(struct libmnt_table **ret_table, struct ota_err *err)
{
	struct libmnt_table *tb = mnt_new_table_from_file("/proc/self/mountinfo");

	if (!tb)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "Cannot read /proc/self/mountinfo");
	*ret_table = tb;
	return 0;
}

int mount_source_of(const char *mount_point, struct buf *ret_source, struct ota_err *err)
{
	CLEANUP(unref_tablep) struct libmnt_table *tb = NULL;
	struct libmnt_fs *fs;
	const char *source;
	int r = mountinfo_load(&tb, err);

	if (r < 0)
		return r;
	fs = mnt_table_find_target(tb, mount_point, MNT_ITER_BACKWARD);
	source = fs ? mnt_fs_get_source(fs) : NULL;
	if (!source)
		return ota_err_set(
			err, -ENOENT, OTA_E_UNSPECIFIC, "Nothing is mounted on %s", mount_point);
	return buf_puts(ret_source, source);
}

int mount_point_of(dev_t dev, struct buf *ret_mount_point, struct ota_err *err)
{
	CLEANUP(unref_tablep) struct libmnt_table *tb = NULL;
	struct libmnt_fs *fs;
	int r = mountinfo_load(&tb, err);

	if (r < 0)
		return r;
	fs = mnt_table_find_devno(tb, dev, MNT_ITER_BACKWARD);
	if (!fs || !mnt_fs_get_target(fs))
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC, "The device is not mounted");
	return buf_puts(ret_mount_point, mnt_fs_get_target(fs));
}

/* Namespaces that were looked into; what is beyond is looked into for each process. */
struct seen {
	char names[SEEN_MAX][SEEN_NAME_MAX]; /* as the kernel calls them: "mnt:[4026531841]" */
	unsigned n;
};

/* The namespace's name, "" if it cannot be read; has it been looked into? */
static bool is_seen(const struct seen *seen, const char *pid, char ret_name[SEEN_NAME_MAX])
{
	char path[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%.16s/ns/mnt", pid);
	len = readlink(path, ret_name, SEEN_NAME_MAX - 1);
	ret_name[MAX_OF(len, 0)] = '\0';
	for (unsigned i = 0; len > 0 && i < seen->n; i++)
		if (strcmp(seen->names[i], ret_name) == 0)
			return true;
	return false;
}

/* A process that has just ended tells nothing of its namespace, in which others may be. */
static int holder_in(struct seen *seen, const char *pid, dev_t dev, struct buf *ret_text)
{
	CLEANUP(unref_tablep) struct libmnt_table *tb = NULL;
	AUTO_BUF struct buf comm = {0};
	char path[64], name[SEEN_NAME_MAX];
	struct libmnt_fs *fs;

	if (is_seen(seen, pid, name))
		return 0;
	snprintf(path, sizeof(path), "/proc/%.16s/mountinfo", pid);
	tb = mnt_new_table_from_file(path);
	fs = tb ? mnt_table_find_devno(tb, dev, MNT_ITER_BACKWARD) : NULL;
	if (!fs) {
		if (tb && mnt_table_get_nents(tb) > 0 && seen->n < SEEN_MAX)
			memcpy(seen->names[seen->n++], name, strlen(name) + 1);
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	if (file_read(AT_FDCWD, path, 256, &comm) < 0)
		return 0;
	return buf_printf(ret_text, "%.*s (process %s) has it mounted on %s",
		(int)strcspn(buf_str(&comm), "\n"), buf_str(&comm), pid,
		mnt_fs_get_target(fs) ? mnt_fs_get_target(fs) : "?");
}

/* A service manager gives many services a namespace of their own, but few have hundreds of mounts each. */
int mount_find_holder(dev_t dev, struct buf *ret_text)
{
	AUTO_CLOSEDIR DIR *proc = opendir("/proc");
	size_t before = ret_text->len_bytes;
	struct seen seen = {0};
	struct dirent *e;

	if (!proc)
		return -errno;
	while ((e = readdir(proc)) && ret_text->len_bytes == before) {
		int r;

		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		r = holder_in(&seen, e->d_name, dev, ret_text);
		if (r < 0)
			return r;
	}
	return 0;
}

static void put_cachep(blkid_cache *cache)
{
	if (*cache)
		blkid_put_cache(*cache);
}

static void free_probep(blkid_probe *probe)
{
	if (*probe)
		blkid_free_probe(*probe);
}

/* What is on @device. The search may have believed a link that is older than the disk in the slot. */
static int probe_type(
	const char *device, const char *label, struct buf *ret_type, struct ota_err *err)
{
	CLEANUP(free_probep) blkid_probe probe = blkid_new_probe_from_filename(device);
	const char *type, *found;

	if (!probe)
		return ota_err_set(err, errno ? -errno : -EIO, OTA_E_UNSPECIFIC,
			"Cannot open %s: %s", device, strerror(errno));
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
	if (blkid_do_safeprobe(probe) != 0 ||
		blkid_probe_lookup_value(probe, "LABEL", &found, NULL) != 0 ||
		strcmp(found, label) != 0 ||
		blkid_probe_lookup_value(probe, "TYPE", &type, NULL) != 0)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s holds no single file system with the label %s", device, label);
	return buf_puts(ret_type, type);
}

int mount_find_label(
	const char *label, struct buf *ret_device, struct buf *ret_type, struct ota_err *err)
{
	CLEANUP(put_cachep) blkid_cache cache = NULL;
	blkid_dev dev = NULL;
	int r;

	/* Without a file, so that nothing is remembered of disks that are gone. */
	if (blkid_get_cache(&cache, "/dev/null") == 0)
		dev = blkid_find_dev_with_tag(cache, "LABEL", label);
	if (!dev)
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"There is no file system with the label %s", label);
	r = probe_type(blkid_dev_devname(dev), label, ret_type, err);
	return r < 0 ? r : buf_puts(ret_device, blkid_dev_devname(dev));
}

int mount_find_type(const char *device, struct buf *ret_type, struct ota_err *err)
{
	CLEANUP(free_probep) blkid_probe probe = blkid_new_probe_from_filename(device);
	const char *type;
	int r;

	if (!probe)
		return ota_err_set(err, errno ? -errno : -EIO, OTA_E_UNSPECIFIC,
			"Cannot open %s: %s", device, strerror(errno));
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
	r = blkid_do_safeprobe(probe);
	if (r == 1)
		return ota_err_set(
			err, -ENOENT, OTA_E_UNSPECIFIC, "%s holds nothing that is known", device);
	if (r != 0 || blkid_probe_lookup_value(probe, "TYPE", &type, NULL) != 0)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s holds more than one thing, or cannot be read", device);
	return buf_puts(ret_type, type);
}

int mount_own_namespace(struct ota_err *err)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot take a mount namespace of our own: %s", strerror(errno));
	return 0;
}

static bool is_in_namespace_of_init(void)
{
	struct stat ours, its;

	return stat("/proc/self/ns/mnt", &ours) == 0 && stat("/proc/1/ns/mnt", &its) == 0 &&
	       ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

/*
 * In a child: nobody comes back from there. Only async-signal-safe calls. Process 1 names what is mounted as seen from
 * its root folder, which need not be the namespace's.
 */
static int undo_in_namespace(int ns_fd, int root_fd, const char *target)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(setns(ns_fd, CLONE_NEWNS) < 0 || fchdir(root_fd) < 0 || chroot(".") < 0 ||
					umount2(target, UMOUNT_NOFOLLOW) < 0
				? errno
				: 0);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int mount_undo_at_init(dev_t dev)
{
	AUTO_CLOSE int ns_fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int root_fd = open("/proc/1/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int n_undone = 0;

	if (ns_fd < 0 || root_fd < 0 || is_in_namespace_of_init())
		return -ENOENT;
	for (;;) {
		CLEANUP(unref_tablep)
		struct libmnt_table *tb = mnt_new_table_from_file("/proc/1/mountinfo");
		struct libmnt_fs *fs = tb ? mnt_table_find_devno(tb, dev, MNT_ITER_BACKWARD) : NULL;
		int r;

		if (!fs || !mnt_fs_get_target(fs))
			return n_undone > 0 ? 0 : -ENOENT;
		/* A root cannot be unmounted, it only becomes read-only. */
		if (strcmp(mnt_fs_get_target(fs), "/") == 0)
			return -EBUSY;
		r = undo_in_namespace(ns_fd, root_fd, mnt_fs_get_target(fs));
		if (r < 0)
			return r;
		n_undone++;
	}
}

int mount_private(const char *source, const char *target, const char *fstype, unsigned long flags,
	const char *data, struct ota_err *err)
{
	unsigned long first = flags & MS_BIND ? MS_BIND : flags;

	if (mount(source, target, fstype, first, data) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot mount %s on %s: %s",
			source, target, strerror(errno));
	/* A bind mount takes its flags only from a second call. */
	if ((flags & MS_BIND && mount(NULL, target, NULL, MS_REMOUNT | flags, NULL) < 0) ||
		mount(NULL, target, NULL, MS_PRIVATE, NULL) < 0 ||
		mount(NULL, target, NULL, MS_UNBINDABLE, NULL) < 0) {
		int r = -errno;

		umount2(target, MNT_DETACH);
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot make the mount of %s private: %s", source, strerror(-r));
	}
	return 0;
}

int mount_change(const char *target, unsigned long flags, const char *data, struct ota_err *err)
{
	if (mount(NULL, target, NULL, MS_REMOUNT | flags, data) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot remount %s %s: %s",
			target, flags & MS_RDONLY ? "read-only" : "writable", strerror(errno));
	return 0;
}

int mount_undo(const char *target, bool lazy, struct ota_err *err)
{
	unsigned tries = 0;

	for (;;) {
		if (umount2(target, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
			continue;
		if (errno == EINVAL || errno == ENOENT)
			return 0;
		/* A scanner may have a file open for a moment. */
		if (errno != EBUSY || ++tries > 20)
			return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot unmount %s: %s",
				target, strerror(errno));
		clock_sleep_ms(100);
	}
}
