"""
cut_disks: all disks that a power cut could leave, from a disk as it was and the log of what was written to it.

    disk = CutDisk(base, file, parts)
    for cut in disk.cuts(read(log), seed):
        …                                   # the file has the bytes; disk.state(role) tells whether they are new ones

Between two barriers nothing holds the writes in order, and any of them may be lost. For each such interval: nothing of
it; the first so many writes, up to all; each single write left out; seeded subsets (all, where there are few). A write to
GRUB's environment block may also be torn: each 512-byte sector of it, and each one left out, after nothing and after all
that came before in the interval. The cut at a barrier is the same disk as "all" before it and "nothing" behind it.
"""

import hashlib
import mmap
import random
import shutil
from typing import NamedTuple

SECTOR = 512
BLOCK = 1024  # of the digests that a state is told by
SUBSETS = 64
ENV_SIGN = b"# GRUB Environment Block\n"
ENV_BYTES = 1024


class Piece(NamedTuple):
    """Bytes that reached the disk."""

    offset: int
    data: bytes


class Interval(NamedTuple):
    """What came between two barriers."""

    number: int  # of the barrier before it
    writes: list  # of Piece
    first: int  # number in the log of the first record
    earlier: int  # so many marks came before it, the last of which may not be done
    before: str  # that one
    marks: tuple  # texts


def intervals(records):
    """The log, cut at its barriers. Each has the marks that came in it."""
    found, writes, marks, said, first = [], [], [], ["the start"], 0

    def end():
        found.append(Interval(len(found), writes, first, len(said) - 1, said[-1], tuple(marks)))

    for number, record in enumerate(records):
        if record.kind == "mark":
            marks.append(record.data.decode("utf-8", "replace").strip())
        elif record.kind == "flush":
            end()
            said += marks
            writes, marks, first = [], [], number + 1
        else:
            writes.append(Piece(record.offset, record.content()))
    end()
    return found


class Cut(NamedTuple):
    """One way in which the power may fail."""

    name: str  # as --cut takes it: interval, kind, number
    interval: Interval

    def where(self):
        i = self.interval
        return f'cut {self.name} ({len(i.writes)} writes from record {i.first} on, after "{i.before}", with {list(i.marks)})'


def _ways(interval, seed):
    """(kind and number, indices of the writes that are there) for each way to lose some of them."""
    n = len(interval.writes)
    everything = range(n)
    for kept in range(n + 1):
        yield f"first-{kept}", tuple(everything[:kept])
    for lost in range(n - 1):  # without the last one is the first n - 1
        yield f"without-{lost}", tuple(i for i in everything if i != lost)
    if n < 3:
        return
    dice = random.Random(f"{seed} {interval.number}")
    for k in range(min(SUBSETS, 1 << n)):
        bits = k if 1 << n <= SUBSETS else dice.getrandbits(n)
        yield f"some-{k}", tuple(i for i in everything if bits >> i & 1)


class CutDisk:
    """A file that becomes one disk after the other."""

    def __init__(self, base, path, parts):
        """@parts: objects with role, start, size (pseudo_ecu.disk.partitions_of)."""
        shutil.copyfile(base, path)
        self.path = path
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 0)
        self.parts = {part.role: part for part in parts}
        self.sums = {role: 0 for role in self.parts}
        self.sums[None] = 0  # between the partitions

    def close(self):
        self.map.close()
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- bytes

    def role_at(self, offset):
        return next((r for r, p in self.parts.items() if p.start <= offset < p.start + p.size), None)

    def part_bytes(self, role):
        part = self.parts[role]
        return self.map[part.start : part.start + part.size]

    def set_part_bytes(self, role, data):
        """Undo what a program did to the file beside us."""
        part = self.parts[role]
        self.map[part.start : part.start + part.size] = data

    def state(self, role):
        """The same number for the same bytes of a partition."""
        return self.sums[role]

    def states(self):
        """Of the whole disk."""
        return tuple(self.sums.values())

    def _digest(self, offset):
        block = self.map[offset : offset + BLOCK]
        return int.from_bytes(hashlib.blake2b(block, digest_size=12, salt=offset.to_bytes(8, "big")).digest(), "big")

    def _put(self, piece):
        """Returns what was there."""
        end = piece.offset + len(piece.data)
        old = Piece(piece.offset, self.map[piece.offset : end])
        if old.data == piece.data:
            return old
        blocks = range(piece.offset // BLOCK * BLOCK, end, BLOCK)
        for block in blocks:
            self.sums[self.role_at(block)] -= self._digest(block)
        self.map[piece.offset : end] = piece.data
        for block in blocks:
            self.sums[self.role_at(block)] += self._digest(block)
        return old

    def _put_all(self, pieces):
        """Returns what takes it back."""
        return [self._put(piece) for piece in pieces][::-1]

    # ---- cuts

    def cuts(self, records, seed, only=None):
        """Each cut, with the disk in that state meanwhile. @only: the name of one."""
        for interval in intervals(records):
            for name, pieces in self._variants(interval, seed):
                if only and name != only:
                    continue
                undo = self._put_all(pieces)
                yield Cut(name, interval)
                self._put_all(undo)
            self._put_all(interval.writes)

    def _variants(self, interval, seed):
        for way, kept in _ways(interval, seed):
            yield f"{interval.number}.{way}", [interval.writes[i] for i in kept]
        for i, piece in enumerate(interval.writes):
            earlier = interval.writes[:i]
            for k, sectors in enumerate(self._torn(piece, earlier)):
                yield f"{interval.number}.torn-{i}-{2 * k}", sectors
                yield f"{interval.number}.torn-{i}-{2 * k + 1}", earlier + sectors

    def _torn(self, piece, earlier):
        """The ways in which a write to an environment block is torn, as lists of pieces."""
        undo = self._put_all(earlier)
        there = self.map[piece.offset : piece.offset + len(piece.data)]
        self._put_all(undo)
        ways = []
        for content in (there, piece.data):
            at = 0
            while (at := content.find(ENV_SIGN, at)) >= 0:
                if (piece.offset + at) % SECTOR == 0:
                    ways += self._tear(piece, at)
                at += 1
        # A piece that begins within a block does not have its sign.
        if piece.offset >= SECTOR and self.map[piece.offset - SECTOR : piece.offset].startswith(ENV_SIGN):
            ways += self._tear(piece, -SECTOR)
        return [list(way) for way in dict.fromkeys(tuple(way) for way in ways)]

    @staticmethod
    def _tear(piece, at):
        """@at: where the environment block begins in the piece."""
        for begin in (at, at + SECTOR):
            if begin < 0 or begin + SECTOR > len(piece.data):
                continue
            sector = Piece(piece.offset + begin, piece.data[begin : begin + SECTOR])
            head = Piece(piece.offset, piece.data[:begin])
            tail = Piece(piece.offset + begin + SECTOR, piece.data[begin + SECTOR :])
            yield (sector,)
            yield tuple(p for p in (head, tail) if p.data)
