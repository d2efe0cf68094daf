#!/usr/bin/python3
"""
A new system is kept once it is healthy, and left if it is not: with a program in /etc/otaclient/health.d that says what
a file on the shared /boot tells it to.

    test_health.py BUILD_DIR [TEST…]

Real and simulated: see test_ecu.py. No systemd runs there, so no target is waited for; tests/integration/test_systemd.py
has one.
"""

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
TIMEOUT_S = 12

# What the environment was is left on /boot for the test.
CHECK = """#!/bin/sh
env | grep ^OTA_ | sort > /boot/health.env
case $(cat /boot/health) in
well) exit 0 ;;
hang) sleep 1000 ;;
do) . /boot/health.do ;;
esac
echo 'the lidar is blind' >&2
exit 3
"""
FAILED = r"10-check .*the lidar is blind"


class Health(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-health.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.old, cls.new = cls.lab.install(f"{ROOTFS}/old", slim=True), cls.lab.install(f"{ROOTFS}/new", slim=True)
        for tree in (cls.old, cls.new):
            cls.add_check(tree)
        cls.lab.build_image("v2", cls.new, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    @staticmethod
    def add_check(tree):
        folder = f"{tree}/etc/otaclient/health.d"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/10-check", "w", encoding="ascii") as f:
            f.write(CHECK)
        os.chmod(f"{folder}/10-check", 0o755)
        with open(f"{tree}/etc/otaclient/otaclient.yaml", "a", encoding="ascii") as f:
            f.write(f"health_timeout_s: {TIMEOUT_S}\n")

    def tell(self, word):
        self.ecu.execute("/bin/sh", "-c", f"echo {word} > /boot/health")

    def seen(self):
        """The version that runs, what is going on, and in which phase; None while it does not answer."""
        try:
            status = self.ecu.status()
        except Failed:
            return None
        return status["firmware_version"], status["ota_status"], (status["update_status"] or {}).get("phase")

    def begin_update(self):
        """Until the new system is on trial."""
        self.ecu.update("v2", self.origin.url("v2"), wait=False)
        self.wait_for_trial(("v2", "UPDATING", "FINALIZING_UPDATE"))

    def wait_for_trial(self, want):
        wait_for(f"the trial: {want}", lambda: self.ecu.answers() and self.seen() == want, 240)

    def wait_for_return(self, role, status):
        def back():
            return self.ecu.answers() and (self.seen() or ("", ""))[1] == status and self.ecu.boots()[-1] == role

        wait_for(f"the machine is back on {role}", back, 90)

    def assert_reason(self, pattern):
        self.assertRegex(self.ecu.status()["failure_reason"], f"^{pattern}$", self.ecu.tail())

    def assert_all_is_refused(self):
        checked = "The system that has just started is being checked; this request has been ignored"
        with self.assertRaisesRegex(Failed, checked):
            self.ecu.update("v3", self.origin.url("v2"), wait=False)
        with self.assertRaisesRegex(Failed, checked):
            self.ecu.otactl("rollback")
        with self.assertRaisesRegex(Failed, "Cannot abort: update is in FINAL_PHASE, the new system has started already"):
            self.ecu.otactl("abort")

    def test_what_is_not_healthy_is_left_and_what_is_healthy_is_kept(self):
        self.ecu = self.lab.make_ecu("health", self.old)
        self.addCleanup(self.ecu.remove)
        with self.ecu.on():
            # a program that fails
            self.tell("fail")
            self.begin_update()
            self.assert_all_is_refused()
            self.assertTrue(self.ecu.has("/.ota-meta/on-trial"))
            self.assertFalse(self.ecu.has("/run/otaclient.settled"))
            self.wait_for_return("slot_a", "FAILURE")
            self.assert_reason(
                rf'E209: The new system on ota-slot_b \(version "v2"\) did not commit: '
                rf"Not healthy within {TIMEOUT_S} s: .*{FAILED}"
            )
            self.assertEqual(["slot_a", "slot_b", "slot_a"], self.ecu.boots())
            self.assertTrue(self.ecu.has("/run/otaclient.settled"))

            # a program that hangs
            self.tell("hang")
            self.begin_update()
            self.wait_for_return("slot_a", "FAILURE")
            self.assert_reason(rf"E209: .* Not healthy within {TIMEOUT_S} s: .*10-check .*within {TIMEOUT_S} s.*")

            # a program that is well in the end, and a daemon that is killed meanwhile
            self.tell("fail")
            self.begin_update()
            self.ecu.kill_daemon()
            self.wait_for_trial(("v2", "UPDATING", "FINALIZING_UPDATE"))
            self.tell("well")
            wait_for("the commit", lambda: self.seen() == ("v2", "SUCCESS", None), TIMEOUT_S)
            self.assertEqual("slot_b", self.ecu.boots()[-1])
            self.assertFalse(self.ecu.has("/.ota-meta/on-trial"))
            self.assertTrue(self.ecu.has("/run/otaclient.settled"))
            self.assertEqual(
                "OTA_ECU_ID=health OTA_SLOT=ota-slot_b OTA_VERSION=v2",
                " ".join(self.ecu.execute("/bin/cat", "/boot/health.env").split()),
            )

            # a rollback to what is not healthy
            self.tell("fail")
            self.ecu.otactl("rollback")
            self.wait_for_trial(("", "ROLLBACKING", None))
            self.assertEqual("slot_a", self.ecu.boots()[-1])
            self.wait_for_return("slot_b", "ROLLBACK_FAILURE")
            self.assert_reason(rf"E306: .* did not commit: Not healthy within {TIMEOUT_S} s: .*{FAILED}")
        self.assertEqual(["slot_a", "slot_b"] * 4, self.ecu.boots())
        self.ecu.check_disk()

    def do(self, script):
        """What the check is from now on."""
        self.ecu.execute("/bin/sh", "-c", 'printf "%s\n" "$0" > /boot/health.do; echo do > /boot/health', script)

    def test_a_check_that_does_harm_is_survived(self):
        self.ecu = self.lab.make_ecu("harm", self.old)
        self.addCleanup(self.ecu.remove)
        with self.ecu.on():
            # it ends the daemon, again and again: the time goes on meanwhile
            self.do("kill -9 $PPID; sleep 1000")
            self.ecu.update("v2", self.origin.url("v2"), wait=False)
            self.wait_for_return("slot_a", "FAILURE")
            self.assert_reason(rf"E209: .* did not commit: Not healthy within {TIMEOUT_S} s: .*")
            self.assertEqual(["slot_a", "slot_b", "slot_a"], self.ecu.boots())

            # it leaves no room for the commit
            self.do("mkdir /boot/full && cat /dev/zero > /boot/full/0; i=1; while echo x > /boot/full/$i; do i=$((i + 1)); done; exit 0")
            self.ecu.update("v2", self.origin.url("v2"), wait=False)
            wait_for("the machine is back", lambda: len(self.ecu.boots()) == 5 and self.ecu.answers(), 240)
            self.assertEqual("slot_a", self.ecu.boots()[-1])
            self.assertEqual("FAILURE", self.ecu.status()["ota_status"])
            self.assertIn("No space left on d", self.ecu.status()["failure_reason"])
            self.ecu.execute("/bin/rm", "-r", "/boot/full")
            self.ecu.kill_daemon()
            self.wait_for_return("slot_a", "FAILURE")
            self.assert_reason(rf"E209: .* Not healthy within {TIMEOUT_S} s: Cannot commit the slot ota-slot_b: .*No space left on d.*")

            # it fills what is emptied by a restart, and leaves programs behind that hold on to all that they can
            self.do("for d in /tmp /run; do mount -o remount,size=1m $d; cat /dev/zero > $d/full; done; "
                    "setsid sleep 1000 & setsid sh -c 'cd /boot; while :; do echo more; sleep 0.01; done' & exit 0")
            self.ecu.update("v2", self.origin.url("v2"), wait=False)
            wait_for("the commit", lambda: self.ecu.answers() and self.seen() == ("v2", "SUCCESS", None), 240)
            self.assertEqual("slot_b", self.ecu.boots()[-1])
        self.ecu.check_disk()


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
