#!/usr/bin/python3
"""
An ECU that runs a proxy of its own: otaclient starts otaproxy, fetches the whole image through it, and does without it where
it must.

    test_proxy_update.py BUILD_DIR [TEST…]

Real and simulated as in test_ecu.py; needs the same.
"""

import collections
import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from ecu_lab import SOURCE_ROOT, Failed, Lab, Programs, enter_private, run, wait_for  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")
WITH_PROXY = "enable_local_ota_proxy: true\nlocal_ota_proxy_listen_addr: 127.0.0.1\n"


def digest_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class ThroughTheProxy(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-proxy.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.old, cls.new = cls.lab.install(f"{ROOTFS}/old", slim=True), cls.lab.install(f"{ROOTFS}/new", slim=True)
        cls.lab.build_image("v2", cls.new, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    def fresh(self, name, *options):
        ecu = self.lab.make_ecu(name, self.old, *options, proxy_info=WITH_PROXY)
        self.addCleanup(ecu.remove)
        self.asked_before = len(self.origin.requests())
        return ecu

    def asked(self):
        """What the server was asked for by the machine of this test."""
        return self.origin.requests()[self.asked_before:]

    def assert_all_came_through_the_proxy(self):
        self.assertEqual([], [(path, via) for path, via in self.asked() if " otaproxy-" not in via][:5])

    def assert_is_at_v2(self, ecu):
        status = ecu.status()
        self.assertEqual(("SUCCESS", "v2"), (status["ota_status"], status["firmware_version"]), ecu.tail())
        self.assertEqual(["slot_a", "slot_b"], ecu.boots())

    def assert_slot_is_new(self, ecu):
        ecu.check_disk()
        self.assertEqual([], ecu.differences(self.new, "slot_b")[:20])

    @staticmethod
    def said(ecu):
        with open(ecu.console, encoding="utf-8", errors="replace") as f:
            return f.read()

    def test_a_whole_update_comes_through_the_proxy_and_each_content_once(self):
        ecu = self.fresh("proxied")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"))
            self.assert_is_at_v2(ecu)
        self.assertGreater(len(self.asked()), 500)
        self.assert_all_came_through_the_proxy()
        times = collections.Counter(path for path, _ in self.asked())
        self.assertEqual({}, {path: n for path, n in times.items() if n > 1})
        self.assertIn("otaproxy has started as process", self.said(ecu))
        self.assertNotRegex(self.said(ecu), r"Sanitizer|runtime error:|Downloads go")
        self.assert_slot_is_new(ecu)

    def test_patches_come_through_the_proxy_too(self):
        old = self.lab.build_image("v1", self.old, "--compress-level", "1")
        image = self.lab.build_image("v3", self.new, "--compress-level", "1", "--patch-from", old)
        self.addCleanup(lambda: [shutil.rmtree(path) for path in (old, image)])
        ecu = self.fresh("patched")
        with ecu.on():
            ecu.update("v3", self.origin.url("v3"))
            status = ecu.status()
            self.assertEqual(("SUCCESS", "v3"), (status["ota_status"], status["firmware_version"]), ecu.tail())
        self.assert_all_came_through_the_proxy()
        times = collections.Counter(path for path, _ in self.asked())
        self.assertEqual({}, {path: n for path, n in times.items() if n > 1})
        patches = [path for path in times if path.startswith("/v3/patches/")]
        self.assertGreater(len(patches), 300)
        self.assertGreater(len(patches), len([path for path in times if path.startswith("/v3/data")]))
        self.assertNotIn("is not used: ", self.said(ecu))
        self.assert_slot_is_new(ecu)

    def test_a_cache_that_is_left_is_emptied_once_the_new_system_runs(self):
        ecu = self.fresh("done")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"))
            ecu.execute("/bin/sh", "-c", "mkdir -p /ota-cache && echo old >/ota-cache/cache_db")
            ecu.kill_daemon()
            wait_for("the cache is emptied", lambda: "The cache in /ota-cache has been emptied" in self.said(ecu), 60)
            self.assertFalse(ecu.has("/ota-cache/cache_db"))
            self.assert_is_at_v2(ecu)

    def test_a_proxy_that_dies_in_the_middle_is_started_again_and_the_update_completes(self):
        ecu = self.fresh("killed")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"), wait=False)
            wait_for("some contents have come", lambda: len(self.asked()) > 30, 120, poll_s=0.01)
            with self.origin.held():  # the kill takes its time; without this all may have come by then
                self.assertEqual(1, ecu.kill_proxy())
                asked_at_kill = len(self.asked())
            wait_for("the new system is there", lambda: self.is_there(ecu), 300)
            self.assert_is_at_v2(ecu)
        self.assertGreater(len(self.asked()), asked_at_kill + 100)
        self.assert_all_came_through_the_proxy()
        self.assertIn("otaproxy was ended by signal 9", self.said(ecu))
        self.assertEqual(2, self.said(ecu).count("otaproxy has started as process"))
        self.assert_slot_is_new(ecu)

    def fresh_with_program(self, name, program):
        path = self.lab.path(f"{name}.yaml")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"tls_ca: /etc/otaclient/origin-ca.pem\nproxy_program: {program}\n")
        return self.fresh(name, "--file", f"{path}:/etc/otaclient/otaclient.yaml")

    def test_a_proxy_that_does_not_serve_is_gone_past(self):
        ecu = self.fresh("past")
        with ecu.on():
            ecu.execute("/bin/mkdir", "-p", "/run/otaclient/otaproxy.origins/in-the-way")
            ecu.update("v2", self.origin.url("v2"))
            self.assert_is_at_v2(ecu)
        self.assertEqual({"-"}, {via for _, via in self.asked()})
        self.assertRegex(self.said(ecu), r"downloads go straight to the server, since the local proxy does not serve: "
                                         r"Cannot write /run/otaclient/otaproxy.origins: ")

    def test_whoever_waits_for_the_proxy_can_be_stopped(self):
        ecu = self.fresh_with_program("waiting", "/bin/false")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"), wait=False)
            wait_for("the proxy ends", lambda: "otaproxy ended with status 1" in self.said(ecu), 60)
            ecu.execute("/bin/sh", "-c", "kill $(cat /run/otaclient.pid)")
            wait_for("the update ends", lambda: "The update was stopped because otaclient ends" in self.said(ecu), 15)
            wait_for("the daemon is back", ecu.answers, 30)
            self.assertEqual([], self.asked())

    def test_a_proxy_that_refuses_its_command_line_is_not_waited_for(self):
        ecu = self.fresh_with_program("refusing", "/bin/ls")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"), wait=False)
            sentence = "downloads go straight to the server, since the local proxy does not serve: otaproxy refuses its"
            wait_for("it is gone past", lambda: sentence in self.said(ecu), 30)  # of 180 for one that may still come
            wait_for("the new system is there", lambda: self.is_there(ecu), 300)
            self.assert_is_at_v2(ecu)
        self.assertEqual({"-"}, {via for _, via in self.asked()})
        self.assertEqual(1, self.said(ecu).count("otaproxy has started as process"))

    def test_an_ecu_without_the_program_says_so_once_and_fetches_straight(self):
        ecu = self.fresh_with_program("bare", "/usr/bin/none")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"))
            self.assert_is_at_v2(ecu)
        self.assertEqual({"-"}, {via for _, via in self.asked()})
        sentence = "This ECU runs no proxy, downloads go straight to the server: /usr/bin/none cannot be executed: No such file"
        self.assertEqual(1, self.said(ecu).count(sentence), self.said(ecu))

    # ---- external caches

    @functools.cached_property
    def contents(self):
        """Path on the server of each content of the image: its name in an external cache, which goes by the digest."""
        found = {}
        for folder, _, names in os.walk(self.lab.path("images/v2")):
            for path in (os.path.join(folder, name) for name in names):
                kind, _, rest = os.path.relpath(path, self.lab.path("images/v2")).partition("/")
                if rest:
                    found[f"/v2/{kind}/{rest}"] = digest_of(path) if kind == "data" else rest
        return found

    def external_folder(self, name, lying=()):
        """A folder with all of them; those in @lying are others than they say."""
        top = self.lab.path(name)
        os.makedirs(f"{top}/data")
        self.addCleanup(shutil.rmtree, top)
        for path, content in self.contents.items():
            shutil.copyfile(self.lab.path("images") + path, f"{top}/data/{content}")
        for content in lying:
            with open(f"{top}/data/{content}", "r+b") as f:
                f.write(b"lie")
        return top

    def external_disk(self, name, lying=()):
        """A disk with such a folder."""
        image = self.lab.path(f"{name}.disk")
        run("mke2fs", "-q", "-t", "ext4", "-L", "ota_cache_src", "-d", self.external_folder(name, lying), image, "1G")
        self.addCleanup(os.unlink, image)
        return image

    def needed(self):
        """Names of the contents that the old system does not have, the largest first."""
        have = set()
        for folder, _, names in os.walk(self.old):
            for path in (os.path.join(folder, name) for name in names):
                if os.path.isfile(path) and not os.path.islink(path):
                    have.add(digest_of(path))
        paths = sorted(self.contents, key=lambda path: os.path.getsize(self.lab.path("images") + path), reverse=True)
        names = [self.contents[path] for path in paths]
        return [name for name in names if name.removesuffix(".zst") not in have]

    @contextlib.contextmanager
    def plugged_in(self, ecu, image):
        device = run("losetup", "--find", "--show", image).strip()
        try:
            number = os.stat(device).st_rdev
            ecu.execute("/bin/mknod", device, "b", str(os.major(number)), str(os.minor(number)))
            yield device
        finally:
            run("losetup", "--detach", device)

    def fetched(self):
        """Contents that came from the server."""
        paths = {urllib.parse.unquote(path) for path, _ in self.asked()}
        return {self.contents[path] for path in paths if path in self.contents}

    def test_a_disk_with_the_label_spares_the_uplink_and_is_not_believed(self):
        lying = self.needed()[:3]
        image = self.external_disk("usb", lying)
        ecu = self.fresh("usb")
        with ecu.on(), self.plugged_in(ecu, image):
            ecu.update("v2", self.origin.url("v2"))
            self.assert_is_at_v2(ecu)
            self.assertIn("otaproxy may take files from the disk ota_cache_src", self.said(ecu))
            self.assertNotIn("Downloads go", self.said(ecu))
        self.assertEqual(set(lying), self.fetched(), "only what lies comes from the server")
        self.assert_slot_is_new(ecu)

    def test_the_disk_is_let_go_when_the_proxy_ends(self):
        ecu = self.fresh("unplug")
        with ecu.on(), self.plugged_in(ecu, self.external_disk("unplug")) as device:
            ecu.update("v2", self.origin.url("v2"), wait=False)
            wait_for("it is mounted", lambda: self.mounts(ecu, device) > 0, 60)
            ecu.execute("/bin/sh", "-c", "kill $(cat /run/otaclient.pid)")
            wait_for("the proxy ends", lambda: "otaproxy has ended, as it was told" in self.said(ecu), 60)
            wait_for("it is unmounted", lambda: self.mounts(ecu, device) == 0, 10)

    @staticmethod
    def mounts(ecu, device):
        """How many processes see the disk mounted."""
        return int(ecu.execute("/bin/sh", "-c", f"cat /proc/[0-9]*/mountinfo 2>/dev/null | grep -c ' {device} '; true"))

    def test_a_mounted_folder_spares_the_uplink_as_well(self):
        folder = self.external_folder("nfs")
        ecu = self.lab.make_ecu("nfs", self.old, proxy_info=WITH_PROXY + "external_nfs_cache_mnt_point: /mnt\n")
        self.addCleanup(ecu.remove)
        self.asked_before = len(self.origin.requests())
        with ecu.on("--bind", f"{folder}:/mnt"):
            ecu.update("v2", self.origin.url("v2"))
            self.assert_is_at_v2(ecu)
        self.assertEqual(set(), self.fetched())
        self.assertNotIn("No files are taken", self.said(ecu))
        self.assert_slot_is_new(ecu)

    @staticmethod
    def is_there(ecu):
        try:
            return ecu.status()["ota_status"] != "UPDATING" and ecu.boots()[-1] == "slot_b"
        except Failed:
            return False  # it restarts


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
