#!/usr/bin/python3
"""
All disks that a power cut could leave, of one machine that is installed, updated, aborted and rolled back.

    test_power_cuts.py BUILD_DIR [--share PERCENT] [--restarts PERCENT] [--seed N] [--jobs N] [--least N]
                       [--keep FOLDER | --scenes FOLDER] [--scene NAME [--cut NAME]]

The machine's disk logs each write and each barrier (tests/support/write_log.c). From the log comes each disk that a cut
could leave (cut_disks.py), and each is judged (cut_judge.py); some are started, too (cut_restart.py). --share judges a
seeded part of them, --restarts starts a part of these; --least says how many different ones there must be. What was recorded
goes into FOLDER if something is wrong with a disk; --scenes goes on from there, with --cut for one disk alone. Needs root,
loop devices, /dev/fuse, namespaces and grub-emu.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from cut_disks import CutDisk  # noqa: E402
from cut_judge import Judge  # noqa: E402
from cut_restart import restarts  # noqa: E402
from ecu_lab import enter_private, syscalls  # noqa: E402
from pseudo_ecu import disk as ecu_disk  # noqa: E402
from small_machine import SmallLab, Story, scenes  # noqa: E402

KEPT = ("certs", "tls")  # besides bases and logs: part of the trees
SHOWN = 20  # of what is wrong in a scene


def parse():
    parser = argparse.ArgumentParser()
    parser.format_help = lambda: __doc__.lstrip()  # which has the options
    parser.add_argument("build")
    parser.add_argument("--share", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--least", type=int, default=0)
    parser.add_argument("--keep", default="/var/tmp/power-cuts")
    parser.add_argument("--scenes")
    parser.add_argument("--scene")
    parser.add_argument("--cut")
    return parser.parse_args()


class Look:
    """One worker's part of the disks of a scene."""

    def __init__(self, lab, scene, args, number):
        self.lab = lab
        self.scene = scene
        self.args = args
        self.number = number  # of the worker
        self.n_cuts = self.n_judged = 0
        self.seen = set()
        self.wrong = []

    def run(self):
        judge = Judge(self.lab, self.scene)
        parts = ecu_disk.partitions_of(self.scene.base)
        image = self.lab.path(f"cut.{self.number}.img")
        with restarts(self.lab, self.scene, self.number) as restart, CutDisk(self.scene.base, image, parts) as disk:
            for cut in disk.cuts(self.scene.records, self.args.seed, self.args.cut):
                self.n_cuts += 1
                if self._is_ours(disk, cut):
                    self.n_judged += 1
                    wrong = judge.look(disk, cut)
                    if self._dice(cut, "restart") < self.args.restarts:
                        wrong += restart.look(disk, cut)
                    self.wrong += [f"{cut.where()}: {problem}" for problem in wrong]
            return {
                "cuts": self.n_cuts,
                "disks": len(self.seen),
                "judged": self.n_judged,
                "started": restart.n_started,
                "wrong": self.wrong,
            }

    def _is_ours(self, disk, cut):
        """Is it another disk than before, and is it for us to judge?"""
        key = (disk.states(), self.scene.possible(cut.interval))
        if key in self.seen:
            return False
        self.seen.add(key)
        return len(self.seen) % self.args.jobs == self.number and self._dice(cut, "share") < self.args.share

    def _dice(self, cut, what):
        """From 0 to 100, the same each time."""
        return random.Random(f"{self.args.seed} {self.scene.name} {cut.name} {what}").random() * 100


def work(lab, scene, args, number, path):
    """A worker, to its end."""
    code = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        enter_private()
        syscalls.die_with_parent(signal.SIGKILL)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(Look(lab, scene, args, number).run(), f)
        code = 0
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
    os._exit(code)


def judge_scene(lab, scene, args):
    """All workers; returns what they found."""
    began = time.monotonic()
    paths = [lab.path(f"found.{n}") for n in range(args.jobs)]
    sys.stdout.flush()
    pids = []
    for n, path in enumerate(paths):
        pid = os.fork()
        if pid == 0:
            work(lab, scene, args, n, path)
        pids.append(pid)
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(ended):
        raise SystemExit(f"A worker of {scene.name} ended with {ended}")
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as f:
            found.append(json.load(f))
    wrong = [text for one in found for text in one["wrong"]]
    judged, started = (sum(one[name] for one in found) for name in ("judged", "started"))
    print(
        f"{scene.name}: {found[0]['cuts']} cuts, {found[0]['disks']} different disks, {judged} judged, {started} started, "
        f"{len(wrong)} wrong, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for text in sorted(wrong)[:SHOWN]:
        print(f"  {scene.name}, {text}")
    return found[0]["disks"], judged, started, len(wrong)


def keep(lab, args):
    if args.scenes:
        return args.scenes
    shutil.rmtree(args.keep, ignore_errors=True)
    os.makedirs(args.keep, mode=0o700)
    for name in os.listdir(lab.work):
        if name in KEPT or name.endswith((".base", ".log")):
            subprocess.run(["cp", "-a", "--sparse=always", lab.path(name), args.keep], check=True)
    return args.keep


def run(args, folder):
    if args.scenes:
        for name in KEPT:
            shutil.copytree(f"{args.scenes}/{name}", f"{folder}/{name}")
    lab = SmallLab(args.build, folder)
    if not args.scenes:
        with lab.origin() as origin:
            Story(lab, origin).record()
    sums = [0, 0, 0, 0]
    for scene in scenes(args.scenes or folder):
        if args.scene in (None, scene.name):
            sums = [a + b for a, b in zip(sums, judge_scene(lab, scene, args))]
    disks, judged, started, wrong = sums
    if wrong:
        again = f"{sys.argv[0]} {args.build} --scenes {keep(lab, args)} --seed {args.seed} --scene NAME --cut NUMBER"
        print(f"One of them again: {again}")
    print(f"power cuts: {disks} different disks, {judged} judged, {started} started, {wrong} wrong (seed {args.seed})")
    if disks < args.least:
        print(f"There must be {args.least} different disks at least")
    return 1 if wrong or not judged or disks < args.least else 0


def main():
    args = parse()
    args.build = os.path.abspath(args.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a time limit still tidies up
    enter_private()
    folder = tempfile.mkdtemp(prefix="power-cuts.", dir="/var/tmp")
    syscalls.mount("tmpfs", folder, "tmpfs", syscalls.MS_NOSUID, "mode=0700")
    try:
        return run(args, folder)
    finally:
        subprocess.run(["umount", "-R", "-l", folder], check=True)
        os.rmdir(folder)


if __name__ == "__main__":
    sys.exit(main())
