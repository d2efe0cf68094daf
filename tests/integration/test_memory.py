#!/usr/bin/env python3
"""Memory of an update: its highest anonymous and shared memory stays under 64 MiB with 100 000 files, and grows by less than 200 bytes a file.

The daemon's own measure (RssAnon + RssShmem of /proc/PID/status) is sampled while the updater runs: a first update that copies all
from the active slot, and one in place that keeps most, moves, copies and fetches some.
"""

import os
import random
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from trees import Tree  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

FEW, MANY = 20_000, 100_000
LIMIT_BYTES = 64 << 20
LIMIT_PER_FILE_BYTES = 200
PER_FOLDER = 100
FETCHED = 300  # contents that only the server has


class Peak(threading.Thread):
    """Samples a process until it ends."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path, self.bytes, self.samples = f"/proc/{pid}/status", 0, 0
        self.start()

    def run(self):
        try:
            while True:
                with open(self.path, encoding="ascii") as f:
                    kib = sum(map(int, re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", f.read(), re.M)))
                self.bytes, self.samples = max(self.bytes, kib << 10), self.samples + 1
                time.sleep(0.003)
        except (FileNotFoundError, ProcessLookupError):
            pass


def make(n, version):
    """@n files with contents of their own; of the second version a few are new, a few have moved."""
    def build(root):
        t = Tree(root)
        t.system()
        for i in range(n):
            folder = f"{root}/usr/share/package-{i // PER_FOLDER:04}"
            if i % PER_FOLDER == 0:
                os.makedirs(folder)
            new = version == 2 and i < FETCHED
            moved = version == 2 and FETCHED <= i < 2 * FETCHED
            with open(f"{folder}/{'moved' if moved else 'file'}-number-{i:06}.txt", "w") as f:
                f.write(f"the {'new' if new else 'only'} content of file number {i:06}\n")
        t.done()
    return build


def measured_update(lab, name):
    p = subprocess.Popen(
        [os.environ["UPDATE_DRIVER"], "--url", f"{lab.url}/{name}", "--certs", lab.path("certs"), "--device", lab.device, "--active",
         lab.active, "--work", lab.path("run")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # meson's tests have every allocation filled, also what is never used
        env={k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"})
    peak = Peak(p.pid)
    _, stderr = p.communicate(timeout=300)
    peak.join()
    assert p.returncode == 0, stderr[-1000:]
    assert peak.samples > 20, f"only {peak.samples} looks at the process"
    return peak.bytes


def peaks(n):
    """Of a first update and of one in place."""
    with UpdateLab(slot_mib=600) as lab:
        os.rmdir(lab.path("images"))
        os.makedirs(lab.path("memory", "images"))
        os.symlink("memory/images", lab.path("images"))
        for version in (1, 2):
            tree = lab.path("memory", f"tree-v{version}")
            os.makedirs(tree)
            make(n, version)(tree)
            lab.build_image(f"v{version}", tree, listed=False)
        lab.active = lab.trees["v1"]
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(n + 20_000), lab.device], check=True)
        first = measured_update(lab, "v1")
        lab.active = lab.path("active")  # nothing there: what is not on the slot comes from the server
        return first, measured_update(lab, "v2")


def make_large(root):
    """Contents with large windows: text that compresses, of 10 MiB each."""
    t = Tree(root)
    t.system()
    r = random.Random(1)
    words = [b"%x" % r.getrandbits(40) for _ in range(3000)]
    for i in range(32):
        with open(f"{root}/large-{i}", "wb") as f:
            f.write(b" ".join(r.choices(words, k=900_000))[:10 << 20])
    t.done()


def many_large_windows_fit():
    with UpdateLab(slot_mib=600) as lab:
        lab.build("large", make_large, "--compress-level", "10")
        peak = measured_update(lab, "large")
        print(f"  {peak / 2**20:.1f} MiB")
        assert peak < LIMIT_BYTES * 2 // 3, peak  # with 100 000 files it is a third more


def memory_stays_small_and_grows_little():
    few, many = peaks(FEW), peaks(MANY)
    for kind, low, high in zip(("first update", "in place"), few, many):
        growth = (high - low) / (MANY - FEW)
        print(f"  {kind}: {low / 2**20:.1f} MiB with {FEW} files, {high / 2**20:.1f} MiB with {MANY}; {growth:.0f} bytes a file")
        assert high < LIMIT_BYTES, f"{kind}: {high} bytes"
        assert growth < LIMIT_PER_FILE_BYTES, f"{kind}: {growth:.0f} bytes a file"


if __name__ == "__main__":
    enter_private_mounts()
    run([
        many_large_windows_fit,
        memory_stays_small_and_grows_little,
    ])
