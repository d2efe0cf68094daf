#!/usr/bin/env python3
"""Slots in states that nobody made on purpose: whatever is on it, the update ends with the image, or says why it cannot begin."""

import contextlib
import fcntl
import hashlib
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import add_line, forge  # noqa: E402
from trees import ACL, CAPABILITY, DEFAULT_ACL, Tree, make_v1, make_v2, noise, text  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

IMMUTABLE, APPEND = 0x10, 0x20


@contextlib.contextmanager
def lab_with_both(**how):
    """Two releases; the machine runs the first, and the slot holds it too."""
    with UpdateLab(**how) as lab:
        lab.build("v1", make_v1)
        lab.build("v2", make_v2)
        lab.active = lab.trees["v1"]
        lab.update("v1")
        yield lab


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY)
    try:
        have = struct.unpack("l", fcntl.ioctl(fd, 0x80086601, b"\0" * 8))[0]  # FS_IOC_GETFLAGS
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", have | flags))            # FS_IOC_SETFLAGS
    finally:
        os.close(fd)


def debugfs(lab, *requests):
    for r in requests:
        p = subprocess.run(["debugfs", "-w", "-R", r, lab.device], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
    subprocess.run(["blockdev", "--flushbufs", lab.device], check=True)


# ---- link groups

def make_groups(root):
    t = Tree(root)
    t.system()
    for d in ("/g", "/h"):
        t.dir(d)
    same = noise(9000, "same")
    t.file("/g/a", same)
    t.name("/g/a", "/g/b")
    t.file("/g/c", same, 0o600)
    t.name("/g/c", "/h/d")
    t.file("/h/alone", same, 0o640)
    t.file("/g/x", noise(7000, "xyz"))
    t.name("/g/x", "/g/y")
    t.name("/g/x", "/h/z")
    t.file("/h/empty-a")
    t.name("/h/empty-a", "/h/empty-b")
    t.file("/h/empty-alone")
    t.done()


def relink(root, *groups):
    """Make the names of each group one inode; a group of one gets an inode of its own."""
    for first, *others in groups:
        first = root + first
        with open(first, "rb") as f:
            data = f.read()
        os.unlink(first)
        with open(first, "wb") as f:
            f.write(data)
        for name in others:
            os.unlink(root + name)
            os.link(first, root + name)


def every_mix_of_names_and_inodes_ends_in_the_images_groups():
    mixes = (
        (("/g/a", "/g/b", "/g/c", "/h/d", "/h/alone"), ("/g/x",), ("/g/y",), ("/h/z",)),
        (("/g/a",), ("/g/b",), ("/g/c",), ("/h/d",), ("/h/alone",), ("/g/x", "/g/y"), ("/h/z",)),
        (("/g/a", "/h/d"), ("/g/b", "/g/c"), ("/h/alone",)),
        (("/h/d", "/g/b", "/h/alone"), ("/g/a",), ("/g/c",)),
        (("/h/empty-a", "/h/empty-alone"), ("/h/empty-b",)),
        (("/h/empty-alone", "/h/empty-a", "/h/empty-b"),),
    )
    with UpdateLab(slot_mib=32) as lab:
        lab.build("groups", make_groups)
        lab.update("groups")
        lab.check("groups")
        for mix in mixes:
            with lab.mounted(writable=True) as root:
                relink(root, *mix)
            stats = lab.update("groups")
            lab.check("groups")
            assert stats["fetched"] == 0 and stats["written_bytes"] <= 3 * 9000, stats


def inode_is_not_shared_with_names_in_lost_and_found():
    with lab_with_both() as lab:
        with lab.mounted(writable=True) as root:
            os.link(root + "/usr/lib/big", root + "/lost+found/#123")
            os.makedirs(root + "/lost+found/#124/deep")
            with open(root + "/lost+found/#124/deep/file", "wb") as f:
                f.write(noise(2 << 20, "lost"))
        lab.update("v2")
        lab.check("v2")
        with lab.mounted() as root:
            assert os.stat(root + "/usr/lib/big").st_nlink == 1
            assert os.listdir(root + "/lost+found") == []


def store_that_shares_its_inodes_with_the_tree_is_used_and_removed():
    with lab_with_both() as lab:
        with lab.mounted(writable=True) as root:
            os.mkdir(root + "/.ota-resources", 0o755)
            for folder, _, files in os.walk(lab.trees["v1"]):
                for name in files:
                    path = os.path.join(folder, name)
                    if os.path.islink(path):
                        continue
                    with open(path, "rb") as f:
                        digest = hashlib.sha256(f.read()).hexdigest()
                    on_slot = root + path[len(lab.trees["v1"]):]
                    with contextlib.suppress(FileExistsError):
                        os.link(on_slot, f"{root}/.ota-resources/{digest}")
            # a right name with wrong bytes, and a folder with the name of a content
            os.unlink(root + "/.ota-resources/" + hashlib.sha256(noise(40_000, "moved")).hexdigest())
            os.mkdir(root + "/.ota-resources/" + hashlib.sha256(noise(40_000, "moved")).hexdigest())
            os.chown(root + "/.ota-resources", 1000, 1000)
            os.setxattr(root + "/.ota-resources", "system.posix_acl_default", DEFAULT_ACL)
        stats = lab.update("v2")
        lab.check("v2")
        assert stats["fetched_contents"] == 4 and stats["copied"] == 0, stats


# ---- attributes

def make_attributes(version):
    def make(root):
        t = Tree(root)
        t.system()
        t.dir("/d")
        t.dir("/plain")
        t.file("/f", b"f\n")
        t.file("/cap", b"cap\n", 0o755)
        t.file("/acl", b"acl\n", 0o664)
        t.file("/many", b"many\n")
        if version == 1:
            os.setxattr(t.at("/d"), "user.on-a-folder", b"1")
            os.setxattr(t.at("/d"), "system.posix_acl_access", ACL)
            os.setxattr(t.at("/f"), "user.same-name", b"1")
            os.setxattr(t.at("/f"), "user.gone", b"")
            os.setxattr(t.at("/cap"), "security.capability", CAPABILITY)
            os.setxattr(t.at("/acl"), "system.posix_acl_access", ACL)
        else:
            os.setxattr(t.at("/plain"), "system.posix_acl_default", DEFAULT_ACL)
            os.setxattr(t.at("/f"), "user.same-name", b"2")
            os.setxattr(t.at("/f"), "user.new", b"\0" * 300)
            os.setxattr(t.at("/cap"), "security.capability", CAPABILITY[:4] + b"\1" + CAPABILITY[5:])
            for i in range(8):
                os.setxattr(t.at("/many"), f"user.{'name' * 20}{i}", b"x")
        t.done()
    return make


def attributes_alone_change_without_a_byte_written():
    with UpdateLab(slot_mib=32) as lab:
        lab.build("a1", make_attributes(1))
        lab.build("a2", make_attributes(2))
        lab.update("a1")
        lab.check("a1")
        for name in ("a2", "a1", "a2"):
            stats = lab.update(name)
            lab.check(name)
            assert stats["kept"] == stats["total"] and stats["written_bytes"] == 0, stats


def default_acl_on_the_root_marks_nothing():
    with lab_with_both() as lab:
        with lab.mounted(writable=True) as root:
            os.setxattr(root, "system.posix_acl_default", DEFAULT_ACL)
            os.setxattr(root, "user.foreign", b"x")
            os.chown(root, 1000, 1000)
            os.rename(root + "/usr", root + "/usr.away")
            set_flags(root, APPEND)
        lab.update("v2")
        lab.check("v2")


def flags_inside_kept_folders_are_cleared():
    with lab_with_both() as lab:
        with lab.mounted(writable=True) as root:
            os.makedirs(root + "/usr/share/foreign/inner")
            with open(root + "/usr/share/foreign/inner/file", "w") as f:
                f.write("foreign")
            set_flags(root + "/usr/share/foreign/inner/file", IMMUTABLE)
            set_flags(root + "/usr/share/foreign/inner", IMMUTABLE)
            set_flags(root + "/usr/share/foreign", APPEND)
            set_flags(root + "/opt/moved-from", IMMUTABLE)  # is to move
            set_flags(root + "/opt/swap-a", APPEND)
            set_flags(root + "/opt/empty folder", IMMUTABLE)
            for d in ("/usr/share", "/usr", "/opt", ""):
                set_flags(root + d, IMMUTABLE)
        lab.update("v2")
        lab.check("v2")


# ---- names and depth

def make_long(root):
    """Names of 255 bytes, a path near the limit, and folders 200 deep; by descriptors, for the paths are longer than the system takes."""
    t = Tree(root)
    t.system()
    t.dir("/short")
    t.file("/" + "n" * 255, b"longest name\n")
    t.file("/short/" + "語" * 85, b"longest name, in bytes\n")
    t.link("/short/to", "t" * 1000)
    t.done()
    deep(root, "d" * 9, 200, b"200 deep\n")
    deep(root, "p" * 250, 15, b"a path of 3766 bytes\n")


def deep(root, name, levels, data):
    fd = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    f = os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(f, data)
    os.close(f)
    os.close(fd)


def longest_names_and_paths_are_carried():
    with UpdateLab(slot_mib=32) as lab:
        lab.build("long", make_long)
        lab.update("long")
        lab.check("long")
        again = lab.update("long")
        lab.check("long")
        assert again["kept"] == again["total"], again


def what_is_deeper_or_longer_than_any_path_is_removed():
    with lab_with_both() as lab:
        with lab.mounted(writable=True) as root:
            deep(root, "q" * 255, 30, noise(9100, "single"))     # beyond any path, with bytes that are wanted
            deep(root + "/usr/share", "r" * 255, 30, b"below a kept folder\n")
            deep(root, "s", 1200, b"deep\n")                     # more than the usual limit of open files
        lab.update("v2")
        lab.check("v2")


def paths_too_long_on_the_active_slot_are_passed_over():
    with lab_with_both() as lab:
        deep(lab.active, "q" * 255, 30, b"long\n")
        lab.wipe_slot()
        lab.update("v2")
        lab.check("v2")


# ---- damaged file systems

def damaged_file_systems_are_made_anew():
    damages = {
        "a folder's inode is gone": ["clri /usr/share"],
        "a file's inode is gone": ["clri /usr/lib/big"],
        "a link count is wrong": ["sif /usr/lib/big links_count 7"],
        "a folder has no sense": ["zap_block -f /usr/share -p 0x5a 0"],
        "a tree of blocks has no sense": ["sif /usr/lib/big block[0] 0x12345678"],
        "a folder that must go has no sense": ["zap_block -f /opt/was-dir -p 0x5a 0"],
        "a name leads to an inode that is free": ["unlink /opt/gone", "ln <9999> /opt/gone"],
        "the root has no sense": ["zap_block -f / -p 0x5a 0"],
        "the table of inodes is full of holes": ["clri <8>", "clri <2>"],
    }
    with lab_with_both() as lab:
        lab.save_slot("before")
        for name, requests in damages.items():
            lab.restore_slot("before")
            debugfs(lab, *requests)
            try:
                lab.update("v2")
                lab.check("v2")
            except Exception as e:
                raise AssertionError(f"{name}: {e}") from e


def new_file_system_keeps_uuid_and_label():
    uuid = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"

    def blkid(tag):
        return subprocess.run(["blkid", "-p", "-s", tag, "-o", "value", lab.device], capture_output=True, text=True).stdout.strip()
    with lab_with_both() as lab:
        for label in ("slot-b", "", "a label of more than 16 bytes"):
            subprocess.run(["dd", "if=/dev/zero", f"of={lab.device}", "bs=1M", "count=1", "status=none"], check=True)
            lab.update("v2", "--uuid", uuid, "--label", label)
            lab.check("v2")
            assert blkid("UUID") == uuid and blkid("LABEL") == label[:16].strip(), (blkid("UUID"), blkid("LABEL"))
        # what was there had an id that no ext4 can have
        subprocess.run(["dd", "if=/dev/zero", f"of={lab.device}", "bs=1M", "count=1", "status=none"], check=True)
        lab.update("v2", "--uuid", "1A2B-3C4D")
        lab.check("v2")
        assert len(blkid("UUID")) == 36, blkid("UUID")


# ---- small inodes

def inodes_without_room_for_nanoseconds_are_told():
    sentence = "has inodes of 128 bytes, so times of files are kept in whole seconds only"
    with lab_with_both() as lab:
        for options, told in (("-I 128", True), ("-r 0 -O none", True), ("-I 256", False)):
            subprocess.run(["mkfs.ext4", "-q", "-F", *options.split(), lab.device], check=True)
            lab.update("v2")
            assert lab.log.count(sentence) == told, (options, lab.log)
        lab.check("v2")


# ---- full file systems

def fill(make):
    """Make entries until there is no room for one more."""
    for i in range(100_000):
        try:
            make(str(i))
        except OSError:
            return
    raise AssertionError("it does not become full")


def fill_blocks(folder):
    os.makedirs(folder, exist_ok=True)
    for size in (1 << 20, 1 << 16, 1 << 12, 1):
        def make(name, size=size):
            with open(f"{folder}/{size}-{name}", "wb") as f:
                f.write(b"x" * size)
                f.flush()
                os.fsync(f.fileno())
        fill(make)


def fill_inodes(folder):
    os.makedirs(folder, exist_ok=True)
    fill(lambda name: os.close(os.open(f"{folder}/{name}", os.O_CREAT)))


def slot_without_a_free_block_is_updated_from_what_it_holds():
    with lab_with_both() as lab:
        lab.active = lab.path("empty")
        os.makedirs(lab.active)
        with lab.mounted(writable=True) as root:
            os.makedirs(root + "/var/log", exist_ok=True)
            os.rename(root + "/usr/lib/big", root + "/var/log/big")  # a name that the image has not, but needs
            fill_blocks(root + "/var/log")
        stats = lab.update("v2")
        lab.check("v2")
        assert stats["moved"] > 0 and stats["fetched_contents"] == 4, stats


def slot_without_a_free_inode_is_updated_from_what_it_holds():
    with lab_with_both() as lab:
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "512", lab.device], check=True)
        lab.update("v1")
        lab.active = lab.path("empty")
        os.makedirs(lab.active)
        with lab.mounted(writable=True) as root:
            fill_inodes(root + "/var/log")
            assert os.statvfs(root).f_ffree == 0
        stats = lab.update("v2")
        lab.check("v2")
        assert stats["moved"] > 0 and stats["fetched_contents"] == 4, stats


