"""log_servers: the log servers of a vehicle for tests, over HTTP and over gRPC (Debian's grpcio), well and unwell.

PROTO_FOLDER comes from the environment (meson sets it).
"""

import http.server
import os
import socket
import threading
import time
from concurrent import futures

import api_stubs
import grpc


class Records:
    """What a server was given: (ecu_id, kind, text) each, kind 0 for lines and 1 for the record of an update."""

    def __init__(self):
        self.all, self.lock = [], threading.Lock()

    def add(self, ecu_id, kind, text):
        with self.lock:
            self.all.append((ecu_id, kind, text))

    def texts(self, kind=0):
        with self.lock:
            return [t for _, k, t in self.all if k == kind]

    def wait_for(self, words, kind=0, limit_s=30):
        """The first text with these words."""
        end = time.monotonic() + limit_s
        while True:
            found = [t for t in self.texts(kind) if words in t]
            if found:
                return found[0]
            assert time.monotonic() < end, f"\"{words}\" never came: {self.texts(kind)}"
            time.sleep(0.02)


class HttpLogServer:
    """@delays: seconds before each answer, the last one for all that follow; @garbage: what is no HTTP as an answer."""

    def __init__(self, port=0, status=200, delays=(0,), garbage=b""):
        self.records, self.headers = Records(), []
        self.delays, self.let_go = list(delays), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.headers.append(dict(self.headers))
                if garbage:
                    self.wfile.write(garbage)
                    self.close_connection = True
                    return
                outer.records.add(self.path, 0, body)
                outer.let_go.wait(outer.delays.pop(0) if len(outer.delays) > 1 else outer.delays[0])
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):
                pass  # a client that does not wait is what some tests are about

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()


class GrpcLogServer:
    def __init__(self, port=0):
        pb, pb_grpc = api_stubs.load(os.environ["PROTO_FOLDER"], "otaclient_iot_logging")
        self.records, self.checks = Records(), 0
        outer = self

        class Service(pb_grpc.OTAClientIoTLoggingServiceServicer):
            def PutLog(self, request, context):
                outer.records.add(request.ecu_id, request.log_type, request.message)
                return pb.PutLogResponse(code=0)

            def Check(self, request, context):
                outer.checks += 1
                return pb.HealthCheckResponse(status=1)

        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_OTAClientIoTLoggingServiceServicer_to_server(Service(), self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.url = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def stop(self):
        self.server.stop(0).wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


class OtherGrpcServer:
    """Well, if it is asked; but what is sent it answers with @words."""

    def __init__(self, words):
        class Anything(grpc.GenericRpcHandler):
            def service(self, details):
                answer = words if details.method.endswith("/PutLog") else b""
                return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

        self.server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Anything()])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.stop(0).wait()


class SilentServer:
    """Takes connections, or leaves them to the kernel, and never says a word; or it says @words to whoever comes."""

    def __init__(self, words=b""):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        if words:
            threading.Thread(target=self.talk, args=(words,), daemon=True).start()

    def talk(self, words):
        while True:
            try:
                with self.socket.accept()[0] as s:
                    s.sendall(words)
                    s.recv(65536)
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()
