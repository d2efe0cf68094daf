#!/usr/bin/python3
"""The real otaproxy as the daemon starts it: by root, to become somebody else. Needs root, and the user nobody."""

import os
import pwd
import stat
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from netns import Namespace  # noqa: E402
from proxy_lab import ProxyLab, sha256  # noqa: E402

NOBODY = pwd.getpwnam("nobody")


def owners(top):
    """Who owns what below @top, as a set of user ids."""
    """Of all but the tag, which is good whoever has put it there."""
    found = set()
    for folder, _, names in os.walk(top):
        names = [name for name in names if name != "CACHEDIR.TAG"]
        found |= {os.lstat(path).st_uid for path in [folder, *(os.path.join(folder, name) for name in names)]}
    return found


class StartedByRoot(ProxyLab):
    def setUp(self):
        super().setUp()
        os.chmod(self.work, 0o755)

    def removed(self, proxy):
        return [line for line in proxy.lines if "another user's ha" in line]

    def outside(self, name):
        """A file of root's beside the cache."""
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="ascii") as f:
            f.write("of root")
        os.chmod(path, 0o600)
        return path

    def assert_is_as_it_was(self, path):
        with open(path, encoding="ascii") as f:
            self.assertEqual(f.read(), "of root")
        st = os.stat(path)
        self.assertEqual((st.st_uid, stat.S_IMODE(st.st_mode)), (0, 0o600))

    def test_a_cache_that_root_has_written_is_not_in_the_way(self):
        digests = [self.file(f"data/{n}", b"%d" % n * 9000) for n in range(3)]
        origin, proxy = self.origin(), self.proxy()
        for n, digest in enumerate(digests):
            self.assertEqual(proxy.ask(origin.host, f"/data/{n}", digest)[0], 200)
        proxy.end()
        self.assertEqual(owners(self.cache), {0})
        proxy.options = ("--user", "nobody")
        proxy.start()
        self.assertEqual(len(self.removed(proxy)), 1, proxy.lines)
        for _ in range(2):
            for n, digest in enumerate(digests):
                self.assertEqual(proxy.ask(origin.host, f"/data/{n}", digest)[2], b"%d" % n * 9000)
        self.assertEqual(len(origin.requests()), 6, "once for each user")
        self.assertEqual(owners(self.cache), {NOBODY.pw_uid})
        proxy.end()
        proxy.start()
        self.assertEqual(self.removed(proxy), [], "nothing of its own goes")
        self.assertEqual(proxy.ask(origin.host, "/data/0", digests[0])[2], b"0" * 9000)
        self.assertEqual(len(origin.requests()), 6)

    def test_what_root_has_left_in_one_folder_of_the_cache_goes_alone(self):
        digest = self.file("data/x", b"x" * 9000)
        origin, proxy = self.origin(), self.proxy("--user", "nobody")
        proxy.ask(origin.host, "/data/x", digest)
        proxy.end()
        boot, = [name for name in os.listdir(f"{self.cache}/v1") if name != "tmp"]
        os.mkdir(f"{self.cache}/v1/{'0' * 8}{boot[8:]}")
        with open(f"{self.cache}/v1/tmp/left", "wb"):
            pass
        proxy.start()
        self.assertIn(" 2 names that were another user's have been removed", self.removed(proxy)[0])
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], b"x" * 9000)
        self.assertEqual(len(origin.requests()), 1)
        proxy.end()
        with open(f"{self.cache}/v1/tmp/left", "wb"):
            pass
        proxy.start()
        self.assertIn(" 1 name that was another user's has been removed", self.removed(proxy)[0])

    def test_a_cache_of_root_with_foreign_content_is_still_a_cache(self):
        digest = self.file("data/x", b"x" * 9000)
        origin, proxy = self.origin(), self.proxy()
        proxy.ask(origin.host, "/data/x", digest)
        proxy.end()
        os.unlink(f"{self.cache}/CACHEDIR.TAG")  # as older versions have left it
        with open(f"{self.cache}/notes.txt", "w", encoding="ascii") as f:
            f.write("somebody's")
        proxy.options = ("--user", "nobody")
        proxy.start()
        self.assertEqual(len(self.removed(proxy)), 1, proxy.lines)
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], b"x" * 9000)
        self.assertEqual(owners(f"{self.cache}/v1"), {NOBODY.pw_uid})
        self.assertTrue(os.path.exists(f"{self.cache}/notes.txt"))

    def test_what_leads_out_of_the_cache_is_not_followed(self):
        linked, named, pointed = (self.outside(name) for name in ("linked", "named", "pointed"))
        os.makedirs(f"{self.work}/folder")
        deep = self.outside("folder/deep")
        os.makedirs(f"{self.cache}/v1/tmp")
        os.chown(f"{self.cache}/v1", NOBODY.pw_uid, NOBODY.pw_gid)
        os.link(linked, f"{self.cache}/v1/linked")
        os.link(named, f"{self.cache}/v1/tmp/named")
        os.symlink(pointed, f"{self.cache}/v1/pointed")
        os.symlink(f"{self.work}/folder", f"{self.cache}/v1/folder")
        os.symlink(f"{self.work}/folder", f"{self.cache}/v1/his")
        os.lchown(f"{self.cache}/v1/his", NOBODY.pw_uid, NOBODY.pw_gid)
        self.proxy("--user", "nobody").end()
        for path in (linked, named, pointed, deep):
            self.assert_is_as_it_was(path)
        self.assertEqual(os.stat(f"{self.work}/folder").st_uid, 0)

    def test_a_mount_in_the_cache_is_not_entered(self):
        os.makedirs(f"{self.cache}/v1/mounted")
        subprocess.run(["mount", "-t", "tmpfs", "none", f"{self.cache}/v1/mounted"], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", f"{self.cache}/v1/mounted"], check=True)
        os.chown(f"{self.cache}/v1", NOBODY.pw_uid, NOBODY.pw_gid)
        with open(f"{self.cache}/v1/mounted/file", "wb"):
            pass
        proxy = self.proxy("--user", "nobody")
        proxy.end()
        self.assertTrue(os.path.exists(f"{self.cache}/v1/mounted/file"))
        self.assertIn(f"Cannot remove what other users have left in the cache {self.cache}: Invalid cross-device link",
                      "".join(proxy.lines))

    def test_an_external_cache_may_lie_where_only_root_finds_the_way(self):
        data = b"on the disk" * 5000
        os.makedirs(f"{self.work}/mnt/disk/data")
        os.chmod(f"{self.work}/mnt", 0o700)
        with open(f"{self.work}/mnt/disk/data/{sha256(data)}", "wb") as f:
            f.write(data)
        origin, proxy = self.origin(), self.proxy("--user", "nobody", "--external", f"{self.work}/mnt/disk")
        self.assertEqual(proxy.ask(origin.host, "/data/x", sha256(data))[2], data)
        self.assertEqual(origin.requests(), [])

    def test_each_address_of_the_machine_is_the_proxy_itself(self):
        """Else it would ask itself, and that request would ask again."""
        machine = Namespace()
        self.addCleanup(machine.close)
        for address in ("10.9.8.7/32", "fd00::7/128"):
            machine.run("ip", "address", "add", address, "dev", "lo")
        proxy = machine.call(lambda: self.proxy("--user", "nobody"))
        for host in ("10.9.8.7", "[fd00::7]"):
            with self.subTest(host):
                status, _, body = machine.call(lambda: proxy.ask(f"{host}:{proxy.port}", "/x"))
                self.assertEqual((status, body.strip()),
                                 (508, b"The request goes in a loop: it asks this proxy for itself"))
        status, _, body = machine.call(lambda: proxy.ask(f"10.9.8.7:{proxy.port + 1}", "/x"))
        self.assertGreaterEqual(status, 500, body)  # another program's port, where nobody listens


if __name__ == "__main__":
    if os.getuid() != 0:
        sys.exit("test_otaproxy_root needs root")
    unittest.main(verbosity=2)