def slot_with_few_free_inodes_is_updated():
    """None for the store, none for what is copied, none for what is made beside the old."""
    with lab_with_both() as lab:
        for left in (1, 3, 20, 60, 140):
            subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "352", lab.device], check=True)
            with lab.mounted(writable=True) as root:
                fill_inodes(root + "/x")
                for name in os.listdir(root + "/x")[:left]:
                    os.unlink(f"{root}/x/{name}")
            lab.update("v2")
            lab.check("v2")


def slot_that_is_full_of_what_may_not_go_is_made_anew():
    with lab_with_both() as lab:
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "512", lab.device], check=True)
        with lab.mounted(writable=True) as root:
            fill(lambda name: os.mkdir(f"{root}/{name}"))
            assert os.statvfs(root).f_ffree == 0
        lab.update("v2")
        lab.check("v2")
        reason = "Cannot make /.ota-resources on the standby slot: No space left on device"
        assert f"is made anew: {reason}" in lab.log, lab.log


# ---- who else has the slot

def slot_that_is_mounted_here_is_unmounted():
    with lab_with_both() as lab:
        points = [lab.path("here"), lab.path("there")]
        for p in points:
            os.makedirs(p)
            subprocess.run(["mount", lab.device, p], check=True)
        lab.update("v2")
        assert not any(os.path.ismount(p) for p in points)
        lab.check("v2")


