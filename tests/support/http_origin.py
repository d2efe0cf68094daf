#!/usr/bin/env python3
"""http_origin: an HTTP/1.1 server that misbehaves on purpose, for tests. Python's standard library only.

    http_origin.py [--script FILE] [--root DIR] [--log FILE] [--sent FILE] [--cut-every N] [--port N] [--bind ADDR]
                   [--cert PEM --key PEM]

It prints its port on stdout once it listens, and ends when its stdin is closed, so that it never outlives
a test. A request in absolute form is answered like any other: the origin can stand in for a proxy.

The script is JSON: a path (with query, or "*" for every other) to a list of answers. The first request gets
the first, and so on; the last is repeated. What has no answer is looked up as a file below --root (with
ranges and an ETag), else it is a 404. An answer is an object; all keys are optional:

    status          200
    body            text; or "size": that many bytes, where byte i is i % 251; or "file": content of a file
                    (below --root, if its name is relative)
    headers         more fields, an object; null as a value leaves one of ours out
    gzip            true: the body compressed, with its Content-Encoding
    etag            "\\"v1\\""; with ranges: used for If-Range
    last_modified   likewise
    ranges          true: Range: bytes=N- is understood (206, 416, If-Range)
    range_shift     the 206 begins so many bytes beside what was asked for, and says so
    range_total     what the 206 says of the whole
    content_length  a number to say instead of the right one; null: close-delimited; "chunked"
    redirect        Location of a 302
    delay_ms        before anything is sent
    cut_after       close the connection after so many body bytes
    stall_after     send nothing more after so many body bytes, and keep the connection open for stall_ms
    stall_ms        60000
    piece           bytes per write (65536), with piece_delay_ms between them
    cut_header      close the connection behind so many bytes of the header
    slow_fields_ms  an endless header, one short field each so many milliseconds
    endless         true: a chunked body without an end
    endless_fields  no end of the "header" or, behind a whole chunked body, of the "trailer"; or of one "line" of the
                    header
    hang_up         true: close without any answer
    no_http         true: close behind a line that is none of HTTP

    cut_half        true: like cut_after, at half of what is to be sent

With --cut-every, each Nth answer with a whole file has cut_half. HEAD is answered like GET,
without the body, and POST like GET, once its body has come.

The log has one line of JSON for each request: n, method, target, path, headers (names in lower case), client_port,
answer (its index in the list, -1 for a file); of a POST also posted, its body. --sent is another one, with a line for each
body that was begun, once it is over: path, sent (bytes of the body that were given to the connection).
"""
import argparse
import email.utils
import gzip
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse

PATTERN = bytes(i % 251 for i in range(251 * 1024))


def pattern(first, size):
    """Bytes first…first+size of the endless test pattern."""
    shift = first % 251
    rounds = (shift + size) // len(PATTERN) + 1
    return (PATTERN * rounds)[shift:shift + size]


class Script:
    """The answers, and who is next. Shared by all connections."""

    def __init__(self, answers, root, log, sent_log=None, cut_every=0):
        self.answers, self.root, self.log, self.sent_log, self.cut_every = answers, root, log, sent_log, cut_every
        self.served, self.n_requests, self.n_files = {}, 0, 0
        self.lock = threading.Lock()

    def next_answer(self, path, record):
        with self.lock:
            key = path if path in self.answers else "*"
            if key in self.answers:
                index = min(self.served.get(key, 0), len(self.answers[key]) - 1)
                self.served[key] = index + 1
                answer = self.answers[key][index]
            else:
                index, answer = -1, self.file_answer(path, "range" not in record["headers"])
            record.update(n=self.n_requests, answer=index)
            self.n_requests += 1
            if self.log:
                self.log.write(json.dumps(record) + "\n")
                self.log.flush()
        return answer

    def file_answer(self, path, whole):
        if self.root:
            name = os.path.join(self.root, urllib.parse.unquote(path.split("?")[0]).lstrip("/"))
            inside = os.path.realpath(name).startswith(os.path.realpath(self.root) + os.sep)
            if inside and os.path.isfile(name):
                stat = os.stat(name)
                self.n_files += whole
                cut = whole and self.cut_every > 0 and self.n_files % self.cut_every == 0
                return {"file": name, "ranges": True, "etag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"',
                        "cut_half": cut}
        return {"status": 404, "body": "not found\n"}

    def note_sent(self, path, sent):
        if self.sent_log:
            with self.lock:
                self.sent_log.write(json.dumps({"path": path, "sent": sent}) + "\n")
                self.sent_log.flush()


def body_of(answer, root):
    if "file" in answer:
        with open(os.path.join(root or "", answer["file"]), "rb") as f:
            body = f.read()
    elif "size" in answer:
        body = pattern(0, answer["size"])
    else:
        body = answer.get("body", "").encode()
    return gzip.compress(body) if answer.get("gzip") else body


