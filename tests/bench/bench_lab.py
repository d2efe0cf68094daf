"""
bench_lab: what the benchmarks of whole updates share: measuring in turns, slots on loop devices, images behind a web
server, the real updater, and tables and plots of what came out.

    with Bench(args) as bench:
        bench.generate("v2", tree)
        slot = Slot(bench, "standby", size)
        slot.make()
        took = Took(lambda: bench.update("v2", slot, active), slot.device)
        bench.check(slot, tree)

Each measurement starts with cold caches and ends with everything on the disk. Real: metadata_gen, the updater, ext4, nginx.
Simulated: boot controller and restart (tests/support/update_driver.c). Needs root; everything is below args.work.
"""

import argparse
import contextlib
import json
import mmap
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(SOURCE, "tests/support"))
import ecu_lab  # noqa: E402
from tree_list import differences, list_tree  # noqa: E402

MIB = 1 << 20
SAMPLE_S = 0.02
SLOT_DIRS = ("dev", "proc", "sys", "run", "tmp")  # every slot has these
PROGRAMS = ("metadata-gen/metadata_gen", "otaclient/update_driver", "otaclient/otaclient-fetcher")
OWN_TMPFS = ("/run", "/dev/shm")


class Failed(Exception):
    pass


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def sh(*argv, **more):
    p = subprocess.run(argv, capture_output=True, text=True, **more)
    if p.returncode != 0:
        raise Failed(f"{argv[0]} failed: {p.stderr.strip() or p.stdout.strip()}")
    return p.stdout.strip()


def shell(script, *args):
    return sh("bash", "-euo", "pipefail", "-c", script, "bench", *args)


def median_of(values):
    return statistics.median(values)


def spread(values, digits=1):
    """The median, and in brackets from where to where it went."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median_of(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ratios(ours, theirs, field="wall"):
    """Round by round, since a machine's speed drifts."""
    return [getattr(a, field) / getattr(b, field) for a, b in zip(ours, theirs)]


def verdict(value, aim, words):
    return f"{words}: {'met' if value <= aim else 'missed'}"


def machine():
    """One sentence about where and beside what it was measured."""
    with open("/proc/loadavg", encoding="ascii") as f:
        load = f.read().split()[0]
    return f"Linux {'.'.join(os.uname().release.split('.')[:2])}, {os.cpu_count()} processors, load of others before: {load}"


# ---- measuring

