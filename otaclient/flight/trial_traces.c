/*
 * trial_traces: the last looks at a system that did not come up. Contract: trial_traces.h.
 *
 * A kernel mounts its root read-only; among the first things that systemd does is to make it writable, and the
 * superblock keeps when that was. A clock without a battery may stand in the past then: any time but that of the update
 * itself counts.
 */
#include "otaclient/flight/trial_traces.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "otaclient/slot/fs_state.h"
#include "otaclient/slot/slot_mount.h"
#include "otaclient/status/text.h"

enum {
	GUARD_FILE_MAX_BYTES = 4096, /* some lines */
	VALUE_MAX = 32,              /* systemd's words are shorter */
	WATCHDOGS_MAX = 8,
	CARD_RESET = 0x20, /* WDIOF_CARDRESET of linux/watchdog.h: it has reset the machine */
};

/* ---- what systemd said ---- */

/* The value in a line "@name=value": letters, digits and '-'; "" if it is missing or anything else. */
static void find_value(const char *text, const char *name, char ret_value[VALUE_MAX])
{
	size_t len = strlen(name), n;
	const char *line = text;

	ret_value[0] = '\0';
	for (; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		if (strncmp(line, name, len) != 0 || line[len] != '=')
			continue;
		line += len + 1;
		for (n = 0; isalnum((unsigned char)line[n]) || line[n] == '-'; n++)
			;
		if (n < VALUE_MAX && (line[n] == '\n' || line[n] == '\0'))
			snprintf(ret_value, VALUE_MAX, "%.*s", (int)n, line);
		return;
	}
}

static bool is_number(const char *value)
{
	return value[0] && value[strspn(value, "0123456789")] == '\0';
}

/* ExecMainCode is that of waitid(2): 1 = it has ended, 2 and 3 = by a signal. */
static void end_words(const char *code, const char *status, char *ret, size_t size)
{
	ret[0] = '\0';
	if (!is_number(status) || code[0] < '1' || code[0] > '3' || code[1])
		return;
	snprintf(ret, size, ", and ended last %s %s", code[0] == '1' ? "with status" : "by signal",
		status);
}

void trial_traces_guard(const char *text, char ret_words[TRIAL_GUARD_MAX])
{
	char load[VALUE_MAX], active[VALUE_MAX], sub[VALUE_MAX], restarts[VALUE_MAX],
		code[VALUE_MAX], status[VALUE_MAX], end[2 * VALUE_MAX], times[2 * VALUE_MAX] = "";

	find_value(text, "LoadState", load);
	find_value(text, "ActiveState", active);
	find_value(text, "SubState", sub);
	find_value(text, "NRestarts", restarts);
	find_value(text, "ExecMainCode", code);
	find_value(text, "ExecMainStatus", status);
	ret_words[0] = '\0';
	if (!load[0] || !active[0])
		return;
	if (strcmp(load, "loaded") != 0) {
		snprintf(ret_words, TRIAL_GUARD_MAX, "its otaclient.service was %s", load);
		return;
	}
	if (is_number(restarts) && strcmp(restarts, "0") != 0)
		snprintf(times, sizeof(times), ", had been started again %s times", restarts);
	end_words(code, status, end, sizeof(end));
	snprintf(ret_words, TRIAL_GUARD_MAX, "its otaclient.service was %s%s%s%s%s%s", active,
		sub[0] ? " (" : "", sub, sub[0] ? ")" : "", times, end);
}

/* ---- the slot ---- */

enum trial_root trial_traces_root(int64_t mounted_unix_s, const struct trial_time *when)
{
	return mounted_unix_s > when->flipped_unix_s || mounted_unix_s < when->begun_unix_s
		       ? TRIAL_ROOT_WRITABLE
		       : TRIAL_ROOT_UNTOUCHED;
}

static enum trial_root look_at_root(const struct boot_slot *slot, const struct trial_time *when)
{
	struct fs_state fs = {0};
	int r;

	if (!slot->device[0] || slot->status_inside)
		return TRIAL_ROOT_NOT_KNOWN;
	r = fs_state_read(slot->device, &fs);
	if (r == -EINVAL)
		return TRIAL_ROOT_GONE;
	return r < 0 ? TRIAL_ROOT_NOT_KNOWN : trial_traces_root(fs.mounted_unix_s, when);
}

static void look_at_guard(
	const struct boot_slot *slot, const char *run_dir, char ret_words[TRIAL_GUARD_MAX])
{
	struct slot_mount mount;
	struct ota_err why = {0};
	AUTO_BUF struct buf text = {0};
	int fd;

	slot_mount_init(&mount);
	if (slot_mount_peek(&mount, slot, run_dir, &why) < 0) {
		log_info("What the slot %s has left is not known: %s", slot->id, why.msg);
	} else {
		fd = path_open(mount.standby_fd, TRIAL_TRACES_GUARD_PATH, O_RDONLY | O_NONBLOCK, 0);
		if (fd >= 0 && file_read_fd(fd, GUARD_FILE_MAX_BYTES, &text) == 0)
			trial_traces_guard(buf_str(&text), ret_words);
		closep(&fd);
	}
	slot_mount_done(&mount);
}

/* ---- the machine ---- */

static bool watchdog_has_reset(const char *root)
{
	for (unsigned i = 0; i < WATCHDOGS_MAX; i++) {
		AUTO_BUF struct buf text = {0};
		char path[PATH_MAX];

		snprintf(
			path, sizeof(path), "%s/sys/class/watchdog/watchdog%u/bootstatus", root, i);
		if (file_read(AT_FDCWD, path, VALUE_MAX, &text) == 0 &&
			(strtoul(buf_str(&text), NULL, 10) & CARD_RESET))
			return true;
	}
	return false;
}

void trial_traces_find(const struct boot_slot *slot, const struct trial_time *when,
	const struct boot_traces *loader, const char *root, const char *run_dir,
	struct trial_traces *ret_traces)
{
	struct trial_traces t = {.root = look_at_root(slot, when)};

	t.watchdog = watchdog_has_reset(root);
	if (loader) {
		t.not_begun = loader->not_begun;
		text_put(t.trouble, sizeof(t.trouble),
			loader->trouble.errnum ? loader->trouble.msg : "");
	}
	if (t.root == TRIAL_ROOT_WRITABLE)
		look_at_guard(slot, run_dir, t.guard);
	*ret_traces = t;
}
