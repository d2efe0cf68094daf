#!/usr/bin/env python3
"""Images that somebody with the signing key has made to do harm: each is refused with its sentence, or does none.

One row per image. "Refused": before the standby slot has changed by a byte. "Late": by what only the contents or the file system
can tell; the slot is not booted. "Harmless": the slot is the tree that the lists speak of. Whatever comes of it, nothing outside
the slot has changed, and time and memory (of the updater, and of the processes that fetch for it) have stayed below the row's limits.

    test_hostile.py [--long] [ROW…]
"""

import contextlib
import hashlib
import itertools
import os
import struct
import subprocess
import sys
import time
from typing import NamedTuple

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import add_line, forge, read, write  # noqa: E402
from image_tree import image_tree, without_times  # noqa: E402
from peak import Peak  # noqa: E402
from tree_list import differences, list_tree  # noqa: E402
from trees import Tree, text  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

lab = None
MIB = 1 << 20
EMPTY = hashlib.sha256().hexdigest().encode()
ZERO = b"0" * 64
HOSTS = b"127.0.0.1 localhost\n"
HOSTS_DIGEST = hashlib.sha256(HOSTS).hexdigest().encode()


class Row(NamedTuple):
    name: str
    how: dict          # for forge(): lists, payload; and "contents": {digest: bytes of the blob}
    verdict: str       # REFUSED, LATE, HARMLESS
    code: str = ""
    words: tuple = ()  # all in the sentence
    own_mib: int = 32  # at most, of the updater
    below_mib: int = 48
    seconds: int = 30
    inodes: int = 2000  # of the slot
    long: bool = False


REFUSED, LATE, HARMLESS = "refused", "late", "harmless"


def made_good(root):
    t = Tree(root)
    t.system()
    for d in ("/etc", "/usr", "/boot"):
        t.dir(d)
    t.file("/etc/hosts", HOSTS)
    t.file("/usr/text", text(9000, "text"))
    t.link("/etc/link", "hosts")
    t.done()


# ---- lines

def regular(path, digest=EMPTY, size=b"0", inode=b"", zst=b"", mode=b"0644", links=b"1"):
    quoted = path.replace(b"'", b"'\\''")
    return b"%s,0,0,%s,%s,'%s',%s,%s,%s" % (mode, links, digest, quoted, size, inode, zst)


def folder(path, mode=b"0755"):
    return b"%s,0,0,'%s'" % (mode, path.replace(b"'", b"'\\''"))


def link(path, target):
    return b"0777,0,0,'%s','%s'" % (path.replace(b"'", b"'\\''"), target.replace(b"'", b"'\\''"))


def regulars(*lines):
    return {"lists": {"regulars.txt": add_lines(*lines)}}


def folders(*lines):
    return {"lists": {"dirs.txt": add_lines(*lines)}}


def links(*lines):
    return {"lists": {"symlinks.txt": add_lines(*lines)}}


def persistents(*paths):
    return {"lists": {"persistents.txt": lambda data: b"".join(b"'%s'\n" % p for p in paths)}}


def attributes(*lines):
    return {"lists": {"attributes.txt": lambda data: b"\n".join(sorted(data.split(b"\n") + list(lines))).lstrip(b"\n")}}


def add_lines(*lines):
    return lambda data: data.rstrip(b"\n") + b"\n" + b"\n".join(lines)


def both(*hows):
    """All of their lists together."""
    lists = {}
    for how in hows:
        lists.update(how["lists"])
    return {"lists": lists}


# ---- frames, made by hand: what no compressor would write

