/*
 * grub_ctl: small durable operations on /boot. Contract: grub_ctl.h.
 */
#include "boot-controllers/grub/grub_ctl.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "boot-controllers/boot_tree.h"
#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_entry.h"
#include "boot-controllers/grub/kernel_version.h"
#include "boot-controllers/tool_path.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/io.h"
#include "common/base/path.h"
#include "common/crypto/digest.h"

const char *const grub_slot_id[GRUB_N_SLOTS] = {"ota-slot_a", "ota-slot_b"};

struct grub_ctl *grub_ctl_of(struct boot_ctl *ctl)
{
	assert(ctl->ops == &grub_ops);
	return (struct grub_ctl *)ctl;
}

const struct grub_ctl *grub_ctl_of_const(const struct boot_ctl *ctl)
{
	assert(ctl->ops == &grub_ops);
	return (const struct grub_ctl *)ctl;
}

unsigned grub_active(const struct grub_ctl *ctl)
{
	return ctl->disk.active;
}

unsigned grub_standby(const struct grub_ctl *ctl)
{
	return ctl->disk.active == GRUB_SLOT_A ? GRUB_SLOT_B : GRUB_SLOT_A;
}

void grub_entry_name(unsigned slot, bool staged, char ret_name[NAME_MAX])
{
	snprintf(ret_name, NAME_MAX, "%s.cfg%s", grub_slot_id[slot],
		staged ? GRUB_ENTRY_STAGED_SUFFIX : "");
}

/* The prefix is "sda" whatever the disk is called. */
void grub_legacy_name(const struct grub_ctl *ctl, unsigned slot, char ret_name[NAME_MAX])
{
	snprintf(ret_name, NAME_MAX, "ota-partition.sda%u", ctl->disk.slot[slot].number);
}

void grub_boot_path(const struct grub_ctl *ctl, const char *name, char ret_path[PATH_MAX])
{
	assert(strlen("/boot/") + strlen(name) < GRUB_ROOT_SPARE_BYTES);
	snprintf(ret_path, PATH_MAX, "%.*s/boot/%s", PATH_MAX - GRUB_ROOT_SPARE_BYTES, ctl->root,
		name);
}

int grub_read_file(int dir_fd, const char *name, size_t max_bytes, struct buf *ret)
{
	AUTO_CLOSE int fd = path_open(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? file_read_fd(fd, max_bytes, ret) : -ENOENT;
}

static bool has_content(int dir_fd, const char *name, const struct buf *content, mode_t mode)
{
	AUTO_BUF struct buf old = {0};
	struct stat st;

	return grub_read_file(dir_fd, name, GRUB_CFG_MAX_BYTES, &old) == 0 &&
	       old.len_bytes == content->len_bytes &&
	       memcmp(buf_str(&old), buf_str(content), old.len_bytes) == 0 &&
	       fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & 07777) == mode;
}

static int said_written(int r, const char *path, struct ota_err *err)
{
	return r < 0 ? ota_err_set(
			       err, r, OTA_E_UNSPECIFIC, "Cannot write %s: %s", path, strerror(-r))
		     : 0;
}

int grub_write_file(const char *what, int dir_fd, const char *name, const char *path,
	const struct buf *content, mode_t mode, struct ota_err *err)
{
	if (has_content(dir_fd, name, content, mode))
		return 0;
	return said_written(
		io_replace_file(what, dir_fd, name, buf_str(content), content->len_bytes, mode),
		path, err);
}

int grub_write_boot_file(const struct grub_ctl *ctl, const char *what, const char *name,
	const char *path, const struct buf *content, mode_t mode, struct ota_err *err)
{
	if (has_content(ctl->grub_fd, name, content, mode))
		return 0;
	return said_written(io_replace_boot_file(what, ctl->grub_fd, name, buf_str(content),
				    content->len_bytes, mode),
		path, err);
}

