#!/usr/bin/env python3
"""Persistent files: what a machine keeps across an update, and what an entry of the list can never do."""

import os
import socket
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from trees import ACL, CAPABILITY, DEFAULT_ACL, Tree  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

PASSWD_OLD = b"root:x:0:0::/:/bin/sh\ndaemon1:x:501:501::/:/bin/sh\nonlyold:x:777:777::/:/bin/sh\n"
PASSWD_NEW = b"root:x:0:0::/:/bin/sh\ndaemon1:x:602:501::/:/bin/sh\n"
GROUP_OLD = b"root:x:0:\nstaff1:x:501:\n"
GROUP_NEW = b"root:x:0:\nstaff1:x:602:\n"


def image_tree(root):
    """The new system: usr-merged, with its own idea of the persistent files."""
    t = Tree(root)
    for d in ("/etc", "/etc/netplan", "/usr", "/usr/bin", "/var", "/boot", "/opt"):
        t.dir(d)
    t.link("/bin", "usr/bin")
    t.file("/usr/bin/tool", b"#!/bin/sh\n", 0o755)
    t.file("/etc/passwd", PASSWD_NEW)
    t.file("/etc/group", GROUP_NEW)
    t.file("/etc/hosts", b"the image's hosts\n")
    t.name("/etc/hosts", "/etc/hosts-twin")
    t.file("/etc/netplan/image.yaml", b"from the image\n")
    t.file("/var/a-file", b"a file where the machine has a folder\n")
    t.dir("/opt/marks")
    os.setxattr(t.at("/opt/marks"), "system.posix_acl_default", DEFAULT_ACL)
    t.link("/etc/out", "../../../../../boot")
    t.link("/etc/store", "/.ota-meta")
    t.link("/etc/nowhere", "not/there")
    t.link("/etc/around", "/../../usr/../opt")
    t.done()


def machine_tree(root):
    t = Tree(root)
    for d in ("/etc", "/usr", "/usr/bin", "/var", "/boot", "/opt", "/opt/app"):
        t.dir(d)
    t.dir("/etc/netplan", 0o750)
    t.dir("/opt/app/state", 0o711, (501, 501))
    t.link("/bin", "usr/bin")
    t.file("/etc/passwd", PASSWD_OLD)
    t.file("/etc/group", GROUP_OLD)
    t.file("/etc/hosts", b"the machine's hosts\n", mtime=4711)
    t.file("/etc/netplan/machine.yaml", b"from the machine\n", 0o600, mtime=99)
    t.link("/etc/netplan/link.yaml", "machine.yaml")
    t.file("/usr/bin/local-tool", b"#!/bin/sh\n# local\n", 0o4755)
    t.file("/opt/app/state/db", b"data\n", 0o640, (501, 501), xattrs=[("user.k", b"v"), ("system.posix_acl_access", ACL)])
    t.name("/opt/app/state/db", "/opt/app/state/db-second-name")
    t.file("/opt/app/state/owned-by-nobody-new", b"x\n", owner=(777, 777))
    t.file("/opt/app/cap", b"cap\n", 0o755, xattrs=[("security.capability", CAPABILITY)])
    t.file("/etc/it's", b"quoted\n")
    t.dir("/var/a-file")
    t.file("/var/a-file/inside", b"inside\n")
    t.dir("/var/dir-becomes-file")
    t.file("/swapfile", b"\0" * 4096)
    t.dir("/var/spool")
    t.file("/var/spool/swap", b"\0" * 4086 + b"SWAPSPACE2" + b"\0" * 4096)
    t.file("/var/spool/keep", b"keep\n")
    t.file("/var/spool/disk.img", b"begin")
    os.truncate(t.at("/var/spool/disk.img"), 3 << 30)
    t.dir("/opt/marks")
    t.dir("/opt/marks/dir", 0o750)
    t.file("/opt/marks/dir/file", b"unmarked\n", 0o640)
    t.file("/opt/marks/file", b"unmarked\n", 0o640)
    t.dir("/opt/marks/parent", 0o700)
    t.file("/opt/marks/parent/file", b"unmarked\n", 0o640)
    for d in ("/etc/out", "/etc/store", "/etc/nowhere", "/etc/around"):
        t.dir(d)
        t.file(d + "/x", b"through a link\n")
    t.dir("/etc/out/new")
    t.file("/etc/out/new/x", b"through a link\n")
    t.done()
    d = os.path.join(root, "var/spool")
    for _ in range(140):
        d += "/d"
        os.mkdir(d)
    s = socket.socket(socket.AF_UNIX)
    s.bind(os.path.join(root, "opt/app/state/socket"))
    s.close()


