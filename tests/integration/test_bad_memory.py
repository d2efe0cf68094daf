#!/usr/bin/env python3
"""Memory that ends under one whole update: one allocation fails, or all from there on, in the daemon's part or in the fetcher.

Each time the update is refused with a sentence and the slot is not booted, or the slot is the image; and the next update,
with memory, completes. Nothing crashes, is aborted by a library, or hangs.

    test_bad_memory.py [--long] [TEST…]     by default some of the places that allocate; with --long each way to an allocation,
                                            the first time and the last
"""

import collections
import os
import random
import re
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from fault_runs import Library, asked_for_long, run_each  # noqa: E402
from small_update import judge, lab_before_the_update, start_again  # noqa: E402
from update_lab import enter_private_mounts, run  # noqa: E402

DAEMON, FETCHER = "update_driver", "otaclient-fetcher"
HEAD, WAY, WAYS_MAX = struct.Struct("32s3I2I"), struct.Struct("3I"), 8192
NEXT_UPDATE_EACH = 4

# What a sentence says of memory that has ended. Of a fetcher that died of it, no more is known.
SAYS_SO = re.compile(r"[Nn]o memory for |Cannot allocate memory|memory is short|[Oo]ut of memory|The program that fetches, otaclient-fetcher, ")


class BadMemory(Library):
    """The library that fails allocations of one program, and its script."""

    def __init__(self, lab, program):
        super().__init__(lab, "BAD_MEMORY")
        self.program = program
        if "ASAN_OPTIONS" in os.environ:
            # What libcrypto drops where its own start fails is not ours to free.
            with open(lab.path("leaks"), "w") as f:
                f.write("leak:libcrypto.so\n")
            self.env["LSAN_OPTIONS"] = f"print_suppressions=0:suppressions={f.name}"

    def run(self, way=0, at=0, onwards=False):
        return self.update(HEAD.pack(self.program.encode(), way, at, onwards, 0, 0) + bytes(WAY.size * WAYS_MAX))

    def n_failed(self):
        return HEAD.unpack(self.read_script(HEAD.size))[4]

    def ways(self):
        """[(way, place, how often)] of one whole update."""
        p = self.run()
        assert p.returncode == 0, p.stderr
        return sorted(w for w in WAY.iter_unpack(self.read_script()[HEAD.size:]) if w[0])


def some_of(ways, share):
    """One way of each of some places, and one of its times."""
    r = random.Random(1)
    places = collections.defaultdict(list)
    for way in ways:
        places[way[1]].append(way)
    picked = r.sample(sorted(places), share)
    return [(way, r.choice((1, n)), onwards) for place in picked
            for way, _, n in [r.choice(places[place])] for onwards in (False, True)]


def all_of(ways):
    """That there is none from the first time on says it for all later ones of the same way."""
    return [case for way, _, n in ways for case in ((way, 1, False), *([(way, n, False)] if n > 1 else []), (way, 1, True))]


def says_so(last):
    return SAYS_SO.search(last)


def description(way, at, onwards):
    return f"allocation {at} on the way {way}" + (" and all behind it" if onwards else "")


def memory_ends(program, share, n_places_least):
    sentences = collections.Counter()

    def end_of(what, p):
        end = judge(lab, p, what, never=("E000",))
        last = p.stderr.strip().splitlines()[-1] if p.returncode else ""
        sentences[re.sub(r"/\S+", "…", last)] += 1
        assert end == "equal" or says_so(last), last
        return "all behind it: " * what.endswith("behind it") + end

    with lab_before_the_update() as lab:
        memory = BadMemory(lab, program)
        start_again(lab)
        ways = memory.ways()
        n_places = len({place for _, place, _ in ways})
        print(f"  {sum(n for *_, n in ways)} allocations in {n_places} places on {len(ways)} ways", flush=True)
        assert n_places >= n_places_least, n_places
        cases = all_of(ways) if LONG else some_of(ways, share)
        try:
            ends = run_each(lab, memory, [(description(*case), case) for case in cases], end_of, NEXT_UPDATE_EACH, 1 / 10)
        finally:
            if LONG:
                print("".join(f"  {n} {sentence}\n" for sentence, n in sentences.most_common()), flush=True)
        assert ends["equal"] and ends["refused"] and ends["all behind it: refused"], ends


def memory_of_the_daemon_ends():
    memory_ends(DAEMON, 30, 120)


def memory_of_the_fetcher_ends():
    memory_ends(FETCHER, 12, 30)


if __name__ == "__main__":
    enter_private_mounts()
    LONG = asked_for_long()
    run([
        memory_of_the_daemon_ends,
        memory_of_the_fetcher_ends,
    ])
