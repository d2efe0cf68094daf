/*
 * cboot_inspect: look at the running slot's boot menu and at the tools. Contract: cboot_inspect.h.
 */
#include "boot-controllers/cboot/cboot_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "boot-controllers/cboot/cboot_ctl.h"
#include "boot-controllers/cboot/cboot_rootfs.h"
#include "boot-controllers/cboot/extlinux.h"
#include "boot-controllers/kernel_line_check.h"
#include "boot-controllers/tool_path.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"

static void check_writable(const struct boot_ctl *base, struct finding *ret)
{
	const struct cboot_ctl *ctl = cboot_ctl_of_const(base);
	struct statvfs v;

	if (fstatvfs(ctl->root_fd, &v) < 0)
		finding_not_looked(ret, "Cannot ask for the state of the root file system: %s",
			strerror(errno));
	else if (v.f_flag & ST_RDONLY)
		finding_failure(ret,
			"Look for errors in the kernel's log and at /etc/fstab, then remount it",
			"/ is mounted read-only, and /" CBOOT_STATUS_DIR " is in it");
	else
		finding_ok(ret, "/" CBOOT_STATUS_DIR " is writable");
}

static bool has_file(const struct cboot_ctl *ctl, const char *path)
{
	AUTO_CLOSE int fd = path_open_in_root(ctl->root_fd, path, O_PATH, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

/* An image without a menu gets this one, so it should be one that boots. */
static void check_menu(const struct boot_ctl *base, struct finding *ret)
{
	static const char advice[] = "Mend it, or have every image bring its own";
	const struct cboot_ctl *ctl = cboot_ctl_of_const(base);
	const char *part_uuid = ctl->disk.slot[ctl->disk.active].part_uuid;
	struct extlinux_entry entry;
	AUTO_BUF struct buf text = {0};
	struct ota_err why = {0};
	int r = cboot_rootfs_read(
		ctl->root_fd, "/boot/extlinux/extlinux.conf", EXTLINUX_MAX_BYTES, &text);

	if (r < 0)
		finding_warning(ret, advice, "/boot/extlinux/extlinux.conf cannot be read: %s",
			file_read_why(r));
	else if (extlinux_read(buf_str(&text), text.len_bytes, &entry, &why) < 0)
		finding_warning(
			ret, advice, "/boot/extlinux/extlinux.conf is unusable: %s", why.msg);
	else if (!entry.kernel[0] || !has_file(ctl, entry.kernel))
		finding_warning(ret, advice,
			"The entry \"%.64s\" boots \"%.128s\", which is not there", entry.label,
			entry.kernel);
	else if (entry.initrd[0] && !has_file(ctl, entry.initrd))
		finding_warning(ret, advice,
			"The entry \"%.64s\" boots \"%.128s\", which is not there", entry.label,
			entry.initrd);
	else if (strncmp(entry.root, "PARTUUID=", 9) == 0 && strcmp(entry.root + 9, part_uuid) != 0)
		finding_warning(ret, advice,
			"The entry \"%.64s\" has the root %.128s, but the running slot is %s",
			entry.label, entry.root, part_uuid);
	else
		finding_ok(ret, "The entry \"%.64s\" of extlinux.conf is sound", entry.label);
}

/* It is run when a new system is committed, and for firmware. */
static void check_engine(const struct boot_ctl *base, struct finding *ret)
{
	static const char name[] = "nv_update_engine";
	const struct cboot_ctl *ctl = cboot_ctl_of_const(base);
	char standard[PATH_MAX], path[PATH_MAX];

	snprintf(standard, sizeof(standard), "%.*s/usr/sbin/%s", PATH_MAX - 64, ctl->root, name);
	tool_path_find(ctl->tools_path, name, standard, path);
	if (access(path, X_OK) == 0)
		finding_ok(ret, "nvbootctrl answers, and nv_update_engine is there");
	else
		finding_failure(ret, "Install nvidia-l4t-tools",
			"There is no %s, without which no new system is committed", name);
}

static void check_other(const struct boot_ctl *base, struct finding *ret)
{
	const struct cboot_ctl *ctl = cboot_ctl_of_const(base);
	struct ota_err why = {0};

	if (cboot_check_other(ctl, &why) == 0)
		finding_ok(ret, "Slot %u is known to hold a whole system", cboot_standby(ctl));
	else
		finding_ok(ret, "Slot %u holds no whole system yet", cboot_standby(ctl));
}

static void check_own_line(const struct boot_ctl *base, struct finding *ret)
{
	kernel_line_check_running(cboot_ctl_of_const(base)->root,
		"Put panic=10 into the APPEND line of extlinux.conf, here and in images", ret);
}

/* clang-format off */
const struct boot_check cboot_checks[] = {
	{"boot.writable",    check_writable},
	{"boot.layout",      check_menu},
	{"boot.tools",       check_engine},
	{"boot.other_entry", check_other},
	{"boot.kernel_line", check_own_line},
	{NULL, NULL},
};
/* clang-format on */
