#!/usr/bin/env python3
"""A disk that fails under one whole update: each call that concerns the standby slot or the status files fails once, or writes
less than it was told; the disk fills at each moment; the medium loses its bytes at each step.

Each time the update is refused with a sentence and the slot is not booted, or the slot is the image; and the next update, on a
disk that is good again, completes. Never is a slot booted, and its status ready to be committed, that is something else.

    test_bad_disk.py [--long] [TEST…]     by default a quarter of the ways to a call; with --long each call
"""

import collections
import contextlib
import errno
import os
import random
import re
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from fault_runs import Library, asked_for_long, run_each  # noqa: E402
from forge import forge  # noqa: E402
from small_update import check_v2, is_flipped, judge, lab_before_the_update, make_small, start_again  # noqa: E402
from trees import noise  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

COUNT, FAIL, SHORT, FULL = range(4)


class BadDisk(Library):
    """The library that fails calls, and its script."""

    def __init__(self, lab):
        super().__init__(lab, "BAD_DISK", BAD_DISK_DEVICE=lab.device, BAD_DISK_FOLDER=lab.path("run"))

    def run(self, mode, at=0, error=0, way=0, **env):
        return self.update(struct.pack("6I", mode, error, at, way, 0, 0), **env)

    def counted(self):
        """How many calls were seen that could fail, and how many of them have."""
        return struct.unpack("6I", self.read_script(24))[4:]

    def n_failed(self):
        return self.counted()[1]

    def calls(self):
        """[(name, way)] of one whole update."""
        path = self.lab.path("calls")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        p = self.run(COUNT, BAD_DISK_LIST=path)
        assert p.returncode == 0, p.stderr
        with open(path, encoding="utf-8", errors="replace") as f:
            return [(line.split(" ")[1], int(line.split(" ")[2])) for line in f]


def some_of(n, share, seed):
    """Of the calls from one place: the first, the last, and some between."""
    if LONG:
        return list(range(1, n + 1))
    r = random.Random(seed)
    return sorted({1, *(r.randrange(1, n + 1) for _ in range(share))})


def slot_without_lost_and_found_is_no_damage():
    with lab_before_the_update() as lab:
        for _ in range(2):
            with lab.mounted(writable=True) as root:
                os.rmdir(root + "/lost+found")
            lab.update("v2")
            check_v2(lab)


def each(lab, disk, cases, sentences=None):
    """cases: (description, mode, at, error, way). Counts how they end; what they say goes to @sentences."""
    def end_of(what, p):
        end = judge(lab, p, what)
        if sentences is not None and p.returncode:
            sentences.add(p.stderr.strip().splitlines()[-1])
        return end

    return run_each(lab, disk, [(what, how) for what, *how in cases], end_of, 1 if LONG else 8, 1 / 5)


def every_call_fails_once():
    with lab_before_the_update() as lab:
        disk = BadDisk(lab)
        start_again(lab)
        calls = disk.calls()
        check_v2(lab)
        ways = collections.Counter(calls)
        names = collections.Counter(name for name, _ in calls)
        print(f"  {len(calls)} calls on {len(ways)} ways: " + ", ".join(f"{n} {name}" for name, n in names.most_common()), flush=True)
        assert len(calls) > 300 and len(ways) > 100, (len(calls), len(ways))
        sentences = set()
        # each takes a third of a second, so without --long it is a quarter of the ways
        cases = [(f"{name} {at} of {n} on the way {way}: {errno.errorcode[error]}", FAIL, at, error, way)
                 for i, ((name, way), n) in enumerate(sorted(ways.items())) if LONG or i % 4 == 0
                 for at in some_of(n, 0, way) for error in ((errno.EIO, errno.ENOSPC) if LONG else (errno.EIO,))]
        each(lab, disk, cases, sentences)
        print(f"  {len(sentences)} sentences", flush=True)


def what_cannot_be_read_back_is_told():
    with lab_before_the_update() as lab:
        disk, path = BadDisk(lab), lab.path("calls")
        for _ in range(10):  # threads share the work, so the way to a call may be another's this time
            start_again(lab)
            lab.put_on_trial()  # or the update looks once more: test_noted
            calls = disk.calls()
            with open(path, encoding="utf-8") as f:
                opened = [i for i, line in enumerate(f)
                          if line.split(" ")[1] == "openat2" and line.split(" ")[3].startswith("usr/")]
            start_again(lab)
            lab.put_on_trial()
            p = disk.run(FAIL, 1, errno.EIO, calls[opened[-1]][1])  # the last that are opened are those to be read back
            if disk.n_failed() > 0:
                break
        last = p.stderr.strip().splitlines()[-1]
        match = re.search(r"Cannot read (/\S+) back", last)  # whichever of them was read first
        assert match, p.stderr[-700:]
        assert last == (f"E313: Update failed in PROCESSING_POSTUPDATE: Cannot read {match[1]} back from the standby slot: "
                        "Input/output error"), last
        assert judge(lab, p, "read back") == "refused" and not is_flipped(lab)


