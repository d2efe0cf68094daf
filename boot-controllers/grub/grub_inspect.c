/*
 * grub_inspect: look at /boot and at the running system's GRUB files. Contract: grub_inspect.h.
 *
 * A machine that otaclient was never started on has none of our files: that is as it should be, and said as a warning,
 * for the daemon's start takes it over. What would make that, or an update, fail is a failure.
 */
#include "boot-controllers/grub/grub_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_choice.h"
#include "boot-controllers/grub/grub_ctl.h"
#include "boot-controllers/grub/grub_entry.h"
#include "boot-controllers/grub/grub_legacy.h"
#include "boot-controllers/grub/grub_root_checks.h"
#include "boot-controllers/grub/grub_script.h"
#include "boot-controllers/kernel_line_check.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"

static const char take_over[] = "Start otaclient: it takes the machine over";
static const char restart[] = "Restart otaclient: it mends this at its start";

enum grub_layout grub_inspect_layout(const struct grub_ctl *ctl, struct ota_err *err)
{
	AUTO_BUF struct buf b = {0};
	struct grub_cfg_info info = {0};
	struct stat st;
	int r;

	if (fstatat(ctl->grub_fd, "grub.cfg", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
		return GRUB_LAYOUT_OLD;
	r = grub_read_file(ctl->grub_fd, "grub.cfg", GRUB_CFG_MAX_BYTES, &b);
	if (r < 0)
		ota_err_set(err, r, OTA_E_UNSPECIFIC, "It cannot be read: %s", file_read_why(r));
	else
		r = grub_cfg_check(buf_str(&b), b.len_bytes, &info, err);
	return r == 0 && info.has_hook ? GRUB_LAYOUT_OURS : GRUB_LAYOUT_FOREIGN;
}

static void check_writable(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	struct statvfs v;

	if (fstatvfs(ctl->boot_fd, &v) < 0)
		finding_not_looked(ret, "Cannot ask for the state of /boot: %s", strerror(errno));
	else if (v.f_flag & ST_RDONLY)
		finding_failure(ret,
			"Look for errors in the kernel's log and at /etc/fstab, then remount it",
			"/boot is mounted read-only");
	else
		finding_ok(ret, "/boot is writable, on %s", ctl->disk.boot.device);
}

/* --- room --- */

static uint64_t size_of(int dir_fd, const char *prefix, const char *release)
{
	char name[NAME_MAX + 1];
	struct stat st;

	snprintf(name, sizeof(name), "%s%.*s", prefix, GRUB_RELEASE_MAX, release);
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
		       ? (uint64_t)st.st_size
		       : 0;
}

/* Where the running kernel is with its initrd: in the slot's folder, or where an earlier owner kept it. -ENOENT. */
static int open_running_kernel(const struct grub_ctl *ctl)
{
	char legacy[NAME_MAX], release[GRUB_RELEASE_MAX];
	const char *const folder[] = {grub_slot_id[grub_active(ctl)], ".", legacy};

	grub_legacy_name(ctl, grub_active(ctl), legacy);
	for (size_t i = 0; i < ARRAY_SIZE(folder); i++) {
		AUTO_CLOSE int fd =
			openat(ctl->boot_fd, folder[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0 && grub_find_kernel(fd, ctl->kernel_release, release) == 0)
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

static void check_kernel(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	AUTO_CLOSE int fd = open_running_kernel(ctl);

	if (fd >= 0)
		finding_ok(ret, "The running kernel %s is in /boot with its initrd",
			ctl->kernel_release);
	else if (grub_check_entry(ctl, grub_active(ctl), false, NULL) == 0)
		finding_warning(ret, "Restart the machine",
			"The kernel %s runs, but is no longer in /boot with its initrd",
			ctl->kernel_release);
	else
		finding_failure(ret, "Install this kernel, or restart into one that is installed",
			"There is no vmlinuz-%s with its initrd.img-%s in /boot",
			ctl->kernel_release, ctl->kernel_release);
}

/* What the standby's folder will give back before a new kernel comes. */
static uint64_t standby_bytes(const struct grub_ctl *ctl)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	int fd = openat(ctl->boot_fd, grub_slot_id[grub_standby(ctl)],
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t sum = 0;
	struct dirent *e;
	struct stat st;

	dir = fd < 0 ? NULL : fdopendir(fd);
	while (dir && (e = readdir(dir)))
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	return sum;
}

/* The next image's kernel is about as large as the one that runs, and two of them leave room for one that is not. */
static void check_space(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	AUTO_CLOSE int fd = open_running_kernel(ctl);
	const uint64_t mb = 1000 * 1000;
	uint64_t one, room;
	struct statvfs v;

	if (fd < 0 || fstatvfs(ctl->boot_fd, &v) < 0) {
		finding_not_looked(ret, "How large a kernel is here is not known");
		return;
	}
	one = size_of(fd, "vmlinuz-", ctl->kernel_release) +
	      size_of(fd, "initrd.img-", ctl->kernel_release);
	room = (uint64_t)v.f_bfree * v.f_frsize + standby_bytes(ctl);
	if (room < one + GRUB_BOOT_SPARE_BYTES)
		finding_failure(ret, "Make room there: an update puts its kernel into /boot",
			"/boot has %" PRIu64 " MB for a new kernel, but the running one takes "
			"%" PRIu64 " MB",
			room / mb, (one + mb - 1) / mb);
	else if (room < 2 * one + GRUB_BOOT_SPARE_BYTES)
		finding_warning(ret, "Make room there, for a kernel that is larger",
			"/boot has %" PRIu64 " MB for a new kernel, and the running one takes "
			"%" PRIu64 " MB",
			room / mb, (one + mb - 1) / mb);
	else if (v.f_files > 0 && v.f_ffree < 64)
		finding_failure(ret, "Remove files that nobody needs there",
			"/boot has room for %" PRIu64 " more files only", (uint64_t)v.f_ffree);
	else
		finding_ok(ret, "/boot has %" PRIu64 " MB for new kernels", room / mb);
}

/* --- what GRUB reads --- */

static void check_grub_cfg(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	struct ota_err why = {0};

	switch (grub_inspect_layout(ctl, &why)) {
	case GRUB_LAYOUT_OURS:
		finding_ok(ret, "grub.cfg is ours and whole");
		break;
	case GRUB_LAYOUT_OLD:
		finding_warning(ret, take_over, "/boot has the older layout with ota-partition");
		break;
	case GRUB_LAYOUT_FOREIGN:
		finding_warning(ret, take_over, "grub.cfg does not know two slots: %s",
			why.msg[0] ? why.msg : "it is of another client or version");
		break;
	}
}

static bool has_entry(const struct grub_ctl *ctl, unsigned slot)
{
	char name[NAME_MAX];
	struct stat st;

	grub_entry_name(slot, false, name);
	return fstatat(ctl->grub_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void check_running_entry(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	unsigned slot = grub_active(ctl);
	struct ota_err why = {0};

	if (grub_inspect_layout(ctl, NULL) != GRUB_LAYOUT_OURS && !has_entry(ctl, slot))
		finding_not_looked(ret, "The machine has not been taken over yet");
	else if (grub_check_entry(ctl, slot, false, &why) < 0)
		finding_failure(
			ret, restart, "The running slot's menu entry is not sound: %s", why.msg);
	else
		finding_ok(ret, "The menu entry of %s is sound", grub_slot_id[slot]);
}

static void check_other_entry(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	unsigned slot = grub_standby(ctl);
	struct ota_err why = {0};

	if (!has_entry(ctl, slot))
		finding_ok(ret, "%s has no menu entry: it holds no whole system yet",
			grub_slot_id[slot]);
	else if (grub_check_entry(ctl, slot, false, &why) < 0)
		finding_warning(
			ret, restart, "The other slot's menu entry is not sound: %s", why.msg);
	else
		finding_ok(ret, "The menu entry of %s is sound", grub_slot_id[slot]);
}

/* A variable that is there names a slot that has an entry, or is of no use. */
static void check_variable(const struct grub_ctl *ctl, const struct grub_env *env, const char *name,
	struct finding *ret)
{
	char value[GRUB_ENV_VALUE_MAX];
	unsigned slot;

	if (grub_env_get(env, name, value, sizeof(value)) == 0 && value[0] &&
		grub_env_slot(ctl, name, &slot) < 0)
		finding_warning(ret, restart,
			"%s in grubenv is \"%.64s\", which is no slot with a menu entry", name,
			value);
}

static void check_choice(
	const struct grub_ctl *ctl, const struct grub_env *env, struct finding *ret)
{
	static const char *const names[] = {"saved_entry", "next_entry", "ota_try", "ota_spare"};
	struct grub_choice c;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		check_variable(ctl, env, names[i], ret);
	if (grub_choice_read(ctl, &c) < 0)
		finding_failure(ret, restart, "GRUB is told of no slot that starts by itself");
	else if (c.trial < GRUB_N_SLOTS)
		finding_warning(ret, "Restart the machine, or otaclient to take it back",
			"The next start of the machine tries %s; tries that are left: %u",
			grub_slot_id[c.trial], c.tries);
	else if (c.saved != grub_active(ctl))
		finding_warning(ret,
			"If otaclient does not commit it within minutes, restart otaclient",
			"%s runs, but %s is what starts by itself", grub_slot_id[grub_active(ctl)],
			grub_slot_id[c.saved]);
}

static void check_grubenv(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	bool ours = grub_inspect_layout(ctl, NULL) == GRUB_LAYOUT_OURS;
	AUTO_BUF struct buf b = {0};
	struct ota_err why = {0};
	struct grub_env env;
	int r = grub_read_file(ctl->grub_fd, "grubenv", GRUB_ENV_FILE_MAX_BYTES, &b);

	if (r < 0)
		ota_err_set(&why, r, OTA_E_UNSPECIFIC, "%s", file_read_why(r));
	else
		r = grub_env_parse(buf_str(&b), b.len_bytes, &env, &why);
	if (r == -ENOENT && !ours)
		finding_ok(ret, "There is no grubenv yet");
	else if (r == -E2BIG)
		finding_failure(ret, "Remove variables that nobody needs, with grub-editenv",
			"grubenv has no room for ours: %s", why.msg);
	else if (r < 0)
		finding_warning(
			ret, ours ? restart : take_over, "grubenv is not readable: %s", why.msg);
	else if (ours)
		check_choice(ctl, &env, ret);
	finding_ok(ret, "grubenv is readable");
}

static void check_committed(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	AUTO_BUF struct buf b = {0}, want = {0};

	if (grub_inspect_layout(ctl, NULL) != GRUB_LAYOUT_OURS) {
		finding_not_looked(ret, "The machine has not been taken over yet");
		return;
	}
	if (grub_cfg_committed(grub_slot_id[grub_active(ctl)], &want) == 0 &&
		grub_read_file(ctl->grub_fd, "ota-committed.cfg", GRUB_CFG_MAX_BYTES, &b) == 0 &&
		strcmp(buf_str(&b), buf_str(&want)) == 0)
		finding_ok(ret, "Without grubenv, %s boots", grub_slot_id[grub_active(ctl)]);
	else
		finding_warning(ret, restart,
			"ota-committed.cfg does not name the running slot, which is to boot when "
			"grubenv is damaged");
}

/* --- kernel lines --- */

static const char panic_advice[] =
	"Put panic=10 into GRUB_CMDLINE_LINUX of /etc/default/grub, or into a file of "
	"/etc/default/grub.d";

static void check_own_line(const struct boot_ctl *base, struct finding *ret)
{
	kernel_line_check_running(grub_ctl_of_const(base)->root, panic_advice, ret);
}

/* A command may stand behind it. */
static bool is_keyword(const struct grub_token *t)
{
	static const char *const words[] = {
		"if", "then", "elif", "else", "while", "until", "do", "!"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (grub_word_is(t, words[i]))
			return true;
	return false;
}

/* The words behind the kernel's file in a file's first command "linux…". -ENOENT. */
static int entry_line(const char *text, size_t len, struct buf *ret)
{
	const char *end = text + len;
	bool begins = true, found = false;
	unsigned n = 0;
	int r = 0;

	for (;;) {
		struct grub_token t = grub_token_next(&text, end);
		struct grub_text w = grub_word_bare(&t);

		if (t.type == GRUB_TOKEN_END || t.type == GRUB_TOKEN_BAD ||
			(found && t.type != GRUB_TOKEN_WORD))
			break;
		if (found && n++ > 0 && r == 0)
			r = buf_printf(ret, "%.*s ", (int)w.len, w.at);
		if (begins && t.type == GRUB_TOKEN_WORD && w.len >= 5 &&
			memcmp(w.at, "linux", 5) == 0)
			found = true;
		begins = t.type != GRUB_TOKEN_WORD || (begins && is_keyword(&t));
	}
	return r < 0 ? r : found ? 0 : -ENOENT;
}

static void check_other_line(const struct boot_ctl *base, struct finding *ret)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	AUTO_BUF struct buf b = {0}, line = {0};
	char name[NAME_MAX];

	grub_entry_name(grub_standby(ctl), false, name);
	if (!has_entry(ctl, grub_standby(ctl)))
		finding_ok(ret, "%s holds no whole system yet", grub_slot_id[grub_standby(ctl)]);
	else if (grub_read_file(ctl->grub_fd, name, GRUB_CFG_MAX_BYTES, &b) < 0 ||
		 entry_line(buf_str(&b), b.len_bytes, &line) < 0)
		finding_not_looked(ret, "The other slot's menu entry has no kernel line");
	else
		kernel_line_check(
			"The other slot", buf_str(&line), line.len_bytes, panic_advice, ret);
}

/* clang-format off */
const struct boot_check grub_checks[] = {
	{"boot.writable",          check_writable},
	{"boot.space",             check_space},
	{"boot.kernel",            check_kernel},
	{"boot.layout",            check_grub_cfg},
	{"boot.running_entry",     check_running_entry},
	{"boot.other_entry",       check_other_entry},
	{"boot.environment",       check_grubenv},
	{"boot.committed",         check_committed},
	{"boot.hook",              grub_root_check_hook},
	{"boot.defaults",          grub_root_check_defaults},
	{"boot.mkconfig",          grub_root_check_mkconfig},
	{"boot.fstab",             grub_root_check_fstab},
	{"boot.kernel_line",       check_own_line},
	{"boot.other_kernel_line", check_other_line},
	{NULL, NULL},
};
/* clang-format on */
