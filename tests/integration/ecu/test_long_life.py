#!/usr/bin/python3
"""
One machine that is updated again and again, there and back between two images, and aborted again and again: neither its
daemon nor its disk grows. What is compared is one of the first updates with the last one to the same image.

    test_long_life.py BUILD_DIR [UPDATES [ABORTS [TEST…]]]     6 and 12 if not given; 200 and 200 in suite "long"

Needs what test_ecu.py needs.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from typing import NamedTuple

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from ecu_lab import SOURCE_ROOT, Lab, Programs, enter_private, wait_for  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")
UPDATES = int(sys.argv[2]) if len(sys.argv) > 2 else 6
ABORTS = int(sys.argv[3]) if len(sys.argv) > 3 else 12
# Of 200 the tenth; by then everything has been there that there is. Both are updates to the same image.
FIRST = min(10, UPDATES - 2)
assert UPDATES % 2 == FIRST % 2 == 0 < FIRST < UPDATES

MEASURE = """
p=$(cat /run/otaclient.pid)
grep -E "^(RssAnon|RssShmem|Threads):" /proc/$p/status
for fd in /proc/$p/fd/*; do echo "fd $(readlink $fd)"; done
df -k --output=used,iused /boot | tail -n 1 | sed "s/^/boot /"
find /boot -printf "file %p %s\\n"
find / /run /tmp -xdev -printf "name %p\\n"
"""
# Of the kernel's own numbers in a link to a socket or pipe only the kind.
NUMBER = re.compile(r"\[\d+\]|0x[0-9a-f]+")
# What a machine that runs writes of itself.
MOVING = re.compile(r"^/(run/otaclient\.pid|var/(log|tmp|cache)/.*|tmp/.*)$")


class Figures(NamedTuple):
    memory_kib: int
    threads: int
    fds: tuple        # kinds, sorted
    boot_kib: int
    boot_inodes: int
    boot_files: tuple  # path and size
    names: frozenset  # of the running slot, /run and /tmp


def measure(ecu):
    said = ecu.execute("/bin/sh", "-c", MEASURE).splitlines()
    number = {k: int(v) for k, v in (re.match(r"(\w+):\s+(\d+)", line).groups() for line in said if re.match(r"\w+:\s+\d", line))}
    boot = next(line.split() for line in said if line.startswith("boot "))
    return Figures(
        number["RssAnon"] + number["RssShmem"], number["Threads"], tuple(sorted(NUMBER.sub("", line) for line in said if line.startswith("fd "))),
        int(boot[1]), int(boot[2]), tuple(sorted(line for line in said if line.startswith("file "))),
        frozenset(name for name in (line[5:] for line in said if line.startswith("name ")) if not MOVING.match(name)),
    )


class LongLife(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-long-life.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.trees = [cls.lab.install(f"{ROOTFS}/old"), cls.lab.install(f"{ROOTFS}/new")]
        for n, tree in enumerate(cls.trees):
            cls.lab.build_image(f"v{n}", tree, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    def fresh(self, name):
        ecu = self.lab.make_ecu(name, self.trees[0])
        self.addCleanup(ecu.remove)
        return ecu

    def assert_same(self, first, last, allowance_kib):
        self.assertEqual(first.fds, last.fds)
        self.assertLessEqual(last.threads, first.threads + 1, "of gRPC's own now one more, now one less is there")
        self.assertEqual(first.names, last.names)
        self.assertEqual([line.split()[1] for line in first.boot_files], [line.split()[1] for line in last.boot_files])
        self.assertEqual(first.boot_inodes, last.boot_inodes)
        self.assertLessEqual(last.boot_kib, first.boot_kib)
        self.assertLessEqual(last.memory_kib, first.memory_kib + allowance_kib)

    def test_update_after_update_leaves_nothing_behind(self):
        ecu, first, began = self.fresh("ever"), None, time.monotonic()
        with ecu.on():
            for n in range(1, UPDATES + 1):
                version = f"{n} v{n % 2}"
                ecu.update(version, self.origin.url(f"v{n % 2}"))
                status = ecu.status()
                self.assertEqual(("SUCCESS", version), (status["ota_status"], status["firmware_version"]), ecu.tail())
                if n == FIRST:
                    first = measure(ecu)
            last = measure(ecu)
        print(f"  {UPDATES} updates in {time.monotonic() - began:.0f} s: {first.memory_kib} → {last.memory_kib} KiB, {first.threads} → {last.threads} threads, "
              f"{len(first.fds)} → {len(last.fds)} descriptors, /boot {first.boot_kib} → {last.boot_kib} KiB, {len(first.boot_files)} → {len(last.boot_files)} "
              f"files, the slot {len(first.names)} → {len(last.names)} names", file=sys.stderr)
        # a process of its own each time, and so what differs is by chance
        self.assert_same(first, last, 512)
        self.assertEqual(["slot_a"] + ["slot_b", "slot_a"] * (UPDATES // 2), ecu.boots())
        ecu.check_disk()
        for role, tree in (("slot_a", self.trees[0]), ("slot_b", self.trees[1])):
            self.assertEqual([], ecu.differences(tree, role)[:20])

    def test_abort_after_abort_leaves_nothing_in_the_daemon(self):
        ecu, course = self.fresh("aborted"), []
        with ecu.on():
            for n in range(1, ABORTS + 1):
                ecu.update("v1", self.origin.slow_url("v1"), wait=False)
                wait_for("contents are fetched", lambda: (ecu.status()["update_status"] or {}).get("phase") == "DOWNLOADING_OTA_FILES", 120)
                ecu.otactl("abort")
                wait_for("the update is aborted", lambda: ecu.status()["ota_status"] == "ABORTED", 30)
                course.append(measure(ecu))
            self.assertEqual(["slot_a"], ecu.boots())
        # One process: what it keeps of each would add up, and what malloc() keeps goes up and down for a while.
        k = 10 if ABORTS >= 40 else ABORTS // 3
        first, last = (sorted(part, key=lambda f: f.memory_kib)[k // 2] for part in (course[k : 2 * k], course[-k:]))
        print("  KiB on the way: " + " ".join(str(f.memory_kib) for f in course[:: max(1, ABORTS // 20)]), file=sys.stderr)
        print(f"  {ABORTS} aborts: {first.memory_kib} → {last.memory_kib} KiB, {first.threads} → {last.threads} threads, "
              f"{len(first.fds)} → {len(last.fds)} descriptors", file=sys.stderr)
        self.assert_same(first, last, 1024 if ABORTS >= 40 else 4096)


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[4:]])
