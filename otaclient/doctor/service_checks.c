/*
 * service_checks: is what an update runs there, is otaclient started with the machine, and is it the only client?
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/sandbox.h"
#include "common/image/utf8.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/doctor/layered_conf.h"
#include "otaclient/doctor/processes.h"
#include "otaclient/doctor/system_conf.h"
#include "otaclient/fetcher/fetcher.h"

/* --- tools --- */

/* The folders of common/base/run.c's own PATH. */
static const char *const tool_folders[] = {
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};

/* tool, the package of Debian, what it is run for */
static const struct {
	const char *name, *package, *what_for;
} tools[] = {
	{"mkfs.ext4", "e2fsprogs", "make the other slot's file system"},
	{"e2fsck",    "e2fsprogs", "check the other slot"             },
};

static bool is_program(const struct machine *m, const char *path)
{
	struct stat st;

	return machine_stat(m, path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

static bool has_tool(const struct machine *m, const char *name)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(tool_folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", tool_folders[i], name);
		if (is_program(m, path))
			return true;
	}
	return false;
}

void check_tools(struct machine *m, struct finding *ret)
{
	char advice[FINDING_ADVICE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		if (has_tool(m, tools[i].name))
			continue;
		snprintf(advice, sizeof(advice), "Install %s", tools[i].package);
		finding_failure(ret, advice, "There is no %s, which is needed to %s", tools[i].name,
			tools[i].what_for);
	}
	if (!has_tool(m, "systemctl") && !has_tool(m, "reboot"))
		finding_failure(ret, "Install systemd, or another program reboot",
			"There is no systemctl and no reboot, so the machine cannot be restarted");
	finding_ok(ret, "mkfs.ext4, e2fsck and what restarts the machine are there");
}

void check_proxy_program(struct machine *m, struct finding *ret)
{
	static const char advice[] =
		"Install the package otaclient anew, or correct proxy_program or proxy_user in "
		"otaclient.yaml";
	const struct settings *s = &m->settings;
	uid_t uid;
	gid_t gid;

	machine_configure(m);
	if (!m->proxy.enable_local_ota_proxy) {
		finding_ok(ret, "This ECU runs no proxy");
		return;
	}
	if (!is_program(m, s->proxy_program))
		finding_warning(ret, advice,
			"%s is no program that can be run, so downloads go without a proxy here, "
			"and ECUs below get nothing",
			s->proxy_program);
	if (s->proxy_user[0] && sandbox_find_user(s->proxy_user, &uid, &gid) < 0)
		finding_warning(ret, advice,
			"There is no user %s, so downloads go without a proxy here, and ECUs below "
			"get nothing",
			s->proxy_user);
	finding_ok(ret, "%s can be run", s->proxy_program);
}

/* What downloads for the daemon, with no rights of its own. */
void check_fetcher(struct machine *m, struct finding *ret)
{
	static const char path[] = "/usr/libexec/" FETCHER_PROGRAM;

	if (!is_program(m, path) && !is_program(m, "/usr/bin/" FETCHER_PROGRAM))
		finding_failure(ret, "Install the package otaclient anew",
			"There is no program %s, so nothing can be downloaded", path);
	finding_ok(ret, "%s is there", path);
}

/* --- the units --- */

/* The most important first; those of units that are made at each start, such as mounts of /etc/fstab, among them. */
static const char *const unit_folders[] = {"/run/systemd/generator.early", "/etc/systemd/system",
	"/run/systemd/system", "/run/systemd/generator", "/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late", NULL};

enum {
	EXEC_MAX = 512,
	UNIT_PATH_MAX = 512,
};

/* The file of a unit that counts; false: there is none. */
static bool find_unit(const struct machine *m, const char *name, char ret_path[UNIT_PATH_MAX],
	struct stat *ret_st)
{
	for (size_t i = 0; unit_folders[i]; i++) {
		snprintf(ret_path, UNIT_PATH_MAX, "%s/%.255s", unit_folders[i], name);
		if (machine_lstat(m, ret_path, ret_st) == 0)
			return true;
	}
	return false;
}

/* Linked into a folder such as multi-user.target.wants. */
static bool is_enabled(const struct machine *m, const char *name)
{
	for (size_t i = 0; unit_folders[i]; i++) {
		char path[PATH_MAX];
		AUTO_CLOSEDIR DIR *dir = opendir(machine_path(m, unit_folders[i], path));
		struct dirent *e;

		while (dir && (e = readdir(dir))) {
			const char *dot = strrchr(e->d_name, '.');
			char link[PATH_MAX];
			struct stat st;

			if (!dot || (strcmp(dot, ".wants") != 0 && strcmp(dot, ".requires") != 0))
				continue;
			snprintf(link, sizeof(link), "%s/%s/%s", unit_folders[i], e->d_name, name);
			if (machine_lstat(m, link, &st) == 0)
				return true;
		}
	}
	return false;
}

/* The program that the unit starts; "" if that cannot be read. */
static void find_program(const struct machine *m, const char *unit, char ret_program[EXEC_MAX])
{
	AUTO_BUF struct buf text = {0};
	char line[EXEC_MAX];
	const char *p = line;

	ret_program[0] = '\0';
	if (machine_read(m, unit, SYSTEM_CONF_MAX_BYTES, &text) < 0 ||
		system_conf_value(buf_str(&text), text.len_bytes, "Service", "ExecStart", line,
			sizeof(line)) < 0)
		return;
	p += strspn(p, "@-:+!");
	snprintf(ret_program, EXEC_MAX, "%.*s", (int)strcspn(p, " \t"), p);
}

static bool is_null_device(const struct machine *m, const char *path)
{
	char full[PATH_MAX], target[64];
	ssize_t n = readlink(machine_path(m, path, full), target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = '\0';
	return strcmp(target, "/dev/null") == 0;
}

static bool has_systemd(const struct machine *m, struct finding *ret)
{
	if (is_program(m, "/usr/lib/systemd/systemd") || is_program(m, "/lib/systemd/systemd"))
		return true;
	finding_not_looked(ret, "This is no machine with systemd");
	return false;
}

void check_unit(struct machine *m, struct finding *ret)
{
	char unit[UNIT_PATH_MAX], program[EXEC_MAX];
	const char *name;
	struct stat st;

	if (!has_systemd(m, ret))
		return;
	if (!find_unit(m, "otaclient.service", unit, &st)) {
		finding_failure(ret, "Install the package otaclient",
			"There is no otaclient.service, so nobody starts otaclient and commits a "
			"new "
			"system");
		return;
	}
	if (is_null_device(m, unit)) {
		finding_failure(ret, "systemctl unmask otaclient", "otaclient.service is masked");
		return;
	}
	find_program(m, unit, program);
	name = strrchr(program, '/');
	if (!name || strcmp(name + 1, "otaclient") != 0)
		finding_failure(ret,
			"Move it away, and systemctl daemon-reload; "
			"/usr/share/doc/otaclient/install.md says how to "
			"take "
			"over a machine",
			"%s does not start otaclient but \"%s\"", unit, program);
	else if (!is_program(m, program))
		finding_failure(ret, "Install the package otaclient",
			"%s starts %s, which is no program that can be run", unit, program);
	if (!is_enabled(m, "otaclient.service"))
		finding_failure(ret, "systemctl enable otaclient",
			"otaclient.service is not enabled, so nobody starts otaclient and commits "
			"a "
			"new system");
	finding_ok(ret, "%s is enabled", unit);
}

/* Before health_timeout_s is over, a system is not to be taken away from the daemon that looks at it. */
static void check_guard_time(struct machine *m, const char *timer, struct finding *ret)
{
	char value[64];
	uint64_t ms;

	machine_configure(m);
	if (!m->settings.health_check ||
		layered_conf_find(
			m, unit_folders, timer, "Timer", "OnBootSec", value, sizeof(value)) < 0 ||
		!value[0] || system_conf_time(value, &ms) < 0)
		return;
	if (ms / 1000 <= m->settings.health_timeout_s)
		finding_warning(ret,
			"Give it more than the machine needs to start, and health_timeout_s",
			"%s restarts a new system %s after its start, but it may take %u s until "
			"it is healthy",
			timer, value, m->settings.health_timeout_s);
}

void check_guard(struct machine *m, struct finding *ret)
{
	static const char timer[] = "otaclient-commit-guard.timer";

	if (!has_systemd(m, ret))
		return;
	if (!is_enabled(m, timer))
		finding_warning(ret,
			"systemctl enable otaclient-commit-guard.timer, here and in images",
			"%s is not enabled: a new system whose otaclient does not start stays so",
			timer);
	check_guard_time(m, timer, ret);
	finding_ok(ret, "A new system that is not committed in time is restarted");
}

/* As systemd has it; the rest of a name is its affair. */
static bool is_unit_name(const char *name)
{
	static const char *const types[] = {".service", ".socket", ".target", ".device", ".mount",
		".automount", ".swap", ".timer", ".path", ".slice", ".scope"};
	static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				  ":-_.\\@";
	const char *type = strrchr(name, '.');

	for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
		if (strcmp(type, types[i]) == 0)
			return name[strspn(name, set)] == '\0';
	return false;
}

/* Of a template, and of what systemd makes without a file, it knows more than the folders tell. */
static bool needs_file(const char *name)
{
	const char *type = strrchr(name, '.');

	return !strchr(name, '@') && strcmp(type, ".device") != 0 && strcmp(type, ".slice") != 0 &&
	       strcmp(type, ".scope") != 0;
}

static void check_health_unit(const struct machine *m, const char *name, struct finding *ret)
{
	static const char advice[] =
		"Correct health_target or health_units in otaclient.yaml: no system without it is "
		"committed";
	char path[UNIT_PATH_MAX], shown[UTF8_SHOW_MAX];
	struct stat st;

	if (!is_unit_name(name))
		finding_failure(ret, advice,
			"\"%s\" is no name of a unit, such as sshd.service; there are spaces "
			"between names",
			utf8_show(name, strlen(name), shown));
	else if (needs_file(name) && !find_unit(m, name, path, &st))
		finding_failure(ret, advice,
			"There is no unit %.255s here, which a new system is judged by", name);
	else if (needs_file(name) && is_null_device(m, path))
		finding_failure(ret, advice,
			"%.255s is masked here, and a new system is judged by it", name);
}

/* Words with spaces between them, each the name of a unit that a new system is judged by. */
void check_health_units(struct machine *m, struct finding *ret)
{
	char names[sizeof(m->settings.health_units) + sizeof(m->settings.health_target) + 1];
	char *rest = names, *name;

	machine_configure(m);
	if (!has_systemd(m, ret))
		return;
	if (!m->settings.health_check) {
		finding_warning(ret, "Set health_check in otaclient.yaml",
			"A new system is committed as soon as its otaclient serves");
		return;
	}
	snprintf(
		names, sizeof(names), "%s %s", m->settings.health_target, m->settings.health_units);
	while ((name = strsep(&rest, " \t\n\r\f\v")))
		if (name[0])
			check_health_unit(m, name, ret);
	finding_ok(ret, "The units that a new system is judged by are there");
}

/* --- processes --- */

struct clients {
	const struct machine *m;
	struct process own, other;
};

static bool note_client(void *ctx, const struct process *p)
{
	struct clients *c = ctx;

	if (strcmp(p->name, "otaclient") == 0 && c->own.pid == 0)
		c->own = *p;
	else if (strncmp(p->name, "python", 6) == 0 && c->other.pid == 0 &&
		 process_was_called_with(c->m, p->pid, "otaclient"))
		c->other = *p;
	return false;
}

/* Who has put itself down as the machine's client, under whatever name. */
static void note_pid_file(struct clients *c)
{
	struct process p;
	char text[16];
	unsigned pid;

	machine_read_line(c->m, "/run/otaclient.pid", text, sizeof(text));
	if (sscanf(text, "%9u", &pid) != 1)
		return;
	process_find(c->m, pid, &p);
	/* A number that is somebody else's by now was left behind. */
	if (p.pid != 0 && strcmp(p.name, "otaclient") != 0 && c->other.pid == 0 &&
		process_was_called_with(c->m, p.pid, "otaclient"))
		c->other = p;
}

void check_clients(struct machine *m, struct finding *ret)
{
	struct clients c = {.m = m};

	process_each(m, note_client, &c);
	note_pid_file(&c);
	if (c.own.pid != 0 && c.other.pid != 0)
		finding_failure(ret, "Stop the other one and take its unit away",
			"Two clients run: otaclient (process %u) and that of %s (process %u)",
			c.own.pid, c.other.name, c.other.pid);
	else if (c.other.pid != 0)
		finding_failure(ret,
			"Stop it before otaclient is started; /usr/share/doc/otaclient/install.md "
			"says how to take "
			"over "
			"a machine",
			"Another client runs: %s (process %u)", c.other.name, c.other.pid);
	else if (c.own.pid != 0)
		finding_ok(ret, "otaclient runs (process %u)", c.own.pid);
	else
		finding_warning(ret, "systemctl start otaclient", "otaclient does not run");
}
