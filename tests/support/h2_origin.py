#!/usr/bin/python3
"""h2_origin: an HTTP/2 server (TLS only) that misbehaves on purpose, for tests. Needs Debian's python3-h2.

    h2_origin.py --root DIR --cert PEM --key PEM [--script JSON] [--log FILE] [--requests N]

Like http_origin.py it prints its port, ends with its stdin, serves files below --root with ranges and an ETag, and the
script is a path with its answers, the last of which is repeated; "*" is every path without its own. The log has a line
of JSON for each request. --requests: each connection says GOAWAY behind its Nth request, serves what it has got and
ends. An answer that is not {} is one of

    reset           RST_STREAM with this error code, instead of an answer
    reset_after     the file, but RST_STREAM (INTERNAL_ERROR) behind so many bytes
    goaway          "refuse": GOAWAY that takes back this request, and the connection ends; "error": one with
                    PROTOCOL_ERROR for all
    goaway_after    the file, but GOAWAY behind so many bytes, and the connection ends
    stall_after     the file, but nothing comes behind so many bytes
    short           true: the file, but the stream ends one byte early
    long            true: the file, but one byte more comes than announced
    flood           "ping", "settings", "window": frames of that kind without an end; "header": a field of 16 MiB;
                    "push": a promise that nobody may make
    beyond_window   true: more bytes than the client has room for
"""
import argparse
import contextlib
import json
import os
import socket
import ssl
import struct
import sys
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

HANDSHAKE_LIMIT_S = 20
DATA, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = 0, 3, 4, 5, 6, 7, 8, 9


def frame(kind, stream_id, payload, flags=0):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream_id) + payload


class Ended(Exception):
    """The connection is to be closed here."""


class Script:
    def __init__(self, answers, root, log):
        self.answers, self.root, self.log, self.served, self.lock = answers, root, log, {}, threading.Lock()

    def next_answer(self, path, headers):
        with self.lock:
            if self.log:
                self.log.write(json.dumps({"path": path, "headers": headers}) + "\n")
                self.log.flush()
            key = path if path in self.answers else "*"
            if key not in self.answers:
                return {}
            index = min(self.served.get(key, 0), len(self.answers[key]) - 1)
            self.served[key] = index + 1
            return self.answers[key][index]

    def file(self, path):
        name = os.path.join(self.root, path.lstrip("/"))
        if not os.path.realpath(name).startswith(os.path.realpath(self.root) + os.sep) or not os.path.isfile(name):
            return None
        with open(name, "rb") as f:
            return f.read()