def slot_that_is_busy_here_is_refused_with_the_process():
    with lab_with_both() as lab:
        point = lab.path("here")
        os.makedirs(point)
        subprocess.run(["mount", lab.device, point], check=True)
        holder = subprocess.Popen(["sleep", "1000"], cwd=point)
        try:
            e = lab.fail("v2")
            assert e.code == "E303" and point in e.sentence and f"process {holder.pid}" in e.sentence, (e.code, e.sentence)
        finally:
            holder.kill()
            holder.wait()
            subprocess.run(["umount", point], check=True)


def slot_that_is_mounted_where_the_machine_is_at_home_is_unmounted():
    """A daemon with a mount namespace of its own sees only a copy of what process 1 has mounted."""
    with lab_with_both() as lab:
        os.makedirs(lab.path("here"))
        driver = [os.environ["UPDATE_DRIVER"], "--own-namespace", "--url", lab.url + "/v2", "--certs", lab.path("certs"), "--device",
                  lab.device, "--active", lab.active, "--work", lab.path("run")]
        script = 'mount "$1" "$2" || exit 9; shift; here=$1; shift; "$@" || exit 8; ! mountpoint -q "$here"'
        p = subprocess.run(["unshare", "-m", "-p", "-f", "--mount-proc", "sh", "-c", script, "sh", lab.device, lab.path("here"), *driver],
                           capture_output=True, text=True)
        assert p.returncode == 0, (p.returncode, p.stderr)
        lab.check("v2")


