#!/usr/bin/env python3
"""Whole updates over a network that fails, and by fetchers that die: the slot is complete, or the next one makes it so.

Needs root and loop devices.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from relay import Relay  # noqa: E402
from trees import Tree, noise, text  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

ORIGIN = os.path.join(os.path.dirname(__file__), "../support/http_origin.py")
LIMIT_S = 60
SEED = 1
PATIENCE = ("--retry-ms", "1", "--inactivity-ms", "1500")


def make(root):
    t = Tree(root)
    t.system()
    t.dir("/etc")
    t.file("/etc/hosts", text(9000, "hosts"))
    t.dir("/usr")
    t.file("/usr/large", noise(150_000, "large"))
    t.file("/usr/small", noise(900, "small"))
    t.done()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


@contextlib.contextmanager
def origin(lab, script=None, log="requests"):
    """Serves the images; its port."""
    p = subprocess.Popen([sys.executable, ORIGIN, "--root", lab.path("images"), "--script", json.dumps(script or {}),
                          "--log", lab.path(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield int(p.stdout.readline())
    finally:
        p.stdin.close()
        p.wait(timeout=10)


def the_slot_is_completed_whatever_was_cut_before():
    with UpdateLab(slot_mib=32) as lab, origin(lab) as behind:
        lab.build("v1", make)
        port, failed = free_port(), 0
        relay = Relay(("127.0.0.1", port), ("127.0.0.1", behind))
        try:
            lab.update("v1", url=f"http://127.0.0.1:{port}/v1")
            for n in random.Random(SEED).sample(range(relay.bytes_down), 6) + [3000, 100_000]:
                lab.wipe_slot()
                relay.end_each_after = n
                p = lab.driver("v1", *PATIENCE, url=f"http://127.0.0.1:{port}/v1")
                relay.end_each_after = None
                if p.returncode != 0:
                    failed += 1
                    last = p.stderr.strip().splitlines()[-1]
                    assert last[:4] in ("E100", "E101") and "Cannot fetch" in last, f"{n}: {last}"
                    assert lab.status("a") == "FAILURE" and lab.status("b") != "UPDATING", f"{n}: {lab.status('b')}"
                    lab.update("v1")
                lab.check("v1")
        finally:
            relay.stop()
        assert 2 <= failed <= 7, failed


def fetchers(pid):
    """The programs that were started by any thread of it."""
    found, programs = set(), set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError), \
                open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            found |= {int(child) for child in f.read().split()}
    for child in found:
        with contextlib.suppress(FileNotFoundError):
            if os.path.basename(os.readlink(f"/proc/{child}/exe")) == "otaclient-fetcher":
                programs.add(child)
    return programs


def wait_for(what, condition):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} takes longer than {LIMIT_S} s"
        time.sleep(0.02)


def kill_fetchers_twice(lab, url):
    """What the driver says on its way."""
    driver = subprocess.Popen(
        [os.environ["UPDATE_DRIVER"], "--threaded", "--url", url, "--certs", lab.path("certs"), "--device",
         lab.device, "--active", lab.active, "--work", lab.path("run")], stderr=subprocess.PIPE, text=True)

    def asked():
        with open(lab.path("requests"), encoding="utf-8") as f:
            return f.read().count('"path": "/v1/data/usr/large"')

    try:
        for times in (1, 2):
            wait_for("the request", lambda: asked() == times)
            for pid in fetchers(driver.pid):
                os.kill(pid, signal.SIGKILL)
        wait_for("the failure", lambda: lab.status("a") == "FAILURE")
        wait_for("the end of the fetchers", lambda: not fetchers(driver.pid))
        assert driver.poll() is None
    finally:
        driver.terminate()
        said = driver.communicate(timeout=LIMIT_S)[1]
    return said


def an_update_ends_with_a_sentence_when_its_fetchers_die_twice_and_the_next_one_completes():
    """As the daemon does it, in a thread: that stays."""
    with UpdateLab(slot_mib=32) as lab:
        lab.build("v1", make)
        with origin(lab, {"/v1/data/usr/large": [{"file": "v1/data/usr/large", "stall_after": 5000}]}) as port:
            said = kill_fetchers_twice(lab, f"http://127.0.0.1:{port}/v1")
        assert "The program that fetches, otaclient-fetcher, has ended" in said, said
        assert lab.status("b") != "UPDATING"
        lab.update("v1")
        lab.check("v1")


if __name__ == "__main__":
    enter_private_mounts()
    run([the_slot_is_completed_whatever_was_cut_before,
         an_update_ends_with_a_sentence_when_its_fetchers_die_twice_and_the_next_one_completes])
