/*
 * machine: what checks share of the machine that they look at. Contract: machine.h.
 */
#include "otaclient/doctor/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"

int machine_init(struct machine *m, const char *root, const char *tools_path)
{
	*m = (struct machine){.tools_path = tools_path};
	/* Every path behind it is a constant or has its own limit. */
	return (size_t)snprintf(m->root, sizeof(m->root), "%s", root) < sizeof(m->root) / 2
		       ? 0
		       : -ENAMETOOLONG;
}

void machine_done(struct machine *m)
{
	if (m->boot)
		m->boot->ops->close(m->boot);
	m->boot = NULL;
}

const char *machine_path(const struct machine *m, const char *path, char ret_path[PATH_MAX])
{
	/* One that is cut is not there. */
	snprintf(ret_path, PATH_MAX, "%.*s%s", PATH_MAX / 2, m->root, path);
	return ret_path;
}

int machine_read(const struct machine *m, const char *path, size_t max_bytes, struct buf *ret)
{
	char full[PATH_MAX];

	return file_read(AT_FDCWD, machine_path(m, path, full), max_bytes, ret);
}

int machine_stat(const struct machine *m, const char *path, struct stat *ret)
{
	char full[PATH_MAX];

	return stat(machine_path(m, path, full), ret) < 0 ? -errno : 0;
}

int machine_lstat(const struct machine *m, const char *path, struct stat *ret)
{
	char full[PATH_MAX];

	return lstat(machine_path(m, path, full), ret) < 0 ? -errno : 0;
}

void machine_read_line(const struct machine *m, const char *path, char *ret_line, size_t size)
{
	AUTO_BUF struct buf b = {0};

	ret_line[0] = '\0';
	if (machine_read(m, path, MACHINE_TEXT_MAX_BYTES, &b) == 0)
		snprintf(ret_line, size, "%.*s", (int)strcspn(buf_str(&b), "\r\n"), buf_str(&b));
}

static void keep_note(void *ctx, enum conf_note_kind kind, const char *sentence)
{
	struct machine_notes *n = ctx;
	bool wrong = kind == CONF_WRONG;
	char *first = wrong ? n->wrong : n->notice;

	if (!first[0])
		snprintf(first, FINDING_WHAT_MAX, "%s", sentence);
	*(wrong ? &n->n_wrong : &n->n_notices) += 1;
}

void machine_configure(struct machine *m)
{
	char path[PATH_MAX];

	if (m->configured)
		return;
	m->configured = true;
	ecu_info_load(machine_path(m, "/boot/ota/ecu_info.yaml", path), keep_note, &m->ecu_notes,
		&m->ecu);
	proxy_info_load(machine_path(m, "/boot/ota/proxy_info.yaml", path), keep_note,
		&m->proxy_notes, &m->proxy);
	settings_load(
		machine_path(m, SETTINGS_PATH, path), keep_note, &m->settings_notes, &m->settings);
}

int machine_open_boot(struct machine *m)
{
	const struct boot_env env = {.root = m->root, .tools_path = m->tools_path};
	int r;

	if (m->boot_tried)
		return m->slots_known ? 0 : m->boot_err.errnum;
	m->boot_tried = true;
	machine_configure(m);
	r = boot_controller_open(m->ecu.bootloader, &env, &m->boot, &m->boot_err);
	if (r == 0)
		r = m->boot->ops->slots(m->boot, &m->slots, &m->boot_err);
	m->slots_known = r == 0;
	return r;
}

bool machine_knows_slots(struct machine *m, struct finding *ret)
{
	if (machine_open_boot(m) == 0)
		return true;
	finding_not_looked(ret, "The slots are not known, as said above");
	return false;
}
