#!/usr/bin/python3
"""
Servers and networks that misbehave in every way but a plain cut (test_network_cuts.py): whatever they do, the fetch of
an image ends in time, complete or with the code and the sentence of what went wrong, and nothing half there. Straight,
over TLS, over HTTP/2, through a parent's proxy and over a link that is up and down.

    test_network_faults.py [TEST…]

No root; loopback only.
"""

import concurrent.futures
import contextlib
import gzip
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support")
sys.path.insert(0, SUPPORT)
import at_once  # noqa: E402
from fetch_lab import IMAGE, FetchLab, noise  # noqa: E402
from relay import Relay  # noqa: E402

LIMIT_S = 100
STALL_MS, INACTIVITY_S = 1000, 14  # eight tries are over before, on a busy machine too
PATIENCE = ("--retry-ms", "1", "--stall-ms", str(STALL_MS), "--inactivity-ms", str(INACTIVITY_S * 1000))
SILENT = f"No byte came for {INACTIVITY_S} s: "
JWT, LIST, LARGE = "metadata.jwt", "regulars.txt", "data/usr/large"
NETWORK = {JWT: "E101", LIST: "E101", LARGE: "E100"}  # the same cause has its own code for metadata


def answer_for(path, answer):
    """@answer, with the right file where it brings no body of its own."""
    if {"body", "size", "file"} & answer.keys():
        return answer
    return {"file": f"{IMAGE}/{path}", "etag": '"1"', "ranges": True, **answer}


