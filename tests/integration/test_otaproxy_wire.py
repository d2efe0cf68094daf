"""The caching proxy as its clients and origins see it: raw sockets on both sides of the real program, byte for byte.

    python3 test_otaproxy_wire.py OTAPROXY

Needs the loopback with 127.0.0.2 on it, and 2100 open files.
"""

import contextlib
import glob
import hashlib
import os
import re
import resource
import signal
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

OTAPROXY = sys.argv[1]
PATIENCE_S = 20  # for whatever must happen
PATTERN = bytes(i % 251 for i in range(251)) * (8 * 2**20 // 251 + 1)


def pattern(size):
    return PATTERN[:size]


def answer(status=200, body=b"", *fields):
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Origin:
    """Records what reaches it, and answers by path: with bytes, or by a function of connection and head."""

    def __init__(self):
        self.answers = {}
        self.requests = []  # heads, as they came; whatever else came after one would be the next
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.name = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        data = b""
        with contextlib.suppress(OSError), connection:
            while True:
                while b"\r\n\r\n" not in data:
                    if data[:1] == b"\x16":  # TLS, of which the beginning is enough
                        self.note(data)
                        return
                    more = connection.recv(65536)
                    if not more:
                        if data:
                            self.note(data)
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                self.note(head + b"\r\n\r\n")
                method, target = head.split(b" ")[:2]
                reply = self.answers.get(target.decode(), answer(200, target))
                if callable(reply):
                    reply(connection, head)
                else:
                    connection.sendall(reply.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == b"HEAD" else reply)

    def note(self, data):
        with self.changed:
            self.requests.append(data)
            self.changed.notify_all()

    def wait_for(self, n):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= n, PATIENCE_S), self.requests

    def targets(self):
        return [r.split(b" ")[1] for r in self.requests]

    def close(self):
        self.listener.close()


class Relay:
    """Another name for a server: every connection is passed on to it."""

    def __init__(self, port):
        self.port = port
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.n = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += near, far
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=[a, b], daemon=True).start()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        for s in (self.listener, *self.sockets):
            s.close()


class Proxy:
    """The program, which must end in good order."""

    def __init__(self, folder, *args):
        self.process = subprocess.Popen(
            [OTAPROXY, "--listen", "127.0.0.1", "--port", "0", "--cache-dir", folder, *args],
            stderr=subprocess.PIPE, text=True)
        self.log = []
        self.port = None
        for line in self.process.stderr:
            self.log.append(line)
            if match := re.search(r"serves on \S+:(\d+)", line):
                self.port = int(match.group(1))
                break
        assert self.port, self.log
        self.name = f"127.0.0.1:{self.port}"
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        assert status == 0, f"status {status}: {self.log[-20:]}"


class Answer:
    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0]).group(1))
        self.fields = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in self.fields, f"{name} is there twice"
            self.fields[name.lower()] = value
        self.body = b""


