"""upstream_standin: stand-ins for the ota-client that this product takes the place of, as others on the way see it.

They are written from the description of its behaviour, not from its code, and do what it does where that can be seen on
the wire, the inconvenient parts too:

Downloader   its client behind a proxy: the request's fields, retries without a pause, the answer's compression counts,
             and a repeat with retry_caching after a wrong body
UpperProxy   its caching proxy: no length ever, a body that breaks off ends like a whole one, what is kept under a
             digest has never been hashed, a query is dropped
"""

import gzip
import hashlib
import http.client
import http.server
import subprocess
import threading
import time
import urllib.parse
import zlib

CACHE_CONTROL = "ota-file-cache-control"
AGAIN = (413, 429, 500, 502, 503, 504)
STOPS = (401, 403, 404)


class Refused(Exception):
    """A status that stops an update."""


class Failed(Exception):
    """The task would be put back, and tried again later."""


class WrongBody(Failed):
    """Of another size or digest, or broken compression."""


def directives(text):
    """A flag is set by its presence, whatever its value."""
    pairs = (d.strip().partition("=") for d in (text or "").split(","))
    return {name.strip(): value.strip() or "true" for name, _, value in pairs if name.strip()}


def compose(values):
    return ",".join(name if value is True else f"{name}={value}" for name, value in values.items())


