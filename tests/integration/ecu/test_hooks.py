#!/usr/bin/python3
"""
Programs of the integrator on a whole machine: called in order, in the right system, with what they are to know, over an
update and a rollback; and what is left of an update that one of them refuses.

    test_hooks.py BUILD_DIR [TEST…]

Real and simulated as in test_ecu.py; needs the same.
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

# /boot is the same for both systems. What is there decides what the hooks do.
TELL = """#!/bin/sh
{ echo "= $OTA_HOOK of SYSTEM"; env | grep ^OTA_ | sort; } >> /boot/told
"""
ANSWER = """#!/bin/sh
[ -e /boot/say-no-in-$OTA_HOOK ] && { echo "not now, says SYSTEM" >&2; exit 3; }
[ -e /boot/hang-in-$OTA_HOOK ] && { trap '' TERM; echo "asking the driver"; while :; do sleep 1; done; }
if [ -e /boot/do-in-$OTA_HOOK ]; then mv /boot/do-in-$OTA_HOOK /boot/done && . /boot/done; fi
if [ "$OTA_STANDBY_ROOT" ]; then
    . "$OTA_STANDBY_ROOT/etc/os-release" && echo "$ID $(id -u) $(pwd)" > "$OTA_STANDBY_ROOT/etc/completed"