def slot_of_the_running_system_is_refused():
    with lab_with_both() as lab:
        point = lab.path("here")
        os.makedirs(point)
        subprocess.run(["mount", lab.device, point], check=True)
        lab.active = point
        e = lab.fail("v2")
        assert e.code == "E303" and "running system" in e.sentence, (e.code, e.sentence)
        assert os.path.ismount(point)
        subprocess.run(["umount", point], check=True)
        lab.check("v1")


# ---- what the active slot does meanwhile

def active_slot_that_changes_costs_a_download_only():
    """The same size at the same path, but other bytes; and a file that has grown beyond the slot since it was looked at."""
    with lab_with_both() as lab:
        lab.wipe_slot()
        path = os.path.join(lab.active, "usr/lib/big")
        with open(path, "r+b") as f:
            f.write(b"#")
        stats = lab.update("v2")
        lab.check("v2")
        assert stats["fetched_contents"] == 5, stats


def file_beyond_4_gib_is_carried():
    """Zeros between two pieces of text. To hash it takes long, so it is done once, by the updater."""
    size, digest = (4 << 30) + (1 << 20), b"e638acbf6b4463a70a4dafafa010630bdd55e46965208976d3cb73449d27f542"
    with lab_with_both(slot_mib=6000) as lab:
        path = os.path.join(lab.active, "large")
        with open(path, "wb") as f:
            f.write(b"begin")
            f.seek(4 << 30)
            f.write(b"behind the border")
            f.truncate(size)
        forge(lab.path("images/v2"), lab.path("images/large"), lab.path("certs/sign.key"),
              lists={"regulars.txt": add_line(b"0644,0,0,1,%s,'/large',%d,," % (digest, size))})
        stats = lab.update("large")
        assert stats["processed_bytes"] > size and stats["copied"] == 1, stats
        with lab.mounted() as root, open(root + "/large", "rb") as f:
            assert os.stat(root + "/large").st_size == size
            assert f.read(5) == b"begin"
            f.seek(4 << 30)
            assert f.read(20) == b"behind the border\0\0\0"