int grub_publish(const struct grub_ctl *ctl, const char *what, struct ota_err *err)
{
	int r = io_publish_boot(what, ctl->boot_fd);

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write back /boot (%s): %s",
			       what, strerror(-r))
		     : 0;
}

void grub_load_env(const struct grub_ctl *ctl, struct grub_env *ret_env)
{
	AUTO_BUF struct buf b = {0};

	*ret_env = (struct grub_env){0};
	if (grub_read_file(ctl->grub_fd, "grubenv", GRUB_ENV_FILE_MAX_BYTES, &b) == 0)
		grub_env_parse(buf_str(&b), b.len_bytes, ret_env, NULL);
}

int grub_env_slot(const struct grub_ctl *ctl, const char *name, unsigned *ret_slot)
{
	char value[GRUB_ENV_VALUE_MAX], file[NAME_MAX];
	struct grub_env env;
	struct stat st;

	grub_load_env(ctl, &env);
	if (grub_env_get(&env, name, value, sizeof(value)) < 0)
		return -ENOENT;
	for (unsigned s = 0; s < GRUB_N_SLOTS; s++) {
		grub_entry_name(s, false, file);
		if (strcmp(value, grub_slot_id[s]) == 0 &&
			fstatat(ctl->grub_fd, file, &st, 0) == 0) {
			*ret_slot = s;
			return 0;
		}
	}
	return -ENOENT;
}

/* A file that an entry names, as GRUB sees it from the top of /boot. */
static int check_named(
	const struct grub_ctl *ctl, const char *entry, const char *path, struct ota_err *err)
{
	AUTO_CLOSE int fd = *path ? path_open(ctl->boot_fd, path, O_PATH, 0) : -ENOENT;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"%s boots \"%s\", which is not there", entry, path);
	return 0;
}

int grub_check_entry(const struct grub_ctl *ctl, unsigned slot, bool staged, struct ota_err *err)
{
	const char *uuid = ctl->disk.slot[slot].fs_uuid;
	AUTO_BUF struct buf b = {0};
	struct grub_entry_info info;
	char name[NAME_MAX];
	int r;

	grub_entry_name(slot, staged, name);
	r = grub_read_file(ctl->grub_fd, name, GRUB_CFG_MAX_BYTES, &b);
	if (r < 0)
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"/boot/grub/%s cannot be read: %s", name, strerror(-r));
	r = grub_entry_read(buf_str(&b), b.len_bytes, &info, err);
	if (r < 0)
		return ota_err_wrap(err, -ENOENT, "/boot/grub/%s is no menu entry", name);
	r = check_named(ctl, name, info.kernel, err);
	if (r == 0)
		r = check_named(ctl, name, info.initrd, err);
	if (r == 0 && strcmp(info.root_uuid, uuid) != 0)
		r = ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"%s has the root file system %s, but the slot's is \"%s\"", name,
			info.root_uuid, uuid);
	return r;
}

static int unlink_if_there(const char *what, int dir_fd, const char *name, struct ota_err *err)
{
	int r = io_unlink(what, dir_fd, name, 0);

	if (r == 0 || r == -ENOENT)
		return 0;
	return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot remove %s: %s", name, strerror(-r));
}

int grub_remove_entry(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err)
{
	char entry[NAME_MAX], staged[NAME_MAX];
	int r;

	grub_entry_name(slot, false, entry);
	grub_entry_name(slot, true, staged);
	r = unlink_if_there("remove the menu entry", ctl->grub_fd, entry, err);
	if (r == 0)
		r = unlink_if_there("remove the staged menu entry", ctl->grub_fd, staged, err);
	return r < 0 ? r : grub_publish(ctl, "publish the removed menu entry", err);
}

int grub_remove_tree(const char *what, int dir_fd, const char *name, struct ota_err *err)
{
	int r = boot_tree_remove(what, dir_fd, name);

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot remove %s from /boot: %s",
			       name, strerror(-r))
		     : 0;
}

