"""
machine: switch a pseudo-ECU on, and look after it until it is off.

    this process ── keeper ── process 1 (init.py) ── the daemon …
    host's names    own mount, PID, network, UTS and IPC namespaces

Whoever dies takes all below with it (PDEATHSIG, PID namespace); with the last process go mounts, loop device and
network. So nothing is left behind after a kill -9 of any of them.
"""

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time

from . import disk, init, loader, syscalls

CLEAR_TIMEOUT_S = 60
NET = "169.254.93.2"  # link-local: no host routes it anywhere


class Options:
    """How to run a machine."""

    def __init__(self):
        self.command = ["/usr/bin/otaclient"]
        self.once = False  # the machine ends with the daemon
        self.max_boots = 0  # 0 = until it is switched off
        self.net = NET  # the machine's address, the host has the one before; "host" = no network of its own
        self.ports = []  # pairs: bridge of the host, address/bits; eth0, eth1, … in place of the cable to the host
        self.console = None  # file that takes what the daemon prints; None = our stderr
        self.mark = None  # file that is told when the boot loader begins and ends
        self.env = {}
        self.binds = []  # pairs: host path, path on the machine
        self.hostname = "ecu"


def say(text):
    print(f"pseudo-ecu: {text}", flush=True)


def state_file(image):
    return f"{image}.run"


