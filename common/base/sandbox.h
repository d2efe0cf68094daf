/*
 * sandbox: a process gives up what it does not need, for good. The door to libseccomp and Landlock.
 *
 * For a program that talks to the network. In this order, before any thread is started (Landlock and
 * capabilities are a thread's own):
 *
 *     open what needs rights → sandbox_drop_user → sandbox_restrict_paths → sandbox_restrict_calls
 *
 * None of it can be undone, and all of it is inherited by children. After a failure the process is
 * partly restricted; it should end, or go on knowing that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Become @user, a name, the number of a known user, or "uid:gid" in decimal digits: all user and
 * group ids, no supplementary groups, no capabilities and an empty bounding set, no_new_privs, umask
 * 077. Needs root. NULL: stay who we are, and do all the rest; needs nothing.
 *
 * The signal for the parent's death (PR_SET_PDEATHSIG), which the kernel forgets when ids change, is
 * kept; if the parent has died meanwhile, the process sends it to itself.
 *
 * 0, or -ENOENT: there is no such user; -EINVAL: it is root, or neither a name nor ids; -EPERM: we
 * are not root.
 */
int sandbox_drop_user(const char *user);

/* Whom sandbox_drop_user() would become; its errors. */
int sandbox_find_user(const char *user, uid_t *ret_uid, gid_t *ret_gid);

struct sandbox_path {
	const char *path; /* a folder and all below it, or one file; symbolic links are followed */
	bool writable;    /* also make, change, rename and remove files and folders in it */
	bool optional;    /* it may be missing; then it stays out of reach also when it appears */
};

/*
 * From now on only @paths can be opened, for reading or also for writing; no program below them can
 * be executed. Descriptors that are open already keep their rights. With a kernel before 5.19 no
 * file can be renamed or linked into another folder.
 *
 * 0, or -ENOSYS, -EOPNOTSUPP: this kernel has no Landlock, or not enabled; nothing has changed and
 * the caller decides. -ENOENT: one of them is missing.
 */
int sandbox_restrict_paths(const struct sandbox_path *paths, size_t n_paths);

/*
 * From now on system calls that a network service never needs fail with EPERM: running programs,
 * tracing, mounts and namespaces, kernel modules, keys, time, and other ways into the kernel. For all
 * threads. sandbox.c has the list with the reasons. 0 or -errno.
 */
int sandbox_restrict_calls(void);

/*
 * From now on nothing can be opened either: no file or folder by any name, no socket. What is open is
 * all there will be, with what another process hands over. Beside sandbox_restrict_calls(), and before
 * it. 0 or -errno.
 */
int sandbox_restrict_opening(void);