def settle(device=None):
    """All that was written is on the disk: of @device alone, so that what others write is not waited for, or of all."""
    if device is None:
        os.sync()
        return
    fd = os.open(device, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def forget():
    """Cold caches, of all that is on the disk."""
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def wire_bytes():
    """What has passed the loopback of our network namespace, both ways, headers and all."""
    with open("/proc/self/net/dev", encoding="ascii") as f:
        return int(re.search(r"^ *lo: *(\d+)", f.read(), re.M)[1])


def written_bytes(device):
    """To a block device, as the kernel counts it."""
    with open(f"/sys/block/{os.path.basename(device)}/stat", encoding="ascii") as f:
        return int(f.read().split()[6]) * 512


def children_of(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                found += [int(child) for child in f.read().split()]
    return found


def private_bytes(pid):
    """RssAnon + RssShmem of a process; 0 of one that has just ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            lines = dict(line.split(":", 1) for line in f)
        return sum(int(lines[k].split()[0]) << 10 for k in ("RssAnon", "RssShmem"))
    except (OSError, KeyError):
        return 0


def command_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read()
    return b""


def memfd_bytes(pid):
    total = 0
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:"):
                    total += os.stat(f"/proc/{pid}/fd/{fd}").st_blocks * 512
    return total


def tmpfs_used():
    """Bytes in the memory file systems of our mount namespace, which are ours alone."""
    v = [os.statvfs(d) for d in OWN_TMPFS]
    return sum((x.f_blocks - x.f_bfree) * x.f_frsize for x in v)


class Watch:
    """
    The highest private memory of all processes together that we have started meanwhile and they have, and what they
    hold in memory file systems. Servers that ran before do not count.
    """

    def __init__(self):
        self.peak = self.held = 0
        self.others = set(children_of(os.getpid()))
        self.own_command = command_of("self")
        self.idle = tmpfs_used()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def processes(self):
        todo = [(pid, self.own_command) for pid in children_of(os.getpid()) if pid not in self.others]
        found = []
        while todo:
            pid, parent_command = todo.pop()
            command = command_of(pid)
            if command == parent_command:  # it is still its parent's program, with its memory, and about to become another
                continue
            found.append(pid)
            todo += [(child, command) for child in children_of(pid)]
        return found

    def run(self):
        while not self.done.wait(SAMPLE_S):
            pids = self.processes()
            self.peak = max(self.peak, sum(private_bytes(pid) for pid in pids))
            self.held = max(self.held, tmpfs_used() - self.idle + sum(memfd_bytes(pid) for pid in pids))

    def stop(self):
        self.done.set()
        self.thread.join()


class Took:
    """
    What a piece of work took: seconds on the clock until all is on the disk, seconds of the processor in our children, their
    highest memory, bytes over the loopback, bytes written to @device. Work that writes to @device alone says so; without @sync
    it writes nothing, or sees to that itself.
    """

    def __init__(self, work, device=None, sync=True):
        if sync:
            settle(device)
        forget()
        before, wire = resource.getrusage(resource.RUSAGE_CHILDREN), wire_bytes()
        written = written_bytes(device) if device else 0
        watch = Watch()
        start = time.monotonic()
        try:
            self.result = work()
            if sync:
                settle(device)
        finally:
            self.wall = time.monotonic() - start
            watch.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.wire = wire_bytes() - wire
        self.written = written_bytes(device) - written if device else 0
        self.peak, self.held = watch.peak, watch.held


def take_turns(rounds, sides):
    """Measure all sides in each round, each round beginning with the next one. {side: [Took]}"""
    took = {name: [] for name in sides}
    for i in range(rounds):
        order = list(sides)
        for name in order[i % len(order):] + order[:i % len(order)]:
            t = sides[name]()
            if t is None:  # it has failed, and is somebody else's
                continue
            took[name].append(t)
            say(f"round {i + 1}, {name}: {t.wall:.1f} s, CPU {t.cpu:.1f} s, {t.peak / MIB:.1f} MiB, {t.wire} bytes over the wire, "
                f"{t.written} written")
    return took


# ---- slots and trees

class Slot:
    """An ext4 slot in a file, on a loop device without a second cache."""

    def __init__(self, bench, name, size_bytes):
        self.file, self.size = bench.path(name + ".img"), int(size_bytes) // MIB * MIB
        self.point = bench.path(name)
        self.undo = contextlib.ExitStack()
        bench.stack.callback(self.remove)
        os.makedirs(self.point)
        with open(self.file, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, self.size)
        self.device = sh("losetup", "--show", "-f", "--direct-io=on", self.file)
        self.undo.callback(subprocess.run, ["losetup", "-d", self.device])

    def remove(self):
        self.undo.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file)

    def make(self, inodes=None):
        # Nothing is left for the kernel to do later, and the file keeps its blocks.
        sh("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
           *(["-N", str(inodes)] if inodes else []), self.device)

    @contextlib.contextmanager
    def mounted(self, options="rw"):
        sh("mount", "-t", "ext4", "-o", options, self.device, self.point)
        try:
            yield self.point
        finally:
            sh("umount", self.point)

    def fill(self, tree, inodes=None):
        """A new file system with a copy of the tree."""
        self.make(inodes)
        with self.mounted() as point:
            sh("cp", "-a", tree + "/.", point)

    def commit(self):
        """What the daemon of a new system does once that has been found healthy."""
        sh("debugfs", "-w", "-R", "rm /.ota-meta/on-trial", self.device)

    def write_raw(self, n_bytes):
        """As fast as the disk takes it, in noise, so that nothing is saved by knowing it."""
        chunk = mmap.mmap(-1, 8 * MIB)  # page-aligned, as direct writing wants it
        chunk.write(os.urandom(len(chunk)))
        fd = os.open(self.device, os.O_WRONLY | os.O_DIRECT)
        try:
            for at in range(0, n_bytes, len(chunk)):
                os.pwrite(fd, memoryview(chunk)[:min(len(chunk), self.size - at)], at)
            os.fsync(fd)
        finally:
            os.close(fd)

    def write_zeros(self):
        """So that what is saved next has holes where nothing has been written."""
        sh("dd", "if=/dev/zero", f"of={self.device}", "bs=4M", "status=none", "oflag=direct", "conv=fsync",
           f"count={self.size}", "iflag=count_bytes")

    def save(self, to):
        sh("dd", f"if={self.device}", f"of={to}", "bs=64K", "status=none", "iflag=direct", "conv=fsync,sparse")

    def restore(self, source):
        sh("dd", f"if={source}", f"of={self.device}", "bs=4M", "status=none", "oflag=direct", "conv=fsync")


class Tree:
    """A tree and what it weighs."""

    def __init__(self, path):
        self.path = path
        find = shell('find "$1" -xdev -printf "%y %s %b\\n" | awk \'{n[$1]++; s[$1] += $2; b += $3} '
                     'END {printf "%d %.0f %d %d %.0f", n["f"], s["f"], n["d"], n["l"], b * 512}\'', path)
        self.files, self.bytes, self.dirs, self.links, self.disk = (int(x) for x in find.split())

    def contents(self):
        """{digest: bytes} of its files."""
        out = subprocess.run("find . -xdev -type f -size +0 -print0 | xargs -0 sha256sum -z", shell=True,
                             cwd=self.path, check=True, capture_output=True).stdout
        root = os.fsencode(self.path)
        digests = dict(line.split(b"  ", 1) for line in out.split(b"\0") if line)
        return {digest: os.path.getsize(os.path.join(root, path)) for digest, path in digests.items()}

    def row(self, name):
        return f"| {name} | {self.files} | {self.dirs} | {self.links} | {self.bytes / 1e6:.0f} MB |"


TREE_HEAD = ["| tree | regular files | folders | links | bytes |", "| --- | --- | --- | --- | --- |"]


def new_contents(old, new):
    """{digest: bytes} of what the new tree has and the old one has not."""
    before = old.contents()
    return {digest: n for digest, n in new.contents().items() if digest not in before}


def new_contents_row(new, of, words="contents in 2 that 1 has not"):
    return f"| {words} | {len(new)} | | | {sum(new.values()) / 1e6:.0f} MB ({100 * sum(new.values()) / of.bytes:.1f} %) |"


def make_slot_dirs(tree):
    for d in SLOT_DIRS:
        os.makedirs(f"{tree}/{d}", exist_ok=True)
    os.chmod(f"{tree}/tmp", 0o1777)


def make_many_files(tree, n):
    """Small files with contents of their own, and paths as long as a distribution's (60 characters)."""
    make_slot_dirs(tree)
    for i in range(n):
        path = name_of_many(i)
        if i % 100 == 0:
            os.makedirs(f"{tree}/{os.path.dirname(path)}")
        with open(f"{tree}/{path}", "w") as f:
            f.write(f"content {i}\n" * 8)
    return tree


def name_of_many(i):
    return f"usr/share/package-{i // 100:05}/examples/a-file-of-it-{i:07}.txt"


# ---- images and updates

class Bench:
    """The place of one run: a folder, certificates, a web server for images/."""

    def __init__(self, args):
        self.args = args
        self.stack = contextlib.ExitStack()
        self.wanted = {}  # what a tree consists of

    def path(self, *names):
        return os.path.join(self.args.work, *names)

    def __enter__(self):
        make_work(self.args.work, self.stack)
        try:
            os.makedirs(self.path("images"))
            for d in OWN_TMPFS:
                sh("mount", "-t", "tmpfs", "tmpfs", d)
            sh(os.path.join(SOURCE, "certs/make-dev-certs"), self.path("certs"))
            self.start_nginx()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def program(self, name):
        return os.path.join(self.args.build, name)

    def serve(self, argv, port, **more):
        """A server that ends with us; returns once it answers."""
        server = subprocess.Popen(argv, **more)
        self.stack.callback(server.wait)
        self.stack.callback(server.terminate)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.01)
        raise Failed(f"{argv[0]} does not start")

    @staticmethod
    def free_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def start_nginx(self):
        port = self.free_port()
        with open(self.path("nginx.conf"), "w") as f:
            f.write(f"""user root; worker_processes 2; daemon off; pid {self.path("nginx.pid")};
                error_log {self.path("nginx.log")} error;
                events {{ worker_connections 256; }}
                http {{ access_log off; sendfile on; keepalive_requests 1000000;
                    server {{ listen 127.0.0.1:{port}; root {self.path("images")}; }} }}""")
        self.url = f"http://127.0.0.1:{port}"
        self.serve(["nginx", "-e", self.path("nginx.log"), "-c", self.path("nginx.conf")], port)

    def generate(self, name, tree, *options):
        image = self.path("images", name)
        shutil.rmtree(image, ignore_errors=True)
        sh(self.program("metadata-gen/metadata_gen"), "build", "--rootfs", tree, "--output", image,
           "--sign-key", self.path("certs/sign.key"), "--cert", self.path("certs/sign.pem"), *options)

    def update(self, name, slot, active):
        """One whole update; its statistics and the seconds of its steps."""
        run_dir = self.path("run-" + name)
        os.makedirs(run_dir, exist_ok=True)
        with open(self.path("update.log"), "w+") as log:
            p = subprocess.run([self.program("otaclient/update_driver"), "--url", f"{self.url}/{name}",
                                "--certs", self.path("certs"), "--device", slot.device, "--active", active,
                                "--work", run_dir, "--stats"], stdout=subprocess.PIPE, stderr=log, text=True)
            log.seek(0)
            said = log.read()
        if p.returncode != 0:
            raise Failed(f"the update to {name} failed: {said.strip().splitlines()[-1]}")
        return {**json.loads(p.stdout.splitlines()[0]), "steps": re.findall(r": ([a-z ]+) took ([0-9.]+) s$", said, re.M)}

    def install(self, tree, slot, active):
        """The tree comes to an empty slot as everything of ours does: by an update, found healthy afterwards."""
        name = "installed"
        self.generate(name, tree, "--no-compress")
        slot.make()
        self.update(name, slot, active)
        slot.commit()
        shutil.rmtree(self.path("images", name))

    def check(self, slot, tree, below="", spared=()):
        """A fast update to something else would be no update. @spared: fields of an entry that need not be the same."""
        if tree not in self.wanted:
            self.wanted[tree] = list_tree(tree)
        with slot.mounted("ro") as point:
            have = list_tree(os.path.join(point, below))
        diff = [line for line in differences(self.wanted[tree], have)
                if not any(f": {field} is " in line for field in spared)]
        if diff:
            raise Failed(f"{len(diff)} differences after the update, the first: {diff[0]}")
        sh("e2fsck", "-fn", slot.device)


def make_work(work, stack):
    if os.path.exists(work):
        raise Failed(f"{work} is there already; remove it, or give another --work")
    os.makedirs(work)
    stack.callback(shutil.rmtree, work, ignore_errors=True)


# ---- plots

def plot(path, script):
    """An SVG by gnuplot, if that is there."""
    if not shutil.which("gnuplot"):
        say(f"{path} is not drawn: there is no gnuplot (Debian's gnuplot-nox)")
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sh("gnuplot", input=f'set output "{path}"\n{script}\nunset output\n')
    say(f"{path} is drawn")


def data_block(name, rows):
    """A table for a plot, inside its script."""
    return f"${name} << EOD\n" + "\n".join(" ".join(str(cell) for cell in row) for row in rows) + "\nEOD"


# ---- programs

def parser(doc, work):
    """Options that all have, and the help from the top of the program."""
    p = argparse.ArgumentParser(usage=doc.split("\n\n")[1].strip(), description="\n\n".join(doc.strip().split("\n\n")[0:1]),
                                epilog="\n\n".join(doc.strip().split("\n\n")[2:]),
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", default=work, type=os.path.abspath, help="where everything is made, and goes away at the end")
    p.add_argument("--build", default=os.path.join(SOURCE, "build"), type=os.path.abspath)
    return p


def check_arguments(p, args):
    if args.rounds < 1:
        p.error("--rounds: at least one")
    if os.geteuid() != 0:
        p.error("needs root, for mounts and loop devices")
    for name in PROGRAMS:
        if not os.access(os.path.join(args.build, name), os.X_OK):
            p.error(f"{args.build}/{name} is not there: ninja -C {args.build} {name}")
    return args


def run_to_the_end(work):
    """Exit status: 0 measured, 1 failed. A signal still tidies up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped by a signal"))
    start = time.monotonic()
    try:
        work()
    except (Failed, ecu_lab.Failed, subprocess.CalledProcessError) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    say(f"done after {time.monotonic() - start:.0f} s")
    return 0
