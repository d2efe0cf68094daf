"""
init: process 1 of a pseudo-ECU. Mounts as the slot's own fstab says, starts the daemon, restarts it when it ends,
reaps orphans, and ends the machine when somebody asks for it: reboot(8) and `systemctl reboot` through
/run/initctl, as they do where systemd does not run; SIGTERM is the power button.

Nothing here may be imported after the pivot: Python itself stays behind on the host.
"""

import errno
import os
import select
import signal
import struct
import sys
import time
import uuid

from . import disk, syscalls

INIT_REQUEST_MAGIC = 0x03091969  # sysvinit's struct init_request, 384 bytes
INIT_REQUEST_BYTES = 384
INIT_CMD_RUNLVL = 1

STOP_TIMEOUT_S = 10
RESTART_DELAY_S = 1.0

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(attached, choice, options, go, say_end):
    """Does not return. What became of the machine is the line written to @say_end."""
    outcome = "panic: process 1 ended"
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        if os.read(go, 1) != b"g":
            os._exit(1)
        os.close(go)
        _redirect(options.console)
        _mount_all(attached, choice, options)
        attached.close()
        outcome = _Init(options).run()
        os.sync()
    except BaseException as e:  # pylint: disable=broad-except
        outcome = f"panic: {e}"
    try:
        os.write(say_end, f"{outcome}\n".encode())
    finally:
        os._exit(0)


def _redirect(console):
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if console is None:
        os.dup2(2, 1)
        return
    fd = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _mount_all(attached, choice, options):
    syscalls.make_mounts_private()
    disk.mount_dev(attached)
    root = disk.mount_point()
    slot = attached.part(choice.role)
    syscalls.mount(attached.device(slot), root, "ext4")
    disk.mount_kernel_files(root)
    for folder, mode in (("run", "0755"), ("tmp", "1777")):
        syscalls.mount("tmpfs", f"{root}/{folder}", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, f"mode={mode}")
    _mount_fstab(root, attached, slot)
    _mask(root, choice)
    for source, target in options.binds:
        _bind(source, root + target)

    os.mkfifo(f"{root}/run/initctl", 0o600)
    syscalls.sethostname(options.hostname)
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")


def _mount_fstab(root, attached, slot):
    """The slot's own fstab decides; what it cannot mount would send a real machine to its emergency shell."""
    by_uuid = {disk.probe(attached.device(p), "UUID"): p for p in attached.parts}
    with open("/proc/filesystems", encoding="ascii") as f:
        known = {line.split()[-1] for line in f}
    with open(f"{root}/etc/fstab", encoding="utf-8") as f:
        lines = [line.split() for line in f if line.strip() and not line.lstrip().startswith("#")]
    for fields in lines:
        source, target, fstype, options = (fields + ["defaults"])[:4]
        if target in ("none", "swap", "/dev/shm"):
            continue
        part = by_uuid.get(source.removeprefix("UUID="))
        if target == "/":
            if part is not slot:
                raise disk.Error(f"fstab names {source} as /, which is not the slot that boots")
            disk.run("mount", "-n", "-o", f"remount,{options}", root)
            continue
        if fstype in ("vfat", "auto") and fstype not in known:
            print(f"init: {target} is left out: the host's kernel has no {fstype}", flush=True)
            continue
        if part is None:
            if "nofail" in options.split(","):
                continue
            raise disk.Error(f"fstab names {source} for {target}, which is not on this disk")
        disk.run("mount", "-n", "-t", fstype, "-o", options, attached.device(part), root + target)


