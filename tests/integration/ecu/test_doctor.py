#!/usr/bin/python3
"""
`otactl doctor` on a whole machine: well after its first start and after an update, and with what would make an update
fail. It changes nothing, and needs nothing that it could write to.

    test_doctor.py BUILD_DIR [TEST…]

Real and simulated is what tests/support/pseudo_ecu says; needs the same as test_ecu.py.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from ecu_lab import SOURCE_ROOT, Failed, Lab, Programs, enter_private  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")

# What looking at a file does not change either: its time of change. That of reading may come with it.
LIST = "find / /boot -xdev -printf '%p %y %m %U:%G %s %T@ %C@\\n'"


class Doctor(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-doctor.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.tree = cls.lab.install(f"{ROOTFS}/old", slim=True)
        cls.lab.build_image("v2", cls.tree, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    def fresh(self, name):
        ecu = self.lab.make_ecu(name, self.tree)
        self.addCleanup(ecu.remove)
        return ecu

    def sh(self, ecu, script):
        return ecu.execute("/bin/sh", "-c", script)

    def doctor(self, ecu, before=":"):
        """The checks of one run, by id. @before: a script that is run in a mount namespace of its own."""
        out = self.sh(ecu, f"exec unshare -m /bin/sh -c '{before} && otactl --json doctor || test $? = 1'")
        checks = json.loads(out)["checks"]
        return {c["id"]: c for c in checks}

    def assert_found(self, checks, name, result, message):
        self.assertEqual(result, checks[name]["result"], checks[name])
        self.assertIn(message, checks[name]["message"])

    def failures(self, checks):
        return [c for c in checks.values() if c["result"] == "FAILURE"]

    def test_a_machine_is_well_before_and_after_an_update_and_stays_as_it_is(self):
        ecu = self.fresh("well")
        with ecu.on():
            before = self.sh(ecu, LIST)
            checks = self.doctor(ecu)
            self.assertEqual(before, self.sh(ecu, LIST))
            self.assertEqual([], self.failures(checks))
            with open(f"{SOURCE_ROOT}/docs/doctor.md", encoding="utf-8") as f:
                explained = re.findall(r"^\| `([a-z_.]+)` \|", f.read(), re.M)
            self.assertEqual([*checks], [name for name in explained if name != "boot.tools"])  # that is CBoot's
            self.assert_found(checks, "config.ecu_info", "OK", 'This is ECU "well"')
            self.assert_found(checks, "boot.controller", "OK", "ota-slot_a runs from /dev/")
            self.assert_found(checks, "boot.writable", "OK", "/boot is writable")
            self.assert_found(checks, "boot.layout", "OK", "grub.cfg is ours and whole")
            self.assert_found(checks, "boot.running_entry", "OK", "The menu entry of ota-slot_a is sound")
            self.assert_found(checks, "boot.other_entry", "OK", "ota-slot_b has no menu entry")
            self.assert_found(checks, "slots.sizes", "OK", "Both slots have ")
            self.assert_found(checks, "slots.use", "OK", "Nobody uses /dev/")
            self.assert_found(checks, "trust.chains", "OK", "Each certificate leads to the root")
            self.assert_found(checks, "network.api_port", "OK", "otaclient (process ")
            self.assert_found(checks, "service.clients", "OK", "otaclient runs")
            self.assert_found(checks, "service.unit", "OK", "otaclient.service is enabled")
            self.assert_found(checks, "service.guard", "OK", "A new system that is not committed in time is restarted")
            self.assert_found(checks, "status.last", "OK", "The status is INITIALIZED")
            self.assert_found(checks, "status.way_back", "OK", "there is no way back")

            ecu.update("v2", self.origin.url("v2"))
            checks = self.doctor(ecu)
            self.assertEqual([], self.failures(checks))
            self.assert_found(checks, "boot.controller", "OK", "ota-slot_b runs from /dev/")
            self.assert_found(checks, "boot.other_entry", "OK", "The menu entry of ota-slot_a is sound")
            self.assert_found(checks, "boot.environment", "OK", "grubenv is readable")
            self.assert_found(checks, "slots.file_system", "OK", "holds an ext4")
            self.assert_found(checks, "slots.state", "OK", "is clean")
            self.assert_found(checks, "status.last", "OK", 'The status is SUCCESS, the version "v2"')
            self.assert_found(checks, "status.way_back", "OK", "ota-slot_a holds a whole system")

    def test_it_needs_nothing_that_it_could_write_to(self):
        ecu = self.fresh("read-only")
        with ecu.on():
            read_only = "for m in / /boot /run /tmp /dev; do mountpoint -q $m && mount -o remount,bind,ro $m; done; true"
            checks = self.doctor(ecu, read_only)
            self.assert_found(checks, "boot.writable", "FAILURE", "/boot is mounted read-only")
            self.assert_found(checks, "folders.scratch", "FAILURE", "/var/tmp, for an image's lists, is read-only")
            self.assertEqual(["boot.writable", "folders.scratch"], [c["id"] for c in self.failures(checks)])
            self.assertEqual(0, sum(c["message"] == "The check ended before its time" for c in checks.values()))

    def test_what_would_make_an_update_fail_is_told(self):
        ecu = self.fresh("broken")
        with ecu.on():
            checks = self.doctor(ecu, "umount /boot")
            self.assert_found(checks, "boot.controller", "FAILURE", "Cannot open /boot/grub: No such file")
            self.assert_found(checks, "slots.use", "NOT_LOOKED_AT", "The slots are not known, as said above")

            standby = self.doctor(ecu)["slots.use"]["message"].removeprefix("Nobody uses ")
            self.sh(ecu, f"mkfs.ext4 -q -F {standby}")
            mounted = f"mount {standby} /mnt"
            self.assert_found(self.doctor(ecu, mounted), "slots.use", "WARNING",
                              f"{standby} is in use: it is mounted on /mnt")
            self.assert_found(self.doctor(ecu, f"{mounted} && cd /mnt"), "slots.use", "FAILURE",
                              f"{standby} is in use: it is mounted on /mnt, used by ")
            self.sh(ecu, f"wipefs -q -a {standby} && mkswap {standby}")
            self.assert_found(self.doctor(ecu), "slots.file_system", "WARNING", f"{standby} holds no ext4 but swap")

            self.sh(ecu, "rm /opt/ota/client/certs/dev.root.pem; echo 'ip_addr: 192.0.2.7' >/boot/ota/ecu_info.yaml;"
                         "chmod a-x /usr/sbin/e2fsck; chmod 0777 /etc/otaclient")
            self.sh(ecu, "mkdir -p /etc/otaclient/health.d")
            checks = self.doctor(ecu)
            self.assert_found(checks, "trust.certificates", "FAILURE", "There is no usable chain of certificates")
            self.assert_found(checks, "config.ecu_info", "FAILURE", "/boot/ota/ecu_info.yaml")
            self.assert_found(checks, "service.tools", "FAILURE", "There is no e2fsck")
            self.assert_found(checks, "folders.health", "FAILURE", "/etc/otaclient/health.d is refused: ")

    def test_others_than_root_are_told_what_they_cannot_see(self):
        ecu = self.fresh("user")
        with ecu.on():
            out = self.sh(ecu, "setpriv --reuid 65534 --regid 65534 --clear-groups otactl --json doctor || test $? = 1")
            checks = {c["id"]: c for c in json.loads(out)["checks"]}
            for name in ("boot.controller", "slots.use", "network.api_port", "folders.hooks", "status.last"):
                self.assert_found(checks, name, "NOT_LOOKED_AT", "Only root can look at this")
            self.assert_found(checks, "config.ecu_info", "OK", 'This is ECU "user"')
            self.assertEqual([], self.failures(checks))

    def test_the_exit_status_tells_whether_a_check_has_failed(self):
        ecu = self.fresh("status")
        with ecu.on():
            self.assertRegex(self.sh(ecu, "otactl doctor"), r"\n\d+ checks: .* 0 failures, \d+ not looked at\n\Z")
            self.sh(ecu, "rm -r /opt/ota/client/certs")
            with self.assertRaises(Failed) as caught:
                self.sh(ecu, "otactl doctor")
            self.assertEqual(1, caught.exception.status)


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
