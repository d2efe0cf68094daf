"""
power_log: every write and every flush that a machine's disk was given, and the disks that a power cut could have left.

QEMU's filter blklogwrites writes the log, in the format of Linux's dm-log-writes: one sector that describes it, then for
each entry one sector with its head, and the sectors of its data.
"""

import os
import struct
from typing import NamedTuple

from ecu_lab import Failed

SECTOR = 512
MAGIC = 0x6A736677736872
SUPER = struct.Struct("<QQQI")  # magic, version, entries, size of a sector
HEAD = struct.Struct("<QQQQ")   # sector, sectors, flags, bytes of data
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

# How that begins which GRUB reads before it has a kernel: its environment, its configuration, an entry.
LOADERS_OWN = (b"# GRUB Environment Block", b"# OTAClient managed configuration file", b"menuentry '")


class Entry(NamedTuple):
    offset: int  # on the disk
    size: int
    flags: int
    at: int  # its data, in the log


class Cut(NamedTuple):
    """All entries before @whole, and of that one, if it is @torn, these bytes of its data."""
    part: str
    name: str
    whole: int
    torn: tuple = None


class PowerCuts(NamedTuple):
    """What is tried of a part of a recording, and which verdicts are true there."""
    name: str
    part: str
    verdicts: dict  # slot: [(status, version), ...]
    ci: tuple       # how many flushes, and how many torn writes, with --ci
    some: tuple     # the same without


def entries(path):
    found = []
    with open(path, "rb") as f:
        magic, version, n, sector = SUPER.unpack(f.read(SUPER.size))
        if (magic, version) != (MAGIC, 1):
            raise Failed(["blklogwrites"], 1, f"{path} is not the log of a disk")
        at = sector
        for _ in range(n):
            f.seek(at)
            where, count, flags, size = HEAD.unpack(f.read(HEAD.size))
            at += sector
            if flags & MARK:
                at += size
                continue
            found.append(Entry(where * SECTOR, count * SECTOR, flags, at))
            at += 0 if flags & DISCARD else count * SECTOR
    return found


class PowerLog:
    def __init__(self, path, parts, boot):
        """@parts: (name, bytes of the log before it), in their order. @boot: where on the disk GRUB's files are, from, to."""
        self.path = path
        self.entries = entries(path)
        self.boot = boot
        begins = [sum(e.at <= size for e in self.entries) for _, size in parts] + [len(self.entries)]
        self.parts = {name: range(begins[i], begins[i + 1]) for i, (name, _) in enumerate(parts)}

    def flushes(self, part):
        """Before all of this part, and a cut behind each barrier that came after a write."""
        cuts, dirty = [Cut(part, "before its first write", self.parts[part].start)], False
        for i in self.parts[part]:
            e = self.entries[i]
            dirty = dirty or e.size > 0
            if e.flags & (FLUSH | FUA) and dirty:
                cuts.append(Cut(part, f"flush {len(cuts)}, entry {i}", i + 1))
                dirty = False
        return cuts

    def torn(self, part):
        """A write of what GRUB reads, of which only the first sector came through, or all but that."""
        cuts = []
        with open(self.path, "rb") as f:
            for i in self.parts[part]:
                e = self.entries[i]
                if e.flags & DISCARD or not self.boot[0] <= e.offset < self.boot[1]:
                    continue
                f.seek(e.at)
                data = f.read(e.size)
                for place in range(0, e.size, SECTOR):
                    middle = place + SECTOR
                    if data.startswith(LOADERS_OWN, place) and middle < e.size:
                        what = data[place:place + 24].split(b"\n")[0].decode()
                        cuts.append(Cut(part, f"entry {i} up to its byte {middle}, {what}", i, (0, middle)))
                        cuts.append(Cut(part, f"entry {i} from its byte {middle}, {what}", i, (middle, e.size)))
        return cuts


class Replay:
    """A disk that is taken from one cut to the next one, forwards."""

    def __init__(self, log, disk):
        """@disk: as it was before the first entry."""
        self.log, self.disk = log, disk
        self.done = 0
        self.under_torn = None  # offset and bytes, of what a torn write has gone over
        self.changed = bytearray(os.path.getsize(disk) // SECTOR)  # 1 for a sector that is not as at forget_changes()

    def forget_changes(self):
        self.changed = bytearray(len(self.changed))

    def has_changed(self, ranges):
        """Is anything in one of these, (from, to) in bytes, not as it was?"""
        return any(1 in memoryview(self.changed)[first // SECTOR : -(-last // SECTOR)] for first, last in ranges)

    def to(self, cut):
        if cut.whole < self.done:
            raise Failed(["replay"], 1, f"entry {cut.whole} comes before {self.done}")
        with open(self.log.path, "rb") as log, open(self.disk, "r+b") as disk:
            if self.under_torn:
                self._put(disk, *self.under_torn)
                self.under_torn = None
            for e in self.log.entries[self.done : cut.whole]:
                if not e.flags & DISCARD:  # what is discarded may keep its bytes
                    self._write(log, disk, e, 0, e.size)
            self.done = cut.whole
            if cut.torn:
                e = self.log.entries[cut.whole]
                first, last = cut.torn
                disk.seek(e.offset + first)
                self.under_torn = e.offset + first, disk.read(last - first)
                self._write(log, disk, e, first, last)

    def _write(self, log, disk, e, first, last):
        log.seek(e.at + first)
        self._put(disk, e.offset + first, log.read(last - first))

    def _put(self, disk, offset, data):
        disk.seek(offset)
        disk.write(data)
        sectors = len(data) // SECTOR
        self.changed[offset // SECTOR : offset // SECTOR + sectors] = b"\1" * sectors


def part_of(cuts, k, n):
    """The @k-th of @n parts, without a gap."""
    return cuts[len(cuts) * (k - 1) // n : len(cuts) * k // n]


def share(cuts, n):
    """@n of them, spread over all, with the first and the last."""
    if n is None or len(cuts) <= n:
        return cuts
    if n < 2:
        return cuts[-1:] * n
    return [cuts[i * (len(cuts) - 1) // (n - 1)] for i in range(n)]
