"""trees: small root file systems with everything in them that has ever gone wrong.

make_v1(root) and make_v2(root) build two releases of one system; v2 differs from v1 in every way two releases can
(moves, swaps, changed kinds, split and joined link groups, attributes alone). Needs root, for owners and capabilities.
"""

import hashlib
import os
import struct

EPOCH = 1_600_000_000


def noise(size, seed):
    return hashlib.shake_256(seed.encode()).digest(size)


def text(size, seed):
    line = f"line of {seed}\n".encode()
    return (line * (size // len(line) + 1))[:size]


class Tree:
    def __init__(self, root):
        self.root = os.fsencode(root)
        self.later = []  # times are set last, folders would lose theirs

    def at(self, path):
        return self.root + os.fsencode(path)

    def _finish(self, path, mode, owner, mtime, link=False):
        os.chown(self.at(path), *owner, follow_symlinks=False)
        if not link:
            os.chmod(self.at(path), mode)
        self.later.append((path, mtime))

    def dir(self, path, mode=0o755, owner=(0, 0), mtime=1):
        os.makedirs(self.at(path), exist_ok=True)
        self._finish(path, mode, owner, mtime)

    def file(self, path, data=b"", mode=0o644, owner=(0, 0), mtime=2, xattrs=()):
        with open(self.at(path), "wb") as f:
            f.write(data)
        self._finish(path, mode, owner, mtime)
        for key, value in xattrs:
            os.setxattr(self.at(path), key, value)

    def link(self, path, target, owner=(0, 0), mtime=3):
        os.symlink(target, self.at(path))
        self._finish(path, 0, owner, mtime, link=True)

    def name(self, old, new):
        os.link(self.at(old), self.at(new))

    def system(self):
        """The folders without which no system starts."""
        for d in ("/dev", "/proc", "/sys", "/run"):
            self.dir(d)
        self.dir("/tmp", 0o1777)

    def done(self):
        for path, t in reversed(self.later):
            ns = (EPOCH + t) * 10**9 + t * 1001 % 10**9
            os.utime(self.at(path), ns=(ns, ns), follow_symlinks=False)
        os.utime(self.root, ns=(EPOCH * 10**9, EPOCH * 10**9))


CAPABILITY = struct.pack("<5I", 0x02000000 | 1, 1 << 13, 0, 0, 0)  # v2, cap_net_raw+ep
# user::rw-, user:1000:rw-, group::r--, mask::rw-, other::r--
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, uid) for tag, perm, uid in (
    (1, 6, 0xFFFFFFFF), (2, 6, 1000), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)))
# for a folder: what is made in it gets these
DEFAULT_ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, uid) for tag, perm, uid in (
    (1, 7, 0xFFFFFFFF), (2, 7, 1000), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 5, 0xFFFFFFFF)))


def _common(t):
    for d in ("/bin", "/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/share", "/home", "/opt", "/var", "/var/lib", "/boot"):
        t.dir(d)
    t.system()
    t.dir("/var/tmp", 0o1777)
    t.dir("/usr/lib/setgid", 0o2775, (0, 50))
    t.dir("/home/user name", 0o700, (1000, 1000))
    t.dir("/opt/empty folder")
    t.dir("/usr/share/日本語")
    t.file("/etc/hosts", b"127.0.0.1 localhost\n")
    t.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    t.file("/etc/group", b"root:x:0:\nuser:x:1000:\n")
    t.file("/etc/shadow", b"root:*:1:0:9:7:::\n", 0o640, (0, 42))
    t.file("/usr/bin/suid", b"#!/bin/sh\n", 0o4755)
    t.file("/usr/bin/sgid", b"#!/bin/sh\n# group\n", 0o2755, (0, 5))
    t.file("/etc/everyone", b"everyone may write this\n", 0o666)
    t.file("/etc/everyone-too", b"everyone may write this\n", 0o666)
    t.file("/etc/everyone-empty", b"", 0o777)
    t.file("/usr/bin/locked", b"nobody reads this\n", 0o000)
    t.file("/usr/bin/cap", noise(3000, "cap"), 0o755, xattrs=[("security.capability", CAPABILITY)])
    t.file("/etc/acl", b"shared\n", 0o664, xattrs=[("system.posix_acl_access", ACL)])
    t.file("/usr/share/it's, a \"name\"", b"quoted\n")
    t.file("/usr/share/日本語/ファイル", b"utf-8\n", xattrs=[("user.note", b"\x00\xff binary"), ("user.empty", b"")])
    t.file("/usr/share/%41+;=@:&$!*", b"escaped in a url\n")
    t.link("/etc/resolv.conf", "../run/resolv.conf", mtime=77)
    t.link("/usr/bin/loop", "loop")
    t.link("/home/user name/mine", "/etc/hosts", (1000, 1000))
    t.file("/var/empty", b"")
    t.file("/usr/lib/big", noise(5 << 20, "big"))
    t.file("/usr/lib/text", text(200_000, "text"))
    for i in range(60):
        t.file(f"/usr/share/f{i:02}", text(700 + 37 * i, f"f{i}"), mtime=100 + i)


