/*
 * cboot_machine: a Jetson in a folder. Contract: cboot_machine.h.
 */
#include "tests/support/cboot_machine.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/run.h"

static const char *const part_uuid[] = {
	"aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"};

static const char menu[] = "TIMEOUT 30\n"
			   "DEFAULT primary\n\n"
			   "MENU TITLE L4T boot options\n\n"
			   "LABEL primary\n"
			   "      MENU LABEL primary kernel\n"
			   "      LINUX /boot/Image\n"
			   "      INITRD /boot/initrd\n"
			   "      APPEND ${cbootargs} quiet root=/dev/mmcblk0p1 rw rootwait\n";

static void tool(const char *a, const char *b, const char *c, const char *d, struct buf *out)
{
	const char *const argv[] = {a, b, c, d, NULL};
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = out}, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

static void path_of(const struct cboot_machine *m, const char *path, char ret[PATH_MAX])
{
	int n = snprintf(ret, PATH_MAX, "%s/%s", m->dir, path);

	assert(n > 0 && n < PATH_MAX);
}

static void make_dir(const struct cboot_machine *m, const char *path)
{
	char full[PATH_MAX];

	path_of(m, path, full);
	tool("mkdir", "-p", full, NULL, NULL);
}

void cboot_machine_write(const struct cboot_machine *m, const char *path, const char *text)
{
	AUTO_FCLOSE FILE *f = NULL;
	char full[PATH_MAX];

	path_of(m, path, full);
	f = fopen(full, "we");
	assert(f);
	fputs(text, f);
}

bool cboot_machine_exists(const struct cboot_machine *m, const char *path)
{
	char full[PATH_MAX];
	struct stat st;

	path_of(m, path, full);
	return lstat(full, &st) == 0;
}

void cboot_machine_read(const struct cboot_machine *m, const char *path, struct buf *ret)
{
	char full[PATH_MAX];

	path_of(m, path, full);
	if (file_read(AT_FDCWD, full, 1 << 20, ret) < 0) {
		fprintf(stderr, "cannot read %s\n", full);
		abort();
	}
}

void cboot_machine_remove(const struct cboot_machine *m, const char *path)
{
	char full[PATH_MAX];

	path_of(m, path, full);
	tool("rm", "-rf", full, NULL, NULL);
}

void cboot_machine_fake_tool(struct cboot_machine *m, const char *name, const char *script)
{
	AUTO_BUF struct buf text = {0};
	char path[PATH_MAX], real[PATH_MAX];

	snprintf(path, sizeof(path), "tools/%s", name);
	if (!cboot_machine_exists(m, "real")) {
		path_of(m, "tools", path);
		path_of(m, "real", real);
		tool("cp", "-r", path, real, NULL);
		snprintf(path, sizeof(path), "tools/%s", name);
	}
	path_of(m, "real", real);
	for (const char *c = script; *c; c++)
		if (*c == '~' ? buf_printf(&text, "%s/%s", real, name) : buf_append(&text, c, 1))
			abort();
	cboot_machine_write(m, path, buf_str(&text));
}

static void make_root(const struct cboot_machine *m, unsigned slot, const char *release)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "slot_%u/etc", slot);
	make_dir(m, path);
	snprintf(path, sizeof(path), "slot_%u/run", slot);
	make_dir(m, path);
	snprintf(path, sizeof(path), "slot_%u/boot/extlinux", slot);
	make_dir(m, path);
	snprintf(path, sizeof(path), "slot_%u/etc/nv_tegra_release", slot);
	cboot_machine_write(m, path, "# R32 (release), REVISION: 6.1, GCID: 1, BOARD: t186ref\n");
	snprintf(path, sizeof(path), "slot_%u/etc/nv_boot_control.conf", slot);
	cboot_machine_write(m, path, "TNSPEC 2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\n");
	snprintf(path, sizeof(path), "slot_%u/boot/extlinux/extlinux.conf", slot);
	cboot_machine_write(m, path, menu);
	snprintf(text, sizeof(text), "kernel %s\n", release);
	snprintf(path, sizeof(path), "slot_%u/boot/Image", slot);
	cboot_machine_write(m, path, text);
	snprintf(path, sizeof(path), "slot_%u/boot/initrd", slot);
	cboot_machine_write(m, path, text);
}

