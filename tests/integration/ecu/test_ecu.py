#!/usr/bin/python3
"""
The whole way on one ECU, with two real Debian root file systems: metadata_gen ▸ HTTPS ▸ otaclient ▸ GRUB ▸ commit.

    test_ecu.py BUILD_DIR [TEST…]

Real: the programs, the root file systems (tests/support/rootfs/make), nginx, ext4, the partition table, GRUB's
scripts and environment. Simulated: what tests/support/pseudo_ecu says. Needs root, loop devices, namespaces and
overlayfs; the root file systems are made when they are missing (some 2 minutes, Debian's package registry).
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from ecu_lab import SOURCE_ROOT, Failed, Lab, Programs, enter_private, wait_for  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")


class OneEcu(unittest.TestCase):
    maxDiff = 4000
    slim = True

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-ecu.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.old, cls.new = (cls.lab.install(f"{ROOTFS}/{name}", cls.slim) for name in ("old", "new"))
        for name, tree in (("v1", cls.old), ("v2", cls.new)):
            cls.lab.build_image(name, tree, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    def fresh(self, name, *options):
        ecu = self.lab.make_ecu(name, self.old, *options)
        self.addCleanup(ecu.remove)
        self.addCleanup(self.assert_no_sanitizer_spoke, ecu)
        return ecu

    def assert_no_sanitizer_spoke(self, ecu):
        with open(ecu.console, encoding="utf-8", errors="replace") as f:
            self.assertNotRegex(f.read(), r"Sanitizer|runtime error:")

    def assert_slot_is(self, ecu, role, tree):
        ecu.check_disk()
        self.assertEqual([], ecu.differences(tree, role)[:20])

    def assert_runs(self, ecu, version, role):
        status = ecu.status()
        self.assertEqual(("SUCCESS", version), (status["ota_status"], status["firmware_version"]), ecu.tail())
        self.assertEqual(role, ecu.boots()[-1])

    def assert_reason(self, ecu, pattern):
        self.assertRegex(ecu.status()["failure_reason"], f"^{pattern}$", ecu.tail())


class WholeWay(OneEcu):
    slim = False

    def assert_story_of_an_update(self, ecu, version, old, new):
        records = json.loads(ecu.execute("/usr/bin/otactl", "--json", "history"))["records"]
        story = [(r["kind"], r["slot"], r["subject"]) for r in records if r["kind"] not in ("step", "check")]
        told = [("update begins", old, version), ("flip", old, new), ("start", new, "commit"), ("commit", new, version)]
        self.assertEqual(told, story[-len(told) :])
        steps = [(r["subject"], r["text"]) for r in records if r["kind"] == "step"]
        self.assertIn(("DOWNLOADING_OTA_FILES", "fetch contents"), steps)
        self.assertEqual(("FINALIZING_UPDATE", "flip and reboot"), steps[-1])
        self.assertEqual({old, new}, {r["slot"] for r in records})
        self.assertEqual(2, len({r["boot_id"] for r in records}))

    def test_two_updates_bring_each_slot_to_its_image_and_back(self):
        ecu = self.fresh("bios")
        with ecu.on():
            self.assertEqual("INITIALIZED", ecu.status()["ota_status"])
            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")
            self.assert_story_of_an_update(ecu, "v2", "ota-slot_a", "ota-slot_b")
        self.assert_slot_is(ecu, "slot_b", self.new)

        sent_before = self.origin.sent()
        with ecu.on():
            self.assert_runs(ecu, "v2", "slot_b")
            ecu.update("v1 again", self.origin.url("v1"))
            self.assert_runs(ecu, "v1 again", "slot_a")
        self.assert_slot_is(ecu, "slot_a", self.old)
        self.assert_slot_is(ecu, "slot_b", self.new)
        requests = self.origin.sent()[0] - sent_before[0]
        self.assertLess(requests, 30, "slot A had nearly all of its image")
        self.assertEqual(["slot_a", "slot_b", "slot_b", "slot_a"], ecu.boots())


class Trouble(OneEcu):
    def test_a_killed_daemon_starts_over_and_completes(self):
        ecu = self.fresh("uefi", "--layout", "uefi")
        with ecu.on():
            for phase in ("CALCULATING_DELTA", "DOWNLOADING_OTA_FILES", "APPLYING_UPDATE"):
                ecu.update("v2", self.origin.url("v2"), wait=False)
                self.wait_until_past(ecu, phase)
                ecu.kill_daemon()
                wait_for("the daemon is back", ecu.answers, 30)
                self.assertEqual("slot_a", ecu.boots()[-1])
            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")
        self.assert_slot_is(ecu, "slot_b", self.new)

    def test_a_machine_that_stops_in_an_update_boots_its_old_slot(self):
        ecu = self.fresh("stopped")
        ecu.switch_on()
        ecu.update("v2", self.origin.url("v2"), wait=False)
        self.wait_until_past(ecu, "DOWNLOADING_OTA_FILES")
        ecu.switch_off(cut=True)
        with ecu.on():
            self.assertEqual("slot_a", ecu.boots()[-1])
            self.assertEqual("FAILURE", ecu.status()["ota_status"])
            self.assert_reason(
                ecu,
                r'E200: The update to version "v2" was interrupted in [A-Z_]+ \([a-z ]+\): '
                "the machine or otaclient was stopped before the other slot was tried",
            )
            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")
            self.assertEqual("", ecu.status()["failure_reason"])
        self.assert_slot_is(ecu, "slot_b", self.new)

    def test_a_boot_that_cannot_be_written_is_told_and_changes_nothing(self):
        ecu = self.fresh("sealed")
        with ecu.on():
            # Its recorder is open for writing while it runs, and keeps /boot writable.
            ecu.execute("/bin/sh", "-c", "kill -9 $(cat /run/otaclient.pid); until mount -o remount,ro /boot; do :; done")
            wait_for("the daemon is back", ecu.answers, 30)
            with self.assertRaisesRegex(Failed, "Read-only file system"):
                ecu.update("v2", self.origin.url("v2"))
            self.assertEqual("FAILURE", ecu.status()["ota_status"])
            self.assertRegex(ecu.status()["failure_reason"], "Read-only file system")
        self.assertEqual("slot_a", ecu.boot_with("/bin/true"))
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")

    def test_a_new_system_that_does_not_commit_is_left_again(self):
        """The loader tries the new slot once; what has not committed by then is not booted again."""
        ecu = self.fresh("trial")
        with ecu.on("--max-boots", "1"):
            with self.assertRaises(Failed):
                ecu.otactl("update", "--version", "v2", "--url", self.origin.url("v2"), "--wait", "--timeout", "20")
        # As the commit guard writes it (test_systemd.py).
        given_up = r"LoadState=masked\nActiveState=inactive\nSubState=dead\nNRestarts=0\n"
        said = ("/bin/sh", "-c", f"printf '{given_up}' >/.ota-meta/given-up")
        self.assertEqual("slot_b", ecu.boot_with(*said))
        self.assertEqual("slot_a", ecu.boot_with("/bin/true"))
        with ecu.on():
            status = ecu.status()
            self.assertEqual(("FAILURE", "slot_a"), (status["ota_status"], ecu.boots()[-1]))
            silent = (
                r'E209: The new system on ota-slot_b \(version "v2"\) did not commit: it gave no sign of life: '
                "its otaclient.service was masked when the time to commit was over"
            )
            self.assert_reason(ecu, silent)
            ecu.kill_daemon()
            wait_for("the daemon is back", ecu.answers, 30)
            self.assert_reason(ecu, silent)

    def test_a_new_system_is_tried_as_often_as_is_set(self):
        ecu = self.fresh("attempts")
        with ecu.on("--max-boots", "1"):
            ecu.execute("/bin/sh", "-c", "echo boot_attempts: 3 >> /etc/otaclient/otaclient.yaml")
            ecu.kill_daemon()
            wait_for("the daemon is back", ecu.answers, 30)
            with self.assertRaises(Failed):
                ecu.otactl("update", "--version", "v2", "--url", self.origin.url("v2"), "--wait", "--timeout", "20")
        self.assertEqual(["slot_b", "slot_b"], [ecu.boot_with("/bin/true") for _ in range(2)])
        with ecu.on():  # the third time it comes up
            wait_for("the third start commits", lambda: ecu.answers() and ecu.status()["ota_status"] == "SUCCESS", 60)
            self.assert_runs(ecu, "v2", "slot_b")
        self.assertEqual(["slot_b"] * 4, [ecu.boot_with("/bin/true") for _ in range(4)])

    def test_a_committed_system_that_does_not_come_up_gives_way_to_the_old_one(self):
        """After committed_attempts (5) starts without a daemon; then the old one stays, and may be updated."""
        ecu = self.fresh("gives-way")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")
        self.assertEqual(["slot_b"] * 5, [ecu.boot_with("/bin/true") for _ in range(5)])
        for _ in range(2):
            with ecu.on():
                status = ecu.status()
                self.assertEqual(("FAILURE", "slot_a"), (status["ota_status"], ecu.boots()[-1]), ecu.tail())
                self.assert_reason(
                    ecu,
                    r'E209: The new system on ota-slot_b \(version "v2"\) was committed, '
                    "and yet the machine has started from this slot",
                )
        self.assertEqual(["slot_a"] * 7, [ecu.boot_with("/bin/true") for _ in range(7)])
        with ecu.on():
            self.assert_no_way_back(ecu, "mounted writable|not known in which state")
            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")

    def roll_back(self, ecu, role):
        ecu.otactl("rollback", "--wait")
        self.assertEqual(role, ecu.boots()[-1], ecu.tail())

    def assert_no_way_back(self, ecu, why):
        before = ecu.status()["ota_status"]
        with self.assertRaisesRegex(Failed, f"Cannot go back to ota-slot_.: .*{why}"):
            ecu.otactl("rollback")
        self.assertEqual(before, ecu.status()["ota_status"])

    def test_an_update_is_aborted_repeated_and_taken_back(self):
        ecu = self.fresh("back")
        with ecu.on():
            self.assert_no_way_back(ecu, "No complete system is known to be on it")
            with self.assertRaisesRegex(Failed, "no active OTA update in progress"):
                ecu.otactl("abort")

            ecu.update("v2", self.origin.slow_url("v2"), wait=False)
            self.wait_until_past(ecu, "DOWNLOADING_OTA_FILES")
            self.assertIn("Abort accepted", ecu.otactl("abort"))
            wait_for("the update is aborted", lambda: ecu.status()["ota_status"] == "ABORTED", 10)
            self.assertEqual("ABORTED", ecu.execute("/bin/cat", "/boot/ota-slot_a/status"))
            self.assert_no_way_back(ecu, "No complete system is known to be on it")

            ecu.update("v2", self.origin.url("v2"))
            self.assert_runs(ecu, "v2", "slot_b")
            self.roll_back(ecu, "slot_a")
            self.assert_runs(ecu, "", "slot_a")
            self.roll_back(ecu, "slot_b")
            self.assert_runs(ecu, "v2", "slot_b")
            self.roll_back(ecu, "slot_a")
            ecu.update("v2 again", self.origin.url("v2"))
            self.assert_runs(ecu, "v2 again", "slot_b")
        self.assert_slot_is(ecu, "slot_b", self.new)
        self.assert_slot_is(ecu, "slot_a", self.old)
        self.assertEqual(["slot_a", "slot_b", "slot_a", "slot_b", "slot_a", "slot_b"], ecu.boots())

    def test_a_rollback_whose_slot_does_not_come_up_has_failed(self):
        ecu = self.fresh("noback")
        with ecu.on():
            ecu.update("v2", self.origin.url("v2"))
        with ecu.on("--max-boots", "1"):
            ecu.otactl("rollback")
            wait_for("the machine stops", lambda: ecu.process.poll() is not None, 60)
        self.assertEqual("slot_a", ecu.boot_with("/bin/true"))
        with ecu.on():
            status = ecu.status()
            self.assertEqual(("ROLLBACK_FAILURE", "v2"), (status["ota_status"], status["firmware_version"]))
            self.assertEqual("slot_b", ecu.boots()[-1])
            self.assert_reason(ecu, "E306: The former system on ota-slot_a did not commit: it gave no sign of life: .*")
            # what has run there may have changed it
            self.assert_no_way_back(ecu, "It was mounted writable since it was left")

    def test_a_server_with_an_unknown_certificate_is_refused(self):
        ecu = self.fresh("untrusting", "--file", f"{self.lab.certs()}/dev.root.pem:/etc/otaclient/origin-ca.pem")
        with ecu.on():
            with self.assertRaisesRegex(Failed, r"certificate"):
                ecu.update("v2", self.origin.url("v2"))
            self.assertEqual("FAILURE", ecu.status()["ota_status"])
            self.assertEqual(["slot_a"], ecu.boots())

    def wait_until_past(self, ecu, phase):
        """Until the phase runs; a phase that is over already is past, too."""
        order = ["INITIALIZING", "PROCESSING_METADATA", "CALCULATING_DELTA", "DOWNLOADING_OTA_FILES", "APPLYING_UPDATE"]

        def there():
            update = ecu.status()["update_status"]
            return update is not None and update["phase"] not in order[: order.index(phase)]

        wait_for(f"the update reaches {phase}", there, 120)


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
