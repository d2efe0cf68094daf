#!/usr/bin/env python3
"""metadata_gen as its users run it: the real program on real trees and tar streams.

Arguments: the program, the folder tests/data/sample-image, the libraries of tests/support/faulty_calls.c and failing_alloc.c.
Needs root, for owners, device nodes and capabilities; needs tar, openssl, setfacl and zstd.
"""

import base64
import errno
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import sign  # noqa: E402

PROGRAM = SAMPLE = FAULTY_CALLS = FAILING_ALLOC = None
LISTS = ("dirs.txt", "symlinks.txt", "regulars.txt")
ALL_LISTS = LISTS + ("attributes.txt", "persistents.txt", "total_regular_size.txt")


def read(path, *more):
    with open(os.path.join(path, *more), "rb") as f:
        return f.read()


def write(path, data=b"", mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


def lines(path, *more):
    text = read(path, *more).decode()
    assert not text.endswith("\n"), "a list ends with LF"
    return text.split("\n") if text else []


def noise(n, seed):
    out = bytearray()
    block = seed.encode()
    while len(out) < n:
        block = hashlib.sha256(block).digest()
        out += block
    return bytes(out[:n])


def text(n):
    return (b"a compressible line\n" * (n // 20 + 1))[:n]


def contents(folder):
    """Every name below a folder with what it is, for comparing."""
    found = {}
    for parent, dirs, files in os.walk(folder):
        for name in dirs + files:
            path = os.path.join(parent, name)
            st = os.lstat(path)
            data = read(path) if stat.S_ISREG(st.st_mode) else b""
            found[os.path.relpath(path, folder)] = (stat.S_IFMT(st.st_mode), hashlib.sha256(data).hexdigest())
    return found


def fingerprint(folder):
    """All that lstat says of a tree, access times included."""
    found = {}
    for parent, dirs, files in os.walk(folder):
        for name in dirs + files + [""]:
            st = os.lstat(os.path.join(parent, name))
            atime = st.st_atime_ns if stat.S_ISREG(st.st_mode) else 0
            found[parent, name] = (st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns, atime, st.st_ino, st.st_nlink)
    return found


def payload_of(image):
    """What metadata.jwt says."""
    part = read(image, "metadata.jwt").split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))


class Case(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="metadata-gen-")
        self.addCleanup(shutil.rmtree, self.work)
        self.image = self.path("image")

    def path(self, *names):
        return os.path.join(self.work, *names)

    def run_gen(self, *args, **more):
        return subprocess.run([PROGRAM, *args], capture_output=True, timeout=120, **more)

    def signing(self):
        return ["--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert", os.path.join(SAMPLE, "keys/sign.pem")]

    def build(self, *args, output=None, **more):
        return self.run_gen("build", "--output", output or self.image, *self.signing(), *args, **more)

    def good(self, done):
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done

    def bad(self, done, *words, status=1):
        said = done.stderr.decode("utf-8", "backslashreplace")
        self.assertEqual(done.returncode, status, said + done.stdout.decode())
        for word in words:
            self.assertIn(word, said)
        return done

    def built(self, *args, **more):
        return self.good(self.build(*args, **more))

    def certs(self):
        folder = self.path("certs")
        if not os.path.exists(folder):
            os.mkdir(folder)
            for name in ("test.root.pem", "test.interm.pem"):
                shutil.copy(os.path.join(SAMPLE, "keys", name), folder)
        return folder

    def verify(self, *args, image=None, **more):
        return self.run_gen("verify", "--certs", self.certs(), *args, image or self.image, **more)

    def tree(self):
        """A small tree of all kinds that an image carries."""
        root = self.path("root")
        write(root + "/etc/hosts", b"127.0.0.1 localhost\n")
        write(root + "/usr/lib/text", text(40000))
        write(root + "/usr/lib/text-copy", text(40000))
        write(root + "/usr/lib/noise", noise(40000, "a"))
        write(root + "/usr/bin/suid", b"#!", 0o4755)
        os.link(root + "/usr/bin/suid", root + "/usr/bin/suid2")
        os.symlink("suid", root + "/usr/bin/link")
        os.setxattr(root + "/etc/hosts", "user.test", b"value")
        return root

    def sample_tar(self):
        """The sample's tree with "./" for its root; owners and attributes come from the tar alone."""
        path = self.path("sample.tar")
        with tarfile.open(os.path.join(SAMPLE, "data.tar.gz")) as old, \
                tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as new:
            for m in old:
                data = old.extractfile(m) if m.isreg() else None
                m.name = "." + m.name.removeprefix("data")
                m.pax_headers = {k: v for k, v in m.pax_headers.items() if k != "path" and k != "linkpath"}
                if m.islnk():
                    m.linkname = "." + m.linkname.removeprefix("data")
                new.addfile(m, data)
        return path

    def sample_options(self):
        return ["--ignore-file", os.path.join(SAMPLE, "ignore.txt"), "--persistents",
                os.path.join(SAMPLE, "image/persistents.txt"), "--kernel", "newest"]

    def assert_no_output(self):
        self.assertEqual([n for n in os.listdir(self.work) if n.startswith("image")], [])


class Sample(Case):
    """The sample image was made by the tool that fleets use today; ours must say the same of the same tree."""

    def normal(self, folder, name):
        """Sorted; without what may differ: inode numbers, and the link count of a group with one name in the image."""
        rows, groups = [], {}
        for line in lines(folder, name):
            if name != "regulars.txt":
                rows.append(line)
                continue
            head, tail = line.split(",'", 1)
            path, size, inode, alg = tail.rsplit(",", 3)
            mode, uid, gid, nlink, digest = head.split(",")
            rows.append([mode, uid, gid, nlink, digest, path, size, inode, alg])
            if inode:
                groups.setdefault(inode, []).append(path)
        for row in rows:
            if isinstance(row, list):
                names = groups.get(row[7], [])
                row[3], row[7] = (str(len(names)), sorted(names)) if len(names) > 1 else ("1", [])
        return sorted(rows, key=str)

    def assert_like_sample(self, folder):
        for name in LISTS:
            self.assertEqual(self.normal(folder, name), self.normal(os.path.join(SAMPLE, "image"), name), name)
        for name in ("persistents.txt", "total_regular_size.txt", "sign.pem"):
            self.assertEqual(read(folder, name), read(SAMPLE, "image", name), name)
        self.assertEqual(sorted(os.listdir(os.path.join(folder, "data.zst"))),
                         sorted(os.listdir(os.path.join(SAMPLE, "image/data.zst"))))

    def extracted(self):
        os.mkdir(self.path("root"))
        subprocess.run(["tar", "-C", self.path("root"), "--xattrs", "--xattrs-include=*", "--acls", "-xpf", self.sample_tar()],
                       check=True)
        return self.path("root")

    def test_tar_gives_the_lines_of_the_sample(self):
        self.built("--tar", self.sample_tar(), *self.sample_options())
        self.assert_like_sample(self.image)
        self.good(self.verify())

    def test_folder_gives_the_lines_of_the_sample_and_is_not_touched(self):
        root = self.extracted()
        before = fingerprint(root)
        self.built("--rootfs", root, *self.sample_options())
        self.assertEqual(fingerprint(root), before)
        self.assert_like_sample(self.image)
        self.good(self.verify())

    def test_tar_and_folder_give_equal_images(self):
        self.built("--tar", self.sample_tar(), *self.sample_options())
        self.built("--rootfs", self.extracted(), *self.sample_options(), output=self.path("image2"))
        one, two = contents(self.image), contents(self.path("image2"))
        del one["metadata.jwt"], two["metadata.jwt"]  # signatures are random
        self.assertEqual(one, two)
        self.assertIn(",xattr:security.capability,0100000200040000000000000000000000000000", read(self.image, "attributes.txt").decode())

    def test_gen_and_sign_make_the_sample_again(self):
        root = self.extracted()
        os.rename(root, self.path("data"))
        before = fingerprint(self.path("data"))
        shutil.copy(os.path.join(SAMPLE, "ignore.txt"), self.work)
        shutil.copy(os.path.join(SAMPLE, "image/persistents.txt"), self.work)
        shutil.copy(os.path.join(SAMPLE, "keys/sign.pem"), self.work)
        self.good(self.run_gen("gen", "--target-dir", "data", "--compressed-dir", "data.zst", cwd=self.work))
        self.assertEqual(fingerprint(self.path("data")), before)
        self.assert_like_sample(self.work)
        self.good(self.run_gen("sign", "--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "sign.pem",
                               "--persistent-file", "persistents.txt", "--rootfs-directory", "data",
                               "--compressed-rootfs-directory", "data.zst", cwd=self.work))
        self.good(self.verify(image=self.work))

    def test_the_sample_itself_verifies(self):
        shutil.copytree(os.path.join(SAMPLE, "image"), self.image)
        os.rename(self.extracted(), self.path("image/data"))
        self.good(self.verify())

    def test_sign_writes_the_known_payload(self):
        image = self.path("signed")
        shutil.copytree(os.path.join(SAMPLE, "image"), image)
        self.good(self.run_gen("sign", "--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "sign.pem",
                               "--persistent-file", "persistents.txt", "--rootfs-directory", "data",
                               "--compressed-rootfs-directory", "data.zst", cwd=image))
        self.assertEqual(read(image, "metadata.jwt").split(b".")[:2], read(SAMPLE, "image/metadata.jwt").split(b".")[:2])


class Tree(Case):
    """What goes into an image and what does not."""

    def paths(self, name):
        return [line.split(",'", 1)[1].split("'")[0] for line in lines(self.image, name)]

    def test_names_that_no_image_can_carry_are_refused(self):
        cases = [(b"line\nfeed", "An image cannot carry the name /dir/line\\x0Afeed: ", "line feed"),
                 (b"carriage\rreturn", "An image cannot carry the name /dir/carriage\\x0Dreturn: ", "carriage"),
                 (b"latin-\xe4", "An image cannot carry the name /dir/latin-\\xE4: ", "UTF-8")]
        for name, shown, why in cases:
            root = self.path("bad")
            os.makedirs(root + "/dir")
            with open(os.fsencode(root) + b"/dir/" + name, "wb"):
                pass
            tar = subprocess.run(["tar", "-C", root, "-c", "."], check=True, capture_output=True).stdout
            self.bad(self.build("--rootfs", root), shown, why)
            self.bad(self.build("--tar", "-", input=tar), shown, why)
            self.assert_no_output()
            shutil.rmtree(root)

    def test_targets_that_no_image_can_carry_are_refused(self):
        root = self.path("bad")
        os.makedirs(root)
        os.symlink(b"to\nthere", os.fsencode(root) + b"/link")
        self.bad(self.build("--rootfs", root), "the target of the link /link", "line feed")
        self.assert_no_output()

    def test_ignored_names_may_be_anything(self):
        root = self.tree()
        write(root + "/skip/line\nfeed")
        write(self.path("ignore"), b"/skip\n")
        self.built("--rootfs", root, "--ignore-file", self.path("ignore"))
        self.assertNotIn("/skip", self.paths("dirs.txt"))

    def test_runtime_folders_stay_and_their_content_does_not(self):
        root = self.tree()
        for name in ("dev/null", "proc/1/maps", "sys/kernel", "run/x.pid", "tmp/a/b", "run/.containerenv"):
            write(os.path.join(root, name))
        write(root + "/.dockerenv")
        write(root + "/.ota-resources/abc")
        write(root + "/var/tmp/stays")
        os.mkfifo(root + "/var/fifo")
        os.mknod(root + "/var/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(root + "/var/socket")
        tar = subprocess.run(["tar", "-C", root, "--xattrs", "-c", "."], check=True, capture_output=True).stdout
        for args in (["--rootfs", root], ["--tar", "-"]):
            done = self.built(*args, input=tar)
            self.assertEqual(self.paths("dirs.txt"), ["/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/usr", "/usr/bin",
                                                      "/usr/lib", "/var", "/var/tmp"])
            self.assertIn("/var/tmp/stays", self.paths("regulars.txt"))
            self.assertEqual([p for p in self.paths("regulars.txt") if not p.startswith(("/usr", "/etc", "/var"))], [])
            said = done.stderr.decode()
            self.assertIn("marks of a container", said)
            self.assertIn("/.dockerenv", said)
            self.assertIn("content of /dev, /proc, /sys, /run, /tmp: /dev/null", said)
            self.assertIn("special files, which images cannot carry: /var/device, /var/fifo", said)
            self.assertIn("/.ota-resources", said)

    def test_links_that_older_clients_cannot_read_are_warned_of(self):
        root = self.tree()
        os.symlink("t", root + "/ends'")
        os.symlink(",'x", root + "/starts")
        done = self.built("--rootfs", root)
        self.assertIn("warning: clients before 4.0 cannot read", done.stderr.decode())
        self.assertIn("/ends'", done.stderr.decode())
        self.good(self.verify())

    def test_prefix_goes_before_every_path(self):
        self.built("--rootfs", self.tree(), "--prefix", "/opt/tree", "--ignore-file", self.rules(b"/etc/hosts\n"))
        self.assertEqual(self.paths("dirs.txt")[0], "/opt/tree/etc")
        self.assertNotIn("/opt/tree/etc/hosts", self.paths("regulars.txt"))
        self.assertTrue(os.path.exists(self.image + "/data/opt/tree/usr/bin/suid"))
        self.good(self.verify())

    def rules(self, content):
        write(self.path("rules"), content)
        return self.path("rules")

    def test_link_groups_count_names_in_the_image_only(self):
        root = self.tree()
        write(root + "/a/one", b"half")
        os.link(root + "/a/one", root + "/skip")
        self.built("--rootfs", root, "--ignore-file", self.rules(b"/skip\n"))
        rows = {line.split("'")[1]: line for line in lines(self.image, "regulars.txt")}
        self.assertIn(",1,", rows["/a/one"][:12])
        self.assertTrue(rows["/a/one"].endswith(",4,,"))
        self.assertTrue(rows["/usr/bin/suid"].startswith("4755,0,0,2,"))
        self.assertTrue(rows["/usr/bin/suid2"].endswith(",2,1,"))

    def test_a_rule_with_a_slash_spares_links_to_files(self):
        root = self.tree()
        os.symlink("../etc/hosts", root + "/usr/build")
        os.symlink("../usr/lib", root + "/etc/build")
        tar = subprocess.run(["tar", "-C", root, "-c", "."], check=True, capture_output=True).stdout
        for args in (["--rootfs", root], ["--tar", "-"]):
            self.built(*args, "--ignore-file", self.rules(b"build/\n"), input=tar)
            self.assertEqual(self.paths("symlinks.txt"), ["/usr/bin/link", "/usr/build"])

    def test_a_capability_of_another_user_name_space_is_left_out_and_told(self):
        root = self.tree()
        os.setxattr(root + "/usr/lib/noise", "security.capability",
                    bytes.fromhex("0100000300040000000000000000000000000000e8030000"))  # its root is user 1000
        tar = subprocess.run(["tar", "-C", root, "--format=pax", "--xattrs", "--xattrs-include=*", "-c", "."],
                             check=True, capture_output=True).stdout
        for args in (["--rootfs", root], ["--tar", "-"]):
            with self.subTest(args[0]):
                self.assertIn("metadata_gen: warning: 1 name with a capability of another user name space, which images "
                              "cannot carry: /usr/lib/noise\n", self.built(*args, input=tar).stderr.decode())
                self.assertNotIn("security.capability", "".join(lines(self.image, "attributes.txt")))

    def test_attributes_are_exact_and_the_same_from_tar(self):
        root = self.tree()
        subprocess.run(["setfacl", "-m", "u:1000:rx,g:7:r", root + "/usr/bin/suid"], check=True)
        subprocess.run(["setfacl", "-d", "-m", "u:5:rwx", root + "/etc"], check=True)
        os.setxattr(root + "/usr/lib/noise", "security.capability", bytes.fromhex("010000030004000000000000000000000000000000000000"))
        os.setxattr(root + "/usr/lib/text", "trusted.mine", b"\x00\x01")
        os.setxattr(root + "/usr/lib/text", "trusted.other", b"x")
        os.setxattr(root, "user.root", b"r")
        os.utime(root, ns=(1, 1700000000_123456789))
        os.utime(root + "/etc/hosts", ns=(1, -5_000000000))
        tar = subprocess.run(["tar", "-C", root, "--format=pax", "--xattrs", "--xattrs-include=*", "-c", "."],
                             check=True, capture_output=True).stdout
        self.built("--rootfs", root, "--xattr", "trusted.mine")
        self.built("--tar", "-", "--xattr", "trusted.mine", input=tar, output=self.path("image2"))
        rows = lines(self.image, "attributes.txt")
        self.assertEqual(rows, lines(self.path("image2"), "attributes.txt"))
        self.assertEqual(rows[0], "'/',mtime,000000006553f100075bcd15")
        self.assertEqual(rows[1], "'/',xattr:user.root,72")
        self.assertIn("'/etc/hosts',mtime,fffffffffffffffb00000000", rows)
        self.assertIn("'/usr/lib/noise',xattr:security.capability,0100000200040000000000000000000000000000", rows)
        self.assertIn("'/usr/lib/text',xattr:trusted.mine,0001", rows)
        acls = [r for r in rows if "posix_acl" in r]
        self.assertEqual([r.split(",")[0] + r.split(",")[1] for r in acls],
                         ["'/etc'xattr:system.posix_acl_default", "'/usr/bin/suid'xattr:system.posix_acl_access"])
        self.assertEqual(len([r for r in rows if "trusted.other" in r]), 0)
        self.assertEqual(len([r for r in rows if r.startswith("'/usr/bin/suid2'")]), 0)
        self.good(self.verify())

    def test_acls_as_text_need_numbers(self):
        root = self.tree()
        subprocess.run(["setfacl", "-m", "u:54321:rx,g:54322:r", root + "/usr/bin/suid"], check=True)
        tar = ["tar", "-C", root, "--format=pax", "--xattrs", "--acls", "-c", "."]
        self.built("--rootfs", root)
        want = lines(self.image, "attributes.txt")
        self.built("--tar", "-", input=subprocess.run(tar, check=True, capture_output=True).stdout)
        self.assertEqual(lines(self.image, "attributes.txt"), want)
        subprocess.run(["setfacl", "-m", "u:daemon:rx", root + "/usr/bin/suid"], check=True)
        self.bad(self.build("--tar", "-", input=subprocess.run(tar, check=True, capture_output=True).stdout),
                 "The ACL of /usr/bin/suid names users or groups without their numbers; make the tar with --xattrs "
                 "--xattrs-include='*' instead of --acls\n")

    def test_kernel_newest_needs_a_kernel(self):
        self.bad(self.build("--rootfs", self.tree(), "--kernel", "newest"), "the tree has no file /boot/vmlinuz-<version>")
        self.assert_no_output()
        self.built("--rootfs", self.path("root"))

    def test_what_clients_fetch_by_name_is_served_even_if_ignored(self):
        root = self.tree()
        write(root + "/opt/ota/otaclient_release/manifest.json", b"{}")
        write(root + "/opt/ota/otaclient_release/big.squashfs", text(50000))
        write(root + "/etc/nv_tegra_release", b"# R35\n")
        tar = subprocess.run(["tar", "-C", root, "-c", "."], check=True, capture_output=True).stdout
        for args in (["--rootfs", root], ["--tar", "-"]):
            self.built(*args, "--ignore-file", self.rules(b"/opt\n"), input=tar)
            self.assertEqual(read(self.image, "data/opt/ota/otaclient_release/big.squashfs"), text(50000))
            self.assertEqual(read(self.image, "data/opt/ota/otaclient_release/manifest.json"), b"{}")
            self.assertEqual(read(self.image, "data/etc/nv_tegra_release"), b"# R35\n")
            self.assertNotIn("/opt", self.paths("dirs.txt"))
            self.assertFalse(os.path.exists(self.image + "/data/usr/lib/text"))
            self.good(self.verify())

    def test_plain_all_and_no_compress(self):
        root = self.tree()
        self.built("--rootfs", root, "--plain-all")
        self.assertEqual(read(self.image, "data/usr/lib/text-copy"), text(40000))
        self.assertEqual(len(os.listdir(self.image + "/data.zst")), 1)
        self.good(self.verify())
        self.built("--rootfs", root, "--no-compress")
        self.assertFalse(os.path.exists(self.image + "/data.zst"))
        self.assertEqual([line for line in lines(self.image, "regulars.txt") if line.endswith("zst")], [])
        self.good(self.verify())

    def test_plain_files_are_readable_for_the_server(self):
        root = self.tree()
        write(root + "/usr/bin/secret", b"s", 0o000)
        self.built("--rootfs", root, umask=0o077)
        for parent, dirs, files in os.walk(self.image):
            for name in dirs:
                self.assertEqual(os.lstat(os.path.join(parent, name)).st_mode & 0o7777, 0o755)
            for name in files:
                self.assertEqual(os.lstat(os.path.join(parent, name)).st_mode & 0o7777, 0o644)

    def test_equal_trees_give_equal_images_whatever_the_threads(self):
        root = self.tree()
        for i in range(40):
            write(f"{root}/many/{i % 7}/{i}", text(20000 + i % 5))
        self.built("--rootfs", root, "--jobs", "1")
        self.built("--rootfs", root, "--jobs", "8", output=self.path("image2"))
        one, two = contents(self.image), contents(self.path("image2"))
        del one["metadata.jwt"], two["metadata.jwt"]
        self.assertEqual(one, two)

    def test_a_folder_that_cannot_be_read_is_named(self):
        root = self.tree()
        write(root + "/closed/file")
        os.chmod(root + "/closed", 0)
        os.chmod(self.work, 0o777)
        shutil.copytree(os.path.join(SAMPLE, "keys"), self.path("keys"))
        for name in os.listdir(self.path("keys")):
            os.chmod(self.path("keys", name), 0o755)
        shutil.copy(PROGRAM, self.path("program"))
        done = subprocess.run([self.path("program"), "build", "--rootfs", root, "--output", self.image, "--sign-key",
                               self.path("keys/sign.key"), "--cert", self.path("keys/sign.pem")],
                              capture_output=True, user=65534, timeout=60)
        self.bad(done, "Cannot read /closed: Permission denied")
        self.assert_no_output()


class Tar(Case):
    """What only a stream can do."""

    def tar(self, *members, end=True, fmt=tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=fmt) as t:
            for name, kind, value in members:
                m = tarfile.TarInfo(name)
                m.mtime = 1700000000
                if kind == "file":
                    m.size = len(value)
                    t.addfile(m, io.BytesIO(value))
                    continue
                m.type = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[kind]
                m.mode = 0o755
                m.linkname = value
                t.addfile(m)
            size = t.offset
        return out.getvalue() if end else out.getvalue()[:size]

    def from_tar(self, *members, **more):
        return self.build("--tar", "-", input=self.tar(*members, **more))

    def test_later_entries_replace_earlier_ones(self):
        self.good(self.from_tar(("a", "file", b"old"), ("d", "dir", ""), ("d/gone", "file", b"x"), ("a", "file", b"newer"),
                                ("d", "link", "a"), ("e", "file", b""), ("e", "dir", ""), ("e/f", "file", b"f"), ("e", "dir", "")))
        self.assertEqual([r.split("'")[1:] for r in lines(self.image, "regulars.txt")], [["/a", ",5,,"], ["/e/f", ",1,,"]])
        self.assertEqual([r.split("'")[1] for r in lines(self.image, "dirs.txt")], ["/e"])
        self.assertEqual(contents(self.image + "/data").keys(), {"a", "e", "e/f"})
        self.good(self.verify())

    def test_hard_links_are_resolved_by_name_even_to_what_is_left_out(self):
        write(self.path("rules"), b"/skip\n")
        big = noise(20 << 20, "big")
        data = self.tar(("skip/one", "file", text(30000)), ("./here", "hard", "skip/one"), ("/there", "hard", "./here"),
                        ("skip/big", "file", big), ("big", "hard", "skip/big"), ("skip/alone", "file", text(31000)),
                        ("skip/zip", "file", text(20 << 20)), ("zip", "hard", "skip/zip"))
        self.good(self.build("--tar", "-", "--ignore-file", self.path("rules"), input=data))
        rows = lines(self.image, "regulars.txt")
        self.assertEqual([r.split("'")[1] for r in rows], ["/big", "/here", "/there", "/zip"])
        self.assertTrue(rows[1].endswith(",30000,1,zst") and rows[2].endswith(",30000,1,zst"), rows)
        self.assertEqual(len(os.listdir(self.image + "/data.zst")), 2)
        self.assertEqual(read(self.image, "data/big"), big)
        self.good(self.verify())

    def test_contents_too_large_for_memory_are_the_same_from_both(self):
        root = self.path("root")
        write(root + "/noise", noise(17 << 20, "n"))
        write(root + "/text", text(20 << 20))
        write(root + "/text2", text(20 << 20))
        with open(root + "/sparse", "wb") as f:
            f.truncate(40 << 20)
            f.seek(30 << 20)
            f.write(b"middle")
        self.built("--rootfs", root)
        self.good(self.verify())
        data = subprocess.run(["tar", "-C", root, "--sparse", "--format=pax", "--xattrs", "-c", "."], check=True, capture_output=True).stdout
        self.assertLess(len(data), 60 << 20)
        self.built("--tar", "-", input=data, output=self.path("image2"))
        one, two = contents(self.image), contents(self.path("image2"))
        for name in ALL_LISTS:
            self.assertEqual(read(self.image, name), read(self.path("image2"), name))
        del one["metadata.jwt"], two["metadata.jwt"]
        self.assertEqual(one.keys(), two.keys())
        self.good(self.verify(image=self.path("image2")))

    def test_compressed_streams_are_read(self):
        data = self.tar(("a", "file", b"x"))
        for tool in ("gzip", "bzip2", "xz", "zstd"):
            packed = subprocess.run([tool, "-c"], input=data, capture_output=True, check=True).stdout
            self.built("--tar", "-", input=packed)
            self.bad(self.build("--tar", "-", input=packed[:-9]), "damaged")

    def test_names_keep_their_bytes(self):
        names = ["e\u0301-nfd", "\u00e9-nfc", "日本語", "tab\there", "back\\slash", "a" * 200 + "é" * 20]
        for fmt in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            members = [(n, "file", b"x") for n in names] + [("to-nfd", "link", names[0]), ("hard-nfd", "hard", names[0])]
            self.good(self.from_tar(*members, fmt=fmt))
            self.assertEqual([r.split("'")[1] for r in lines(self.image, "regulars.txt")], sorted(["/" + n for n in names] + ["/hard-nfd"]))
            self.assertTrue(lines(self.image, "symlinks.txt")[0].endswith(f"'{names[0]}'"))

    def test_missing_folders_are_made(self):
        self.good(self.from_tar(("a/b/c", "file", b"x")))
        self.assertEqual(lines(self.image, "dirs.txt"), ["0755,0,0,'/a'", "0755,0,0,'/a/b'"])

    def test_broken_streams_are_refused(self):
        file = ("a", "file", text(100000))
        whole = self.tar(file)
        self.bad(self.build("--tar", "-", input=whole[:50000]), "The tar stream on standard input is damaged: ")
        self.bad(self.from_tar(file, end=False),
                 "The tar stream on standard input breaks off after /a: its end mark is missing")
        self.bad(self.build("--tar", "-", input=b""), "damaged")
        self.bad(self.build("--tar", "-", input=b"no tar at all" * 100), "damaged")
        self.bad(self.from_tar(("../a", "file", b"")), "The tar stream on standard input has the name \"../a\", which leads "
                 "out of the root or is too long")
        self.bad(self.from_tar(("a", "hard", "b")),
                 "The tar stream on standard input has /a as a hard link to /b, which is not before it")
        self.bad(self.from_tar(("a", "link", "b"), ("a/c", "file", b"")),
                 "The tar stream on standard input has /a/c, but /a is no folder")
        self.bad(self.from_tar(("a", "link", "x" * 5000)), "No client could install this image: The image lists /a, but the "
                 "target of this symbolic link is too long")
        self.bad(self.from_tar((".", "file", b"x")), "The root of the tar stream on standard input is no folder")
        self.bad(self.build("--tar", self.path("none.tar")), "Cannot open the tar file", "No such file")
        self.assert_no_output()

    def test_owners_must_be_numbers_that_a_system_knows(self):
        for uid, gid in ((-2, 0), (0, -1), (2**32 - 1, 0), (0, 2**40)):
            self.bad(self.build("--tar", "-", input=self.raw_tar("a", b"x", uid=uid, gid=gid)),
                     "The owner of /a in the tar stream on standard input is no user or group number")
        self.good(self.build("--tar", "-", input=self.raw_tar("a", b"x", uid=2**32 - 2)))

    def raw_tar(self, name, data, **more):
        """One file as GNU tar would write it, with attributes that Python's module checks less than libarchive."""
        m = tarfile.TarInfo(name)
        m.size = len(data)
        for key, value in more.items():
            setattr(m, key, value)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as t:
            t.addfile(m, io.BytesIO(data))
        return out.getvalue()

    def test_a_sparse_file_with_more_than_its_size_is_refused(self):
        whole = b"1\n0\n600\n".ljust(512, b"\0") + text(600).ljust(1024, b"\0")
        headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse"}
        for size, right in ((600, True), (599, False), (5, False)):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
                m = tarfile.TarInfo("GNUSparseFile.0/sparse")
                m.size = len(whole) - (1024 - 600)
                m.pax_headers = {**headers, "GNU.sparse.realsize": str(size)}
                t.addfile(m, io.BytesIO(whole))
            done = self.build("--tar", "-", input=out.getvalue())
            if right:
                self.good(done)
                self.assertEqual(read(self.image, "data/sparse"), text(600))
            else:
                self.bad(done, "The tar stream on standard input is damaged at /sparse\n")

    def test_a_content_that_cannot_be_written_is_named(self):
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        os.mkdir(self.path("root"))
        for name, size, data in (("big", 17 << 20, random.Random(1).randbytes(17 << 20)), ("hole", 17 << 20, b"")):
            with open(self.path("root", name), "wb") as f:
                f.write(data)
                f.truncate(size)
            tar = subprocess.run(["tar", "-C", self.path("root"), "--sparse", "-c", name], check=True,
                                 capture_output=True).stdout
            self.bad(self.build("--tar", "-", input=tar, output=small + "/image"),
                     f"Cannot write the content of /{name}: No space left on device\n")
            self.assertEqual(os.listdir(small), [])

    def test_no_root_is_needed(self):
        os.chmod(self.work, 0o777)
        shutil.copy(PROGRAM, self.path("program"))
        shutil.copytree(os.path.join(SAMPLE, "keys"), self.path("keys"))
        for name in os.listdir(self.path("keys")):
            os.chmod(self.path("keys", name), 0o755)
        with open(self.sample_tar(), "rb") as f:
            done = subprocess.run([self.path("program"), "build", "--tar", "-", "--output", self.image, "--sign-key",
                                   self.path("keys/sign.key"), "--cert", self.path("keys/sign.pem")],
                                  stdin=f, capture_output=True, user=65534, timeout=60)
        self.good(done)
        self.assertIn("0640,0,42,", read(self.image, "regulars.txt").decode())


class Output(Case):
    """The image appears whole or not at all."""

    def test_a_rebuild_takes_over_right_contents_only(self):
        root = self.tree()
        write(root + "/usr/lib/other", text(50000)[::-1])
        self.built("--rootfs", root)
        blobs = sorted(os.listdir(self.image + "/data.zst"))
        before = {b: os.stat(os.path.join(self.image, "data.zst", b)).st_ino for b in blobs}
        self.assertEqual(len(blobs), 2)
        damaged = bytearray(read(self.image, "data.zst", blobs[0]))
        damaged[len(damaged) // 2] ^= 1
        write(os.path.join(self.image, "data.zst", blobs[0]), bytes(damaged))
        done = self.built("--rootfs", root)
        self.assertIn("1 content compressed, 1 taken over", done.stdout.decode())
        self.assertIn("1 compressed content of the image of before was damaged", done.stderr.decode())
        after = {b: os.stat(os.path.join(self.image, "data.zst", b)).st_ino for b in blobs}
        self.assertNotEqual(after[blobs[0]], before[blobs[0]])
        self.assertEqual(after[blobs[1]], before[blobs[1]])
        self.good(self.verify())
        self.assertEqual([n for n in os.listdir(self.work) if n.startswith("image")], ["image"])

    def test_contents_of_before_that_are_no_longer_wanted_are_gone(self):
        root = self.tree()
        self.built("--rootfs", root)
        write(root + "/usr/lib/text", b"short")
        os.unlink(root + "/usr/lib/text-copy")
        self.built("--rootfs", root)
        self.assertEqual(os.listdir(self.image + "/data.zst"), [])

    def start_slow_build(self):
        """A build that has begun and waits for the rest of its stream."""
        p = subprocess.Popen([PROGRAM, "build", "--output", self.image, *self.signing(), "--tar", "-"], stdin=subprocess.PIPE,
                             stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.stdin.close)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as t:
            m = tarfile.TarInfo("text")
            m.size = 1 << 20
            t.addfile(m, io.BytesIO(text(1 << 20)))
        p.stdin.write(out.getvalue()[:900000])
        p.stdin.flush()
        end = time.monotonic() + 30
        while not os.path.isdir(self.image + ".partial/.plain"):
            self.assertLess(time.monotonic(), end, "the build does not begin")
            time.sleep(0.01)
        return p

    def test_a_killed_build_leaves_the_image_of_before(self):
        self.built("--rootfs", self.tree())
        before = contents(self.image)
        p = self.start_slow_build()
        p.send_signal(signal.SIGKILL)
        p.wait()
        self.assertTrue(os.path.isdir(self.image + ".partial"))
        self.assertEqual(contents(self.image), before)
        self.good(self.verify())
        write(self.image + ".partial/leftover/of/before")
        self.built("--rootfs", self.path("root"))
        self.assertFalse(os.path.exists(self.image + ".partial"))
        self.assertFalse(os.path.exists(self.image + "/leftover"))
        self.good(self.verify())

    def test_a_failed_build_leaves_the_image_of_before(self):
        self.built("--rootfs", self.tree())
        before = contents(self.image)
        self.bad(self.build("--tar", "-", input=b"x" * 10000))
        self.assertEqual(contents(self.image), before)
        self.assertFalse(os.path.exists(self.image + ".partial"))

    def test_a_second_build_of_one_image_is_refused(self):
        root = self.tree()
        for first in (True, False):
            p = self.start_slow_build()
            self.bad(self.build("--rootfs", root), "Another build is writing the image")
            p.kill()
            p.wait()
            if first:
                self.built("--rootfs", root)

    def test_what_is_no_image_is_not_replaced(self):
        write(self.image + "/precious")
        self.bad(self.build("--rootfs", self.tree()), "is neither an image nor empty, so it is not replaced")
        self.assertEqual(os.listdir(self.image), ["precious"])
        os.unlink(self.image + "/precious")
        self.built("--rootfs", self.path("root"))

    def test_a_users_folder_in_the_place_of_the_unfinished_image_is_not_removed(self):
        write(self.image + ".partial/precious")
        root = self.tree()
        for _ in range(2):
            self.bad(self.build("--rootfs", root),
                     "image.partial is neither an image nor empty, so it is not replaced")
            self.assertEqual(os.listdir(self.image + ".partial"), ["precious"])
        os.unlink(self.image + ".partial/precious")
        self.built("--rootfs", root)
        self.assertEqual(sorted(os.listdir(self.image)),
                         sorted([*ALL_LISTS, "data", "data.zst", "metadata.jwt", "sign.pem"]))

    def test_the_image_of_before_is_removed_by_the_next_build_if_this_one_could_not(self):
        self.built("--rootfs", self.tree())
        shutil.copytree(self.image, self.image + ".partial")
        self.built("--rootfs", self.path("root"))
        self.assertFalse(os.path.exists(self.image + ".partial"))
        held = self.image + "/data/etc"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", held], check=True)
        held = self.image + ".partial/data/etc"
        self.addCleanup(lambda: os.path.ismount(held) and subprocess.run(["umount", held], check=True))
        self.bad(self.build("--rootfs", self.path("root")), "the one of before",
                 "cannot be removed: Device or resource busy")
        self.assertTrue(os.path.exists(self.image + ".partial/metadata.jwt"), "it is no longer recognised")
        subprocess.run(["umount", held], check=True)
        self.built("--rootfs", self.path("root"))
        self.assertFalse(os.path.exists(self.image + ".partial"))
        self.good(self.verify())

    def test_an_output_that_is_a_link_is_refused_as_such(self):
        os.mkdir(self.path("elsewhere"))
        root = self.tree()
        for name in (self.image, self.image + ".partial"):
            os.symlink("elsewhere", name)
            self.bad(self.build("--rootfs", root), f"Cannot open the folder {name}: it is a symbolic link\n")
            os.unlink(name)
            write(name)
            self.bad(self.build("--rootfs", root), f"Cannot open the folder {name}: Not a directory\n")
            os.unlink(name)
        self.assertEqual(os.listdir(self.path("elsewhere")), [])

    def test_inputs_inside_the_output_are_refused(self):
        root = self.tree()
        before = fingerprint(root)
        self.bad(self.build("--rootfs", root, output=root + "/var/image"), "Cannot open the folder")
        self.bad(self.build("--rootfs", root, output=root + "/image"), "lies in")
        self.bad(self.build("--rootfs", "/", output=self.image),
                 f"The image {self.image} lies in /, which it is to be made of")
        self.assertEqual(fingerprint(root), before)
        self.built("--rootfs", root)
        shutil.copy(os.path.join(SAMPLE, "keys/sign.key"), self.image)
        self.bad(self.run_gen("build", "--rootfs", root, "--output", self.image, "--sign-key", self.image + "/sign.key",
                              "--cert", os.path.join(SAMPLE, "keys/sign.pem")), "The signing key", "is going to be replaced")
        self.bad(self.build("--rootfs", self.image + "/data"), "The root file system")
        self.assertTrue(os.path.exists(self.image + "/sign.key"))

    def test_an_output_without_a_name_of_its_own_is_refused(self):
        root = self.tree()
        for output in ("/", "..", self.work + "/.", self.work + "/root/.."):
            self.bad(self.build("--rootfs", root, output=output, cwd=self.work),
                     f"\"{output}\" cannot be an image folder: it has no name of its own\n")

    def test_leftovers_that_cannot_be_removed_are_said(self):
        root = self.tree()
        held = self.image + ".partial/data"
        write(self.image + ".partial/.metadata_gen-unfinished")
        os.mkdir(held)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", held], check=True)
        self.addCleanup(lambda: os.path.ismount(held) and subprocess.run(["umount", held], check=True))
        self.bad(self.build("--rootfs", root),
                 f"Cannot remove what an earlier build left in {self.image}.partial: Device or resource busy\n")
        subprocess.run(["umount", held], check=True)
        self.built("--rootfs", root)

    def test_a_trailing_slash_names_the_same_image(self):
        self.built("--rootfs", self.tree(), output=self.image + "//")
        self.good(self.verify())
        self.assertEqual(sorted(os.listdir(self.work)), ["certs", "image", "root"])

    def test_a_full_disk_leaves_nothing(self):
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        root = self.tree()
        write(root + "/noise", noise(400000, "x"))
        self.bad(self.build("--rootfs", root, output=small + "/image"), "No space left on device")
        self.assertEqual(os.listdir(small), [])


class Patches(Case):
    """Three versions of a tree; zstd's own tool decodes what is made."""

    def setUp(self):
        super().setUp()
        self.old, self.older = self.path("old"), self.path("older")
        self.body = noise(300_000, "body")
        self.build_tree(self.older, version=1, release="5.10.0-1", extra=b"ancient " * 2000)
        self.build_tree(self.old, version=2, release="5.10.0-28", extra=b"old " * 5000)

    def make_tree(self, version, release, extra):
        root = self.path(f"root-{version}")
        word = f"version {version}".encode()
        write(f"{root}/usr/bin/tool", self.body[:1000] + word + self.body[1000:], 0o755)
        write(f"{root}/lib/modules/{release}/net.ko", self.body[:150_000] + word)
        write(f"{root}/etc/config", b"setting = 1\n" * 100 + word)  # not compressed, for it is small
        write(f"{root}/same", self.body[200_000:])
        write(f"{root}/extra", extra)
        write(f"{root}/only-{version}", noise(30_000, f"only {version}"))
        write(f"{root}/empty")
        return root

    def build_tree(self, output, version, release, extra, *args):
        self.good(self.build("--rootfs", self.make_tree(version, release, extra), *args, output=output))

    def new(self, *old, jobs="2"):
        args = [word for o in old for word in ("--patch-from", o)]
        self.build_tree(self.image, 3, "6.1.0-3", b"new " * 5000, "--jobs", jobs, *args)

    def digests(self, image):
        return {line.split("'")[1]: line.split(",")[4] for line in lines(image, "regulars.txt")}

    def content(self, image, path):
        blob = os.path.join(image, "data.zst", self.digests(image)[path] + ".zst")
        if not os.path.exists(blob):
            return read(image, "data" + path)
        return subprocess.run(["zstd", "-dqc", blob], stdout=subprocess.PIPE, check=True).stdout

    def decoded(self, name, old):
        write(self.path("base"), old)
        argv = ["zstd", "-dqc", "--long=30", f"--patch-from={self.path('base')}", f"{self.image}/patches/{name}"]
        return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout

    def test_changed_contents_have_a_patch_from_their_older_form(self):
        self.new(self.old)
        new, old = self.digests(self.image), self.digests(self.old)
        pairs = {
            "/usr/bin/tool": "/usr/bin/tool",
            "/lib/modules/6.1.0-3/net.ko": "/lib/modules/5.10.0-28/net.ko",
            "/etc/config": "/etc/config",
        }
        wanted = sorted(f"{new[a]}.{old[b]}.zst" for a, b in pairs.items())
        self.assertEqual(sorted(os.listdir(self.image + "/patches")), wanted)
        listed = [line.split(",") for line in lines(self.image, "patches.txt")]
        self.assertEqual([f"{made}.{base}.zst" for made, base, *_ in listed], wanted)
        sizes = {hashlib.sha256(c).hexdigest(): len(c) for c in (self.content(self.old, p) for p in pairs.values())}
        for made, base, base_bytes, patch_bytes, digest in listed:
            patch = read(self.image, "patches", f"{made}.{base}.zst")
            self.assertEqual((len(patch), hashlib.sha256(patch).hexdigest()), (int(patch_bytes), digest))
            self.assertEqual(int(base_bytes), sizes[base])
            self.assertLess(len(patch), 200)
        for path, base in pairs.items():
            made = self.decoded(f"{new[path]}.{old[base]}.zst", self.content(self.old, base))
            self.assertEqual(hashlib.sha256(made).hexdigest(), new[path])

    def patch_of(self, path):
        """Of the patches to this file: the digest of the older content of each."""
        made = self.digests(self.image)[path]
        return [base for made_of, base, *_ in (line.split(",") for line in lines(self.image, "patches.txt")) if made_of == made]

    def from_tree(self, files, output, *args):
        root = tempfile.mkdtemp(dir=self.work)
        for path, data in files.items():
            write(root + path, data)
        return self.good(self.build("--rootfs", root, *args, output=output)).stdout.decode()

    def test_contents_with_much_in_common_are_found_under_any_name(self):
        a, b, c = (noise(60_000, name) for name in "abc")
        words = b"".join(b"line %d of a long text\n" % i for i in range(3000))
        self.from_tree({"/usr/lib/libalpha.so.1": a, "/usr/lib/beta": b, "/usr/share/text.html": words,
                        "/opt/gamma.bin": c, "/usr/lib/libother.so.1": noise(60_000, "other")}, self.old)
        said = self.from_tree({
            "/usr/lib64/libomega.so.7": b"new" + a[:30_000] + b"version" + a[30_000:],  # the same ending
            "/usr/lib/psi": b[:20_000] + b[25_000:],  # the same folder
            "/usr/share/page.html": words.replace(b"line 17", b"row 17"),
            "/srv/unlike/gamma": c + b"!",  # neither: not looked for
            "/usr/lib/libunlike.so.2": noise(60_000, "unlike"),  # like by its name and size alone
        }, self.image, "--patch-from", self.old)
        old = self.digests(self.old)
        self.assertEqual([old["/usr/lib/libalpha.so.1"]], self.patch_of("/usr/lib64/libomega.so.7"))
        self.assertEqual([old["/usr/lib/beta"]], self.patch_of("/usr/lib/psi"))
        self.assertEqual([old["/usr/share/text.html"]], self.patch_of("/usr/share/page.html"))
        self.assertEqual([], self.patch_of("/srv/unlike/gamma"))
        self.assertEqual([], self.patch_of("/usr/lib/libunlike.so.2"))
        self.assertRegex(said, r"(?m)^3 patches with \d+ bytes, 0 taken over\n  3 from what has much in common: \d+ bytes in place of \d+$")
        for path, data in (("/usr/lib64/libomega.so.7", a), ("/usr/lib/psi", b)):
            name = f"{self.digests(self.image)[path]}.{hashlib.sha256(data).hexdigest()}.zst"
            self.assertLess(os.path.getsize(f"{self.image}/patches/{name}"), 300)
            self.assertEqual(hashlib.sha256(self.decoded(name, data)).hexdigest(), self.digests(self.image)[path])
        self.good(self.verify())

    def test_what_a_name_leads_to_is_tried_first_and_what_it_misleads_to_is_made_up_for(self):
        a, b = noise(60_000, "a"), noise(60_000, "b")
        self.from_tree({"/lib/one-1.bin": a, "/lib/two-1.bin": b}, self.old)
        said = self.from_tree({"/lib/one-2.bin": b + b"x", "/lib/three.bin": a + b"x"}, self.image, "--patch-from", self.old)
        old = self.digests(self.old)
        self.assertEqual([old["/lib/two-1.bin"]], self.patch_of("/lib/one-2.bin"))
        self.assertEqual([old["/lib/one-1.bin"]], self.patch_of("/lib/three.bin"))
        self.assertIn("2 from what has much in common", said)
        said = self.from_tree({"/lib/one-2.bin": a + b"x"}, self.image, "--patch-from", self.old)
        self.assertIn("1 from the same path but for version numbers", said)

    def build_text(self, output, word, *options):
        """An image of one content that it keeps compressed; its digest, and what was said."""
        text = noise(100_000, "text").hex().encode()
        write(self.path("root-text") + "/usr/share/text", text[:70_000] + word + text[70_000:])
        done = self.built("--rootfs", self.path("root-text"), *options, output=output)
        return self.digests(output)["/usr/share/text"], done.stderr.decode()

    def test_contents_that_are_kept_compressed_have_patches_too(self):
        old, _ = self.build_text(self.path("text"), b"old")
        new, _ = self.build_text(self.image, b"new", "--patch-from", self.path("text"))
        for image, digest in ((self.path("text"), old), (self.image, new)):
            self.assertTrue(os.path.exists(f"{image}/data.zst/{digest}.zst"))
        self.assertEqual(os.listdir(self.image + "/patches"), [f"{new}.{old}.zst"])
        made = self.decoded(f"{new}.{old}.zst", self.content(self.path("text"), "/usr/share/text"))
        self.assertEqual(hashlib.sha256(made).hexdigest(), new)
        self.good(self.verify())

    def test_a_patch_that_is_hardly_smaller_is_made_with_the_highest_level(self):
        r = random.Random(7)
        old = noise(60_000, "pieces")
        new = b"".join(old[at:at + 7] + r.randbytes(5) for at in (r.randrange(59_990) for _ in range(5000)))
        self.from_tree({"/f": old}, self.path("pieces"))
        made = {}
        for level in ("10", "19"):
            self.from_tree({"/f": new}, self.path(level), "--patch-from", self.path("pieces"), "--compress-level", level)
            name, = os.listdir(self.path(level, "patches"))
            made[level] = read(self.path(level, "patches", name))
        self.assertGreater(len(made["10"]), len(new) // 2)
        self.assertEqual(made["10"], made["19"])

    def test_a_damaged_content_of_the_older_image_costs_its_patch_and_is_told(self):
        old, _ = self.build_text(self.path("text"), b"old")
        path = f"{self.path('text')}/data.zst/{old}.zst"
        blob = read(path)
        other = subprocess.run(["zstd", "-qc"], input=b"x" * 200_003, stdout=subprocess.PIPE, check=True).stdout
        for name, damaged in (("cut", blob[:-1]), ("longer", blob + b"x"), ("garbage", b"x" * len(blob)), ("other", other),
                              ("empty", b"")):
            with self.subTest(name):
                write(path, damaged)
                _, said = self.build_text(self.image, b"new", "--patch-from", self.path("text"))
                self.assertIn("1 content of the images to patch from is missing or damaged, so no patch ", said)
                self.assertEqual(read(self.image, "patches.txt"), b"")
                self.good(self.verify())

    def test_several_older_images_each_have_theirs(self):
        self.new(self.old, self.older)
        new, tool = self.digests(self.image), "/usr/bin/tool"
        for image in (self.old, self.older):
            self.assertIn(f"{new[tool]}.{self.digests(image)[tool]}.zst", os.listdir(self.image + "/patches"))
        self.good(self.verify())

    def test_equal_images_give_equal_patches_whatever_the_threads(self):
        # Some of these have several older contents that are alike.
        for i in range(30):
            for version in (1, 2, 3):
                write(self.path(f"root-{version}/many/{chr(97 + (i + 7 * version) % 30)}"),
                      noise(20_000, f"many {i // 3}") + b"%d" % (version * 100 + i))
        for image, version in ((self.old, 2), (self.older, 1)):
            self.good(self.build("--rootfs", self.path(f"root-{version}"), output=image))
        self.new(self.old, self.older, jobs="1")
        self.assertGreater(len(lines(self.image, "patches.txt")), 60)
        first = contents(self.image + "/patches"), read(self.image, "patches.txt")
        shutil.rmtree(self.image)
        self.new(self.old, self.older, jobs="4")
        self.assertEqual((contents(self.image + "/patches"), read(self.image, "patches.txt")), first)

    def test_the_image_in_its_place_can_be_the_older_one(self):
        os.rename(self.old, self.image)
        self.new(self.image)
        self.assertEqual(len(lines(self.image, "patches.txt")), 3)
        self.good(self.verify())

    def test_inspect_counts_them_and_metadata_names_their_list(self):
        self.new(self.old)
        figures = json.loads(self.good(self.run_gen("inspect", "--json", self.image)).stdout)
        on_disk = [os.path.getsize(f"{self.image}/patches/{name}") for name in os.listdir(self.image + "/patches")]
        self.assertEqual((figures["patches"], figures["patch_bytes"]), (3, sum(on_disk)))
        digest = hashlib.sha256(read(self.image, "patches.txt")).hexdigest()
        self.assertIn({"x_patches": "patches.txt", "hash": digest}, payload_of(self.image))

    def test_verify_finds_what_is_wrong_with_them(self):
        self.new(self.old)
        name = sorted(os.listdir(self.image + "/patches"))[0]
        path = f"{self.image}/patches/{name}"
        patch = read(path)
        flipped = bytes([patch[0] ^ 1]) + patch[1:]
        for data, words in ((patch + b"x", "bytes instead of"), (flipped, "another digest than the list says")):
            write(path, data)
            self.bad(self.verify(), f"patches/{name}: it has", words)
        os.unlink(path)
        self.bad(self.verify(), f"patches/{name}: it cannot be read: No such file or directory")
        self.good(self.verify("--quick"))
        shutil.rmtree(self.image + "/patches")
        self.bad(self.verify(), "patches: patches are listed, but it cannot be opened")
        write(self.image + "/patches.txt", b"x")
        done = self.verify("--quick")
        self.bad(done, "patches.txt: its digest is not the one", "Line 1 of patches.txt: expected the digest")
        os.unlink(self.image + "/patches.txt")
        self.bad(self.verify("--quick"), "patches.txt: it cannot be read")

    def test_older_contents_that_are_damaged_are_no_base(self):
        tool = self.digests(self.old)["/usr/bin/tool"]
        os.unlink(f"{self.old}/data/usr/bin/tool")
        os.unlink(f"{self.old}/data/lib/modules/5.10.0-28/net.ko")
        write(f"{self.old}/data/lib/modules/5.10.0-28/net.ko", b"x")
        args = ("--rootfs", self.make_tree(3, "6.1.0-3", b"new " * 5000), "--patch-from", self.old)
        done = self.good(self.build(*args))
        self.assertIn(b"warning: 2 contents of the images to patch from are missing or damaged", done.stderr)
        self.assertNotIn(tool, read(self.image, "patches.txt").decode())
        self.good(self.verify())

    def test_a_disk_that_fails_in_the_middle_of_it_leaves_no_image(self):
        args = ("--rootfs", self.make_tree(3, "6.1.0-3", b"new " * 5000), "--patch-from", self.old, "--jobs", "1")
        done = self.build(*args, env=fault("openat", "partial/patches/", 1, "ENOSPC"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(),
                         "^metadata_gen: Cannot write the patch \\S+: No space left on device\n$")
        self.bad(self.build(*args, env=fault("read", "partial/data/usr/bin/tool", 1, "EIO")),
                 "metadata_gen: Cannot read a content of the new image again: Input/output error\n")
        self.assert_no_output()

    def test_what_is_no_image_cannot_be_patched_from(self):
        root = self.make_tree(3, "6.1.0-3", b"")
        nothing = self.path("nothing")
        done = self.build("--rootfs", root, "--patch-from", nothing)
        self.bad(done, f"Cannot read the image {nothing}: It cannot be opened")
        done = self.build("--rootfs", root, "--patch-from", root)
        self.bad(done, f"Cannot read the image {root}: Its metadata.jwt cannot be read: No such file or directory\n")
        os.rename(self.old + "/data.zst", self.path("moved"))
        done = self.build("--rootfs", root, "--patch-from", self.old)
        self.bad(done, f"Cannot read the image {self.old}: Cannot open its folder data.zst: No such file or directory\n")
        os.rename(self.path("moved"), self.old + "/data.zst")
        done = self.build("--rootfs", root, *["--patch-from", self.old] * 17)
        self.bad(done, "--patch-from can be given 16 times at most", status=2)
        self.assert_no_output()


class Verify(Case):
    """Verify says everything that is wrong, and where."""

    def setUp(self):
        super().setUp()
        write(self.path("persistents"), b"'/etc/hosts'")
        self.built("--rootfs", self.tree(), "--persistents", self.path("persistents"))
        self.blob = os.listdir(self.image + "/data.zst")[0]

    def flip(self, *names, at=None):
        path = os.path.join(self.image, *names)
        data = bytearray(read(path))
        data[len(data) // 2 if at is None else at] ^= 1
        with open(path, "wb") as f:
            f.write(bytes(data))

    def fresh(self):
        self.built("--rootfs", self.path("root"), "--persistents", self.path("persistents"))

    def test_a_good_image_is_good(self):
        self.assertIn("good", self.good(self.verify()).stdout.decode())
        self.good(self.verify("--quick"))
        self.good(self.verify("--jobs", "3"))

    def test_a_flipped_bit_is_found_in_every_kind_of_file(self):
        for name in ("metadata.jwt", "sign.pem", "dirs.txt", "symlinks.txt", "regulars.txt", "attributes.txt", "persistents.txt",
                     "data.zst/" + self.blob, "data/etc/hosts", "data/usr/lib/noise"):
            self.flip(name)
            self.bad(self.verify(), name)
            self.fresh()

    def test_quick_leaves_the_contents_out(self):
        self.flip("data/etc/hosts")
        self.flip("data.zst", self.blob)
        self.good(self.verify("--quick"))
        self.bad(self.verify(), "2 problems")

    def test_all_that_is_wrong_is_said(self):
        self.flip("data/etc/hosts")
        self.flip("data.zst", self.blob)
        os.unlink(self.image + "/data/usr/lib/noise")
        write(self.image + "/dirs.txt", b"0755,0,0,'/etc'\nnonsense\n0755,0,0,/usr\n0755,0,0,'/usr'\n0755,0,0,'/usr/bin'\n0755,0,0,'/usr/lib'")
        write(self.image + "/oci-layout")
        said = self.bad(self.verify(), "7 problems").stderr.decode()
        for word in ("data/etc/hosts: its content has another digest than the list says\n", f"data.zst/{self.blob}: ",
                     "data/usr/lib/noise: it cannot be opened: No such file", "dirs.txt: its digest is not the one in metadata.jwt",
                     "dirs.txt, line 2: ", "dirs.txt, line 3: ",
                     "oci-layout: it must not be there, clients take the image for another kind\n"):
            self.assertIn(word, said)

    def test_lists_that_do_not_fit_together_are_found(self):
        self.resign(lambda: write(self.image + "/symlinks.txt", b"0777,0,0,'/etc/hosts/below','x'"))
        self.bad(self.verify(), "The lists: ", "/etc/hosts")
        self.resign(lambda: write(self.image + "/regulars.txt", read(self.image, "regulars.txt").replace(b",20,,", b",21,,")))
        self.bad(self.verify(), "data/etc/hosts: it has 20 bytes instead of 21",
                 "metadata.jwt: it says that the files have 120024 bytes together, but the lists say 120025\n")

    def test_contents_that_cannot_be_read_are_told(self):
        why = "it cannot be read: Input/output error\n"
        self.bad(self.verify(env=fault("pread", self.blob, 1, "EIO")), f"metadata_gen: data.zst/{self.blob}: {why}")

    def test_folders_that_are_missing_are_told(self):
        shutil.rmtree(self.image + "/data.zst")
        self.bad(self.verify(), "data.zst: compressed contents are listed, but it cannot be opened: No such file or directory\n")
        self.fresh()
        shutil.rmtree(self.image + "/data")
        self.bad(self.verify(), "data: files are listed, but it cannot be opened: No such file or directory\n")
        self.fresh()
        self.good(self.run_gen("sign", "--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "sign.pem",
                               "--persistent-file", "persistents.txt", "--rootfs-directory", "data", cwd=self.image))
        self.bad(self.verify(), "metadata.jwt: it names no folder for the compressed contents of the lists\n")

    def test_blank_lines_are_refused_where_clients_refuse_them(self):
        for name in LISTS:
            for blank in (b"\n", b" \t\n", b"\r\n"):
                self.resign(lambda: write(os.path.join(self.image, name), blank + read(self.image, name)))
                self.bad(self.verify(), f"{name}, line 1: expected an octal mode, found the end of the line",
                         "1 problem\n")
            self.resign(lambda: write(os.path.join(self.image, name), read(self.image, name) + b"\n\n"))
            self.bad(self.verify(), ": expected an octal mode, found the end of the line", "1 problem\n")
            self.resign(lambda: write(os.path.join(self.image, name), read(self.image, name) + b"\n"))
            self.good(self.verify())
        self.resign(lambda: write(self.image + "/persistents.txt", b"\n'/etc/hosts'\n\n"))
        self.good(self.verify())

    def resign(self, change):
        self.fresh()
        change()
        self.good(self.run_gen("sign", "--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "sign.pem", "--persistent-file",
                               "persistents.txt", "--rootfs-directory", "data", "--compressed-rootfs-directory", "data.zst", cwd=self.image))

    def test_a_blob_with_trailing_bytes_is_found(self):
        with open(os.path.join(self.image, "data.zst", self.blob), "ab") as f:
            f.write(b"x")
        self.bad(self.verify(), "it is not one whole zstd frame")

    def test_signers_that_no_machine_trusts_are_refused(self):
        for name in ("self-signed", "unrelated-ca-leaf", "impostor-issuer-name-leaf", "issued-by-end-entity"):
            cert = os.path.join(SAMPLE, "keys/negative", name + ".pem")
            self.good(self.run_gen("build", "--rootfs", self.path("root"), "--output", self.path("image2"), "--sign-key",
                                   os.path.join(SAMPLE, "keys/negative/leaf.key"), "--cert", cert))
            self.bad(self.verify(image=self.path("image2")), name + ".pem: ", "1 problem\n")

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.work)

    def test_an_expired_signer_is_refused_with_its_date(self):
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=old", "-keyout",
                     "old.key", "-out", "old.csr")
        write(self.path("ca.cnf"), b"[ca]\ndefault_ca=a\n[a]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n"
              b"policy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nbasicConstraints=CA:FALSE\n")
        write(self.path("index"))
        write(self.path("serial"), b"77")
        self.openssl("ca", "-batch", "-config", "ca.cnf", "-cert", os.path.join(SAMPLE, "keys/test.interm.pem"), "-keyfile",
                     os.path.join(SAMPLE, "keys/interm.key"), "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-in", "old.csr",
                     "-out", "old.pem", "-notext")
        self.good(self.run_gen("build", "--rootfs", self.path("root"), "--output", self.path("image2"), "--sign-key", self.path("old.key"),
                               "--cert", self.path("old.pem")))
        self.bad(self.verify(image=self.path("image2")), "old.pem: ", "2021")

    def test_no_certificates_trust_nobody(self):
        os.mkdir(self.path("empty"))
        self.bad(self.run_gen("verify", "--certs", self.path("empty"), self.image), "sign.pem: ")
        self.bad(self.run_gen("verify", "--certs", self.path("none"), self.image), "none")

    def test_files_that_are_no_certificates_are_told_where_one_is_missing(self):
        skipped = "Certificate file sign.key was skipped: its name is not <chain>.<role>.pem\n"
        write(os.path.join(self.certs(), "sign.key"))
        self.assertEqual(self.good(self.verify()).stderr, b"")
        self.flip("data/etc/hosts")
        said = self.bad(self.verify(), "another digest").stderr.decode()
        self.assertNotIn("skipped", said)
        os.rename(os.path.join(self.certs(), "test.interm.pem"), os.path.join(self.certs(), "interm.pem"))
        done = self.bad(self.verify(), "sign.pem: Certificate ", skipped, "Certificate file interm.pem was skipped")
        said = done.stderr.decode()
        self.assertTrue(said.endswith(f"metadata_gen: The image {self.image} is not good: 2 problems\n"), said)

    def test_what_is_no_image_is_said(self):
        os.mkdir(self.path("empty"))
        self.bad(self.verify(image=self.path("empty")), "metadata.jwt: it cannot be read")
        self.bad(self.verify(image=self.path("none")), "Cannot open the image")


class Inspect(Case):
    def test_build_inspect_and_verify_agree(self):
        done = self.built("--rootfs", self.tree())
        self.assertIn(f"{self.image}: 4 directories, 1 link, 6 files with 120024 bytes; "
                      "1 content compressed, 0 taken over\n",
                      done.stdout.decode())
        figures = json.loads(self.good(self.run_gen("inspect", "--json", self.image)).stdout)
        keys = ("directories", "symlinks", "files", "total_bytes", "contents", "content_bytes")
        self.assertEqual([figures[k] for k in keys], [4, 1, 6, 120024, 4, 80022])
        n_lines = sum(len(lines(self.image, name)) for name in LISTS)
        said = f"good; signature and {n_lines} lines, 4 distinct contents with 80022 bytes checked\n"
        self.assertIn(said, self.good(self.verify()).stdout.decode())
        self.built("--rootfs", self.path("root"), "--plain-all")
        self.assertIn(said, self.good(self.verify()).stdout.decode())

    def test_one_of_a_thing_is_singular(self):
        write(self.path("root/a"), b"x")
        self.assertIn("0 directories, 0 links, 1 file with 1 byte; 0 contents",
                      self.built("--rootfs", self.path("root")).stdout.decode())
        self.assertIn("signature and 1 line, 1 distinct content with 1 byte checked",
                      self.good(self.verify()).stdout.decode())

    def test_json_has_the_figures(self):
        self.built("--rootfs", self.tree())
        got = json.loads(self.good(self.run_gen("inspect", "--json", self.image)).stdout)
        self.assertEqual(got["identity"], hashlib.sha256(read(self.image, "metadata.jwt")).hexdigest())
        self.assertIn("CN=sign.sample.example", got["signed_by"])
        want = {"signature_ok": True, "attributes": True, "directories": 4, "symlinks": 1, "files": 6, "hard_link_groups": 1,
                "contents": 4, "compressed_contents": 1, "total_bytes": 120024, "content_bytes": 80022, "xattrs": 1, "persistents": 0}
        self.assertEqual({k: got[k] for k in want}, want)
        self.assertLess(got["served_bytes"], 41000)

    def test_text_has_the_signer(self):
        self.built("--rootfs", self.tree())
        said = self.good(self.run_gen("inspect", self.image)).stdout.decode()
        self.assertIn("CN=sign.sample.example", said)
        jwt = read(self.image, "metadata.jwt")
        payload = bytearray(jwt)
        payload[-20] = ord("A") if payload[-20] != ord("A") else ord("B")
        write(self.image + "/metadata.jwt", bytes(payload))
        self.assertIn("WRONG", self.good(self.run_gen("inspect", self.image)).stdout.decode())


class Signing(Case):
    def sign(self, key, cert, *more):
        return self.run_gen("build", "--rootfs", self.tree(), "--output", self.image, "--sign-key", key, "--cert", cert, *more)

    def test_a_key_that_is_not_the_certificates_is_refused_before_any_work(self):
        key, cert = os.path.join(SAMPLE, "keys/interm.key"), os.path.join(SAMPLE, "keys/sign.pem")
        self.bad(self.sign(key, cert), f"Cannot sign with {key} for {cert}: The signing key does not belong to certificate ")
        self.assert_no_output()

    def test_a_key_on_another_curve_is_refused(self):
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out",
                        self.path("p384.key")], check=True, capture_output=True)
        self.bad(self.sign(self.path("p384.key"), os.path.join(SAMPLE, "keys/sign.pem")),
                 f"Signing key {self.path('p384.key')} is no EC key on P-256\n")
        self.assert_no_output()

    def test_a_certificate_with_a_name_that_no_image_can_have_is_refused(self):
        name = os.fsencode(self.work) + b"/si\xffgn.pem"
        shutil.copy(os.path.join(SAMPLE, "keys/sign.pem"), name)
        self.bad(self.sign(os.path.join(SAMPLE, "keys/sign.key"), name),
                 "\"si\\xffgn.pem\" cannot be the name of an image's file\n")
        self.assert_no_output()

    def test_a_certificate_with_the_name_of_a_list_is_refused(self):
        for name in ("dirs.txt", "patches.txt", "regulars.txt.zst"):
            shutil.copy(os.path.join(SAMPLE, "keys/sign.pem"), self.path(name))
            self.bad(self.sign(os.path.join(SAMPLE, "keys/sign.key"), self.path(name)),
                     f"The certificate cannot be named {name}, which is another file of the image\n")
            shutil.rmtree(self.path("root"))

    def test_missing_files_are_named(self):
        self.bad(self.sign(self.path("no.key"), os.path.join(SAMPLE, "keys/sign.pem")), "no.key")
        self.bad(self.build("--rootfs", self.path("root"), "--ignore-file", self.path("no.rules")), "no.rules", "No such file")
        self.bad(self.build("--rootfs", self.path("none")), "Cannot open the root file system")

    def test_inputs_that_are_no_files_are_refused_as_such(self):
        root = self.tree()
        os.mkfifo(self.path("fifo"))
        key, cert = os.path.join(SAMPLE, "keys/sign.key"), os.path.join(SAMPLE, "keys/sign.pem")
        for odd in ("/etc", "/dev/zero", self.path("fifo")):
            why = f"{odd}: it is not a regular file\n"
            for signing, what in (([odd, "--cert", cert], "signing key"), ([key, "--cert", odd], "the certificate")):
                self.bad(self.run_gen("build", "--rootfs", root, "--output", self.image, "--sign-key", *signing),
                         f"Cannot read {what} {why}")
            self.bad(self.build("--rootfs", root, "--persistents", odd), "Cannot read " + why)
            self.bad(self.build("--rootfs", root, "--ignore-file", odd), "Cannot read " + why)
        self.bad(self.build("--tar", "/etc"), "Cannot read the tar file /etc: it is a folder\n")
        folder = os.open("/etc", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        self.bad(self.build("--tar", "-", stdin=folder), "Cannot read the tar file on standard input: it is a folder\n")
        self.assert_no_output()

    def test_parts_of_an_image_that_are_no_files_are_named(self):
        for name in ("metadata.jwt", "sign.pem", "dirs.txt", "attributes.txt", "persistents.txt"):
            self.built("--rootfs", self.tree() if name == "metadata.jwt" else self.path("root"))
            os.unlink(os.path.join(self.image, name))
            os.mkfifo(os.path.join(self.image, name))
            self.bad(self.run_gen("inspect", self.image),
                     f"Cannot read {name} of the image: it is not a regular file\n")
            self.bad(self.verify(), f"{name}: it cannot be read: it is not a regular file\n")
            shutil.rmtree(self.image)

    def test_a_persistents_list_that_nobody_can_read_is_refused(self):
        write(self.path("persistents"), b"'/etc/hosts'\n/etc/hostname\n")
        self.bad(self.build("--rootfs", self.tree(), "--persistents", self.path("persistents")), "Line 2 of ")

    def test_persistents_that_every_machine_refuses_are_warned_of(self):
        path = self.path("persistents")
        spelling = "it is no absolute path in its plain spelling"
        bad = {1: ("", spelling), 3: ("etc/hosts", spelling), 4: ("/etc/d/", spelling), 6: ("//etc//hosts", spelling),
               7: ("/boot/grub", "this folder belongs to the machine, not to a system"),
               8: ("/.ota-meta", "names that begin with /.ota- are the updater's own"),
               9: ("/swapfile", "a swap file holds nothing worth keeping")}
        rows = [f"'{bad[i][0]}'" if i in bad else "" if i == 2 else "'/etc/hosts'" for i in range(1, 11)]
        write(path, "\n".join(rows).encode())
        said = self.built("--rootfs", self.tree(), "--persistents", path).stderr.decode()
        want = [f'metadata_gen: warning: Line {i} of {path}: every machine will refuse the entry "{name}": {why}'
                for i, (name, why) in bad.items()]
        self.assertEqual(said.splitlines(), want)
        self.assertEqual(read(self.image, "persistents.txt"), read(path))
        self.good(self.verify())


class Gen(Case):
    def gen(self, *args):
        return self.run_gen("gen", "--target-dir", "root", *args, cwd=self.work)

    def test_the_ignore_file_must_be_there(self):
        self.tree()
        self.bad(self.gen(), "The ignore file is missing", "ignore.txt")

    def test_names_thresholds_and_places_can_be_chosen(self):
        self.tree()
        write(self.path("rules"))
        os.mkdir(self.path("out"))
        self.good(self.gen("--ignore-file", "rules", "--output-dir", "out", "--directory-file", "d", "--symlink-file", "s", "--regular-file",
                           "r", "--total-regular-size-file", "t", "--compressed-dir", "z", "--compress-filesize", "40001", "--prefix", "/p"))
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["d", "r", "s", "t"])
        self.assertEqual(os.listdir(self.path("z")), [])
        self.assertEqual(read(self.path("out/t")), b"120024")
        self.assertTrue(lines(self.path("out/d"))[0].endswith("'/p/etc'"))
        self.good(self.gen("--ignore-file", "rules", "--compressed-dir", "z", "--compress-ratio", "0.5"))
        self.assertEqual(len(os.listdir(self.path("z"))), 2)

    def test_ignored_files_leave_no_content(self):
        root = self.tree()
        write(root + "/opt/ota/otaclient_release/big", text(90000))
        write(self.path("ignore.txt"), b"/opt\n")
        self.good(self.gen("--compressed-dir", "z"))
        self.assertEqual(os.listdir(self.path("z")), [hashlib.sha256(text(40000)).hexdigest() + ".zst"])

    def test_a_damaged_content_of_before_is_replaced(self):
        self.tree()
        write(self.path("ignore.txt"))
        self.good(self.gen("--compressed-dir", "z"))
        blob = os.listdir(self.path("z"))[0]
        good = read(self.path("z"), blob)
        write(self.path("z", blob), good[:10])
        self.good(self.gen("--compressed-dir", "z"))
        self.assertEqual(read(self.path("z"), blob), good)

    def test_the_newest_kernel_is_chosen_if_there_is_one(self):
        root = self.tree()
        write(self.path("ignore.txt"))
        self.good(self.gen())
        for v in ("5.15.0-9-generic", "5.15.0-10-generic"):
            write(f"{root}/boot/vmlinuz-{v}")
            write(f"{root}/boot/initrd.img-{v}")
        self.good(self.gen())
        self.assertEqual([r.split("'")[1] for r in lines(self.path("regulars.txt")) if "boot" in r],
                         ["/boot/initrd.img-5.15.0-10-generic", "/boot/vmlinuz-5.15.0-10-generic"])
        os.unlink(f"{root}/boot/initrd.img-5.15.0-10-generic")
        self.bad(self.gen(), "has no /boot/initrd.img-5.15.0-10-generic")


class Sign(Case):
    def setUp(self):
        super().setUp()
        self.tree()
        write(self.path("ignore.txt"))
        write(self.path("persistents.txt"))
        shutil.copy(os.path.join(SAMPLE, "keys/sign.pem"), self.work)
        self.good(self.run_gen("gen", "--target-dir", "root", cwd=self.work))

    def sign(self, *args):
        return self.run_gen("sign", "--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "sign.pem",
                            "--persistent-file", "persistents.txt", *args, cwd=self.work)

    def test_a_size_is_one_number(self):
        for size in (b"", b"x", b"12 13", b"-1", b"99999999999999999999999"):
            write(self.path("total_regular_size.txt"), size)
            self.bad(self.sign(), "total_regular_size.txt does not hold one number\n")
        write(self.path("total_regular_size.txt"), b"120024\r\n")
        self.good(self.sign())
        os.unlink(self.path("total_regular_size.txt"))
        self.good(self.sign())

    def test_folders_are_named_without_a_path(self):
        for name in ("a/b", "..", "/", "x" * 256):
            self.bad(self.sign("--rootfs-directory", name),
                     f"--rootfs-directory wants the name of a folder in the image, not \"{name[:100]}\"\n")
            self.bad(self.sign("--compressed-rootfs-directory", name),
                     f"--compressed-rootfs-directory wants the name of a folder in the image, not \"{name[:100]}\"\n")
        self.good(self.sign("--rootfs-directory", "data//"))
        self.assertEqual(self.path("metadata.jwt") and os.path.exists(self.path("metadata.jwt")), True)

    def test_an_output_that_cannot_be_written_is_named(self):
        self.bad(self.sign("--output", "none/metadata.jwt"), "Cannot write none/metadata.jwt: No such file or directory\n")


def fault(function, path, nth, what):
    """The environment of a program of which one call comes to grief: tests/support/faulty_calls.c."""
    # The sanitizers want to come first, where there are any; this library allocates nothing.
    return {**os.environ, "LD_PRELOAD": FAULTY_CALLS, "ASAN_OPTIONS": "verify_asan_link_order=0",
            "FAULTY_CALL": f"{function} {path} {nth} {getattr(errno, what, what)}"}


class Faults(Case):
    """A disk that fails at this moment, a file that changes then: it is said, and no half image appears."""

    BIG = 17 << 20  # more than is held in memory

    def failing(self, sentence, *args, files=None, **more):
        """Each of the files makes a tree of its own. The call that fails is the value behind it."""
        done = self.build("--jobs", "1", *args, **more)
        self.bad(done, "metadata_gen: " + sentence + "\n")
        self.assert_no_output()

    def hex(self, data):
        return hashlib.sha256(data).hexdigest()

    def big(self, name, data):
        write(self.path("root", name), data)
        return self.path("root")

    def test_a_file_that_changes_while_it_is_taken_in_is_refused(self):
        root = self.tree()
        changed = "Cannot take in /etc/hosts: it changed while "
        self.failing(changed + "the tree was read", "--rootfs", root, env=fault("openat", "/etc/hosts", 1, "flip"))
        self.failing(changed + "it was read", "--rootfs", root, env=fault("pread", "/etc/hosts", 2, "flip"))
        self.failing("Cannot take in /etc/hosts: its size changed while it was read", "--rootfs", root,
                     env=fault("pread", "/etc/hosts", 1, "grow"))
        self.built("--rootfs", root)

    def test_a_large_file_that_changes_between_two_looks_is_refused(self):
        """Its bytes are read in 18 calls, the last of which finds the end."""
        root = self.big("noise", random.Random(1).randbytes(self.BIG))
        self.failing("Cannot take in /noise: it changed while it was read", "--rootfs", root,
                     env=fault("pread", "root/noise", 19, "flip"))
        size = os.path.getsize(root + "/noise")
        self.failing(f"Cannot take in /noise: its size changed from {size} to {size + 1} bytes while it was read", "--rootfs",
                     root, env=fault("pread", "root/noise", 5, "grow"))
        os.unlink(root + "/noise")
        # Of the same size, so that each is hashed before it is compressed.
        self.big("text1", text(self.BIG))
        self.big("text2", text(self.BIG))
        self.failing("Cannot take in /text1: it changed while it was read", "--rootfs", root,
                     env=fault("pread", "root/text1", 19, "flip"))

    def test_files_that_cannot_be_read_are_named(self):
        root = self.tree()
        self.big("noise", random.Random(1).randbytes(self.BIG))
        why = "Input/output error"
        for sentence, call in (
                (f"Cannot take in /etc/hosts: it cannot be opened: {why}", ("openat", "/etc/hosts", 1, "EIO")),
                (f"Cannot take in /etc/hosts: it cannot be read: {why}", ("pread", "/etc/hosts", 1, "EIO")),
                (f"Cannot take in /noise: Cannot read or compress a content: {why}", ("pread", "root/noise", 3, "EIO")),
                (f"Cannot read the folder {root}/etc: {why}", ("fstatat", "/etc/hosts", 1, "EIO"))):
            self.failing(sentence, "--rootfs", root, env=fault(*call))

    def test_contents_that_cannot_be_written_are_named(self):
        root = self.tree()
        big, blob = text(self.BIG), self.hex(text(40000))
        self.big("big", big)
        no_space = "No space left on device"
        for sentence, call in (
                (f"Cannot take in /big: Cannot make a temporary file in the image: {no_space}",
                 ("openat", "data.zst/.tmp-", 1, "ENOSPC")),
                (f"Cannot take in /big: Cannot write a compressed content: {no_space}",
                 ("write", "data.zst/.tmp-", 1, "ENOSPC")),
                (f"Cannot take in /big: Cannot write {self.hex(big)}.zst: {no_space}",
                 ("renameat", self.hex(big), 1, "ENOSPC")),
                (f"Cannot take in /usr/lib/text: Cannot write {blob}.zst: {no_space}", ("renameat", blob, 1, "ENOSPC"))):
            self.failing(sentence, "--rootfs", root, env=fault(*call))

    def tar_of(self, **files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as t:
            for name, data in files.items():
                m = tarfile.TarInfo(name)
                m.size = len(data)
                t.addfile(m, io.BytesIO(data))
        return out.getvalue()

    def test_contents_of_a_stream_that_cannot_be_kept_are_named(self):
        big = text(self.BIG)
        tar, digest = self.tar_of(big=big), self.hex(big)
        why = "Input/output error"
        for sentence, call in (
                (f"Cannot make a temporary file in the image: {why}", ("openat", ".plain/.tmp-", 1, "EIO")),
                (f"Cannot write the content of /big: {why}", ("write", ".plain/.tmp-", 1, "EIO")),
                (f"Cannot keep a content in the image: {why}", ("renameat", ".plain/" + digest, 1, "EIO")),
                (f"Cannot open the plain copy of {digest}: {why}", ("openat", ".plain/" + digest, 1, "EIO")),
                (f"Cannot remove the plain copy of {digest}: {why}", ("unlinkat", ".plain/" + digest, 1, "EIO"))):
            self.failing(sentence, "--tar", "-", input=tar, env=fault(*call))

    def test_plain_files_that_cannot_be_placed_are_named(self):
        root = self.tree()
        served = "opt/ota/otaclient_release/big"
        write(os.path.join(root, served), text(50000))
        why = "Input/output error"
        for sentence, call in (
                (f"Cannot put etc/hosts into the image: {why}", ("renameat", "data/etc/hosts", 1, "EIO")),
                (f"Cannot put etc/hosts into the image: {why}", ("mkdirat", "partial/data/etc$", 1, "EIO")),
                (f"Cannot put {served} into the image: its content cannot be written: {why}",
                 ("write", "data/" + served, 1, "EIO")),
                (f"Cannot remove the working folder of the image: {why}", ("unlinkat", "partial/.plain$", 1, "EIO"))):
            self.failing(sentence, "--rootfs", root, env=fault(*call))

    def test_more_names_than_a_file_may_have_become_copies(self):
        root = self.path("root")
        for name in "abc":
            write(os.path.join(root, name), b"the same")
        self.good(self.build("--rootfs", root, env=fault("linkat", "data/b", 1, "EMLINK")))
        self.assertEqual([os.stat(os.path.join(self.image, "data", n)).st_nlink for n in "abc"], [1, 2, 2])
        self.good(self.verify())

    def test_the_folder_of_the_image_may_refuse_each_step(self):
        root = self.tree()
        image, why = self.image, "Input/output error"
        for sentence, call in (
                (f"Cannot make the folder {image}.partial: {why}", ("mkdirat", "image.partial$", 1, "EIO")),
                (f"Cannot write into the folder {image}.partial: {why}", ("openat", "/.metadata_gen-unfinished", 1, "EIO")),
                (f"Cannot make data in the image: {why}", ("mkdirat", "partial/data$", 1, "EIO")),
                (f"Cannot write dirs.txt into the image: {why}", ("openat", "partial/dirs.txt", 1, "EIO")),
                (f"Cannot write metadata.jwt into the image: {why}", ("write", "partial/metadata.jwt", 1, "EIO")),
                (f"Cannot make the image {image} durable: {why}", ("syncfs", "image.partial", 1, "EIO")),
                (f"Cannot put the image in its place {image}: {why}", ("renameat2", "/image$", 1, "EIO"))):
            self.bad(self.build("--rootfs", root, env=fault(*call)), f"metadata_gen: {sentence}\n")
            shutil.rmtree(image + ".partial", ignore_errors=True)
            self.assert_no_output()
        self.built("--rootfs", root)
        before = contents(image)
        for sentence, call in ((f"Cannot lock {image}: No locks available", ("flock", "/image$", 1, "ENOLCK")),
                               (f"Cannot put the image in its place {image}: {why}", ("renameat2", "/image$", 1, "EIO"))):
            self.bad(self.build("--rootfs", root, env=fault(*call)), f"metadata_gen: {sentence}\n")
            self.assertEqual(contents(image), before)
        # It is in its place, but a power cut might undo that.
        self.bad(self.build("--rootfs", root, env=fault("fsync", os.path.basename(self.work) + "$", 1, "EIO")),
                 f"metadata_gen: Cannot make the image {image} durable: {why}\n")
        self.good(self.verify())

    def test_an_output_that_cannot_be_looked_into_is_not_replaced(self):
        os.mkdir(self.image)
        self.bad(self.build("--rootfs", self.tree(), env=fault("openat", "/image/.$", 1, "EMFILE")),
                 f"metadata_gen: Cannot look into {self.image}: Too many open files\n")
        self.assertEqual(os.listdir(self.image), [])

    def test_gen_makes_contents_durable_before_lists_speak_of_them(self):
        self.tree()
        write(self.path("ignore.txt"))
        args = ["gen", "--target-dir", "root", "--compressed-dir", "z"]
        self.bad(self.run_gen(*args, cwd=self.work, env=fault("syncfs", "/z$", 1, "EIO")),
                 "metadata_gen: Cannot make z durable: Input/output error\n")
        self.assertFalse(os.path.exists(self.path("dirs.txt")))
        self.bad(self.run_gen(*args, "--directory-file", "a/b", cwd=self.work), "Cannot write a/b: Invalid argument\n")


class NoMemory(Case):
    """Memory that runs out at each allocation of the program: tests/support/failing_alloc.c."""

    def sweep(self, run, n_least, check):
        """Let @run(environment) end in want of the Nth allocation, for all N; @check() looks at what it has left."""
        mark, said, n = self.path("mark"), set(), 0
        write(self.path("leaks"), b"leak:_nl_normalize_codeset\n")  # setlocale()'s own
        while True:
            n += 1
            done = run({**os.environ, "LD_PRELOAD": FAILING_ALLOC, "ASAN_OPTIONS": "verify_asan_link_order=0",
                        "LSAN_OPTIONS": f"print_suppressions=0:suppressions={self.path('leaks')}",
                        "FAILING_ALLOC": f"{n} {mark}"})
            reached = os.path.exists(mark)
            if reached:
                os.unlink(mark)
            else:
                self.good(done)
                break
            text = done.stderr.decode()
            self.assertIn(done.returncode, (0, 1), f"allocation {n}: {text}")
            if done.returncode == 1:
                self.assertRegex(text, "No memory for |Cannot allocate memory|[Oo]ut of memory|libcrypto cannot sign",
                                 f"allocation {n}")
                said.add(text)
            with self.subTest(f"allocation {n}: {text}"):
                check(done.returncode)
        self.assertGreater(len(said), n_least)
        return "".join(said)

    def lists(self):
        return {name: read(self.image, name) for name in ALL_LISTS}

    def test_a_build_is_whole_or_not_there(self):
        root = self.tree()
        self.built("--rootfs", root)
        want = self.lists()
        tar = subprocess.run(["tar", "-C", root, "--xattrs", "-c", "."], check=True, capture_output=True).stdout
        rules = self.path("rules")
        write(rules, b"# rules\n/skip\n**/skip\n")

        def check(status):
            if status == 0:
                self.assertEqual({n: t for n, t in self.lists().items() if n != "attributes.txt"},
                                 {n: t for n, t in want.items() if n != "attributes.txt"})
                self.good(self.verify("--jobs", "1"))
                shutil.rmtree(self.image)
            elif os.path.exists(self.image + ".partial"):
                # It could not be seen that the folder is ours; or libarchive ended the program.
                left = os.listdir(self.image + ".partial")
                self.assertTrue(not left or ".metadata_gen-unfinished" in left, left)
                shutil.rmtree(self.image + ".partial")
            self.assert_no_output()
        for args in (["--rootfs", root], ["--tar", "-"]):
            shutil.rmtree(self.image, ignore_errors=True)
            said = self.sweep(lambda env: self.build("--jobs", "1", "--ignore-file", rules, *args, input=tar, env=env), 10,
                              check)
            for what in ("the ignore rules", "the names of the tree", "a path", "hashing", "a content", "the image's lists"):
                self.assertIn("No memory for " + what, said, args)
            self.assertIn("Cannot write the lists of the image: Cannot allocate memory", said, args)
            if args[0] == "--rootfs":  # one thread only
                self.assertIn("Cannot compress a content: Cannot allocate memory", said)
        self.assertIn("No memory for compressing", said)

    def test_patches_are_all_there_or_no_image_is(self):
        old, new, body = self.path("old"), self.path("new"), noise(20_000, "body")
        for root, names, extra in ((old, "ab", b""), (new, "ac", b"more")):  # by its path, and by what it has in common
            for i, name in enumerate(names):
                write(f"{root}/{name}", body[10_000 * i:10_000 * i + 10_000] + extra)
        self.good(self.build("--rootfs", old, output=self.path("old-image")))
        args = ("--rootfs", new, "--patch-from", self.path("old-image"), "--jobs", "1")
        self.good(self.build(*args))
        want = read(self.image, "patches.txt")
        self.assertEqual(want.count(b"\n"), 1)

        def check(status):
            if status == 0:
                self.assertEqual(read(self.image, "patches.txt"), want)
                self.good(self.verify("--jobs", "1"))
            shutil.rmtree(self.image, ignore_errors=True)
            shutil.rmtree(self.image + ".partial", ignore_errors=True)
        shutil.rmtree(self.image)
        said = self.sweep(lambda env: self.build(*args, env=env), 10, check)
        self.assertIn("No memory for patches", said)

    def test_gen_sign_inspect_and_verify_say_it(self):
        root = self.tree()
        self.built("--rootfs", root)
        shutil.copytree(self.image, self.path("lists"))
        write(self.path("ignore.txt"))
        signing = ["--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "sign.pem", "--persistent-file",
                   "persistents.txt"]
        write(self.path("lists/persistents.txt"), b"\n".join(b"'/etc/kept-%d'" % i for i in range(500)))
        inspected = self.good(self.run_gen("inspect", "--json", self.image)).stdout
        got = []

        def inspect(env):
            got.append(self.run_gen("inspect", "--json", self.image, env=env))
            return got[-1]

        def check_figures(status):
            self.assertEqual(got[-1].stdout, inspected if status == 0 else b"")
        for run, check in (
                (lambda env: self.run_gen("gen", "--target-dir", "root", "--compressed-dir", "z", cwd=self.work, env=env),
                 lambda status: None),
                (lambda env: self.run_gen("sign", *signing, cwd=self.path("lists"), env=env), lambda status: None),
                (lambda env: self.run_gen("sign", "--compress-lists", *signing, cwd=self.path("lists"), env=env),
                 lambda status: self.assertTrue(status or os.path.exists(self.path("lists/persistents.txt.zst")))),
                (inspect, check_figures),
                (lambda env: self.run_gen("verify", "--certs", self.certs(), "--jobs", "1", self.image, env=env),
                 lambda status: None)):
            self.sweep(run, 3, check)


class CompressedLists(Case):
    """Lists that are large enough are there as one zstd frame, too, and metadata.jwt says which."""

    def setUp(self):
        super().setUp()
        self.make_tree("root", 200)

    def make_tree(self, name, n_files):
        for i in range(n_files):
            write(self.path(name, f"usr/share/doc/package-{i:03}/copyright"), noise(2000, f"body {i}") + name.encode())

    def says(self, image=None):
        return [item["x_compressed_lists"] for item in payload_of(image or self.image) if "x_compressed_lists" in item]

    def frames(self, image=None):
        return sorted(name for name in os.listdir(image or self.image) if name.endswith(".txt.zst"))

    def plain(self, name, image=None):
        return subprocess.run(["zstd", "-dcq", os.path.join(image or self.image, name + ".zst")], check=True,
                              capture_output=True).stdout

    def test_large_lists_have_a_frame_beside_them_and_metadata_names_it(self):
        self.built("--rootfs", self.path("root"))
        self.assertEqual(self.says(), ["directory regular x_attributes"])
        self.assertEqual(self.frames(), ["attributes.txt.zst", "dirs.txt.zst", "regulars.txt.zst"])
        for name in ("attributes.txt", "dirs.txt", "regulars.txt"):
            self.assertEqual(self.plain(name), read(self.image, name))
            self.assertLess(os.path.getsize(f"{self.image}/{name}.zst") * 1.25, os.path.getsize(f"{self.image}/{name}"))
        self.good(self.verify())

    def test_equal_trees_give_equal_frames_also_in_place_and_with_reuse(self):
        self.built("--rootfs", self.path("root"), "--jobs", "1")
        first = contents(self.image)
        self.built("--rootfs", self.path("root"), "--jobs", "3")
        self.assertEqual({k: v for k, v in contents(self.image).items() if k != "metadata.jwt"},
                         {k: v for k, v in first.items() if k != "metadata.jwt"})
        self.built("--rootfs", self.path("root"), "--reuse", self.image)
        self.assertEqual({k: v for k, v in contents(self.image).items() if k != "metadata.jwt"},
                         {k: v for k, v in first.items() if k != "metadata.jwt"})
        self.good(self.verify())

    def test_small_lists_have_none_nor_those_of_an_image_that_is_not_compressed(self):
        self.built("--rootfs", self.path("root"))
        self.make_tree("small", 3)
        self.built("--rootfs", self.path("small"))
        self.assertEqual((self.says(), self.frames()), ([], []))
        self.built("--rootfs", self.path("root"), "--no-compress")
        self.assertEqual((self.says(), self.frames()), ([], []))
        self.good(self.verify())

    def test_the_list_of_patches_has_one_too(self):
        self.built("--rootfs", self.path("root"), output=self.path("old"))
        self.make_tree("next", 200)
        self.built("--rootfs", self.path("next"), "--patch-from", self.path("old"))
        self.assertEqual(self.says(), ["directory regular x_attributes x_patches"])
        self.assertEqual(self.plain("patches.txt"), read(self.image, "patches.txt"))
        self.good(self.verify())
        os.unlink(self.image + "/patches.txt.zst")
        self.bad(self.verify("--quick"), "patches.txt.zst: metadata.jwt names it, but it cannot be opened", "1 problem\n")

    def test_inspect_says_what_they_spare(self):
        self.built("--rootfs", self.path("root"))
        figures = json.loads(self.good(self.run_gen("inspect", "--json", self.image)).stdout)
        names = [name for name in ALL_LISTS if name != "total_regular_size.txt"]
        size = {name: os.path.getsize(f"{self.image}/{name}") for name in names + self.frames()}
        self.assertEqual(figures["list_bytes"], sum(size[name] for name in names))
        self.assertEqual(figures["served_list_bytes"], sum(size.get(name + ".zst", size[name]) for name in names))
        self.assertLess(figures["served_list_bytes"], figures["list_bytes"])

    def test_verify_finds_what_is_wrong_with_them(self):
        self.built("--rootfs", self.path("root"))
        path = self.image + "/regulars.txt.zst"
        frame = read(path)
        other = read(self.image, "dirs.txt.zst")
        for data in (b"", frame[:-1], frame + b"x", frame[:100] + bytes([frame[100] ^ 1]) + frame[101:], other,
                     read(self.image, "regulars.txt")):
            write(path, data)
            self.bad(self.verify("--quick"), "regulars.txt.zst: ", "1 problem\n")
        os.unlink(path)
        os.mkfifo(path)
        self.bad(self.verify("--quick"), "regulars.txt.zst: ", "1 problem\n")
        os.unlink(path)
        os.symlink("dirs.txt.zst", path)
        self.bad(self.verify("--quick"), "regulars.txt.zst: metadata.jwt names it, but it cannot be opened", "1 problem\n")
        os.unlink(path)
        self.bad(self.verify(), "regulars.txt.zst: metadata.jwt names it, but it cannot be opened: No such file or directory\n")
        write(path, frame)
        self.good(self.verify())

    def sign(self, *args, **more):
        shutil.copy(os.path.join(SAMPLE, "keys/sign.pem"), self.path("gen"))
        write(self.path("gen/persistents.txt"))
        return self.run_gen("sign", "--sign-key", os.path.join(SAMPLE, "keys/sign.key"), "--cert-file", "gen/sign.pem",
                            "--persistent-file", "gen/persistents.txt", "--directory-file", "gen/dirs.txt",
                            "--symlink-file", "gen/symlinks.txt", "--regular-file", "gen/regulars.txt", "--rootfs-directory", "data",
                            "--total-regular-size-file", "gen/total_regular_size.txt", "--output", "gen/metadata.jwt", *args,
                            cwd=self.work, **more)

    def test_sign_makes_them_if_asked(self):
        write(self.path("ignore.txt"))
        os.mkdir(self.path("gen"))
        shutil.copytree(self.path("root"), self.path("gen/data"))
        self.good(self.run_gen("gen", "--target-dir", "gen/data", "--output-dir", "gen", cwd=self.work))
        self.assertEqual(self.frames(self.path("gen")), [])
        self.good(self.sign())
        self.assertEqual((self.says(self.path("gen")), self.frames(self.path("gen"))), ([], []))
        for _ in range(2):
            self.good(self.sign("--compress-lists"))
            self.assertEqual(self.says(self.path("gen")), ["directory regular"])
            self.assertEqual(self.frames(self.path("gen")), ["dirs.txt.zst", "regulars.txt.zst"])
            self.assertEqual(self.plain("regulars.txt", self.path("gen")), read(self.path("gen/regulars.txt")))
            self.good(self.verify(image=self.path("gen")))
        os.unlink(self.path("gen/regulars.txt.zst"))
        os.mkdir(self.path("gen/regulars.txt.zst"))
        self.bad(self.sign("--compress-lists"), "metadata_gen: Cannot write gen/regulars.txt.zst: Is a directory\n")

    def test_a_disk_that_fails_in_the_middle_of_it_leaves_no_image(self):
        done = self.build("--rootfs", self.path("root"), env=fault("openat", "partial/regulars.txt.zst", 1, "ENOSPC"))
        self.bad(done, "metadata_gen: Cannot write regulars.txt.zst into the image: No space left on device\n")
        self.assertFalse(os.path.exists(self.image))


class ListPatches(Case):
    """Lists that changed are there as the difference to those of older images, and metadata.jwt has a word for each."""

    KEYS = {"directory": "dirs.txt", "symboliclink": "symlinks.txt", "regular": "regulars.txt", "x_attributes": "attributes.txt"}

    def setUp(self):
        super().setUp()
        self.old = self.path("old")
        for i in range(200):
            write(self.path("root", f"usr/share/doc/package-{i:03}/copyright"), noise(2000, f"body {i}"))
        self.built("--rootfs", self.path("root"), output=self.old)
        subprocess.run(["cp", "-a", self.path("root"), self.path("next")], check=True)
        write(self.path("next", "usr/share/doc/package-100/copyright"), b"another")

    def new(self, *old, tree="next", **more):
        return self.built("--rootfs", self.path(tree), *(word for o in old for word in ("--patch-from", o)), **more)

    def words(self):
        return [word.split(",") for item in payload_of(self.image) for word in item.get("x_list_patches", "").split()]

    def digest(self, name, image=None):
        return hashlib.sha256(read(image or self.image, name)).hexdigest()

    def patch(self, name, old=None):
        return f"{self.image}/patches/{self.digest(name)}.{self.digest(name, old or self.old)}.zst"

    def test_lists_that_changed_have_a_patch_from_their_older_form(self):
        said = self.new(self.old).stdout.decode()
        self.assertEqual([word[0] for word in self.words()], ["regular", "x_attributes"])
        for key, *columns in self.words():
            name = self.KEYS[key]
            patch = read(self.patch(name))
            self.assertEqual(columns, [str(len(read(self.image, name))), self.digest(name, self.old),
                                       str(len(read(self.old, name))), str(len(patch)), hashlib.sha256(patch).hexdigest()])
            made = subprocess.run(["zstd", "-dqc", "--long=30", f"--patch-from={self.old}/{name}", self.patch(name)],
                                  stdout=subprocess.PIPE, check=True).stdout
            self.assertEqual(made, read(self.image, name))
            self.assertLess(len(patch), 1000)
        self.assertRegex(said, r"(?m)^2 patches of lists: \d+ bytes in place of \d+$")
        self.good(self.verify())

    def test_lists_that_did_not_change_or_are_small_have_none(self):
        self.new(self.old, tree="root")
        self.assertEqual((self.words(), os.listdir(self.image + "/patches")), ([], []))
        write(self.path("small/a"), b"x")
        self.built("--rootfs", self.path("small"), output=self.path("small-image"))
        write(self.path("small/a"), b"y")
        self.new(self.path("small-image"), tree="small")
        self.assertEqual(self.words(), [])

    def test_a_patch_that_would_not_pay_is_not_kept(self):
        for i in range(200):
            write(self.path("other", f"usr/share/doc/package-{i:03}/copyright"), noise(2000, f"other body {i}"))
        self.new(self.old, tree="other")
        self.assertNotIn("regular", [word[0] for word in self.words()])
        self.good(self.verify())

    def test_each_older_image_has_its_own_and_one_that_is_named_twice_only_once(self):
        self.built("--rootfs", self.path("next"), output=self.path("older"))
        write(self.path("next", "usr/share/doc/package-150/copyright"), b"once more")
        self.new(self.old, self.path("older"), self.old)
        for name in ("regulars.txt", "attributes.txt"):
            self.assertTrue(os.path.exists(self.patch(name)) and os.path.exists(self.patch(name, self.path("older"))))
        self.assertEqual([word[0] for word in self.words()], ["regular"] * 2 + ["x_attributes"] * 2)
        self.good(self.verify())

    def test_an_older_list_that_is_damaged_or_gone_is_told_and_no_base(self):
        path = self.old + "/attributes.txt"
        data = read(path)
        for damage in (lambda: write(path, data[:-1]), lambda: os.unlink(path)):
            damage()
            said = self.new(self.old).stderr.decode()
            self.assertIn("metadata_gen: warning: 1 list of the images to patch from is missing or damaged, so no patch starts "
                          "there\n", said)
            self.assertEqual([word[0] for word in self.words()], ["regular"])
            self.good(self.verify())

    def test_inspect_counts_them(self):
        self.new(self.old)
        figures = json.loads(self.good(self.run_gen("inspect", "--json", self.image)).stdout)
        sizes = [os.path.getsize(self.patch(name)) for name in ("regulars.txt", "attributes.txt")]
        self.assertEqual((figures["list_patches"], figures["list_patch_bytes"]), (2, sum(sizes)))

    def test_verify_finds_what_is_wrong_with_them(self):
        self.new(self.old)
        path = self.patch("regulars.txt")
        patch = read(path)
        shown = "patches/" + os.path.basename(path)
        for data, why in ((patch[:-1], f"it has {len(patch) - 1} bytes instead of {len(patch)}\n"),
                          (patch[:-1] + bytes([patch[-1] ^ 1]), "it has another digest than the list says\n")):
            write(path, data)
            self.bad(self.verify(), f"metadata_gen: {shown}: {why}", "1 problem\n")
            self.good(self.verify("--quick"))
        os.unlink(path)
        self.bad(self.verify(), f"metadata_gen: {shown}: it cannot be read: No such file or directory\n", "1 problem\n")

    def test_verify_reads_the_words(self):
        self.new(self.old)
        good = payload_of(self.image)
        size = len(read(self.image, "regulars.txt"))

        def with_words(change):
            items = json.loads(json.dumps(good))
            for item in items:
                if "x_list_patches" in item:
                    item["x_list_patches"] = change(item["x_list_patches"])
            write(self.image + "/metadata.jwt", sign(items, os.path.join(SAMPLE, "keys/sign.key")))

        with_words(lambda words: words.replace(f"regular,{size},", f"regular,{size + 1},"))
        self.bad(self.verify(), f"metadata_gen: metadata.jwt: patches to regulars.txt make {size + 1} bytes, but it has {size}\n",
                 "1 problem\n")
        with_words(lambda words: f"{words} {words}")
        self.bad(self.verify(), "metadata_gen: metadata.jwt: its patches of lists are of no use: a patch is there twice\n",
                 "1 problem\n")
        with_words(lambda words: "x_later,1,2 " + words)
        self.good(self.verify())

    def test_one_that_cannot_be_written_ends_the_build(self):
        self.new(self.old)
        name = os.path.basename(self.patch("regulars.txt"))
        env = fault("openat", f"partial/patches/{name}", 1, "ENOSPC")
        done = self.build("--rootfs", self.path("next"), "--patch-from", self.old, output=self.path("full"), env=env)
        self.bad(done, f"metadata_gen: Cannot write the patch {name}: No space left on device\n")
        self.assertFalse(os.path.exists(self.path("full")))


class CommandLine(Case):
    def test_wrong_usage_is_status_2(self):
        for args, word in (([], "a verb is missing"), (["frob"], "there is no verb \"frob\""), (["build"], "--output is missing"),
                           (["build", "--frob"], "there is no option --frob"), (["verify", "--certs"], "--certs wants a value"),
                           (["verify", "--certs", "x"], "IMAGE_DIR is missing"), (["inspect", "a", "b"], "one name too many"),
                           (["inspect", "--json=1", "a"], "takes no value"),
                           (["inspect", ""], "IMAGE_DIR must not be empty"),
                           (["verify", "--certs", "x", ""], "IMAGE_DIR must not be empty")):
            self.bad(self.run_gen(*args), word, status=2)
        self.bad(self.build(), "either --rootfs or --tar is needed", status=2)
        self.bad(self.build("--rootfs", "/x", "--tar", "y"), "either --rootfs or --tar", status=2)
        self.bad(self.build("--rootfs", "/x", "--kernel", "oldest"), "--kernel", status=2)
        self.bad(self.build("--rootfs", "/x", "--compress-level", "20"),
                 "--compress-level wants a number from 1 to 19, not \"20\"", status=2)
        self.bad(self.build("--rootfs", "/x", "--jobs", "0"), "--jobs wants a number from 1 to 64, not \"0\"", status=2)
        self.bad(self.build("--rootfs", ""), "--rootfs must not be empty", status=2)
        self.bad(self.run_gen("gen", "--target-dir", "x", "--compress-ratio", "0"),
                 "--compress-ratio wants a number above 0, not \"0\"", status=2)
        self.bad(self.build("--rootfs", "/x", *(["--xattr", "user."] * 33)), "--xattr is given more than 32 times", status=2)
        self.bad(self.build("--rootfs", "/x", "--prefix", "/a/../b"), "--prefix", status=2)
        self.assert_no_output()

    def test_help_and_version(self):
        self.assertIn("Usage: metadata_gen", self.good(self.run_gen("--help")).stdout.decode())
        self.assertRegex(self.good(self.run_gen("--version")).stdout.decode(), r"^metadata_gen \d+\.\d+\.\d+\n$")
        for verb in ("build", "verify", "inspect", "gen", "sign"):
            said = self.good(self.run_gen(verb, "--help")).stdout.decode()
            self.assertIn(f"Usage: metadata_gen {verb}", said)
            self.assertIn("\n  -h, --help  ", said)
            self.assertEqual(self.good(self.run_gen(verb, "-h")).stdout.decode(), said)
        self.assertIn("Also: -h or --help", self.good(self.run_gen("-h")).stdout.decode())

    def test_output_that_cannot_be_written_is_a_failure(self):
        self.built("--rootfs", self.tree())
        certs = self.certs()
        for args in (["--help"], ["--version"], ["build", "--help"], ["inspect", self.image],
                     ["inspect", "--json", self.image], ["verify", "--certs", certs, self.image],
                     ["build", "--rootfs", self.path("root"), "--output", self.image, *self.signing()]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, *args], stdout=full, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(b"metadata_gen: Cannot write to standard output: No space left on device\n", done.stderr,
                          args)
            done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", PROGRAM, *args], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(b"Cannot write to standard output", done.stderr, args)

    def test_values_may_follow_an_equals_sign(self):
        self.good(self.run_gen("build", "--rootfs=" + self.tree(), "--output=" + self.image, *self.signing()))

    def test_progress_is_shown_on_a_terminal(self):
        ours, its = os.openpty()
        self.addCleanup(os.close, ours)
        done = subprocess.run([PROGRAM, "build", "--rootfs", self.tree(), "--output", self.image, *self.signing()], stderr=its,
                              stdout=subprocess.DEVNULL, timeout=60)
        os.close(its)
        self.assertEqual(done.returncode, 0)
        said = os.read(ours, 100000).decode()
        self.assertRegex(said, r"Reading: \d+ of 5 files, 0 of 0 MB, \d+ MB/s")
        self.assertTrue(said.endswith("\r\x1b[K"))

    def test_nothing_is_shown_without_a_terminal(self):
        self.assertNotIn(b"\r", self.built("--rootfs", self.tree()).stderr)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("test_metadata_gen: needs root")
    PROGRAM, SAMPLE, FAULTY_CALLS, FAILING_ALLOC = (os.path.abspath(a) for a in sys.argv[1:5])
    unittest.main(argv=sys.argv[:1] + sys.argv[5:])
