"""tree_list: everything about a tree that an update must reproduce, as a comparable value.

list_tree(root) gives {path: Entry}; differences(a, b) gives readable lines, empty when the trees are equal: names,
types, contents, owners, modes, link groups, link targets, xattrs and modification times.
"""

import hashlib
import os
import stat
from typing import NamedTuple


class Entry(NamedTuple):
    kind: str
    mode: int
    uid: int
    gid: int
    data: str          # digest of a file, target of a link, device number
    xattrs: tuple
    mtime_ns: int
    names: tuple       # of its inode; () for folders


# What the updater itself adds to a slot.
OURS = {b"/.ota-meta", b"/.ota-resources", b"/lost+found"}


def _xattrs(path):
    return tuple(sorted((k, os.getxattr(path, k, follow_symlinks=False).hex())
                        for k in os.listxattr(path, follow_symlinks=False)))


def _data(path, st):
    if stat.S_ISLNK(st.st_mode):
        return os.fsdecode(os.readlink(path))
    if stat.S_ISREG(st.st_mode):
        h = hashlib.sha256()
        with open(path, "rb") as f:
            while chunk := f.read(1 << 20):
                h.update(chunk)
        return h.hexdigest()
    return str(st.st_rdev)


def group(paths):
    """The names of one inode, to compare; of very many, which are compared once for each of them, a digest."""
    names = tuple(sorted(paths))
    return names if len(names) < 100 else (names[0], len(names), hashlib.sha256(b"\0".join(names)).hexdigest())


def list_tree(root, skip=OURS):
    """From inside: a path may be as long as the system takes, and be below any root."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir(root)
    try:
        return _list_here(skip)
    finally:
        os.fchdir(before)
        os.close(before)


def _list_here(skip):
    inodes, stats, folders = {}, {b"/": (b".", os.lstat("."))}, [b""]
    while folders:
        path = folders.pop()
        for name in os.listdir(path[1:] or b"."):
            p = path + b"/" + name
            if p in skip:
                continue
            st = os.lstat(p[1:])
            stats[p] = (p[1:], st)
            if stat.S_ISDIR(st.st_mode):
                folders.append(p)
            else:
                inodes.setdefault(st.st_ino, []).append(p)
    names = {ino: group(paths) for ino, paths in inodes.items()}
    return {path: Entry(
        kind={stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(stat.S_IFMT(st.st_mode), "special"),
        mode=stat.S_IMODE(st.st_mode), uid=st.st_uid, gid=st.st_gid, data="" if stat.S_ISDIR(st.st_mode) else _data(full, st),
        xattrs=_xattrs(full), mtime_ns=st.st_mtime_ns,
        names=() if stat.S_ISDIR(st.st_mode) else names[st.st_ino])
        for path, (full, st) in stats.items()}


def differences(want, have, ignore_mtime_of=()):
    out = []
    for path in sorted(want.keys() | have.keys()):
        shown = os.fsdecode(path)
        if path not in have:
            out.append(f"{shown}: missing")
        elif path not in want:
            out.append(f"{shown}: too much ({have[path].kind})")
        else:
            for field in Entry._fields:
                w, h = getattr(want[path], field), getattr(have[path], field)
                if w != h and not (field == "mtime_ns" and path in ignore_mtime_of):
                    out.append(f"{shown}: {field} is {h!r}, should be {w!r}")
    return out
