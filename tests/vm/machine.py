"""
machine: one virtual computer, a QEMU process with software emulation.

    with Machine(folder, disk) as m:
        m.power_on()
        m.console.wait_for("login:", 120)
        m.shell("uname -a")
        m.cut_power()

It has a disk (virtio), a watchdog (i6300esb, which resets), a place for a dying kernel's last words (ACPI's ERST), two serial lines and a network card. The first serial line
is the console, which only speaks; it is kept in a file. On the second a shell of the guest listens, for preparing and
looking. What would be cables outside is simulated: the guest's 10.0.2.2 is this host's loopback interface, and our
127.0.0.1:50051 is the guest's API. Run it in a network namespace of its own (scenario.py does), then machines may run
side by side.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from pseudo_ecu import syscalls

API_PORT = 50051
FIRMWARE = {"bios": None, "uefi": ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")}
MEMORY_MIB = 768


class Failed(Exception):
    """What did not happen, in one sentence, and what the machine said last."""


# On a host with much other work a machine is slow, which is no fault of its own.
STARVED_PART = 3      # it has had less than this part of the time that it was waited for
STARVED_PATIENCE = 4  # then so many times as long is waited


def wait_for(what, condition, seconds, alive=lambda: None, pause_s=0.1, used=None):
    """
    Ask again and again until @condition is true; @alive raises when it never will be. @used: the processor seconds that a
    machine has had, if it is to be waited for longer when it gets few.
    """
    began, used_before = time.monotonic(), used() if used else 0

    def over():
        waited = time.monotonic() - began
        starved = used and used() - used_before < seconds / STARVED_PART
        return waited > seconds * (STARVED_PATIENCE if starved else 1)

    while True:
        found = condition()
        if found:
            return found
        alive()
        if over():
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(pause_s)


class Console:
    """What the machine has said on its first serial line, over all its starts."""

    def __init__(self, path):
        self.path = path
        self.seen = 0  # up to where wait_for() has looked
        self.alive = lambda: None
        self.used = None
        open(path, "ab").close()

    def text(self, start=0):
        with open(self.path, "rb") as f:
            f.seek(start)
            return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()].|\r", "", f.read().decode("utf-8", "replace"))

    def mark(self):
        """From here on."""
        self.seen = os.path.getsize(self.path)

    def wait_for(self, pattern, seconds):
        """Until something matches that came after what the last call has found. Returns the match, in bytes."""
        return wait_for(f"'{pattern}' on the console", lambda: self._next(pattern), seconds, self.alive, used=self.used)

    def _next(self, pattern):
        with open(self.path, "rb") as f:
            f.seek(self.seen)
            match = re.search(pattern.encode(), f.read())
        if match:
            self.seen += match.end()
        return match

    def tail(self, lines=25):
        return "\n".join(self.text().splitlines()[-lines:])


class Monitor:
    """QEMU's own control socket (QMP)."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.events = []  # names, in their order
        self._read()
        self.command("qmp_capabilities")

    def _read(self):
        line = self.file.readline()
        if not line:
            raise Failed("QEMU has ended")
        message = json.loads(line)
        if "event" in message:
            self.events.append(message)
        return message

    def command(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise Failed(f"QEMU refuses {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def count(self, event):
        """How often such an event has come so far, such as WATCHDOG or RESET."""
        self.command("query-status")
        return sum(e["event"] == event for e in self.events)

    def close(self):
        self.file.close()
        self.socket.close()


class Machine:
    def __init__(self, folder, disk, layout="bios", cpus=1):
        """@folder: for sockets, console and log. @disk: an image, raw."""
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.disk = disk
        self.layout = layout
        self.cpus = cpus
        self.log = None  # a file that tells of all writes and flushes, power_log.py
        self.forgets = False  # what is written to the disk goes with the power
        self.notes_reads = False  # reads()
        self.console = self._new_console()
        self.process = None
        self.monitor = None
        self.line = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.cut_power()

    def _new_console(self):
        console = Console(f"{self.folder}/console")
        console.alive = self._must_run
        console.used = self.cpu_seconds
        return console

    # ---- power

    def _disk_options(self):
        """This host keeps its power, so a flush of the guest need not wait for this host's own disk."""
        if not self.log:
            snapshot = "on" if self.forgets else "off"
            return ["-drive", f"if=none,id=disk,format=raw,cache=unsafe,discard=unmap,snapshot={snapshot},file={self.disk}"]
        return [
            "-blockdev", f"driver=file,node-name=disk-file,cache.no-flush=on,filename={self.disk}",
            "-blockdev", f"driver=file,node-name=log-file,cache.no-flush=on,filename={self.log}",
            "-blockdev", "driver=blklogwrites,node-name=disk,file=disk-file,log=log-file,log-sector-size=512",
        ]  # fmt: skip

    def _argv(self, extra):
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
            "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", str(self.cpus), "-m", str(MEMORY_MIB),
            "-chardev", f"file,id=console,path={self.console.path},append=on", "-serial", "chardev:console",
            "-chardev", f"socket,id=line,path={self.folder}/line,server=on,wait=off", "-serial", "chardev:line",
            "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{API_PORT}-10.0.2.15:{API_PORT}",
            "-device", "virtio-net-pci,netdev=net,romfile=",
            *self._disk_options(),
            "-device", "virtio-blk-pci,drive=disk,bootindex=1",
            "-device", "virtio-rng-pci",
            "-device", "i6300esb", "-action", "watchdog=reset",
            "-object", f"memory-backend-file,id=erst,size=128K,share=on,mem-path={self.folder}/erst",
            "-device", "acpi-erst,memdev=erst",
        ]  # fmt: skip
        if FIRMWARE[self.layout]:
            code, variables = FIRMWARE[self.layout]
            # A machine keeps its variables beside its disk.
            if not os.path.exists(f"{self.disk}.vars"):
                shutil.copy(variables, f"{self.disk}.vars")
            argv += [
                "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
                "-drive", f"if=pflash,format=raw,unit=1,file={self.disk}.vars",
            ]  # fmt: skip
        if self.notes_reads:
            argv += ["-d", "trace:blk_co_preadv", "-D", f"{self.folder}/reads"]
        return argv + list(extra)

    def power_on(self, *extra):
        """@extra: further options of QEMU."""
        assert self.process is None
        for name in ("qmp", "line"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.folder}/{name}")
        with open(f"{self.folder}/qemu.log", "ab") as log:
            self.process = subprocess.Popen(
                self._argv(extra), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: syscalls.die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        for name in ("qmp", "line"):
            wait_for("QEMU's sockets", lambda n=name: os.path.exists(f"{self.folder}/{n}"), 20, self._must_run)
        self.monitor = Monitor(f"{self.folder}/qmp")
        self.line = Line(f"{self.folder}/line", self._must_run, self.cpu_seconds)

    def cpu_seconds(self):
        """That QEMU has used since the power is on; 0 if it is off."""
        if self.process is None or self.process.returncode is not None:
            return 0
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            user, system = f.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _must_run(self):
        if self.process is None or self.process.poll() is not None:
            with open(f"{self.folder}/qemu.log", encoding="utf-8", errors="replace") as f:
                said = f.read().strip().splitlines()[-3:]
            raise Failed(f"the machine is off: {' '.join(said)}")

    def cut_power(self):
        """QEMU is killed. What the guest had not flushed to its disk may or may not be there afterwards."""
        if self.process is None:
            return
        self.process.kill()
        self._gone()

    def forget(self):
        """What it has said, and its kernel's last words, of a machine that is off."""
        assert self.process is None
        for name in ("console", "erst", "reads"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.folder}/{name}")
        self.console = self._new_console()

    def reads(self):
        """[(from, to), ...], in bytes: all that the firmware, GRUB and the system have read of the disk, in the order they did."""
        with open(f"{self.folder}/reads", encoding="ascii") as f:
            found = re.findall(r"^blk_co_preadv .* offset (\d+) bytes (\d+) ", f.read(), re.MULTILINE)
        if not found:
            raise Failed("QEMU has noted nothing of what was read of the disk")
        return [(int(offset), int(offset) + int(size)) for offset, size in found]

    def wait_until_off(self, seconds):
        """After a shutdown that the guest does itself."""
        wait_for("the machine switches itself off", lambda: self.process.poll() is not None, seconds)
        self._gone()

    def _gone(self):
        self.process.wait()
        for end in (self.monitor, self.line):
            if end:
                end.close()
        self.process = self.monitor = self.line = None

    def stop_at_next_restart(self):
        """The next restart leaves the machine off, so that its disk can be looked at, or damaged."""
        self.monitor.command("set-action", reboot="shutdown")

    # ---- what runs in it

    def shell(self, command, seconds=120):
        """Run it in the guest as root; its output. It must end with 0."""
        status, output = self.line.run(command, seconds)
        if status != 0:
            raise Failed(f"'{command}' in the machine ended with {status}: {output.strip()[-2000:]}")
        return output

    def shut_down(self, seconds=120):
        self.shell("systemctl --no-block poweroff")
        self.wait_until_off(seconds)


class Line:
    """The guest's shell on the second serial line."""

    def __init__(self, path, alive, used):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.setblocking(False)
        self.alive = alive
        self.used = used
        self.n = 0

    def close(self):
        self.socket.close()

    def _receive(self, what, pattern, seconds):
        got = bytearray()

        def more():
            with contextlib.suppress(BlockingIOError):
                got.extend(self.socket.recv(65536))
            return re.search(pattern, got, re.S)

        return wait_for(what, more, seconds, self.alive, used=self.used)

    def wait_until_up(self, seconds):
        """The shell may not listen yet: ask until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(Failed):
                self.run("true", 2)
                return
            self.alive()
            if time.monotonic() > deadline:
                raise Failed(f"the shell in the machine: not within {seconds} s")

    def run(self, command, seconds):
        self.n += 1
        begin, end = f"<begin-{self.n}>", f"<end-{self.n} "
        # Echo is on or off; the marks are put together by the shell, so that no echo contains them.
        text = f"stty -echo; echo '<begin-''{self.n}>'; ( {command}\n) </dev/null 2>&1; echo '<end-''{self.n}' $?'>'\n"
        self.socket.setblocking(True)
        self.socket.sendall(text.encode())
        self.socket.setblocking(False)
        pattern = re.escape(begin.encode()) + rb"\r?\n(.*?)" + re.escape(end.encode()) + rb"(\d+)>"
        match = self._receive(f"the end of '{command.splitlines()[0][:60]}' in the machine", pattern, seconds)
        return int(match[2]), match[1].decode("utf-8", "replace").replace("\r", "")
