"""
systemd_box: a Debian with the real systemd as process 1, in namespaces and a cgroup of its own.

    enter_private()                       # ecu_lab: its mounts go with us
    with Box("/var/cache/otaclient-demo/new", work) as box:
        box.put("/etc/systemd/system/a.service", "…")
        box.start()
        box.execute("systemctl", "is-active", "a.service")

The root file system is an overlay, what is written is gone at the end. The kernel's settings are out of reach: /sys and
/proc/sys are read-only, there are no devices, so no udev. There is no D-Bus daemon, as on a small system. systemd knows
that it is in a container; a restart of the "machine" ends it with SIGHUP, switching it off with SIGINT.
"""

import contextlib
import os
import signal
import subprocess

from ecu_lab import wait_for
from pseudo_ecu import syscalls

# No terminals, no devices, nothing that takes time and is not asked for.
MASKED = (
    "console-getty.service container-getty@.service getty@tty1.service getty.target dbus.service dbus.socket "
    "systemd-logind.service systemd-udevd.service systemd-udev-trigger.service ssh.service apt-daily.timer "
    "apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer"
).split()

BOOT = """
mount -t proc proc "$1/proc"
mount --bind "$1/proc/sys" "$1/proc/sys"
mount -o remount,bind,ro "$1/proc/sys"
[ ! -e "$1/proc/sysrq-trigger" ] || mount --bind /dev/null "$1/proc/sysrq-trigger"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
cd "$1"
exec chroot . /usr/bin/env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
"""


class Box:
    def __init__(self, rootfs, work):
        self.top = work
        self.process = None
        os.makedirs(self.top)
        syscalls.mount("tmpfs", self.top, "tmpfs", 0, "mode=0755")
        for name in ("upper", "work", "root", "cgroup"):
            os.mkdir(f"{self.top}/{name}")
        self.root = f"{self.top}/root"
        layers = f"lowerdir={rootfs},upperdir={self.top}/upper,workdir={self.top}/work"
        syscalls.mount("overlay", self.root, "overlay", 0, layers)
        for name in ("run", "tmp", "dev"):
            syscalls.mount("tmpfs", f"{self.root}/{name}", "tmpfs", 0, "mode=0755")
        for name in ("null", "zero", "full", "random", "urandom"):
            self.put(f"/dev/{name}", "")
            syscalls.mount(f"/dev/{name}", f"{self.root}/dev/{name}", None, syscalls.MS_BIND)
        self.put("/dev/console", "")
        self.put("/etc/fstab", "")
        for unit in MASKED:
            self.link(f"/etc/systemd/system/{unit}", "/dev/null")
        syscalls.mount("cgroup2", f"{self.top}/cgroup", "cgroup2")
        self.cgroup = f"{self.top}/cgroup/box-{os.getpid()}"
        os.mkdir(self.cgroup)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()  # and with it, --kill-child, process 1
            self.process.wait()
        self._remove_cgroup()
        subprocess.run(["umount", "-R", "-l", self.top], check=True)
        os.rmdir(self.top)

    def _remove_cgroup(self):
        """Once the processes of the box are gone, which takes them a moment."""

        def removed():
            with contextlib.suppress(OSError):
                for folder, _, _ in os.walk(self.cgroup, topdown=False):
                    os.rmdir(folder)
            return not os.path.exists(self.cgroup)

        wait_for("the processes of the box are gone", removed, 20)

    # ---- before it starts, or beside it

    def put(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.root + path, mode)

    def link(self, path, target):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        if os.path.lexists(self.root + path):
            os.unlink(self.root + path)
        os.symlink(target, self.root + path)

    def copy(self, source, path, mode=0o644):
        with open(source, "rb") as f, open(self.root + path, "wb") as to:
            to.write(f.read())
        os.chmod(self.root + path, mode)

    # ---- its life

    def start(self):
        """Until systemd can be asked."""
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--uts", "--ipc", "--net", "--cgroup"]
        with open(f"{self.root}/dev/console", "ab") as console:
            self.process = subprocess.Popen(
                [*argv, "sh", "-ec", BOOT, "sh", self.root], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                preexec_fn=self._before_exec,
            )  # fmt: skip
        wait_for("systemd listens", lambda: not self.runs() or os.path.exists(f"{self.root}/run/systemd/private"), 60)

    def _before_exec(self):
        syscalls.die_with_parent(signal.SIGKILL)
        with open(f"{self.cgroup}/cgroup.procs", "w", encoding="ascii") as f:
            f.write("0")

    def said(self):
        with open(f"{self.root}/dev/console", encoding="utf-8", errors="replace") as f:
            return f.read()

    def runs(self):
        return self.process.poll() is None

    def ended(self, timeout_s):
        """The signal that it ended with, by its name."""
        try:
            code = self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"not within {timeout_s} s"
        number = -code if code < 0 else code - 128
        return signal.Signals(number).name if number > 0 else f"not by a signal, with {code}"

    def _init(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            return f.read().split()[0]

    def run(self, *argv):
        """Status and output of a program inside."""
        enter = ["nsenter", "-t", self._init(), "--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd"]
        done = subprocess.run(
            [*enter, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def execute(self, *argv):
        code, out = self.run(*argv)
        assert code == 0, (argv, code, out, self.said()[-3000:])
        return out.strip()
