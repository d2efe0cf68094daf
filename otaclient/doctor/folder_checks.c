/*
 * folder_checks: the folders that an update works in, and what an integrator has put beside it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/sandbox.h"
#include "common/image/list_text.h"
#include "common/image/persistent_path.h"
#include "common/image/utf8.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/hooks/program_folder.h"

enum {
	/* An image of a million files has lists of 150 MB. */
	SCRATCH_MIN_BYTES = 64 << 20,
	SCRATCH_WISH_BYTES = 512 << 20,
	SCRATCH_MIN_INODES = 16,
	LIST_MAX_BYTES = 16 << 20,
};

static const uint64_t mb = 1000 * 1000;

/* --- scratch --- */

void check_scratch(struct machine *m, struct finding *ret)
{
	const char *dir;
	char path[PATH_MAX];
	struct statvfs v;
	struct stat st;
	uint64_t room;

	machine_configure(m);
	dir = m->settings.scratch_dir;
	if (machine_stat(m, dir, &st) < 0 || !S_ISDIR(st.st_mode) ||
		statvfs(machine_path(m, dir, path), &v) < 0) {
		finding_failure(ret, "Make it, or correct scratch_dir in otaclient.yaml",
			"There is no folder %s for an image's lists", dir);
		return;
	}
	room = (uint64_t)v.f_bfree * v.f_frsize;
	if (v.f_flag & ST_RDONLY)
		finding_failure(ret, "Choose another scratch_dir in otaclient.yaml",
			"%s, for an image's lists, is read-only", dir);
	else if (room < SCRATCH_MIN_BYTES || (v.f_files > 0 && v.f_ffree < SCRATCH_MIN_INODES))
		finding_failure(ret,
			"Make room there, or choose another scratch_dir in otaclient.yaml",
			"%s, for an image's lists, has %" PRIu64 " MB and %" PRIu64 " files left",
			dir, room / mb, (uint64_t)v.f_ffree);
	else if (room < SCRATCH_WISH_BYTES)
		finding_warning(ret, "Make room there: large images have lists of some hundred MB",
			"%s, for an image's lists, has %" PRIu64 " MB left", dir, room / mb);
	else
		finding_ok(ret, "%s has %" PRIu64 " MB for an image's lists", dir, room / mb);
}

/* --- the proxy's cache --- */

void check_cache(struct machine *m, struct finding *ret)
{
	const char *dir, *user;
	struct stat st;
	uid_t uid = 0;
	gid_t gid = 0;
	int r;

	machine_configure(m);
	dir = m->settings.proxy_cache_dir;
	user = m->settings.proxy_user;
	if (!m->proxy.enable_local_ota_proxy || !proxy_info_use_cache(&m->proxy)) {
		finding_ok(ret, "This ECU keeps nothing of what passes");
		return;
	}
	r = machine_lstat(m, dir, &st);
	if (r == -ENOENT)
		finding_ok(ret, "There is no %s: the proxy makes it", dir);
	else if (r < 0)
		finding_warning(ret, NULL, "%s cannot be looked at: %s", dir, strerror(-r));
	else if (!S_ISDIR(st.st_mode))
		finding_warning(ret, "Take away what is there, or the proxy keeps nothing",
			"%s is no folder", dir);
	else if (user[0] && sandbox_find_user(user, &uid, &gid) < 0)
		finding_not_looked(ret, "There is no user %s, whose %s should be", user, dir);
	else if (st.st_uid != uid)
		finding_warning(ret,
			"Make sure that nobody needs what is in it: the proxy throws that away",
			"%s belongs to user %u, not to %u, whom the proxy becomes", dir, st.st_uid,
			uid);
	else if (st.st_mode & 022)
		finding_warning(ret, "chmod 0700", "Others may write to %s", dir);
	else
		finding_ok(ret, "%s is the proxy's", dir);
}

/* --- programs of the integrator --- */

static void note_left_out(void *ctx, bool trouble, const char *sentence)
{
	finding_warning(
		ctx, "Rename it or make it executable, if it is meant to run", "%s", sentence);
}

static unsigned check_programs(
	const struct machine *m, const char *dir, const char *what, struct finding *ret)
{
	char path[PATH_MAX];
	const struct program_folder folder = {
		.dir = machine_path(m, dir, path),
		.what = what,
		.note = note_left_out,
		.ctx = ret,
	};
	struct ota_err err = {0};
	unsigned n = 0;

	if (program_folder_check(&folder, &n, &err) < 0)
		finding_failure(ret,
			"None of them is run until this is mended; "
			"/usr/share/doc/otaclient/hooks.md says what may lie "
			"there",
			"%s", err.msg);
	return n;
}

static const char *const hooks[] = {"pre-update", "post-update", "pre-reboot", "post-commit"};

/* A folder whose name is misspelled would never be run. */
static void find_strange_hooks(const struct machine *m, struct finding *ret)
{
	char path[PATH_MAX], shown[UTF8_SHOW_MAX];
	AUTO_CLOSEDIR DIR *dir = opendir(machine_path(m, "/etc/otaclient/hooks.d", path));
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		bool known = e->d_name[0] == '.';

		for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
			known = known || strcmp(e->d_name, hooks[i]) == 0;
		if (!known)
			finding_warning(ret,
				"Hooks are pre-update, post-update, pre-reboot and post-commit",
				"Nobody runs what is in /etc/otaclient/hooks.d/%s",
				utf8_show(e->d_name, strlen(e->d_name), shown));
	}
}

void check_hooks(struct machine *m, struct finding *ret)
{
	char dir[64];
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		snprintf(dir, sizeof(dir), "/etc/otaclient/hooks.d/%s", hooks[i]);
		n += check_programs(m, dir, "hook", ret);
	}
	find_strange_hooks(m, ret);
	finding_ok(ret, "Programs that are run as hooks: %u", n);
}

void check_health(struct machine *m, struct finding *ret)
{
	unsigned n = check_programs(m, "/etc/otaclient/health.d", "health check", ret);

	finding_ok(ret, "Programs that judge a new system's health: %u", n);
}

/* --- what is carried over --- */

struct persistents {
	struct finding *ret;
	unsigned n;
};

static int judge_path(void *ctx, const char *path, struct ota_err *err)
{
	struct persistents *p = ctx;
	const char *why = persistent_path_refusal(path);
	char shown[UTF8_SHOW_MAX];

	p->n++;
	if (why)
		finding_warning(p->ret, "Take it out of the image's persistents.txt",
			"%s is not carried over: %s", utf8_show(path, strlen(path), shown), why);
	return 0;
}

/* The list of the running system's image; the next one brings its own, usually the same. */
void check_persistents(struct machine *m, struct finding *ret)
{
	struct persistents p = {.ret = ret};
	AUTO_BUF struct buf text = {0};
	struct ota_err err = {0};
	int r = machine_read(m, "/.ota-meta/persistents.txt", LIST_MAX_BYTES, &text);

	if (r == -ENOENT) {
		finding_ok(ret, "The running system has no list of what is carried over");
		return;
	}
	if (r < 0)
		finding_not_looked(
			ret, "/.ota-meta/persistents.txt cannot be read: %s", file_read_why(r));
	else if (list_text_read_persistents(buf_str(&text), text.len_bytes,
			 "/.ota-meta/persistents.txt", judge_path, &p, &err) < 0)
		finding_failure(ret, "Mend the image's persistents.txt", "%s", err.msg);
	finding_ok(ret, "Entries of persistents.txt that are carried over: %u", p.n);
}
