#!/usr/bin/python3
"""Who may include whom: checks every #include against the two tables of ARCHITECTURE.md.

Argument: the root of the source tree. One line per offence, exit status 1 if there is any.
"""
import fnmatch
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# The C library's and the kernel's; everything else <…> needs a door.
SYSTEM = """assert alloca byteswap complex ctype dirent dlfcn elf endian err errno error execinfo fcntl fenv float fnmatch fts ftw
getopt glob grp ifaddrs inttypes iso646 langinfo libgen limits link locale malloc math mntent netdb nl_types paths poll
pthread pty pwd regex resolv sched search semaphore setjmp shadow signal spawn stdalign stdarg stdatomic stdbool stddef
stdint stdio stdio_ext stdlib stdnoreturn string strings syscall sysexits syslog termios tgmath threads time uchar ucontext
unistd utime utmp wchar wctype""".split()
SYSTEM_FOLDERS = ("sys/", "linux/", "net/", "netinet/", "arpa/", "asm/", "rpc/", "bits/", "sanitizer/")


class Tables:
    """The include table and the door table."""

    def __init__(self, text):
        self.rooms = {}  # room: allowed paths
        self.doors = []  # (header pattern, paths)
        for cells in rows(text, "include-table"):
            self.rooms[words(cells[1])[0]] = words(cells[3])
        for cells in rows(text, "door-table"):
            self.doors += [(h, words(cells[2])) for h in words(cells[1])]
        if len(self.rooms) < 5 or len(self.doors) < 5:
            sys.exit("include_rules: the tables of ARCHITECTURE.md cannot be read")

    def room_of(self, path):
        fits = [r for r in self.rooms if is_below(path, r)]
        return max(fits, key=len) if fits else None

    def door_of(self, header):
        for pattern, paths in self.doors:
            if fnmatch.fnmatch(header, pattern) or fnmatch.fnmatch(os.path.basename(header), pattern):
                return paths
        return None


def rows(text, name):
    """Cells of each row of the table between <!-- name --> and <!-- end -->, without the head."""
    part = re.search(r"<!-- %s -->\n(.*?)<!-- end -->" % name, text, re.S)
    lines = part.group(1).splitlines() if part else []
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:]]


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def is_below(path, folder):
    return path == folder or path.startswith(folder + "/")


def check(path, kind, header, tables, exists):
    """What is wrong with one include; None if nothing."""
    in_tests = path.startswith("tests/")  # may look behind every door
    door = tables.door_of(header)
    if door is not None:
        if in_tests or any(is_below(path, d) for d in door):
            return None
        return "%s belongs behind %s" % (header, " or ".join(door))
    if kind == "<":
        if header.startswith(SYSTEM_FOLDERS) or header.removesuffix(".h") in SYSTEM:
            return None
        return "%s has no door in ARCHITECTURE.md" % header
    if not exists(header):
        return "%s is not a path from the root of the tree" % header
    if in_tests:
        return None
    room = tables.room_of(path)
    if room is None:
        return "its folder is not in the include table of ARCHITECTURE.md"
    if is_below(header, room) or any(is_below(header, a) for a in tables.rooms[room]):
        return None
    return "%s may not include %s" % (room, header)


def sources(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if not d.startswith((".", "build")))
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(folder, name), root)


def includes(text):
    for number, line in enumerate(text.splitlines(), 1):
        m = INCLUDE.match(line)
        if m:
            yield number, m.group(1), m.group(2)


def main():
    root = sys.argv[1]
    with open(os.path.join(root, "ARCHITECTURE.md"), encoding="utf-8") as f:
        tables = Tables(f.read())
    bad = n = 0
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        n += 1
        for number, kind, header in includes(text):
            wrong = check(path, kind, header, tables, lambda h: os.path.exists(os.path.join(root, h)))
            if wrong:
                bad += 1
                print("%s:%d: %s" % (path, number, wrong))
    print("include_rules: %d files, %d offences" % (n, bad))
    sys.exit(1 if bad or not n else 0)


if __name__ == "__main__":
    main()
