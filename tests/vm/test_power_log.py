#!/usr/bin/python3
"""What is made of a log of writes: which cuts there are in it, and the disks that they leave. With a log made here."""

import os
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../support")]

import power_log  # noqa: E402
from ecu_lab import Failed  # noqa: E402
from power_log import DISCARD, FLUSH, SECTOR, Cut, PowerLog, Replay  # noqa: E402

ENV = b"# GRUB Environment Block\nn=%d\n"
BOOT = (8 * SECTOR, 16 * SECTOR)


def env(n):
    return (ENV % n).ljust(2 * SECTOR, b"#")


class Log(unittest.TestCase):
    # (sector, data or None, flags); the second part begins with the discard.
    WRITES = [
        (8, env(1), 0), (0, None, FLUSH), (20, env(2), 0), (0, None, FLUSH), (0, None, FLUSH),
        (8, b"x" * 4 * SECTOR, DISCARD), (8, env(3), 0), (9, b"y" * SECTOR, 0), (0, None, FLUSH), (12, b"z" * SECTOR, 0),
    ]  # fmt: skip

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.disk = f"{folder.name}/disk"
        self.log = f"{folder.name}/log"
        with open(self.disk, "wb") as f:
            f.truncate(32 * SECTOR)
        sizes = []
        with open(self.log, "wb") as f:
            f.write(struct.pack("<QQQI", power_log.MAGIC, 1, len(self.WRITES), SECTOR).ljust(SECTOR, b"\0"))
            for sector, data, flags in self.WRITES:
                sizes.append(f.tell())
                n = len(data or b"")
                f.write(struct.pack("<QQQQ", sector, n // SECTOR, flags, 0).ljust(SECTOR, b"\0"))
                f.write(b"" if flags & DISCARD else data or b"")
        self.power_log = PowerLog(self.log, [("first", 0), ("second", sizes[5])], BOOT)

    def bytes(self):
        with open(self.disk, "rb") as f:
            return f.read()

    def after(self, whole, torn=None):
        """The disk after so many writes, made anew."""
        disk = bytearray(32 * SECTOR)
        for i, (sector, data, flags) in enumerate(self.WRITES[: whole + bool(torn)]):
            if data and not flags & DISCARD:
                first, last = torn if torn and i == whole else (0, len(data))
                disk[sector * SECTOR + first : sector * SECTOR + last] = data[first:last]
        return bytes(disk)

    def test_there_is_a_cut_behind_each_barrier_that_came_after_a_write(self):
        self.assertEqual([c.whole for c in self.power_log.flushes("first")], [0, 2, 4])
        self.assertEqual([c.whole for c in self.power_log.flushes("second")], [5, 9])

    def test_only_what_a_loader_reads_is_torn(self):
        torn = [(c.whole, c.torn) for part in ("first", "second") for c in self.power_log.torn(part)]
        halves = (0, SECTOR), (SECTOR, 2 * SECTOR)
        self.assertEqual(torn, [(0, halves[0]), (0, halves[1]), (6, halves[0]), (6, halves[1])])

    def test_a_disk_that_is_taken_forward_is_the_one_that_the_cut_leaves(self):
        cuts = [c for part in ("first", "second") for c in self.power_log.flushes(part) + self.power_log.torn(part)]
        replay = Replay(self.power_log, self.disk)
        for cut in sorted([*cuts, Cut("second", "all", len(self.WRITES))], key=lambda c: c.whole):
            replay.to(cut)
            self.assertEqual(self.bytes(), self.after(cut.whole, cut.torn), cut)

    def test_it_is_known_where_a_disk_has_changed(self):
        replay = Replay(self.power_log, self.disk)
        torn = self.power_log.torn("second")
        replay.to(torn[0])
        replay.forget_changes()
        replay.to(torn[1])  # of entry 6, sector 8 becomes what it was, and sector 9 what it will be
        for first, last, changed in ((0, 8, False), (8, 9, True), (9, 10, True), (10, 32, False), (7, 8.5, True)):
            self.assertEqual(replay.has_changed([(int(first * SECTOR), int(last * SECTOR))]), changed, (first, last))
        self.assertFalse(replay.has_changed([]))

    def test_parts_have_no_gap_and_no_overlap(self):
        for n in (1, 2, 3, 7, 12):
            self.assertEqual([c for k in range(n) for c in power_log.part_of(list(range(10)), k + 1, n)], list(range(10)))

    def test_a_disk_is_not_taken_back(self):
        replay = Replay(self.power_log, self.disk)
        replay.to(Cut("first", "", 3))
        with self.assertRaises(Failed):
            replay.to(Cut("first", "", 2))

    def test_a_share_has_the_first_and_the_last(self):
        self.assertEqual(power_log.share(list(range(9)), 3), [0, 4, 8])
        self.assertEqual(power_log.share(list(range(9)), 1), [8])
        self.assertEqual(power_log.share(list(range(9)), 0), [])
        self.assertEqual(power_log.share(list(range(9)), None), list(range(9)))
        self.assertEqual(power_log.share([1, 2], 3), [1, 2])

    def test_a_file_that_is_no_log_is_refused(self):
        with open(self.log, "r+b") as f:
            f.write(b"no")
        with self.assertRaises(Failed):
            power_log.entries(self.log)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