PERSISTENTS = ("/etc/hosts", "/etc/netplan", "/bin/local-tool", "/opt/app", "/etc/it's", "/not/there", "/swapfile", "/boot/x",
               "/proc/self", "/etc/../etc/shadow", "/", "", "etc/hosts",
               "/.ota-meta", "/var/a-file/inside", "/dev/null", "/var/spool", "/opt/marks/dir",
               "/opt/marks/file", "/opt/marks/parent/file", "/etc/out/x", "/etc/store/x", "/etc/nowhere/x", "/etc/around/x",
               "/etc/out/new/x")

lab = None


def slot():
    return lab.mounted()


def contents_owners_modes_times_and_xattrs_are_kept():
    with slot() as root:
        p = os.path.join(root, "etc/hosts")
        assert open(p).read() == "the machine's hosts\n"
        assert os.stat(p).st_mtime_ns == os.stat(os.path.join(lab.active, "etc/hosts")).st_mtime_ns
        db = os.path.join(root, "opt/app/state/db")
        assert (os.stat(db).st_uid, os.stat(db).st_gid) == (602, 602), "owners go by name"
        assert os.getxattr(db, "user.k") == b"v" and os.getxattr(db, "system.posix_acl_access") == ACL
        assert os.stat(os.path.join(root, "opt/app/state/owned-by-nobody-new")).st_uid == 777, "a nameless owner keeps its number"
        assert os.getxattr(os.path.join(root, "opt/app/cap"), "security.capability") == CAPABILITY


def set_id_bits_and_hard_links_are_kept():
    with slot() as root:
        assert stat.S_IMODE(os.stat(os.path.join(root, "usr/bin/local-tool")).st_mode) == 0o4755
        a, b = (os.stat(os.path.join(root, "opt/app/state", n)) for n in ("db", "db-second-name"))
        assert a.st_ino == b.st_ino and a.st_nlink == 2


def other_names_of_an_inode_keep_the_images_content():
    with slot() as root:
        assert open(os.path.join(root, "etc/hosts-twin")).read() == "the image's hosts\n"


def directory_replaces_the_images():
    with slot() as root:
        d = os.path.join(root, "etc/netplan")
        assert sorted(os.listdir(d)) == ["link.yaml", "machine.yaml"]
        assert stat.S_IMODE(os.stat(d).st_mode) == 0o750
        assert os.readlink(os.path.join(d, "link.yaml")) == "machine.yaml"
        assert os.stat(d).st_mtime_ns == os.stat(os.path.join(lab.active, "etc/netplan")).st_mtime_ns


def link_that_leads_to_a_folder_stays_a_link():
    with slot() as root:
        assert os.readlink(os.path.join(root, "bin")) == "usr/bin"
        assert os.path.exists(os.path.join(root, "usr/bin/tool")), "the image's own files stay"


def missing_parents_are_made_like_the_machines():
    with slot() as root:
        assert stat.S_IMODE(os.stat(os.path.join(root, "opt/app/state")).st_mode) == 0o711


def quoted_names_are_understood():
    with slot() as root:
        assert open(os.path.join(root, "etc/it's")).read() == "quoted\n"


