#!/usr/bin/python3
"""
What depends on systemd, with the real one: what the health check asks of it, and the timer that restarts a system that
nobody commits.

    test_systemd.py HEALTH_DRIVER [TEST…]

Simulated: the machine is a box of namespaces (tests/support/systemd_box.py). Needs root, overlayfs and cgroup2, and the
root file system that tests/support/rootfs/make makes, which it makes if it is missing.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from ecu_lab import SOURCE_ROOT, enter_private, wait_for  # noqa: E402
from systemd_box import Box  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")
HEALTH_DRIVER = os.path.abspath(sys.argv[1])
GUARD = "otaclient-commit-guard"
PATIENCE_S = 120  # systemd itself gives a service that does not end 90 s


def service(command, more="", target="multi-user.target"):
    return f"[Service]\nExecStart={command}\n{more}\n[Install]\nWantedBy={target}\n"


ONESHOT = "Type=oneshot\n"
UNTIL_GO = "/bin/sh -c 'until [ -e /run/go ]; do sleep 0.05; done'"


class WithBox(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="test-systemd.", dir="/run")
        self.addCleanup(os.rmdir, self.work)
        self.box = self.enterContext(Box(f"{ROOTFS}/new", f"{self.work}/box"))

    def add(self, name, text, wanted_by="multi-user.target"):
        self.box.put(f"/etc/systemd/system/{name}", text)
        if wanted_by:
            self.box.link(f"/etc/systemd/system/{wanted_by}.wants/{name}", f"../{name}")

    def wait_for(self, what, condition):
        wait_for(what, condition, PATIENCE_S)


class Health(WithBox):
    def health(self, target="", units=""):
        return self.box.run("/usr/bin/health_driver", target, units)

    def test_a_target_and_units_are_asked_for(self):
        self.box.copy(HEALTH_DRIVER, "/usr/bin/health_driver", 0o755)
        self.add("slow.service", service(UNTIL_GO, ONESHOT))
        self.add("fails.service", service("/bin/false"))
        self.add("loops.service", service("/bin/false", "Restart=always\nRestartSec=1h\n"))
        self.add("flaps.service", "[Unit]\nStartLimitIntervalSec=0\n" + service("/bin/sleep 0.5", "Restart=always\nRestartSec=0\n"))
        self.add("done.service", service("/bin/true", ONESHOT))
        self.add("runs.service", service("/bin/sleep inf"))
        self.add("idle.service", service("/bin/true"), wanted_by=None)
        self.box.link("/etc/systemd/system/masked.service", "/dev/null")
        self.box.start()

        waits = "multi-user.target: multi-user.target is not reached: it is inactive (dead), about to start, waiting for slow.service\n"
        self.wait_for("the target waits", lambda: self.box.runs() and self.health("multi-user.target") == (1, waits))
        self.box.put("/run/go", "")
        self.wait_for("the target is reached", lambda: self.health("multi-user.target")[0] == 0)

        well = "multi-user.target: well\n" + "".join(f"{n}.service: well\n" for n in ("runs", "done", "slow", "idle"))
        self.assertEqual((0, well), self.health("multi-user.target", "runs.service done.service slow.service idle.service"))
        flaps = r"flaps.service: flaps.service had to be started again \([0-9]+ times\), and is not up for 30 s yet\n"
        self.wait_for("it is seen to come and go", lambda: re.fullmatch(flaps, self.health("", "flaps.service")[1]))
        for unit, how in (
            ("fails.service", "fails.service has failed"),
            ("loops.service", "loops.service is activating (auto-restart)"),
            ("masked.service", 'systemd has not loaded masked.service: it is "masked"'),
            ("missing.service", "systemd knows no missing.service"),
            ("lidar", '"lidar" is no name of a unit of systemd'),
        ):
            self.assertEqual((1, f"{unit}: {how}\n"), self.health("", unit))
        # Whoever has mended it need not restart the machine.
        self.box.execute("systemctl", "reset-failed", "fails.service")
        self.assertEqual((0, "fails.service: well\n"), self.health("", "fails.service"))


class Guard(WithBox):
    def setUp(self):
        super().setUp()
        for suffix in ("service", "timer"):
            self.box.copy(f"{SOURCE_ROOT}/systemd/{GUARD}.{suffix}", f"/lib/systemd/system/{GUARD}.{suffix}")
        self.box.link(f"/etc/systemd/system/sysinit.target.wants/{GUARD}.timer", f"/lib/systemd/system/{GUARD}.timer")
        self.set_time("3s")

    def set_time(self, time):
        text = f"[Timer]\nOnBootSec=\nOnBootSec={time}\nAccuracySec=100ms\n"
        self.box.put(f"/etc/systemd/system/{GUARD}.timer.d/time.conf", text)

    def show(self, unit, what):
        """A property; "" while systemd does not answer yet."""
        code, said = self.box.run("systemctl", "show", "--value", "-p", what, f"{GUARD}.{unit}")
        return said.strip() if code == 0 else ""

    def given_up(self):
        """What is left for the old system, as a dictionary."""
        with open(f"{self.box.root}/.ota-meta/given-up", encoding="ascii") as f:
            return dict(line.split("=", 1) for line in f.read().splitlines())

    def test_a_system_that_nobody_commits_is_restarted(self):
        self.box.put("/.ota-meta/on-trial", "\n")
        self.add("otaclient.service", "[Unit]\nStartLimitIntervalSec=0\n" +
                 service("/bin/sh -c 'exit 9'", "Restart=always\nRestartSec=0.3\n"))
        self.box.start()
        self.assertEqual("SIGHUP", self.box.ended(PATIENCE_S), self.box.said())
        said = self.given_up()
        self.assertEqual(("loaded", "activating", "1", "9"),
                         tuple(said[k] for k in ("LoadState", "ActiveState", "ExecMainCode", "ExecMainStatus")), said)
        self.assertGreater(int(said["NRestarts"]), 0)

    def test_a_root_that_cannot_be_written_is_no_obstacle(self):
        self.box.put("/.ota-meta/on-trial", "\n")
        self.box.put("/.ota-meta/given-up/in-the-way", "")
        self.box.start()
        self.assertEqual("SIGHUP", self.box.ended(PATIENCE_S), self.box.said())

    def test_also_where_the_start_ends_in_an_emergency_shell(self):
        self.box.put("/.ota-meta/on-trial", "\n")
        self.box.put("/etc/fstab", "none /mnt nosuchfs defaults 0 0\n")
        # The shell would end at once without a terminal, and the start go on.
        shell = "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep inf\nStandardInput=null\n"
        self.box.put("/etc/systemd/system/emergency.service.d/shell.conf", shell)
        self.set_time("1h")
        self.box.start()
        emergency = ("systemctl", "is-active", "emergency.service")
        self.wait_for("the emergency", lambda: self.box.runs() and self.box.run(*emergency) == (0, "active\n"))
        self.assertNotEqual((0, "active\n"), self.box.run("systemctl", "is-active", "sysinit.target"))
        self.assertEqual("active", self.show("timer", "ActiveState"))
        self.set_time("1s")
        self.box.run("systemctl", "daemon-reload")
        self.box.run("systemctl", "restart", f"{GUARD}.timer")
        self.assertEqual("SIGHUP", self.box.ended(PATIENCE_S), self.box.said())
        self.assertEqual("not-found", self.given_up()["LoadState"])

    def test_no_other_system_is(self):
        self.box.start()
        # The property has its value when the service was started, or was not.
        self.wait_for("the timer", lambda: self.show("timer", "LastTriggerUSecMonotonic") not in ("", "0"))
        self.assertEqual(("no", "inactive"), (self.show("service", "ConditionResult"), self.show("service", "ActiveState")))
        self.assertNotEqual("0", self.show("service", "ConditionTimestampMonotonic"))
        # It was committed, and / cannot be written.
        self.box.put("/.ota-meta/on-trial", "\n")
        self.box.put("/run/otaclient.settled", "")
        self.box.execute("systemctl", "start", f"{GUARD}.service")
        self.assertEqual("inactive", self.show("service", "ActiveState"))
        self.assertTrue(self.box.runs())
        # As it would be else.
        os.unlink(f"{self.box.root}/run/otaclient.settled")
        self.box.run("systemctl", "--no-block", "start", f"{GUARD}.service")
        self.assertEqual("SIGHUP", self.box.ended(PATIENCE_S), self.box.said())


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
