#!/usr/bin/env python3
"""What an update has noted of a slot's inodes spares the next one its first reading, and never its last: whatever was not
true after all, the slot ends as the image."""

import contextlib
import hashlib
import itertools
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from trees import Tree, noise  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

INDEX = "/.ota-meta/inodes"
BELIEVED = "names on it are as the last update left them, and will be read at the end"
OTHER_ATTRIBUTES = "The standby slot does not keep what is written to it: {} has other attributes than the image's"
READ_ALL = "Every file of the standby slot is read before it is kept: The standby slot does not keep what is written to it: "
PLAIN = 1 << 31  # beside the nanoseconds of a row


def make(version):
    def make_tree(root):
        t = Tree(root)
        t.system()
        t.dir("/usr")
        t.file("/usr/kept", noise(9000, "kept"))
        t.file("/usr/small", noise(9500, "small"))
        t.file("/usr/large", noise(3 << 20, "large"))
        t.file(f"/usr/moves-{version}", noise(7000, "moves"))
        t.file("/usr/changes", noise(5000, f"version {version}"))
        t.name("/usr/kept", "/usr/kept-too")
        t.done()
    return make_tree


@contextlib.contextmanager
def lab_with_v1():
    """The slot holds v1, long enough for its times to show what is changed later; nothing but the network has v2."""
    with UpdateLab() as lab:
        lab.build("v1", make(1))
        lab.build("v2", make(2))
        lab.update("v1")
        yield lab


def update(lab, believes, again=False, why=""):
    stats = lab.update("v2")
    assert (BELIEVED in lab.log) == believes, lab.log
    assert (READ_ALL + why in lab.log) == again, lab.log
    lab.check("v2")
    return stats


def lose_bytes_of(lab, data):
    """On the disk, without the file system's knowledge."""
    with open(lab.device, "r+b") as f:
        at = f.read().find(data[:4096])
        assert at > 0
        f.seek(at + 1234)
        f.write(b"#")
        os.fsync(f.fileno())
    subprocess.run(["blockdev", "--flushbufs", lab.device], check=True)


def what_was_noted_is_kept_without_a_download():
    with lab_with_v1() as lab:
        with lab.mounted() as root:
            n_lists = len(os.listdir(root + os.path.dirname(INDEX)))
        stats = update(lab, believes=True)
        assert stats["fetched_contents"] == 1 and stats["moved"] == 1, stats
        # Neither before nor after is a file asked that tables of inodes can vouch for: only the lists, and the large one.
        assert f"; {n_lists} files were looked at one by one" in lab.log, lab.log
        assert "Reading the standby slot back: 4 files by their places, 1 by their names" in lab.log, lab.log


def file_that_was_changed_is_not_believed():
    with lab_with_v1() as lab:
        with lab.mounted(writable=True) as root:
            st = os.stat(root + "/usr/kept")
            with open(root + "/usr/kept", "r+b") as f:
                f.write(b"#")
            os.utime(root + "/usr/kept", ns=(st.st_atime_ns, st.st_mtime_ns))
        stats = update(lab, believes=True)
        assert stats["fetched_contents"] == 2, stats


def bytes_that_were_lost_are_fetched():
    for data in (noise(9000, "kept"), noise(3 << 20, "large"), noise(7000, "moves")):
        with lab_with_v1() as lab:
            lose_bytes_of(lab, data)
            update(lab, believes=True, again=True)


def hook_that_changes_attributes_hides_nothing():
    """Another time of change, the same bytes: they are looked at all the same."""
    with lab_with_v1() as lab:
        path = lab.path("hooks", "post-update", "10-mode")
        os.makedirs(os.path.dirname(path))
        with open(path, "w") as f:
            f.write("#!/bin/sh\nexec chmod 0600 \"$OTA_STANDBY_ROOT/usr/large\"\n")
        os.chmod(path, 0o755)
        lose_bytes_of(lab, noise(3 << 20, "large"))
        lab.update("v2", "--hooks", lab.path("hooks"))
        assert READ_ALL + "/usr/large has other bytes" in lab.log, lab.log
        with lab.mounted() as root, open(root + "/usr/large", "rb") as f:
            assert f.read() == noise(3 << 20, "large")


