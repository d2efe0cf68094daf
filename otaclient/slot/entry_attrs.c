/*
 * entry_attrs: one entry's attributes. Contract: entry_attrs.h.
 */
#include "otaclient/slot/entry_attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/hex.h"

enum {
	XATTR_LIST_BUF = 4096,
	/* Flags that a person sets; the others describe how the file system stores the inode. */
	SETTABLE_FLAGS = FS_SECRM_FL | FS_UNRM_FL | FS_COMPR_FL | FS_SYNC_FL | FS_IMMUTABLE_FL |
			 FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_NOCOMP_FL |
			 FS_JOURNAL_DATA_FL | FS_NOTAIL_FL | FS_DIRSYNC_FL | FS_TOPDIR_FL |
			 FS_NOCOW_FL | FS_PROJINHERIT_FL,
};

/* Where the xattr calls find the entry: a file descriptor, or a path that does not follow its last
 * link. */
struct xattr_target {
	int fd;           /* -1: use path */
	const char *path; /* /proc/self/fd/<dir>/<name> */
};

static ssize_t target_list(const struct xattr_target *t, char *list, size_t size)
{
	return t->fd >= 0 ? flistxattr(t->fd, list, size) : llistxattr(t->path, list, size);
}

static ssize_t target_get(const struct xattr_target *t, const char *name, void *value, size_t size)
{
	return t->fd >= 0 ? fgetxattr(t->fd, name, value, size)
			  : lgetxattr(t->path, name, value, size);
}

static int target_set(
	const struct xattr_target *t, const char *name, const void *value, size_t size)
{
	return t->fd >= 0 ? fsetxattr(t->fd, name, value, size, 0)
			  : lsetxattr(t->path, name, value, size, 0);
}

static int target_remove(const struct xattr_target *t, const char *name)
{
	return t->fd >= 0 ? fremovexattr(t->fd, name) : lremovexattr(t->path, name);
}

struct attrs_want attrs_of_file(const struct file_table *table, uint32_t file)
{
	uint32_t group = table->files[file].group;
	const struct file_entry *first = &table->files[group];

	return (struct attrs_want){
		.table = table,
		.kind = ENTRY_FILE,
		.index = group,
		.uid = first->uid,
		.gid = first->gid,
		.mode = first->mode,
	};
}

int attrs_unlock_fd(int fd)
{
	struct stat st;
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & SETTABLE_FLAGS) {
		flags &= ~SETTABLE_FLAGS;
		if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
			return -errno;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode) && fremovexattr(fd, "system.posix_acl_default") < 0 &&
		errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

static bool text_is(struct text t, const char *s)
{
	return strlen(s) == t.len && memcmp(s, t.at, t.len) == 0;
}

/* What the running kernel puts there by itself, where the image says nothing: a label, a sum over the attributes. */
static bool stays_without_line(const char *name)
{
	return strcmp(name, "security.selinux") == 0 || strcmp(name, "security.evm") == 0;
}

static int remove_unwanted(
	const struct xattr_target *t, const struct entry_xattr *want, uint32_t n_want)
{
	char small[XATTR_LIST_BUF];
	AUTO_FREE char *large = NULL;
	char *list = small;
	ssize_t len = target_list(t, list, sizeof(small));

	if (len < 0 && errno == ERANGE) {
		len = target_list(t, NULL, 0);
		large = len > 0 ? malloc((size_t)len) : NULL;
		if (!large)
			return len < 0 ? -errno : -ENOMEM;
		list = large;
		len = target_list(t, list, (size_t)len);
	}
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (char *name = list; name < list + len; name += strlen(name) + 1) {
		bool wanted = stays_without_line(name);

		for (uint32_t i = 0; i < n_want && !wanted; i++)
			wanted = text_is(want[i].name, name);
		if (!wanted && target_remove(t, name) < 0 && errno != ENODATA)
			return -errno;
	}
	return 0;
}

bool attrs_want_plain(const struct attrs_want *want)
{
	const struct entry_xattr *x;

	return file_table_xattrs_of(want->table, want->kind, want->index, &x) == 0;
}

bool attrs_flags_are_plain(uint32_t flags)
{
	return !(flags & SETTABLE_FLAGS);
}

int attrs_fd_is_plain(int fd)
{
	char list[XATTR_LIST_BUF];
	int flags;
	ssize_t len = flistxattr(fd, list, sizeof(list));

	if (len < 0)
		return errno == ERANGE ? 0 : errno == EOPNOTSUPP ? 1 : -errno;
	for (char *name = list; name < list + len; name += strlen(name) + 1)
		if (!stays_without_line(name))
			return 0;
	return ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || attrs_flags_are_plain((uint32_t)flags);
}

