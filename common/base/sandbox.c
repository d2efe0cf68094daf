/*
 * sandbox: identity and capabilities by hand, paths by Landlock, calls by a seccomp filter. Contract:
 * sandbox.h.
 *
 * The C library wraps neither Landlock nor capset; these are raw system calls. The filter names what
 * is denied and not what is allowed: a list of what libcurl, OpenSSL and the C library call today
 * would break a vehicle with their next update, whereas what is denied here is no service's business
 * in any version.
 */
#include "common/base/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

/* Newer than the oldest kernel headers that we build with. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

enum {
	PASSWD_MAX_BYTES = 64 * 1024, /* the text of one entry; a directory service may say much */
	UMASK = 077,
};

/* ---- identity ---- */

struct identity {
	uid_t uid;
	gid_t gid;
};

/* Decimal digits up to @end, which is where they must end. Neither root nor the id for "none". */
static int id_parse(const char *s, char end, unsigned *ret_id, const char **ret_rest)
{
	uint64_t v;

	if (decimal_read(&s, s + strlen(s), UINT32_MAX - 1, &v) < 0 || *s != end || v == 0)
		return -EINVAL;
	*ret_id = (unsigned)v;
	*ret_rest = s + 1;
	return 0;
}

/* @user: a name, or the number of an entry */
static int identity_look_up(const char *user, struct identity *ret)
{
	AUTO_FREE char *text = malloc(PASSWD_MAX_BYTES);
	struct passwd entry, *found = NULL;
	const char *rest;
	unsigned uid;
	int e;

	if (!text)
		return -ENOMEM;
	e = getpwnam_r(user, &entry, text, PASSWD_MAX_BYTES, &found);
	if (!found && id_parse(user, '\0', &uid, &rest) == 0)
		e = getpwuid_r(uid, &entry, text, PASSWD_MAX_BYTES, &found);
	if (!found)
		return e > 0 ? -e : -ENOENT;
	if (entry.pw_uid == 0 || entry.pw_gid == 0)
		return -EINVAL;
	*ret = (struct identity){entry.pw_uid, entry.pw_gid};
	return 0;
}

static int identity_parse(const char *user, struct identity *ret)
{
	unsigned uid, gid;
	const char *rest;
	int r;

	if (!strchr(user, ':'))
		return *user ? identity_look_up(user, ret) : -EINVAL;
	r = id_parse(user, ':', &uid, &rest);
	if (r == 0)
		r = id_parse(rest, '\0', &gid, &rest);
	if (r == 0)
		*ret = (struct identity){uid, gid};
	return r;
}

static int identity_take(const struct identity *who)
{
	assert(who->uid != 0 && who->gid != 0);
	if (setgroups(0, NULL) < 0 || setresgid(who->gid, who->gid, who->gid) < 0 ||
		setresuid(who->uid, who->uid, who->uid) < 0)
		return -errno;
	return 0;
}

/* What no later program may get back either. Without the right to change it there is none to lose. */
static int bounding_set_empty(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EPERM && geteuid() != 0 ? 0 : -errno;
	return 0;
}

static int capabilities_clear(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

static int privileges_drop(const struct identity *who)
{
	int r;

	umask(UMASK);
	r = bounding_set_empty();
	if (r == 0 && who)
		r = identity_take(who);
	if (r == 0)
		r = capabilities_clear();
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r;
}

int sandbox_find_user(const char *user, uid_t *ret_uid, gid_t *ret_gid)
{
	struct identity who = {0};
	int r = identity_parse(user, &who);

	if (r < 0)
		return r;
	*ret_uid = who.uid;
	*ret_gid = who.gid;
	return 0;
}

int sandbox_drop_user(const char *user)
{
	struct identity who = {0};
	pid_t parent = getppid();
	int death_signal = 0, r;

	if (user && geteuid() != 0)
		return -EPERM;
	r = user ? identity_parse(user, &who) : 0;
	if (r < 0)
		return r;
	prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
	r = privileges_drop(user ? &who : NULL);
	if (r < 0 || death_signal == 0)
		return r;
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)death_signal, 0, 0, 0) < 0)
		return -errno;
	if (getppid() != parent)
		raise(death_signal);
	return 0;
}

/* ---- paths ---- */

/* What each version of Landlock can refuse; what it cannot, it must not be asked to. */
static const struct {
	int abi;
	uint64_t rights;
} landlock_rights[] = {
	{1, LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
			LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
			LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
			LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
			LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
			LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
			LANDLOCK_ACCESS_FS_MAKE_SYM},
	{2, LANDLOCK_ACCESS_FS_REFER                          },
	{3, LANDLOCK_ACCESS_FS_TRUNCATE                       },
	{5, LANDLOCK_ACCESS_FS_IOCTL_DEV                      },
};

#define RIGHTS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* No devices, sockets, FIFOs or symbolic links: a store of files needs none. */
#define RIGHTS_WRITE                                                             \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |           \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |      \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
		LANDLOCK_ACCESS_FS_REFER)
