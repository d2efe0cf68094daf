"""image_tree: the tree that an image's lists speak of, read by other code than the product's, as tree_list has it.

image_tree(folder) gives {path: Entry} without times; without_times(list_tree(root)) is what it compares with.
"""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
from tree_list import OURS, Entry, group  # noqa: E402

QUOTED = rb"'((?:[^']|'\\'')*)'"
DIR = re.compile(rb"(\d+),(\d+),(\d+)," + QUOTED)
SYMLINK = re.compile(rb"(\d+),(\d+),(\d+)," + QUOTED + b"," + QUOTED)
REGULAR = re.compile(rb"(\d+),(\d+),(\d+),\d+,([0-9a-fA-F]{64})," + QUOTED + rb"(?:,(\d*)(?:,(\d*))?(?:,\w*)?)?")
XATTR = re.compile(QUOTED + rb",xattr:(.*),([0-9a-fA-F]*)", re.S)
# What the updater makes where an image has it not.
NEEDED = {b"/dev": 0o755, b"/proc": 0o755, b"/sys": 0o755, b"/run": 0o755, b"/tmp": 0o1777}


def _lines(folder, name):
    with open(os.path.join(folder, name), "rb") as f:
        return [line.strip(b" \t\r") for line in f.read().split(b"\n") if line]


def _plain(quoted):
    return quoted.replace(b"'\\''", b"'")


def _folder(mode=0o755, uid=0, gid=0):
    return Entry("dir", mode, uid, gid, "", (), 0, ())


def _files(folder):
    """{path: (mode, uid, gid, digest, inode)}, and each one's names; a group is as its first line says."""
    first, names, files = {}, {}, {}
    for line in _lines(folder, "regulars.txt"):
        mode, uid, gid, digest, path, _, inode = REGULAR.fullmatch(line).groups()
        path = _plain(path)
        key = inode if inode and int(inode) else path
        first.setdefault(key, (int(mode, 8), int(uid), int(gid), digest.decode().lower()))
        names.setdefault(key, []).append(path)
        files[path] = key
    groups = {key: group(paths) for key, paths in names.items()}
    return {path: (*first[key], groups[key]) for path, key in files.items()}


def _add_parents(tree):
    for path in list(tree):
        while (path := path.rpartition(b"/")[0]) and path not in tree:
            tree[path] = _folder()


def image_tree(folder):
    tree = {b"/": _folder()}
    for line in _lines(folder, "dirs.txt"):
        mode, uid, gid, path = DIR.fullmatch(line).groups()
        tree[_plain(path)] = _folder(int(mode, 8), int(uid), int(gid))
    for line in _lines(folder, "symlinks.txt"):
        _, uid, gid, path, target = SYMLINK.fullmatch(line).groups()
        tree[_plain(path)] = Entry("link", 0o777, int(uid), int(gid), os.fsdecode(_plain(target)), (), 0, (_plain(path),))
    for path, (mode, uid, gid, digest, names) in _files(folder).items():
        tree[path] = Entry("file", mode, uid, gid, digest, (), 0, names)
    _add_parents(tree)
    for path, mode in NEEDED.items():
        tree.setdefault(path, _folder(mode))
    xattrs = {}
    for line in _lines(folder, "attributes.txt"):
        if m := XATTR.fullmatch(line):
            xattrs.setdefault(_plain(m[1]), []).append((os.fsdecode(m[2]), m[3].decode().lower()))
    for path, values in xattrs.items():
        for name in tree[path].names or (path,):
            tree[name] = tree[name]._replace(xattrs=tuple(sorted(values)))
    return {path: e for path, e in tree.items() if b"/" + path.split(b"/")[1] not in OURS}


def without_times(tree):
    return {path: e._replace(mtime_ns=0) for path, e in tree.items()}
