"""update_lab: the real metadata_gen, a real HTTP server, a real ext4 slot and the real updater, for tests of the whole way.

Simulated: the boot controller and the restart (tests/support/update_driver.c). Needs root and loop devices. Programs
come from the environment: METADATA_GEN, UPDATE_DRIVER, MAKE_DEV_CERTS (meson sets them).

    with UpdateLab() as lab:
        lab.build("v2", make_v2)
        lab.update("v2")
        lab.check("v2")
"""

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
from tree_list import differences, list_tree  # noqa: E402


def enter_private_mounts():
    """Run again in a mount namespace of our own, so that nothing we mount can stay behind."""
    if os.environ.get("UPDATE_LAB_PRIVATE"):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a time limit still tidies up
        return
    os.environ["UPDATE_LAB_PRIVATE"] = "1"
    tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "private-mounts")
    os.execv(tool, [tool, sys.executable, *sys.argv])


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # clients that go away are what the tests are about


class Failed(Exception):
    """An update that ended with an error: .code ("E203") and .sentence."""

    def __init__(self, stderr):
        last = stderr.strip().splitlines()[-1] if stderr.strip() else ""
        self.code, _, self.sentence = last.partition(": ")
        super().__init__(stderr)


class UpdateLab:
    patience = []  # options of the driver that say how long it waits for what fails

    def __init__(self, slot_mib=96):
        self.work = tempfile.mkdtemp(prefix="update-lab.")
        self.stack = contextlib.ExitStack()
        self.trees, self.wanted = {}, {}
        self.slot_mib = slot_mib

    def path(self, *names):
        return os.path.join(self.work, *names)

    def __enter__(self):
        self.stack.callback(shutil.rmtree, self.work, ignore_errors=True)
        try:
            subprocess.run([os.environ["MAKE_DEV_CERTS"], self.path("certs")], check=True, capture_output=True)
            os.makedirs(self.path("images"))
            self.make_memory()
            os.makedirs(self.path("run"))
            self.make_slot()
            handler = functools.partial(QuietHandler, directory=self.path("images"))
            self.server = QuietServer(("127.0.0.1", 0), handler)
            self.url = f"http://127.0.0.1:{self.server.server_port}"
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
            self.stack.callback(self.server.shutdown)
            self.active = self.path("active")
            os.makedirs(self.active)
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *exc):
        self.stack.close()

    # ---- the slot

    def make_memory(self):
        """The slot's image and its copies lie in memory: these tests are about what is written, not about the disk."""
        os.makedirs(self.path("memory"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "memory", self.path("memory")], check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", self.path("memory")])

    def run_in_memory(self):
        """The updater's own files, too: each state file is synced, which takes long on a disk that others use."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "run", self.path("run")], check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", self.path("run")])

    def make_slot(self):
        self.slot = self.path("memory", "slot.img")
        with open(self.slot, "wb") as f:
            f.truncate(self.slot_mib << 20)
        self.device = subprocess.run(["losetup", "--show", "-f", self.slot], check=True, capture_output=True,
                                     text=True).stdout.strip()
        self.stack.callback(subprocess.run, ["losetup", "-d", self.device])
        self.wipe_slot()

    def wipe_slot(self):
        subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "slot-b", self.device], check=True)

    def save_slot(self, name):
        subprocess.run(["cp", "--sparse=always", self.slot, self.path("memory", name)], check=True)

    def restore_slot(self, name):
        # Written through the device, so that nothing of its cache survives; where the copy has holes, so has the slot.
        subprocess.run(["blkdiscard", "-f", self.device], check=True, capture_output=True)
        subprocess.run(["dd", f"if={self.path('memory', name)}", f"of={self.device}", "bs=64k", "status=none",
                        "conv=fsync,sparse"], check=True)

    @contextlib.contextmanager
    def mounted(self, writable=False):
        point = self.path("mnt")
        os.makedirs(point, exist_ok=True)
        subprocess.run(["mount", "-o", "rw" if writable else "ro", self.device, point], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)

    # ---- images

    def build(self, name, make, *options, persistents=()):
        """Make the tree with make(root) and the image of it with metadata_gen."""
        tree = self.path("tree-" + name)
        os.makedirs(tree)
        make(tree)
        return self.build_image(name, tree, *options, persistents=persistents)

    def build_image(self, name, tree, *options, persistents=(), listed=True):
        """@listed: check() will be asked for it."""
        with open(self.path("persistents"), "w") as f:
            f.write("".join("'" + p.replace("'", "'\\''") + "'\n" for p in persistents))
        subprocess.run([os.environ["METADATA_GEN"], "build", "--rootfs", tree, "--output", self.path("images", name),
                        "--sign-key", self.path("certs", "sign.key"), "--cert", self.path("certs", "sign.pem"),
                        "--persistents", self.path("persistents"), *options], check=True, capture_output=True)
        self.trees[name] = tree
        if listed:
            self.wanted[name] = list_tree(tree)
        return self.path("images", name)

    # ---- updates

    def driver(self, name, *options, url=None, certs=None, env=None):
        p = subprocess.run(
            [os.environ["UPDATE_DRIVER"], "--url", url or f"{self.url}/{name}", "--certs", certs or self.path("certs"),
             "--device", self.device, "--active", self.active, "--work", self.path("run"), *self.patience, *options],
            # a daemon's umask must not show in the result
            capture_output=True, text=True, timeout=300, umask=0o077, env={**os.environ, **(env or {})})
        assert "Sanitizer" not in p.stderr and "runtime error:" not in p.stderr, p.stderr
        return p

    def update(self, name, *options, **more):
        p = self.driver(name, "--stats", *options, **more)
        if p.returncode != 0:
            raise Failed(p.stderr)
        self.log = p.stderr
        self.commit()
        return json.loads(p.stdout.splitlines()[0])

    def commit(self):
        """What the daemon of the new system does when it is found healthy, as far as the slot is concerned."""
        subprocess.run(["debugfs", "-w", "-R", "rm /.ota-meta/on-trial", self.device], check=True, capture_output=True)

    def put_on_trial(self):
        """As if the system on the slot had never been found healthy: what it notes is not believed."""
        subprocess.run(["debugfs", "-w", "-R", "write /dev/null /.ota-meta/on-trial", self.device], check=True, capture_output=True)

    def fail(self, name, *options, **more):
        """The update must fail; returns the Failed."""
        try:
            self.update(name, *options, **more)
        except Failed as e:
            return e
        raise AssertionError("the update succeeded although it must not")

    def status(self, slot, name="status"):
        try:
            with open(self.path("run", "status-" + slot, name)) as f:
                return f.read()
        except FileNotFoundError:
            return None

    def check(self, name, ignore_mtime_of=()):
        """The law: the slot equals the tree that the image was made from, and its file system is clean."""
        with self.mounted() as point:
            diff = differences(self.wanted[name], list_tree(point), ignore_mtime_of)
            assert not os.path.exists(os.path.join(point, ".ota-resources")), "the store was left behind"
        assert not diff, f"{len(diff)} differences:\n" + "\n".join(diff[:20])
        p = subprocess.run(["e2fsck", "-fn", self.device], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout


def run(tests):
    """Run functions named like sentences; the last lines count them, as Python's unittest does."""
    ran = failed = 0
    only = sys.argv[1:]
    start = time.monotonic()
    for test in tests:
        if only and test.__name__ not in only:
            continue
        ran += 1
        began = time.monotonic()
        try:
            test()
            print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as e:  # a test says why it failed in its exception
            failed += 1
            print(f"FAILED {test.__name__}: {type(e).__name__}: {e}", flush=True)
    print(f"Ran {ran} tests in {time.monotonic() - start:.1f}s\n" + (f"FAILED (failures={failed})" if failed else "OK"))
    sys.exit(1 if failed or not ran else 0)