def notes_that_cannot_be_written_are_told():
    with lab_before_the_update() as lab:
        disk, path = BadDisk(lab), lab.path("calls")
        start_again(lab)
        calls = disk.calls()
        with open(path, encoding="utf-8") as f:
            opened = [i for i, line in enumerate(f) if line.split(" ")[1:4:2] == ["openat", "inodes\n"]]
        start_again(lab)
        p = disk.run(FAIL, 1, errno.EIO, calls[opened[-1]][1])
        last = p.stderr.strip().splitlines()[-1]
        assert last == ("E313: Update failed in APPLYING_UPDATE: Cannot note in /.ota-meta what the inodes hold: "
                        "Input/output error"), last
        assert judge(lab, p, "notes") == "refused" and not is_flipped(lab)


def every_write_is_short_once():
    with lab_before_the_update() as lab:
        disk = BadDisk(lab)
        start_again(lab)
        ways = collections.Counter(call for call in disk.calls() if "write" in call[0])
        ends = each(lab, disk, [(f"{name} {at} of {n} on the way {way} is short", SHORT, at, 0, way)
                                for (name, way), n in sorted(ways.items()) for at in some_of(n, 1, way)])
        assert ends["equal"] > 5, ends


def disk_is_full_from_each_call_on():
    with lab_before_the_update() as lab:
        disk = BadDisk(lab)
        start_again(lab)
        disk.run(FULL, at=1_000_000)
        n = disk.counted()[0]
        print(f"  {n} calls need room", flush=True)
        assert n > 50, n
        each(lab, disk, [(f"full from {at} of {n} on", FULL, at, 0, 0) for at in range(1, n + 1, 1 if LONG else 6)])


# ---- real file systems that are full

def without_sizes(data):
    """As lists of 2021 are: then nobody can tell before whether it fits."""
    return b"\n".join(line[:line.rindex(b"'") + 1] for line in data.split(b"\n") if line) + b"\n"


def file_system_of_each_size():
    """In place: what v2 needs is there, but for N blocks, or N inodes; from none to all."""
    def room(**how):
        options = ["-b", "1024", "-O", "^has_journal", "-m", "0", *(("-N", str(how["inodes"])) if "inodes" in how else ())]
        subprocess.run(["mkfs.ext4", "-q", "-F", *options, lab.device, *(("%dk" % how["kib"],) if "kib" in how else ())], check=True)

    with lab_before_the_update() as lab:
        lab.build("plain", make_small(2), "--plain-all", persistents=("/etc/machine",))
        forge(lab.path("images/plain"), lab.path("images/unsized"), lab.path("certs/sign.key"), lists={"regulars.txt": without_sizes})
        sizes = [{"kib": kib} for kib in range(2300, 6200, 60 if LONG else 390)] + [
            {"inodes": n} for n in range(16, 80, 1 if LONG else 12)]
        for image in ("v2", "unsized"):
            ends = collections.Counter()
            for how in sizes:
                start_again(lab, slot=None)
                room(**how)
                with contextlib.suppress(Exception):
                    lab.update("v1")  # as much of it as fits
                start_again(lab, slot=None)
                p = lab.driver(image)
                if image == "v2":
                    ends[judge(lab, p, f"{image} on {how}")] += 1
                else:  # without links and times it is another tree, which the last word of the updater vouches for
                    assert p.returncode in (0, 1) and is_flipped(lab) == (p.returncode == 0), (how, p.stderr[-500:])
                    ends["refused" if p.returncode else "equal"] += 1
            print(f"  {image}: {dict(ends)}", flush=True)
            assert ends["refused"] > 2 and ends["equal"] > 2, ends


def device_of_each_size():
    """On a new file system: from one that holds nothing to one that holds all."""
    ends = collections.Counter()
    for mib in range(2, 14, 1 if LONG else 3):
        with UpdateLab(slot_mib=mib) as lab:
            lab.run_in_memory()
            lab.build("v2", make_small(2))
            subprocess.run(["dd", "if=/dev/zero", f"of={lab.device}", "bs=1M", "count=1", "status=none"], check=True)
            start = lab.path("run/status-b")
            os.makedirs(start, exist_ok=True)
            p = lab.driver("v2")
            if p.returncode == 0:
                lab.check("v2")
                ends["equal"] += 1
            else:
                assert p.returncode == 1 and "E3" in p.stderr.strip().splitlines()[-1] and not is_flipped(lab), p.stderr[-500:]
                ends["refused"] += 1
    print(f"  {dict(ends)}")
    assert ends["refused"] and ends["equal"], ends


# ---- a medium that loses what is on it

BLOCK = 1024
# Points behind the reading back: the device's last sync, and two of the flip. What is lost then is lost on a system that is about
# to start; that is what its trial is for.
BEHIND = 3


def used_blocks(path):
    """The blocks of the slot's image that are not all zeros."""
    with open(path, "rb") as f:
        data = f.read()
    return [at for at in range(0, len(data), BLOCK) if data[at:at + BLOCK].count(0) != BLOCK]


