"""
campaign: power cuts. One machine is recorded (scenarios.recorded), and others are started from the disks that a cut
would have left at each point of that.

    folder = record(shop, layout)           made once for a product, and kept on its shelf
    log = open_log(folder)
    cuts = chosen(log, scenarios.POWER_CUTS, "ci")
    for verdict in tried(stand, log, cuts): …

Each start goes through the real GRUB, kernel and system, and is over when the daemon has given its verdict and the slot has
told whose it is. What is written meanwhile goes with the power, so that a disk is only taken forward, from one cut to the next.
QEMU notes what the start reads. A next disk that differs from this one only where nothing was read would be started just the
same, and is not: most writes of an update are to a slot that no start looks at before the flip.
"""

import hashlib
import inspect
import json
import os
import resource
import shutil
import tempfile
import time
from typing import NamedTuple

import machine
import power_log
import scenarios
from ecu_lab import Failed as ProgramFailed
from power_log import PowerLog, Replay, share
from stand import Stand

LAYOUT = "bios"


class Verdict(NamedTuple):
    """How the start from one disk has ended. @wrong: what must not be, else empty."""
    part: str
    cut: str
    same_as: str      # the cut whose start this one's would be, if it was not started
    seconds: float
    cpu_seconds: float
    slot: str
    status: str
    version: str
    reason: str
    wrong: str

    def line(self):
        came_to = f"{self.status} {self.version!r} on {self.slot or 'no slot'}{': ' * bool(self.reason)}{self.reason}"
        cost = f"as {self.same_as}" if self.same_as else f"{self.seconds:.0f} s, {self.cpu_seconds:.0f} of a processor"
        return f"{self.part}, {self.cut}: {came_to} ({cost})"


def record(shop):
    """The folder with what was recorded of a machine that began as shop.disk(LAYOUT)."""
    def make(folder):
        os.mkdir(folder)
        place = tempfile.mkdtemp(prefix="otaclient-vm-", dir="/var/tmp")
        stand = Stand(shop, f"{place}/stand", LAYOUT)
        try:
            stand.record(f"{folder}/log")
            scenarios.recorded(stand)
            stand.cut_power()
            with open(f"{folder}/parts", "w", encoding="ascii") as f:
                json.dump({"parts": stand.parts, "boot": stand.disk.extent("boot")}, f)
        except (ProgramFailed, machine.Failed):
            print("\n".join(f"      | {line}" for line in stand.machine.console.tail(30).splitlines()))
            raise
        finally:
            stand.machine.cut_power()
            shutil.rmtree(place)

    # Also what says how a machine is recorded, and in which form.
    how = "".join(inspect.getsource(part) for part in (scenarios.recorded, scenarios.panics, Stand, machine, power_log))
    return shop.made(shop.folder, f"recording-{hashlib.sha256(how.encode()).hexdigest()[:8]}", make)


def open_log(folder):
    with open(f"{folder}/parts", encoding="ascii") as f:
        facts = json.load(f)
    return PowerLog(f"{folder}/log", facts["parts"], facts["boot"])


def chosen(log, campaigns, depth):
    """Of these PowerCuts, in the order of the log. @depth: "ci", "some" or "all"."""
    cuts = []
    for c in campaigns:
        flushes, torn = {"ci": c.ci, "some": c.some, "all": (None, None)}[depth]
        cuts += share(log.flushes(c.part), flushes) + share(log.torn(c.part), torn)
    return sorted(cuts, key=lambda cut: cut.whole)


def tried(stand, log, cuts):
    """A Verdict on each. @stand: new, with the disk that the recording began with."""
    replay = Replay(log, stand.disk.path)
    verdicts = {c.part: c.verdicts for c in scenarios.POWER_CUTS}
    last, reads = None, []
    for cut in cuts:
        began, cpu = time.monotonic(), _cpu_seconds()
        replay.to(cut)
        if last and not last.wrong and not replay.has_changed(reads):
            yield last._replace(part=cut.part, cut=cut.name, same_as=f"{last.part}, {last.cut}", seconds=0, cpu_seconds=0,
                                wrong=_untrue(last.slot, (last.status, last.version), verdicts[cut.part]))  # fmt: skip
            continue
        found, slot, wrong = {}, "", ""
        try:
            found = stand.start_once()
            slot = stand.starts()[-1]
            wrong = _untrue(slot, (found["ota_status"], found["firmware_version"]), verdicts[cut.part])
            wrong = wrong or _other_image(stand, slot)
        except (ProgramFailed, machine.Failed) as e:
            wrong = str(e)
        if wrong:
            wrong += f"; it was started in the slots {stand.starts()}"
        stand.machine.cut_power()
        replay.forget_changes()
        reads = [] if wrong else stand.machine.reads()
        last = Verdict(cut.part, cut.name, "", time.monotonic() - began, _cpu_seconds() - cpu, slot, found.get("ota_status", ""),
                       found.get("firmware_version", ""), found.get("failure_reason", ""), wrong)  # fmt: skip
        yield last


def _cpu_seconds():
    """Ours and those of all our processes that have ended, as the machine has once its power is cut."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _untrue(slot, given, verdicts):
    """Does what the daemon says belong to the slot that runs?"""
    return "" if given in verdicts.get(slot, []) else f"that is not true on slot {slot} here"


def _other_image(stand, slot):
    """Is in the slot what the recording has put there?"""
    image = stand.shell("cat /etc/image-name || true").strip().splitlines()[-1:]
    return "" if (image == ["v2"]) == (slot == "b") else f"in slot {slot} is the image {image}"