class Connection:
    def __init__(self, sock, script, n_requests):
        self.sock, self.script, self.n_requests, self.n_asked = sock, script, n_requests, 0
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.bodies = {}  # stream → what is still to be sent, and the answer
        self.ends = {}  # of a PING → stream that is ended as soon as the client has answered it, and the answer

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def raw(self, *args, **kwargs):
        self.flush()
        self.sock.sendall(frame(*args, **kwargs))

    def serve(self):
        self.h2.initiate_connection()
        self.flush()
        while data := self.sock.recv(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.asked(event.stream_id, dict(event.headers))
                elif isinstance(event, h2.events.StreamReset):
                    self.bodies.pop(event.stream_id, None)
                elif isinstance(event, h2.events.PingAckReceived):
                    self.end(*self.ends.pop(event.ping_data))
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return
            self.send_bodies()
            self.flush()
            if self.n_asked >= self.n_requests and not self.bodies:
                return

    def asked(self, stream, headers):
        self.n_asked += 1
        if self.n_asked > self.n_requests:
            return  # behind our GOAWAY: not seen
        path = headers[":path"]
        answer = self.script.next_answer(path, headers)
        if self.n_asked == self.n_requests:
            self.raw(GOAWAY, 0, struct.pack(">II", stream, 0))
        if "reset" in answer:
            self.h2.reset_stream(stream, answer["reset"])
        elif "goaway" in answer:
            refused = answer["goaway"] == "refuse"
            self.raw(GOAWAY, 0, struct.pack(">II", 0, 0 if refused else 1))
            raise Ended
        elif "flood" in answer:
            self.flood(stream, answer["flood"])
        else:
            self.begin(stream, path, headers, answer)

    def begin(self, stream, path, headers, answer):
        body, first = self.script.file(path), 0
        if body is None:
            self.h2.send_headers(stream, [(":status", "404"), ("content-length", "0")], end_stream=True)
            return
        fields = [("etag", '"1"'), ("accept-ranges", "bytes")]
        status = "200"
        if headers.get("range", "").startswith("bytes=") and headers.get("if-range", '"1"') == '"1"':
            first = int(headers["range"][len("bytes="):].split("-")[0])
            fields.append(("content-range", f"bytes {first}-{len(body) - 1}/{len(body)}"))
            status = "206"
        self.h2.send_headers(stream, [(":status", status), ("content-length", str(len(body) - first)), *fields])
        body = body[first:] + b"x" * bool(answer.get("long"))
        if answer.get("short"):
            body = body[:-1]
        if answer.get("beyond_window"):
            self.flush()
            while True:
                self.raw(DATA, stream, bytes(16384))
        self.bodies[stream] = [memoryview(body), answer, 0]

    def send_bodies(self):
        """As much as there is room for."""
        for stream in list(self.bodies):
            body, answer, sent = self.bodies[stream]
            while body:
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
                for limit in ("reset_after", "goaway_after", "stall_after"):
                    if limit in answer:
                        room = min(room, answer[limit] - sent)
                if room <= 0:
                    break
                # not by the library, which keeps to what was announced
                self.h2.send_data(stream, bytes(body[:room])) if not answer.get("long") else \
                    self.raw(DATA, stream, bytes(body[:room]))
                sent, body = sent + room, body[room:]
            self.bodies[stream][0], self.bodies[stream][2] = body, sent
            self.body_over(stream, body, answer, sent)

    def body_over(self, stream, body, answer, sent):
        if sent in (answer.get("reset_after"), answer.get("goaway_after")):
            # A client that finds the end beside the bytes may throw both away.
            sign = struct.pack(">Q", stream)
            self.ends[sign] = stream, answer
            self.h2.ping(sign)
        elif not body and answer.get("long"):
            self.raw(DATA, stream, b"", flags=1)
        elif not body and "stall_after" not in answer:
            self.h2.end_stream(stream)
        else:
            return
        del self.bodies[stream]

    def end(self, stream, answer):
        if "reset_after" in answer:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        else:
            self.raw(GOAWAY, 0, struct.pack(">II", stream, 0))
            raise Ended

    def flood(self, stream, kind):
        while kind == "ping":
            self.raw(PING, 0, bytes(8))
        while kind == "settings":
            self.raw(SETTINGS, 0, struct.pack(">HI", 4, 65535))
        while kind == "window":
            self.raw(WINDOW, stream, struct.pack(">I", 1))
        if kind == "push":
            self.raw(PUSH, stream, struct.pack(">I", 2) + b"\x82", flags=4)
            return
        # a literal field without an index, whose value does not end
        self.raw(1, stream, b"\x88\x00\x01x\x7f\x81\xff\xff\x07" + bytes(1000))
        for _ in range(1000):
            self.raw(CONTINUATION, stream, b"a" * 16384)


def serve(sock, tls, script, n_requests):
    with contextlib.suppress(OSError, Ended, h2.exceptions.ProtocolError), contextlib.closing(sock):
        sock.settimeout(HANDSHAKE_LIMIT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with tls.wrap_socket(sock, server_side=True) as secured:
            secured.settimeout(None)
            Connection(secured, script, n_requests).serve()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--root", "--cert", "--key", "--script", "--log"):
        parser.add_argument(name)
    parser.add_argument("--requests", type=int, default=1 << 30)
    args = parser.parse_args()
    log = open(args.log, "a", encoding="utf-8") if args.log else None
    script = Script(json.loads(args.script or "{}"), args.root, log)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(args.cert, args.key)
    tls.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, tls, script, args.requests), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