/* The rights that a rule for a single file may have. */
#define RIGHTS_OF_FILES \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

static uint64_t rights_of_abi(long abi)
{
	uint64_t rights = 0;

	for (size_t i = 0; i < ARRAY_SIZE(landlock_rights); i++)
		if (landlock_rights[i].abi <= abi)
			rights |= landlock_rights[i].rights;
	return rights;
}

static int rule_add(int ruleset_fd, const struct sandbox_path *p, uint64_t known)
{
	AUTO_CLOSE int fd = open(p->path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.parent_fd = fd};
	struct stat st;

	if (fd < 0)
		return errno == ENOENT && p->optional ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	rule.allowed_access = (RIGHTS_READ | (p->writable ? RIGHTS_WRITE : 0)) & known;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= RIGHTS_OF_FILES;
	if (syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

int sandbox_restrict_paths(const struct sandbox_path *paths, size_t n_paths)
{
	struct landlock_ruleset_attr attr = {0};
	AUTO_CLOSE int fd = -1;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 0)
		return -errno;
	attr.handled_access_fs = rights_of_abi(abi);
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < n_paths; i++) {
		int r = rule_add(fd, &paths[i], attr.handled_access_fs);

		if (r < 0)
			return r;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return -errno;
	return 0;
}

/* ---- calls ---- */

static const int denied_calls[] = {
	/* Other programs: none is ever run. An intruder would run a shell first. */
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	/* Other processes: their memory, descriptors and state. */
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(move_pages),
	SCMP_SYS(migrate_pages),
	/* Namespaces, roots and mounts: as root of a user namespace much of the kernel is in reach. */
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(chroot),
	SCMP_SYS(pivot_root),
	SCMP_SYS(mount),
	SCMP_SYS(umount),
	SCMP_SYS(umount2),
	SCMP_SYS(open_tree),
	SCMP_SYS(move_mount),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(mount_setattr),
	/* Files past their path, and so past every check of paths. */
	SCMP_SYS(open_by_handle_at),
	/* Code in the kernel, or another kernel. */
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(bpf),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	/* Large parts of the kernel that we do not use and that many a break-in went through. */
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(vmsplice),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(fanotify_init),
	SCMP_SYS(modify_ldt),
	SCMP_SYS(personality),
	SCMP_SYS(uselib),
	/* The machine: power, swap, time, names, ports, quotas, accounting, the kernel's log. */
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(stime),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(quotactl),
	SCMP_SYS(quotactl_fd),
	SCMP_SYS(acct),
	SCMP_SYS(syslog),
	SCMP_SYS(vhangup),
	SCMP_SYS(nfsservctl),
	SCMP_SYS(lookup_dcookie),
};

/* By name, or out of nothing. */
static const int opening_calls[] = {
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(creat),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(link),
	SCMP_SYS(linkat),
	SCMP_SYS(symlink),
	SCMP_SYS(symlinkat),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(rmdir),
	SCMP_SYS(truncate),
	SCMP_SYS(chmod),
	SCMP_SYS(fchmodat),
	SCMP_SYS(chown),
	SCMP_SYS(lchown),
	SCMP_SYS(fchownat),
	SCMP_SYS(chdir),
	SCMP_SYS(memfd_create),
	SCMP_SYS(memfd_secret),
	SCMP_SYS(socket),
	SCMP_SYS(socketpair),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
};

/* clone() makes threads, and with one of these bits what unshare() makes. */
static const uint64_t denied_clone_bits[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET,
	CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};

static void filter_freep(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

static int deny(scmp_filter_ctx filter, const int *calls, size_t n_calls)
{
	int r = 0;

	for (size_t i = 0; i < n_calls && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0);
	return r;
}

static int fill_opening(scmp_filter_ctx filter)
{
	return deny(filter, opening_calls, ARRAY_SIZE(opening_calls));
}

static int fill_calls(scmp_filter_ctx filter)
{
	int r = deny(filter, denied_calls, ARRAY_SIZE(denied_calls));

	for (size_t i = 0; i < ARRAY_SIZE(denied_clone_bits) && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, denied_clone_bits[i], denied_clone_bits[i]));
	/* Its bits are in memory, where no filter can look; the C library then takes clone(). */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int filter_load(int (*fill)(scmp_filter_ctx filter))
{
	CLEANUP(filter_freep) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!filter)
		return -ENOMEM;
	/* Calls by the numbers of another architecture (32 bit) would pass by the list. */
	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* The kernel's errno, not one word for every failure. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	if (r == 0)
		r = fill(filter);
	if (r == 0)
		r = seccomp_load(filter);
	/* "Internal libseccomp failure": there is none but a lack of memory. */
	return r == -EFAULT ? -ENOMEM : r;
}

int sandbox_restrict_calls(void)
{
	return filter_load(fill_calls);
}

int sandbox_restrict_opening(void)
{
	return filter_load(fill_opening);
}