int grub_open_slot_dir(const struct grub_ctl *ctl, unsigned slot, int *ret_fd, struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	int r = io_mkdir("make the slot's folder", ctl->boot_fd, grub_slot_id[slot], 0755);

	if (r == 0) {
		fd = openat(ctl->boot_fd, grub_slot_id[slot],
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? -errno : io_mkdir("make the slot's grub folder", fd, "grub", 0755);
	}
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot make /boot/%s: %s",
			grub_slot_id[slot], strerror(-r));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static bool is_file(int dir_fd, const char *prefix, const char *release)
{
	char name[NAME_MAX + 1];
	struct stat st;

	if ((size_t)snprintf(name, sizeof(name), "%s%s", prefix, release) >= sizeof(name))
		return false;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size > 0;
}

/* The release becomes part of GRUB's script, so it may not have anything that means something there. */
static bool is_plain_release(const char *release)
{
	size_t len = strlen(release);

	if (len == 0 || len >= GRUB_RELEASE_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)release[i]) && !strchr("._+~-", release[i]))
			return false;
	return true;
}

struct kernel_search {
	const char *wanted; /* NULL = the newest */
	char best[GRUB_RELEASE_MAX];
};

static int visit_kernel(void *ctx, int dir_fd, const char *name)
{
	struct kernel_search *s = ctx;
	const char *release = name + strlen("vmlinuz-");

	if (strncmp(name, "vmlinuz-", strlen("vmlinuz-")) != 0 || !is_plain_release(release) ||
		(s->wanted && strcmp(release, s->wanted) != 0) ||
		!is_file(dir_fd, "vmlinuz-", release) || !is_file(dir_fd, "initrd.img-", release))
		return 0;
	if (s->best[0] == '\0' || kernel_version_cmp(release, s->best) > 0)
		snprintf(s->best, sizeof(s->best), "%s", release);
	return 0;
}

int grub_find_kernel(int dir_fd, const char *wanted, char ret_release[GRUB_RELEASE_MAX])
{
	struct kernel_search s = {.wanted = wanted};
	int r = folder_each(dir_fd, visit_kernel, &s);

	if (r < 0)
		return r;
	if (s.best[0] == '\0')
		return -ENOENT;
	memcpy(ret_release, s.best, sizeof(s.best));
	return 0;
}

void grub_tool(
	const struct grub_ctl *ctl, const char *name, const char *standard, char ret_path[PATH_MAX])
{
	tool_path_find(ctl->tools_path, name, standard, ret_path);
}

/* One file to bring into a slot's folder. */
struct transfer {
	char name[NAME_MAX];
	int src_fd;
	uint64_t size_bytes;
	bool there; /* the folder has it already */
	bool from_top; /* it is the file at the top of /boot */
};

static void transfer_done(struct transfer *t)
{
	closep(&t->src_fd);
}