static void run_on(struct cboot_machine *m, unsigned slot)
{
	snprintf(m->root, sizeof(m->root), "%.*s/slot_%u", PATH_MAX - 64, m->dir, slot);
	m->disk.active = slot;
	for (unsigned s = 0; s < 2; s++) {
		snprintf(m->disk.boot[s], sizeof(m->disk.boot[s]), "%.*s/emmc_%u", PATH_MAX - 64,
			m->dir, s);
	}
	m->env = (struct boot_env){.root = m->root, .tools_path = m->tools, .version = "4.0.0"};
}

static void use_dir(struct cboot_machine *m)
{
	int n;

	/* Memory where there is some: publishing is a syncfs of all that the folder lies on. */
	snprintf(m->dir, sizeof(m->dir), "%s/cboot_machine.XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(m->dir))
		abort();
	n = snprintf(m->tools, sizeof(m->tools), "%s/tools", m->dir);
	assert(n > 0 && n < PATH_MAX);
}

/* The factory's own root is named in its menu already. */
static void make_fresh_menu(const struct cboot_machine *m)
{
	static const char script[] = "sed -i \"s|root=[^ ]*|root=PARTUUID=$1|\" \"$0\"";
	const char *argv[] = {"sh", "-c", script, NULL, part_uuid[0], NULL};
	char path[PATH_MAX];
	struct ota_err err = {0};

	path_of(m, "slot_0/boot/extlinux/extlinux.conf", path);
	argv[3] = path;
	if (run_tool(&(struct run_args){.argv = argv}, &err) < 0)
		abort();
}

void cboot_machine_init(struct cboot_machine *m, bool unified, bool external)
{
	char path[PATH_MAX], from[PATH_MAX];

	*m = (struct cboot_machine){.unified = unified, .external = external};
	m->disk = (struct cboot_disk){.described = true, .external = external};
	for (unsigned s = 0; s < 2; s++) {
		m->disk.slot[s].number = s + 1;
		snprintf(m->disk.slot[s].device, PATH_MAX, "/dev/fake%u", s + 1);
		snprintf(m->disk.slot[s].part_uuid, BOOT_UUID_MAX, "%s", part_uuid[s]);
	}
	use_dir(m);
	path_of(m, "tools", path);
	tool("cp", "-r", SOURCE_ROOT "/tests/support/fake-cboot", path, NULL);
	cboot_machine_write(m, "nvbootctrl-state", unified ? "mode=unified\n" : "mode=split\n");
	make_root(m, 0, CBOOT_MACHINE_KERNEL);
	make_fresh_menu(m);
	make_dir(m, "slot_0/boot/ota");
	cboot_machine_write(m, "slot_0/boot/ota/ecu_info.yaml", "ecu_id: jetson\n");
	make_dir(m, "slot_1");
	make_dir(m, "emmc_0");
	make_dir(m, "emmc_1");
	path_of(m, "slot_0/boot", from);
	path_of(m, "emmc_0", path);
	if (external)
		tool("cp", "-r", from, path, NULL);
	run_on(m, 0);
}

void cboot_machine_copy(const struct cboot_machine *from, struct cboot_machine *ret)
{
	char path[PATH_MAX];

	*ret = *from;
	use_dir(ret);
	snprintf(path, sizeof(path), "%.*s/.", PATH_MAX - 64, from->dir);
	tool("cp", "-a", path, ret->dir, NULL);
	run_on(ret, from->disk.active);
}

void cboot_machine_done(struct cboot_machine *m)
{
	tool("rm", "-rf", m->dir, NULL, NULL);
}

int cboot_machine_open(struct cboot_machine *m, struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return cboot_open_on_disk(ret_ctl, &m->env, &m->disk, m->tool_timeout_ms, err);
}

const char *cboot_machine_put_image(struct cboot_machine *m, unsigned slot, const char *release)
{
	static char root[PATH_MAX];
	char path[64];

	snprintf(path, sizeof(path), "slot_%u", slot);
	cboot_machine_remove(m, path);
	make_root(m, slot, release);
	path_of(m, path, root);
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
	path_of(m, name, path);
	tool(path, "simulate-start", NULL, NULL, &out);
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
	run_on(m, slot == 'a' ? 0 : 1);
	snprintf(path, sizeof(path), "slot_%u/run", m->disk.active);
	cboot_machine_remove(m, path);
	make_dir(m, path);
	return slot;
}