class Cut(Exception):
    """The connection is to be closed here."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script = None

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        path = parts.path + ("?" + parts.query if parts.query else "")
        record = {
            "method": self.command, "target": self.path, "path": path, "client_port": self.client_address[1],
            "headers": {k.lower(): v for k, v in self.headers.items()},
        }
        if self.command == "POST":
            posted = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            record["posted"] = posted.decode("utf-8", "replace")
        answer = self.script.next_answer(path, record)
        try:
            self.play(answer)
        except (Cut, BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_HEAD = do_POST = do_GET

    def play(self, answer):
        time.sleep(answer.get("delay_ms", 0) / 1000)
        if answer.get("no_http"):
            self.wfile.write(b"what is left of something else\r\n")
        if answer.get("hang_up") or answer.get("no_http"):
            raise Cut
        status, first, body, fields = self.choose(answer)
        length = answer.get("content_length", len(body) - first)
        chunked = length == "chunked" or answer.get("endless") or answer.get("endless_fields")
        if chunked:
            fields["Transfer-Encoding"] = "chunked"
        elif length is None:
            fields["Connection"] = "close"
        else:
            fields["Content-Length"] = str(length)
        fields.update(answer.get("headers", {}))
        lines = [f"HTTP/1.1 {status} Scripted"] + [f"{k}: {v}" for k, v in fields.items() if v is not None]
        header = ("\r\n".join(lines) + "\r\n").encode("latin-1")
        self.wfile.write(header[:answer.get("cut_header")])
        if "cut_header" in answer:
            raise Cut
        while "slow_fields_ms" in answer:
            self.wfile.write(b"X: y\r\n")
            time.sleep(answer["slow_fields_ms"] / 1000)
        if answer.get("endless_fields") in ("header", "line"):
            self.send_fields(answer["endless_fields"])
        self.wfile.write(b"\r\n")
        if self.command == "HEAD":
            return
        if answer.get("cut_half"):
            answer = {**answer, "cut_after": (len(body) - first) // 2}
        self.n_sent = 0
        try:
            self.send_body(answer, body[first:], chunked)
        finally:
            self.script.note_sent(urllib.parse.urlsplit(self.path).path, self.n_sent)
        # What is not as announced must not be read as the beginning of the next answer.
        if length is None or (not chunked and length != len(body) - first):
            raise Cut

    def choose(self, answer):
        """Status, first byte, whole body and fields."""
        fields = {"Date": email.utils.formatdate(usegmt=True)}
        if "redirect" in answer:
            fields["Location"] = answer["redirect"]
            return answer.get("status", 302), 0, b"", fields
        body = body_of(answer, self.script.root)
        if answer.get("gzip"):
            fields["Content-Encoding"] = "gzip"
        if "etag" in answer:
            fields["ETag"] = answer["etag"]
        if "last_modified" in answer:
            fields["Last-Modified"] = answer["last_modified"]
        if not answer.get("ranges"):
            return answer.get("status", 200), 0, body, fields
        fields["Accept-Ranges"] = "bytes"
        asked = self.headers.get("Range", "")
        known = (answer.get("etag"), answer.get("last_modified"))
        if not asked.startswith("bytes=") or self.headers.get("If-Range", known[0]) not in known:
            return answer.get("status", 200), 0, body, fields
        first = int(asked[len("bytes="):].split("-")[0]) + answer.get("range_shift", 0)
        if first >= len(body):
            fields["Content-Range"] = f"bytes */{len(body)}"
            return 416, len(body), body, fields
        total = answer.get("range_total", len(body))
        fields["Content-Range"] = f"bytes {first}-{len(body) - 1}/{total}"
        return 206, first, body, fields

    def send_body(self, answer, body, chunked):
        piece = answer.get("piece", 65536)
        sent = 0
        while answer.get("endless") or sent < len(body):
            n = piece if answer.get("endless") else min(piece, len(body) - sent)
            for limit in ("cut_after", "stall_after"):
                if limit in answer:
                    n = min(n, answer[limit] - sent)
            data = pattern(sent, n) if answer.get("endless") else body[sent:sent + n]
            if data:
                self.n_sent += len(data)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                self.wfile.flush()
            sent += len(data)
            if answer.get("cut_after") == sent:
                raise Cut
            if answer.get("stall_after") == sent:
                time.sleep(answer.get("stall_ms", 60000) / 1000)
                raise Cut
            time.sleep(answer.get("piece_delay_ms", 0) / 1000)
        if answer.get("endless_fields"):
            self.wfile.write(b"0\r\n")
            self.send_fields("trailer")
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def send_fields(self, where):
        self.wfile.write(b"X-Line: ")
        while True:
            self.wfile.write(b"b" * 1000 if where == "line" else b"b" * 1000 + b"\r\nX-Field: ")

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    tls = None

    def finish_request(self, request, client_address):
        if self.tls:
            # In the connection's own thread, so that a slow handshake holds up nobody else.
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--script", help="JSON file, or the JSON itself")
    parser.add_argument("--root")
    parser.add_argument("--log")
    parser.add_argument("--sent")
    parser.add_argument("--cut-every", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    args = parser.parse_args()

    answers = {}
    if args.script:
        text = args.script
        if not text.lstrip().startswith("{"):
            with open(text, encoding="utf-8") as f:
                text = f.read()
        answers = json.loads(text)
    log = open(args.log, "a", encoding="utf-8") if args.log else None
    sent_log = open(args.sent, "a", encoding="utf-8") if args.sent else None
    Handler.script = Script(answers, args.root, log, sent_log, args.cut_every)
    server = Server((args.bind, args.port), Handler)
    if args.cert:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(args.cert, args.key)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.buffer.read()  # until whoever started us is gone


if __name__ == "__main__":
    main()
