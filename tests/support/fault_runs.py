"""fault_runs: whole updates in which one thing fails, by a library that is loaded before all others, and how they end.

Each is judged as small_update says; and the next update, in which nothing fails, completes.
"""

import collections
import os
import sys

from small_update import check_v2, start_again


def asked_for_long():
    """Is it in the command line? Only the names of tests are left there."""
    is_long = "--long" in sys.argv
    sys.argv[1:] = [a for a in sys.argv[1:] if a != "--long"]
    return is_long


class Library:
    """That fails something, and the script in which it reads what, and counts. How it looks is the heir's business."""

    def __init__(self, lab, name, **env):
        """@name: of the variable that says where it is, and beginning of its own."""
        self.lab, self.script = lab, lab.path("script")
        self.env = {"LD_PRELOAD": os.environ[name], f"{name}_FILE": self.script, **env}
        if "ASAN_OPTIONS" in os.environ:
            self.env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":verify_asan_link_order=0"

    def update(self, script, **env):
        """One, with this script."""
        with open(self.script, "wb") as f:
            f.write(script)
        os.chmod(self.script, 0o666)
        return self.lab.driver("v2", env={**self.env, **env})

    def read_script(self, n_bytes=-1):
        with open(self.script, "rb") as f:
            return f.read(n_bytes)


def reach(lab, library, how):
    """How an update ends in which library.run(*how) has let something fail; None: it does not come there."""
    for _ in range(3):  # threads share the work, so the way to it may be another's this time
        start_again(lab)
        p = library.run(*how)
        if library.n_failed() > 0:
            return p
    return None


def run_each(lab, library, cases, end_of, next_update_each, may_miss):
    """
    cases: [(description, arguments of library.run)]. Counts what end_of(description, p) says; what it raises is wrong.
    The next update takes as long as the one that is judged, so only every so often it is tried. @may_miss: this share
    of the cases need not come to what is to fail.
    """
    ends, failed = collections.Counter(), []
    for i, (what, how) in enumerate(cases):
        try:
            p = reach(lab, library, how)
            if not p:
                ends["not reached"] += 1
                continue
            ends[end_of(what, p)] += 1
            if i % next_update_each == 0:
                lab.update("v2")
                check_v2(lab)
        except Exception as e:
            failed.append(f"{what}: {e}")
            print(f"  WRONG {failed[-1]}", flush=True)
    print("  " + ", ".join(f"{n} {end}" for end, n in ends.items()), flush=True)
    assert not failed, f"{len(failed)} of {len(cases)}"
    assert ends["not reached"] <= len(cases) * may_miss, ends
    return ends
