#!/usr/bin/env python3
"""Real daemons above each other, each with a /run of its own, on the addresses of one loopback (root; nothing of this host is seen).

They have no boot loader that they know, so updates of themselves are refused; what they hand on and report is not touched by that. OTACLIENT,
OTACTL, TREE_SERVER and FAKE_PROXY come from the environment.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from ecu_lab import enter_private  # noqa: E402
from update_lab import run  # noqa: E402

LIMIT_S = 30


def wait_for(what, condition, limit_s=LIMIT_S):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} has not come"
        time.sleep(0.05)
    return value


class Daemon:
    """One otaclient; @below: (id, address, port)."""

    def __init__(self, ecu_id, address, below=(), available=(), settings="", proxy_info=""):
        self.folder = tempfile.mkdtemp(prefix=f"tree.{ecu_id}.", dir="/tmp")
        self.address = address
        secondaries = "".join(f"  - {{ecu_id: {i}, ip_addr: {a}, port: {p}}}\n" for i, a, p in below)
        ids = "".join(f"  - {i}\n" for i in available)
        self.write("ecu_info.yaml", f"format_version: 1\necu_id: {ecu_id}\nip_addr: {address}\nbootloader: grub\n"
                   + (f"secondaries:\n{secondaries}" if below else "") + (f"available_ecu_ids:\n{ids}" if available else ""))
        self.write("proxy_info.yaml", proxy_info)
        self.write("otaclient.yaml", settings)
        self.run_dir = os.path.join(self.folder, "run")
        os.mkdir(self.run_dir)
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", 'mount --bind "$1" /run && shift && exec "$@"', "sh", self.run_dir, os.environ["OTACLIENT"],
                 "--config-dir", self.folder, "--certs", self.folder, "--settings", os.path.join(self.folder, "otaclient.yaml")],
                stderr=log, stdout=log)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as f:
            return f.read()

    def said(self, words):
        try:
            wait_for(words, lambda: words in self.log())
        except AssertionError as e:
            raise AssertionError(f"{e}:\n{self.log()}") from e
        return self

    def otactl(self, *args):
        p = subprocess.run([os.environ["OTACTL"], "--ecu", self.address, "--json", *args], capture_output=True, text=True, timeout=60)
        return p.stdout + p.stderr

    def status(self):
        return {e["ecu_id"]: e for e in json.loads(self.otactl("status").splitlines()[0])["ecus"]}

    def end(self):
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(LIMIT_S) == 0, self.log()
        assert time.monotonic() - began < 5, self.log()

    def __enter__(self):
        return self.said(" serves ECU ")

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()


class TreeServer:
    """The scripted daemon, where one is needed that accepts updates."""

    def __init__(self, ecu_id):
        self.process = subprocess.Popen([os.environ["TREE_SERVER"], "--ecu-id", ecu_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.line().split()[1])
        self.order("boot SUCCESS 1.0")

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def order(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        assert self.line() == "done " + words

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def three_levels_of_real_daemons_report_and_answer():
    with Daemon("leaf", "127.0.0.3") as leaf, \
            Daemon("middle", "127.0.0.2", below=[("leaf", "127.0.0.3", 50051)]) as middle, \
            Daemon("main", "127.0.0.1", below=[("middle", "127.0.0.2", 50051)], available=["main", "middle", "leaf"]) as main:
        wait_for("all three", lambda: set(main.status()) == {"main", "middle", "leaf"})
        assert list(main.status())[0] == "main"
        for ecu in main.status().values():
            assert ecu["ota_status"] == "FAILURE" and ecu["failure_reason"].startswith("E301: "), ecu
        # a grandchild alone; without a boot loader it refuses
        answer = main.otactl("update", "--ecu-id", "leaf", "--url", "http://127.0.0.9:1/", "--version", "2")
        assert '"ecu_id": "leaf"' in answer.replace('":"', '": "') and "This ECU cannot be updated" in answer, answer
        assert "middle" not in answer and "main" not in answer, answer
        leaf.said("Update refused")
        answer = main.otactl("abort")
        assert answer.count('"ABORT_FAILURE"') == 3, answer
        # a child that goes is reported until it has missed its polls, and the rest goes on
        leaf.end()
        assert set(main.status()) >= {"main", "middle"}
        for d in (main, middle):
            d.end()


def end_waits_for_no_child_that_is_silent():
    with socket.create_server(("127.0.0.1", 0)) as silent, \
            Daemon("main", "127.0.0.1", below=[("silent", "127.0.0.1", silent.getsockname()[1]), ("gone", "127.0.0.1", 9)]) as main:
        main.said("ECU gone: 127.0.0.1:9 did not answer Status: Connection refused")
        silent.accept()
        assert list(main.status()) == ["main"]
        main.end()


def proxy_runs_for_a_child_although_this_ecu_is_not_named():
    beside = tempfile.mkdtemp(prefix="tree.proxy.", dir="/tmp")
    os.mkdir(beside + "/cache")
    settings = f'proxy_program: {os.environ["FAKE_PROXY"]}\nproxy_user: ""\nproxy_cache_dir: {beside}/cache\n'
    proxy = "enable_local_ota_proxy: true\nlocal_ota_proxy_listen_addr: 127.0.0.1\nlocal_ota_proxy_listen_port: 8082\n"
    with TreeServer("p1") as child, \
            Daemon("main", "127.0.0.1", below=[("p1", "127.0.0.1", child.port)], available=["main", "p1"],
                   settings=settings, proxy_info=proxy) as main:
        wait_for("the child", lambda: "p1" in main.status())
        assert not os.path.exists(beside + "/log")
        main.otactl("update", "--ecu-id", "p1", "--url", "http://user:secret@images.example:81/v2", "--version", "2")
        # it was wanted, and knew the server, before the child heard of it
        with open(main.run_dir + "/otaclient/otaproxy.origins") as f:
            assert f.read() == "http://images.example:81\n"
        assert child.line().startswith("update ")
        log = wait_for("the proxy", lambda: os.path.exists(beside + "/log") and open(beside + "/log").read())
        assert log.startswith("start "), log
        assert main.log().count("otaproxy has started") == 1
        main.end()
        assert "otaproxy has ended, as it was told" in main.log(), main.log()


if __name__ == "__main__":
    enter_private()
    run([
        three_levels_of_real_daemons_report_and_answer,
        end_waits_for_no_child_that_is_silent,
        proxy_runs_for_a_child_although_this_ecu_is_not_named,
    ])
