"""The API as a foreign client sees it: Debian's Python gRPC against tests/support/api_server.

    /usr/bin/python3 test_api.py API_SERVER PROTO_FOLDER
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import grpc

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
import api_stubs  # noqa: E402

SERVER, PROTO = sys.argv[1:3]
SERVICE = "/OtaClientV2.OtaClientService/"
pb, pb_grpc = api_stubs.load(PROTO)


FOREIGN_CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import api_stubs
pb, _ = api_stubs.load(sys.argv[2])
raw = sys.stdin.buffer.read()
answer = pb.StatusResponse.FromString(raw)
ecu = answer.ecu_v2[0]
p = ecu.update_status
print(ecu.ecu_id, p.phase, p.processed_files_size, p.total_files_size_uncompressed, p.downloaded_bytes,
      hasattr(p, "total_download_bytes"))
print(sorted(answer.SerializeToString()) == sorted(raw))  # what it does not know is handed on as it is
"""


class Server:
    """The server's process; orders go to its stdin, and each is awaited."""

    def __init__(self, *args):
        self.process = subprocess.Popen([SERVER, *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.expect(r"port (\d+)").group(1))
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = pb_grpc.OtaClientServiceStub(self.channel)

    def expect(self, pattern):
        line = self.process.stdout.readline().rstrip("\n")
        match = re.fullmatch(pattern, line)
        assert match, f"expected {pattern!r}, got {line!r}"
        return match

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.expect("done .*")

    def raw(self, method, data):
        call = self.channel.unary_unary(SERVICE + method, lambda b: b, lambda b: b)
        return call(data, timeout=10)

    def stop(self):
        """End the server as systemd would; returns what it still printed."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=30)
        # also what a sanitizer has to say
        assert self.process.returncode == 0, f"exit status {self.process.returncode}"
        return rest


def update_request(*ids, url="http://x/", **fields):
    return pb.UpdateRequest(
        ecu=[pb.UpdateRequestEcu(ecu_id=i, version="2.0", url=url, cookies='{"a":"b"}', **fields)
             for i in ids])


class ApiTest(unittest.TestCase):
    def serve(self, *args):
        server = Server(*args)
        self.addCleanup(lambda: server.process.stdout.closed or server.stop())
        return server

    def booted(self, *args):
        server = self.serve(*args)
        server.order("boot SUCCESS 1.0")
        return server

    def assertFails(self, code, details, call, *args):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args)
        self.assertEqual(caught.exception.code(), code)
        self.assertEqual(caught.exception.details(), details)

    def test_status_is_unavailable_until_the_machine_knows_what_booted(self):
        server = self.serve()
        self.assertFails(grpc.StatusCode.UNAVAILABLE,
                         "local ECU 'main' status not yet collected",
                         server.stub.Status, pb.StatusRequest())
        server.order("boot INITIALIZED 0.1")
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ota_status,
                         pb.INITIALIZED)

    def test_status_names_each_ecu_once_and_shows_this_one(self):
        server = self.booted()
        answer = server.stub.Status(pb.StatusRequest())
        self.assertEqual(list(answer.available_ecu_ids), ["main", "sub"])
        self.assertEqual(len(answer.ecu), 0)
        self.assertEqual(len(answer.ecu_v2), 1)
        ecu = answer.ecu_v2[0]
        self.assertEqual((ecu.ecu_id, ecu.firmware_version, ecu.ota_status),
                         ("main", "1.0", pb.SUCCESS))
        self.assertRegex(ecu.otaclient_version, r"^\d+\.\d+\.\d+$")

    def test_optional_fields_are_present_even_when_empty(self):
        server = self.booted()
        ecu = server.stub.Status(pb.StatusRequest()).ecu_v2[0]
        for field in ("failure_type", "failure_reason", "failure_traceback", "update_status"):
            self.assertTrue(ecu.HasField(field), field)
        for field in ("total_elapsed_time", "delta_generating_elapsed_time",
                      "downloading_elapsed_time", "update_applying_elapsed_time"):
            self.assertTrue(ecu.update_status.HasField(field), field)

    def test_the_smallest_entry_ends_with_these_bytes(self):
        server = self.booted()
        self.assertTrue(server.raw("Status", b"").endswith(bytes.fromhex(
            "5801 6000 6a00 7200 7a0c fa0100 820200 8a0200 920200")))

    def test_an_accepted_update_reaches_the_machine_and_shows_in_status(self):
        server = self.booted()
        request = update_request("sub", "main", "main", release_name="n", release_id="r",
                                 image_id="i")
        request.request_id = "1700000000-0badcafe"
        answer = server.stub.Update(request)
        self.assertEqual([(e.ecu_id, e.result, e.message) for e in answer.ecu],
                         [("main", pb.NO_FAILURE, "")])
        server.expect(r'update version=2\.0 url=http://x/ cookies={"a":"b"} release=n/r/i '
                      "request_id=1700000000-0badcafe")
        ecu = server.stub.Status(pb.StatusRequest()).ecu_v2[0]
        self.assertEqual(ecu.ota_status, pb.UPDATING)
        self.assertEqual(ecu.update_status.update_firmware_version, "2.0")
        self.assertGreater(ecu.update_status.update_start_timestamp, 1_700_000_000)

    def test_progress_shows_while_updating_only(self):
        server = self.booted()
        server.stub.Update(update_request("main"))
        server.expect("update .*")
        server.order("phase 3")
        server.order("progress 10 40 30")
        progress = server.stub.Status(pb.StatusRequest()).ecu_v2[0].update_status
        self.assertEqual((progress.phase, progress.processed_files_size,
                          progress.total_files_size_uncompressed, progress.downloaded_bytes),
                         (pb.DOWNLOADING_OTA_FILES, 10, 40, 30))
        server.order("fail 203 The image has no regulars.txt")
        ecu = server.stub.Status(pb.StatusRequest()).ecu_v2[0]
        self.assertEqual((ecu.ota_status, ecu.failure_type, ecu.failure_reason),
                         (pb.FAILURE, pb.RECOVERABLE, "E203: The image has no regulars.txt"))
        self.assertEqual(ecu.update_status.processed_files_size, 0)

    def updating_with_a_plan(self):
        server = self.booted()
        server.stub.Update(update_request("main"))
        server.expect("update .*")
        server.order("phase 5")
        server.order("progress 10 40 30")
        server.order("planned 1000 2000")
        return server

    def test_the_plan_shows_in_fields_of_our_own(self):
        progress = self.updating_with_a_plan().stub.Status(pb.StatusRequest()).ecu_v2[0].update_status
        self.assertEqual((progress.total_download_bytes, progress.total_write_bytes), (1000, 2000))
        self.assertEqual([f.name for f in progress.DESCRIPTOR.fields if f.number >= 1000],
                         ["total_download_bytes", "total_write_bytes", "remaining_seconds"])

    def test_a_client_that_knows_none_of_our_own_fields_reads_the_answer(self):
        """One made from the definition without all that is ours, in a process of its own: names are registered once."""
        with open(os.path.join(PROTO, "otaclient_v2.proto")) as f:
            text = f.read()
        for ours, times in ((r"\n  \w+ \w+ = \d{4,};[^\n]*", 3), (r"\n  rpc Forecast [^\n]*", 1),
                            (r"\nmessage Forecast\w+ \{[^}]*\}", 2)):  # fmt: skip
            text, n = re.subn(ours, "", text)
            self.assertEqual(n, times, ours)
        server = self.updating_with_a_plan()
        raw = server.raw("Status", b"")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "otaclient_v2.proto"), "w") as f:
                f.write(text)
            done = subprocess.run([sys.executable, "-c", FOREIGN_CLIENT, os.path.dirname(api_stubs.__file__), folder],
                                  input=raw, capture_output=True, timeout=60, check=True)
        self.assertEqual(done.stdout.decode(), "main 5 10 40 30 False\nTrue\n")

    def test_a_request_without_an_id_gets_one(self):
        server = self.booted()
        server.stub.Update(update_request("main"))
        server.expect(r"update .* request_id=\d{10}-[0-9a-f]{8}")

    def test_a_refused_update_says_why(self):
        server = self.booted()
        for url, result, message in (
                ("http://busy/", pb.RECOVERABLE, "Another update is running"),
                ("http://invalid/", pb.UNRECOVERABLE, "The URL has no host")):
            answer = server.stub.Update(update_request("main", url=url))
            self.assertEqual([(e.ecu_id, e.result, e.message) for e in answer.ecu],
                             [("main", result, message)])
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ota_status, pb.SUCCESS)

    def test_an_ecu_that_is_not_here_has_no_entry(self):
        server = self.booted()
        self.assertEqual(len(server.stub.Update(update_request("elsewhere")).ecu), 0)
        self.assertEqual(len(server.stub.Update(pb.UpdateRequest()).ecu), 0)

    def test_without_ecu_info_every_ecu_is_refused_and_nothing_done(self):
        server = self.booted("--no-ecu-info")
        for method in (server.stub.Update, server.stub.ClientUpdate):
            answer = method(update_request("main", "sub"))
            self.assertEqual([(e.ecu_id, e.result) for e in answer.ecu],
                             [("main", pb.UNRECOVERABLE), ("sub", pb.UNRECOVERABLE)])
            self.assertIn("ecu_info.yaml", answer.ecu[0].message)
        server.order("phase 0")  # its "done" comes first: no "update" line before it

    def test_an_abort_ignores_its_list_and_answers_for_this_ecu(self):
        server = self.booted()
        request = pb.AbortRequest(ecu=[pb.AbortRequestEcu(ecu_id="elsewhere")])

        def answer():
            return [(e.ecu_id, e.result, e.message) for e in server.stub.Abort(request).ecu]

        self.assertEqual(answer(), [("main", pb.ABORT_FAILURE,
                                     "Cannot abort: no active OTA update in progress")])
        server.stub.Update(update_request("main"))
        server.expect("update .*")
        server.order("phase 5")
        self.assertEqual(answer(), [("main", pb.ABORT_FAILURE,
                                     "Cannot abort: the new slot is being set up")])
        server.order("phase 4")
        self.assertEqual(answer(), [("main", pb.ABORT_NO_FAILURE, "Abort accepted")])
        server.expect("abort")
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ota_status, pb.ABORTED)

    def test_a_forecast_is_asked_for_until_it_has_ended(self):
        server = self.booted("--child", "camera")  # what is handed on is refused when it comes again; this is not
        request = update_request("main")
        request.request_id = "forecast-1"
        answer = server.stub.Forecast(request)
        server.expect(r'forecast version=2\.0 url=http://x/ cookies={"a":"b"} request_id=forecast-1')
        self.assertEqual((answer.ecu_id, answer.result, answer.message, answer.request_id, answer.ended),
                         ("main", pb.NO_FAILURE, "", "forecast-1", False))
        answer = server.stub.Forecast(request)
        self.assertEqual((answer.ended, answer.download_bytes, answer.write_bytes, answer.whole_seconds),
                         (True, 3 << 20, 4 << 20, 61))
        self.assertEqual([a.action for a in answer.action], ["keep", "move", "repeat", "copy", "patch", "fetch"])
        self.assertEqual(answer.action[5].download_bytes, 3 << 20)
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ota_status, pb.SUCCESS)
        self.assertRegex(server.stub.Forecast(update_request("main")).request_id, r"^\d{10}-[0-9a-f]{8}$")
        server.expect("forecast .*")

    def test_a_rollback_is_answered_for_every_ecu_named(self):
        server = self.booted()
        answer = server.stub.Rollback(pb.RollbackRequest(
            ecu=[pb.RollbackRequestEcu(ecu_id=i) for i in ("main", "sub")]))
        self.assertEqual([(e.ecu_id, e.result, e.message) for e in answer.ecu],
                         [("main", pb.RECOVERABLE, "Rollback is not available"),
                          ("sub", pb.RECOVERABLE, "Rollback is not available")])

    def test_a_client_update_is_accepted_and_there_is_nothing_to_do(self):
        server = self.booted()
        answer = server.stub.ClientUpdate(update_request("main", "sub"))
        self.assertEqual([(e.ecu_id, e.result, e.message) for e in answer.ecu],
                         [("main", pb.NO_FAILURE,
                           "Nothing to do: the client of this ECU is updated together with its image, "
                           "not by itself")])
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ota_status, pb.SUCCESS)

    def test_a_client_update_waits_for_no_other_operation(self):
        server = self.booted()
        for busy in (pb.UPDATING, pb.ROLLBACKING, pb.CLIENT_UPDATING, pb.ABORTING):
            server.order(f"live {busy}")
            answer = server.stub.ClientUpdate(update_request("main"))
            self.assertEqual([(e.ecu_id, e.result, e.message) for e in answer.ecu],
                             [("main", pb.RECOVERABLE,
                               "An update is running already; this request has been ignored")])

    def test_strings_that_are_no_text_are_refused_by_name(self):
        server = self.booted()
        nul, bad = b"\x0a\x05\x0a\x03a\0b", b"\x0a\x03\x1a\x01\xff"
        for method in ("Update", "ClientUpdate", "Abort", "Rollback"):
            self.assertFails(grpc.StatusCode.INVALID_ARGUMENT,
                             "ecu[0].ecu_id contains a NUL character", server.raw, method, nul)
        for method in ("Update", "ClientUpdate"):
            self.assertFails(grpc.StatusCode.INVALID_ARGUMENT,
                             "ecu[0].url is not valid UTF-8", server.raw, method, bad)
        self.assertFails(grpc.StatusCode.INVALID_ARGUMENT, "The message is no UpdateRequest",
                         server.raw, "Update", b"\x0a\xff")

    def test_a_message_beyond_4_mib_is_refused(self):
        server = self.booted()
        with self.assertRaises(grpc.RpcError) as caught:
            server.raw("Update", b"\x12" + b"\xff\xff\xff\x02" + b"x" * (5 << 20))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_a_message_of_tiny_parts_is_refused(self):
        server = self.booted()
        self.assertFails(grpc.StatusCode.INVALID_ARGUMENT,
                         "The message is too large for UpdateRequest",
                         server.raw, "Update", b"\x0a\x00" * (1 << 20))

    def test_an_unknown_method_is_unimplemented(self):
        server = self.booted()
        for method in ("Stop", "", "Update/"):
            self.assertFails(grpc.StatusCode.UNIMPLEMENTED, "The API has no such method",
                             server.raw, method, b"")

    def test_a_second_server_on_the_port_is_refused(self):
        server = self.booted()
        second = subprocess.run([SERVER, "--port", str(server.port)], capture_output=True,
                                text=True, stdin=subprocess.DEVNULL, timeout=20)
        self.assertEqual(second.returncode, 1)
        self.assertEqual(second.stderr,
                         f"Cannot listen on 127.0.0.1:{server.port} for the API: another "
                         "program, perhaps another otaclient, has this port\n")
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ota_status, pb.SUCCESS)

    def test_a_port_is_free_again_at_once(self):
        first = self.booted()
        port = first.port
        first.stub.Status(pb.StatusRequest())
        first.stop()
        second = self.booted("--port", str(port))
        self.assertEqual(second.stub.Status(pb.StatusRequest()).ecu_v2[0].firmware_version, "1.0")

    def test_calls_in_parallel_are_all_answered(self):
        server = self.booted()
        calls = [server.stub.Status.future(pb.StatusRequest(), timeout=20) for _ in range(200)]
        self.assertEqual({c.result().ecu_v2[0].ecu_id for c in calls}, {"main"})

    def test_a_call_that_never_sends_its_message_holds_up_nobody(self):
        server = self.booted()
        silent = server.channel.stream_unary(SERVICE + "Update", lambda b: b, lambda b: b)

        def never():
            release.acquire()
            yield from ()

        release = threading.Semaphore(0)
        pending = silent.future(never())
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ecu_id, "main")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(timeout=30), 0)
        release.release()
        self.assertIsNotNone(pending.exception(timeout=10))

    def test_the_timer_goes_while_nothing_is_asked(self):
        server = self.serve("--ticks", "3")
        self.assertEqual(server.process.wait(timeout=30), 0)

    def test_the_timer_goes_while_much_is_asked(self):
        server = self.booted("--ticks", "50")
        with self.assertRaises(grpc.RpcError):
            for _ in range(10000):
                server.stub.Status(pb.StatusRequest(), timeout=10)
        self.assertEqual(server.process.wait(timeout=30), 0)

    def test_a_signal_stops_the_server_cleanly(self):
        server = self.booted()
        self.assertEqual(server.stop(), "stopped\n")

    def test_children_of_the_daemon_inherit_nothing(self):
        server = self.booted()
        server.stub.Status(pb.StatusRequest())
        server.process.stdin.write("fork\n")
        server.process.stdin.flush()
        # 0, 1, 2 and the folder that ls itself reads
        self.assertEqual(server.expect(r"child (.*)").group(1).split(), ["0", "1", "2", "3"])
        server.expect("done fork")
        self.assertEqual(server.stub.Status(pb.StatusRequest()).ecu_v2[0].ecu_id, "main")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
