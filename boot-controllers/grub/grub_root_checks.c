/*
 * grub_root_checks: look at the running system's own files that start and update read. Contract: grub_root_checks.h.
 */
#include "boot-controllers/grub/grub_root_checks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot-controllers/grub/fstab.h"
#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_ctl.h"
#include "boot-controllers/grub/grub_default.h"
#include "boot-controllers/grub/grub_inspect.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"

static int read_own(const struct grub_ctl *ctl, const char *path, size_t max_bytes, struct buf *ret)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%.*s%s", PATH_MAX - 256, ctl->root, path);
	return file_read(AT_FDCWD, full, max_bytes, ret);
}

void grub_root_check_hook(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	AUTO_BUF struct buf b = {0};
	char full[PATH_MAX];
	struct stat st;
	int r = read_own(ctl, "/etc/grub.d/30_ota", GRUB_SMALL_FILE_MAX_BYTES, &b);

	snprintf(full, sizeof(full), "%.*s/etc/grub.d/30_ota", PATH_MAX - 256, ctl->root);
	if (grub_inspect_layout(ctl, NULL) != GRUB_LAYOUT_OURS)
		finding_not_looked(ret, "The machine has not been taken over yet");
	else if (r < 0)
		finding_warning(ret, "Without it update-grub makes a menu without slots",
			"/etc/grub.d/30_ota cannot be read: %s", file_read_why(r));
	else if (strcmp(buf_str(&b), grub_cfg_hook_script) != 0)
		finding_warning(ret, "update-grub would make another menu than otaclient",
			"/etc/grub.d/30_ota is not this version's");
	else if (stat(full, &st) < 0 || !(st.st_mode & 0100))
		finding_warning(ret, "chmod 0750 /etc/grub.d/30_ota",
			"/etc/grub.d/30_ota cannot be executed, so update-grub makes a menu "
			"without slots");
	else
		finding_ok(ret, "/etc/grub.d/30_ota is this version's");
}

void grub_root_check_defaults(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	AUTO_BUF struct buf text = {0}, new = {0}, value = {0}, save = {0};
	struct ota_err why = {0};
	int r = read_own(ctl, "/etc/default/grub", GRUB_DEFAULT_MAX_BYTES, &text);

	if (r == -ENOENT) {
		finding_ok(ret, "There is no /etc/default/grub");
		return;
	}
	if (r < 0)
		ota_err_set(&why, r, OTA_E_UNSPECIFIC, "/etc/default/grub cannot be read: %s",
			file_read_why(r));
	else
		r = grub_default_rewrite(buf_str(&text), text.len_bytes, &new, &why);
	if (r < 0) {
		finding_failure(ret, "Mend the file: it is rewritten for two slots", "%s", why.msg);
		return;
	}
	grub_default_value(buf_str(&text), text.len_bytes, "GRUB_DEFAULT", &value);
	grub_default_value(buf_str(&text), text.len_bytes, "GRUB_SAVEDEFAULT", &save);
	if (grub_inspect_layout(ctl, NULL) == GRUB_LAYOUT_OURS &&
		(strcmp(buf_str(&value), "saved") != 0 || strcmp(buf_str(&save), "true") == 0))
		finding_warning(ret,
			"Set GRUB_DEFAULT=saved and no GRUB_SAVEDEFAULT, or do not run update-grub",
			"/etc/default/grub is not as two slots need it");
	else
		finding_ok(ret, "/etc/default/grub is readable");
}

/* Each slot's entry is made from what it prints. A system without it gets a plain one. */
void grub_root_check_mkconfig(const struct boot_ctl *base, struct finding *ret)
{
	static const char path[] = "/usr/sbin/grub-mkconfig";
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%.*s%s", PATH_MAX - 256, ctl->root, path);
	if (access(full, X_OK) == 0)
		finding_ok(ret, "%s is there", path);
	else
		finding_warning(ret, "Install grub2-common, here and in images",
			"There is no %s, so menu entries are plain ones", path);
}

static bool names_boot(const char *fstab)
{
	for (const char *nl; *fstab; fstab = nl ? nl + 1 : "") {
		char line[512], point[256];

		nl = strchr(fstab, '\n');
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(fstab, "\n"), fstab);
		if (line[strspn(line, " \t")] != '#' && sscanf(line, "%*s %255s", point) == 1 &&
			strcmp(point, "/boot") == 0)
			return true;
	}
	return false;
}

/* "UUID=… \t /boot \t type \t options …" as fstab_merge() writes it: device and options of that line. */
static bool find_boot_line(const char *table, char ret_device[128], char ret_options[256])
{
	for (const char *nl; *table; table = nl ? nl + 1 : "") {
		char line[512], *rest = line, *field[4] = {NULL};

		nl = strchr(table, '\n');
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(table, "\n"), table);
		for (size_t i = 0; i < ARRAY_SIZE(field); i++)
			field[i] = strsep(&rest, "\t");
		if (!field[3] || strcmp(field[1], "/boot") != 0)
			continue;
		snprintf(ret_device, 128, "%.127s", field[0]);
		snprintf(ret_options, 256, "%.255s", field[3]);
		return true;
	}
	return false;
}

/* The new system takes the machine's line for /boot, and without /boot nobody could commit it. */
static void check_boot_line(const char *table, const char *boot_uuid, struct finding *ret)
{
	static const char advice[] = "Mount /boot by UUID= of its file system";
	char device[128], options[256];

	if (!find_boot_line(table, device, options))
		return;
	if (strncmp(device, "UUID=", 5) == 0 && strcasecmp(device + 5, boot_uuid) != 0)
		finding_failure(ret, advice, "/etc/fstab mounts /boot from %s, but it is %s",
			device, boot_uuid);
	else if (strncmp(device, "/dev/", 5) == 0 && strncmp(device, "/dev/disk/", 10) != 0)
		finding_warning(ret, advice,
			"/etc/fstab mounts /boot from %s, a name that may be another disk's at the "
			"next start",
			device);
	if (strstr(options, "noauto") && !strstr(options, "x-systemd.automount"))
		finding_failure(ret, "Take noauto away",
			"/etc/fstab does not mount /boot at the start (%s)", options);
}

/* The same that an update does with the table, with itself in the image's place. */
void grub_root_check_fstab(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	const struct fstab_ids ids = {
		.root_uuid = ctl->disk.slot[grub_standby(ctl)].fs_uuid,
		.boot_uuid = ctl->disk.boot.fs_uuid,
		.esp_uuid = ctl->disk.uefi ? ctl->disk.esp.fs_uuid : NULL,
	};
	AUTO_BUF struct buf text = {0}, merged = {0};
	struct ota_err why = {0};
	int r = read_own(ctl, "/etc/fstab", FSTAB_MAX_BYTES, &text);

	if (r < 0)
		ota_err_set(&why, r, OTA_E_UNSPECIFIC, "/etc/fstab cannot be read: %s",
			file_read_why(r));
	else
		r = fstab_merge(&ids, buf_str(&text), text.len_bytes, buf_str(&text),
			text.len_bytes, &merged, &why);
	if (r == -ENOENT)
		finding_warning(ret, "Write one, with / and /boot by their UUIDs", "%s", why.msg);
	else if (r < 0)
		finding_failure(
			ret, "Mend the file: the new system's is made from it", "%s", why.msg);
	else if (!names_boot(buf_str(&text)))
		finding_warning(ret,
			"Write it there, unless something else mounts it at each start",
			"/etc/fstab has no line for /boot");
	else
		check_boot_line(buf_str(&merged), ids.boot_uuid, ret);
	finding_ok(ret, "/etc/fstab is readable, and mounts /boot");
}
