"""proxy_lab: the real otaproxy and a scripted origin on the loopback, as every test of the proxy needs them.

Two variables of the environment say where the programs are: OTAPROXY, and HTTP_ORIGIN for tests/support/http_origin.py.
A program that a sanitizer has complaints about fails the test that ends it.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

OTAPROXY, ORIGIN = os.environ["OTAPROXY"], os.environ["HTTP_ORIGIN"]
MIB = 1 << 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


class Origin:
    """tests/support/http_origin.py in a process of its own."""

    def __init__(self, root, script=None, *options):
        self.folder = tempfile.mkdtemp(prefix="origin.")
        self.log_path, self.sent_path = os.path.join(self.folder, "log"), os.path.join(self.folder, "sent")
        args = [sys.executable, ORIGIN, "--root", root, "--log", self.log_path, "--sent", self.sent_path, *options]
        if script:
            script_path = os.path.join(self.folder, "script")
            with open(script_path, "w", encoding="utf-8") as f:
                json.dump(script, f)
            args += ["--script", script_path]
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.host = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def requests(self, path=None):
        with open(self.log_path, encoding="utf-8") as f:
            return [r for r in map(json.loads, f) if path is None or r["path"] == path]

    def sent(self):
        """(path, bytes) of each body that is over."""
        with open(self.sent_path, encoding="utf-8") as f:
            return [(r["path"], r["sent"]) for r in map(json.loads, f)]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder)


class Proxy:
    """The program. Its marks are such that a machine's full disk is no reason not to keep; @options may say others."""

    def __init__(self, cache, *options, env=None):
        self.cache, self.options, self.port = cache, options, 0
        self.env = {**os.environ, **(env or {})}
        self.start()

    def start(self):
        """On the same port as before, so that clients find it again."""
        self.process = subprocess.Popen(
            [OTAPROXY, "--listen", "127.0.0.1", "--port", str(self.port), "--cache-dir", self.cache,
             "--soft-mark", "99", "--hard-mark", "100", *self.options],
            stderr=subprocess.PIPE, text=True, errors="replace", env=self.env)
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"serves on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            raise AssertionError("otaproxy did not start: " + "".join(self.lines))
        self.reader = threading.Thread(target=self.lines.extend, args=(self.process.stderr,), daemon=True)
        self.reader.start()

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        self.reader.join()
        self.process.stderr.close()
        complaints = [line for line in self.lines if re.search(r"runtime error:|Sanitizer", line)]
        if complaints:
            raise AssertionError("".join(self.lines))
        return code

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, host, path, digest=None, alg=None, connection=None, headers=(), method="GET"):
        """(status, headers, body) of a request through the proxy; IncompleteRead where the body breaks off."""
        c = connection or self.connect()
        control = dict(headers)
        if digest:
            control["ota-file-cache-control"] = f"file_sha256={digest}" + (f",file_compression_alg={alg}" if alg else "")
        c.request(method, f"http://{host}{path}", headers={"Host": host, **control})
        answer = c.getresponse()
        body = answer.read()
        if not connection:
            c.close()
        return answer.status, answer.headers, body

    def counter(self, name):
        c = self.connect()
        c.request("GET", "/", headers={"Accept": "application/openmetrics-text"})
        text = c.getresponse().read().decode()
        c.close()
        return int(re.search(rf"^otaproxy_{name}_total (\d+)$", text, re.M)[1])


class Broken(Exception):
    """The connection ended before the answer did."""


class Line:
    """One connection to the proxy, lean enough to ask for tens of thousands of files."""

    def __init__(self, port, source=None, timeout=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def close(self):
        self.file.close()
        self.socket.close()

    def ask(self, host, path, *fields):
        """(status, fields, body); names in lower case. Broken, if it does not come whole."""
        self.send(host, path, *fields)
        status, answer = self.head()
        return status, answer, b"".join(self.pieces(answer))

    def send(self, host, path, *fields):
        lines = [f"GET http://{host}{path} HTTP/1.1", f"Host: {host}", *fields]
        try:
            self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Broken(str(e)) from e

    def line(self):
        try:
            line = self.file.readline(65536)
        except ConnectionResetError as e:
            raise Broken(str(e)) from e
        if not line.endswith(b"\r\n"):
            raise Broken("in the header")
        return line[:-2].decode("latin-1")

    def head(self):
        status, fields = int(self.line().split(" ")[1]), {}
        while line := self.line():
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def take(self, n):
        while n > 0:
            try:
                data = self.file.read(min(n, 1 << 16))
            except ConnectionResetError as e:
                raise Broken(str(e)) from e
            if not data:
                raise Broken(f"{n} bytes before the end of the body")
            n -= len(data)
            yield data

    def pieces(self, fields):
        if fields.get("transfer-encoding") != "chunked":
            yield from self.take(int(fields["content-length"]))
            return
        while n := int(self.line(), 16):
            yield from self.take(n)
            self.line()
        self.line()


class ProxyLab(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="otaproxy-test.")
        self.root, self.cache = os.path.join(self.work, "www"), os.path.join(self.work, "cache")
        os.makedirs(self.root)
        self.addCleanup(shutil.rmtree, self.work)

    def origin(self, script=None, *options):
        o = Origin(self.root, script, *options)
        self.addCleanup(o.stop)
        return o

    def proxy(self, *options, env=None):
        p = Proxy(self.cache, *options, env=env)
        self.addCleanup(lambda: p.process.poll() is None and self.assertEqual(p.end(), 0))
        return p

    def file(self, name, data):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return sha256(data)

    def entries(self):
        folders = os.walk(os.path.join(self.cache, "v1"))
        return sorted(n for d, _, names in folders if not d.endswith("/tmp") for n in names)

    def wait_for_entries(self, *names):
        """Clients have a body before it is an entry."""
        wait_for(lambda: self.entries() == sorted(names), f"{names} are all that is kept")

    def entry(self, name):
        """The path of one, once it is there."""
        def found():
            return [os.path.join(d, name) for d, _, names in os.walk(self.cache) if name in names]

        wait_for(found, f"{name} is kept")
        path, = found()
        return path