def make_v1(root):
    t = Tree(root)
    _common(t)
    t.dir("/usr/lib/acl-dir")
    t.file("/usr/bin/multi", noise(20_000, "multi"), 0o755)
    t.name("/usr/bin/multi", "/usr/bin/multi-ls")
    t.name("/usr/bin/multi", "/usr/lib/multi-cp")
    t.file("/var/linked-empty-a", b"")
    t.name("/var/linked-empty-a", "/var/linked-empty-b")
    t.file("/opt/dup1", b"same content\n")
    t.file("/opt/dup2", b"same content\n", 0o600, (1000, 1000))
    t.file("/opt/swap-a", text(30_000, "swap a"))
    t.file("/opt/swap-b", text(30_000, "swap b"))
    t.file("/opt/moved-from", noise(40_000, "moved"))
    t.file("/opt/was-file", b"a file that becomes a folder\n")
    t.dir("/opt/was-dir")
    t.file("/opt/was-dir/inside", text(5000, "inside"))
    t.dir("/opt/becomes-link")
    t.file("/opt/becomes-link/inside", text(6000, "other inside"))
    t.link("/opt/was-link", "dup1")
    t.file("/opt/same-size", b"version 1 of this\n")
    t.file("/opt/only-mode", b"only the mode differs\n", 0o644)
    t.file("/opt/only-mtime", b"only the time differs\n", mtime=5)
    t.file("/opt/only-xattr", b"only the xattr differs\n", xattrs=[("user.v", b"1")])
    t.file("/opt/gone", text(50_000, "gone"))
    t.file("/opt/group-a", noise(9000, "group"))
    t.name("/opt/group-a", "/opt/group-b")
    t.file("/opt/single-a", noise(9100, "single"))
    t.file("/opt/single-b", noise(9100, "single"))
    t.done()


def make_v2(root):
    t = Tree(root)
    _common(t)
    t.dir("/usr/lib/acl-dir", 0o775)
    os.setxattr(t.at("/usr/lib/acl-dir"), "system.posix_acl_default", DEFAULT_ACL)
    t.file("/usr/bin/multi", noise(20_000, "multi"), 0o755)
    t.name("/usr/bin/multi", "/usr/lib/multi-cp")          # one name of three is gone
    t.file("/usr/bin/multi-ls", noise(20_000, "multi"), 0o755)  # and now stands alone
    t.file("/var/linked-empty-a", b"")
    t.file("/var/linked-empty-b", b"")
    t.file("/opt/dup1", b"same content\n", 0o600)
    t.file("/opt/dup2", b"same content\n", 0o644)
    t.file("/opt/dup3", b"same content\n", 0o640)
    t.file("/opt/swap-a", text(30_000, "swap b"))
    t.file("/opt/swap-b", text(30_000, "swap a"))
    t.file("/opt/moved-to", noise(40_000, "moved"), 0o755)
    t.dir("/opt/was-file")
    t.file("/opt/was-file/inside", text(5000, "inside"))
    t.file("/opt/was-dir", b"a folder that becomes a file\n")
    t.link("/opt/becomes-link", "was-file")
    t.file("/opt/was-link", text(6000, "other inside"))
    t.file("/opt/same-size", b"version 2 of this\n")
    t.file("/opt/only-mode", b"only the mode differs\n", 0o4711)
    t.file("/opt/only-mtime", b"only the time differs\n", mtime=9)
    t.file("/opt/only-xattr", b"only the xattr differs\n", xattrs=[("user.w", b"2")])
    t.file("/opt/new", text(70_000, "new"))
    t.file("/opt/new-too", noise(64_000, "new too"), 0o755)
    t.file("/opt/group-a", noise(9000, "group"))
    t.file("/opt/group-b", noise(9000, "group"), 0o640)    # the group is split
    t.file("/opt/single-a", noise(9100, "single"))
    t.name("/opt/single-a", "/opt/single-b")               # and two are joined
    t.done()
