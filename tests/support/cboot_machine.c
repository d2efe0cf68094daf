/*
 * cboot_machine: a Jetson in a folder. Contract: cboot_machine.h.
 */
#include "tests/support/cboot_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

static const char *const part_uuid[] = {
	"aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"};

static void write_menu(const struct cboot_machine *m, unsigned slot, const char *root)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "slot_%u/boot/extlinux/extlinux.conf", slot);
	snprintf(text, sizeof(text),
		"TIMEOUT 30\n"
		"DEFAULT primary\n\n"
		"MENU TITLE L4T boot options\n\n"
		"LABEL primary\n"
		"      MENU LABEL primary kernel\n"
		"      LINUX /boot/Image\n"
		"      INITRD /boot/initrd\n"
		"      APPEND ${cbootargs} quiet root=%s rw rootwait\n",
		root);
	cboot_machine_write(m, path, text);
}

void cboot_machine_fake_tool(struct cboot_machine *m, const char *name, const char *script)
{
	AUTO_BUF struct buf text = {0};
	char path[PATH_MAX], real[PATH_MAX];

	if (!cboot_machine_exists(m, "real"))
		machine_dir_put(m->dir, "real", m->tools);
	machine_dir_path(m->dir, "real", real);
	for (const char *c = script; *c; c++)
		if (*c == '~' ? buf_printf(&text, "%s/%s", real, name) : buf_append(&text, c, 1))
			abort();
	snprintf(path, sizeof(path), "tools/%s", name);
	cboot_machine_write(m, path, buf_str(&text));
}

static void make_root(const struct cboot_machine *m, unsigned slot, const char *release)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "slot_%u/etc", slot);
	machine_dir_make(m->dir, path);
	snprintf(path, sizeof(path), "slot_%u/run", slot);
	machine_dir_make(m->dir, path);
	snprintf(path, sizeof(path), "slot_%u/boot/extlinux", slot);
	machine_dir_make(m->dir, path);
	snprintf(path, sizeof(path), "slot_%u/etc/nv_tegra_release", slot);
	cboot_machine_write(m, path, "# R32 (release), REVISION: 6.1, GCID: 1, BOARD: t186ref\n");
	snprintf(path, sizeof(path), "slot_%u/etc/nv_boot_control.conf", slot);
	cboot_machine_write(m, path, "TNSPEC 2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\n");
	write_menu(m, slot, "/dev/mmcblk0p1");
	snprintf(text, sizeof(text), "kernel %s\n", release);
	snprintf(path, sizeof(path), "slot_%u/boot/Image", slot);
	cboot_machine_write(m, path, text);
	snprintf(path, sizeof(path), "slot_%u/boot/initrd", slot);
	cboot_machine_write(m, path, text);
}

void cboot_machine_run_on(struct cboot_machine *m, unsigned slot)
{
	snprintf(m->root, sizeof(m->root), "%.*s/slot_%u", PATH_MAX - 64, m->dir, slot);
	m->disk.active = slot;
	for (unsigned s = 0; s < 2; s++) {
		snprintf(m->disk.boot[s], sizeof(m->disk.boot[s]), "%.*s/emmc_%u", PATH_MAX - 64,
			m->dir, s);
	}
	machine_dir_path(m->dir, "tools", m->tools);
	m->env = (struct boot_env){.root = m->root, .tools_path = m->tools, .version = "4.0.0"};
}

void cboot_machine_init(struct cboot_machine *m, bool unified, bool external)
{
	char boot[PATH_MAX], root[128];

	*m = (struct cboot_machine){.unified = unified, .external = external};
	m->disk = (struct cboot_disk){.described = true, .external = external};
	for (unsigned s = 0; s < 2; s++) {
		m->disk.slot[s].number = s + 1;
		snprintf(m->disk.slot[s].device, PATH_MAX, "/dev/fake%u", s + 1);
		snprintf(m->disk.slot[s].part_uuid, BOOT_UUID_MAX, "%s", part_uuid[s]);
	}
	machine_dir_new("cboot_machine", m->dir);
	machine_dir_put(m->dir, "tools", SOURCE_ROOT "/tests/support/fake-cboot");
	cboot_machine_write(m, "nvbootctrl-state", unified ? "mode=unified\n" : "mode=split\n");
	make_root(m, 0, CBOOT_MACHINE_KERNEL);
	/* The factory's own root is named in its menu already. */
	snprintf(root, sizeof(root), "PARTUUID=%s", part_uuid[0]);
	write_menu(m, 0, root);
	machine_dir_make(m->dir, "slot_0/boot/ota");
	cboot_machine_write(m, "slot_0/boot/ota/ecu_info.yaml", "ecu_id: jetson\n");
	machine_dir_make(m->dir, "slot_1");
	machine_dir_make(m->dir, "emmc_0");
	machine_dir_make(m->dir, "emmc_1");
	machine_dir_path(m->dir, "slot_0/boot", boot);
	if (external)
		machine_dir_put(m->dir, "emmc_0", boot);
	cboot_machine_run_on(m, 0);
}