def missing_system_folders_are_made_and_told():
    def make(root):
        t = Tree(root)
        t.dir("/etc")
        t.file("/etc/x", text(100, "x"))
        t.link("/run", "etc")
        t.done()
    with UpdateLab(slot_mib=32) as lab:
        lab.build("bare", make)
        for _ in range(2):
            lab.update("bare")
            for name in ("/dev", "/proc", "/sys", "/tmp"):
                assert f"has no {name}" in lab.log, lab.log
            assert "has no /run" not in lab.log
            with lab.mounted() as root:
                assert os.readlink(root + "/run") == "etc"
                for name, mode in (("dev", 0o755), ("proc", 0o755), ("sys", 0o755), ("tmp", 0o1777)):
                    assert os.stat(f"{root}/{name}").st_mode & 0o7777 == mode, name


if __name__ == "__main__":
    enter_private_mounts()
    run([
        every_mix_of_names_and_inodes_ends_in_the_images_groups,
        inode_is_not_shared_with_names_in_lost_and_found,
        store_that_shares_its_inodes_with_the_tree_is_used_and_removed,
        attributes_alone_change_without_a_byte_written,
        default_acl_on_the_root_marks_nothing,
        flags_inside_kept_folders_are_cleared,
        longest_names_and_paths_are_carried,
        what_is_deeper_or_longer_than_any_path_is_removed,
        paths_too_long_on_the_active_slot_are_passed_over,
        damaged_file_systems_are_made_anew,
        new_file_system_keeps_uuid_and_label,
        inodes_without_room_for_nanoseconds_are_told,
        slot_without_a_free_block_is_updated_from_what_it_holds,
        slot_without_a_free_inode_is_updated_from_what_it_holds,
        slot_with_few_free_inodes_is_updated,
        slot_that_is_full_of_what_may_not_go_is_made_anew,
        slot_that_is_mounted_here_is_unmounted,
        slot_that_is_busy_here_is_refused_with_the_process,
        slot_that_is_mounted_where_the_machine_is_at_home_is_unmounted,
        slot_of_the_running_system_is_refused,
        active_slot_that_changes_costs_a_download_only,
        missing_system_folders_are_made_and_told,
        file_beyond_4_gib_is_carried,
    ])
