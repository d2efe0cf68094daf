"""
stand: a machine with otaclient in slot A, an image server, and the words that scenarios are written in.

A scenario prepares, asks for an update, and then only watches: from the restart on, nothing touches the machine until it
has given its verdict by the API. Where its disk is to be damaged between the flip and the next start, the machine is switched off
by that restart, and on again after it.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time

import workshop
from disk import Disk
from ecu_lab import Failed as ProgramFailed
from ecu_lab import run
from machine import Failed, Machine, wait_for

START_S = 300      # a start until the API answers, on a processor that others use, too
UPDATE_S = 600
AT_REST = ("INITIALIZED", "SUCCESS", "FAILURE", "ROLLBACK_FAILURE")
COMMAND_LINE = rb"Command line: .*root=UUID=(\S+)"


class Stand:
    def __init__(self, shop, folder, layout="bios", bare=False):
        self.shop = shop
        self.folder = folder
        os.makedirs(folder)
        self.images = {}  # name of a version: folder on the server
        self.parts = []  # (name, bytes of the log before it)
        image = f"{folder}/disk"
        self.disk = Disk(image, layout)
        source = shop.bare(layout) if bare else shop.disk(layout)
        run("cp", "--sparse=always", source, image)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"{source}.vars", f"{image}.vars")
        self.slot_a = self.disk.uuid("slot_a")
        self.machine = Machine(f"{folder}/machine", image, layout)
        self.began = time.monotonic()

    def say(self, text):
        print(f"    {time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    # ---- power

    def power_on(self):
        self.machine.power_on()
        self.say("power on")

    def start(self):
        """Power on, until otaclient answers."""
        self.power_on()
        self.wait_for_status("otaclient answers", lambda s: True, START_S)

    def cut_power(self):
        self.machine.cut_power()
        self.say("power cut")

    def switch_off(self):
        self.machine.line.wait_until_up(START_S)
        self.machine.shut_down()
        self.say("switched off")

    def restart(self):
        """Off and on again, properly."""
        self.switch_off()
        self.start()

    def install_otaclient(self):
        """Section 3 of docs/install.md."""
        self.machine.line.wait_until_up(START_S)
        self.shop.install_otaclient(self.machine)
        self.say("otaclient is installed")

    # ---- power cuts

    def record(self, log):
        """From the next start on all that is written to the disk is noted in this file."""
        open(log, "wb").close()
        self.machine.log = log

    def part(self, name):
        """What is written from here on belongs to this part of the recording; with "" to none."""
        self.parts.append((name, os.path.getsize(self.machine.log)))
        self.say(f"recorded from here on: {name or 'nothing'}")

    def settle(self):
        """Until the start is over, and all that came of it is on the disk."""
        self.shell("systemctl is-system-running --wait >/dev/null; sync", START_S)

    def start_once(self):
        """The status that the machine comes to by itself. Its disk stays as it is."""
        self.machine.forget()
        self.machine.forgets = self.machine.notes_reads = True
        self.power_on()
        # Not before: each question would cost the guest's processor something.
        self.machine.console.wait_for("Started .*otaclient.service", START_S)
        return self.wait_for_status("a verdict", lambda s: s["ota_status"] in AT_REST, START_S)

    # ---- what is seen from outside

    def starts(self):
        """The slot of each start of a kernel so far: ["a", "b", …]."""
        with open(self.machine.console.path, "rb") as f:
            return ["a" if u.decode() == self.slot_a else "b" for u in re.findall(COMMAND_LINE, f.read())]

    def status(self):
        """The ECU's entry in the API's answer; None if it gives none."""
        argv = [self.shop.programs.otactl, "--json", "status"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0:
            return None
        return json.loads(done.stdout.splitlines()[-1])["ecus"][0]

    def wait_for_status(self, what, fits, seconds):
        last = [None]

        def look():
            last[0] = self.status() or last[0]
            return last[0] and fits(last[0]) and last[0]

        try:
            return wait_for(what, look, seconds, self.machine._must_run, pause_s=0.3, used=self.machine.cpu_seconds)
        except Failed as e:
            raise Failed(f"{e}; the last status was {last[0]}") from e

    def expect(self, what, have, want):
        if have != want:
            raise Failed(f"{what}: {have!r} instead of {want!r}")

    # ---- updates

    def serve(self, name, *change, **options):
        """Make an image, for update() to name it; the server has all that were made."""
        self.images[name] = os.path.basename(self.shop.image(name, *change, **options))

    def request(self, name):
        """Ask for an update; it is accepted."""
        url = f"http://{workshop.HOST_ADDRESS}:{workshop.PORT}/{self.images[name]}/"
        self.call("update", "--version", name, "--url", url)
        self.say(f"update to {name} requested")

    def call(self, *argv):
        try:
            return run(self.shop.programs.otactl, *argv)
        except ProgramFailed as e:
            raise Failed(str(e)) from e

    def roll_back(self):
        """A whole rollback, up to the restart."""
        self.call("rollback")
        self.say("rollback requested")
        self.wait_for_restart()

    def wait_for_reset(self):
        """Until the machine restarts, and before a boot loader has begun."""
        before = self.machine.monitor.count("RESET")
        wait_for("the restart", lambda: self.machine.monitor.count("RESET") > before, UPDATE_S, self.machine._must_run)

    def wait_for_restart(self):
        """Until the update or the rollback has flipped, and a kernel starts that is not the one of before."""
        before = len(self.starts())

        def look():
            status = self.status()
            if status and status["ota_status"] in ("FAILURE", "ROLLBACK_FAILURE"):
                raise Failed(f"it failed before the restart: {status}")
            return len(self.starts()) > before

        wait_for("the restart into the other slot", look, UPDATE_S, self.machine._must_run, used=self.machine.cpu_seconds)
        self.say(f"restarted, into slot {self.starts()[-1]}")

    def update(self, name):
        """A whole one, up to the restart."""
        self.request(name)
        self.wait_for_restart()

    def update_and_stop(self, name):
        """Up to the flip; the restart leaves the machine off."""
        self.machine.stop_at_next_restart()
        self.request(name)
        self.machine.wait_until_off(UPDATE_S)
        self.say("flipped, and off")

    def wait_for_phase(self, name):
        """Until the update is in this phase, or later in its course."""
        names = ["INITIALIZING", "PROCESSING_METADATA", "CALCULATING_DELTA", "DOWNLOADING_OTA_FILES", "APPLYING_UPDATE",
                 "PROCESSING_POSTUPDATE", "FINALIZING_UPDATE"]  # fmt: skip

        def there(status):
            phase = (status["update_status"] or {}).get("phase")
            return phase in names and names.index(phase) >= names.index(name)

        status = self.wait_for_status(f"the phase {name}", there, UPDATE_S)
        self.say(f"in the phase {status['update_status']['phase']}")

    # ---- verdicts

    def expect_verdict(self, status, version, slot, reason=""):
        """
        The machine comes to rest: reachable, on @slot, with this status and version, and a reason that @reason (an
        expression) is found in.
        """
        found = self.wait_for_status(f"{status} of {version or 'no version'}",
                                     lambda s: s["ota_status"] == status and s["firmware_version"] == version, START_S)
        given = found["failure_reason"]
        self.say(f"{status}, version {version!r}, {given or 'no reason given'}")
        self.expect("the slot that runs", self.starts()[-1], slot)
        if not re.search(reason, given):
            raise Failed(f"the reason '{given}' does not say '{reason}'")
        return found

    def shell(self, command, seconds=120):
        self.machine.line.wait_until_up(START_S)
        return self.machine.shell(command, seconds)

    def close(self):
        self.machine.cut_power()
        shutil.rmtree(self.folder)