def frame(blocks, window_log=17, content_size=None, dictionary=None):
    """A zstd frame of blocks (bytes, or (byte, count) for one that is a repeated byte of at most 128 KiB)."""
    flags = (3 if dictionary is not None else 0) | (0xC0 if content_size is not None else 0)
    out = [b"\x28\xb5\x2f\xfd", bytes([flags]), bytes([(window_log - 10) << 3])]
    if dictionary is not None:
        out.append(struct.pack("<I", dictionary))
    if content_size is not None:
        out.append(struct.pack("<Q", content_size))
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        if isinstance(block, tuple):
            byte, count = block
            out.append(struct.pack("<I", last | 1 << 1 | count << 3)[:3] + byte)
        else:
            out.append(struct.pack("<I", last | len(block) << 3)[:3] + block)
    return b"".join(out)


def zeros(n_bytes):
    block = 128 << 10
    return [(b"\0", block)] * (n_bytes // block) + ([(b"\0", n_bytes % block)] if n_bytes % block else [])


def digest_of_zeros(n_bytes):
    h = hashlib.sha256()
    for at in range(0, n_bytes, MIB):
        h.update(bytes(min(MIB, n_bytes - at)))
    return h.hexdigest().encode()


def content(blob, size, digest=ZERO, n=1):
    """A file whose blob is @blob and whose size is said to be @size."""
    digests = [digest if i == 0 else hashlib.sha256(b"%d" % i).hexdigest().encode() for i in range(n)]
    how = regulars(*(regular(b"/content-%d" % i, d, b"%d" % size, zst=b"zst") for i, d in enumerate(digests)))
    how["contents"] = {d: blob for d in digests}
    return how


# ---- collisions, for hashes that are known

def colliding_digests(n):
    return [b"00" * 8 + b"%048x" % i for i in range(1, n + 1)]


def colliding_inodes(n):
    """Numbers that a multiplicative hash with a known factor takes for one."""
    back = pow(0x9E3779B97F4A7C15, -1, 1 << 64)

    def unstep(h):
        return (h ^ h >> 32) * back % (1 << 64)
    return [unstep((unstep(i) ^ 1)) for i in range(1, n + 1)]


SCRIPTS = ("語", "ж", "ع", "א", "ก", "ह", "🚗", "é", "e\u0301", "\u202e", "\ufeff", "\u2028", "\U0010ffff", "ﷺ", "İ", "ß")


def long_names():
    out = []
    for c in SCRIPTS:
        raw = c.encode()
        name = raw * (255 // len(raw))
        out.append(b"/" + name + b"x" * (255 - len(name)))
    return out


def odd_names():
    """Each byte that the format can carry, alone, first, last and doubled. A CR too: inside quotes it is no line end."""
    chars = [bytes([i]) for i in range(1, 128) if i not in b"\n/"] + [s.encode() for s in SCRIPTS] + [b"'\\''", b"','", b"',0,0,'", b"%00", b"%2e%2e", b"..."]
    return sorted({b"/odd/" + name for c in chars for name in (c, c + b"-", b"-" + c, c + c) if name not in (b".", b"..")})


def deep_path(component, length):
    """The longest path of such components with at most @length bytes."""
    n = length // (len(component) + 1)
    path = (b"/" + component) * n
    return path + b"x" * (length - len(path))


UNCANONICAL = (b"", b"/", b"//", b"etc", b"./etc", b"/.", b"/..", b"/../x", b"/etc/..", b"/etc/../x", b"/a/../../../../etc/x", b"/./x", b"/a//b",
               b"//x", b"/a/", b"/\0", b"/a\0b", b"/../../../../../../../../etc/cron.d/x")
NEVER_CARRIED = (b"/", b"", b"etc/passwd", b"/../../../etc/hostile", b"/etc/../../x", b"/proc/self/environ", b"/proc", b"/dev/null", b"/dev",
                 b"/sys/kernel", b"/run/x", b"/boot", b"/boot/grub/grub.cfg", b"/.ota-meta/regulars.txt", b"/.ota-resources", b"/lost+found/x",
                 b"/swapfile", b"/out/canary", b"/up/canary", b"/etc/link/x", b"/no/such/file", b"/" + b"n" * 300, b"/a" * 2000)
TARGETS = (b"/", b"/etc/passwd", b"../../../../../../../../../etc/passwd", b"/proc/self/root/etc/passwd", b"/dev/sda", b"..", b".", b"self", b"//", b"a\rb",
           b"\x1b[2J", b"t" * 1000, b"/.ota-resources/x", b"'", b",'", "語".encode() * 300)

# Each in a list of its own kind; what is in the way stands there, too.
ROWS = [
    # escapes
    *[Row(f"{kind} at {path[:40]!r}", make(path), REFUSED, "E203", ("The image lists ",))
      for path, (kind, make) in zip(UNCANONICAL, itertools.cycle((
          ("a file", lambda p: regulars(regular(p))), ("a folder", lambda p: folders(folder(p))), ("a link", lambda p: links(link(p, b"t"))))))],
    *[Row(f"a file below a link to {target[:30]!r}", both(links(link(b"/esc", target)), regulars(regular(b"/esc/x"))), REFUSED, "E203",
          ("/esc/x", "a symbolic link")) for target in (b"/", b"/etc", b"../../..", b"/proc/self/root")],
    Row("a folder below a link", both(links(link(b"/esc", b"/etc")), folders(folder(b"/esc/x"))), REFUSED, "E203", ("/esc/x", "a symbolic link")),
    Row("a link below a link", links(link(b"/esc", b"/etc"), link(b"/esc/x", b"t")), REFUSED, "E203", ("/esc/x", "a symbolic link")),
    Row("a file below a file", regulars(regular(b"/etc/hosts/x")), REFUSED, "E203", ("/etc/hosts/x", "a file")),
    Row("a folder that is a link, too", both(links(link(b"/esc", b"/etc")), folders(folder(b"/esc"))), REFUSED, "E203", ("/esc twice",)),
    Row("a link in the place of a system folder", both(links(link(b"/proc", b"/etc")), {"lists": {
        "dirs.txt": lambda data: b"\n".join(x for x in data.split(b"\n") if b"'/proc'" not in x)}}), HARMLESS),
    Row("links to everywhere", links(*(link(b"/to-%d" % i, t) for i, t in enumerate(TARGETS))), HARMLESS),
    *[Row(f"a link to {t[:10]!r}", links(link(b"/to", t)), REFUSED, "E203", ("/to", words))
      for t, words in ((b"", "no target"), (b"t" * 4096, "too long"), (b"a\0b", "NUL"), (b"\xff", "UTF-8"))],
    Row("files named as devices", regulars(*(regular(p) for p in (
        b"/dev/sda", b"/dev/null", b"/dev/loop0", b"/proc/1/environ", b"/proc/sysrq-trigger", b"/sys/power/state", b"/run/otaclient.lock",
        b"/boot/grub/grubenv", b"/tmp/.X11-unix"))), HARMLESS),
    *[Row(f"the updater's own {p!r}", make(p), REFUSED, "E203", ("/.ota-",))
      for p in (b"/.ota-meta", b"/.ota-resources", b"/.ota-resources/" + ZERO, b"/.ota-") for make in (lambda p: regulars(regular(p)), lambda p: folders(folder(p)),
                                                                                                       lambda p: links(link(p, b"/etc")))],
    Row("nearly the updater's own", regulars(*(regular(p) for p in (b"/.ota", b"/.OTA-meta", b"/etc/.ota-meta", b"/.ota_io_tmp_0123456789ab"))), HARMLESS),
    Row("a file for lost+found", regulars(regular(b"/lost+found")), REFUSED, "E203", ("/lost+found", "has a folder")),
    Row("a link for lost+found", links(link(b"/lost+found", b"/etc")), REFUSED, "E203", ("/lost+found", "has a folder")),
    Row("files in lost+found", both(folders(folder(b"/lost+found", b"0700")), regulars(regular(b"/lost+found/x"))), HARMLESS),
    # persistents
    Row("persistents that escape", persistents(*NEVER_CARRIED), HARMLESS),
    Row("persistents that are no list", {"lists": {"persistents.txt": lambda data: b"/etc/passwd\n"}}, REFUSED, "E203", ("persistents.txt",)),
    Row("a persistent of 1 MiB", persistents(b"/" + b"p" * MIB), REFUSED, "E203", ("longer than a path",)),
    # names
    Row("names of 255 bytes in many scripts", regulars(*(regular(p) for p in long_names())), HARMLESS),
    Row("a name of 256 bytes", regulars(regular(b"/" + b"n" * 256)), REFUSED, "E203", ("no longer than the system allows",)),
    Row("a folder's name of 256 bytes", regulars(regular(b"/" + b"n" * 256 + b"/x")), REFUSED, "E203", ("no longer than the system allows",)),
    Row("a path of 4096 bytes", regulars(regular(deep_path(b"p" * 99, 4096))), REFUSED, "E203", ("no longer than the system allows",)),
    Row("a path of 4095 bytes", regulars(regular(deep_path(b"p" * 99, 4095))), HARMLESS),
    Row("2047 folders deep", regulars(regular(deep_path(b"d", 4095))), HARMLESS, inodes=4000),
    Row("1 MiB of a name", regulars(regular(b"/" + b"n" * MIB)), REFUSED, "E203", ("no longer than the system allows",)),
    Row("names with every odd byte", regulars(*(regular(p) for p in odd_names())), HARMLESS),
    Row("names that speak to a terminal", regulars(regular(b"/\x1b]0;owned\x07/\x1b[2J\r\x9b\x7f/../x")), REFUSED, "E203"),
    Row("names that are no UTF-8", regulars(regular(b"/\xc0\xaf\xed\xa0\x80")), REFUSED, "E203", ("UTF-8",)),
    # hard links
    Row("a group of two contents", regulars(regular(b"/a", EMPTY, b"0", b"7"), regular(b"/b", HOSTS_DIGEST, b"%d" % len(HOSTS), b"7")), REFUSED, "E203",
        ("/b as another name of /a", "another digest")),
    Row("a group of several modes", regulars(regular(b"/a", inode=b"7", mode=b"0600"), regular(b"/b", inode=b"7", mode=b"4777")), HARMLESS),
    Row("numbers of links that lie", regulars(*(regular(b"/l%d" % i, links=n) for i, n in enumerate((b"0", b"9" * 30, b"65536")))), HARMLESS),
    Row("an inode beyond all", regulars(regular(b"/a", inode=b"%d" % (1 << 64))), REFUSED, "E203", ("Line",)),
    Row("the last inode", regulars(*(regular(b"/a%d" % i, inode=b"%d" % ((1 << 64) - 1)) for i in range(3))), HARMLESS),
    Row("more names than ext4 has for a file", regulars(*(regular(b"/n/%d" % i, inode=b"7") for i in range(65_001))), REFUSED, "E203",
        ("/n/0 65001 names", "65000")),
    Row("as many names as ext4 has for a file", regulars(*(regular(b"/n/%d" % i, inode=b"7") for i in range(65_000))), HARMLESS, seconds=60),
    # sizes
    Row("a size beyond 64 bits", regulars(regular(b"/a", ZERO, b"%d" % (1 << 64))), REFUSED, "E203", ("Line",)),
    Row("sizes whose sum is beyond 64 bits", regulars(*(regular(b"/a%d" % i, b"%064x" % (i + 1), b"%d" % ((1 << 63) - 1)) for i in range(3))), REFUSED, "E203",
        ("64-bit",)),
    Row("a size beyond what a file can have", regulars(regular(b"/a", ZERO, b"%d" % (1 << 63))), REFUSED, "E203", ("Line", "size in bytes")),
    Row("the largest size", regulars(regular(b"/a", ZERO, b"%d" % ((1 << 63) - 1))), REFUSED, "E307", ("does not fit",)),
    Row("a size beyond the slot", regulars(regular(b"/a", ZERO, b"%d" % (1 << 40))), REFUSED, "E307", ("does not fit",)),
    Row("a known content with another size", regulars(regular(b"/a", HOSTS_DIGEST, b"7")), REFUSED, "E203", ("same digest",)),
    Row("a size below the content's", content(frame(zeros(9000)), 10, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("a size above the content's", content(frame(zeros(9000)), 9001, digest_of_zeros(9000)), LATE, "E203", ("shorter",)),
    # frames
    Row("10 GiB in a frame that says so", content(frame(zeros(10 << 30), content_size=10 << 30), MIB), LATE, "E203", ("zstd frame",)),
    Row("10 GiB in a frame that does not say so", content(frame(zeros(10 << 30)), MIB), LATE, "E203", ("zstd frame",)),
    *[Row(f"{gib} GiB where no size is said", {**regulars(b"0644,0,0,1," + ZERO + b",'/content'"), "sparse": {"data/content": gib << 30}}, LATE, code,
          (words,)) for gib, code, words in ((10, "E203", "sends more than"), (3, "E307", "No space left"))],
    Row("a frame that lies of its size", content(frame(zeros(9000), content_size=8999), 9000, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("a window of 2 GiB", content(frame(zeros(9000), window_log=31), 9000, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("a window of 2 TiB", content(frame(zeros(9000), window_log=41), 9000, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("windows of 128 MiB for nothing", content(frame(zeros(9000), window_log=27), 9000, n=40), LATE, "E203", ("digest",)),
    Row("windows of 128 MiB that are used", content(frame(zeros(160 * MIB), window_log=27), 160 * MIB, n=3), LATE, "E203", ("digest",), below_mib=600,
        long=True),
    Row("a frame without an end", content(frame(zeros(9000))[:-4], 9000, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("two frames", content(frame(zeros(4500)) * 2, 9000, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("a frame with a dictionary", content(frame(zeros(9000), dictionary=7), 9000, digest_of_zeros(9000)), LATE, "E203", ("zstd frame",)),
    Row("a frame that is to be skipped", content(struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + bytes(100_000), MIB), LATE, "E203", ("zstd frame",)),
    Row("1000 frames that are to be skipped", content(struct.pack("<II", 0x184D2A50, 8) * 1000 + frame(zeros(9000)), 9000, digest_of_zeros(9000)),
        LATE, "E203", ("zstd frame",)),
    Row("a million empty blocks", content(frame([b""] * 300_000 + [(b"\0", 9000)]), 9000, digest_of_zeros(9000)), HARMLESS),
    Row("no frame at all", content(bytes(100), 9000), LATE, "E203", ("zstd frame",)),
    Row("an empty blob", content(b"", 9000), LATE, "E203", ("zstd frame",)),
    # many
    Row("digests that collide in their first half", regulars(*(regular(b"/c/%d" % i, d, b"1") for i, d in enumerate(colliding_digests(100_000)))),
        REFUSED, "E307", ("does not fit",)),
    Row("inodes that collide", regulars(*(regular(b"/c/%d" % i, inode=b"%d" % n) for i, n in enumerate(colliding_inodes(100_000)))), REFUSED, "E307",
        ("does not fit",)),
    Row("a folder of 20 000 files and as many links", both(
        regulars(*(regular(b"/many/f%d" % i) for i in range(20_000))), links(*(link(b"/many/l%d" % i, b"t") for i in range(20_000)))), HARMLESS,
        inodes=50_000, seconds=60),
    Row("a folder of a million entries", both(regulars(*(regular(b"/many/f%d" % i) for i in range(600_000))),
                                              links(*(link(b"/many/l%d" % i, b"t") for i in range(400_000)))), HARMLESS,
        inodes=1_050_000, own_mib=200, below_mib=200, seconds=600, long=True),
    Row("one line of 64 MiB", {"lists": {"regulars.txt": lambda data: b"0" * (64 * MIB)}}, REFUSED, "E203", ("Line 1 of regulars.txt",)),
    Row("a path of 64 MiB", regulars(regular(b"/" + b"\x01'" * (16 * MIB))), REFUSED, "E203", ("no longer than the system allows",), own_mib=100),
    Row("one line of 1 GiB", {"lists": {"regulars.txt": lambda data: b"0" * (1 << 30)}}, REFUSED, "E203", ("Line 1 of regulars.txt",), seconds=120, long=True),
    Row("a list beyond 1 GiB", {"lists": {"regulars.txt": lambda data: b"\n" * ((1 << 30) + 1)}}, REFUSED, "E203", ("regulars.txt",), seconds=120, long=True),
    Row("16 Mio folders", {"lists": {"dirs.txt": lambda data: data + b"\n" + b"".join(b"0755,0,0,'/%x'\n" % i for i in range((16 << 20) - 1000))}}, REFUSED, "E307",
        ("does not fit",), own_mib=1800, seconds=300, long=True),
    Row("more than 16 Mio folders", {"lists": {"dirs.txt": lambda data: data + b"\n" + b"".join(b"0755,0,0,'/%x'\n" % i for i in range((16 << 20) + 10))}}, REFUSED, "E203",
        ("at most 16777216 entries",), own_mib=1800, seconds=300, long=True),
    Row("folders above folders, without a line", regulars(*(regular(b"/%d" % i + b"/d" * 2040) for i in range(50))), REFUSED, "E307", ("does not fit",)),
    Row("more folders without a line than 16 Mio", regulars(*(regular(b"/%d" % i + b"/d" * 2040) for i in range(8300))), REFUSED, "E203",
        ("more than 16777216 entries",), own_mib=1800, seconds=300, long=True),
    # twice
    *[Row(f"{what} twice", how, REFUSED, "E203", ("twice",)) for what, how in (
        ("a file", regulars(regular(b"/a"), regular(b"/a"))), ("a folder", folders(folder(b"/a"), folder(b"/a"))),
        ("a link", links(link(b"/a", b"t"), link(b"/a", b"u"))), ("a file and a link", both(regulars(regular(b"/a")), links(link(b"/a", b"/etc")))))],
    Row("all lists are one", {"payload": lambda items: [i.update({k: "regulars.txt", "hash": next(
        x["hash"] for x in items if "regular" in x)}) for i in items for k in ("directory", "symboliclink") if k in i]}, REFUSED, "E203", ("Line 1",)),
    # attributes
    *[Row(f"the attribute {name}", attributes(b"'/etc/hosts',xattr:%s,%s" % (name.encode(), value)), verdict, code, words)
      for name, value, verdict, code, words in (
          ("security.capability", b"00", REFUSED, "E203", ("capability",)),
          ("user." + "n" * 251, b"00", REFUSED, "E203", ("does not name",)),
          ("user.large", b"00" * 65537, REFUSED, "E203", ("larger than Linux can store",)),
          ("system.posix_acl_access", b"ff" * 20, LATE, "E313", ("Cannot set the extended attribute",)),
          ("nonsense", b"00", LATE, "E313", ("Cannot set the extended attribute",)),
          ("user.more-than-a-block", b"00" * 60_000, LATE, "E313", ("Cannot set the extended attribute",)),
          ("trusted.overlay.opaque", b"79", HARMLESS, "", ()), ("user.empty", b"", HARMLESS, "", ()))],
    *[Row(f"the time {what}", {"lists": {"attributes.txt": lambda data, t=t: b"\n".join(sorted(
        [x for x in data.split(b"\n") if not x.startswith(b"'/etc/hosts',mtime")] + [b"'/etc/hosts',mtime," + t]))}}, HARMLESS)
      for what, t in (("of the end", b"7fffffffffffffff3b9ac9ff"), ("of the beginning", b"800000000000000000000000"))],
    Row("a time without sense", {"lists": {"attributes.txt": lambda data: data.replace(b"mtime,0", b"mtime,z", 1)}}, REFUSED, "E203", ("attributes.txt",)),
    # the payload
    *[Row(f"{n} {what} in each other", {"raw": lambda text, n=n, a=a, b=b: text[:-1] + b', {"x": ' + a * n + b"0" + b * n + b"}]"}, verdict, code)
      for n, verdict, code in ((10, HARMLESS, ""), (20_000, REFUSED, "E203")) for what, a, b in (("arrays", b"[", b"]"), ("objects", b'{"y":', b"}"))],
    Row("one key 10 000 times", {"raw": lambda text: text[:-1] + b', {"version": 1}' * 10_000 + b"]"}, REFUSED, "E203"),
    Row("a certificate that is a list", {"payload": lambda items: next(i for i in items if "certificate" in i).update(certificate="regulars.txt")},
        REFUSED, "E203", ("regulars.txt",)),
]


# ---- what must not change

def seen(folder_path):
    """What is in a folder, without what the updater may write."""
    out = {}
    with os.scandir(folder_path) as entries:
        for e in entries:
            st = e.stat(follow_symlinks=False)
            out[e.path] = (st.st_ino, st.st_mode, st.st_uid, st.st_size, st.st_mtime_ns, st.st_nlink if not e.is_dir(follow_symlinks=False) else 0)
    return out


def outside():
    """The machine's own folders that an escape would lead to, the folders above the slot's mount point, and the active slot."""
    places = ["/", "/etc", "/boot", lab.path("run/mnt"), lab.path("run/mnt/standby_slot"),
              lab.active, lab.active + "/etc", lab.path("out")]
    moving = ("/tmp", "/proc", "/run", "/root", "/var", "/opt", "/etc/mtab", "/dev", "/sys", "/work")
    return {k: v for p in places if os.path.isdir(p) for k, v in seen(p).items() if k not in moving}


SUPERBLOCK, WHEN, WRITTEN, CHECKSUM = 1024, slice(0x30, 0x34), slice(0x178, 0x180), slice(0x3fc, 0x400)


def slot_digest():
    """But for what the kernel itself counts in the superblock, when it mounts read-only."""
    subprocess.run(["blockdev", "--flushbufs", lab.device], check=True)
    with open(lab.device, "rb") as f:
        h = hashlib.sha256(f.read(SUPERBLOCK))
        block = bytearray(f.read(1024))
        for part in (WHEN, WRITTEN, CHECKSUM):
            block[part] = bytes(part.stop - part.start)
        h.update(block)
        while chunk := f.read(MIB):
            h.update(chunk)
        return h.hexdigest()


# ---- a row

def hostile_image(row):
    image = lab.path("images", "hostile")
    how = dict(row.how)
    contents, sparse = how.pop("contents", {}), how.pop("sparse", {})
    forge(lab.path("images", "good"), image, lab.path("certs", "sign.key"), **how)
    os.makedirs(image + "/data.zst", exist_ok=True)
    for digest, blob in contents.items():
        write(f"{image}/data.zst/{digest.decode()}.zst", blob)
    for name, size in sparse.items():
        write(os.path.join(image, name), b"")
        os.truncate(os.path.join(image, name), size)
    return image


def start(row):
    p = subprocess.Popen(
        [os.environ["UPDATE_DRIVER"], "--url", lab.url + "/hostile", "--certs", lab.path("certs"), "--device", lab.device, "--active", lab.active, "--work",
         lab.path("run"), "--retry-ms", "5"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, umask=0o077,
        # meson's tests have every allocation filled, also what is never used
        env={k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"})
    peak = Peak(p.pid)
    began = time.monotonic()
    try:
        _, stderr = p.communicate(timeout=row.seconds)
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        raise AssertionError(f"not at an end after {row.seconds} s") from None
    peak.join()
    return p.returncode, stderr.decode(errors="backslashreplace"), peak, time.monotonic() - began


def check_memory(row, peak):
    assert peak.own < row.own_mib * MIB, f"{peak.own / MIB:.1f} MiB of the updater"
    assert peak.below < row.below_mib * MIB, f"{peak.below / MIB:.1f} MiB of its children"


def check_failure(row, status, stderr, flipped):
    assert status == 1, f"it ended with {status}: {stderr[-400:]}"
    code, _, sentence = stderr.strip().splitlines()[-1].partition(": ")
    assert code == row.code, f"{code} instead of {row.code}: {sentence}"
    for word in row.words:
        assert word in sentence, f'"{word}" is not in: {sentence}'
    assert sentence.isprintable(), ascii(sentence)
    assert not flipped and lab.status("a") == "FAILURE" and lab.status("b") != "UPDATING", (lab.status("a"), lab.status("b"))


def check_tree(image, status, stderr, flipped):
    assert status == 0 and flipped, stderr[-1000:]
    with lab.mounted() as root:
        diff = differences(image_tree(image), without_times(list_tree(root)))
    assert not diff, f"{len(diff)} differences:\n" + "\n".join(ascii(d) for d in diff[:10])
    p = subprocess.run(["e2fsck", "-fn", lab.device], capture_output=True, text=True)
    assert p.returncode == 0, p.stdout


def check_row(row):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(lab.path("run", "flipped"))
    for slot in "ab":
        write(lab.path("run", "status-" + slot, "status"), b"SUCCESS")
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(row.inodes), lab.device], check=True)
    subprocess.run(["e2fsck", "-p", lab.device], check=True, capture_output=True)  # which writes that it was there
    image = hostile_image(row)
    before, slot_before = outside(), slot_digest() if row.verdict == REFUSED else None
    status, stderr, peak, took = start(row)
    flipped = os.path.lexists(lab.path("run", "flipped"))
    figures = f"{took:.1f} s, {peak.own / MIB:.0f} + {peak.below / MIB:.0f} MiB"
    try:
        if row.verdict == HARMLESS:
            check_tree(image, status, stderr, flipped)
        else:
            check_failure(row, status, stderr, flipped)
        if row.verdict == REFUSED:
            assert slot_digest() == slot_before, "the standby slot was touched"
        after = outside()
        assert after == before, {k: (before.get(k), after.get(k)) for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
        check_memory(row, peak)
    except AssertionError as e:
        raise AssertionError(f"{row.name} ({figures}): {e}") from e
    return figures


def every_hostile_image_is_refused_or_does_no_harm():
    failed, counts = [], {}
    for row in ROWS:
        if (row.long and not LONG) or (ONLY and not any(o in row.name for o in ONLY)):
            continue
        began = time.monotonic()
        try:
            figures = check_row(row)
        except AssertionError as e:
            failed.append(str(e))
            print(f"  WRONG {e}", flush=True)
            continue
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
        if time.monotonic() - began > 2:
            print(f"  {row.name}: {figures}", flush=True)
    print("  " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    assert not failed, f"{len(failed)} of {len(failed) + sum(counts.values())}:\n" + "\n".join(failed)


def main():
    global lab
    with UpdateLab(slot_mib=600 if LONG else 48) as lab:
        lab.build("good", made_good)
        os.makedirs(lab.active + "/etc")
        write(lab.active + "/etc/machine", b"of this machine\n")
        os.makedirs(lab.path("out"))
        write(lab.path("out/canary"), b"nobody reads this\n")
        os.symlink(lab.path("out"), lab.active + "/out")
        os.symlink("../out", lab.active + "/up")
        lab.update("good")
        run([every_hostile_image_is_refused_or_does_no_harm])


if __name__ == "__main__":
    enter_private_mounts()
    LONG = "--long" in sys.argv
    ONLY = [a for a in sys.argv[1:] if a != "--long"]
    sys.argv[1:] = []
    main()
