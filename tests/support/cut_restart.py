"""
cut_restart: what a machine does when the power comes back. Starts one disk of cut_disks after the other.

    with restarts(lab, scene, number) as restart:
        problems += restart.look(disk, cut)     # sentences

GRUB chooses, and the daemon on the slot that it chose must say what docs/power-cuts.md promises: on the slot that ran at
first, one of the statuses of the scene, with a reason if something failed; on the other one, SUCCESS by itself. Then the
update that the scene knows is carried through, the slot must equal the image, the disk be clean, and nothing unfinished be
left where files are replaced.
"""

import contextlib
import os
import re
import shutil

from ecu_lab import Failed, Origin, wait_for
from small_machine import SmallEcu

UNDECIDED = ("UPDATING", "ROLLBACKING", "CLIENT_UPDATING")
REASON = re.compile(r"E\d{3}: .+")
LEFTOVERS = 'find "$BOOT" "$SLOT_A" "$SLOT_B" -name ".ota_io_tmp_*"'


class Restart:
    def __init__(self, lab, scene, origin, number):
        self.lab = lab
        self.scene = scene
        self.origin = origin
        self.name = f"restart{number}"
        self.image = lab.path(f"{self.name}.disk")
        self.n_started = 0

    def look(self, disk, cut):
        """What goes wrong behind this cut; none = nothing."""
        self.n_started += 1
        shutil.copyfile(disk.path, self.image)
        ecu = SmallEcu(self.lab, self.name, self.image)
        for path in (ecu.events, ecu.console):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        try:
            with ecu.on():
                problems = self._first_status(ecu, cut)
                self._update(ecu)
            return problems + self._slot(ecu)
        except Failed as e:
            return [f"{e}\n{ecu.tail()}"]

    def _first_status(self, ecu, cut):
        wait_for("the start is decided", lambda: ecu.status()["ota_status"] not in UNDECIDED, 30)
        role, status = ecu.boots()[-1], ecu.status()
        said, reason = status["ota_status"], status["failure_reason"]
        wanted = {"SUCCESS"}
        if role in self.scene.roles_before:
            wanted = self.scene.statuses(cut.interval)
        if said not in wanted:
            return [f"{role} says {said}, not one of {sorted(wanted)}; reason: {reason}"]
        if bool(REASON.fullmatch(reason)) != said.endswith("FAILURE"):
            return [f'{role} says {said} for the reason "{reason}"']
        return []

    def _update(self, ecu):
        """A second run, from wherever the machine is."""
        version = self.scene.again
        ecu.update(version, self.origin.url(version))
        status = ecu.status()
        if (status["ota_status"], status["firmware_version"]) != ("SUCCESS", version):
            raise Failed(["a second run"], "another status", str(status))

    def _slot(self, ecu):
        ecu.check_disk()
        role = ecu.boots()[-1]
        found = ecu.differences(self.lab.trees[self.scene.again], role)
        left = ecu.look("/bin/sh", "-c", LEFTOVERS).split()
        problems = [f"{len(found)} differences of {role} after a second run: {'; '.join(found[:5])}"] if found else []
        return problems + ([f"After a second run there are {left}"] if left else [])


@contextlib.contextmanager
def restarts(lab, scene, number):
    """In a network of our own, with a server of our own."""
    folder = lab.path(f"origin.{number}")
    os.makedirs(folder, exist_ok=True)
    origin = Origin(folder, lab.path("images"), lab.tls())
    try:
        yield Restart(lab, scene, origin, number)
    finally:
        origin.stop()
