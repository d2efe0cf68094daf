#!/usr/bin/python3
"""
upstream_ecu: a stand-in for an ECU that runs TIER IV's ota-client: what its neighbours see of it, and nothing else.

    upstream_ecu.py CONFIG.json

It installs nothing. It answers the API in that client's wire form and by its rules: children that are named are asked
first, with the whole request, and their entries come first in the answer; a child that fails is one RECOVERABLE entry;
every optional field of a status is there, empty or not. An update fetches as that client does: by http through the
proxy above it, metadata.jwt without a header, all else with `ota-file-cache-control: file_sha256=…`; each file is
checked. A parent runs a proxy of that client's manners: absolute-form GET by the Host header, https to the origin,
answers in chunks without a length, only three headers passed either way, 400 to whoever takes it for a server.

CONFIG: {"ecu_id", "address", "proto": folder of otaclient_v2.proto, "work": folder,
         "secondaries": [{"ecu_id", "address"}], "available": [ecu_id],
         "upper_proxy": "http://host:port" or null, "ca": file or null; with it, a proxy serves on port 8082}

Said on stdout, one JSON object a line: {"event": "ready" | "update" | "fetched" | "phase" | "done" | "proxied", …}.
While the file WORK/hold is there, an update stays in APPLYING_UPDATE. SIGTERM ends it.
"""

import collections
import concurrent.futures
import hashlib
import http.client
import http.server
import json
import os
import re
import signal
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

import grpc

sys.dont_write_bytecode = True
import api_stubs  # noqa: E402

CONFIG = json.load(open(sys.argv[1], encoding="utf-8"))
PORT, PROXY_PORT = 50051, 8082
ASK_CHILD_S = 6
PROXY_WAIT_S = 180
POLL_S = 1.0
PASSED_UP = ("authorization", "cookie", "ota-file-cache-control")
PASSED_DOWN = ("content-encoding", "content-type", "ota-file-cache-control")
REGULAR = re.compile(r"[0-7]+,\d+,\d+,\d+,(?P<digest>\w+),'(?P<path>.+)'(,(?P<size>\d+)?(,(?P<inode>\d*)?(,(?P<alg>\w+)?)?)?)?")
VERSION = "3.14.2"
pb, pb_grpc = api_stubs.load(CONFIG["proto"])

_say_lock = threading.Lock()


def say(event, **fields):
    with _say_lock:
        print(json.dumps({"event": event, "ecu_id": CONFIG["ecu_id"], **fields}), flush=True)


# ---- fetching


class Refused(Exception):
    """An answer that is no success, or bytes that are not the ones asked for."""