static int set_one(const struct xattr_target *t, const struct entry_xattr *x)
{
	size_t len = x->value_hex.len / 2;
	AUTO_FREE uint8_t *value = malloc(len + 1);
	AUTO_FREE uint8_t *have = malloc(len + 1);
	char name[XATTR_NAME_MAX + 1];
	ssize_t n;
	int r;

	if (!value || !have)
		return -ENOMEM;
	if (x->name.len >= sizeof(name))
		return -ENAMETOOLONG;
	memcpy(name, x->name.at, x->name.len);
	name[x->name.len] = '\0';
	r = hex_decode(x->value_hex.at, x->value_hex.len, value);
	if (r < 0)
		return r;
	n = target_get(t, name, have, len + 1);
	if (n >= 0 && (size_t)n == len && memcmp(have, value, len) == 0)
		return 0;
	return target_set(t, name, value, len) < 0 ? -errno : 0;
}

static int apply_xattrs(const struct xattr_target *t, const struct attrs_want *want,
	const char *path, struct ota_err *err)
{
	const struct entry_xattr *x = NULL;
	uint32_t n = file_table_xattrs_of(want->table, want->kind, want->index, &x);
	int r = remove_unwanted(t, x, n);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot take the extended attributes off %s: %s", path, strerror(-r));
	for (uint32_t i = 0; i < n; i++) {
		r = set_one(t, &x[i]);
		if (r < 0)
			return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
				"Cannot set the extended attribute %.*s of %s: %s",
				(int)x[i].name.len, x[i].name.at, path, strerror(-r));
	}
	return 0;
}

/* Fill @ret_times and say whether the entry's own time differs from the image's. */
static bool mtime_differs(
	const struct attrs_want *want, const struct stat *st, struct timespec ret_times[2])
{
	const struct entry_mtime *m;

	if (!want->table->has_attributes)
		return false;
	m = want->index == FILE_TABLE_NONE ? &want->table->root_mtime
					   : &want->table->mtimes[want->kind][want->index];
	if (m->nsec == MTIME_UNKNOWN ||
		(st->st_mtim.tv_sec == m->sec && st->st_mtim.tv_nsec == (long)m->nsec))
		return false;
	ret_times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
	ret_times[1] = (struct timespec){.tv_sec = m->sec, .tv_nsec = (long)m->nsec};
	return true;
}

bool attrs_symlink_holds(int dir_fd, const char *name, struct text target)
{
	char have[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, name, have, sizeof(have));

	return n == (ssize_t)target.len && memcmp(have, target.at, target.len) == 0;
}

bool attrs_stat_holds(const struct attrs_want *want, const struct stat *st)
{
	struct timespec times[2];

	return st->st_uid == want->uid && st->st_gid == want->gid &&
	       (st->st_mode & 07777) == want->mode && !mtime_differs(want, st, times);
}

int attrs_apply_fd(int fd, const struct attrs_want *want, const char *path, struct ota_err *err)
{
	struct timespec times[2];
	struct stat st;
	int r = attrs_unlock_fd(fd);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot clear the flags of %s: %s", path, strerror(-r));
	if (fstat(fd, &st) < 0)
		goto fail;
	if ((st.st_uid != want->uid || st.st_gid != want->gid) &&
		fchown(fd, want->uid, want->gid) < 0)
		goto fail;
	/* An ACL on the inode would make the mode bits mean something else: xattrs go before the
	 * last chmod. */
	r = apply_xattrs(&(struct xattr_target){.fd = fd}, want, path, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		goto fail;
	if ((st.st_mode & 07777) != want->mode && fchmod(fd, want->mode) < 0)
		goto fail;
	if (mtime_differs(want, &st, times) && futimens(fd, times) < 0)
		goto fail;
	return 0;
fail:
	return ota_err_set(err, -errno, OTA_E_APPLY_OTAUPDATE_FAILED,
		"Cannot set owner, mode and time of %s: %s", path, strerror(errno));
}

int attrs_apply_symlink(int dir_fd, const char *name, const struct attrs_want *want,
	const char *path, struct ota_err *err)
{
	char proc_path[64 + NAME_MAX];
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		goto fail;
	if ((st.st_uid != want->uid || st.st_gid != want->gid) &&
		fchownat(dir_fd, name, want->uid, want->gid, AT_SYMLINK_NOFOLLOW) < 0)
		goto fail;
	snprintf(proc_path, sizeof(proc_path), "/proc/self/fd/%d/%s", dir_fd, name);
	r = apply_xattrs(&(struct xattr_target){.fd = -1, .path = proc_path}, want, path, err);
	if (r < 0)
		return r;
	if (mtime_differs(want, &st, times) &&
		utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		goto fail;
	return 0;
fail:
	return ota_err_set(err, -errno, OTA_E_APPLY_OTAUPDATE_FAILED,
		"Cannot set owner and time of the link %s: %s", path, strerror(errno));
}