def file_system_that_is_damaged_is_made_anew():
    """In a way that shows only to who looks at all of it."""
    with lab_with_v1() as lab:
        subprocess.run(["debugfs", "-w", "-R", "sif /usr/large blocks 6160", lab.device], check=True, capture_output=True)
        update(lab, believes=True, again=True, why="its file system is damaged (e2fsck ended with 4)")


def hooks_run_again_but_the_one_that_may_refuse():
    with lab_with_v1() as lab:
        for when in ("pre-update", "post-update"):
            path = lab.path("hooks", when, "10-note")
            os.makedirs(os.path.dirname(path))
            with open(path, "w") as f:
                f.write(f"#!/bin/sh\necho $OTA_HOOK >>{lab.path('ran')}\n")
            os.chmod(path, 0o755)
        lose_bytes_of(lab, noise(9000, "kept"))
        lab.update("v2", "--hooks", lab.path("hooks"))
        lab.check("v2")
        with open(lab.path("ran")) as f:
            assert f.read().split() == ["pre-update", "post-update", "post-update"]


def slot_on_trial_is_read():
    with lab_with_v1() as lab:
        with lab.mounted(writable=True) as root:
            with open(root + "/.ota-meta/on-trial", "w"):
                pass
        update(lab, believes=False)


def damaged_notes_are_not_believed():
    def cut(path):
        os.truncate(path, os.path.getsize(path) - 1)

    def link(path):
        os.rename(path, path + "-too")
        os.symlink("inodes-too", path)

    def fifo(path):
        os.unlink(path)
        os.mkfifo(path)

    for damage in (os.unlink, cut, link, fifo):
        with lab_with_v1() as lab:
            with lab.mounted(writable=True) as root:
                damage(root + INDEX)
            update(lab, believes=False)


@contextlib.contextmanager
def notes_of(root):
    """The rows, [inode, seconds, nanoseconds and PLAIN, digest], to be changed as somebody on the running system could."""
    with open(root + INDEX, "rb") as f:
        data = f.read()
    head, rows = data[:12], [list(row) for row in struct.iter_unpack("<III32s", data[12:-32])]
    yield rows
    data = head[:8] + struct.pack("<I", len(rows)) + b"".join(struct.pack("<III32s", *row) for row in rows)
    with open(root + INDEX, "wb") as f:
        f.write(data + hashlib.sha256(data).digest())


def note_as_it_is_now(root, name):
    """The change of this file is hidden."""
    st = os.stat(root + name)
    with notes_of(root) as rows:
        row, = (row for row in rows if row[0] == st.st_ino)
        row[1:3] = st.st_ctime_ns // 10**9, st.st_ctime_ns % 10**9 | PLAIN


def notes_that_lie_cost_time_only():
    """Each inode is said to hold what the new image wants elsewhere."""
    with lab_with_v1() as lab:
        with lab.mounted(writable=True) as root, notes_of(root) as rows:
            digests = [row[3] for row in rows]
            for row, digest in zip(rows, digests[1:] + digests[:1]):
                row[3] = digest
        lab.update("v2")
        lab.check("v2")


def attributes_that_were_changed_are_set_again():
    """Those that everybody sees are looked at first, those that only an open file shows at the end."""
    def user(path):
        os.setxattr(path, "user.more", b"here")

    def immutable(path):
        subprocess.run(["chattr", "+i", path], check=True)

    def mode(path):
        os.chmod(path, 0o4755)

    def owner(path):
        os.chown(path, 1000, 1000)

    def time(path):
        os.utime(path, ns=(1, 1))

    seen, unseen = [mode, owner, time], [user, immutable]
    cases = ((seen, True), (unseen, True), (seen, False), ([user], False), ([immutable], False))
    # The one is opened in the end, the other vouched for by the tables of inodes.
    for name, (changes, told) in itertools.product(("/usr/large", "/usr/small"), cases):
        with lab_with_v1() as lab:
            with lab.mounted(writable=True) as root:
                for change in changes:
                    change(root + name)
                if not told:
                    note_as_it_is_now(root, name)
            again = not told and changes != seen
            update(lab, True, again)
            assert (OTHER_ATTRIBUTES.format(name) in lab.log) == again, lab.log


