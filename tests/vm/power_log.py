"""
power_log: every write and every flush that a machine's disk was given, and the disks that a power cut could have left.

QEMU's filter blklogwrites writes the log, in the format of Linux's dm-log-writes: one sector that describes it, then for
each entry one sector with its head, and the sectors of its data.
"""

import struct
from typing import NamedTuple

from ecu_lab import Failed, run

SECTOR = 512
MAGIC = 0x6A736677736872
SUPER = struct.Struct("<QQQI")  # magic, version, entries, size of a sector
HEAD = struct.Struct("<QQQQ")   # sector, sectors, flags, bytes of data
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

# What a boot loader reads before Linux is there: its environment, and its configuration.
LOADERS_OWN = (b"# GRUB Environment Block", b"# OTAClient managed configuration file")


class Entry(NamedTuple):
    offset: int  # on the disk
    size: int
    flags: int
    at: int  # its data, in the log


class Cut(NamedTuple):
    """All entries before @end, but for the last one only the bytes of @torn of its data."""
    name: str
    end: int
    torn: tuple = None


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
    def __init__(self, base, log):
        """@base: the disk before the first entry."""
        self.base, self.log = base, log
        self.entries = entries(log)

    def flushes(self):
        """A cut behind each barrier that came after a write."""
        cuts, dirty = [], False
        for i, e in enumerate(self.entries):
            dirty = dirty or e.size > 0
            if e.flags & (FLUSH | FUA) and dirty:
                cuts.append(Cut(f"flush {len(cuts) + 1}, entry {i}", i + 1))
                dirty = False
        return cuts

    def torn(self):
        """A write of what a boot loader reads, of which only one sector came through, or all but that."""
        cuts = []
        with open(self.log, "rb") as f:
            for i, e in enumerate(self.entries):
                if e.flags & DISCARD or e.size < 2 * SECTOR:
                    continue
                f.seek(e.at)
                data = f.read(min(e.size, 1 << 20))
                for place in {data.find(words) // SECTOR for words in LOADERS_OWN if words in data}:
                    middle = (place + 1) * SECTOR
                    if middle < e.size:
                        cuts.append(Cut(f"entry {i} up to its byte {middle}", i + 1, (0, middle)))
                        cuts.append(Cut(f"entry {i} from its byte {middle}", i + 1, (middle, e.size)))
        return cuts

    def make(self, cut, path):
        """The disk that this cut leaves."""
        run("cp", "--sparse=always", self.base, path)
        with open(self.log, "rb") as log, open(path, "r+b") as disk:
            for i, e in enumerate(self.entries[: cut.end]):
                if e.flags & DISCARD or e.size == 0:
                    continue  # what is discarded may keep its bytes
                first, last = cut.torn if cut.torn and i == cut.end - 1 else (0, e.size)
                log.seek(e.at + first)
                disk.seek(e.offset + first)
                disk.write(log.read(last - first))


def share(cuts, n):
    """@n of them, spread over all, with the first and the last."""
    if len(cuts) <= n:
        return cuts
    return [cuts[i * (len(cuts) - 1) // (n - 1)] for i in range(n)]
