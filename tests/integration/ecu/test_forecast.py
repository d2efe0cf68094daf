#!/usr/bin/python3
"""
Forecasts on a whole machine: a dry run that says what the update then does, and leaves every byte as it was; limits on the
download, asked for and set.

    test_forecast.py BUILD_DIR [TEST…]

Real and simulated as in test_ecu.py; needs the same.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from ecu_lab import HOST_ADDRESS, SOURCE_ROOT, Failed, Lab, Programs, enter_private  # noqa: E402
from pseudo_ecu import disk  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")

# Everything on /boot, the recorder too, and the other slot: its superblock, and what follows. OpenSSL is three times as fast as
# sha256sum, and it is every byte of a slot.
FINGERPRINT = """
cd /boot && find . -printf '%p %m %s %T@ ' -type f -exec sha256sum {} ';' -o -print | sort
for slot in /dev/loop*p2 /dev/loop*p3; do
    grep -q "^$slot / " /proc/mounts || {
        echo "$(head -c 4096 $slot | sha256sum) $slot"
        tail -c +4097 $slot | openssl dgst -sha256
    }
done
"""
STATE_AT = 1024 + 0x3A  # of ext4's superblock


class Forecasts(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-forecast.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.old, cls.new = cls.lab.install(f"{ROOTFS}/old", slim=True), cls.lab.install(f"{ROOTFS}/new", slim=True)
        cls.lab.build_image("v1", cls.old, "--compress-level", "1")
        cls.lab.build_image("v2", cls.new, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    def fresh(self, name, settings=""):
        tree = self.old
        if settings:
            tree = self.lab.install(f"{ROOTFS}/old", slim=True)
            with open(f"{tree}/etc/otaclient/otaclient.yaml", "a", encoding="ascii") as f:
                f.write(settings)
        ecu = self.lab.make_ecu(name, tree, "--slot-mib", "1024", "--boot-mib", "192")
        self.addCleanup(ecu.remove)
        return ecu

    def fingerprint(self, ecu):
        lines = ecu.execute("/bin/sh", "-c", FINGERPRINT).splitlines()
        self.assertTrue(any(re.search(r"/dev/loop\d+p[23]$", line) for line in lines), lines)
        self.assertTrue(any("flight-recorder" in line for line in lines), lines)
        return lines

    def fingerprint_of_a_refusal(self, ecu):
        """Without the recorder, which has the refusal, and the other slot's superblock, where e2fsck notes that it has looked."""
        return [line for line in self.fingerprint(ecu) if not re.search(r"flight-recorder|/dev/loop\d+p[23]$", line)]

    def dry_run(self, ecu, version, *more):
        """What it says; nothing may have changed, and the server must have sent nothing but lists."""
        before, status, asked = self.fingerprint(ecu), ecu.status(), len(self.origin.requests())
        said = ecu.otactl("--json", "update", "--version", version, "--url", self.origin.url(version), "--dry-run", *more)
        self.assertEqual(before, self.fingerprint(ecu))
        self.assertEqual(status, ecu.status())
        paths = [path for path, _ in self.origin.requests()[asked:]]
        self.assertTrue(paths)
        self.assertEqual([], [path for path in paths if "/data" in path or "/rootfs" in path or "/patches/" in path])
        return json.loads(said)

    @contextlib.contextmanager
    def dry_run_without_an_end(self, ecu):
        """Of a server that takes the connection and says nothing; an update has to take its place meanwhile."""
        with socket.create_server((HOST_ADDRESS, 0)) as server:
            url = f"http://{HOST_ADDRESS}:{server.getsockname()[1]}/"
            argv = [self.lab.programs.otactl, "--ecu", ecu.address, "update", "--version", "v3", "--url", url, "--dry-run"]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asker:
                try:
                    server.settimeout(60)
                    asked, _ = server.accept()
                    with asked:
                        yield
                    said = asker.communicate(timeout=60)
                finally:
                    asker.kill()  # it would ask for ever, and we would wait for it
        self.assertEqual(1, asker.returncode)
        self.assertEqual("", said[0])
        self.assertRegex(said[1], r"\Aotactl: No forecast from \S+: An update has taken the place of the forecast\n\Z")

    def planned(self, ecu):
        """What the last update of this machine has logged of its plan: {action: (contents, files)}."""
        said = ecu.said()
        said = said[said.rindex("Update ", 0, said.rindex("Forecast: ")):]
        return {action: (int(contents), int(files)) for action, contents, files in
                re.findall(r"Plan: (\w+) (\d+) contents for (\d+) files", said)}  # fmt: skip

    def assertFulfilled(self, forecast, ecu, sent):
        """The update that has just run did what was said. @sent: bytes that the server has sent for it."""
        self.assertEqual(
            {action: (a["contents"], a["files"]) for action, a in forecast["actions"].items() if a["files"]},
            {action: counts for action, counts in self.planned(ecu).items()},
        )
        lists = sum(os.path.getsize(self.lab.path("images", forecast["version"], name))
                    for name in os.listdir(self.lab.path("images", forecast["version"])) if "." in name and
                    os.path.isfile(self.lab.path("images", forecast["version"], name)))  # fmt: skip
        # No more than was said and the lists, but for what HTTP itself takes: a fetch has some hundred bytes of it.
        headers = 600 * (forecast["actions"]["fetch"]["contents"] + 30)
        self.assertLess(sent, forecast["download_bytes"] + lists + headers)

    def update(self, ecu, version):
        before = self.origin.sent()[1]
        ecu.update(version, self.origin.url(version))
        return self.origin.sent()[1] - before

    def test_a_dry_run_says_what_the_update_does_and_changes_nothing(self):
        ecu = self.fresh("dry")
        with ecu.on():
            first = self.dry_run(ecu, "v2") | {"version": "v2"}
            self.assertEqual((False, ""), (first["rebuild"], first["remark"]))  # it is empty
            self.assertGreater(first["download_bytes"], 1_000_000)
            self.assertGreater(first["write_bytes"], first["download_bytes"])
            self.assertEqual(first["download_bytes"], sum(a["download_bytes"] for a in first["actions"].values()))
            with self.dry_run_without_an_end(ecu):
                sent = self.update(ecu, "v2")
            self.assertFulfilled(first, ecu, sent)
            self.assertEqual(("slot_b", "SUCCESS"), (ecu.boots()[-1], ecu.status()["ota_status"]))

            back = self.dry_run(ecu, "v1") | {"version": "v1"}
            self.assertEqual((False, ""), (back["rebuild"], back["remark"]))
            # All is still on the other slot, but for what the machine has of its own in there: fstab, GRUB's defaults.
            self.assertTrue(0 < back["download_bytes"] < 10_000, back)
            self.assertIsInstance(back["whole_seconds"], int)  # it was read, so the disk is known
            text = ecu.otactl("update", "--version", "v1", "--url", self.origin.url("v1"), "--dry-run")
            self.assertRegex(text, r"  to download       up to .*\n  to write          .*\n  standby slot      changed in place\n")
            self.assertFulfilled(back, ecu, self.update(ecu, "v1"))
            self.assertRegex(ecu.said(), rf"Forecast: to download up to {back['download_bytes']} bytes, to write \d+ bytes, in about \d+ s\n")
            self.assertEqual(("slot_a", "SUCCESS"), (ecu.boots()[-1], ecu.status()["ota_status"]))

    def test_only_so_much_is_allowed_and_a_slot_that_was_not_closed_is_not_read(self):
        ecu = self.fresh("asked")
        with ecu.on():
            before = self.fingerprint(ecu)
            with self.assertRaisesRegex(Failed, "and --max-download allows 1048576 .1.0 MiB.; nothing was done"):
                ecu.otactl("update", "--version", "v2", "--url", self.origin.url("v2"), "--max-download", "1M")
            self.assertEqual(before, self.fingerprint(ecu))
            self.assertEqual("INITIALIZED", ecu.status()["ota_status"])
            # Behind a forecast the update is taken at once.
            ecu.otactl("update", "--version", "v2", "--url", self.origin.url("v2"), "--max-download", "2G", "--wait")
            self.assertEqual("v2", ecu.status()["firmware_version"])
        standby = next(p for p in disk.partitions_of(ecu.disk) if p.role == "slot_a")
        with open(ecu.disk, "r+b") as f:
            f.seek(standby.start + STATE_AT)
            self.assertEqual(b"\1\0", f.read(2))
            f.seek(standby.start + STATE_AT)
            f.write(b"\0\0")
        with ecu.on():
            said = self.dry_run(ecu, "v1")
            self.assertTrue(said["rebuild"])
            self.assertIn("The standby slot holds nothing that can be read as it is", said["remark"])
            self.update(ecu, "v1")  # which mends it
            self.assertIn("is changed in place", ecu.said())

    def test_an_update_beyond_what_the_machine_allows_fails_with_its_plan(self):
        ecu = self.fresh("limited", "max_download_mib: 1\n")
        with ecu.on():
            forecast = self.dry_run(ecu, "v2")
            refused = f"The update would download up to {forecast['download_bytes']} bytes, and max_download_mib of " \
                      "otaclient.yaml allows 1048576"
            self.assertEqual(f"An update would be refused: {refused}", forecast["remark"])
            before = self.fingerprint_of_a_refusal(ecu)
            asked = len(self.origin.requests())
            with self.assertRaisesRegex(Failed, refused):
                ecu.update("v2", self.origin.url("v2"))
            self.assertEqual((f"E210: Update failed in CALCULATING_DELTA: {refused}", "FAILURE", "RECOVERABLE"),
                             tuple(ecu.status()[k] for k in ("failure_reason", "ota_status", "failure_type")))
            self.assertEqual([], [path for path, _ in self.origin.requests()[asked:] if "/data" in path])
            self.assertEqual(before, self.fingerprint_of_a_refusal(ecu))


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