def refused_and_missing_entries_are_told():
    for words in ("/not/there is not carried over: the active slot has none", "entry \"/swapfile\" is refused",
                  "entry \"/boot/x\" is refused", "entry \"/proc/self\" is refused",
                  "entry \"/etc/../etc/shadow\" is refused",
                  "entry \"/\" is refused", "The persistent entry \"\" is refused", "entry \"etc/hosts\" is refused",
                  "entry \"/.ota-meta\" is refused", "entry \"/dev/null\" is refused",
                  "/opt/app/state/socket is not carried over: it is a socket",
                  "/var/a-file/inside is not carried over: on the standby slot something that is no folder is in its way"):
        assert words in lab.log, f"\"{words}\" is not in:\n{lab.log}"
    with slot() as root:
        assert not os.path.exists(os.path.join(root, "swapfile"))
        assert open(os.path.join(root, "var/a-file")).read().startswith("a file where")


def default_acls_of_the_image_do_not_mark_what_is_carried_over():
    with slot() as root:
        for path, mode in (("dir", 0o750), ("dir/file", 0o640), ("file", 0o640), ("parent", 0o700), ("parent/file", 0o640)):
            path = os.path.join(root, "opt/marks", path)
            assert os.listxattr(path) == [], (path, os.listxattr(path))
            assert stat.S_IMODE(os.stat(path).st_mode) == mode, path
        assert os.getxattr(os.path.join(root, "opt/marks"), "system.posix_acl_default") == DEFAULT_ACL


def swap_files_inside_folders_are_left_out():
    assert "/var/spool/swap is not carried over: it is swap space" in lab.log, lab.log
    with slot() as root:
        assert sorted(os.listdir(os.path.join(root, "var/spool"))) == ["d", "disk.img", "keep"]


def files_with_holes_keep_them():
    with slot() as root:
        st = os.stat(os.path.join(root, "var/spool/disk.img"))
        assert st.st_size == 3 << 30 and st.st_blocks < 1000, st
        with open(os.path.join(root, "var/spool/disk.img"), "rb") as f:
            assert f.read(8) == b"begin\0\0\0"


def folders_that_lie_too_deep_are_told():
    assert "more than 128 folders lie in each other" in lab.log, lab.log


def links_lead_nowhere_that_may_not_be_changed():
    for words in ("entry \"/etc/out/x\" is refused", "entry \"/etc/store/x\" is refused",
                  "/etc/nowhere/x is not carried over", "/etc/out/new/x is not carried over"):
        assert words in lab.log, f"\"{words}\" is not in:\n{lab.log}"
    with slot() as root:
        assert os.listdir(os.path.join(root, "boot")) == [] and not os.path.exists(os.path.join(root, ".ota-meta/x"))
        assert open(os.path.join(root, "opt/x")).read() == "through a link\n", "a link that leads to a folder is followed"
        assert os.readlink(os.path.join(root, "etc/around")) == "/../../usr/../opt"


def second_run_gives_the_same():
    with slot() as root:
        before = sorted(os.listdir(os.path.join(root, "opt/app/state")))
    lab.update("image")
    with slot() as root:
        assert sorted(os.listdir(os.path.join(root, "opt/app/state"))) == before
    contents_owners_modes_times_and_xattrs_are_kept()
    set_id_bits_and_hard_links_are_kept()


def main():
    global lab
    with UpdateLab() as lab:
        lab.build("image", image_tree, persistents=PERSISTENTS)
        lab.active = lab.path("machine")
        os.makedirs(lab.active)
        machine_tree(lab.active)
        lab.update("image")
        run([
            contents_owners_modes_times_and_xattrs_are_kept,
            set_id_bits_and_hard_links_are_kept,
            other_names_of_an_inode_keep_the_images_content,
            directory_replaces_the_images,
            link_that_leads_to_a_folder_stays_a_link,
            missing_parents_are_made_like_the_machines,
            quoted_names_are_understood,
            refused_and_missing_entries_are_told,
            default_acls_of_the_image_do_not_mark_what_is_carried_over,
            swap_files_inside_folders_are_left_out,
            files_with_holes_keep_them,
            folders_that_lie_too_deep_are_told,
            links_lead_nowhere_that_may_not_be_changed,
            second_run_gives_the_same,
        ])


if __name__ == "__main__":
    enter_private_mounts()
    main()
