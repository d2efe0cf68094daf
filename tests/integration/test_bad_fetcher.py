#!/usr/bin/python3
"""
The process that downloads is not to be trusted, and may be gone at any time: whatever it does, the update ends with a
sentence or completes, and the daemon's side stays.

The real one is stopped and killed; then tests/support/bad-fetcher takes its place. No root; loopback only.

    test_bad_fetcher.py [TEST…]
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
import unittest

sys.dont_write_bytecode = True
SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support")
sys.path.insert(0, SUPPORT)
import at_once  # noqa: E402
from fetch_lab import FetchLab, noise  # noqa: E402

LIMIT_S = 60
NAME = "The program that fetches, otaclient-fetcher, "
WRONG = "What the fetcher has written is not what it has told of"


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        found = {int(child) for child in f.read().split()}
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{task}/children") as f:
            found |= {int(child) for child in f.read().split()}
    return found


class RealOne(unittest.TestCase):
    """One large file, which comes so slowly that there is time to do something to whoever fetches it."""

    @classmethod
    def setUpClass(cls):
        cls.lab = FetchLab({"usr/large": noise(300_000, "large")}).__enter__()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.path = "data/usr/large"
        cls.slow = {"file": f"img/{cls.path}", "etag": '"1"', "ranges": True, "piece": 3000, "piece_delay_ms": 20}
        cls.stuck = {**cls.slow, "stall_after": 9000}

    def begin(self, *answers, inactivity_ms=30_000):
        self.origin = self.lab.origin({self.path: list(answers)})
        self.addCleanup(self.origin.__exit__)
        self.driver = self.lab.driver("--retry-ms", "1", "--threads", "1", "--inactivity-ms", str(inactivity_ms),
                                      limit_s=LIMIT_S)
        self.addCleanup(self.driver.__exit__)
        self.driver.begin(self.origin.url)

    def wait(self, what, condition):
        end = time.monotonic() + LIMIT_S
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.01)

    def fetchers(self):
        return children(self.driver.process.pid)

    def asked(self):
        """How often the file was asked for."""
        return sum(self.path in r["path"] for r in self.origin.requests())

    def in_the_middle(self, times=1):
        self.wait("the file is asked for", lambda: self.asked() == times)
        self.wait("bytes come", lambda: any(os.path.getsize(os.path.join(top, name)) > 0 for top, _, names in
                                            os.walk(self.driver.store) for name in names))

    def send(self, signum):
        for pid in self.fetchers():
            os.kill(pid, signum)

    def test_one_that_is_killed_is_replaced(self):
        for signum in (signal.SIGKILL, signal.SIGSYS):
            with self.subTest(signum):
                self.begin(self.slow)
                self.in_the_middle()
                self.send(signum)
                outcome = self.driver.end()
                self.assertTrue(outcome.ok, outcome)
                self.assertEqual(self.asked(), 2)

    def test_a_second_one_that_is_killed_is_the_end(self):
        for signum, words in ((signal.SIGKILL, "has ended"), (signal.SIGSYS, f"was ended by signal {signal.SIGSYS:d}")):
            with self.subTest(signum):
                self.begin(self.stuck)
                self.in_the_middle()
                self.send(signum)
                self.in_the_middle(2)
                self.send(signum)
                outcome = self.driver.end()
                self.assertEqual(outcome.sentence, NAME + words)
                self.assertEqual(outcome.stored, set())
                self.assertEqual(self.fetchers(), set())

    def test_one_that_is_stopped_for_a_while_goes_on(self):
        self.begin(self.slow)
        self.in_the_middle()
        self.send(signal.SIGSTOP)
        with self.assertRaises(AssertionError):
            self.driver_ends_within(1)
        self.send(signal.SIGCONT)
        outcome = self.driver.end()
        self.assertTrue(outcome.ok, outcome)
        self.assertEqual(self.asked(), 1)

    def driver_ends_within(self, seconds):
        self.assertTrue(select.select([self.driver.process.stdout], [], [], seconds)[0])

    def test_one_that_stays_stopped_is_not_waited_for_longer_than_a_silent_server(self):
        self.begin(self.slow, inactivity_ms=2000)
        self.in_the_middle()
        self.send(signal.SIGSTOP)
        outcome = self.driver.end()
        self.assertEqual((outcome.code, outcome.sentence), ("E100", "No byte came for 2 s: The server sends nothing"))
        self.assertEqual(outcome.stored, set())
        self.assertEqual(self.fetchers(), set())


class Liar(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = FetchLab().__enter__()
        cls.addClassCleanup(cls.lab.__exit__)
        shutil.copy(os.environ["FETCH_DRIVER"], cls.lab.path("driver"))
        shutil.copy(os.path.join(SUPPORT, "bad-fetcher"), cls.lab.path("otaclient-fetcher"))

    def fetch(self, how, times=2, mark="mark", inactivity_ms=20_000):
        env = {"BAD_FETCHER_IMAGE": self.lab.path("www", "img"), "BAD_FETCHER_HOW": how,
               "BAD_FETCHER_MARK": self.lab.path(mark)}
        with self.lab.driver("--inactivity-ms", str(inactivity_ms), "--threads", "1", program=self.lab.path("driver"),
                             limit_s=LIMIT_S, env=env) as driver:
            outcomes, n_open = [], set()
            for _ in range(times):  # it stays, and can be asked again
                outcomes.append(driver.fetch("http://127.0.0.1:9/img"))
                n_open.add(len(os.listdir(f"/proc/{driver.process.pid}/fd")))
            self.assertEqual(len(n_open), 1, n_open)
            self.assertEqual(children(driver.process.pid), set())
        return outcomes

    def refused(self, how, words, code=None, **more):
        for outcome in self.fetch(how, **more):
            self.assertFalse(outcome.ok, how)
            self.assertIn(words, outcome.sentence, how)
            if code:
                self.assertEqual(outcome.code, code, outcome)

    def survived(self, how, **more):
        for outcome in self.fetch(how, **more):
            self.assertTrue(outcome.ok, f"{how}: {outcome}")

    def test_an_honest_one_is_believed(self):
        self.survived("honest")

    def test_one_that_does_not_get_ready(self):
        self.refused("start_never_ready", NAME + "does not get ready within 30 s", times=1)
        self.refused("start_ends", NAME + "has ended")
        self.refused("start_cannot_be_ready", "No rights?at all")
        self.refused("start_says_something_else", NAME + "has ended")

    def test_bytes_that_are_not_the_contents(self):
        for how in ("brings_nothing", "brings_other_bytes", "brings_more", "brings_holes_without_end"):
            self.refused(how, WRONG, "E203")

    def test_a_file_that_it_could_change_behind_our_back(self):
        self.refused("keeps_the_file", "Cannot look at its file: Device or resource busy")

    def test_what_was_not_agreed(self):
        for how in ("says_it_twice", "says_it_of_another", "is_no_packet", "promises_text", "sends_descriptors",
                    "wants_a_local_socket", "wants_a_name_without_end"):
            self.refused(how, NAME + "does not keep to what was agreed")

    def test_what_is_too_much_but_harmless(self):
        for how in ("sends_one_descriptor_each", "wants_many_sockets_and_hears_no_answer", "talks_without_end"):
            self.survived(how)

    def test_one_that_ends(self):
        self.refused("dies", NAME + "has ended")
        for mark in ("first", "second"):
            self.survived("dies_once", mark=mark)

    def test_one_that_says_nothing_any_more(self):
        for how in ("stops", "is_silent", "drips"):
            self.refused(how, "No byte came for 2 s: The server sends nothing", "E100", inactivity_ms=2000)


if __name__ == "__main__":
    at_once.main()
