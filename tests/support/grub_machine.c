/*
 * grub_machine: a GRUB machine in a folder. Contract: grub_machine.h.
 */
#include "tests/support/grub_machine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"

#define BOOT_UUID   "b0070000-0000-4000-8000-000000000001"
#define SLOT_A_UUID "aaaaaaaa-0000-4000-8000-000000000002"
#define SLOT_B_UUID "bbbbbbbb-0000-4000-8000-000000000003"

static void make_root(const struct grub_machine *m, char slot)
{
	static const char *const file[][2] = {
		{"etc/fstab",                   "UUID=" SLOT_A_UUID " / ext4 errors=remount-ro 0 1\nUUID=" BOOT_UUID
			      " /boot ext4 defaults 0 2\n" },
		{"etc/default/grub",
                 "GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"quiet splash\"\n"},
		{"etc/grub.d/30_uefi-firmware",
                 "#!/bin/sh\necho \"menuentry 'UEFI' { fwsetup; }\"\n"                  },
	};
	char path[64];

	snprintf(path, sizeof(path), "slot_%c/etc/default", slot);
	machine_dir_make(m->dir, path);
	snprintf(path, sizeof(path), "slot_%c/etc/grub.d", slot);
	machine_dir_make(m->dir, path);
	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		snprintf(path, sizeof(path), "slot_%c/%s", slot, file[i][0]);
		grub_machine_write(m, path, file[i][1]);
	}
}

/* By a link, where a real machine has a mount. */
void grub_machine_run_on(struct grub_machine *m, char slot)
{
	char path[PATH_MAX];

	snprintf(m->root, sizeof(m->root), "%.*s/slot_%c", PATH_MAX - 64, m->dir, slot);
	snprintf(path, sizeof(path), "%.*s/boot", PATH_MAX - 64, m->root);
	machine_tool("rm", "-rf", path, NULL, NULL);
	if (symlink("../boot", path) < 0)
		abort();
	m->disk.active = slot == 'a' ? GRUB_SLOT_A : GRUB_SLOT_B;
	m->env.root = m->root;
	m->env.kernel_release = m->release;
	m->env.tools_path = m->tools;
	m->env.version = "4.0.0";
}

static void use_tools(struct grub_machine *m)
{
	int n = snprintf(m->tools, sizeof(m->tools), "%s/tools:%s", m->dir, "/usr/bin:/bin");

	assert(n > 0 && n < PATH_MAX);
}

void grub_machine_init(struct grub_machine *m)
{
	*m = (struct grub_machine){
		.release = GRUB_MACHINE_KERNEL,
		.disk =
			{
                               .described = true,
                               .boot = {1, "/dev/fake1", BOOT_UUID, "", ""},
                               .slot = {{2, "/dev/fake2", SLOT_A_UUID, "", ""},
					{3, "/dev/fake3", SLOT_B_UUID, "", ""}},
			       },
	};
	machine_dir_new("grub_machine", m->dir);
	use_tools(m);
	machine_dir_make(m->dir, "boot/grub");
	machine_dir_put(m->dir, "tools", SOURCE_ROOT "/tests/support/fake-grub");
	grub_machine_write(m, "boot/vmlinuz-" GRUB_MACHINE_KERNEL, "kernel of the fresh machine\n");
	grub_machine_write(
		m, "boot/initrd.img-" GRUB_MACHINE_KERNEL, "initrd of the fresh machine\n");
	make_root(m, 'a');
	machine_dir_make(m->dir, "slot_b");
	grub_machine_run_on(m, 'a');
}

void grub_machine_copy(const struct grub_machine *from, struct grub_machine *ret)
{
	*ret = *from;
	machine_dir_copy(from->dir, "grub_machine", ret->dir);
	use_tools(ret);
	grub_machine_run_on(ret, from->disk.active == GRUB_SLOT_A ? 'a' : 'b');
}

void grub_machine_done(struct grub_machine *m)
{
	machine_dir_done(m->dir);
}

int grub_machine_open(struct grub_machine *m, struct boot_ctl **ret_ctl, struct ota_err *err)
{
	return grub_open_on_disk(ret_ctl, &m->env, &m->disk, err);
}

const char *grub_machine_put_image(struct grub_machine *m, char slot, const char *release)
{
	static char root[PATH_MAX];
	char path[PATH_MAX], text[256];

	snprintf(path, sizeof(path), "slot_%c", slot);
	grub_machine_remove(m, path);
	make_root(m, slot);
	snprintf(path, sizeof(path), "slot_%c/boot/ota", slot);
	machine_dir_make(m->dir, path);
	snprintf(text, sizeof(text), "kernel %s\n", release);
	snprintf(path, sizeof(path), "slot_%c/boot/vmlinuz-%s", slot, release);
	grub_machine_write(m, path, text);
	snprintf(text, sizeof(text), "initrd of kernel %s\n", release);
	snprintf(path, sizeof(path), "slot_%c/boot/initrd.img-%s", slot, release);
	grub_machine_write(m, path, text);
	snprintf(path, sizeof(path), "slot_%c", slot);
	machine_dir_path(m->dir, path, root);
	return root;
}

static void check_line(const char *line, struct grub_machine_boot *ret)
{
	static const char *const uuid[] = {SLOT_A_UUID, SLOT_B_UUID};
	char slot = 0, kernel_slot = 0, initrd_slot = 0, release[128] = "", initrd[128] = "",
	     root[64] = "";

	if (sscanf(line,
		    "boot ota-slot_%c /ota-slot_%c/vmlinuz-%127s /ota-slot_%c/initrd.img-%127s "
		    "root=UUID=%63s",
		    &slot, &kernel_slot, release, &initrd_slot, initrd, root) != 6 ||
		slot != kernel_slot || slot != initrd_slot || strcmp(release, initrd) != 0 ||
		(slot != 'a' && slot != 'b') || strcmp(root, uuid[slot - 'a']) != 0) {
		fprintf(stderr, "GRUB boots what does not belong together: %s\n", line);
		abort();
	}
	ret->slot = slot;
	snprintf(ret->release, sizeof(ret->release), "%s", release);
}

struct grub_machine_boot grub_machine_try(struct grub_machine *m)
{
	struct grub_machine_boot b = {0};
	AUTO_BUF struct buf out = {0};
	char boot[PATH_MAX], *save = NULL;

	machine_dir_path(m->dir, "boot", boot);
	machine_tool(SOURCE_ROOT "/tests/support/grub_emu_run", boot, BOOT_UUID, m->save_env, &out);
	for (char *line = strtok_r(out.data, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "missing ", 8) == 0)
			b.n_missing++;
		else if (strcmp(line, "restart") == 0)
			b.restarts = true;
		else if (strncmp(line, "boot ", 5) == 0)
			check_line(line, &b);
	}
	return b;
}

char grub_machine_restart(struct grub_machine *m)
{
	struct grub_machine_boot b = grub_machine_try(m);

	if (b.slot) {
		snprintf(m->release, sizeof(m->release), "%s", b.release);
		grub_machine_run_on(m, b.slot);
	}
	return b.slot;
}

void grub_machine_break_env(struct grub_machine *m)
{
	grub_machine_write(m, "boot/grub/grubenv", "torn");
}