def lose_bytes(lab, seed):
    """Past every cache: the medium itself, some 5 % of its blocks, or one of them."""
    r = random.Random(seed)
    used = used_blocks(lab.slot)
    picked = r.sample(used, max(1, len(used) // 20) if seed % 3 else 1)
    with open(lab.slot, "r+b") as f:
        for at in picked:
            f.seek(at + r.randrange(BLOCK - 64))
            f.write(r.randbytes(64))


def paused_update(lab, at, meanwhile):
    p = subprocess.Popen(
        [os.environ["UPDATE_DRIVER"], "--url", lab.url + "/v2", "--certs", lab.path("certs"), "--device", lab.device, "--active", lab.active, "--work",
         lab.path("run"), *lab.patience, "--pause-at", str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=0o077)
    where = p.stdout.readline().strip()
    if where:
        meanwhile()
    try:
        _, stderr = p.communicate("go on\n", timeout=120)
    except subprocess.TimeoutExpired:
        p.kill()
        raise
    return where, subprocess.CompletedProcess(p.args, p.returncode, "", stderr)


def medium_loses_bytes_at_each_step():
    with lab_before_the_update() as lab:
        start_again(lab)
        total = int(lab.driver("v2", "--count").stdout.splitlines()[0])
        check_v2(lab)
        ends, failed = collections.Counter(), []
        cases = [(at, seed) for at in range(1, total + 1, 1 if LONG else 3) for seed in (range(at, at + 12) if LONG else (at,))]
        for at, seed in cases:
            start_again(lab)
            where, p = paused_update(lab, at, lambda seed=seed: lose_bytes(lab, seed))
            if at > total - BEHIND:
                continue
            try:
                ends[judge(lab, p, f"seed {seed} at {at} of {total} ({where})")] += 1
                lab.update("v2")
                check_v2(lab)
            except Exception as e:
                failed.append(f"seed {seed} at {at} of {total} ({where}): {e}")
                print(f"  WRONG {failed[-1]}", flush=True)
        print(f"  {len(cases)} times at {total} points: {dict(ends)}")
        assert not failed, f"{len(failed)} of {len(cases)}"


def point_of(lab, what, from_end=1):
    """Its number among the points of one whole update, without a fault: the last one, the one before, …"""
    start_again(lab)
    total = int(lab.driver("v2", "--count").stdout.splitlines()[0])
    for at in range(total, 0, -1):
        start_again(lab)
        where, _ = paused_update(lab, at, lambda: None)
        from_end -= where == "paused: " + what
        if from_end == 0:
            return at
    raise AssertionError(f"there is no {what}")


def what_the_disk_does_not_keep_is_told():
    def lose_large():
        with open(lab.slot, "r+b") as f:
            at = f.read().find(noise(2 << 20, "large")[:4096])
            assert at > 0
            f.seek(at + 1234)
            f.write(b"#")

    def lose_an_inode():
        subprocess.run(["debugfs", "-w", "-R", "clri /usr/large", lab.device], check=True, capture_output=True)

    with lab_before_the_update() as lab:
        for what, from_end, meanwhile, sentence in (
                ("sync the standby slot", 1, lose_large, "The standby slot does not keep what is written to it: /usr/large has other bytes than the image's"),
                ("sync the standby device", 2, lose_an_inode,
                 "The standby slot does not keep what is written to it: its file system is damaged (e2fsck ended with 4)")):
            at = point_of(lab, what, from_end)
            start_again(lab)
            # A slot whose notes were believed is looked at once more, and mended: test_noted.
            lab.put_on_trial()
            _, p = paused_update(lab, at, meanwhile)
            assert p.stderr.endswith(f"E313: Update failed in PROCESSING_POSTUPDATE: {sentence}\n"), p.stderr[-500:]
            assert judge(lab, p, what) == "refused" and not is_flipped(lab)
            lab.update("v2")
            check_v2(lab)


def a_disk_that_keeps_nothing_is_told():
    """As cards that are worn out do: every write succeeds, and what is read later is what was there before."""
    def go_back():
        subprocess.run(["dd", f"if={lab.path('memory', 'old')}", f"of={lab.slot}", "bs=64k", "conv=notrunc,fsync",
                        "status=none"], check=True)

    with lab_before_the_update() as lab:
        at = point_of(lab, "sync the standby device", 2)
        start_again(lab)
        lab.put_on_trial()
        lab.save_slot("old")
        _, p = paused_update(lab, at, go_back)
        assert "E313: Update failed in PROCESSING_POSTUPDATE: The standby slot does not keep what is written to it: /" \
            in p.stderr, p.stderr[-500:]
        assert not is_flipped(lab)
        lab.update("v2")
        check_v2(lab)


if __name__ == "__main__":
    enter_private_mounts()
    LONG = asked_for_long()
    run([
        every_call_fails_once,
        what_cannot_be_read_back_is_told,
        notes_that_cannot_be_written_are_told,
        every_write_is_short_once,
        disk_is_full_from_each_call_on,
        file_system_of_each_size,
        device_of_each_size,
        slot_without_lost_and_found_is_no_damage,
        what_the_disk_does_not_keep_is_told,
        a_disk_that_keeps_nothing_is_told,
        medium_loses_bytes_at_each_step,
    ])
