/*
 * watchdog_checks: does a system that hangs come back by itself? A trial that hangs before it has committed is left by
 * the next start, but somebody has to bring that about.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/doctor/system_conf.h"

enum {
	DROP_INS_MAX = 256, /* of all folders together */
	VALUE_MAX = 64,
};

/* Where systemd looks, the most important first. */
static const char *const roots[] = {"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"};

static bool has_device(const struct machine *m, char *ret_identity, size_t size)
{
	struct stat st;

	machine_read_line(m, "/sys/class/watchdog/watchdog0/identity", ret_identity, size);
	return machine_stat(m, "/dev/watchdog", &st) == 0 ||
	       machine_stat(m, "/dev/watchdog0", &st) == 0;
}

void check_watchdog(struct machine *m, struct finding *ret)
{
	char identity[VALUE_MAX];

	if (!has_device(m, identity, sizeof(identity)))
		finding_warning(ret, "Load the driver of the board's watchdog, or at least softdog",
			"There is no /dev/watchdog: a system that hangs stays so");
	else
		finding_ok(ret, "There is a watchdog%s%s", identity[0] ? ": " : "", identity);
}

/* --- what systemd is told to do with it --- */

struct drop_in {
	char name[NAME_MAX + 1];
	char path[PATH_MAX];
};

struct drop_ins {
	unsigned n;
	struct drop_in list[DROP_INS_MAX];
};

static bool is_known(const struct drop_ins *d, const char *name)
{
	for (unsigned i = 0; i < d->n; i++)
		if (strcmp(d->list[i].name, name) == 0)
			return true;
	return false;
}

/* The first folder that has a name is the one whose file counts. */
static void collect(const struct machine *m, const char *root, struct drop_ins *d)
{
	char folder[PATH_MAX / 2], full[PATH_MAX];
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;

	snprintf(folder, sizeof(folder), "%s/systemd/system.conf.d", root);
	dir = opendir(machine_path(m, folder, full));
	while (dir && d->n < DROP_INS_MAX && (e = readdir(dir))) {
		struct drop_in *f = &d->list[d->n];
		size_t len = strlen(e->d_name);

		if (e->d_name[0] == '.' || len < 5 || strcmp(e->d_name + len - 5, ".conf") != 0 ||
			is_known(d, e->d_name))
			continue;
		snprintf(f->name, sizeof(f->name), "%s", e->d_name);
		snprintf(f->path, sizeof(f->path), "%s/%s", folder, e->d_name);
		d->n++;
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

static void read_setting(const struct machine *m, const char *path, char value[VALUE_MAX])
{
	AUTO_BUF struct buf b = {0};
	char v[VALUE_MAX];

	if (machine_read(m, path, SYSTEM_CONF_MAX_BYTES, &b) == 0 &&
		system_conf_value(buf_str(&b), b.len_bytes, "Manager", "RuntimeWatchdogSec", v,
			sizeof(v)) == 0)
		memcpy(value, v, sizeof(v));
}

/* RuntimeWatchdogSec as systemd would read it now; "" = it is not set. -ENOMEM. */
static int find_setting(const struct machine *m, char value[VALUE_MAX])
{
	AUTO_FREE struct drop_ins *d = calloc(1, sizeof(*d));
	char path[PATH_MAX];
	struct stat st;

	if (!d)
		return -ENOMEM;
	memset(value, 0, VALUE_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		snprintf(path, sizeof(path), "%s/systemd/system.conf", roots[i]);
		if (machine_stat(m, path, &st) < 0)
			continue;
		read_setting(m, path, value);
		break;
	}
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
		collect(m, roots[i], d);
	if (d->n > 0)
		qsort(d->list, d->n, sizeof(d->list[0]), by_name);
	for (unsigned i = 0; i < d->n; i++)
		read_setting(m, d->list[i].path, value);
	return 0;
}

static void judge_armed(const struct machine *m, const char *value, struct finding *ret)
{
	char state[VALUE_MAX], timeout[VALUE_MAX];

	machine_read_line(m, "/sys/class/watchdog/watchdog0/state", state, sizeof(state));
	machine_read_line(m, "/sys/class/watchdog/watchdog0/timeout", timeout, sizeof(timeout));
	if (!state[0])
		finding_not_looked(ret,
			"RuntimeWatchdogSec is %s, but whether the watchdog runs cannot be seen",
			value);
	else if (strcmp(state, "active") != 0)
		finding_warning(ret, "systemctl daemon-reexec, or restart the machine",
			"RuntimeWatchdogSec is %s, but the watchdog does not run", value);
	else
		finding_ok(ret, "The watchdog runs, and restarts a system that hangs for %s s",
			timeout);
}

void check_watchdog_use(struct machine *m, struct finding *ret)
{
	static const char advice[] =
		"Put RuntimeWatchdogSec=30 below [Manager] of a file in /etc/systemd/system.conf.d";
	char value[VALUE_MAX], identity[VALUE_MAX];
	struct stat st;
	uint64_t ms;

	if (!has_device(m, identity, sizeof(identity)))
		finding_not_looked(ret, "There is no watchdog");
	else if (machine_stat(m, "/run/systemd/system", &st) < 0)
		finding_not_looked(ret, "systemd does not run here");
	else if (find_setting(m, value) < 0)
		finding_not_looked(ret, "Out of memory");
	else if (!value[0] || strcmp(value, "default") == 0)
		finding_warning(ret, advice, "systemd is not told to use the watchdog");
	else if (system_conf_time(value, &ms) < 0)
		finding_warning(
			ret, advice, "RuntimeWatchdogSec is \"%s\", which is no time", value);
	else if (ms == 0 || ms == UINT64_MAX)
		finding_warning(ret, advice,
			"systemd is told not to use the watchdog: "
			"RuntimeWatchdogSec is %s",
			value);
	else
		judge_armed(m, value, ret);
}
