#!/usr/bin/env python3
"""The law: build → serve → update → the standby slot equals the source, from whatever it was before."""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import forge  # noqa: E402
from tree_list import differences, list_tree  # noqa: E402
from trees import DEFAULT_ACL, make_v1, make_v2, noise  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

PLACES_MIN = 80  # to stop an update at
STOPPED = 77


@contextlib.contextmanager
def lab_with_both():
    """Two releases; the machine runs the first."""
    with UpdateLab() as lab:
        lab.build("v1", make_v1)
        lab.build("v2", make_v2)
        lab.active = lab.trees["v1"]
        yield lab


def first_update_onto_an_empty_slot_fetches_everything():
    with lab_with_both() as lab:
        lab.active = lab.path("active")
        stats = lab.update("v1")
        lab.check("v1")
        assert stats["copied"] == 0 and stats["kept"] == 0, stats
        assert stats["processed"] == stats["total"], stats
        assert stats["processed_bytes"] == stats["total_bytes"], stats


def first_update_copies_what_the_active_slot_has():
    with lab_with_both() as lab:
        stats = lab.update("v2")
        lab.check("v2")
        assert stats["fetched_contents"] == 4, stats
        assert stats["processed"] == stats["total"], stats


def update_in_place_keeps_and_moves():
    with lab_with_both() as lab:
        lab.active = lab.path("active")
        lab.update("v1")
        lab.check("v1")
        stats = lab.update("v2")
        lab.check("v2")
        assert stats["kept"] > 60 and stats["moved"] >= 5, stats
        assert stats["fetched_contents"] == 4, stats
        assert stats["processed"] == stats["total"], stats
        assert stats["written_bytes"] < 250_000, stats
        again = lab.update("v2")
        lab.check("v2")
        assert again["kept"] == again["total"] and again["written_bytes"] == 0, again


def image_whose_lists_say_no_sizes_is_installed():
    """As images of 2021 are: then nothing says who is linked with whom, either, and all comes as plain files."""
    def without_sizes(data):
        return b"\n".join(line[:line.rindex(b"'") + 1] for line in data.split(b"\n") if line) + b"\n"

    def plain(entries):
        return {path: entry._replace(names=(), mtime_ns=0) for path, entry in entries.items()}
    with UpdateLab() as lab:
        for name, make in (("v1", make_v1), ("v2", make_v2)):
            lab.build(name, make, "--plain-all")
            forge(lab.path("images", name), lab.path("images", "old-" + name), lab.path("certs/sign.key"),
                  lists={"regulars.txt": without_sizes})
        lab.active = lab.trees["v1"]
        for name in ("v1", "v2", "v2"):
            stats = lab.update("old-" + name)
            with lab.mounted() as root:
                diff = differences(plain(lab.wanted[name]), plain(list_tree(root)))
            assert not diff, diff[:20]
        assert stats["kept"] == stats["total"] and stats["wire_bytes"] < 100_000, stats


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY)
    try:
        have = struct.unpack("l", fcntl.ioctl(fd, 0x80086601, b"\0" * 8))[0]  # FS_IOC_GETFLAGS
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", have | flags))            # FS_IOC_SETFLAGS
    finally:
        os.close(fd)


IMMUTABLE, APPEND = 0x10, 0x20


