"""otactl against tests/support/api_server: what it prints, its exit codes, and waiting over a reboot.

    /usr/bin/python3 test_otactl.py OTACTL API_SERVER PROTO_FOLDER
"""

import concurrent.futures
import json
import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unicodedata
import unittest
import zlib

import grpc

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
import api_stubs  # noqa: E402

OTACTL, SERVER, PROTO = sys.argv[1:4]
COMPLETION = os.path.join(os.path.dirname(__file__), "../../otaclient/ctl/otactl.bash")
ADVICE = "is the ECU on, does otaclient run there, is --ecu right?"

# Whoever runs this in the background, or under nohup, ignores these, and programs started here would do the same.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Server:
    """The machine that is asked; orders go to its stdin, and each is awaited."""

    def __init__(self, *args):
        self.process = subprocess.Popen([SERVER, *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True)
        self.port = self.expect(r"port (\d+)").group(1)

    def expect(self, pattern):
        line = self.process.stdout.readline().rstrip("\n")
        match = re.fullmatch(pattern, line)
        assert match, f"expected {pattern!r}, got {line!r}"
        return match

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.expect("done .*")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        if not self.process.stdout.closed:
            self.process.communicate(timeout=30)
        assert self.process.returncode == 0, f"exit status {self.process.returncode}"


class Terminal:
    """A program on a terminal, and what is to be seen there: a small emulator of what otactl uses."""

    def __init__(self, columns, rows, *args, term="xterm"):
        self.main, child = pty.openpty()
        self.columns = columns
        self.resize(columns, rows)
        self.settings = termios.tcgetattr(child)
        self.raw = b""
        self.process = subprocess.Popen([OTACTL, *args], stdin=child, stdout=child, stderr=child,
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                        env=dict(os.environ, TERM=term))
        self.child = child

    def resize(self, columns, rows):
        self.columns = columns
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, timeout=1):
        if select.select([self.main], [], [], timeout)[0]:
            self.raw += os.read(self.main, 65536)

    def pages(self):
        """Each page that was drawn completely, as its lines."""
        return [re.sub(r"\x1b\[\d*[A-Z]|\r", "", page).split("\n")[:-1] for page in
                re.findall(r"\x1b\[\?25l\x1b\[\?7l(.*?)\x1b\[J\x1b\[\?7h\x1b\[\?25h",
                           self.raw.decode(errors="replace"), re.S)]

    def wait_for(self, condition):
        """The first page drawn from now on of which @condition is true."""
        n, end = len(self.pages()), time.monotonic() + 30
        while time.monotonic() < end:
            for page in self.pages()[n:]:
                if condition(page):
                    return page
            self.read()
        raise AssertionError(f"no such page in {self.pages()[n:]}")

    def end(self):
        """The exit status, after what is left was read."""
        end = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        self.read(0)
        return self.process.wait(timeout=1)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)
        os.close(self.child)