fi
exit 0
"""

FINGERPRINT = """
cd /boot && find . -type f ! -name told ! -name flight-recorder | sort | xargs sha256sum && tail -c +4097 /dev/loop*p3 | sha256sum
"""


def put_hooks(root, system):
    for hook in ("pre-update", "post-update", "pre-reboot", "post-commit"):
        folder = f"{root}/etc/otaclient/hooks.d/{hook}"
        os.makedirs(folder)
        for name, text in (("10-tell", TELL), ("20-answer", ANSWER)):
            with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                f.write(text.replace("SYSTEM", system))
            os.chmod(f"{folder}/{name}", 0o755)
    with open(f"{root}/etc/otaclient/otaclient.yaml", "a", encoding="ascii") as f:
        f.write("hook_timeout_s: 2\n")


class Hooks(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-hooks.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.old, cls.new = cls.lab.install(f"{ROOTFS}/old", slim=True), cls.lab.install(f"{ROOTFS}/new", slim=True)
        put_hooks(cls.old, "old")
        put_hooks(cls.new, "new")
        cls.lab.build_image("v2", cls.new, "--compress-level", "1")
        cls.origin = cls.enterClassContext(cls.lab.origin())

    def fresh(self, name):
        ecu = self.lab.make_ecu(name, self.old)
        self.addCleanup(ecu.remove)
        return ecu

    def told(self, ecu):
        """[(hook and system, {variable: value}), …] since the last look."""
        calls = []
        for line in ecu.execute("/bin/sh", "-c", "touch /boot/told; cat /boot/told; rm /boot/told").splitlines():
            if line.startswith("= "):
                calls.append((line[2:], {}))
            else:
                name, _, value = line.partition("=")
                calls[-1][1][name] = value
        return calls

    def fingerprint(self, ecu):
        """
        Of all that an update changes: /boot without what hooks and recorder note there, and the other slot without its
        superblock, where e2fsck notes that it has looked.
        """
        return ecu.execute("/bin/sh", "-c", FINGERPRINT).splitlines()

    def test_all_are_called_over_an_update_and_a_rollback(self):
        ecu = self.fresh("called")
        url = self.origin.url("v2")
        with ecu.on():
            self.assertEqual([], self.told(ecu), "a fresh machine commits nothing")
            ecu.update("v2", url)
            self.assertEqual(("slot_b", "SUCCESS"), (ecu.boots()[-1], ecu.status()["ota_status"]))
            wait_for("the post-commit hooks have run", lambda: "post-commit hook 20-answer ended well" in ecu.said(), 30)
            calls = self.told(ecu)
            session = calls[0][1]["OTA_SESSION"]
            self.assertRegex(session, r"^\d+-v2-[0-9a-f]{8}$")
            bytes_to_fetch = calls[0][1].pop("OTA_DOWNLOAD_BYTES")
            self.assertGreater(int(bytes_to_fetch), 1000000)
            common = {"OTA_ACTION": "update", "OTA_ECU_ID": "called", "OTA_VERSION": "v2", "OTA_FROM_VERSION": "",
                      "OTA_SLOT": "ota-slot_b", "OTA_FROM_SLOT": "ota-slot_a"}
            before = {**common, "OTA_SESSION": session, "OTA_URL": url}
            self.assertEqual([
                ("pre-update of old", {**before, "OTA_HOOK": "pre-update"}),
                ("post-update of old", {**before, "OTA_HOOK": "post-update",
                                        "OTA_STANDBY_ROOT": "/run/otaclient/mnt/standby_slot"}),
                ("pre-reboot of old", {**before, "OTA_HOOK": "pre-reboot"}),
                ("post-commit of new", {**common, "OTA_HOOK": "post-commit"}),
            ], calls)
            self.assertEqual("debian 0 /\n", ecu.execute("/bin/cat", "/etc/completed"))

            ecu.otactl("rollback", "--wait")
            self.assertEqual(("slot_a", "SUCCESS"), (ecu.boots()[-1], ecu.status()["ota_status"]))
            wait_for("the post-commit hooks have run", lambda: ecu.has("/boot/told") and "post-commit of old" in
                     ecu.execute("/bin/cat", "/boot/told"), 30)
            self.assertEqual(["pre-reboot of new", "post-commit of old"], [call for call, _ in self.told(ecu)])

    def test_a_refused_update_leaves_slot_and_status_as_they_were(self):
        ecu = self.fresh("refused")
        with ecu.on():
            before = self.fingerprint(ecu)
            self.assertGreater(len(before), 10)
            for word, reason in (
                ("say-no", "failed with status 3: not now, says old"),
                ("hang", "did not end within 2 s and was stopped: asking the driver"),
            ):
                ecu.execute("/bin/touch", f"/boot/{word}-in-pre-update")
                with self.assertRaisesRegex(Failed, reason):
                    ecu.update("v2", self.origin.url("v2"))
                status = ecu.status()
                self.assertEqual("FAILURE", status["ota_status"])
                self.assertEqual("E210: Update failed in CALCULATING_DELTA: The pre-update hook 20-answer " + reason,
                                 status["failure_reason"])
                self.assertEqual(["pre-update of old"], [call for call, _ in self.told(ecu)])
                ecu.execute("/bin/rm", f"/boot/{word}-in-pre-update")
                self.assertEqual(before, self.fingerprint(ecu))
            ecu.kill_daemon()
            wait_for("the daemon is back", ecu.answers, 30)
            self.assertEqual(("INITIALIZED", ""), (ecu.status()["ota_status"], ecu.status()["failure_reason"]))

    def test_a_hook_that_ends_the_daemon_or_the_machine_is_survived(self):
        ecu = self.fresh("harm")
        before = {"pre-update": "INITIALIZED", "post-update": "FAILURE", "pre-reboot": "FAILURE"}
        with ecu.on():
            for script in ("kill -9 $PPID; sleep 100", "reboot; sleep 100"):
                for hook in before:
                    n_boots = len(ecu.boots()) + script.startswith("reboot")
                    ecu.execute("/bin/sh", "-c", f'echo "{script}" > /boot/do-in-{hook}'.replace("$", "\\$"))
                    ecu.update("v2", self.origin.url("v2"), wait=False)
                    wait_for(f"{hook}: {script}", lambda n=n_boots: ecu.has("/boot/done") and len(ecu.boots()) == n and ecu.answers(), 120)
                    self.assertEqual("slot_a", ecu.boots()[-1])
                    self.assertEqual(before[hook], ecu.status()["ota_status"], f"{hook}: {script}")
                    ecu.execute("/bin/rm", "/boot/done")
                    # From here on an update has been begun.
                    before["pre-update"] = "FAILURE" if hook == "post-update" else before["pre-update"]
            for hook, script in (("post-commit", "kill -9 $PPID"), ("post-commit", "reboot")):
                ecu.execute("/bin/sh", "-c", f'echo "{script}; sleep 100" > /boot/do-in-{hook}'.replace("$", "\\$"))
                ecu.update("v2", self.origin.url("v2"), wait=False)
                wait_for(f"{hook}: {script}", lambda: ecu.has("/boot/done") and ecu.answers() and
                         ecu.status()["ota_status"] == "SUCCESS", 240)
                ecu.execute("/bin/rm", "/boot/done")
            self.assertEqual("v2", ecu.status()["firmware_version"])
        ecu.check_disk()

    def test_a_no_before_the_restart_leaves_the_machine_on_its_system(self):
        ecu = self.fresh("parked")
        with ecu.on():
            for hook, phase in (("post-update", "PROCESSING_POSTUPDATE"), ("pre-reboot", "FINALIZING_UPDATE")):
                ecu.execute("/bin/touch", f"/boot/say-no-in-{hook}")
                with self.assertRaisesRegex(Failed, f"E210: Update failed in {phase}: The {hook} hook 20-answer failed"):
                    ecu.update("v2", self.origin.url("v2"))
                self.assertEqual(["slot_a"], ecu.boots())
                self.assertEqual("FAILURE", ecu.execute("/bin/cat", "/boot/ota-slot_a/status"))
                ecu.execute("/bin/rm", f"/boot/say-no-in-{hook}")
        with ecu.on():
            self.assertEqual(["slot_a", "slot_a"], ecu.boots(), "a restart does not try it either")
            # One that fails after the commit changes nothing.
            ecu.execute("/bin/touch", "/boot/say-no-in-post-commit")
            ecu.update("v2", self.origin.url("v2"))
            wait_for("its no is logged", lambda: "The post-commit hook 20-answer failed with status 3: "
                     "not now, says new" in ecu.said(), 30)
            self.assertEqual(("slot_b", "SUCCESS"), (ecu.boots()[-1], ecu.status()["ota_status"]))
            ecu.kill_daemon()
            wait_for("the daemon is back", ecu.answers, 30)
            self.assertEqual("SUCCESS", ecu.status()["ota_status"])
            self.assertEqual(1, ecu.said().count("The post-commit hook 20-answer failed"), "it is not repeated")


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
