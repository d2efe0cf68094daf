#!/usr/bin/env python3
"""Faults in the middle: each durable step fails once, each is the moment of an abort; the machine says so, and the next run completes."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from small_update import check_v2, is_flipped, lab_before_the_update, start_again  # noqa: E402
from update_lab import enter_private_mounts, run  # noqa: E402


def places(lab):
    start_again(lab)
    total = int(lab.driver("v2", "--count").stdout.splitlines()[0])
    check_v2(lab)
    return total


# Some of the last words of an update with a fault.
SAID = [f"E313: Update failed in {phase}: {what}: Input/output error" for phase, what in (
    ("CALCULATING_DELTA", "Cannot copy /x"),
    ("DOWNLOADING_OTA_FILES", "Cannot fetch the content of /…: Cannot keep its file"),
    ("APPLYING_UPDATE", "Cannot clear the standby slot at /…"),
    ("APPLYING_UPDATE", "Step \"prune and place\" failed"),
    ("PROCESSING_POSTUPDATE", "Cannot carry over /etc/machine to the standby slot"),
    ("PROCESSING_POSTUPDATE", "Cannot write the standby slot to the disk"),
    ("PROCESSING_POSTUPDATE", "Cannot write {device} to the disk"),
)]


def every_failing_step_is_survived():
    said = set()
    with lab_before_the_update() as lab:
        total = places(lab)
        for at in range(1, total + 1):
            start_again(lab)
            p = lab.driver("v2", "--fail-at", str(at))
            last = p.stderr.strip().splitlines()[-1]
            assert p.returncode == 1 and last[0] == "E" and last[4:6] == ": ", f"{at} of {total}: {p.returncode} {p.stderr[-500:]}"
            assert "Input/output error" in last and last[:4] not in ("E000", "E100"), f"{at}: {last}"
            # threads share this work, so which file it is differs
            said.add(re.sub(r"(Cannot clear the standby slot at /|Cannot fetch the content of /)[^\s:]+", r"\1…", last))
            assert lab.status("a") == "FAILURE", f"{at}: {lab.status('a')}: {last}"
            # whatever the loader would try now must not be committed
            assert lab.status("b") != "UPDATING", f"{at}: {last}"
            lab.update("v2")
            try:
                check_v2(lab)
            except Exception as e:
                raise AssertionError(f"after a fault at {at} of {total} ({last}): {e}") from e
            assert is_flipped(lab) and lab.status("b") == "UPDATING"
        missing = {s.format(device=lab.device) for s in SAID} - said
        assert not missing, f"{missing} are not among {said}"
        print(f"  {total} faults")


NOW = "Abort accepted, aborting update immediately"
SOON = "Abort queued, will proceed after critical zone exits"
AGAIN = "Abort already in progress"
LATE = "Cannot abort: update is in FINAL_PHASE"


def abort_answers(p):
    return [line.rsplit(": ", 1)[-1] if LATE not in line else LATE
            for line in p.stderr.splitlines() if line.startswith("abort at ")]


def every_abort_is_obeyed_or_comes_too_late():
    with lab_before_the_update() as lab:
        total, obeyed = places(lab), 0
        for at in range(1, total + 1, 2):
            start_again(lab)
            p = lab.driver("v2", "--abort-at", str(at))
            answers = abort_answers(p)
            # what was accepted is done, what was refused is not
            assert answers == [LATE, LATE] if p.returncode == 0 else answers in ([NOW, AGAIN], [SOON, AGAIN]), (at, p.stderr)
            if p.returncode == 0:
                assert is_flipped(lab) and lab.status("b") == "UPDATING", at
                check_v2(lab)
                continue
            obeyed += 1
            last = p.stderr.strip().splitlines()[-1]
            assert last == "E207: The update was aborted", f"{at}: {last}"
            assert lab.status("a") == "ABORTED" and lab.status("b") != "UPDATING", (at, lab.status("a"), lab.status("b"))
            assert not is_flipped(lab)
            lab.update("v2")
            check_v2(lab)
        assert 5 < obeyed < total / 2 - 5, (obeyed, total)


def listing(lab):
    return {os.path.join(top, name): os.lstat(os.path.join(top, name)).st_mtime_ns
            for top, dirs, files in os.walk(lab.active) for name in dirs + files}


def is_mounted(lab):
    with open("/proc/self/mountinfo") as f:
        return any(f" {lab.device} " in line or "/run/mnt/" in line for line in f)


STEPS = {
    "fetch metadata": NOW, "claim standby": NOW, "plan": NOW, "prepare standby": SOON, "open standby": NOW, "copy contents": NOW,
    "fetch contents": NOW, "prune and place": NOW, "persist files": LATE, "stage boot": LATE, "close standby": LATE,
    "flip and reboot": LATE,
}


def abort_in_every_step_and_between_two():
    """At the begin of each step, at its end, and before the first one."""
    places_to_ask = [(" begins", NOW)] + [(f": {step}{end}", answer) for step, answer in STEPS.items() for end in ("", " took")]
    names = list(STEPS)
    with lab_before_the_update() as lab:
        active = listing(lab)
        for line, answer in places_to_ask:
            start_again(lab)
            with open(lab.path("run", "status-a", "slot_in_use"), "w") as f:
                f.write("a")
            p = lab.driver("v2", "--abort-at-line", line)
            assert abort_answers(p) == ([LATE, LATE] if answer == LATE else [answer, AGAIN]), (line, p.stderr)
            assert not is_mounted(lab) and listing(lab) == active, line
            if answer == LATE:
                assert p.returncode == 0 and is_flipped(lab), (line, p.stderr)
                check_v2(lab)
                continue
            step = line.split(": ")[-1].removesuffix(" took")
            touched = step in names and names.index(step) >= names.index("prepare standby")
            assert p.returncode == 1 and p.stderr.endswith("E207: The update was aborted\n"), (line, p.stderr)
            assert lab.status("a") == "ABORTED" and lab.status("a", "slot_in_use") == ("b" if touched else "a"), line
            assert not is_flipped(lab), line
            lab.update("v2")
            check_v2(lab)
        # the last one that is accepted is the end of the last step before the new system is set up to boot
        assert ": prune and place took" in [line for line, answer in places_to_ask if answer == NOW]


def abort_wins_over_an_error_of_the_step():
    with lab_before_the_update() as lab:
        for at in (1, 2, 3):  # the status files, and the mark of the slot
            start_again(lab)
            with open(lab.path("run", "status-b", "complete"), "w"):
                pass
            p = lab.driver("v2", "--abort-at-line", ": prepare standby", "--fail-at", str(at))
            assert abort_answers(p) == [SOON, AGAIN], p.stderr
            assert "E303: Update failed in CALCULATING_DELTA: Cannot " in p.stderr and "Input/output error" in p.stderr, p.stderr
            assert lab.status("a") == "ABORTED", p.stderr
            lab.update("v2")
            check_v2(lab)


def files_in(folder):
    return sorted(os.path.join(top, name) for top, _, files in os.walk(folder) for name in files)


def update_takes_the_place_of_a_forecast_wherever_that_is():
    """At the begin of each step and at its end; the update finds nothing of it, and leaves what an update leaves."""
    lines = [" begins"] + [f": {step}{end}" for step in ("fetch metadata", "look at slots", "plan") for end in ("", " took")]
    with lab_before_the_update() as lab:
        active = listing(lab)
        start_again(lab)
        lab.driver("v2")
        left = files_in(lab.path("run"))
        for line in lines:
            start_again(lab)
            p = lab.driver("v2", "--displace-at-line", line)
            assert p.returncode == 0, (line, p.stderr)
            said = [text for text in p.stderr.splitlines() if text.startswith("forecast: ")]
            # Behind its last step there is nothing left to end.
            ended = "forecast: E000: ended" if line == ": plan took" else "forecast: E207: An update has taken the place of the forecast"
            assert said == [ended], (line, p.stderr)
            update = p.stderr.index("\nUpdate ")
            assert "Forecast " not in p.stderr[update:].replace("Forecast: to download", ""), (line, p.stderr)
            assert not is_mounted(lab) and listing(lab) == active and files_in(lab.path("run")) == left, line
            assert is_flipped(lab) and lab.status("b") == "UPDATING", line
            check_v2(lab)


def restart_that_fails_leaves_the_new_system_to_the_next_boot():
    with lab_before_the_update() as lab:
        start_again(lab)
        e = lab.fail("v2", "--reboot-fails")
        assert e.code == "E304" and "Cannot restart the machine" in e.sentence, (e.code, e.sentence)
        assert is_flipped(lab) and lab.status("a") == "FAILURE" and lab.status("b") == "UPDATING"
        check_v2(lab)


def release_that_is_too_long_is_cut_between_characters():
    with lab_before_the_update() as lab:
        for release in ("short", "xx" + "語" * 400):
            lab.update("v2", "--release", release)
            detail = json.loads(lab.status("b", "version_detail"))
            assert set(detail) == {"release_name", "release_id", "image_id"}
            for text in detail.values():
                assert release.startswith(text) and len(text.encode()) >= min(len(release.encode()), 508), text


def mount_points_that_cannot_be_made_are_told():
    with lab_before_the_update() as lab:
        os.rename(lab.path("run/mnt"), lab.path("run/mnt.away"))
        with open(lab.path("run/mnt"), "w"):
            pass
        e = lab.fail("v2")
        assert e.code == "E303" and "Cannot make the mount points" in e.sentence, (e.code, e.sentence)
        os.unlink(lab.path("run/mnt"))
        lab.update("v2")
        check_v2(lab)


if __name__ == "__main__":
    enter_private_mounts()
    run([
        every_failing_step_is_survived,
        every_abort_is_obeyed_or_comes_too_late,
        abort_in_every_step_and_between_two,
        abort_wins_over_an_error_of_the_step,
        update_takes_the_place_of_a_forecast_wherever_that_is,
        restart_that_fails_leaves_the_new_system_to_the_next_boot,
        release_that_is_too_long_is_cut_between_characters,
        mount_points_that_cannot_be_made_are_told,
    ])
