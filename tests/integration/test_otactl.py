"""otactl against tests/support/api_server: what it prints, its exit codes, and waiting over a reboot.

    /usr/bin/python3 test_otactl.py OTACTL API_SERVER
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest

OTACTL, SERVER = sys.argv[1:3]


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

        def kill():
            process.kill()
            process.communicate()

        self.addCleanup(lambda: process.poll() is not None or kill())
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
        for args in (["status"], ["abort"], ["status", "--watch"],
                     ["update", "--url", "u", "--version", "v", "--wait"]):
            code, out, err = self.alone("--ecu", "127.0.0.1:1", *args)
            self.assertEqual((code, out), (1, ""))
            self.assertRegex(err, r"\Aotactl: 127\.0\.0\.1:1 did not answer \w+: "
                                  r"Connection refused\n\Z")

    def test_a_machine_that_does_not_know_yet_is_one_sentence(self):
        server = self.booted(boot=None)
        self.assertEqual(self.ctl(server, "status"),
                         (1, "", f"otactl: 127.0.0.1:{server.port} did not answer Status: "
                                 "local ECU 'main' status not yet collected\n"))

    def test_a_web_proxy_of_the_environment_is_not_asked(self):
        server = self.booted()
        env = dict(os.environ, http_proxy="http://127.0.0.1:1/", https_proxy="http://127.0.0.1:1/")
        env.pop("no_proxy", None)
        code, _, err = self.alone("--ecu", f"127.0.0.1:{server.port}", "status", env=env)
        self.assertEqual((code, err), (0, ""))

    def test_watching_without_a_terminal_prints_a_line_per_phase(self):
        server = self.booted()
        process = self.start(server, "status", "--watch")
        self.assertEqual(process.stdout.readline(), "main: SUCCESS\n")
        self.ctl(server, "update", "--url", "http://x/", "--version", "2.0")
        server.expect("update .*")
        self.wait_for_line(process, "^main: INITIALIZING$")
        server.order("progress 10485760 41943040 1048576")
        server.order("phase 3")
        self.wait_for_line(process,
                           r"^main: DOWNLOADING_OTA_FILES 25 %, 10\.0 MiB of 40\.0 MiB")

    def test_watching_on_a_terminal_redraws_with_a_bar(self):
        server = self.booted()
        self.ctl(server, "update", "--url", "http://x/", "--version", "2.0")
        server.expect("update .*")
        server.order("phase 4")
        server.order("progress 50 100 0")
        main, child = pty.openpty()
        process = subprocess.Popen([OTACTL, "--ecu", f"127.0.0.1:{server.port}", "status",
                                    "--watch"], stdout=child)
        os.close(child)
        seen, end = b"", time.monotonic() + 20
        while not re.search(rb"\x1b\[\d+A", seen) and time.monotonic() < end:
            if select.select([main], [], [], 1)[0]:
                seen += os.read(main, 4096)
        process.terminate()
        process.wait()
        os.close(main)
        self.assertIn(b"main: APPLYING_UPDATE [##########..........] 50 %, 50 B of 100 B", seen)
        self.assertRegex(seen, rb"\x1b\[\d+A\r\x1b\[J")

    def test_watching_as_json_is_one_object_a_line(self):
        process = self.start(self.booted(), "--json", "status", "--watch")
        for _ in range(2):
            self.assertEqual(json.loads(process.stdout.readline())["ecus"][0]["ecu_id"], "main")

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
        self.wait_for_line(process, "^main: waiting, .*Connection refused$")
        new = self.booted("--port", old.port, boot=None)
        new.order("boot SUCCESS 2.0")
        self.assertEqual(self.run_to_end(process), (0, "main: SUCCESS\n", ""))

    def test_waiting_ends_with_the_reason_of_a_failure(self):
        server = self.booted()
        process = self.start_waiting(server)
        self.wait_for_line(process, "^main: INITIALIZING$")
        server.order("fail 203 The image has no regulars.txt")
        self.assertEqual(self.run_to_end(process),
                         (1, "main: FAILURE\n",
                          "otactl: The update of main failed: E203: The image has no "
                          "regulars.txt\n"))

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
        self.assertEqual(json.loads(out)["ecus"][0]["failure_reason"], "E307: No space")

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

    def test_a_rollback_is_refused(self):
        code, out, err = self.ctl(self.booted(), "rollback")
        self.assertEqual((code, out, err),
                         (1, "main: refused (RECOVERABLE): Rollback is not available\n",
                          "otactl: Rollback of main refused: Rollback is not available\n"))

    def test_wrong_usage_exits_with_2(self):
        hint = ". Try 'otactl --help'.\n"
        for args, sentence in (
                ([], "A command is needed: status, update, abort or rollback"),
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
                (["--ecu", "a:0", "status"], "'a:0' is no address of an ECU: the port must be a "
                                             "number from 1 to 65535"),
                (["--frob"], "There is no option '--frob'"),
                (["-xy", "status"], "There is no option '-x'"),
                (["status", "-yx"], "There is no option '-y'"),
                (["-\u00e9", "status"], "There is no option of one byte, \\xc3"),
                (["--json=1", "status"], "--json takes no value"),
                (["--version=1"], "--version takes no value"),
                (["status", "--watch=1"], "--watch takes no value"),
                (["update", "--url"], "--url needs a value")):
            self.assertEqual(self.alone(*args), (2, "", "otactl: " + sentence + hint), args)

    def test_help_and_version_go_to_stdout(self):
        code, out, err = self.alone("--help")
        self.assertEqual((code, err), (0, ""))
        self.assertTrue(out.startswith("Usage: otactl "))
        for args in (["update", "--help"], ["-h"], ["status", "-h"]):
            self.assertEqual(self.alone(*args), (0, out, ""), args)
        code, out, err = self.alone("--version")
        self.assertRegex(out, r"\Aotactl \d+\.\d+\.\d+\n\Z")

    def test_a_full_disk_is_noticed(self):
        server = self.booted()
        ask = ["--ecu", f"127.0.0.1:{server.port}"]
        update = ["update", "--url", "http://x/", "--version", "2.0"]
        for args in (["--help"], ["-h"], ["--version"], [*ask, "status"], [*ask, "--json", "status"],
                     [*ask, "status", "--watch"], [*ask, *update]):
            with open("/dev/full", "w") as full:
                r = subprocess.run([OTACTL, *args], stdout=full, stderr=subprocess.PIPE, text=True,
                                   timeout=60)
            self.assertEqual((r.returncode, r.stderr), (1, "otactl: Cannot write the answer\n"), args)
        server.expect("update .*")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