def free_port():
    """One that nobody is given who asks for any: the tests beside this one start servers all the time."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", random.randrange(10_000, 30_000))) as s:
            return s.getsockname()[1]


class Lab(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = FetchLab({"etc/plain": b"plain\n", "etc/empty": b"", "etc/hosts": b"localhost\n" * 900,
                            "usr/large": noise(200_000, "large")}).__enter__()
        cls.addClassCleanup(cls.lab.__exit__)

    def fetch(self, url, *options):
        with self.lab.driver(*PATIENCE, *options, limit_s=LIMIT_S) as driver:
            return driver.fetch(url)

    def at_once(self, one, them):
        """one() with each of @them, since most of it is waiting."""
        with concurrent.futures.ThreadPoolExecutor(len(them)) as threads:
            for it, future in [(it, threads.submit(one, it)) for it in them]:
                with self.subTest(it):
                    future.result()

    def completes(self, url, *options):
        outcome = self.fetch(url, *options)
        self.assertTrue(outcome.ok, outcome)

    def fails(self, url, code, words, *options):
        outcome = self.fetch(url, *options)
        self.assertEqual(outcome.code, code, outcome)
        self.assertIn(words, outcome.sentence)
        return outcome


class Server(Lab):
    """One answer that never becomes better, for the signed part, a list and a content."""

    def never_better(self, answer, words, codes=NETWORK):
        """@answer: or a function of the path. @words, @codes: for all, or by path."""
        def one(path):
            made = answer(path) if callable(answer) else answer
            with self.lab.origin({path: [answer_for(path, made)]}) as origin:
                self.fails(origin.url, codes if isinstance(codes, str) else codes[path],
                           words if isinstance(words, str) else words[path])
        self.at_once(one, (JWT, LIST, LARGE))

    def test_stalls(self):
        self.never_better({"stall_after": 0, "stall_ms": 20_000}, {
            JWT: "byte came for too long", LIST: SILENT + "Cannot fetch http",
            LARGE: SILENT + "Cannot fetch http"})
        self.never_better({"stall_after": 30, "stall_ms": 20_000}, "byte came for too long")

    def test_feeds_byte_by_byte(self):
        self.never_better({"piece": 1, "piece_delay_ms": 50}, "hardly a byte came for too long")
        self.never_better({"slow_fields_ms": 50}, {
            JWT: "hardly a byte came for too long", LIST: SILENT, LARGE: SILENT})

    def test_sends_something_else(self):
        self.never_better({"size": 300}, {
            JWT: "metadata.jwt is invalid", LIST: "is not the one that the image's metadata.jwt names",
            LARGE: "What the server sends is not the content"}, "E203")

    def test_promises_more_than_it_sends(self):
        self.never_better(lambda path: {"content_length": self.size(path) + 10, "ranges": False},
                          "bytes remaining to read")

    def size(self, path):
        return os.path.getsize(self.lab.image_file(path))

    def test_sends_more_than_it_promises(self):
        """What is too much may meet the next request on that connection. It must not be what ends the fetch."""
        longer = {"content_length": 100, "ranges": False}
        right = {p: answer_for(p, {}) for p in (LIST, LARGE)}
        with self.lab.origin({p: [answer_for(p, longer), right[p], right[p]] for p in right}) as origin:
            self.completes(origin.url)
        with self.lab.origin({JWT: [answer_for(JWT, longer)]}) as origin:
            self.fails(origin.url, "E203", "metadata.jwt is invalid")
        for path in right:
            with self.lab.origin({path: [answer_for(path, longer)]}) as origin:
                outcome = self.fetch(origin.url)
                self.assertIn(outcome.code, ("E203", NETWORK[path]), outcome)

    def test_has_no_end(self):
        for path, words in ((JWT, "more than the"), (LARGE, "it is longer")):
            with self.subTest(path), self.lab.origin({path: [{"endless": True}]}) as origin:
                self.fails(origin.url, "E203", words)

    def test_has_no_end_of_fields(self):
        self.never_better({"endless_fields": "header"}, "more than 65536 bytes of header and trailer fields")
        self.never_better({"endless_fields": "line"}, "a line of its header or trailer is too long")

    def test_unpacks_without_end(self):
        with open(self.lab.image_file("bomb.gz"), "wb") as f:
            f.write(gzip.compress(bytes(50 << 20)))
        self.never_better({"file": f"{IMAGE}/bomb.gz", "headers": {"Content-Encoding": "gzip"}}, {
            JWT: "more than the", LIST: "is not the one", LARGE: "it is longer"}, "E203")

    def test_redirects_in_a_circle(self):
        for path in (JWT, LIST, LARGE):
            with self.subTest(path), self.lab.origin({path: [{"redirect": path.split("/")[-1]}]}) as origin:
                self.fails(origin.url, NETWORK[path], "the server redirects too often")
                self.assertEqual(sum(r["path"].endswith(path) for r in origin.requests()), 6)

    def test_redirects_to_what_is_no_server(self):
        for to in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:text/plain,x"):
            self.never_better({"redirect": to}, "the server redirects to what is neither http nor https")

    def test_redirects_to_another_host_which_sees_no_cookies(self):
        """Also to one of a private network: what comes from there counts by its digest alone."""
        with self.lab.origin(options=("--bind", "127.0.0.2")) as other:
            to = f"http://127.0.0.2:{other.port}/{IMAGE}/"
            with self.lab.origin({p: [{"redirect": to + p}] for p in (JWT, LIST, LARGE)}) as origin:
                self.completes(origin.url, "--cookies", "secret=1")
                self.assertEqual({r["headers"].get("cookie") for r in origin.requests()}, {"secret=1"})
            seen = other.requests()
            self.assertEqual({r["path"] for r in seen}, {f"/{IMAGE}/{p}" for p in (JWT, LIST, LARGE)})
            self.assertEqual({r["headers"].get("cookie") for r in seen}, {None})

    def test_is_a_bad_one_of_two(self):
        """Each answer is bad once, in another way: the image is complete in the end."""
        bad = ({"status": 503}, {"hang_up": True}, {"size": 10}, {"size": 9, "stall_after": 0, "stall_ms": 2000},
               {"size": 9, "cut_header": 30})
        script = {p: [*bad, {"file": f"{IMAGE}/{p}", "etag": '"1"', "ranges": True}] for p in (LIST, LARGE)}
        with self.lab.origin(script) as origin:
            self.completes(origin.url)


class Tls(Lab):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.make_tls()
        cls.lab.make_tls("other")

    def ca(self, name="tls"):
        return "--tls-ca", self.lab.path(name + ".pem")

    def test_a_right_one_is_believed(self):
        with self.lab.origin(tls="tls") as origin:
            self.completes(origin.url, *self.ca())

    def refused(self, made, ca, words):
        with self.lab.origin(tls=made) as origin:
            outcome = self.fails(origin.url, "E101", words, *self.ca(ca))
            self.assertLess(outcome.seconds, 30)
            self.assertEqual(origin.requests(), [])

    def test_a_certificate_of_another_name(self):
        self.lab.make_tls("name", subject_alt="DNS:ota.example.com")
        self.refused("name", "name", "no alternative certificate subject name matches target host name '127.0.0.1'")

    def test_a_certificate_that_has_expired(self):
        self.lab.make_tls("old", days=-1)
        self.refused("old", "old", "certificate has expired")

    def test_a_certificate_of_an_unknown_authority(self):
        self.refused("other", "tls", "SSL certificate problem: self-signed certificate")

    def test_a_protocol_that_is_too_old(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.lab.path("tls.pem"), self.lab.path("tls.key"))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        with Listener(lambda sock: context.wrap_socket(sock, server_side=True).recv(1)) as server:
            self.fails(f"https://127.0.0.1:{server.port}/{IMAGE}", "E101", "alert protocol version", *self.ca())
            self.assertEqual(server.n_served, 0)  # no handshake was completed

    def test_something_that_is_no_tls(self):
        for reply in (b"HTTP/1.1 400 No\r\n\r\n", b"\x16\x03\x03\xff\xff" + bytes(70000),
                      b"\x15\x03\x03\x00\x02\x02\x28", b""):
            with self.subTest(reply[:10]), Listener(lambda sock, r=reply: (sock.recv(600), sock.sendall(r))) as server:
                outcome = self.fails(f"https://127.0.0.1:{server.port}/{IMAGE}", "E101", "/metadata.jwt: ", *self.ca())
                self.assertLess(outcome.seconds, 30)

    def test_a_handshake_that_never_ends(self):
        with Listener(lambda sock: [sock.recv(600), sock.recv(1)]) as server:
            self.fails(f"https://127.0.0.1:{server.port}/{IMAGE}", "E101", "no byte came for too long", *self.ca())

    def test_a_redirect_to_plain_http(self):
        with self.lab.origin() as plain, \
                self.lab.origin({LARGE: [{"redirect": f"{plain.url}/{LARGE}"}]}, tls="tls") as origin:
            self.fails(origin.url, "E100", "the server redirects from https to http", *self.ca())
            self.assertEqual(plain.requests(), [])


class Listener:
    """@talk(socket) with each who connects."""

    def __init__(self, talk):
        self.talk, self.n_served = talk, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with sock:
            try:
                self.talk(sock)
                self.n_served += 1
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Http2(Lab):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.make_tls()

    def start(self, script, *options):
        script = {f"/{IMAGE}/{p}": a for p, a in script.items()}
        log = tempfile.mktemp(dir=self.lab.work)
        process = subprocess.Popen(
            [sys.executable, os.path.join(SUPPORT, "h2_origin.py"), "--root", self.lab.path("www"), "--cert",
             self.lab.path("tls.pem"), "--key", self.lab.path("tls.key"), "--script", json.dumps(script), "--log", log,
             *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(lambda: (process.stdin.close(), process.wait(10), process.stdout.close()))
        self.url = f"https://127.0.0.1:{int(process.stdout.readline())}/{IMAGE}"

        def requests(path):
            with open(log, encoding="utf-8") as f:
                return [r["headers"] for r in map(json.loads, f) if r["path"] == f"/{IMAGE}/{path}"]
        self.requests = requests
        return self.url

    def completes(self, *options):
        super().completes(self.url, "--tls-ca", self.lab.path("tls.pem"), *options)

    def never(self, answer, words=None, code=None):
        """@answer for good: the network is blamed, in time."""
        def one(path):
            url = self.start({path: [answer]})
            outcome = self.fetch(url, "--tls-ca", self.lab.path("tls.pem"))
            self.assertEqual(outcome.code, code or NETWORK[path], outcome)
            self.assertLess(outcome.seconds, 60)
            if words:
                self.assertIn(words, outcome.sentence)
        self.at_once(one, (JWT, LIST, LARGE))

    def test_a_right_one_is_used(self):
        self.start({})
        self.completes()
        self.assertEqual(self.requests(LARGE)[0][":scheme"], "https")

    def test_each_connection_ends_behind_a_few_requests(self):
        for n in (1, 2, 3):
            with self.subTest(n):
                self.start({}, "--requests", str(n))
                self.completes()

    def test_a_reset_is_tried_again(self):
        for code in (0x0, 0x1, 0x2, 0x7, 0x8, 0xb, 0xd):
            with self.subTest(code):
                self.start({p: [{"reset": code}, {"reset": code}, {}] for p in (JWT, LIST, LARGE)})
                self.completes()

    def test_a_reset_within_a_body_is_continued(self):
        for answer in ({"reset_after": 50_000}, {"goaway_after": 50_000}):
            with self.subTest(answer):
                self.start({LARGE: [answer, {}]})
                self.completes()
                whole, rest = (r.get("range") for r in self.requests(LARGE))
                self.assertIsNone(whole)
                self.assertGreater(int(rest[len("bytes="):-1]), 10_000)  # a reset throws some away

    def test_a_request_that_is_taken_back_is_asked_again(self):
        for answer in ({"goaway": "refuse"}, {"goaway": "error"}):
            with self.subTest(answer):
                self.start({p: [answer, {}] for p in (JWT, LIST, LARGE)})
                self.completes()

    def test_resets_without_end(self):
        for code in (0x1, 0x7, 0xb):
            self.never({"reset": code})
        self.never({"reset_after": 30})

    def test_refusals_without_end(self):
        self.never({"goaway": "refuse"})
        self.never({"goaway": "error"})

    def test_lengths_that_are_wrong(self):
        self.never({"short": True})
        self.never({"long": True})

    def test_stalls(self):
        self.never({"stall_after": 30}, "byte came for too long")

    def test_floods(self):
        for kind in ("ping", "settings", "window", "header", "push"):
            self.never({"flood": kind})

    def test_bytes_beyond_the_window(self):
        self.start({LARGE: [{"beyond_window": True}]})
        outcome = self.fetch(self.url, "--tls-ca", self.lab.path("tls.pem"))
        self.assertIn(outcome.code, ("E100", "E203"), outcome)


class Parent(Lab):
    """The proxy of the ECU above: not one byte of it is believed either."""

    PATHS = (LIST, LARGE)

    def through(self, script):
        origin = self.lab.origin(script)
        self.addCleanup(origin.__exit__)
        return origin, ("--proxy", f"http://127.0.0.1:{origin.port}")

    def lies(self, answer, words, codes=NETWORK):
        for path in self.PATHS:
            with self.subTest(path):
                _, proxy = self.through({path: [answer_for(path, answer)]})
                self.fails(f"http://ota.invalid/{IMAGE}", codes if isinstance(codes, str) else codes[path],
                           words if isinstance(words, str) else words[path], *proxy)

    def test_a_right_one_is_used(self):
        origin, proxy = self.through({})
        self.completes(f"http://ota.invalid/{IMAGE}", *proxy)
        self.assertIn("ota-file-cache-control", origin.requests()[-1]["headers"])

    def test_one_that_names_another_digest(self):
        self.lies({"headers": {"ota-file-cache-control": "file_sha256=" + "0" * 64}, "size": 10},
                  {LIST: "is not the one", LARGE: "the cache on the way says that it is another"}, "E203")

    def test_one_that_calls_plain_bytes_compressed(self):
        control = {"ota-file-cache-control": "file_compression_alg=zst"}
        _, proxy = self.through({LARGE: [{"file": f"{IMAGE}/{LARGE}", "headers": control}]})
        self.fails(f"http://ota.invalid/{IMAGE}", "E203", "it is no whole zstd frame", *proxy)

    def test_fields_that_make_no_sense(self):
        for value in ("file_sha256", "file_sha256=,,,=", ",", "=" * 100, "file_compression_alg", "x" * 5000,
                      "file_sha256=\xff\xfe"):
            with self.subTest(value[:20]):
                _, proxy = self.through({LARGE: [
                    {"file": f"{IMAGE}/{LARGE}", "headers": {"ota-file-cache-control": value}},
                    {"file": f"{IMAGE}/{LARGE}"}]})
                self.completes(f"http://ota.invalid/{IMAGE}", *proxy)

    def test_one_with_old_lists_is_asked_past_its_cache(self):
        origin, proxy = self.through({LIST: [{"body": "an old one\n"}, {"file": f"{IMAGE}/{LIST}"}]})
        self.completes(f"http://ota.invalid/{IMAGE}", *proxy)
        asked = [r["headers"]["ota-file-cache-control"] for r in origin.requests() if r["path"].endswith(LIST)]
        self.assertEqual([a.startswith("retry_caching,") for a in asked], [False, True])

    def test_one_that_says_what_it_likes(self):
        evil = "\x1b[2Jroot's password, please"
        self.lies({"status": 403, "body": evil, "headers": {"Content-Type": "text/plain"}},
                  "(status 403): ?[2Jroot's password, please", "E204")

    def test_one_that_has_everything(self):
        _, proxy = self.through({"*": [{"body": "<html>Please log in</html>"}]})
        self.fails(f"http://ota.invalid/{IMAGE}", "E203", "answers 200 for oci-layout", *proxy)

    def test_one_that_sends_elsewhere(self):
        """Its redirects go through it again, and what comes counts by its digest."""
        origin, proxy = self.through({LARGE: [{"redirect": f"https://evil.invalid/{IMAGE}/other"}],
                                      "other": [{"file": f"{IMAGE}/sign.pem"}]})
        self.fails(f"http://ota.invalid/{IMAGE}", "E203", "What the server sends is not the content", *proxy)
        self.assertTrue(any(r["target"].startswith("http://evil.invalid/") for r in origin.requests()))

    def test_one_that_is_gone_in_between(self):
        port = free_port()
        self.fails(f"http://ota.invalid/{IMAGE}", "E101", "Failed to connect to 127.0.0.1 port", "--proxy",
                   f"http://127.0.0.1:{port}")


class Flapping(Lab):
    PERIOD_S = 1.0

    def flap(self, relay, stop):
        while not stop.wait(self.PERIOD_S):
            relay.cut(self.PERIOD_S)
            relay.drop()
            stop.wait(self.PERIOD_S)

    def test_a_link_that_is_up_and_down_each_second(self):
        self.lab.make_tls()
        self.at_once(self.fetch_over_it, (None, "tls"))

    def fetch_over_it(self, tls):
        slow = {"file": f"{IMAGE}/{LARGE}", "etag": '"1"', "ranges": True, "piece": 1000, "piece_delay_ms": 15}
        with self.lab.origin({LARGE: [slow]}, tls=tls) as origin:
            port, stop = free_port(), threading.Event()
            relay = Relay(("127.0.0.1", port), ("127.0.0.1", origin.port))
            flapping = threading.Thread(target=self.flap, args=(relay, stop))
            flapping.start()
            try:
                with self.lab.driver("--retry-ms", "50", "--stall-ms", "5000", "--inactivity-ms", "10000",
                                     "--tls-ca", self.lab.path("tls.pem"), limit_s=LIMIT_S) as driver:
                    outcome = driver.fetch(f"{origin.scheme}://127.0.0.1:{port}/{IMAGE}")
            finally:
                stop.set()
                flapping.join()
                relay.stop()
            self.assertTrue(outcome.ok, outcome)
            asked = [r["headers"].get("range") for r in origin.requests() if r["path"].endswith(LARGE)]
            self.assertGreater(len(asked), 2)
            firsts = [int(a[len("bytes="):-1]) if a else 0 for a in asked]
            self.assertEqual(firsts, sorted(firsts))
            self.assertGreater(sum(first > 0 for first in firsts), 1, firsts)


if __name__ == "__main__":
    at_once.main()