class Client:
    """One connection."""

    def __init__(self, port, source=None):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S, source)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces):
        for piece in pieces:
            # What the server no longer wants to see, it need not have seen.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.socket.sendall(piece)

    def more(self):
        """False: there is an end."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.data += data
        return bool(data)

    def until(self, mark):
        while mark not in self.data:
            assert self.more(), f"the connection ended after {self.data[:300]}"
        part, self.data = self.data.split(mark, 1)
        return part

    def take(self, n):
        pieces, have = [self.data], len(self.data)
        while have < n:
            data = self.socket.recv(min(1 << 20, n - have))
            assert data, f"the connection ended after {have} of {n} bytes"
            pieces.append(data)
            have += len(data)
        data = b"".join(pieces)
        self.data = data[n:]
        return data[:n]

    def head(self):
        return Answer(self.until(b"\r\n\r\n"))

    def answer(self, is_head=False):
        a = self.head()
        if is_head:
            return a
        if a.fields.get("transfer-encoding") == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                a.body += self.take(size)
                self.until(b"\r\n")
            self.until(b"\r\n")
        else:
            a.body = self.take(int(a.fields["content-length"]))
        return a

    def rest(self):
        """All that still comes until the connection ends."""
        while self.more():
            pass
        data, self.data = self.data, b""
        return data


def request(host, path="/x", *fields, method="GET"):
    lines = [f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Bench(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="otaproxy_wire_")
        self.addCleanup(self.folder.cleanup)
        self.origin = Origin()
        self.addCleanup(self.origin.close)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def start(self, *args):
        proxy = Proxy(self.path("cache"), *args)
        self.addCleanup(proxy.stop)
        return proxy

    def ask(self, proxy, path="/x", *fields, method="GET", host=None):
        with Client(proxy.port) as c:
            c.send(request(host or self.origin.name, path, *fields, method=method))
            return c.answer(method == "HEAD")

    def wait_for_entry(self, body):
        """Clients have a body before it is an entry."""
        end = time.monotonic() + 10
        while not glob.glob(f"{self.path('cache')}/v1/*-*/{hashlib.sha256(body).hexdigest()}"):
            self.assertLess(time.monotonic(), end, "the body does not become an entry")
            time.sleep(0.01)

    def keep(self, body, path="/x"):
        """The field that asks for @body, which the origin has at @path."""
        self.origin.answers[path] = answer(200, body)
        return f"ota-file-cache-control: file_sha256={hashlib.sha256(body).hexdigest()}"

    def gated(self, body, first, fields=()):
        """An answer that stops after @first bytes until the gate is opened."""
        gate = threading.Event()
        self.addCleanup(gate.set)

        def send(connection, _):
            data = answer(200, body, *fields)
            first_bytes = len(data) - len(body) + first
            connection.sendall(data[:first_bytes])
            gate.wait(PATIENCE_S)
            connection.sendall(data[first_bytes:])
        return gate, send


class Requests(Bench):
    def assert_answers(self, proxy, data, status, ends, sentence=None):
        with self.subTest(data=data[:120]), Client(proxy.port) as c:
            c.send(data)
            a = c.answer()
            self.assertEqual(a.status, status, a.body)
            if sentence:
                self.assertEqual(a.body.decode(), sentence + "\n")
            if ends:
                self.assertEqual(a.fields.get("connection"), "close")
                self.assertEqual(c.rest(), b"")
            else:
                c.send(request(self.origin.name, "/still-there"))
                self.assertEqual(c.answer().body, b"/still-there")

    def test_other_methods_end_the_connection(self):
        proxy, host = self.start(), self.origin.name
        sentence = "Only GET and HEAD are served here"
        self.assert_answers(proxy, f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 400, True, sentence)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X"):
            self.assert_answers(proxy, request(host, method=method), 400, True, sentence)
        body = request(host, "/x", "Content-Length: 5", method="POST") + b"hello"
        self.assert_answers(proxy, body, 400, True, sentence)
        self.assertEqual(self.origin.requests, [])

    def test_a_header_that_is_too_long_ends_the_connection(self):
        proxy, host = self.start(), self.origin.name
        lengths = [["X: " + "a" * 65536], ["X: " + "a" * 40000], [f"X-{i}: {'a' * 1000}" for i in range(60)]]
        for fields in lengths:
            self.assert_answers(proxy, request(host, "/x", *fields), 431, True)
        many = request(host, "/x", *(f"X-{i}: y" for i in range(200)))
        self.assert_answers(proxy, many, 431, True, "There are too many header fields")
        self.assert_answers(proxy, request(host, "/" + "a" * 16000), 414, True, "The URL is too long")
        self.assertEqual(self.origin.requests, [])

    def test_a_long_header_in_small_pieces_is_understood(self):
        proxy = self.start()
        fields = [f"X-{i}: {'a' * 280}" for i in range(100)]
        data = request(self.origin.name, "/long?" + "q" * 8000, *fields[:80], "Cookie: last")
        with Client(proxy.port) as c:
            c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(2):
                c.send(*(data[i:i + 37] for i in range(0, len(data), 37)))
                self.assertEqual(c.answer().status, 200)
            c.send(*(bytes([b]) for b in request(self.origin.name, "/bytes")))
            self.assertEqual(c.answer().body, b"/bytes")
        self.assertIn(b"\r\nCookie: last\r\n", self.origin.requests[0])

    def test_a_request_for_the_proxy_itself_is_no_fetch(self):
        proxy = self.start()
        loop = "The request goes in a loop: it asks this proxy for itself"
        for name in ("127.0.0.1", "localhost", "LOCALHOST", "127.0.0.2", "[::1]", "0.0.0.0"):
            host = f"{name}:{proxy.port}"
            self.assert_answers(proxy, request(host), 508, False, loop)
            self.assert_answers(proxy, request(host, "/"), 508, False, loop)
            origin_form = f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            self.assert_answers(proxy, origin_form, 400, False, "This is a proxy, which has no files of its own")

    def test_a_host_that_is_missing_or_wrong_is_refused(self):
        proxy, host = self.start(), self.origin.name
        for target in (f"http://{host}/x", "/x"):
            data = f"GET {target} HTTP/1.1\r\nX: y\r\n\r\n".encode()
            self.assert_answers(proxy, data, 400, False, "There is no Host field")
            self.assert_answers(proxy, f"GET {target} HTTP/1.1\r\n\r\n".encode(), 400, False, "There is no Host field")
        data = f"GET http://{host}/x HTTP/1.1\r\nHost: other.example\r\n\r\n".encode()
        self.assert_answers(proxy, data, 400, False, "The Host field is another than the URL's")
        for second in (host, "other.example"):
            data = request(host, "/x", f"Host: {second}")
            self.assert_answers(proxy, data, 400, True, "There is more than one Host field")
        data = f"GET http://user:secret@{host}/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.assert_answers(proxy, data, 400, False, "The URL has a user name, which it may not have")
        self.assertEqual(set(self.origin.targets()), {b"/still-there"})

    def test_path_and_query_reach_the_origin_byte_for_byte(self):
        proxy, host = self.start(), self.origin.name
        paths = ["/", "/a/../../b/./c", "/%2e%2e%2f%2E%2E%2Fetc/passwd", "//two//slashes", "/?",
                 "/x?a=1&b=%00%0d%0a&c=?/..", "/%zz%", "/a+b;p=1,2!$&'()*~@:", "/%41%C3%A9", "/q?http://other.example/",
                 "/a\\b|c^d`e{f}\"<g>[h]", "/@other.example/", "/:80", "/..;/x", "/x%00y"]
        with Client(proxy.port) as c:
            for path in paths:
                with self.subTest(path=path):
                    c.send(request(host, path))
                    self.assertEqual(c.answer().body.decode(), path)
                    c.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    self.assertEqual(c.answer().body.decode(), path)
            for rest, path in (("", "/"), ("?a=b/c", "/?a=b/c")):
                c.send(request(host, rest))
                self.assertEqual(c.answer().body.decode(), path)

    def test_a_loop_ends_where_it_was_before(self):
        proxy = self.start()
        relay = Relay(proxy.port)
        self.addCleanup(relay.close)
        self.assertEqual(self.ask(proxy, host=f"127.0.0.1:{relay.n}").status, 508)
        redirects = {"/to-proxy": f"http://{proxy.name}/x", "/to-relay": f"http://127.0.0.1:{relay.n}/x",
                     "/to-other-name": f"http://localhost:{relay.n}/x"}
        for path, url in redirects.items():
            self.origin.answers[path] = answer(302, b"", f"Location: {url}")
            with self.subTest(path=path):
                self.assertEqual(self.ask(proxy, path).status, 508)

    def test_two_proxies_that_ask_each_other_end_it(self):
        relay = Relay(0)
        self.addCleanup(relay.close)
        one = self.start("--upper-proxy", f"http://127.0.0.1:{relay.n}")
        two = Proxy(self.path("other"), "--upper-proxy", f"http://{one.name}")
        self.addCleanup(two.stop)
        relay.port = two.port
        began = time.monotonic()
        self.assertEqual(self.ask(one).status, 508)
        self.assertEqual(self.ask(one, "/x", self.keep(b"content")).status, 508)
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(self.origin.requests, [])

    def test_a_foreign_via_is_no_loop(self):
        proxy = self.start()
        self.assertEqual(self.ask(proxy, "/x", "Via: 1.1 otaproxy-, 1.0 another (otaproxy)").status, 200)
        via = re.search(rb"\r\nVia: 1\.1 otaproxy-, 1\.0 another, 1\.1 (\S+)\r\n", self.origin.requests[0]).group(1).decode()
        self.assertEqual(self.ask(proxy, "/x", f"Via: 1.1 another, HTTP/1.1 {via} (comment)").status, 508)

    def test_the_status_page_is_text_or_openmetrics(self):
        proxy = self.start()
        with Client(proxy.port) as c:
            c.send(request(self.origin.name))
            c.answer()
            c.send(f"GET / HTTP/1.1\r\nHost: {proxy.name}\r\n\r\n".encode())
            a = c.answer()
            self.assertEqual((a.status, a.fields["content-type"]), (200, "text/plain; charset=utf-8"))
            self.assertRegex(a.body.decode(), r"(?m)^  Fetched from the origin +1 requests$")
            accept = "Accept: application/openmetrics-text; version=1.0.0,text/plain;q=0.5"
            c.send(f"GET / HTTP/1.1\r\nHost: localhost:{proxy.port}\r\n{accept}\r\n\r\n".encode())
            a = c.answer()
            c.send(f"HEAD / HTTP/1.1\r\nHost: {proxy.name}\r\n\r\n".encode())
            self.assertGreater(int(c.answer(is_head=True).fields["content-length"]), 0)
        self.assertTrue(a.fields["content-type"].startswith("application/openmetrics-text; version=1.0.0"), a.fields)
        lines = a.body.decode("ascii").split("\n")
        self.assertEqual(lines[-2:], ["# EOF", ""])
        types, samples = {}, {}
        for line in lines[:-2]:
            if match := re.fullmatch(r"# TYPE (\w+) (counter|gauge)", line):
                types[match.group(1)] = match.group(2)
            elif not re.fullmatch(r"# (UNIT \w+_bytes bytes|HELP \w+ .+\.)", line):
                name, value = re.fullmatch(r"(\w+) (\d+)", line).groups()
                self.assertNotIn(name, samples)
                samples[name] = int(value)
        self.assertEqual(set(samples), {n + ("_total" if t == "counter" else "") for n, t in types.items()})
        self.assertEqual(samples["otaproxy_cache_misses_total"], 1)
        self.assertEqual(samples["otaproxy_open_requests"], 1)


class Smuggling(Bench):
    def assert_refused(self, proxy, data, cut=None):
        """@data and what follows it are refused once; the origin sees nothing."""
        follow = request(self.origin.name, "/follows")
        with self.subTest(data=data[:200], cut=cut), Client(proxy.port) as c:
            c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if cut:
                c.send(data[:cut], data[cut:], follow)
            else:
                c.send(data + follow)
            text = c.rest()
            # A length beyond any number is the library's to refuse, with 413.
            self.assertRegex(text, rb"\AHTTP/1\.1 (400|413) ")
            self.assertIn(b"\r\nConnection: close\r\n", text)
            # The library writes its own head twice; that is for one request, and it ends the connection.
            self.assertEqual(len(set(re.findall(rb"HTTP/1\.1 (\d+)", text))), 1)
            self.assertLessEqual(text.count(b"HTTP/1.1 "), 2 if b"<html>" in text else 1)
            self.assertEqual(self.origin.requests, [])

    def assert_all_refused(self, shapes):
        proxy = self.start()
        for data in shapes:
            self.assert_refused(proxy, data)
            self.assert_refused(proxy, data, cut=len(data) // 2)
        self.assertEqual(self.ask(proxy).status, 200)

    def test_a_body_is_refused_and_never_a_request(self):
        host = self.origin.name
        inner = request(host, "/smuggled")
        length = f"Content-Length: {len(inner)}"
        chunk = b"%x\r\n" % len(inner) + inner + b"\r\n0\r\n\r\n"
        self.assert_all_refused([
            request(host, "/x", length) + inner,
            request(host, "/x", length, method="HEAD") + inner,
            request(host, "/x", length, length) + inner,
            request(host, "/x", length, "Content-Length: 0") + inner,
            request(host, "/x", "Content-Length: 0", length) + inner,
            request(host, "/x", "Content-Length: 0", "Content-Length: 0") + inner,
            request(host, "/x", f"Content-Length: {len(inner)}, {len(inner)}") + inner,
            request(host, "/x", f"Content-Length: +{len(inner)}") + inner,
            request(host, "/x", f"Content-Length: 0x{len(inner):x}") + inner,
            request(host, "/x", "Content-Length: -1") + inner,
            request(host, "/x", "Content-Length:") + inner,
            request(host, "/x", "Content-Length: 99999999999999999999") + inner,
            request(host, "/x", "Content-Length: 00") + inner,
            request(host, "/x", "Transfer-Encoding: chunked") + chunk,
            request(host, "/x", "Transfer-Encoding: chunked", length) + chunk,
            request(host, "/x", length, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + inner,
            request(host, "/x", "Content-Length: 0", "Transfer-Encoding: chunked") + chunk,
            request(host, "/x", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunk,
            request(host, "/x", "Transfer-Encoding: xchunked") + chunk,
            request(host, "/x", "Transfer-Encoding: identity") + inner,
            request(host, "/x", "Transfer-Encoding:") + chunk,
            request(host, "/x", "TRANSFER-ENCODING:\tchunked ") + chunk,
            request(host, "/x", "Expect: 100-continue", length) + inner,
        ])

    def test_a_header_that_can_be_read_in_two_ways_is_refused(self):
        host = self.origin.name
        inner = request(host, "/smuggled")
        length = f"Content-Length: {len(inner)}"
        whole = request(host, "/x", "X: y", "Cookie: a")
        start = f"GET http://{host}/x HTTP/1.1\r\n".encode()
        self.assert_all_refused([
            # a line's end that is none
            whole.replace(b"\r\n", b"\n"),
            whole.replace(b"\r\n", b"\n", 1),
            whole[:-4] + b"\n\r\n",
            whole[:-4] + b"\r\n\n",
            request(host, "/x", "X: a\nCookie: b"),
            request(host, "/x", f"X: a\n{length}") + inner,
            request(host, "/x", f"X: a\r{length}") + inner,
            request(host, "/x", "X: a\rCookie: b"),
            # NUL, in front of what it hides or of nothing
            request(host, "/x", "X: a\0b"), request(host, "/x", "X: a\0"), request(host, "/x", "X: \0\0"),
            request(host, "/x", "X: a\0\0", "Y: b"), request(host, "/x", "X\0: a"), request(host, "/x", "X: a\0\r"),
            request(host, "/x", "X: a\0b", length) + inner,
            request(host, "/x", "Content-Length: 0\0") + inner,
            request(host, "/x", "Transfer-Encoding\0: chunked") + inner,
            request(host, "/x\0y"), request(host, "/x?a\0b"), request(host, "/x", method="GET\0"),
            start + f"Host: {host}\0.other.example\r\n\r\n".encode(),
            # continued lines
            request(host, "/x", f"{length}\r\n x") + inner,
            request(host, "/x", f"{length}\r\n ") + inner,
            request(host, "/x", "Content-Length:\r\n " + str(len(inner))) + inner,
            request(host, "/x", "Transfer-Encoding:\r\n\tchunked") + inner,
            request(host, "/x", "Transfer-\r\n Encoding: chunked") + inner,
            request(host, "/x", "X: a\r\n b"), request(host, "/x", "X: a\r\n\tb", "Y: c"),
            request(host, "/x", "X: a\r\n  "),
            start + f" Host: {host}\r\n\r\n".encode(),
            start + f"X: y\r\n Host: {host}\r\n\r\n".encode(),
            # white space and other characters in a name
            request(host, "/x", f"Content-Length : {len(inner)}") + inner,
            request(host, "/x", f"Content-Length\t: {len(inner)}") + inner,
            request(host, "/x", "Transfer-Encoding : chunked") + inner,
            request(host, "/x", f"\x0bContent-Length: {len(inner)}") + inner,
            request(host, "/x", "no colon"), request(host, "/x", ": no name"), request(host, "/x", "X(: y"),
            start + f"Host : {host}\r\n\r\n".encode(),
            # the request line
            whole.replace(b"GET ", b"GET  ", 1), whole.replace(b" HTTP", b"  HTTP", 1),
            whole.replace(b" HTTP/1.1", b"", 1), whole.replace(b"HTTP/1.1", b"http/1.1", 1),
        ])

    def test_a_length_of_nothing_is_no_body(self):
        proxy = self.start()
        with Client(proxy.port) as c:
            c.send(request(self.origin.name, "/one", "Content-Length: 0") + request(self.origin.name, "/two"))
            self.assertEqual([c.answer().body, c.answer().body], [b"/one", b"/two"])

    def test_nothing_else_of_a_request_reaches_the_origin(self):
        proxy = self.start()
        fields = ["User-Agent: mine", "X-Forwarded-For: 10.1.1.1", "Accept: text/html", "Accept-Encoding: gzip, br",
                  "Connection: keep-alive, X-Hop", "X-Hop: 1", "Proxy-Authorization: Basic eA==", "Upgrade: h2c",
                  "TE: trailers",
                  "Range: bytes=0-3", "If-None-Match: \"a\"", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
                  "Proxy-Connection: close", "Via: 1.1 another (a comment)", "Referer: http://x/", "Pragma: no-cache", "Trailer: X",
                  "ota-file-cache-control: no_cache", "Authorization:  Bearer a.b ", "Cookie: a=1; b=2\t"]
        self.ask(proxy, "/x?y", *fields)
        self.ask(proxy, "/plain")
        host = re.escape(self.origin.name)
        begin = rf"Host: {host}\r\nUser-Agent: otaclient/[\d.]+\r\nAccept: \*/\*\r\nVia: "
        own = r"1\.1 otaproxy-[0-9a-f]{8}\r\n"
        self.assertRegex(self.origin.requests[0].decode("latin-1"), rf"\AGET /x\?y HTTP/1\.1\r\n{begin}1\.1 another, {own}"
                         r"Authorization: Bearer a\.b\r\nCookie: a=1; b=2\r\n\r\n\Z")
        self.assertRegex(self.origin.requests[1].decode("latin-1"), rf"\AGET /plain HTTP/1\.1\r\n{begin}{own}\r\n\Z")
        self.assertEqual(len(self.origin.requests), 2)

    def test_an_upper_proxy_is_told_in_our_words_what_is_wanted(self):
        proxy = self.start("--upper-proxy", f"http://{self.origin.name}")
        url = "http://image.example/x"
        digest = hashlib.sha256(url.encode()).hexdigest().upper()
        a = self.ask(proxy, "/x", f"OTA-File-Cache-Control: retry_caching=false, unknown=1, file_sha256={digest}",
                     "ota-file-cache-control: use_cache", "X: y", host="image.example")
        self.assertEqual(a.body.decode(), url)
        want = (r"\AGET http://image\.example/x HTTP/1\.1\r\nHost: image\.example\r\nUser-Agent: otaclient/[\d.]+\r\n"
                r"Accept: \*/\*\r\nProxy-Connection: Keep-Alive\r\nVia: 1\.1 otaproxy-[0-9a-f]{8}\r\n"
                rf"ota-file-cache-control: retry_caching,file_sha256={digest.lower()}\r\n"
                r"(Accept-Encoding: [^\r\n]*\r\n)?\r\n\Z")
        self.assertRegex(self.origin.requests[0].decode("latin-1"), want)


class Parts(Bench):
    SIZE = 300_000

    def setUp(self):
        super().setUp()
        self.body = pattern(self.SIZE)
        self.etag = f'"{hashlib.sha256(self.body).hexdigest()}"'

    def assert_part(self, a, first, last):
        total = self.SIZE
        self.assertEqual(a.status, 206)
        self.assertEqual(a.fields["content-range"], f"bytes {first}-{last}/{total}")
        self.assertEqual(a.fields["content-length"], str(last + 1 - first))
        self.assertEqual(a.body, self.body[first:last + 1])

    def assert_whole(self, a):
        self.assertEqual(a.status, 200)
        self.assertNotIn("content-range", a.fields)
        self.assertEqual(a.fields["content-length"], str(self.SIZE))
        self.assertEqual(a.body, self.body)

    def assert_ranges(self, proxy, field):
        end = self.SIZE - 1
        cases = {"0-0": (0, 0), "100-199": (100, 199), "5-": (5, end), f"{end}-": (end, end), "-1": (end, end),
                 "-70000": (self.SIZE - 70000, end), f"-{2 * end}": (0, end), f"100-{10 * end}": (100, end),
                 f"0-{2**64 - 1}": (0, end)}
        with Client(proxy.port) as c:
            for text, part in cases.items():
                with self.subTest(range=text):
                    c.send(request(self.origin.name, "/x", field, f"Range: bytes={text}"))
                    self.assert_part(c.answer(), *part)
            for text in (f"{self.SIZE}-", f"{self.SIZE}-{self.SIZE}", "-0", f"{2**64 - 1}-"):
                with self.subTest(range=text):
                    c.send(request(self.origin.name, "/x", field, f"Range: bytes={text}"))
                    a = c.answer()
                    self.assertEqual((a.status, a.fields["content-range"]), (416, f"bytes */{self.SIZE}"))
            for text in ("bytes=5-4", "bytes=0-1,3-4", "bytes=", "bytes=-", "lines=0-1", "bytes=a-b", f"bytes={2**64}-",
                         "bytes 0-1", "bytes=0 - 1"):
                with self.subTest(range=text):
                    c.send(request(self.origin.name, "/x", field, f"Range: {text}"))
                    self.assert_whole(c.answer())

    def test_a_part_comes_from_the_cache(self):
        proxy, field = self.start(), self.keep(self.body)
        self.assert_whole(self.ask(proxy, "/x", field))
        self.assert_ranges(proxy, field)
        self.assertEqual(self.ask(proxy, "/x", field).fields["content-type"], "application/octet-stream")
        self.assertEqual(len(self.origin.requests), 1)

    def test_a_part_comes_from_a_fetch(self):
        proxy, field = self.start("--no-cache"), self.keep(self.body)
        self.assert_ranges(proxy, field)

    def test_a_part_comes_from_a_running_fetch_but_is_not_whole_before_the_body_is(self):
        proxy, field = self.start(), self.keep(self.body)
        gate, self.origin.answers["/x"] = self.gated(self.body, 200_000)
        with Client(proxy.port) as whole, Client(proxy.port) as inner, Client(proxy.port) as tail:
            whole.send(request(self.origin.name, "/x", field))
            self.origin.wait_for(1)
            inner.send(request(self.origin.name, "/x", field, "Range: bytes=1000-99999"))
            a = self.ask(proxy, "/x", field, f"Range: bytes={self.SIZE}-")
            self.assertEqual((a.status, a.fields["content-range"]), (416, f"bytes */{self.SIZE}"))
            tail.send(request(self.origin.name, "/x", field, "Range: bytes=-100"))
            self.assertEqual(tail.head().status, 206)
            self.assertEqual(tail.data, b"")
            # All of the inner part has come long ago; its digest may still not agree.
            self.assertEqual(select.select([inner.socket], [], [], 0)[0], [])
            gate.set()
            self.assert_part(inner.answer(), 1000, 99999)
            self.assertEqual(tail.take(100), self.body[-100:])
            self.assert_whole(whole.answer())
        self.assertEqual(len(self.origin.requests), 1)

    def test_a_part_on_condition_is_of_that_body_only(self):
        proxy, field = self.start(), self.keep(self.body)
        self.assertEqual(self.ask(proxy, "/x", field).fields["etag"], self.etag)
        part = ["Range: bytes=10-19", field]
        self.assert_part(self.ask(proxy, "/x", f"If-Range: {self.etag}", *part), 10, 19)
        for other in ('"other"', f"W/{self.etag}", self.etag.strip('"'), "Thu, 01 Jan 1970 00:00:00 GMT", ""):
            with self.subTest(condition=other):
                self.assert_whole(self.ask(proxy, "/x", f"If-Range: {other}", *part))
        self.assertEqual(len(self.origin.requests), 1)

    def test_a_part_by_url_is_of_what_the_origin_has_now(self):
        proxy, old = self.start(), answer(200, self.body, 'ETag: "v1"')

        def unless_same(connection, head):
            same = b'\r\nIf-None-Match: "v1"' in head
            connection.sendall(b'HTTP/1.1 304 Same\r\nETag: "v1"\r\n\r\n' if same else old)
        self.origin.answers["/x"] = unless_same
        self.assert_whole(self.ask(proxy))
        self.assert_part(self.ask(proxy, "/x", 'If-Range: "v1"', "Range: bytes=10-19"), 10, 19)
        self.assert_whole(self.ask(proxy, "/x", 'If-Range: "v0"', "Range: bytes=10-19"))
        self.body = self.body[::-1]
        self.origin.answers["/x"] = answer(200, self.body, 'ETag: "v2"')
        # A fetch has its end a little after its last client: as long as it lasts, others join it.
        deadline = time.monotonic() + PATIENCE_S
        while self.ask(proxy).fields["etag"] != '"v2"':
            self.assertLess(time.monotonic(), deadline)
        self.assert_whole(self.ask(proxy, "/x", 'If-Range: "v1"', "Range: bytes=10-19"))

    def test_a_part_by_url_comes_from_a_running_fetch_of_that_version(self):
        proxy = self.start()
        gate, self.origin.answers["/x"] = self.gated(self.body, 200_000, ['ETag: "v1"'])
        with Client(proxy.port) as whole:
            whole.send(request(self.origin.name))
            self.origin.wait_for(1)
            self.assert_part(self.ask(proxy, "/x", 'If-Range: "v1"', "Range: bytes=10-19"), 10, 19)
            self.assertEqual(self.ask(proxy, "/x", "Range: bytes=10-19").fields["etag"], '"v1"')
            with Client(proxy.port) as other:
                other.send(request(self.origin.name, "/x", 'If-Range: "v2"', "Range: bytes=10-19"))
                self.assertEqual(other.head().status, 200)
            gate.set()
            self.assert_whole(whole.answer())
        self.assertEqual(len(self.origin.requests), 1)

    def test_a_part_of_a_body_without_a_length_is_all_of_it(self):
        proxy = self.start()
        ended = threading.Event()
        self.addCleanup(ended.set)

        def send(connection, _):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            ended.wait(PATIENCE_S)
            connection.sendall(b"0\r\n\r\n")
        self.origin.answers["/x"] = send
        with Client(proxy.port) as c:
            c.send(request(self.origin.name, "/x", "Range: bytes=1-2"))
            a = c.head()
            self.assertEqual((a.status, a.fields["transfer-encoding"]), (200, "chunked"))
            self.assertEqual(c.until(b"hello\r\n"), b"5\r\n")
            ended.set()
            self.assertEqual(c.until(b"\r\n\r\n"), b"0")

    def test_a_head_has_a_length_and_no_body(self):
        proxy, field = self.start(), self.keep(self.body)
        with Client(proxy.port) as c:
            for n_origin in (1, 2):  # a miss, and later a hit
                for fields in ([field], [field, "Range: bytes=0-1"]):
                    c.send(request(self.origin.name, "/x", *fields, method="HEAD"))
                    a = c.answer(is_head=True)
                    self.assertEqual((a.status, a.fields["content-length"]), (200, str(self.SIZE)))
                    # Of a body that nobody has looked at, nobody may say what it is.
                    said = a.fields.get("etag"), a.fields.get("ota-file-cache-control")
                    digest = field.split("=")[1]
                    self.assertEqual(said, (None, None) if n_origin == 1 else (f'"{digest}"', f"file_sha256={digest}"))
                if n_origin == 1:
                    self.assertEqual({r.split(b" ")[0] for r in self.origin.requests}, {b"HEAD"})
                    n_asked = len(self.origin.requests)
                    c.send(request(self.origin.name, "/x", field))
                    self.assert_whole(c.answer())
                    self.wait_for_entry(self.body)
        self.assertEqual(len(self.origin.requests), n_asked + 1)


class Statuses(Bench):
    def test_what_the_origin_refuses_is_passed_on(self):
        proxy = self.start()
        for status in (400, 401, 403, 404, 410, 500, 503):
            self.origin.answers[f"/{status}"] = answer(status, b"the origin's own words")
            with self.subTest(status=status):
                a = self.ask(proxy, f"/{status}")
                self.assertEqual(a.status, status)
                self.assertRegex(a.body.decode(), rf"status {status}\b")
                self.assertEqual(self.ask(proxy, f"/{status}", method="HEAD").status, status)
        with Client(proxy.port) as c:
            c.send(f"GET / HTTP/1.1\r\nHost: {proxy.name}\r\n\r\n".encode())
            self.assertRegex(c.answer().body.decode(), r"(?m)^  Refused +0 requests$")
            c.send(request("h", "x"))
            c.answer()
            c.send(f"GET / HTTP/1.1\r\nHost: {proxy.name}\r\n\r\n".encode())
            self.assertRegex(c.answer().body.decode(), r"(?m)^  Refused +1 requests$")

    def test_an_origin_that_cannot_be_reached_is_a_bad_gateway(self):
        proxy = self.start()
        with socket.create_server(("127.0.0.1", 0)) as s:
            nobody = f"127.0.0.1:{s.getsockname()[1]}"
        self.assertEqual(self.ask(proxy, host=nobody).status, 502)
        self.assertEqual(self.ask(proxy, host="no-such-name.invalid").status, 502)
        lower = self.start("--no-cache", "--upper-proxy", f"http://{proxy.name}")
        a = self.ask(lower, host=nobody)
        self.assertEqual(a.status, 502)
        self.assertIn(f"(status 502): Cannot fetch http://{nobody}/x: Failed to connect to 127.0.0.1", a.body.decode())

    def test_only_listed_origins_are_asked_and_by_their_scheme(self):
        listed = self.path("origins")
        proxy = self.start("--origins", listed)

        def publish(text):
            with open(listed + ".new", "w", encoding="ascii") as f:
                f.write(text)
            os.rename(listed + ".new", listed)

        a = self.ask(proxy)
        self.assertEqual((a.status, int(a.fields["retry-after"]) > 0), (503, True))
        publish("http://other.example\n")
        self.assertEqual(self.ask(proxy).status, 403)
        publish(f"http://other.example\nhttp://{self.origin.name}\n")
        self.assertEqual(self.ask(proxy).status, 200)
        self.assertEqual(self.ask(proxy, host="127.0.0.1:1").status, 403)
        self.assertEqual(self.origin.targets(), [b"/x"])
        publish(f"https://{self.origin.name}\n")
        a = self.ask(proxy)
        self.assertEqual(a.status, 502)
        self.assertIn(f"https://{self.origin.name}/x", a.body.decode())
        self.assertEqual(self.origin.requests[1][:1], b"\x16")  # a handshake
        publish("not a list\n")
        self.assertEqual(self.ask(proxy).status, 503)
        publish("")
        self.assertEqual(self.ask(proxy).status, 403)
        os.unlink(listed)
        self.assertEqual(self.ask(proxy).status, 503)
        with Client(proxy.port) as c:
            c.send(f"GET / HTTP/1.1\r\nHost: {proxy.name}\r\n\r\n".encode())
            self.assertEqual(c.answer().status, 200)


    def test_a_redirect_leads_to_listed_origins_only_and_never_back(self):
        other = Origin()
        self.addCleanup(other.close)
        listed = self.path("origins")
        with open(listed, "w", encoding="ascii") as f:
            f.write(f"http://{self.origin.name}\n")
        proxies = [self.start("--origins", listed), self.start("--no-cache")]
        hops = {"/other": f"http://{other.name}/x", "/here": "/x", "/self": f"http://{proxies[0].name}/",
                "/self-2": f"http://{proxies[1].name}/", "/who": f"http://me@{self.origin.name}/x"}
        for path, to in hops.items():
            self.origin.answers[path] = answer(302, b"", f"Location: {to}")

        a = self.ask(proxies[0], "/other")
        self.assertEqual(a.status, 403)
        self.assertEqual(
            a.body.decode(), f"Cannot fetch http://{self.origin.name}/other: The redirect to 127.0.0.1 is not "
            "followed: it is none of the servers that may be asked here\n")
        self.assertEqual(other.requests, [])
        self.assertEqual(self.ask(proxies[1], "/other").body, b"/x")
        self.assertEqual(self.ask(proxies[0], "/here").body, b"/x")
        for proxy, path in zip(proxies, ("/self", "/self-2")):
            a = self.ask(proxy, path)
            self.assertEqual(a.status, 508)
            self.assertIn("not followed: it leads in a loop, to this proxy", a.body.decode())
        a = self.ask(proxies[1], "/who")
        self.assertEqual(a.status, 502)
        self.assertIn("The redirect to another server is not followed: it is not clear which one", a.body.decode())
        self.assertEqual(self.ask(proxies[0], "/other", method="HEAD").status, 403)

    def test_a_body_that_comes_anew_as_another_version_is_not_taken_for_the_first(self):
        proxy = self.start()
        first = answer(200, b"11111", 'ETag: "v1"')[:-5]
        seconds = {"/etag": answer(200, b"22222", 'ETag: "v2"'),
                   "/length": answer(200, b"222222222", 'ETag: "v1"'),
                   "/encoding": answer(200, b"22222", 'ETag: "v1"', "Content-Encoding: gzip")}
        for path, second in seconds.items():
            answers = iter([first, second])

            def send(connection, _, answers=answers):
                connection.sendall(next(answers))
                connection.shutdown(socket.SHUT_RDWR)
            self.origin.answers[path] = send
            with self.subTest(path=path), Client(proxy.port) as c:
                c.send(request(self.origin.name, path))
                self.assertEqual(c.head().fields["etag"], '"v1"')
                self.assertEqual(c.rest(), b"")
        self.assertEqual(len(self.origin.requests), 6)

    def test_odd_fields_of_the_origin_do_not_cost_the_body(self):
        proxy = self.start()
        odd = {"Content-Type": ["text/plain;\tcharset=utf-8", "text/plain\rX-Evil: 1", "text/\x01", "", "a" * 300, "text/plain; x=\"\xe9\""],
               "Content-Encoding": ["\tidentity", "a" * 300],
               "ETag": ['"a\tb"', "", '"' + "a" * 300 + '"', "unquoted", '"\xe9"'],
               "Last-Modified": ["never", "\x01"]}
        for name, values in odd.items():
            for i, value in enumerate(values):
                path = f"/{name}-{i}"
                data = answer(200, b"", f"{name}: @@").replace(b"@@", value.encode("latin-1"))
                self.origin.answers[path] = data.replace(b"Length: 0", b"Length: 5") + b"hello"
                with self.subTest(field=name, value=value):
                    for _ in range(2):
                        a = self.ask(proxy, path)
                        self.assertEqual((a.status, a.body), (200, b"hello"))


class Connections(Bench):
    def test_one_connection_serves_a_hundred_requests(self):
        proxy = self.start()
        with Client(proxy.port) as c:
            for i in range(100):
                c.send(request(self.origin.name, f"/{i}"))
                self.assertEqual(c.answer().body, b"/%d" % i)

    def test_pipelined_requests_are_answered_in_order(self):
        proxy = self.start()
        gate, self.origin.answers["/0"] = self.gated(b"/0" * 1000, 10)
        with Client(proxy.port) as c:
            c.send(b"".join(
                request(self.origin.name, f"/{i}", method="HEAD" if i % 7 == 3 else "GET") for i in range(50)))
            self.origin.wait_for(1)
            gate.set()
            self.assertEqual(c.answer().body, b"/0" * 1000)
            for i in range(1, 50):
                a = c.answer(is_head=i % 7 == 3)
                self.assertEqual(a.status, 200)
                self.assertEqual(a.body, b"" if i % 7 == 3 else b"/%d" % i)
        self.assertEqual(self.origin.targets(), [b"/%d" % i for i in range(50)])

    def test_a_client_that_wants_to_close_gets_its_answer_first(self):
        proxy = self.start()
        for data in (request(self.origin.name, "/x", "Connection: close"),
                     request(self.origin.name).replace(b"HTTP/1.1", b"HTTP/1.0", 1)):
            with self.subTest(data=data), Client(proxy.port) as c:
                c.send(data)
                self.assertEqual(c.answer().body, b"/x")
                self.assertEqual(c.rest(), b"")

    def test_an_end_amid_requests_is_a_good_end(self):
        body = pattern(2**20)
        self.origin.answers["/x"] = answer(200, body)
        _, self.origin.answers["/stalled"] = self.gated(body, 2**19)
        for args in (["--no-cache"], []):
            for _ in range(10):
                proxy = Proxy(self.path("cache"), *args)
                with contextlib.ExitStack() as stack:
                    clients = [stack.enter_context(Client(proxy.port)) for _ in range(10)]
                    for c in clients[2:]:
                        c.send(request(self.origin.name) * 20)
                    for c in clients[:2]:
                        c.send(request(self.origin.name, "/stalled"))
                        self.assertEqual(c.head().status, 200)
                    proxy.stop()

    def test_many_idle_connections_of_one_client_keep_no_other_out(self):
        proxy = self.start()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with contextlib.ExitStack() as stack:
            for _ in range(2000):
                s = stack.enter_context(socket.socket())
                s.bind(("127.0.0.1", 0))
                s.connect(("127.0.0.1", proxy.port))
            began = time.monotonic()
            with Client(proxy.port, source=("127.0.0.2", 0)) as c:
                c.send(request(self.origin.name, "/other"))
                self.assertEqual(c.answer().body, b"/other")
            self.assertLess(time.monotonic() - began, 1)

    def assert_slow_reader_holds_up_nobody(self, *fields):
        body = pattern(8 * 2**20)
        self.origin.answers["/x"] = answer(200, body)
        proxy = self.start()
        stop, slow_body, started = threading.Event(), [], threading.Event()

        def read_slowly():
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                s.settimeout(PATIENCE_S)
                s.connect(("127.0.0.1", proxy.port))
                s.sendall(request(self.origin.name, "/x", *fields, "Connection: close"))
                while data := s.recv(65536 if stop.is_set() else 1000):
                    slow_body.append(data)
                    started.set()
                    stop.wait(0.1)

        thread = threading.Thread(target=read_slowly, daemon=True)
        thread.start()
        try:
            self.assertTrue(started.wait(PATIENCE_S))
            for _ in range(3):
                began = time.monotonic()
                self.assertEqual(self.ask(proxy, "/x", *fields).body, body)
                self.assertLess(time.monotonic() - began, 3)
            self.assertLess(sum(map(len, slow_body)), len(body))
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        self.assertEqual(b"".join(slow_body).split(b"\r\n\r\n", 1)[1], body)

    def test_a_slow_reader_of_a_content_holds_up_nobody(self):
        digest = hashlib.sha256(pattern(8 * 2**20)).hexdigest()
        self.assert_slow_reader_holds_up_nobody(f"ota-file-cache-control: file_sha256={digest}")
        self.assertEqual(len(self.origin.requests), 1)

    def test_a_slow_reader_of_a_url_holds_up_nobody(self):
        self.assert_slow_reader_holds_up_nobody()

    def test_a_slow_reader_of_what_is_not_kept_holds_up_nobody(self):
        self.assert_slow_reader_holds_up_nobody("ota-file-cache-control: no_cache")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