class Downloader:
    """One of its sessions."""

    TRIES = 8

    def __init__(self, proxy_port, cookies=None):
        self.port, self.cookies, self.connection, self.n_tries = proxy_port, cookies or {}, None, 0

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, url, control):
        host = urllib.parse.urlsplit(url).netloc
        c = self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=32)
        c.putrequest("GET", url, skip_host=True, skip_accept_encoding=True)
        fields = {"Host": host, "User-Agent": "python-requests/2.32.3", "Accept-Encoding": "gzip, deflate",
                  "Accept": "*/*", "Connection": "keep-alive"}
        if control:
            fields[CACHE_CONTROL] = compose(control)
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        for name, value in fields.items():
            c.putheader(name, value)
        c.endheaders()
        answer = c.getresponse()
        return answer, answer.read()

    def ask_until_it_works(self, url, control):
        trouble = None
        for _ in range(self.TRIES):
            self.n_tries += 1
            try:
                answer, body = self.ask(url, control)
            except (OSError, http.client.HTTPException) as e:
                trouble = e
                self.close()
                continue
            if answer.status not in AGAIN:
                if answer.status in STOPS:
                    raise Refused(answer.status)
                if answer.status >= 400:
                    raise Failed(answer.status)
                return answer, body
            trouble = answer.status
            time.sleep(float(answer.headers.get("Retry-After", 0)) if answer.status in (413, 429, 503) else 0)
        raise Failed(f"{url}: {trouble}")

    @staticmethod
    def plain(answer, body, alg):
        try:
            if alg in ("zst", "zstd"):
                return subprocess.run(["zstd", "-dcq"], input=body, capture_output=True, check=True).stdout
            encoding = answer.headers.get("Content-Encoding", "")
            if encoding == "gzip":
                return gzip.decompress(body)
            return zlib.decompress(body) if encoding == "deflate" else body
        except (subprocess.CalledProcessError, OSError, EOFError, zlib.error) as e:
            raise WrongBody(str(e)) from e

    def try_once(self, url, digest, size, alg, control):
        answer, body = self.ask_until_it_works(url, control)
        said = directives(answer.headers.get(CACHE_CONTROL))
        if digest and said.get("file_sha256", digest) != digest:
            raise WrongBody("another file")
        data = self.plain(answer, body, said.get("file_compression_alg", alg))
        if size and len(data) != size:
            raise WrongBody(f"{len(data)} bytes of {size}")
        if digest and hashlib.sha256(data).hexdigest() != digest:
            raise WrongBody("digest")
        return data

    def download(self, url, digest=None, size=None, alg=None):
        """The plain bytes."""
        control = {"file_sha256": digest} if digest else {}
        if digest and alg:
            control["file_compression_alg"] = alg
        try:
            return self.try_once(url, digest, size, alg, control)
        except WrongBody:
            return self.try_once(url, digest, size, alg, {"retry_caching": True, **control})


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uvicorn", ""

    def text(self, status, sentence):
        self.send_response(status)
        self.send_header("content-type", "text/html;charset=UTF-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.chunk(sentence.encode())
        self.chunk(b"")

    def chunk(self, data):
        if data or not self.ended:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.ended = not data

    def refuse(self):
        self.ended = False
        self.text(400, "ONLY SUPPORT GET METHOD.")

    do_HEAD = do_POST = do_PUT = do_OPTIONS = do_CONNECT = refuse

    def do_GET(self):
        self.ended = False
        proxy, host = self.server.proxy, self.headers.get("Host")
        path = urllib.parse.urlsplit(self.path).path
        with proxy.lock:
            proxy.requests.append({"target": self.path, **{k.lower(): v for k, v in self.headers.items()}})
            busy, proxy.busy = proxy.busy, max(proxy.busy - 1, 0)
        if busy:
            self.text(503, "otaproxy internal busy")
        elif not host:
            self.text(400, "missing `host` header")
        elif host == f"127.0.0.1:{proxy.port}":
            self.text(400, "We are not HTTP server but a proxy server.")
        else:
            self.proxied(proxy, host, urllib.parse.quote(urllib.parse.unquote(path)))

    def proxied(self, proxy, host, path):
        said = directives(self.headers.get(CACHE_CONTROL))
        key = said.get("file_sha256") or "URL_" + hashlib.sha256(f"http://{host}{path}".encode()).hexdigest()
        if "no_cache" not in said and "retry_caching" not in said and key in proxy.kept:
            fields, body = proxy.kept[key]
            return self.send_body(fields, [body])
        fields = {n: self.headers[n] for n in ("authorization", "cookie") if n in self.headers}
        fields.update({"Host": host, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"})
        if proxy.upper_port and CACHE_CONTROL in self.headers:
            fields[CACHE_CONTROL] = self.headers[CACHE_CONTROL]
        near = f"127.0.0.1:{proxy.upper_port}" if proxy.upper_port else host
        c = http.client.HTTPConnection(near, timeout=16)
        try:
            c.putrequest("GET", f"http://{host}{path}" if proxy.upper_port else path, skip_host=True,
                         skip_accept_encoding=True)
            for name, value in fields.items():
                c.putheader(name, value)
            c.endheaders()
            answer = c.getresponse()
        except (OSError, http.client.HTTPException):
            c.close()
            return self.text(502, "Failed to connect to remote")
        if answer.status >= 400:
            answer.read()
            c.close()
            return self.text(answer.status, f"HTTP status from remote: {answer.status}")
        passed = "content-encoding", "content-type", CACHE_CONTROL
        down = {n: answer.headers[n] for n in passed if n in answer.headers}
        body = self.send_body(down, self.pieces(answer))
        c.close()
        if "no_cache" not in said and body is not None:
            kept = {n: down[n] for n in ("content-encoding",) if n in down}
            if "file_sha256" in said:
                kept[CACHE_CONTROL] = down.get(CACHE_CONTROL) or compose(
                    {n: said[n] for n in ("file_sha256", "file_compression_alg") if n in said})
            proxy.kept[key] = kept, body

    def pieces(self, answer):
        while data := answer.read1(512 * 1024):
            yield data
        # read1() says nothing about an end that came too early.
        self.short = bool(answer.length)

    def send_body(self, fields, pieces):
        """The body, or None if it broke off, which whoever reads it cannot see."""
        self.send_response(200)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.short, body = False, []
        try:
            for data in pieces:
                body.append(data)
                self.chunk(data)
        except http.client.HTTPException:
            self.short = True
        self.chunk(b"")
        return None if self.short else b"".join(body)

    def log_message(self, *args):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Who asked has gone."""


class UpperProxy:
    """@upper_port: of the next proxy; 0 = none. busy: so many answers that say it is. kept: what it would serve."""

    def __init__(self, upper_port=0):
        self.upper_port, self.lock, self.requests, self.kept, self.busy = upper_port, threading.Lock(), [], {}, 0
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.proxy = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