def running(image):
    """What the machine of this image is doing: {"pid", "role", "boots"}; None = it is off."""
    with open(image, "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            pass
    try:
        with open(state_file(image), encoding="ascii") as f:
            return json.load(f)
    except (OSError, ValueError):
        return None


def boot(image, options):
    """Boot, and boot again each time the machine restarts. Returns the exit status of the tool."""
    lock = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise disk.Error(f"{image} is in use by another pseudo-ecu") from e
    boots = 0
    try:
        while True:
            boots += 1
            say(f"power at {time.monotonic():.3f}")
            _mark(options, "GRUB begins")
            choice = loader.choose(image)
            _mark(options, "GRUB has ended")
            fallback = ", fallback" if choice.fell_back else ""
            say(f"boot {boots}: entry {choice.entry}{fallback}, {choice.kernel}, root on {choice.role}")
            outcome = _run_once(image, choice, options, boots)
            say(outcome)
            word, _, rest = outcome.partition(" ")
            if word == "exit":
                return int(rest)
            if word == "panic:":
                return 1
            if word != "reboot" or boots == options.max_boots:
                return 0
    finally:
        if os.path.exists(state_file(image)):
            os.unlink(state_file(image))
        os.close(lock)
        # Of all processes of the machine, and of the loader; what the kernel does for its disk is not in it.
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        say(f"took {used.ru_utime + used.ru_stime:.2f} s of CPU")


def _mark(options, text):
    if options.mark:
        with open(options.mark, "wb", buffering=0) as f:
            f.write(text.encode())


def _run_once(image, choice, options, boots):
    """One life of the machine. Returns "reboot", "halt", "exit STATUS", or "panic: why"."""
    attached = disk.attach(image)
    try:
        said, say_end = os.pipe()
        go, go_end = os.pipe()
        keeper = os.fork()
        if keeper == 0:
            os.close(said)
            os.close(go_end)
            _keep(attached, choice, options, go, say_end)
        os.close(say_end)
        os.close(go)
        reader = os.fdopen(said, encoding="utf-8")
        pid = int(reader.readline() or "0")
        if pid == 0:
            raise disk.Error("The namespaces of the machine could not be made")
        if options.net != "host":
            _wire(pid, options)
        _write_state(image, {"pid": pid, "role": choice.role, "boots": boots})
        os.write(go_end, b"g")
        os.close(go_end)
        outcome = _wait(keeper, pid, reader)
        if options.net != "host":
            _unwire(pid, options)
    finally:
        attached.close()
    _wait_until_clear(attached.name, image)
    return outcome


def _keep(attached, choice, options, go, say_end):
    """The keeper: makes the namespaces, forks process 1, passes on how it ended."""
    code = 1
    try:
        parent = os.getppid()
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
        if options.net != "host":
            flags |= syscalls.CLONE_NEWNET
        syscalls.unshare(flags)
        pid = os.fork()
        if pid == 0:
            init.main(attached, choice, options, go, say_end)
        os.write(say_end, f"{pid}\n".encode())
        attached.close()
        _, status = os.waitpid(pid, 0)
        # reboot(2) of a PID namespace ends its process 1 with one of two signals.
        if os.WIFSIGNALED(status):
            how = {signal.SIGHUP: "reboot", signal.SIGINT: "halt"}.get(os.WTERMSIG(status), "halt (cut)")
            os.write(say_end, f"{how}\n".encode())
        code = 0
    except BaseException as e:  # pylint: disable=broad-except
        print(f"pseudo-ecu: {e}", file=sys.stderr, flush=True)
    os._exit(code)


def _wait(keeper, pid, reader):
    """Until the machine is off; a signal to us asks it to switch itself off."""

    def power_button(_signum, _frame):
        os.kill(pid, signal.SIGTERM)

    before = {s: signal.signal(s, power_button) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        lines = reader.read().splitlines()
        os.waitpid(keeper, 0)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    return lines[0] if lines else "halt (cut)"


def host_address(address):
    """The host's end of the cable to a machine with @address."""
    head, _, last = address.rpartition(".")
    return f"{head}.{int(last) - 1}"


def _wire(pid, options):
    """Cables between host and machine; they go away with the machine's network namespace."""
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
    disk.run(*inside, "link", "set", "lo", "up")
    for number, (bridge, address) in enumerate(options.ports):
        _plug_in(pid, number, bridge, address, inside)
    if not options.ports:
        _wire_to_host(pid, options.net, inside)


def _plug_in(pid, number, bridge, address, inside):
    """One interface on a bridge. Its hardware address stays the same over boots, as that of a real machine does."""
    name, eth = f"ecu{pid}.{number}", f"eth{number}"
    hardware = "02:00:" + ":".join(f"{int(part):02x}" for part in address.partition("/")[0].split("."))
    disk.run(
        "ip", "link", "add", name, "type", "veth", "peer", "name", eth, "address", hardware, "netns", str(pid),
    )  # fmt: skip
    disk.run("ip", "link", "set", name, "master", bridge, "up")
    disk.run(*inside, "address", "add", address, "dev", eth)
    disk.run(*inside, "link", "set", eth, "up")


def _wire_to_host(pid, address, inside):
    host = host_address(address)
    taken = disk.run("ip", "-4", "-o", "address", "show", "to", f"{host}/31") + disk.run("ip", "-4", "route", "show", address)
    if taken:
        raise disk.Error(f"The host uses {host} or {address} already: {taken.splitlines()[0].strip()}")
    name = f"ecu{pid}"
    disk.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    disk.run("ip", "address", "add", host, "peer", f"{address}/32", "dev", name)
    disk.run("ip", "link", "set", name, "up")
    disk.run(*inside, "address", "add", address, "peer", f"{host}/32", "dev", "eth0")
    disk.run(*inside, "link", "set", "eth0", "up")


def _unwire(pid, options):
    """At once, not when the kernel gets round to it: the next boot has the same addresses."""
    for name in [f"ecu{pid}.{number}" for number in range(len(options.ports))] or [f"ecu{pid}"]:
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _write_state(image, state):
    with open(f"{state_file(image)}.tmp", "w", encoding="ascii") as f:
        json.dump(state, f)
    os.rename(f"{state_file(image)}.tmp", state_file(image))


def _wait_until_clear(name, image):
    """The kernel unmounts after the last process has gone; only then may the loader read the disk."""
    deadline = time.monotonic() + CLEAR_TIMEOUT_S
    while disk.is_backed_by(name, image):
        if time.monotonic() > deadline:
            raise disk.Error(f"{image} is still attached to {name} after {CLEAR_TIMEOUT_S} s")
        time.sleep(0.02)


def execute(image, argv):
    """Run a command inside a running machine."""
    state = running(image)
    if state is None:
        raise disk.Error(f"The machine of {image} is off")
    return subprocess.call(["nsenter", "-t", str(state["pid"]), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", *argv])


def off(image, cut):
    """Switch a running machine off; @cut: every process is killed where it is."""
    state = running(image)
    if state is None:
        return
    os.kill(state["pid"], signal.SIGKILL if cut else signal.SIGTERM)
    deadline = time.monotonic() + CLEAR_TIMEOUT_S
    while running(image) is not None:
        if time.monotonic() > deadline:
            raise disk.Error(f"The machine of {image} does not end")
        time.sleep(0.02)


def look(image, argv):
    """
    Run a command that sees the file systems of a machine that is off: their folders, mounted read-only, are in
    its environment as BOOT, SLOT_A and SLOT_B, their devices as BOOT_DEVICE and so on.
    """
    if running(image) is not None:
        raise disk.Error(f"The machine of {image} is on")
    with disk.attach(image) as attached, disk.private_mounts(attached) as folder:
        env = dict(os.environ)
        for part in attached.parts:
            if part.role == "esp":
                continue
            node = attached.device(part)
            env[f"{part.role.upper()}_DEVICE"] = node
            target = f"{folder}/{part.role}"
            os.mkdir(target)
            syscalls.mount(node, target, "ext4", syscalls.MS_RDONLY, "noload")
            env[part.role.upper()] = target
        code = subprocess.call(argv, env=env)
    _wait_until_clear(attached.name, image)
    return code


def check(image):
    """e2fsck of every file system, changing nothing. True = all clean."""
    clean = True
    with disk.attach(image) as attached, disk.private_mounts(attached):
        for part in attached.parts:
            if part.role == "esp":
                continue
            argv = ["e2fsck", "-f", "-n", attached.device(part)]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode != 0:
                clean = False
                print(f"pseudo-ecu: {part.role}: {done.stdout.strip()}", file=sys.stderr)
    _wait_until_clear(attached.name, image)
    return clean