void cboot_machine_copy(const struct cboot_machine *from, struct cboot_machine *ret)
{
	*ret = *from;
	machine_dir_copy(from->dir, "cboot_machine", ret->dir);
	cboot_machine_run_on(ret, from->disk.active);
}

void cboot_machine_done(struct cboot_machine *m)
{
	machine_dir_done(m->dir);
}

int cboot_machine_open(struct cboot_machine *m, struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return cboot_open_on_disk(ret_ctl, &m->env, &m->disk, m->tool_timeout_ms, err);
}

static void put_firmware(const struct cboot_machine *m, unsigned slot)
{
	/* clang-format off */
	static const char *const file[][2] = {
		{"bl_payload", CBOOT_MACHINE_FIRMWARE},
		{"firmware_update.yaml", "format_version: 1\nfirmware_list: [bl]\n"},
		{"firmware_manifest.yaml",
			"format_version: 1\nhardware_type: nvidia_jetson\nhardware_series: a\nhardware_model: b\n"
			"firmware_spec:\n  bsp_version: R32.6.1\n  firmware_compat:\n    board_id: 2888\n"
			"    board_sku: 0004\n    board_rev: M.0\n    fab_id: 400\n    board_conf: jetson-xavier\n"
			"firmware_packages:\n  - payload_name: bl\n    type: BUP\n"
			"    file_location: file:///opt/ota/firmware/bl_payload\n"
			"    digest: sha256:34d59d7efa1c40e22c2926cf098b2fbd9c37a3f4daf2eca3e1b21f0fd289cb7c\n"},
	};
	/* clang-format on */
	char path[64];

	snprintf(path, sizeof(path), "slot_%u/opt/ota/firmware", slot);
	machine_dir_make(m->dir, path);
	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		snprintf(path, sizeof(path), "slot_%u/opt/ota/firmware/%s", slot, file[i][0]);
		cboot_machine_write(m, path, file[i][1]);
	}
}

const char *cboot_machine_put_image(struct cboot_machine *m, unsigned slot, const char *release)
{
	static char root[PATH_MAX];
	char path[64];

	snprintf(path, sizeof(path), "slot_%u", slot);
	cboot_machine_remove(m, path);
	make_root(m, slot, release);
	if (m->firmware)
		put_firmware(m, slot);
	machine_dir_path(m->dir, path, root);
	return root;
}

/* As CBoot: the menu and the kernel that it names, on the disk that it reads. */
static void check_bootable(const struct cboot_machine *m, unsigned slot)
{
	const char *disk = m->external ? "emmc" : "slot";
	AUTO_BUF struct buf conf = {0}, kernel = {0}, own = {0};
	char path[64], root[128];

	snprintf(path, sizeof(path), "%s_%u/boot/extlinux/extlinux.conf", disk, slot);
	cboot_machine_read(m, path, &conf);
	snprintf(root, sizeof(root), " root=PARTUUID=%s ", part_uuid[slot]);
	snprintf(path, sizeof(path), "%s_%u/boot/Image", disk, slot);
	cboot_machine_read(m, path, &kernel);
	snprintf(path, sizeof(path), "slot_%u/boot/Image", slot);
	cboot_machine_read(m, path, &own);
	if (!strstr(buf_str(&conf), root) || strncmp(buf_str(&kernel), "kernel ", 7) != 0 ||
		strcmp(buf_str(&kernel), buf_str(&own)) != 0) {
		fprintf(stderr, "CBoot boots what does not belong together: slot %u, %s\n", slot,
			buf_str(&conf));
		abort();
	}
}

char cboot_machine_try(struct cboot_machine *m)
{
	const char *dir = cboot_machine_exists(m, "real") ? "real" : "tools";
	AUTO_BUF struct buf out = {0};
	char path[PATH_MAX], name[64];
	unsigned slot;

	snprintf(name, sizeof(name), "%s/nvbootctrl", dir);
	machine_dir_path(m->dir, name, path);
	machine_tool(path, "simulate-start", NULL, NULL, &out);
	if (nvbootctrl_parse_slot(buf_str(&out), out.len_bytes, &slot, NULL) < 0)
		return 0;
	check_bootable(m, slot);
	return slot == 0 ? 'a' : 'b';
}

char cboot_machine_restart(struct cboot_machine *m)
{
	char slot = cboot_machine_try(m), path[64];

	if (!slot)
		return 0;
	cboot_machine_run_on(m, slot == 'a' ? 0 : 1);
	snprintf(path, sizeof(path), "slot_%u/run", m->disk.active);
	cboot_machine_remove(m, path);
	machine_dir_make(m->dir, path);
	return slot;
}
