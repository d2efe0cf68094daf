"""The few system calls that Python 3.11 lacks. Errors are OSError."""

import contextlib
import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_RELATIME = 1 << 21

MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
SYS_PIVOT_ROOT = 155  # x86_64
if os.uname().machine == "aarch64":
    SYS_PIVOT_ROOT = 41

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def setns(fd):
    """This thread, or the process that is about to be executed, goes on in another network namespace."""
    _check(_libc.setns(fd, CLONE_NEWNET), "setns")


def mount(source, target, fstype=None, flags=0, data=None):
    def text(value):
        return None if value is None else os.fsencode(value)

    _check(
        _libc.mount(text(source), text(target), text(fstype), ctypes.c_ulong(flags), text(data)),
        f"mount {source} on {target}",
    )


def umount(target, flags=0):
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def make_mounts_private():
    """
    In a new mount namespace: nothing that is mounted from here on shows outside of it.

    In a chroot "/" is no mount point, and its propagation cannot be changed; so "/" becomes one, on /run, which
    must be a mount there.
    """
    try:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        return
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        seen = [line.split()[4].encode().decode("unicode_escape") for line in f]
    if "/run" not in seen:
        raise OSError(errno.EINVAL, "In a chroot, /run must be a mount point")
    for point in seen:
        # A mount that lies below another one of the same name cannot be reached, and need not be.
        with contextlib.suppress(OSError):
            mount("none", point, None, MS_PRIVATE)
    here = os.getcwd()
    folder = "/run/private-root"
    os.makedirs(folder, exist_ok=True)
    mount("/", folder, None, MS_BIND | MS_REC)
    mount("none", folder, None, MS_REC | MS_PRIVATE)
    os.chroot(folder)
    os.chdir(here)


def pivot_root(new_root, put_old):
    _check(
        _libc.syscall(SYS_PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old)),
        f"pivot_root to {new_root}",
    )


def die_with_parent(signum):
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signum), 0, 0, 0), "prctl")


def sethostname(name):
    raw = os.fsencode(name)
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def punch_hole(fd, offset, size):
    """Make a part of a file zeroes; its size stays."""
    _check(_libc.fallocate(fd, 3, ctypes.c_long(offset), ctypes.c_long(size)), "fallocate")