def _mask(root, choice):
    """Nothing in the machine may reach the host's kernel; what the boot decided shows where a system looks."""
    if os.path.exists(f"{root}/proc/sysrq-trigger"):
        syscalls.mount("/dev/null", f"{root}/proc/sysrq-trigger", None, syscalls.MS_BIND)
    os.mkdir(f"{root}/run/pseudo-ecu", 0o755)
    # A kernel knows its release, by whatever link it was loaded.
    kernel = os.path.basename(os.path.realpath(f"{root}/boot{choice.kernel}"))
    shown = (
        ("proc/sys/kernel/osrelease", kernel.removeprefix("vmlinuz-")),
        ("proc/cmdline", choice.cmdline()),
        ("proc/sys/kernel/random/boot_id", str(uuid.uuid4())),
    )
    for path, text in shown:
        source = f"{root}/run/pseudo-ecu/{os.path.basename(path)}"
        with open(source, "w", encoding="utf-8") as f:
            f.write(f"{text}\n")
        syscalls.mount(source, f"{root}/{path}", None, syscalls.MS_BIND)
        syscalls.mount("none", f"{root}/{path}", None, syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY)


def _bind(source, target):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb"):
            pass
    syscalls.mount(source, target, None, syscalls.MS_BIND | syscalls.MS_REC)


def _parents():
    """pid: pid of its parent; who has come from outside of the machine has 0."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                    state, parent = f.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(name)] = int(parent)
    return found


def _is_below(pid, ancestor, parents):
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


class _Init:
    """The life of process 1 after the mounts."""

    def __init__(self, options):
        self.options = options
        self.daemon = 0  # pid
        self.restart_at = None
        self.outcome = None
        # Opened for writing too, so that it does not end with the first writer.
        self.initctl = os.open("/run/initctl", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._power_button)

    def _power_button(self, *_):
        self.outcome = self.outcome or "halt"

    def run(self):
        self._start()
        while self.outcome is None:
            wait = None if self.restart_at is None else max(0, self.restart_at - time.monotonic())
            ready, _, _ = select.select([self.initctl, self.wake], [], [], wait)
            if self.wake in ready:
                os.read(self.wake, 4096)
            self._reap()
            if self.initctl in ready:
                self._request()
            if self.restart_at is not None and time.monotonic() >= self.restart_at:
                self._start()
        self._stop_all()
        return self.outcome

    def _start(self):
        self.restart_at = None
        env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", **self.options.env}
        self.daemon = os.fork()
        if self.daemon == 0:
            try:
                for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
                    signal.signal(signum, signal.SIG_DFL)
                os.setsid()
                os.execve(self.options.command[0], self.options.command, env)
            except OSError as e:
                print(f"init: cannot run {self.options.command[0]}: {e.strerror}", file=sys.stderr, flush=True)
            os._exit(127)

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.daemon:
                self._daemon_ended(os.waitstatus_to_exitcode(status))

    def _daemon_ended(self, code):
        self.daemon = 0
        if self.outcome is not None:
            return
        print(f"init: {self.options.command[0]} ended with {code}", flush=True)
        self._end_what_it_left()
        if self.options.once:
            self.outcome = f"exit {code if code >= 0 else 128 - code}"
        else:
            self.restart_at = time.monotonic() + RESTART_DELAY_S

    def _end_what_it_left(self):
        """As a service manager does before it starts a service again: what the daemon had started is ended, too."""
        while True:
            parents = _parents()
            left = [pid for pid in parents if pid != 1 and _is_below(pid, 1, parents)]
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _request(self):
        raw = os.read(self.initctl, INIT_REQUEST_BYTES)
        if len(raw) < 12:
            return
        magic, command, level = struct.unpack_from("=iii", raw)
        if magic != INIT_REQUEST_MAGIC or command != INIT_CMD_RUNLVL:
            return
        if level == ord("6"):
            self.outcome = "reboot"
        elif level == ord("0"):
            self.outcome = "halt"

    def _stop_all(self):
        """SIGTERM, time to end, SIGKILL; then unmount what can be, the rest goes with the namespace."""
        for signum, timeout_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
            try:
                os.kill(-1, signum)
            except OSError as e:
                if e.errno == errno.ESRCH:
                    return
                raise
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                try:
                    pid, _ = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                if pid == 0:
                    select.select([self.wake], [], [], 0.05)
                    try:
                        os.read(self.wake, 4096)
                    except BlockingIOError:
                        pass