def empty_file_that_somebody_has_noted_is_looked_at():
    """It is never noted by an update, for there is nothing to read."""
    def make_empty(version):
        def make_tree(root):
            t = Tree(root)
            t.system()
            t.file("/empty", b"")
            t.file(f"/{version}", noise(4000, str(version)))
            t.done()
        return make_tree

    with UpdateLab() as lab:
        lab.build("v1", make_empty(1))
        lab.build("v2", make_empty(2))
        lab.update("v1")
        with lab.mounted(writable=True) as root:
            os.setxattr(root + "/empty", "user.more", b"here")
            st = os.stat(root + "/empty")
            with notes_of(root) as rows:
                rows.append([st.st_ino, st.st_ctime_ns // 10**9, st.st_ctime_ns % 10**9 | PLAIN, hashlib.sha256().digest()])
                rows.sort()
        lab.update("v2")
        lab.check("v2")


def kept_file_that_is_repeated_is_looked_at():
    """Its inode has another name for a while, so the notes say nothing of it any more."""
    def make_repeated(version):
        def make_tree(root):
            t = Tree(root)
            t.system()
            for i in range(version):
                t.file(f"/kept-{i}", noise(9000, "kept"))
            t.done()
        return make_tree

    with UpdateLab() as lab:
        lab.build("v1", make_repeated(1))
        lab.build("v2", make_repeated(2))
        lab.update("v1")
        with lab.mounted(writable=True) as root:
            os.setxattr(root + "/kept-0", "user.more", b"here")
            note_as_it_is_now(root, "/kept-0")
        update(lab, believes=True)


def attributes_that_the_new_image_changes_are_set():
    def make_with(mode, owner, mtime, xattr, names):
        def make_tree(root):
            t = Tree(root)
            t.system()
            for name in ("mode", "owner", "mtime", "xattr", "names"):
                t.file("/" + name, noise(3000, name))
                os.utime(root + "/" + name, ns=(10**18, 10**18))
            os.chmod(root + "/mode", mode)
            os.chown(root + "/owner", owner, owner)
            os.utime(root + "/mtime", ns=(mtime, mtime))
            if xattr:
                os.setxattr(root + "/xattr", "user.x", xattr)
            for name in range(names):
                t.name("/names", f"/names-{name}")
            t.done()
        return make_tree

    kinds = [(0o644, 0, 10**18, b"", 0), (0o4755, 7, 10**18 + 1, b"one", 2), (0o600, 8, 10**17, b"two", 1)]
    for old in kinds:
        for new in (kind for kind in kinds if kind != old):
            with UpdateLab() as lab:
                lab.build("v1", make_with(*old))
                lab.build("v2", make_with(*new))
                lab.update("v1")
                stats = update(lab, believes=True)
                assert stats["fetched_contents"] == 0, stats


if __name__ == "__main__":
    enter_private_mounts()
    run([
        what_was_noted_is_kept_without_a_download,
        file_that_was_changed_is_not_believed,
        bytes_that_were_lost_are_fetched,
        hook_that_changes_attributes_hides_nothing,
        file_system_that_is_damaged_is_made_anew,
        hooks_run_again_but_the_one_that_may_refuse,
        slot_on_trial_is_read,
        damaged_notes_are_not_believed,
        notes_that_lie_cost_time_only,
        attributes_that_were_changed_are_set_again,
        empty_file_that_somebody_has_noted_is_looked_at,
        kept_file_that_is_repeated_is_looked_at,
        attributes_that_the_new_image_changes_are_set,
    ])
