/*
 * grub_mkconfig: run grub-mkconfig in a chroot. Contract: grub_mkconfig.h.
 *
 * The mounts that it needs (/proc, /sys, /dev, a /boot) are made by a thread of their own, which leaves the
 * daemon's mount namespace first: whatever happens, they end with the thread and nobody else ever sees them. The
 * root itself is read-only there, so that a tool of the image cannot change the image.
 */
#include "boot-controllers/grub/grub_mkconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/run.h"

enum {
	MKCONFIG_TIMEOUT_MS =
		120 * 1000, /* it takes a second; lsb_release and os-prober of old images longer */
};

/* By its whole path: a daemon's PATH need not have the tools of the administrator. */
static const char standard_path[] = "/usr/sbin/grub-mkconfig";

struct job {
	const struct grub_ctl *ctl;
	const char *rootfs, *boot_dir;
	struct buf *out;
	struct ota_err *err;
	int r;
};

static int bind(const char *source, const char *rootfs, const char *target, unsigned long flags,
	struct ota_err *err)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s%s", rootfs, target) >= sizeof(path))
		return ota_err_set(err, -ENAMETOOLONG, OTA_E_UNSPECIFIC,
			"The path %s%s is too long", rootfs, target);
	/* -ENOENT would say that there is no grub-mkconfig. */
	if (mount(source, path, NULL, MS_BIND | flags, NULL) < 0)
		return ota_err_set(err, errno == ENOENT ? -ENXIO : -errno, OTA_E_UNSPECIFIC,
			"Cannot show %s as %s to grub-mkconfig: %s", source, path, strerror(errno));
	return 0;
}

/* In the thread's own namespace: make @rootfs look like a running system. */
static int make_mounts(const char *rootfs, const char *boot_dir, struct ota_err *err)
{
	static const char *const shared[] = {"/proc", "/sys", "/dev"};
	static const char *const scratch[] = {"/tmp", "/run"};
	int r = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot make a mount namespace for grub-mkconfig: %s", strerror(errno));
	if (rootfs[0] == '\0')
		return bind(boot_dir, "", "/boot", 0, err);
	r = bind(rootfs, rootfs, "", 0, err);
	for (size_t i = 0; i < ARRAY_SIZE(shared) && r == 0; i++)
		r = bind(shared[i], rootfs, shared[i], MS_REC, err);
	for (size_t i = 0; i < ARRAY_SIZE(scratch) && r == 0; i++) {
		char path[PATH_MAX];

		/* An image may lack them, and then its tools do without. */
		if ((size_t)snprintf(path, sizeof(path), "%s%s", rootfs, scratch[i]) < sizeof(path))
			mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=1777");
	}
	if (r == 0)
		r = bind(boot_dir, rootfs, "/boot", 0, err);
	if (r == 0 && mount(NULL, rootfs, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		r = ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot make %s read-only for grub-mkconfig: %s", rootfs, strerror(errno));
	return r;
}

static void *job_thread(void *arg)
{
	static const char *const argv[] = {standard_path, NULL};
	AUTO_CLOSE int home = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	struct job *j = arg;

	if (home < 0) {
		j->r = ota_err_set(j->err, errno == ENOENT ? -ENXIO : -errno, OTA_E_UNSPECIFIC,
			"Cannot open the mount namespace: %s", strerror(errno));
		return NULL;
	}
	j->r = make_mounts(j->rootfs, j->boot_dir, j->err);
	if (j->r == 0)
		j->r = run_tool(&(struct run_args){.argv = argv,
					.root = j->rootfs[0] ? j->rootfs : NULL,
					.timeout_ms = MKCONFIG_TIMEOUT_MS,
					.out = j->out},
			j->err);
	/* A thread's end is seen before its namespace is gone, which would keep the slot's device busy. */
	setns(home, CLONE_NEWNS);
	return NULL;
}

/* A stand-in sees the two folders by name. */
static int run_fake(const struct job *j)
{
	char tool[PATH_MAX];
	const char *const argv[] = {tool, NULL};
	char path[PATH_MAX], root[PATH_MAX + 32], boot[PATH_MAX + 32];
	const char *env[] = {path, root, boot, "LC_ALL=C", NULL};

	grub_tool(j->ctl, "grub-mkconfig", standard_path, tool);
	snprintf(path, sizeof(path), "PATH=%s", j->ctl->tools_path);
	snprintf(root, sizeof(root), "FAKE_ROOT=%s", j->rootfs);
	snprintf(boot, sizeof(boot), "FAKE_BOOT=%s", j->boot_dir);
	return run_tool(&(struct run_args){.argv = argv, .env = env, .out = j->out}, j->err);
}

int grub_mkconfig_run(const struct grub_ctl *ctl, const char *rootfs, const char *boot_dir,
	struct buf *out, struct ota_err *err)
{
	struct job j = {.ctl = ctl, .rootfs = rootfs, .boot_dir = boot_dir, .out = out, .err = err};
	pthread_t thread;
	int r;

	if (ctl->tools_path)
		return run_fake(&j);
	r = pthread_create(&thread, NULL, job_thread, &j);
	if (r != 0)
		return ota_err_set(
			err, -r, OTA_E_UNSPECIFIC, "Cannot start a thread: %s", strerror(r));
	pthread_join(thread, NULL);
	return j.r;
}

void grub_mkconfig_version(const struct grub_ctl *ctl, char *ret_version, size_t size)
{
	char tool[PATH_MAX];
	const char *const argv[] = {tool, "--version", NULL};
	static const char mark[] = "(GRUB) ";
	AUTO_BUF struct buf out = {0};
	char path[PATH_MAX];
	const char *env[] = {path, "LC_ALL=C", NULL}, *v;
	int r;

	grub_tool(ctl, "grub-mkconfig", standard_path, tool);
	snprintf(path, sizeof(path), "PATH=%s", ctl->tools_path ? ctl->tools_path : "");
	r = run_tool(&(struct run_args){.argv = argv,
			     .root = ctl->root[0] && !ctl->tools_path ? ctl->root : NULL,
			     .env = ctl->tools_path ? env : NULL,
			     .out = &out},
		NULL);
	v = r == 0 ? strstr(buf_str(&out), mark) : NULL;
	v = v ? v + strlen(mark) : "";
	snprintf(ret_version, size, "%.*s", (int)strcspn(v, "\r\n"), v);
	if (ret_version[0] == '\0')
		snprintf(ret_version, size, "unknown_grub_version");
}