/* Nothing that may stand in a kernel's place is to hang the open. */
static int open_kernel_file(int dir_fd, const char *name)
{
	return openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int transfer_init(const struct grub_ctl *ctl, struct transfer *t, int from_fd,
	const char *prefix, const char *release, int slot_fd)
{
	AUTO_CLOSE int old = -1;
	struct stat st, old_st;

	snprintf(t->name, sizeof(t->name), "%s%s", prefix, release);
	t->src_fd = open_kernel_file(from_fd, t->name);
	if (t->src_fd < 0 || fstat(t->src_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	t->from_top = fstatat(ctl->boot_fd, t->name, &old_st, AT_SYMLINK_NOFOLLOW) == 0 &&
		      old_st.st_ino == st.st_ino && old_st.st_dev == st.st_dev;
	t->size_bytes = (uint64_t)st.st_size;
	old = open_kernel_file(slot_fd, t->name);
	t->there = old >= 0 && fstat(old, &old_st) == 0 && S_ISREG(old_st.st_mode) &&
		   old_st.st_size == st.st_size && boot_tree_same_content(old, t->src_fd);
	return 0;
}

static uint64_t transfer_need(const struct transfer *t)
{
	return t->there || t->from_top ? 0 : t->size_bytes;
}

/*
 * The one at the top stays the file that it is: before the machine is taken over, its boot loader reads it there, and a
 * name that is replaced leads nowhere while it is written back.
 */
static int transfer_run(const struct grub_ctl *ctl, struct transfer *t, int slot_fd)
{
	int r = 0;

	if (!t->there && t->from_top)
		r = io_replace_link("link a kernel file", ctl->boot_fd, t->name, slot_fd, t->name);
	else if (!t->there)
		r = io_install_file("copy a kernel file", slot_fd, t->name, t->src_fd, 0644);
	/* A client of the older layout looks for them at the top of /boot. */
	if (r == 0 && !t->from_top)
		r = io_replace_link("link a kernel file", slot_fd, t->name, ctl->boot_fd, t->name);
	return r;
}

/* What GRUB compares the kernel with; of what was brought here, not of what has become of it. */
static int write_kernel_sum(const struct transfer *kernel, int slot_fd)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_BUF struct buf line = {0};
	char hex[DIGEST_HEX_MAX];
	struct digest d;
	int r = ctx ? 0 : -ENOMEM;

	if (r == 0 && lseek(kernel->src_fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r == 0)
		r = digest_of_fd(ctx, kernel->src_fd, &d, NULL);
	if (r < 0)
		return r;
	digest_to_hex(&d, hex);
	r = buf_printf(&line, "%s  %s\n", hex, kernel->name);
	return r < 0 ? r
		     : grub_write_file("write the kernel's digest", slot_fd, GRUB_ENTRY_SUM_NAME,
			       GRUB_ENTRY_SUM_NAME, &line, 0644, NULL);
}

static int check_space(
	const struct grub_ctl *ctl, const char *release, uint64_t need, struct ota_err *err)
{
	const uint64_t mb = 1000 * 1000;
	struct statvfs v;
	uint64_t free_bytes;

	if (need == 0)
		return 0;
	if (fstatvfs(ctl->boot_fd, &v) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot ask for the room on /boot: %s", strerror(errno));
	free_bytes = (uint64_t)v.f_bfree * v.f_frsize;
	need += GRUB_BOOT_SPARE_BYTES;
	if (need <= free_bytes)
		return 0;
	return ota_err_set(err, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
		"/boot has %" PRIu64 " MB free, but the kernel %s and its initrd need %" PRIu64
		" MB",
		free_bytes / mb, release, (need + mb - 1) / mb);
}

int grub_install_kernel(const struct grub_ctl *ctl, int from_fd, const char *release, unsigned slot,
	struct ota_err *err)
{
	CLEANUP(transfer_done) struct transfer kernel = {.src_fd = -1};
	CLEANUP(transfer_done) struct transfer initrd = {.src_fd = -1};
	AUTO_CLOSE int slot_fd = -1;
	int r = grub_open_slot_dir(ctl, slot, &slot_fd, err);

	if (r < 0)
		return r;
	r = transfer_init(ctl, &kernel, from_fd, "vmlinuz-", release, slot_fd);
	if (r == 0)
		r = transfer_init(ctl, &initrd, from_fd, "initrd.img-", release, slot_fd);
	if (r == 0) {
		int r2 = check_space(
			ctl, release, transfer_need(&kernel) + transfer_need(&initrd), err);

		if (r2 < 0)
			return r2;
		r = transfer_run(ctl, &kernel, slot_fd);
	}
	if (r == 0)
		r = transfer_run(ctl, &initrd, slot_fd);
	if (r == 0)
		r = write_kernel_sum(&kernel, slot_fd);
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "Cannot put the kernel %s and its initrd into /boot/%s: %s", release,
			       grub_slot_id[slot], strerror(-r))
		     : 0;
}
