#!/usr/bin/python3
"""
A small image is fetched over a connection that ends behind the Nth byte from the server: the first time that so many
have come, or each connection of the fetch. In the first case the image is complete in the end, and what was cut is
continued where it stopped; in the second it is complete or the network is blamed. Never is anything half there.

    test_network_cuts.py [--all | --seed N]

A seeded share of all N by default. Loopback only.
"""

import argparse
import concurrent.futures
import os
import random
import re
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from fetch_lab import FetchLab  # noqa: E402
from relay import Relay  # noqa: E402

SHARE = 60  # of each kind
LIMIT_S = 60
PATIENCE = ("--retry-ms", "1", "--stall-ms", "5000", "--threads", "1", "--connections", "1")
# So long the watchdog waits for what does not count as a try. Who is cut once never needs it, however slow the machine.
INACTIVITY_MS = {"cut_once": "10000", "cut_each": "1000"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Line:
    """An origin, a relay before it and a driver: the cuts of one line come one after the other."""

    def __init__(self, lab, scheme, kind):
        self.scheme = scheme
        self.origin = lab.origin(tls="tls" if scheme == "https" else None)
        port = free_port()
        self.relay = Relay(("127.0.0.1", port), ("127.0.0.1", self.origin.port))
        self.url = f"{scheme}://127.0.0.1:{port}/img"
        self.driver = lab.driver(*PATIENCE, "--inactivity-ms", INACTIVITY_MS[kind], "--tls-ca", lab.path("tls.pem"),
                                 limit_s=LIMIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.driver.__exit__(*exc)
        self.relay.stop()
        self.origin.__exit__(*exc)

    def length(self):
        """Of the whole conversation, in bytes from the server."""
        before = self.relay.bytes_down
        outcome = self.driver.fetch(self.url)
        assert outcome.ok, outcome
        return self.relay.bytes_down - before

    def cut_once(self, n):
        self.origin.forget_requests()
        self.relay.end_once_after(n)
        outcome = self.driver.fetch(self.url)
        assert outcome.ok, f"cut once after {n} bytes: {outcome}"
        if self.scheme == "http":
            self.check_range(n)
        return outcome

    def check_range(self, n):
        """What came of a body before the cut does not come again."""
        head, _, body = self.relay.ended.rpartition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)(?:\r\n|$)", head[head.rfind(b"HTTP/1.1 "):])
        if not length or not 0 < len(body) < int(length[1]) or b"HTTP/1.1 404" in head[head.rfind(b"HTTP/1.1 "):]:
            return
        ranges = [r["headers"]["range"] for r in self.origin.requests() if "range" in r["headers"]]
        assert ranges == [f"bytes={len(body)}-"], f"cut once after {n} bytes, {len(body)} of a body: {ranges}"

    def cut_each(self, n):
        self.relay.end_each_after = n
        try:
            outcome = self.driver.fetch(self.url)
        finally:
            self.relay.end_each_after = None
        assert outcome.ok or outcome.code in ("E100", "E101"), f"each cut after {n} bytes: {outcome}"
        assert outcome.ok or "Cannot fetch" in outcome.sentence, f"each cut after {n} bytes: {outcome}"
        return outcome


def run_line(lab, scheme, kind, chosen):
    """@chosen(length): which N. Returns how many of them, how many were completed, and the slowest."""
    with Line(lab, scheme, kind) as line:
        length = line.length()
        outcomes = [getattr(line, kind)(n) for n in chosen(length)]
        return length, len(outcomes), sum(o.ok for o in outcomes), max(o.seconds for o in outcomes)


def share(kind, seed):
    def chosen(length):
        return sorted(random.Random(f"{seed} {kind}").sample(range(length), min(SHARE, length)))
    return chosen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", default="1")
    args = parser.parse_args()
    lines = [(scheme, kind) for kind in ("cut_once", "cut_each") for scheme in ("http", "https")]
    began = time.monotonic()
    with FetchLab() as lab, concurrent.futures.ThreadPoolExecutor(2) as threads:
        lab.make_tls()
        futures = {(s, k): threads.submit(run_line, lab, s, k, range if args.all else share(s + k, args.seed))
                   for s, k in lines}
        for (scheme, kind), future in futures.items():
            length, n, n_ok, slowest = future.result()
            print(f"{scheme}, {kind}: {n} of {length} places, {n_ok} complete, slowest {slowest:.1f} s", flush=True)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
