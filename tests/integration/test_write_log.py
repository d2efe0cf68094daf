#!/usr/bin/python3
"""
The disk that logs what is written to it, and the disks that a power cut could leave: tests/support/write_log.c, write_log.py
and cut_disks.py.

    test_write_log.py WRITE_LOG

Needs root and /dev/fuse.
"""

import os
import sys
import tempfile
import types
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from cut_disks import ENV_SIGN, CutDisk, intervals  # noqa: E402
from pseudo_ecu import syscalls  # noqa: E402
from write_log import HEADER, LoggedDisk, Record, read  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
SIZE = 64 << 10


def write(offset, data):
    return Record("write", offset, len(data), data)


def mark(text):
    return Record("mark", 0, len(text), text.encode())


FLUSH = Record("flush", 0, 0, b"")


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="write-log."))
        self.image, self.log = f"{self.folder}/image", f"{self.folder}/log"
        with open(self.image, "wb") as f:
            f.write(bytes(SIZE))

    def contents(self):
        with open(self.image, "rb") as f:
            return f.read()


class TheLog(Bench):
    def test_it_has_writes_barriers_and_marks_in_their_order(self):
        with LoggedDisk(PROGRAM, self.image, self.log, f"{self.folder}/logged") as disk:
            fd = os.open(disk.path, os.O_RDWR)
            os.pwrite(fd, b"a" * 4096, 8192)
            disk.say("one")
            os.fdatasync(fd)
            os.pwrite(fd, b"b" * 512, 0)
            os.fsync(fd)
            self.assertEqual(b"b" * 512, os.pread(fd, 512, 0))
            os.close(fd)
        told = [(r.kind, r.offset, r.data) for r in read(self.log)]
        want = [("write", 8192, b"a" * 4096), ("mark", 0, b"one"), ("flush", 0, b""), ("write", 0, b"b" * 512)]
        self.assertEqual(want + [("flush", 0, b"")], told)
        self.assertEqual(b"b" * 512 + bytes(7680) + b"a" * 4096 + bytes(SIZE - 12288), self.contents())

    def test_a_hole_is_a_write_of_zeroes(self):
        with open(self.image, "wb") as f:
            f.write(b"x" * SIZE)
        with LoggedDisk(PROGRAM, self.image, self.log, f"{self.folder}/logged") as disk:
            fd = os.open(disk.path, os.O_RDWR)
            syscalls.punch_hole(fd, 4096, 8192)
            os.close(fd)
        self.assertEqual([("zeroes", 4096, bytes(8192))], [(r.kind, r.offset, r.content()) for r in read(self.log)])
        self.assertEqual(b"x" * 4096 + bytes(8192) + b"x" * (SIZE - 12288), self.contents())

    def test_nothing_is_written_behind_the_end(self):
        with LoggedDisk(PROGRAM, self.image, self.log, f"{self.folder}/logged") as disk:
            fd = os.open(disk.path, os.O_RDWR)
            with self.assertRaises(OSError):
                os.pwrite(fd, b"x" * 512, SIZE)
            os.close(fd)
        self.assertEqual([], read(self.log))

    def test_what_is_no_whole_log_is_refused(self):
        for name, content in (("other", b"something else"), ("short", HEADER + b"write"), ("kind", HEADER + bytes(24)),
                              ("cut", HEADER + b"write\0\0\0" + bytes(8) + b"\4" + bytes(7) + b"abc")):  # fmt: skip
            with self.subTest(name), self.assertRaises(ValueError):
                with open(self.log, "wb") as f:
                    f.write(content)
                read(self.log)


class TheDisks(Bench):
    def disks(self, records):
        """Content of each different disk by the names of its cuts."""
        part = types.SimpleNamespace(role="boot", start=0, size=SIZE, number=1)
        found, before = {}, self.contents()
        with CutDisk(self.image, f"{self.folder}/cut", [part]) as disk:
            states = {}
            for cut in disk.cuts(records, 1):
                content = bytes(disk.map)
                self.assertEqual(content, states.setdefault(disk.states(), content), "one state, two disks")
                found.setdefault(content, []).append(cut.name)
            self.assertEqual(len(states), len(found))
            self.assertEqual(self.after(before, records), bytes(disk.map))
        return found

    @staticmethod
    def after(content, records):
        content = bytearray(content)
        for r in records:
            if r.kind == "write":
                content[r.offset : r.offset + r.size] = r.data
        return bytes(content)

    def test_between_two_barriers_each_write_may_be_lost(self):
        a, b, c = write(0, b"a" * 512), write(1024, b"b" * 512), write(0, b"c" * 512)
        found = self.disks([a, b, FLUSH, c])
        want = [[], [a], [b], [a, b], [a, b, c]]
        self.assertEqual({self.after(bytes(SIZE), kept) for kept in want}, set(found))
        self.assertEqual(["0.first-0"], found[bytes(SIZE)])
        self.assertEqual(["0.without-0"], found[self.after(bytes(SIZE), [b])])
        self.assertEqual(["0.first-2", "1.first-0"], found[self.after(bytes(SIZE), [a, b])])

    def test_of_many_writes_there_are_subsets(self):
        found = self.disks([write(512 * i, bytes([i + 1]) * 512) for i in range(12)])
        # None to all, all but one, and 64 others, of which some may be among these.
        self.assertGreater(len(found), 13 + 11 + 55)
        self.assertLessEqual(len(found), 13 + 11 + 64)

    def test_the_order_of_two_writes_to_one_place_counts(self):
        a, b = write(0, b"a" * 512), write(0, b"b" * 512)
        found = self.disks([a, b])
        self.assertEqual({self.after(bytes(SIZE), kept) for kept in ([], [a], [b])}, set(found))

    def test_an_environment_block_is_torn(self):
        old, new = ENV_SIGN.ljust(1024, b"o"), ENV_SIGN.ljust(1024, b"n")
        with open(self.image, "r+b") as f:
            f.seek(4096)
            f.write(old)
        first, env = write(0, b"x" * 512), write(4096, new + b"r" * 3072)
        found = self.disks([first, env])
        halves = [write(4096, new[:512]), write(4608, new[512:])]
        rest = write(5120, b"r" * 3072)
        kept = [[], [first], [env], [first, env]]
        for half, other in (halves, halves[::-1]):
            kept += [[half], [first, half], [other, rest], [first, other, rest]]
        with open(self.image, "rb") as f:
            base = f.read()
        self.assertEqual({self.after(base, k) for k in kept}, set(found))

    def test_a_cut_is_told_by_the_marks_around_it(self):
        first, second = intervals([mark("one"), write(0, b"a"), mark("two"), FLUSH, write(0, b"b"), mark("three")])
        self.assertEqual(("the start", ("one", "two"), 0), (first.before, first.marks, first.earlier))
        self.assertEqual(("two", ("three",), 2), (second.before, second.marks, second.earlier))


if __name__ == "__main__":
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.make_mounts_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
