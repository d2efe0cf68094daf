#!/usr/bin/python3
"""
The caching proxy after a power cut: its cache on every kind of disk that a cut could leave (tests/support/cut_disks.py).

    private-mounts test_proxy_cuts.py WRITE_LOG [SHARE]

A proxy fills its cache on an ext4 that logs its writes, is killed in between, started again, and goes on. Of the disks that
a cut could leave, a seeded share (in percent) is mounted with another proxy on it: whatever it finds, it serves right
bytes only. That the machine has started anew is simulated by another boot id. OTAPROXY and HTTP_ORIGIN are as for tests/support/proxy_lab.py. Needs root, loop devices and /dev/fuse.
"""

import os
import random
import signal
import subprocess
import sys
import types
import unittest
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from cut_disks import CutDisk  # noqa: E402
from proxy_lab import MIB, Proxy, ProxyLab  # noqa: E402
from pseudo_ecu import syscalls  # noqa: E402
from trees import noise, text  # noqa: E402
from write_log import LoggedDisk, read  # noqa: E402

WRITE_LOG = os.path.abspath(sys.argv[1])
SHARE = float(sys.argv[2]) if len(sys.argv) > 2 else 100.0
BOOT_ID = "/proc/sys/kernel/random/boot_id"
DISK_BYTES = 16 * MIB
DISKS_MIN = 300  # different ones; may only grow


def run(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


class PowerCuts(ProxyLab):
    def setUp(self):
        super().setUp()
        self.files = {}  # path -> (content, digest)
        for i in range(16):
            content = noise(900 + 2100 * i, f"noise {i}") if i % 2 else text(700 + 1900 * i, f"text {i}")
            self.files[f"/d/f{i}"] = (content, self.file(f"d/f{i}", content))
        self.upstream = self.origin()
        self.boot_id = os.path.join(self.work, "boot_id")
        self.start_machine()
        syscalls.mount(self.boot_id, BOOT_ID, None, syscalls.MS_BIND)
        self.addCleanup(syscalls.umount, BOOT_ID)

    def start_machine(self):
        """For those who ask the kernel."""
        with open(self.boot_id, "w", encoding="ascii") as f:
            f.write(f"{uuid.uuid4()}\n")

    def fill(self):
        """Everything once; returns base image and log."""
        image, base, log = (os.path.join(self.work, name) for name in ("disk", "base", "log"))
        run("truncate", "-s", str(DISK_BYTES), image)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        run("cp", "--sparse=always", image, base)
        os.mkdir(self.cache)
        with LoggedDisk(WRITE_LOG, image, log, os.path.join(self.work, "logged")) as disk:
            run("mount", "-o", "loop", disk.path, self.cache)
            try:
                proxy = Proxy(self.cache)
                for n, (path, (content, digest)) in enumerate(self.files.items()):
                    disk.say(path)
                    self.assertEqual(content, proxy.ask(self.upstream.host, path, digest)[2])
                    if n % 3 == 2:
                        run("sync", "-f", self.cache)
                    if n == 9:
                        proxy.end(signal.SIGKILL)
                        proxy.start()
                proxy.end()
            finally:
                run("umount", self.cache)
        return base, log

    def serve_from(self, disk, cut):
        """A proxy on this disk. Returns how many files it had not to ask for."""
        image = os.path.join(self.work, "cut-copy")
        with open(image, "wb") as f:
            f.write(disk.part_bytes("cache"))
        before = len(self.upstream.requests())
        run("mount", "-o", "loop", image, self.cache)
        self.start_machine()
        proxy = None
        try:
            proxy = Proxy(self.cache)
            for path, (content, digest) in self.files.items():
                status, _, body = proxy.ask(self.upstream.host, path, digest)
                self.assertTrue((status, body) == (200, content), f"{path} is served wrongly after {cut.where()}")
            self.assertEqual(0, proxy.end(), cut.where())
        finally:
            if proxy and proxy.process.poll() is None:
                proxy.end(signal.SIGKILL)
            run("umount", self.cache)
        done = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, f"{done.stdout} after {cut.where()}")
        return len(self.files) - (len(self.upstream.requests()) - before)

    def test_whatever_a_cut_leaves_only_right_bytes_are_served(self):
        base, log = self.fill()
        part = types.SimpleNamespace(role="cache", start=0, size=DISK_BYTES, number=1)
        dice, seen, kept = random.Random(1), set(), []
        with CutDisk(base, os.path.join(self.work, "cut"), [part]) as disk:
            for cut in disk.cuts(read(log), 1):
                if disk.states() not in seen:
                    seen.add(disk.states())
                    if dice.random() * 100 < SHARE:
                        kept.append(self.serve_from(disk, cut))
        print(f"\npower cuts of the cache: {len(seen)} different disks, {len(kept)} served from")
        self.assertGreaterEqual(len(seen), DISKS_MIN)
        # Some had everything; a cache that is always empty would pass what is above.
        self.assertGreater(max(kept), len(self.files) // 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + ["-v"])