def make_dirty(root):
    """Everything that can be wrong with a slot that holds v1."""
    at = lambda p: os.path.join(root, p.lstrip("/"))  # noqa: E731
    os.chmod(root, 0o700)
    os.makedirs(at("/foreign/deep/er"))
    with open(at("/foreign/deep/er/file"), "w") as f:
        f.write("foreign")
    os.mkfifo(at("/foreign/pipe"))
    os.mknod(at("/foreign/null"), 0o666 | 0o020000, os.makedev(1, 3))
    # wrong content under the right name and size and time
    st = os.stat(at("/usr/lib/text"))
    with open(at("/usr/lib/text"), "r+b") as f:
        f.seek(1000)
        f.write(b"#")
    os.utime(at("/usr/lib/text"), ns=(st.st_mtime_ns, st.st_mtime_ns))
    # wrong kinds in both directions
    os.unlink(at("/etc/hosts"))
    os.makedirs(at("/etc/hosts/was/a/file"))
    os.unlink(at("/etc/passwd"))
    os.symlink("/etc/shadow", at("/etc/passwd"))
    os.rename(at("/usr/share"), at("/usr/share.away"))
    os.symlink("share.away", at("/usr/share"))
    os.unlink(at("/etc/resolv.conf"))
    os.mkfifo(at("/etc/resolv.conf"))
    # wrong links in both directions: names of one inode that should be two, and the reverse
    os.unlink(at("/opt/dup2"))
    os.link(at("/opt/dup1"), at("/opt/dup2"))
    os.unlink(at("/usr/bin/multi-ls"))
    with open(at("/usr/bin/multi-ls"), "wb") as f:
        f.write(noise(20_000, "multi"))
    os.link(at("/usr/lib/big"), at("/foreign/another-name-of-big"))
    # attributes
    os.setxattr(at("/usr/bin/suid"), "user.foreign", b"x")
    os.setxattr(at("/opt"), "system.posix_acl_default", DEFAULT_ACL)
    os.chown(at("/usr/bin/sgid"), 1234, 1234)
    # what another client leaves
    os.makedirs(at("/.ota-resources"))
    with open(at("/.ota-resources/" + "ab" * 32), "w") as f:
        f.write("wrong bytes under a digest")
    os.link(at("/usr/share.away/f07"), at("/.ota-resources/" + "cd" * 32))
    with open(at("/.ota-resources/.ota_io_tmp_0123456789ab"), "w") as f:
        f.write("a leftover")
    os.makedirs(at("/.ota-meta/base"))
    os.makedirs(at("/opt/ota/image-meta"))
    # flags last
    set_flags(at("/usr/bin/locked"), IMMUTABLE)
    set_flags(at("/opt/gone"), APPEND)
    set_flags(at("/foreign/deep"), IMMUTABLE)
    set_flags(at("/opt/was-dir"), APPEND)


def update_over_a_dirty_slot():
    with lab_with_both() as lab:
        lab.update("v1")
        with lab.mounted(writable=True) as root:
            make_dirty(root)
        lab.update("v2")
        lab.check("v2")


def update_over_something_that_is_no_file_system():
    with lab_with_both() as lab:
        subprocess.run(["dd", "if=/dev/urandom", f"of={lab.device}", "bs=1M", "count=4", "status=none"], check=True)
        lab.update("v2")
        lab.check("v2")


def update_on_a_slot_without_room_for_both_prunes_first():
    with lab_with_both() as lab:
        def fat(root):
            make_v1(root)
            for i in range(7):
                with open(os.path.join(root, f"opt/fat{i}"), "wb") as f:
                    f.write(noise(10 << 20, f"fat {i}"))

        def other(root):
            make_v1(root)
            for i in range(7):
                with open(os.path.join(root, f"opt/other{i}"), "wb") as f:
                    f.write(noise(10 << 20, f"other {i}"))
        lab.build("fat", fat)
        lab.build("other", other)
        lab.update("fat")
        lab.check("fat")
        lab.update("other")
        lab.check("other")


def every_crash_is_followed_by_a_run_that_completes():
    with lab_with_both() as lab:
        lab.update("v1")
        with lab.mounted(writable=True) as root:
            # so that all of keep, move, copy and fetch are there to be cut
            os.unlink(os.path.join(root, "usr/lib/big"))
            os.unlink(os.path.join(root, "usr/share/f11"))
        lab.save_slot("before")
        total = int(lab.driver("v2", "--count").stdout.splitlines()[0])
        assert total >= PLACES_MIN, f"only {total} places to stop at"
        lab.check("v2")
        cut = set()
        for at in range(1, total + 1):
            lab.restore_slot("before")
            p = lab.driver("v2", "--stop-at", str(at))
            assert p.returncode == STOPPED, f"stop at {at} of {total}: {p.returncode} {p.stderr[-300:]}"
            cut.add(p.stderr.strip().splitlines()[-1].split(": ", 1)[1])
            lab.update("v2")
            try:
                lab.check("v2")
            except AssertionError as e:
                raise AssertionError(f"after a stop at {at} ({p.stderr.strip().splitlines()[-1]}): {e}") from e
        print(f"  a crash at each of {total} places, in: " + ", ".join(sorted(cut)))


if __name__ == "__main__":
    enter_private_mounts()
    run([
        first_update_onto_an_empty_slot_fetches_everything,
        first_update_copies_what_the_active_slot_has,
        update_in_place_keeps_and_moves,
        image_whose_lists_say_no_sizes_is_installed,
        update_over_a_dirty_slot,
        update_over_something_that_is_no_file_system,
        update_on_a_slot_without_room_for_both_prunes_first,
        every_crash_is_followed_by_a_run_that_completes,
    ])