def columns_of(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


class ForeignClient:
    """Another client's service, or an older one's: Status and Update as ever, and no Forecast."""

    def __init__(self, proto):
        self.pb, _ = api_stubs.load(proto)
        self.calls = []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
        pb = self.pb
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("OtaClientV2.OtaClientService", {
            "Status": grpc.unary_unary_rpc_method_handler(
                self.status, pb.StatusRequest.FromString, pb.StatusResponse.SerializeToString),
            "Update": grpc.unary_unary_rpc_method_handler(
                self.update, pb.UpdateRequest.FromString, pb.UpdateResponse.SerializeToString),
        }),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def status(self, request, context):
        self.calls.append("Status")
        return self.pb.StatusResponse(available_ecu_ids=["main"], ecu_v2=[
            self.pb.StatusResponseEcuV2(ecu_id="main", ota_status=self.pb.SUCCESS)])

    def update(self, request, context):
        self.calls.append("Update")
        return self.pb.UpdateResponse(ecu=[self.pb.UpdateResponseEcu(ecu_id=e.ecu_id) for e in request.ecu])

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(None)


class OtactlTest(unittest.TestCase):
    def booted(self, *args, boot="SUCCESS 1.0"):
        server = Server(*args)
        self.addCleanup(server.stop)
        if boot:
            server.order("boot " + boot)
        return server

    def start(self, server, *args):
        process = subprocess.Popen([OTACTL, "--ecu", f"127.0.0.1:{server.port}", *args],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def end():
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def run_to_end(self, process):
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def ctl(self, server, *args):
        return self.run_to_end(self.start(server, *args))

    def alone(self, *args, **more):
        r = subprocess.run([OTACTL, *args], capture_output=True, text=True, timeout=60, **more)
        return r.returncode, r.stdout, r.stderr

    def wait_for_line(self, process, pattern):
        for line in process.stdout:
            if re.search(pattern, line):
                return line
        self.fail(f"no line like {pattern!r}")

    # --- status ---

    def test_status_shows_each_ecu(self):
        code, out, err = self.ctl(self.booted(), "status")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\Amain\n  status            SUCCESS\n  firmware version  1\.0\n"
                              r"  client version    \d+\.\d+\.\d+\n\n"
                              r"sub\n  status            has not reported\n\Z")

    def test_status_as_json(self):
        server = self.booted()
        code, out, _ = self.ctl(server, "--json", "status")
        self.assertEqual(code, 0)
        status = json.loads(out)
        self.assertEqual(status["available_ecu_ids"], ["main", "sub"])
        self.assertEqual(status["ecus"][0]["ota_status"], "SUCCESS")
        self.assertIsNone(status["ecus"][0]["update_status"])

    def test_nobody_there_is_one_sentence(self):
        for args in (["status"], ["abort"], ["rollback"], ["status", "--watch"],
                     ["update", "--url", "u", "--version", "v", "--wait"]):
            code, out, err = self.alone("--ecu", "127.0.0.1:1", *args)
            self.assertEqual((code, out), (1, ""))
            self.assertRegex(err, r"\Aotactl: 127\.0\.0\.1:1 did not answer \w+: "
                                  r"Connection refused; " + re.escape(ADVICE) + r"\n\Z")

    def test_a_machine_that_does_not_know_yet_is_one_sentence(self):
        server = self.booted(boot=None)
        self.assertEqual(self.ctl(server, "status"),
                         (1, "", f"otactl: 127.0.0.1:{server.port} did not answer Status: "
                                 "local ECU 'main' status not yet collected; ask again in some seconds\n"))

    def test_a_web_proxy_of_the_environment_is_not_asked(self):
        server = self.booted()
        env = dict(os.environ, http_proxy="http://127.0.0.1:1/", https_proxy="http://127.0.0.1:1/")
        env.pop("no_proxy", None)
        code, _, err = self.alone("--ecu", f"127.0.0.1:{server.port}", "status", env=env)
        self.assertEqual((code, err), (0, ""))

    def test_watching_without_a_terminal_prints_a_line_per_phase(self):
        server = self.booted()
        process = self.start(server, "status", "--watch")
        self.assertEqual(process.stdout.readline(), "main: SUCCESS, version 1.0\n")
        self.assertRegex(process.stdout.readline(), r"^sub: NOT_REPORTED, no report for \d+ s\n$")
        self.ctl(server, "update", "--url", "http://x/", "--version", "2.0")
        server.expect("update .*")
        self.wait_for_line(process, "^main: INITIALIZING$")
        server.order("progress 10485760 41943040 1048576")
        server.order("phase 3")
        self.wait_for_line(process,
                           r"^main: DOWNLOADING_OTA_FILES 25 %, 10\.0 MiB of 40\.0 MiB")

    # --- a vehicle of seven ECUs, on terminals of several sizes ---

    NAMES = ["camera", "lidar",
             "\u8eca\u4e21\u5236\u5fa1\u30e6\u30cb\u30c3\u30c8", "a\x1b[2J\r\n\u202eb", "e\u0301" * 5, "x" * 200]

    def vehicle(self, names=None):
        """main, and six below: at work, failed, silent, and never seen."""
        names = names or ["camera", "lidar", "radar", "maps", "gateway", "door"]
        server = self.booted(*(word for name in names for word in ("--child", name)))
        for n in range(1, 6):
            server.order(f"child {n} status SUCCESS 1.0")
        server.order("child 1 phase 3")
        server.order("child 1 progress 10485760 41943040 1048576")
        server.order("child 2 phase 4")
        server.order("child 2 progress 50 100 0")
        server.order("child 3 fail E203: The image has no regulars.txt")
        return server

    def terminal(self, server, columns, rows, *args, **more):
        t = Terminal(columns, rows, "--ecu", f"127.0.0.1:{server.port}", *args, **more)
        self.addCleanup(t.close)
        return t

    def test_a_terminal_shows_every_ecu_of_the_vehicle(self):
        server = self.vehicle()
        t = self.terminal(server, 80, 24, "status", "--watch")
        page = t.wait_for(lambda p: True)
        self.assertEqual(page[0], "7 ECUs: 2 at work, 1 silent, 1 failed")
        self.assertEqual([line.split()[0] for line in page[2:]],
                         ["main", "camera", "lidar", "radar", "maps", "gateway", "door"])
        self.assertRegex(page[1], r"^ECU +STATE +DONE +BYTES +SPEED +LEFT$")
        self.assertRegex(page[3], r"^camera +downloading +\[##\.+\] +25 % +10\.0 MiB/40\.0 MiB +\u2014 +\u2014$")
        self.assertRegex(page[4], r"^lidar +applying +\[#+\.+\] +50 % +50 B/100 B +\u2014 +\u2014$")
        self.assertRegex(page[5], r"^radar +FAILURE +E203: The image has no regulars\.txt$")
        self.assertRegex(page[8], r"^door +not seen +no report for \d+ s$")
        server.order("child 1 progress 20971520 41943040 11534336")
        self.assertRegex(t.wait_for(lambda p: " 50 %" in p[3])[3], r"MiB/s +\d+s$")

    def test_no_line_is_wider_than_the_terminal_whatever_ecus_are_called(self):
        server = self.vehicle(self.NAMES)
        for columns in (80, 60, 40, 200):
            t = self.terminal(server, columns, 24, "status", "--watch")
            page = t.wait_for(lambda p: True)
            self.assertEqual(len(page), 9, page)
            for line in page:
                self.assertLess(columns_of(line), columns, line)
            self.assertNotIn("\u202e", t.raw.decode())
            self.assertNotIn("\x1b[2J", t.raw.decode())
            t.process.terminate()
            self.assertEqual(t.end(), 0)

    def test_the_page_follows_the_size_of_the_terminal(self):
        t = self.terminal(self.vehicle(), 80, 24, "status", "--watch")
        t.wait_for(lambda p: "SPEED" in p[1])
        t.resize(40, 24)
        page = t.wait_for(lambda p: "BYTES" not in p[1])
        for line in page:
            self.assertLess(columns_of(line), 40, line)
        t.resize(200, 6)
        page = t.wait_for(lambda p: "SPEED" in p[1])
        self.assertEqual((len(page), page[-1]), (5, "and 5 more"))

    def test_a_narrower_terminal_has_folded_the_lines_that_are_drawn_over(self):
        t = self.terminal(self.vehicle(), 80, 24, "status", "--watch")
        page = t.wait_for(lambda p: "SPEED" in p[1])
        t.resize(40, 24)
        t.wait_for(lambda p: "BYTES" not in p[1])
        folded = sum(max(1, (columns_of(line) + 39) // 40) for line in page)
        self.assertIn(f"\x1b[{folded}A", t.raw.decode())

    def test_an_ecu_that_restarts_is_not_forgotten(self):
        server = self.vehicle()
        t = self.terminal(server, 80, 24, "status", "--watch")
        server.order("child 1 phase 6")
        t.wait_for(lambda p: "finalizing" in p[3])
        server.order("child 1 gone")
        server.order("child 2 gone")
        page = t.wait_for(lambda p: "no answer for 2 s" in p[3])
        self.assertRegex(page[3], "^camera +restarting +no answer for 2 s$")
        self.assertRegex(page[4], "^lidar +SILENT +no answer for 2 s$")
        self.assertEqual(page[0], "7 ECUs: 1 restarting, 2 silent, 1 failed")
        server.order("child 1 status SUCCESS 2.0")
        self.assertRegex(t.wait_for(lambda p: "2.0" in p[3])[3], "^camera +SUCCESS +version 2.0$")

    def test_while_the_asked_ecu_restarts_its_vehicle_stays_on_the_page(self):
        server = self.vehicle()
        server.order("live 4")
        t = self.terminal(server, 80, 24, "status", "--watch")
        t.wait_for(lambda p: "ROLLBACKING" in p[2])
        server.stop()
        page = t.wait_for(lambda p: "no answer" in p[2])
        self.assertIn("did not answer Status: Connection refused", page[1])
        self.assertRegex(page[2], r"^main +restarting +no answer for \d+ s$")
        self.assertRegex(page[3], r"^camera +downloading +as of \d+ s ago$")

    def test_the_terminal_is_as_it_was_after_an_interrupt(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            t = self.terminal(self.vehicle(), 80, 24, "status", "--watch")
            t.wait_for(lambda p: True)
            if sig == signal.SIGINT:
                os.write(t.main, b"\x03")
            else:
                t.process.send_signal(sig)
            self.assertEqual(t.end(), 0, sig)
            self.assertEqual(termios.tcgetattr(t.child), t.settings)
            self.assertRegex(t.raw, rb"\x1b\[\?7h\x1b\[\?25h(\^C)?\r\x1b\[K\Z")
            self.assertEqual(t.raw.count(b"\x1b[?25l"), t.raw.count(b"\x1b[?25h"))

    def test_an_interrupt_ends_a_call_that_is_not_answered(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for args, code, words in ((["status", "--watch"], 0, ""),
                                      (["rollback", "--wait"], 1, "otactl: Interrupted\n")):
                process = subprocess.Popen([OTACTL, "--ecu", f"127.0.0.1:{silent.getsockname()[1]}", *args],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                with silent.accept()[0]:
                    process.send_signal(signal.SIGINT)
                    out, err = process.communicate(timeout=5)
                self.assertEqual((process.returncode, out, err), (code, "", words))

    def test_a_signal_that_was_ignored_stays_ignored(self):
        server = self.booted()
        process = subprocess.Popen(["sh", "-c", 'trap "" HUP; exec "$0" "$@"', OTACTL, "--ecu",
                                    f"127.0.0.1:{server.port}", "--json", "status", "--watch"],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        server.order("boot SUCCESS 2.0")
        self.assertIn('"2.0"', process.stdout.readline())

    def test_a_dumb_terminal_gets_lines(self):
        t = self.terminal(self.booted(), 80, 24, "status", "--watch", term="dumb")
        end = time.monotonic() + 20
        while b"sub" not in t.raw and time.monotonic() < end:
            t.read()
        self.assertRegex(t.raw, rb"\Amain: SUCCESS, version 1\.0\r\nsub: NOT_REPORTED, no report for \d+ s\r\n")

    def test_a_watch_ends_when_nobody_reads_it(self):
        for json_too in ([], ["--json"]):
            process = self.start(self.booted(), *json_too, "status", "--watch")
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.wait(timeout=20), -signal.SIGPIPE)
            self.assertEqual(process.stderr.read(), "")
            process.stderr.close()
            process.stdout = process.stderr = None

    def test_watching_as_json_is_one_object_per_change(self):
        server = self.booted("--child", "sub")
        process = self.start(server, "--json", "status", "--watch")
        seen = [json.loads(process.stdout.readline())]
        self.assertEqual(seen[0]["ecus"][0]["ecu_id"], "main")
        self.assertEqual([(e["ecu_id"], e["state"]) for e in seen[0]["silent"]], [("sub", "NOT_REPORTED")])
        self.assertIsNone(seen[0]["error"])
        for order in ("child 1 status SUCCESS 1.0", "child 1 phase 6", "child 1 gone"):
            server.order(order)
            seen.append(json.loads(process.stdout.readline()))
        self.assertEqual([len(s["ecus"]) for s in seen], [1, 2, 2, 1])
        self.assertEqual(seen[2]["ecus"][1]["update_status"]["phase"], "FINALIZING_UPDATE")
        self.assertEqual(seen[3]["silent"][0]["state"], "RESTARTING")
        server.stop()
        last = json.loads(process.stdout.readline())
        self.assertEqual([e["state"] for e in last["silent"]], ["SILENT", "RESTARTING"])
        self.assertIn("Connection refused", last["error"])

    # --- update ---

    def test_an_update_is_for_the_ecu_that_is_asked(self):
        server = self.booted()
        self.assertEqual(self.ctl(server, "update", "--url", "http://x/", "--version", "2.0",
                                  "--cookies", '{"a":"b"}'),
                         (0, "main: accepted\n", ""))
        server.expect(r'update version=2\.0 url=http://x/ cookies={"a":"b"} release=// '
                      r"request_id=\d+-[0-9a-f]{8}")

    def test_the_ecu_that_is_asked_need_not_be_the_first_that_it_speaks_for(self):
        server = self.booted("--main-is-last")
        self.assertEqual(self.ctl(server, "update", "--url", "http://x/", "--version", "2.0"),
                         (0, "main: accepted\n", ""))
        server.expect("update .*")
        self.assertEqual(self.ctl(server, "rollback")[1],
                         "main: refused (RECOVERABLE): Rollback is not available\n")

    def test_an_ecu_that_only_speaks_for_others_does_not_guess_whom_is_meant(self):
        server = self.booted("--only-others", boot=None)
        self.assertEqual(self.ctl(server, "update", "--url", "http://x/", "--version", "2.0"),
                         (1, "", "otactl: 127.0.0.1 does not say which ECU it is; --ecu-id is needed\n"))

    # --- forecasts ---

    UPDATE = ("update", "--url", "http://x/", "--version", "2.0")

    def test_a_dry_run_shows_the_forecast_and_asks_for_no_update(self):
        server = self.booted()
        self.assertEqual(self.ctl(server, *self.UPDATE, "--dry-run", "--cookies", '{"a":"b"}'),
                         (0, "main\n"
                             "  to download       up to 3.0 MiB\n"
                             "  to write          4.0 MiB\n"
                             "  standby slot      changed in place\n"
                             "  fetch             2 files, 3.0 MiB, up to 3.0 MiB to download\n"
                             "  time              about 1 min 1 s, 1 min 1 s of it for the download\n", ""))
        server.expect(r'forecast version=2\.0 url=http://x/ cookies={"a":"b"} request_id=otactl-[0-9a-f]{16}')
        code, out, err = self.ctl(server, "--json", *self.UPDATE, "--dry-run", "--ecu-id", "main")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual((json.loads(out)["download_bytes"], json.loads(out)["actions"]["fetch"]["files"]), (3 << 20, 2))
        server.expect("forecast .*")
        server.order("phase 0")  # its "done" comes first: no "update" line before it

    def test_a_dry_run_that_is_refused_gives_the_reason(self):
        self.assertEqual(
            self.ctl(self.booted(), "update", "--url", "http://busy/", "--version", "2.0", "--dry-run"),
            (1, "", "otactl: No forecast from main: Another update is running\n"))

    def test_a_forecast_is_for_the_ecu_that_is_asked(self):
        server = self.booted()
        for option in (["--dry-run"], ["--max-download", "5M"]):
            self.assertEqual(
                self.ctl(server, *self.UPDATE, *option, "--ecu-id", "sub"),
                (1, "", "otactl: A forecast is not handed on: 127.0.0.1 is 'main'; ask 'sub' itself, with --ecu\n"))
        server.order("phase 0")

    def test_a_limit_is_kept_before_anything_is_asked_for(self):
        server = self.booted()
        for text, allowed, size in (("3145727", "3145727", "3.0 MiB"), ("3071K", "3144704", "3.0 MiB"),
                                    ("2M", "2097152", "2.0 MiB")):  # fmt: skip
            self.assertEqual(
                self.ctl(server, *self.UPDATE, "--max-download", text),
                (1, "", "otactl: The update of main would download up to 3145728 bytes (3.0 MiB), and "
                        f"--max-download allows {allowed} ({size}); nothing was done\n"))
            server.expect("forecast .*")
        code, out, err = self.ctl(server, *self.UPDATE, "--max-download", "0", "--dry-run")
        self.assertIn("  to download       up to 3.0 MiB\n", out)
        self.assertEqual((code, err.split(",")[0]), (1, "otactl: The update of main would download up to 3145728 bytes (3.0 MiB)"))
        server.expect("forecast .*")
        server.order("phase 0")
        self.assertEqual(self.ctl(server, *self.UPDATE, "--max-download", "3M"), (0, "main: accepted\n", ""))
        server.expect("forecast .*")
        server.expect("update .*")

    def test_a_client_without_forecasts_is_not_asked_for_an_update(self):
        """It has the other methods, and would skip a field that it does not know."""
        with ForeignClient(PROTO) as foreign:
            for option in ("--dry-run", "--max-download=1G"):
                self.assertEqual(
                    self.ctl(foreign, *self.UPDATE, option),
                    (1, "", "otactl: The client of 127.0.0.1 makes no forecasts, it is an older or another one; "
                            "nothing was done\n"))
            self.assertEqual(foreign.calls, ["Status"] * 2)
            self.assertEqual(self.ctl(foreign, *self.UPDATE)[:2], (0, "main: accepted\n"))
            self.assertEqual(foreign.calls, ["Status"] * 3 + ["Update"])

    def test_a_refused_update_fails_with_the_reason(self):
        self.assertEqual(
            self.ctl(self.booted(), "update", "--url", "http://busy/", "--version", "2.0"),
            (1, "main: refused (RECOVERABLE): Another update is running\n",
             "otactl: Update of main refused: Another update is running\n"))

    def test_an_ecu_that_is_not_known_is_an_error(self):
        self.assertEqual(
            self.ctl(self.booted(), "update", "--url", "u", "--version", "v", "--ecu-id", "x"),
            (1, "", "otactl: 127.0.0.1 does not know an ECU 'x'\n"))

    def test_the_answer_as_json(self):
        code, out, _ = self.ctl(self.booted(), "update", "--url", "http://invalid/", "--version",
                                "2.0", "--json")
        self.assertEqual(code, 1)
        self.assertEqual(json.loads(out), {"ecus": [
            {"ecu_id": "main", "result": "UNRECOVERABLE", "message": "The URL has no host"}]})

    def start_waiting(self, server, *more):
        process = self.start(server, "update", "--url", "http://x/", "--version", "2.0", "--wait",
                             *more)
        server.expect("update .*")
        return process

    def test_waiting_goes_on_over_the_reboot(self):
        old = self.booted()
        process = self.start_waiting(old)
        old.order("phase 6")
        self.wait_for_line(process, "^main: FINALIZING_UPDATE$")
        old.stop()
        self.wait_for_line(process, "^main: RESTARTING, no answer for .*Connection refused$")
        new = self.booted("--port", old.port, boot=None)
        new.order("boot SUCCESS 2.0")
        code, out, err = self.run_to_end(process)
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\Amain: SUCCESS, version 2\.0\nmain: runs version 2\.0, after \d+ s\n\Z")

    def test_waiting_ends_with_the_reason_of_a_failure(self):
        server = self.booted()
        process = self.start_waiting(server)
        self.wait_for_line(process, "^main: INITIALIZING$")
        server.order("fail 203 The image has no regulars.txt")
        code, out, err = self.run_to_end(process)
        self.assertEqual((code, err),
                         (1, "otactl: The update of main failed: E203: The image has no regulars.txt\n"))
        self.assertRegex(out, r"\Amain: FAILURE, (E203: The image has no regulars\.txt)\n"
                              r"main: failed after \d+ s: \1\n\Z")

    def test_waiting_notices_the_old_version_after_the_reboot(self):
        old = self.booted()
        process = self.start_waiting(old)
        self.wait_for_line(process, "^main: INITIALIZING$")
        old.stop()
        self.booted("--port", old.port, boot="FAILURE 1.0")
        code, _, err = self.run_to_end(process)
        self.assertEqual((code, err), (1, "otactl: The update of main failed: it is back on its "
                                          "old slot, and gives no reason\n"))

    def test_waiting_gives_up_on_a_silent_ecu(self):
        server = self.booted()
        process = self.start_waiting(server, "--timeout", "2")
        self.wait_for_line(process, "^main: INITIALIZING$")
        server.stop()
        code, _, err = self.run_to_end(process)
        self.assertEqual((code, err), (1, "otactl: main has not answered for 2 s\n"))

    def test_waiting_as_json_ends_with_the_last_status(self):
        server = self.booted()
        process = self.start_waiting(server, "--json")
        server.order("fail 307 No space")
        code, out, _ = self.run_to_end(process)
        self.assertEqual(code, 1)
        end = json.loads(out)
        self.assertEqual(end["ecus"][0]["failure_reason"], "E307: No space")
        end["results"][0].pop("elapsed_s")
        self.assertEqual(end["results"], [{"ecu_id": "main", "result": "FAILED", "message": "E307: No space"}])

    UPDATE = ["update", "--url", "http://x/", "--version", "2.0"]

    def test_all_are_those_the_asked_ecu_speaks_for(self):
        server = self.booted("--child", "a", "--child", "b")
        self.assertEqual(self.ctl(server, *self.UPDATE, "--all"),
                         (0, "a: accepted\nb: accepted\nmain: accepted\n", ""))
        server.expect("update .*")

    def test_some_are_those_that_are_named(self):
        server = self.booted("--child", "a", "--child", "b", "--child", "c")
        self.assertEqual(self.ctl(server, *self.UPDATE, "--ecu-id", "c", "--ecu-id", "a", "--ecu-id", "c"),
                         (0, "a: accepted\nc: accepted\n", ""))

    def test_waiting_for_a_vehicle_ends_with_a_line_per_ecu_and_a_total(self):
        old = self.vehicle()
        process = self.start(old, *self.UPDATE, "--all", "--wait")
        old.expect("update .*")
        self.wait_for_line(process, "^door: NOT_REPORTED")
        for n in range(1, 7):
            old.order(f"child {n} status SUCCESS 2.0")
        old.order("child 2 fail E100: The server failed")
        old.order("child 4 status ABORTED 1.0")
        old.order("phase 6")
        self.wait_for_line(process, "^main: FINALIZING_UPDATE$")
        old.stop()
        self.wait_for_line(process, "^main: RESTARTING, ")
        new = self.booted("--port", old.port, boot="SUCCESS 2.0")
        code, out, err = self.run_to_end(process)
        self.assertEqual((code, err), (1, "otactl: 2 of 7 ECUs failed; the first: The update of lidar failed: E100: "
                                          "The server failed\n"))
        end = re.sub(r"after \d+ s", "after T", out).split("\n")[-9:]
        self.assertEqual(end, ["main: runs version 2.0, after T", "camera: runs version 2.0, after T",
                               "lidar: failed after T: E100: The server failed", "radar: runs version 2.0, after T",
                               "maps: failed after T: aborted", "gateway: runs version 2.0, after T",
                               "door: runs version 2.0, after T", "5 of 7 ECUs done, 2 failed, after T", ""])
        new.stop()

    def test_waiting_goes_on_for_those_that_have_accepted(self):
        server = self.booted("--child", "a")
        server.order("child 1 status SUCCESS 1.0")
        server.order("child 1 refuse Another update is running")
        process = self.start(server, *self.UPDATE, "--all", "--wait")
        server.expect("update .*")
        self.wait_for_line(process, "^main: INITIALIZING$")
        server.order("boot SUCCESS 2.0")
        code, out, err = self.run_to_end(process)
        self.assertEqual((code, err), (1, "otactl: Update of a refused: Another update is running\n"))
        self.assertRegex(out, r"main: runs version 2\.0, after \d+ s\na: failed after 0 s: refused: "
                              r"Another update is running\n1 of 2 ECUs done, 1 failed, after \d+ s\n\Z")

    def test_waiting_on_a_terminal_leaves_the_results(self):
        server = self.booted("--child", "a")
        server.order("child 1 status SUCCESS 1.0")
        t = self.terminal(server, 60, 24, *self.UPDATE, "--all", "--wait")
        server.expect("update .*")
        t.wait_for(lambda p: p[0] == "2 ECUs: 2 at work")
        server.order("boot SUCCESS 2.0")
        server.order("child 1 status SUCCESS 2.0")
        self.assertEqual(t.end(), 0)
        self.assertRegex(t.raw.decode(), r"\x1b\[4A\x1b\[Jmain: runs version 2\.0, after \d+ s\r\n"
                                         r"a: runs version 2\.0, after \d+ s\r\n"
                                         r"2 of 2 ECUs done, 0 failed, after \d+ s\r\n\Z")

    def test_an_interrupted_wait_says_that_the_update_goes_on(self):
        server = self.booted()
        process = self.start_waiting(server)
        self.wait_for_line(process, "^main: INITIALIZING$")
        process.send_signal(signal.SIGINT)
        code, _, err = self.run_to_end(process)
        self.assertEqual((code, err), (1, "otactl: Interrupted; the update goes on all the same\n"))

    # --- abort, rollback, usage ---

    def test_an_abort_is_refused_or_accepted(self):
        server = self.booted()
        self.assertEqual(self.ctl(server, "abort"),
                         (1, "main: refused: Cannot abort: no active OTA update in progress\n",
                          "otactl: Abort of main refused: Cannot abort: no active OTA update in "
                          "progress\n"))
        waiting = self.start_waiting(server)
        self.wait_for_line(waiting, "^main: INITIALIZING$")
        self.assertEqual(self.ctl(server, "abort"), (0, "main: accepted: Abort accepted\n", ""))
        code, _, err = self.run_to_end(waiting)
        self.assertEqual((code, err), (1, "otactl: The update of main was aborted\n"))

    def test_an_abort_has_a_line_per_ecu(self):
        server = self.booted("--child", "a", "--child", "b")
        server.order("child 1 phase 3")
        code, out, err = self.ctl(server, "abort")
        idle = "refused: Cannot abort: no active OTA update in progress"
        self.assertEqual((code, out), (1, f"a: accepted: Abort accepted\nb: {idle}\nmain: {idle}\n"))
        server.order("child 2 phase 3")
        code, out, _ = self.ctl(server, "--json", "abort")
        self.assertEqual([(e["ecu_id"], e["result"]) for e in json.loads(out)["ecus"]],
                         [("a", "ABORT_FAILURE"), ("b", "ABORT_NO_FAILURE"), ("main", "ABORT_FAILURE")])

    def test_a_rollback_is_refused(self):
        code, out, err = self.ctl(self.booted(), "rollback")
        self.assertEqual((code, out, err),
                         (1, "main: refused (RECOVERABLE): Rollback is not available\n",
                          "otactl: Rollback of main refused: Rollback is not available\n"))

    def test_a_rollback_is_for_the_ecu_that_is_asked(self):
        server = self.booted("--rollback", "--child", "a")
        host = "127.0.0.1"
        for ids in (["a"], ["main", "a"]):
            self.assertEqual(self.ctl(server, "rollback", *(w for i in ids for w in ("--ecu-id", i))),
                             (1, "", f"otactl: A rollback is not handed on: {host} is 'main'; ask 'a' itself, with "
                                     "--ecu\n"))
        self.assertEqual(self.ctl(server, "rollback", "--ecu-id", "main"), (0, "main: accepted\n", ""))
        server.expect("rollback")

    def test_waiting_for_a_rollback_ends_with_the_other_version(self):
        old = self.booted("--rollback", boot="SUCCESS 2.0")
        process = self.start(old, "rollback", "--wait")
        old.expect("rollback")
        self.wait_for_line(process, "^main: ROLLBACKING$")
        old.stop()
        self.wait_for_line(process, "^main: RESTARTING, no answer for ")
        self.booted("--port", old.port, boot="SUCCESS 1.0")
        code, out, err = self.run_to_end(process)
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"main: runs version 1\.0, after \d+ s\n\Z")

    def test_waiting_for_a_rollback_that_fails_gives_the_reason(self):
        old = self.booted("--rollback", boot="SUCCESS 2.0")
        process = self.start(old, "--json", "rollback", "--wait")
        old.expect("rollback")
        old.stop()
        self.booted("--port", old.port, boot="ROLLBACK_FAILURE 2.0")
        code, out, err = self.run_to_end(process)
        self.assertEqual((code, err), (1, "otactl: The rollback of main failed: it has stayed on its slot, and gives "
                                          "no reason\n"))
        self.assertEqual(json.loads(out)["results"][0]["result"], "FAILED")

    # --- history ---

    def recorder(self, content):
        file = tempfile.NamedTemporaryFile()
        self.addCleanup(file.close)
        file.write(content)
        file.flush()
        return file.name

    @staticmethod
    def cell(number, kind, slot, subject, text, boot=b"\1" * 16):
        """docs/formats.md, "The flight recorder"."""
        body = struct.pack("<HHQqQ16s32sBBHH", kind, 0, number, 1700000000, 2500, boot, slot, 0, 0, len(subject), len(text))
        body = (body + subject + text).ljust(1012, b"\0")
        return b"OTAFLT1\n" + struct.pack("<I", zlib.crc32(body)) + body

    def test_a_history_is_read_from_a_file(self):
        cells = [b"\0" * 1024] * 128
        cells[1] = self.cell(129, 1, b"ota-slot_a", b"2.0", b"a session")
        cells[0] = self.cell(128, 10, b"ota-slot_b", b"/dev/kmsg", b"[1.0] one\n[2.0] two", boot=b"\2" * 16)
        cells[2] = self.cell(2, 5, b"ota-slot_a", b"keep", b"torn")[:-1] + b"x"
        path = self.recorder(b"".join(cells))
        code, out, err = self.alone("history", "--file", path)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, """\
start of the machine 02020202020202020202020202020202
  2023-11-14 22:13:20Z       2.5 s  ota-slot_b   kernel          /dev/kmsg
          [1.0] one
          [2.0] two
start of the machine 01010101010101010101010101010101
  2023-11-14 22:13:20Z       2.5 s  ota-slot_a   update begins   2.0  session a session
""")
        code, out, err = self.alone("--json", "history", "--file", path)
        self.assertEqual((code, err), (0, ""))
        records = json.loads(out)["records"]
        self.assertEqual([(r["number"], r["kind"], r["slot"], r["text"]) for r in records],
                         [(128, "kernel", "ota-slot_b", "[1.0] one\n[2.0] two"),
                          (129, "update begins", "ota-slot_a", "a session")])

    def test_what_is_no_history_is_one_sentence(self):
        path = self.recorder(b"x" * 1024 * 128)
        self.assertEqual(self.alone("history", "--file", path),
                         (1, "", f"otactl: {path} is no flight recorder of otaclient\n"))
        self.assertFalse(os.path.exists("/boot/ota/flight-recorder"))
        self.assertEqual(self.alone("history"),
                         (1, "", "otactl: There is no /boot/ota/flight-recorder: otaclient makes it at its first start on a "
                          "machine\n"))
        self.assertEqual(self.alone("history", "--file", "/nonexistent"),
                         (1, "", "otactl: Cannot read /nonexistent: No such file or directory\n"))
        self.assertEqual(self.alone("history", "--file", "/dev/zero")[0], 1)
        self.assertEqual(self.alone("history", "--file", self.recorder(b"\0" * 1024 * 128)),
                         (0, "Nothing is recorded yet.\n", ""))

    def complete(self, *words):
        script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _otactl; printf "%s\\n" "${COMPREPLY[@]}"'
        return set(subprocess.run(["bash", "-c", script, COMPLETION, *words], check=True, capture_output=True,
                                  text=True).stdout.split())

    def test_the_completion_knows_all_that_the_help_does(self):
        command, options, anywhere = None, {}, set()
        for line in self.alone("--help")[1].split("\n\n", 1)[1].split("\n"):
            found = re.match(r"^  (\w+) ", line)
            if found:
                command = found.group(1)
                options[command] = set()
            elif re.match(r"^      --", line):
                self.assertRegex(line, r"^ +--[a-z-]+( [A-Z]+)? +[^A-Z ]", "a space is between the name and what it is for")
                options[command].add(line.split()[0])
            elif re.match(r"^  -", line):
                anywhere.update(re.findall(r"(?<=  |, )-[\w-]+", line[:25]))
        self.assertEqual(sorted(options), ["abort", "doctor", "history", "rollback", "status", "update"])
        self.assertEqual(self.complete("otactl", ""), set(options) | anywhere)
        anywhere.remove("--version")
        for command, own in options.items():
            self.assertEqual(self.complete("otactl", "--json", command, ""), own | anywhere, command)
        self.assertEqual(self.complete("otactl", "--ecu", "host", ":", "1", "update", "--wa"), {"--wait"})
        self.assertEqual(self.complete("otactl", "update", "--version", ""), set())

    def test_the_completion_asks_for_the_ids(self):
        server = self.booted("--child", "camera", "--child", "lidar")
        self.assertEqual(self.complete(OTACTL, "--ecu", "127.0.0.1", ":", server.port, "update", "--ecu-id", ""),
                         {"main", "camera", "lidar"})

    def test_wrong_usage_exits_with_2(self):
        hint = ". Try 'otactl --help'.\n"
        for args, sentence in (
                ([], "A command is needed: status, update, abort, rollback, history or doctor"),
                (["flash"], "There is no command 'flash'"),
                (["status", "main"], "status takes no argument 'main'"),
                (["status", "--url", "u"], "status takes no --url"),
                (["update", "--version", "2"], "update needs --url"),
                (["update", "--url", "u", "--version", "2", "--timeout", "1"],
                 "--timeout is only for --wait"),
                (["update", "--url", "u", "--version", "2", "--wait", "--timeout", "-1"],
                 "--timeout must be a number of seconds, not '-1'"),
                (["update", "--url", "u", "--version", "2", "--cookies", "[]"],
                 "--cookies must be a JSON object, such as '{\"name\": \"value\"}'"),
                (["status", "--all"], "status takes no --all"),
                (["abort", "--wait"], "abort takes no --wait"),
                (["rollback", "--all"], "rollback takes no --all"),
                (["rollback", "--timeout", "3"], "--timeout is only for --wait"),
                (["update", "--url", "u", "--version", "2", "--all", "--ecu-id", "a"],
                 "--all and --ecu-id exclude each other"),
                (["update", "--url", "u", "--version", "2", *(f"--ecu-id={i}" for i in range(1025))],
                 "More than 1024 times --ecu-id"),
                (["update", "--url", "", "--version", "2"], "--url is empty"),
                (["update", "--url", "u", "--version", ""], "--version is empty"),
                (["update", "--url", "u", "--version", "2", "--ecu-id", ""], "--ecu-id is empty"),
                (["--ecu", "a:0", "status"], "'a:0' is no address of an ECU: the port must be a "
                                             "number from 1 to 65535"),
                (["--ecu", "a", "history"], "history looks at this machine only, so it takes no --ecu"),
                (["history", "--ecu", "a"], "history looks at this machine only, so it takes no --ecu"),
                (["history", "--wait"], "history takes no --wait"),
                (["status", "--file", "f"], "status takes no --file"),
                (["--ecu", "a", "doctor"], "doctor looks at this machine only, so it takes no --ecu"),
                (["doctor", "--ecu", "a"], "doctor looks at this machine only, so it takes no --ecu"),
                (["--frob"], "There is no option '--frob'"),
                (["-xy", "status"], "There is no option '-x'"),
                (["status", "-yx"], "There is no option '-y'"),
                (["-\u00e9", "status"], "There is no option of one byte, \\xc3"),
                (["--json=1", "status"], "--json takes no value"),
                (["--version=1"], "--version takes no value"),
                (["status", "--watch=1"], "--watch takes no value"),
                (["update", "--url", "u", "--version", "2", "--all", "--dry-run"],
                 "--dry-run is for the ECU that is asked alone, so it excludes --all"),
                (["update", "--url", "u", "--version", "2", "--all", "--max-download", "1"],
                 "--max-download is for the ECU that is asked alone, so it excludes --all"),
                (["update", "--url", "u", "--version", "2", "--wait", "--dry-run"],
                 "--dry-run and --wait exclude each other"),
                *((["update", "--url", "u", "--version", "2", f"--max-download={text}"],
                   f"--max-download must be a number of bytes, or one with K, M or G behind it, not '{text}'")
                  for text in ("", "M", "-1", "5T", "1.5M", "1MK", "17179869184G", "18446744073709551616")),
                (["rollback", "--dry-run"], "rollback takes no --dry-run"),
                (["update", "--url"], "--url needs a value")):
            self.assertEqual(self.alone(*args), (2, "", "otactl: " + sentence + hint), args)

    # --- doctor ---

    def test_the_doctor_has_a_line_per_check_and_a_total(self):
        """Of the machine that runs the tests, which is no ECU: so some check fails."""
        code, out, err = self.alone("doctor")
        self.assertEqual((code, err), (1, ""))
        *lines, total = out.splitlines()
        for line in lines:
            self.assertRegex(line, r"\A(ok|warning|failure|not looked at) +[a-z0-9_.]+ +\S.*\Z")
        counts = [sum(line.startswith(word) for line in lines) for word in ("ok", "warning", "failure", "not looked at")]
        self.assertRegex(total, r"\A{} checks: {} ok, {} warnings?, {} failures?, {} not looked at\Z".format(
            len(lines), *counts))
        self.assertIn("Cannot read /boot/ota/ecu_info.yaml: No such file or directory. Every update is refused until "
                      "the file is right\n", out)

    def test_the_doctor_speaks_json(self):
        code, out, err = self.alone("--json", "doctor")
        self.assertEqual((code, err, out.count("\n")), (1, "", 1))
        answer = json.loads(out)
        checks = answer.pop("checks")
        self.assertEqual(len(checks), sum(answer.values()))
        self.assertEqual(len(checks), len({c["id"] for c in checks}))
        for check in checks:
            self.assertEqual(list(check), ["id", "group", "result", "message", "advice", "more"])
            self.assertIn(check["result"], ("OK", "WARNING", "FAILURE", "NOT_LOOKED_AT"))
            self.assertTrue(check["message"])
        self.assertEqual(answer["failures"], sum(c["result"] == "FAILURE" for c in checks))

    def test_help_and_version_go_to_stdout(self):
        code, out, err = self.alone("--help")
        self.assertEqual((code, err), (0, ""))
        self.assertTrue(out.startswith("Usage: otactl "))
        self.assertEqual([line for line in out.split("\n") if len(line) > 80], [])
        for args in (["update", "--help"], ["-h"], ["status", "-h"]):
            self.assertEqual(self.alone(*args), (0, out, ""), args)
        code, out, err = self.alone("--version")
        self.assertRegex(out, r"\Aotactl \d+\.\d+\.\d+\n\Z")

    def test_a_full_disk_is_noticed(self):
        server = self.booted()
        ask = ["--ecu", f"127.0.0.1:{server.port}"]
        update = ["update", "--url", "http://x/", "--version", "2.0"]
        for args in (["--help"], ["-h"], ["--version"], [*ask, "status"], [*ask, "--json", "status"],
                     [*ask, "status", "--watch"], [*ask, *update],
                     ["history", "--file", self.recorder(b"\0" * 1024 * 128)],
                     ["doctor"], ["--json", "doctor"]):
            with open("/dev/full", "w") as full:
                r = subprocess.run([OTACTL, *args], stdout=full, stderr=subprocess.PIPE, text=True,
                                   timeout=60)
            self.assertEqual((r.returncode, r.stderr), (1, "otactl: Cannot write the answer\n"), args)
        server.expect("update .*")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
