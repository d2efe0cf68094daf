/*
 * kernel_choice: keep the newest kernel. Contract: kernel_choice.h.
 */
#include "metadata-gen/kernel_choice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

enum {
	VERSION_PARTS = 4, /* 5.15.0-100 */
};

static const char boot_dir[] = "/boot/";
static const char kernel_file[] = "vmlinuz-";
static const char initrd_file[] = "initrd.img-";

/* Read "d.d.d-d" into @ret_parts; returns what follows it, or NULL. */
static const char *read_version(const char *text, unsigned long ret_parts[VERSION_PARTS])
{
	static const char seps[VERSION_PARTS] = {'.', '.', '-', '\0'};

	for (int i = 0; i < VERSION_PARTS; i++) {
		char *end;

		if (*text < '0' || *text > '9')
			return NULL;
		ret_parts[i] = strtoul(text, &end, 10);
		if (seps[i] && *end != seps[i])
			return NULL;
		text = seps[i] ? end + 1 : end;
	}
	return text;
}

const char *kernel_release_of(const char *name)
{
	static const char *const files[] = {kernel_file, initrd_file, "System.map-", "config-"};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		unsigned long parts[VERSION_PARTS];
		const char *release, *flavour;

		if (strncmp(name, files[i], strlen(files[i])) != 0)
			continue;
		release = name + strlen(files[i]);
		flavour = read_version(release, parts);
		return flavour && strchr(flavour, '-') ? release : NULL;
	}
	return NULL;
}

int kernel_release_compare(const char *a, const char *b)
{
	unsigned long x[VERSION_PARTS] = {0}, y[VERSION_PARTS] = {0};

	read_version(a, x);
	read_version(b, y);
	for (int i = 0; i < VERSION_PARTS; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	/* One version twice: a copy such as "….bak" has the longer name and loses. */
	if (strlen(a) != strlen(b))
		return strlen(a) > strlen(b) ? -1 : 1;
	return strcmp(a, b);
}

/* The name below /boot of a listed entry, or NULL. */
static const char *boot_name(const struct rootfs_entry *e)
{
	const char *name = e->path + strlen(boot_dir);

	if (e->fate != FATE_LISTED || strncmp(e->path, boot_dir, strlen(boot_dir)) != 0)
		return NULL;
	return e->node->kind == ROOTFS_DIR || strchr(name, '/') ? NULL : name;
}

static const char *newest_release(const struct rootfs_tree *tree)
{
	const char *newest = NULL;

	for (size_t i = 0; i < tree->n_entries; i++) {
		const struct rootfs_entry *e = tree->entries[i];
		const char *name = boot_name(e), *release;

		if (!name || e->node->kind != ROOTFS_FILE ||
			strncmp(name, kernel_file, strlen(kernel_file)) != 0)
			continue;
		release = kernel_release_of(name);
		if (release && (!newest || kernel_release_compare(release, newest) > 0))
			newest = release;
	}
	return newest;
}

/* Leave out all kernels but @newest; says whether its initrd is there. */
static bool leave_out_others(struct rootfs_tree *tree, const char *newest)
{
	bool has_initrd = false;

	for (size_t i = 0; i < tree->n_entries; i++) {
		struct rootfs_entry *e = tree->entries[i];
		const char *name = boot_name(e);
		const char *release = name ? kernel_release_of(name) : NULL;

		if (!release)
			continue;
		if (strcmp(release, newest) != 0)
			e->fate = FATE_OLD_KERNEL;
		else if (strncmp(name, initrd_file, strlen(initrd_file)) == 0)
			has_initrd = true;
	}
	return has_initrd;
}

int kernel_choice_apply(struct rootfs_tree *tree, enum kernel_choice choice, struct ota_err *err)
{
	const char *newest;

	if (choice == KERNEL_ALL || rootfs_tree_find(tree, "/boot/extlinux/extlinux.conf"))
		return 0;
	newest = newest_release(tree);
	if (!newest && choice == KERNEL_NEWEST)
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"Cannot choose the newest kernel: the tree has no file "
			"/boot/vmlinuz-<version> of a form like vmlinuz-5.15.0-100-generic");
	if (newest && !leave_out_others(tree, newest))
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"The newest kernel /boot/vmlinuz-%s has no /boot/initrd.img-%s", newest,
			newest);
	return 0;
}