class Fetcher:
    """GETs of one image, through the proxy above."""

    def __init__(self, base_url, cookies):
        parts = urllib.parse.urlsplit(base_url)
        self.host = parts.netloc
        # The scheme becomes http whatever it was: the proxy is the one that speaks TLS.
        self.base = f"http://{parts.netloc}{parts.path.rstrip('/')}/"
        self.cookies = "; ".join(f"{k}={v}" for k, v in cookies.items())
        self.proxy = urllib.parse.urlsplit(CONFIG["upper_proxy"]).netloc

    def wait_for_proxy(self):
        """Anything that it answers will do."""
        deadline = time.monotonic() + PROXY_WAIT_S
        while True:
            connection = http.client.HTTPConnection(self.proxy, timeout=5)
            try:
                connection.request("GET", "/", headers={"Host": self.proxy})
                connection.getresponse().read()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            finally:
                connection.close()

    def get(self, name, digest=None, alg=None):
        headers = {"Host": self.host, "User-Agent": "python-requests/2.x", "Accept": "*/*"}
        headers["Accept-Encoding"] = "gzip, deflate"
        if self.cookies:
            headers["Cookie"] = self.cookies
        if digest:
            headers["ota-file-cache-control"] = f"file_sha256={digest}" + (f",file_compression_alg={alg}" if alg else "")
        connection = http.client.HTTPConnection(self.proxy, timeout=32)
        try:
            connection.request("GET", self.base + name, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(f"{name}: status {answer.status}")
        said = answer.getheader("ota-file-cache-control")
        if said and digest and f"file_sha256={digest}" not in said:
            raise Refused(f"{name}: the proxy says it is {said}")
        if alg:
            body = subprocess.run(["zstd", "-dcq"], input=body, stdout=subprocess.PIPE, check=True).stdout
        if digest and hashlib.sha256(body).hexdigest() != digest:
            raise Refused(f"{name}: other bytes than {digest}")
        return body

    def get_again_and_again(self, name, digest, alg):
        """As that client: an error is another try, without an end to them; ours has one."""
        for attempt in range(60):
            try:
                return self.get(name, digest, alg)
            except (Refused, OSError, http.client.HTTPException) as e:
                last = e
                time.sleep(min(1.0, 0.01 * 2**attempt))
        raise Refused(f"{name}: {last}")


def read_metadata(fetcher):
    """{what: {"file", "hash"}} of the signed part. The signature is not this stand-in's business."""
    import base64

    try:
        fetcher.get("oci-layout")
        raise Refused("oci-layout is there")
    except Refused as e:
        if "status 404" not in str(e):
            raise
    payload = json.loads(base64.urlsafe_b64decode(fetcher.get("metadata.jwt").split(b".")[1]))
    return {next(iter(entry)): entry for entry in payload}


def path_in_url(quoted):
    return urllib.parse.quote(quoted.replace("'\\''", "'"), safe="/_.-~")


def fetch_image(fetcher, progress):
    """Every list and every content of the image, each content once."""
    fetcher.wait_for_proxy()
    meta = read_metadata(fetcher)
    for what in ("certificate", "directory", "symboliclink", "regular", "persistent"):
        text = fetcher.get_again_and_again(meta[what][what], meta[what]["hash"], None)
        if what == "regular":
            lines = text.decode().splitlines()
    wanted = {}
    for line in lines:
        entry = REGULAR.match(line)
        if entry["size"] != "0":
            wanted.setdefault(entry["digest"], entry)
    progress(pb.DOWNLOADING_OTA_FILES)

    def fetch(entry):
        if entry["alg"]:
            name = f"{meta['compressed_rootfs_directory']['compressed_rootfs_directory']}/{entry['digest']}.{entry['alg']}"
        else:
            name = meta["rootfs_directory"]["rootfs_directory"] + path_in_url(entry["path"])
        return len(fetcher.get_again_and_again(name, entry["digest"], entry["alg"]))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return len(wanted), sum(pool.map(fetch, wanted.values()))


# ---- the ECU


class Ecu(pb_grpc.OtaClientServiceServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.ota_status, self.version, self.reason = pb.INITIALIZED, "0", ""
        self.phase = pb.INITIALIZING
        self.wanted_version = ""
        self.below = collections.OrderedDict()  # ecu_id -> entry, in order of first contact
        self.stubs = {}
        for child in CONFIG["secondaries"]:
            channel = grpc.insecure_channel(f"{child['address']}:{PORT}", [("grpc.max_reconnect_backoff_ms", 1000)])
            self.stubs[child["ecu_id"]] = pb_grpc.OtaClientServiceStub(channel)
            threading.Thread(target=self._poll, args=(child["ecu_id"],), daemon=True).start()

    # ---- as a parent

    def _poll(self, child):
        while True:
            try:
                answer = self.stubs[child].Status(pb.StatusRequest(), timeout=ASK_CHILD_S)
                with self.lock:
                    for entry in answer.ecu_v2:
                        self.below[entry.ecu_id] = entry
            except grpc.RpcError:
                pass
            time.sleep(POLL_S)

    def _ask_children(self, method, request, names, failed):
        """Merged entries of the children, and one from @failed for each that does not answer."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            calls = {n: pool.submit(getattr(self.stubs[n], method), request, timeout=ASK_CHILD_S) for n in names}
        for name, call in calls.items():
            try:
                yield from call.result().ecu
            except grpc.RpcError as e:
                yield failed(name, e)

    def _children_in_update(self):
        with self.lock:
            return [e.ecu_id for e in self.below.values() if e.ota_status in (pb.UPDATING, pb.CLIENT_UPDATING, pb.ABORTING)]

    # ---- the API

    def Update(self, request, context):
        if not request.request_id:
            request.request_id = f"{int(time.time())}-{os.urandom(4).hex()}"
        say("update", request_id=request.request_id, ecus=[e.ecu_id for e in request.ecu])
        named = [e.ecu_id for e in request.ecu]
        answer = pb.UpdateResponse()
        answer.ecu.extend(self._ask_children(
            "Update", request, [n for n in self.stubs if n in named],
            lambda name, e: pb.UpdateResponseEcu(ecu_id=name, result=pb.RECOVERABLE)))  # fmt: skip
        with self.lock:
            for entry in answer.ecu:
                if entry.result == pb.NO_FAILURE and entry.ecu_id in self.below:
                    self.below[entry.ecu_id].ota_status = pb.UPDATING
        mine = next((e for e in request.ecu if e.ecu_id == CONFIG["ecu_id"]), None)
        if mine:
            answer.ecu.append(pb.UpdateResponseEcu(ecu_id=mine.ecu_id, result=self._begin(mine)))
        return answer

    def _begin(self, mine):
        with self.lock:
            if self.ota_status in (pb.UPDATING, pb.ABORTING):
                return pb.RECOVERABLE
            self.ota_status, self.reason, self.wanted_version = pb.UPDATING, "", mine.version
            self.phase = pb.INITIALIZING
        threading.Thread(target=self._update, args=(mine,), daemon=True).start()
        return pb.NO_FAILURE

    def Abort(self, request, context):
        answer = pb.AbortResponse()
        answer.ecu.extend(self._ask_children(
            "Abort", request, list(self.stubs),
            lambda name, e: pb.AbortResponseEcu(ecu_id=name, result=pb.ABORT_FAILURE, message=e.details())))  # fmt: skip
        with self.lock:
            ok = self.ota_status == pb.UPDATING
            if ok:
                self.ota_status = pb.ABORTED
        answer.ecu.append(pb.AbortResponseEcu(
            ecu_id=CONFIG["ecu_id"], result=pb.ABORT_NO_FAILURE if ok else pb.ABORT_FAILURE,
            message="Abort accepted, aborting update immediately" if ok
            else "Cannot abort: no active OTA update in progress"))  # fmt: skip
        return answer

    def Rollback(self, request, context):
        return pb.RollbackResponse(ecu=[
            pb.RollbackResponseEcu(ecu_id=e.ecu_id, result=pb.RECOVERABLE, message="rollback API support is removed")
            for e in request.ecu])  # fmt: skip

    def Status(self, request, context):
        with self.lock:
            answer = pb.StatusResponse(available_ecu_ids=CONFIG["available"] or [CONFIG["ecu_id"]])
            answer.ecu_v2.extend(self.below.values())
            answer.ecu_v2.append(self._entry())
        return answer

    def _entry(self):
        entry = pb.StatusResponseEcuV2(
            ecu_id=CONFIG["ecu_id"], firmware_version=self.version, otaclient_version=VERSION, ota_status=self.ota_status,
            failure_type=pb.UNRECOVERABLE if self.reason else pb.NO_FAILURE, failure_reason=self.reason, failure_traceback="",
        )  # fmt: skip
        status = entry.update_status
        for duration in ("total", "delta_generating", "downloading", "update_applying"):
            getattr(status, f"{duration}_elapsed_time").SetInParent()
        if self.ota_status == pb.UPDATING:
            status.update_firmware_version, status.phase = self.wanted_version, self.phase
        return entry

    # ---- an update

    def _progress(self, phase):
        with self.lock:
            self.phase = phase
        say("phase", phase=pb.UpdatePhase.Name(phase))

    def _update(self, mine):
        try:
            self._progress(pb.PROCESSING_METADATA)
            files, size = fetch_image(Fetcher(mine.url, json.loads(mine.cookies or "{}")), self._progress)
            say("fetched", files=files, bytes=size)
            self._progress(pb.APPLYING_UPDATE)
            while os.path.exists(f"{CONFIG['work']}/hold"):
                time.sleep(0.1)
            self._progress(pb.FINALIZING_UPDATE)
            while self._children_in_update():
                time.sleep(0.2)
            outcome = pb.SUCCESS, mine.version, ""
        except (Refused, OSError, http.client.HTTPException) as e:
            outcome = pb.FAILURE, self.version, f"E100: {e}"
        with self.lock:
            if self.ota_status == pb.UPDATING:
                self.ota_status, self.version, self.reason = outcome
        say("done", status=pb.StatusOta.Name(outcome[0]), reason=outcome[2])


# ---- the proxy of a parent


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uvicorn", ""
    kept = {}  # key -> (headers, body)
    tls = None

    def do_GET(self):
        host = self.headers.get("Host")
        path = urllib.parse.urlsplit(self.path).path if "://" in self.path else self.path
        if not host or host == f"{CONFIG['address']}:{PROXY_PORT}":
            self._answer(400, {}, b"We are not HTTP server but a proxy server." if host else b"missing `host` header")
            return
        control = self.headers.get("ota-file-cache-control")
        say("proxied", path=path, form=self.path.partition("/")[0], control=control, agent=self.headers.get("User-Agent"))
        digest = re.search(r"file_sha256=(\w+)", control or "")
        key = digest[1] if digest else f"{host}{path}"
        if key not in self.kept or "retry_caching" in (control or "") or "no_cache" in (control or ""):
            status, headers, body = self._ask_origin(host, path)
            if status >= 400:
                self._answer(status, {}, f"HTTP status from remote: {status}".encode())
                return
            self.kept[key] = headers, body
        headers, body = self.kept[key]
        self._answer(200, headers, body)

    def _ask_origin(self, host, path):
        up = {k: v for k in PASSED_UP[:2] if (v := self.headers.get(k))}
        connection = http.client.HTTPSConnection(host, timeout=16, context=self.tls)
        try:
            connection.request("GET", path, headers=up)
            answer = connection.getresponse()
            return answer.status, {k: v for k in PASSED_DOWN if (v := answer.getheader(k))}, answer.read()
        except (OSError, http.client.HTTPException):
            return 502, {}, b""
        finally:
            connection.close()

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 512 << 10):
            piece = body[at : at + (512 << 10)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class ProxyServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main():
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if CONFIG["ca"]:
        Proxy.tls = ssl.create_default_context(cafile=CONFIG["ca"])
        threading.Thread(target=ProxyServer((CONFIG["address"], PROXY_PORT), Proxy).serve_forever, daemon=True).start()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_OtaClientServiceServicer_to_server(Ecu(), server)
    server.add_insecure_port(f"{CONFIG['address']}:{PORT}")
    server.start()
    say("ready")
    ended.wait()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
