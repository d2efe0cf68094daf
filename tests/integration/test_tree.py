"""A tree of ECUs on the loopback: tests/support/tree_server, asked by Debian's Python gRPC.

    /usr/bin/python3 test_tree.py TREE_SERVER PROTO_FOLDER

main has p1, p2 and p3 below it, p1 has g1 and g2. Where a child must lie, be late or be old, a server made with
Python's gRPC takes its place.
"""

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import grpc

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
import api_stubs  # noqa: E402

SERVER, PROTO = sys.argv[1:3]
SERVICE = "/OtaClientV2.OtaClientService/"
LIMIT_S = 30
ABSURD = 4711
pb, pb_grpc = api_stubs.load(PROTO)


class Ecu:
    """One tree_server. What it prints is collected by a thread, and waited for."""

    def __init__(self, ecu_id, *children, available=(), booted=True, port=0, wait_limit_s=0):
        args = ["--ecu-id", ecu_id, "--port", str(port), "--wait-limit", str(wait_limit_s)]
        for child in children:
            args += ["--child", f"{child.ecu_id}:{child.port}"]
        for i in available:
            args += ["--available", i]
        self.ecu_id = ecu_id
        self.lines, self.news, self.ended = [], threading.Condition(), False
        self.process = subprocess.Popen([SERVER, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.log = []
        self.readers = [threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
                        threading.Thread(target=self._read, args=(self.process.stderr, self.log))]
        for reader in self.readers:
            reader.start()
        self.port = int(self.wait_for("port ").split()[1])
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = pb_grpc.OtaClientServiceStub(self.channel)
        if booted:
            self.order("boot SUCCESS 1.0")

    def _read(self, stream, lines):
        for line in stream:
            with self.news:
                lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def wait_for(self, words, lines=None, after=0, limit_s=LIMIT_S):
        lines = self.lines if lines is None else lines
        with self.news:
            assert self.news.wait_for(lambda: any(words in line for line in lines[after:]), limit_s), \
                f"{self.ecu_id} never said {words!r}: {lines}"
            return next(line for line in lines[after:] if words in line)

    def said(self, words):
        with self.news:
            return [line for line in self.lines if words in line]

    def wait_until_said(self, words, times):
        with self.news:
            enough = self.news.wait_for(lambda: sum(words in line for line in self.lines) >= times, LIMIT_S)
            assert enough, f"{self.ecu_id} has not said {words!r} {times} times: {self.lines}"

    def order(self, line, wait=True):
        done = len(self.lines)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if wait:
            self.wait_for("done " + line, after=done)

    def status(self):
        return self.stub.Status(pb.StatusRequest(), timeout=LIMIT_S)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            for reader in self.readers:
                reader.join()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                stream.close()
        assert status in (0, -signal.SIGKILL), f"{self.ecu_id}: exit status {status}: {self.log}"


class Scripted:
    """A child made in Python: answers bytes, late or never."""

    def __init__(self, ecu_id, **answers):
        self.ecu_id = ecu_id
        self.asked = []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))

        def handler(method, answer):
            def handle(request, context):
                self.asked.append((method, request))
                return answer(request, context) if callable(answer) else answer
            return grpc.unary_unary_rpc_method_handler(handle, lambda b: b, lambda b: b)

        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "OtaClientV2.OtaClientService", {m: handler(m, a) for m, a in answers.items()}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()


def status_bytes(*entries):
    return pb.StatusResponse(ecu_v2=[pb.StatusResponseEcuV2(**e) for e in entries]).SerializeToString()


def update_bytes(*entries):
    return pb.UpdateResponse(ecu=[pb.UpdateResponseEcu(**e) for e in entries]).SerializeToString()


def request(*ids, url="http://x/", request_id=""):
    return pb.UpdateRequest(request_id=request_id, ecu=[
        pb.UpdateRequestEcu(ecu_id=i, version="2.0", url=url) for i in ids])


def entries(answer):
    return [(e.ecu_id, e.result, e.message) for e in answer.ecu]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Dead:
    """A child that is not there."""

    def __init__(self, ecu_id, port=0):
        self.ecu_id, self.port = ecu_id, port or free_port()


class TreeTest(unittest.TestCase):
    def ecu(self, *args, **kwargs):
        ecu = Ecu(*args, **kwargs)
        self.addCleanup(ecu.stop)
        return ecu

    def scripted(self, *args, **kwargs):
        child = Scripted(*args, **kwargs)
        self.addCleanup(child.stop)
        return child

    def three_levels(self):
        """main > p1 > g1, g2; main > p2, p3; everybody known to everybody."""
        g1, g2, p2, p3 = (self.ecu(i) for i in ("g1", "g2", "p2", "p3"))
        p1 = self.ecu("p1", g1, g2, available=["p1"])
        main = self.ecu("main", p1, p2, p3, available=["main", "p1", "p2", "p3", "g1", "g2"])
        self.all_known(main, {"main", "p1", "p2", "p3", "g1", "g2"})
        return main, p1, p2, p3, g1, g2

    def all_known(self, ecu, ids):
        end = time.monotonic() + LIMIT_S
        while {e.ecu_id for e in ecu.status().ecu_v2} != ids:
            self.assertLess(time.monotonic(), end, f"{ecu.ecu_id} shows {ecu.status()}")
            time.sleep(0.05)

    def shows(self, ecu, states):
        """Soon, the status and version of each."""
        end = time.monotonic() + LIMIT_S
        while (got := {e.ecu_id: (e.ota_status, e.firmware_version) for e in ecu.status().ecu_v2}) != states:
            self.assertLess(time.monotonic(), end, f"{got}, not {states}")
            time.sleep(0.05)

    def has_said(self, ecu, words, times):
        """What an ECU prints may come later than its answer."""
        ecu.wait_until_said(words, times)
        self.assertEqual(len(ecu.said(words)), times, ecu.ecu_id)

    # ---- what is shown

    def test_one_ecu_shows_all_below_it_itself_first(self):
        main, *_ = self.three_levels()
        answer = main.status()
        self.assertEqual(list(answer.available_ecu_ids), ["main", "p1", "p2", "p3", "g1", "g2"])
        self.assertEqual(answer.ecu_v2[0].ecu_id, "main")
        self.assertEqual(len(answer.ecu_v2), 6)
        self.assertEqual({e.firmware_version for e in answer.ecu_v2}, {"1.0"})

    def test_progress_of_a_grandchild_arrives_within_seconds(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        main.stub.Update(request("g1"), timeout=LIMIT_S)
        g1.order("phase 3")
        g1.order("progress 10 40 30")
        end = time.monotonic() + 5
        while not any(e.ecu_id == "g1" and e.update_status.processed_files_size == 10
                      for e in main.status().ecu_v2):
            self.assertLess(time.monotonic(), end, str(main.status()))
            time.sleep(0.05)

    def test_an_ecu_that_speaks_only_for_others_answers_without_an_entry_of_its_own(self):
        gateway = self.ecu("gateway", available=["sub"], booted=False)
        answer = gateway.status()
        self.assertEqual((list(answer.available_ecu_ids), len(answer.ecu_v2)), (["sub"], 0))
        gateway.order("boot SUCCESS 1.0")
        self.assertEqual([e.ecu_id for e in gateway.status().ecu_v2], ["gateway"])

    # ---- what is handed on

    def test_one_request_reaches_every_ecu_with_one_id(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        answer = main.stub.Update(request("g2", "g1", "p3", "p2", "p1", "main"), timeout=LIMIT_S)
        self.assertEqual(entries(answer), [(i, pb.NO_FAILURE, "")
                                           for i in ("g1", "g2", "p1", "p2", "p3", "main")])
        ids = {e.wait_for("request_id=").split("request_id=")[1] for e in (main, p1, p2, p3, g1, g2)}
        self.assertEqual(len(ids), 1, ids)
        self.assertRegex(ids.pop(), r"^\d{10}-[0-9a-f]{8}$")

    def test_the_callers_id_is_kept(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        main.stub.Update(request("g1", request_id="17-mine"), timeout=LIMIT_S)
        g1.wait_for("request_id=17-mine")

    def test_a_grandchild_is_reached_although_its_parent_is_not_named(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        answer = main.stub.Update(request("g1"), timeout=LIMIT_S)
        self.assertEqual(entries(answer), [("g1", pb.NO_FAILURE, "")])
        g1.wait_for("update ")
        for other in (main, p1, p2, p3, g2):
            self.assertEqual(other.said("update "), [])

    def test_an_ecu_that_nobody_knows_has_no_entry_but_a_line_in_the_log(self):
        main, *_ = self.three_levels()
        answer = main.stub.Update(request("nobody", request_id="17-a"), timeout=LIMIT_S)
        self.assertEqual(entries(answer), [])
        main.wait_for("Request 17-a names ECU nobody, which is neither here nor known below", main.log)
        main.stub.Update(request("nobody", "no one", request_id="17-b"), timeout=LIMIT_S)
        main.wait_for("Request 17-b names 2 ECUs that are neither here nor known below, the first is nobody",
                      main.log)

    def test_a_client_update_is_handed_on_too(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        answer = main.stub.ClientUpdate(request("p2", "g2", "main"), timeout=LIMIT_S)
        self.assertEqual([(e.ecu_id, e.result) for e in answer.ecu],
                         [("g2", pb.NO_FAILURE), ("p2", pb.NO_FAILURE), ("main", pb.NO_FAILURE)])

    def test_an_abort_reaches_all_whoever_is_named(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        main.stub.Update(request("g1", "p2", "main"), timeout=LIMIT_S)
        answer = main.stub.Abort(pb.AbortRequest(), timeout=LIMIT_S)
        none = "Cannot abort: no active OTA update in progress"
        self.assertEqual(entries(answer), [
            ("g1", pb.ABORT_NO_FAILURE, "Abort accepted"), ("g2", pb.ABORT_FAILURE, none),
            ("p1", pb.ABORT_FAILURE, none), ("p2", pb.ABORT_NO_FAILURE, "Abort accepted"),
            ("p3", pb.ABORT_FAILURE, none), ("main", pb.ABORT_NO_FAILURE, "Abort accepted")])

    def test_an_abort_in_any_phase_is_answered_by_each_ecu_and_ends_as_answered(self):
        """In seven rounds each ECU is in each phase once, beside others in other ones."""
        g1 = self.ecu("g1")
        p1 = self.ecu("p1", g1, available=["p1"])
        main = self.ecu("main", p1, available=["main", "p1", "g1"])
        self.all_known(main, {"main", "p1", "g1"})
        accepted = (pb.ABORT_NO_FAILURE, "Abort accepted")
        too_late = (pb.ABORT_FAILURE, "Cannot abort: the new slot is being set up")
        runs = dict.fromkeys((g1, p1, main), "1.0")
        for n in range(7):
            phases = {g1: n, p1: (n + 2) % 7, main: (n + 4) % 7}
            late = [e for e, phase in phases.items() if phase >= pb.PROCESSING_POSTUPDATE]
            with self.subTest(phases={e.ecu_id: phase for e, phase in phases.items()}):
                main.stub.Update(request("g1", "p1", "main"), timeout=LIMIT_S)
                for e, phase in phases.items():
                    e.order(f"phase {phase}")
                self.assertEqual(entries(main.stub.Abort(pb.AbortRequest(), timeout=LIMIT_S)),
                                 [(e.ecu_id, *(too_late if e in late else accepted)) for e in phases])
                self.shows(main, {e.ecu_id: (pb.UPDATING if e in late else pb.ABORTED, runs[e]) for e in phases})
                # those for whom it came too late end as if there had been none
                for e in late:
                    runs[e] = f"2.{n}"
                    e.order(f"boot SUCCESS {runs[e]}")
                self.shows(main, {e.ecu_id: (pb.SUCCESS if e in late else pb.ABORTED, runs[e]) for e in phases})
                main.order("wait")  # for nobody any more

    def test_a_rollback_is_handed_on_to_nobody(self):
        child = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}), Rollback=b"")
        main = self.ecu("main", child)
        answer = main.stub.Rollback(pb.RollbackRequest(ecu=[pb.RollbackRequestEcu(ecu_id="p1")]))
        self.assertEqual(entries(answer), [("p1", pb.RECOVERABLE, "Rollback is not available")])
        self.assertNotIn("Rollback", [m for m, _ in child.asked])

    def test_the_same_request_again_is_decided_by_each_ecu(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        first = main.stub.Update(request("g1", "main"), timeout=LIMIT_S)
        self.assertEqual({r for _, r, _ in entries(first)}, {pb.NO_FAILURE})
        again = main.stub.Update(request("g1", "main", url="http://busy/"), timeout=LIMIT_S)
        self.assertEqual(entries(again), [("g1", pb.RECOVERABLE, "Another update is running"),
                                          ("main", pb.RECOVERABLE, "Another update is running")])

    def test_of_two_requests_at_once_the_same_one_is_first_everywhere(self):
        main, p1, p2, p3, g1, g2 = self.three_levels()
        calls = [main.stub.Update.future(request("g1", "p2", "main", request_id=f"17-{i}"), timeout=LIMIT_S)
                 for i in range(6)]
        for call in calls:
            self.assertEqual(len(call.result().ecu), 3)
        for e in (main, p2, g1):
            e.wait_until_said("update ", 6)
        orders = [[line.split("request_id=")[1] for line in e.said("update ")] for e in (main, p2, g1)]
        self.assertEqual(len(orders[0]), 6)
        self.assertEqual(orders[0], orders[1])
        self.assertEqual(orders[0], orders[2])

    # ---- a ring: each is below the other

    def ring(self, *ids):
        """Each has the next one below it, and the last one the first."""
        port, below = free_port(), None
        ecus = []
        for i in reversed(ids[1:]):
            below = self.ecu(i, below or Dead(ids[0], port))
            ecus.insert(0, below)
        ecus.insert(0, self.ecu(ids[0], below, port=port))
        for e in ecus:
            self.all_known(e, set(ids))
        return ecus

    def test_in_a_ring_a_request_comes_round_once(self):
        for ids in (("a", "b"), ("a", "b", "c")):
            with self.subTest(ids=ids):
                ecus = self.ring(*ids)
                began = time.monotonic()
                answer = ecus[0].stub.Update(request(*ids, request_id="17-r"), timeout=LIMIT_S)
                self.assertEqual(entries(answer), [(i, pb.NO_FAILURE, "") for i in (*reversed(ids[1:]), "a")])
                self.assertLess(time.monotonic() - began, 3, "somebody has waited for a copy")
                ecus[0].wait_for("Update refused, request 17-r: This request came here before", ecus[0].log)
                for e in ecus:
                    self.has_said(e, "update ", 1)
                    self.has_said(e, "origins", 1)

    def test_in_a_ring_a_request_without_an_id_comes_round_once(self):
        a, b = self.ring("a", "b")
        answer = a.stub.Update(request("a", "b"), timeout=LIMIT_S)
        self.assertEqual(entries(answer), [("b", pb.NO_FAILURE, ""), ("a", pb.NO_FAILURE, "")])
        self.has_said(a, "update ", 1)
        self.has_said(b, "update ", 1)

    def test_in_a_ring_an_abort_comes_round_once(self):
        a, b = self.ring("a", "b")
        a.stub.Update(request("a", "b"), timeout=LIMIT_S)
        began = time.monotonic()
        answer = a.stub.Abort(pb.AbortRequest(), timeout=LIMIT_S)
        self.assertEqual(entries(answer), [("b", pb.ABORT_NO_FAILURE, "Abort accepted"),
                                           ("a", pb.ABORT_NO_FAILURE, "Abort accepted")])
        self.assertLess(time.monotonic() - began, 3, "somebody has waited for a copy")
        for e, times in ((a, 2), (b, 1)):
            with e.news:
                e.news.wait_for(lambda: len([line for line in e.log if "Abort: " in line]) >= times, LIMIT_S)
                self.assertEqual(len([line for line in e.log if "Abort: " in line]), times)

    def test_a_request_that_comes_twice_is_done_once(self):
        p1 = self.ecu("p1")
        main = self.ecu("main", p1, available=["main", "p1"])
        first = main.stub.Update(request("p1", "main", request_id="17-a"), timeout=LIMIT_S)
        self.assertEqual({r for _, r, _ in entries(first)}, {pb.NO_FAILURE})
        again = main.stub.Update(request("p1", "main", request_id="17-a"), timeout=LIMIT_S)
        self.assertEqual(entries(again), [
            ("main", pb.RECOVERABLE, "This request came here before; its id is taken again after 30 s at the earliest")])
        for other in (main.stub.Update(request("main", request_id="17-b"), timeout=LIMIT_S),
                      main.stub.ClientUpdate(request("p1", request_id="17-a"), timeout=LIMIT_S)):
            self.assertEqual(len(other.ecu), 1)
        self.has_said(main, "update ", 2)
        self.has_said(p1, "update ", 1)
        for _ in range(2):
            answer = main.stub.Abort(pb.AbortRequest(request_id="17-a"), timeout=LIMIT_S)
            self.assertEqual([e.ecu_id for e in answer.ecu], ["p1", "main"])

    # ---- children that are not as they should be

    def test_a_dead_child_gets_an_entry_and_harms_nobody(self):
        p2, dead = self.ecu("p2"), Dead("p1")
        main = self.ecu("main", dead, p2, available=["main", "p1", "p2"])
        answer = main.stub.Update(request("p1", "p2", "main"), timeout=LIMIT_S)
        self.assertEqual(entries(answer), [
            ("p1", pb.RECOVERABLE,
             f"ECU p1 cannot be asked: 127.0.0.1:{dead.port} did not answer Update: Connection refused"),
            ("p2", pb.NO_FAILURE, ""), ("main", pb.NO_FAILURE, "")])
        answer = main.stub.Abort(pb.AbortRequest(), timeout=LIMIT_S)
        self.assertEqual([(e.ecu_id, e.result) for e in answer.ecu],
                         [("p1", pb.ABORT_FAILURE), ("p2", pb.ABORT_NO_FAILURE), ("main", pb.ABORT_NO_FAILURE)])

    def test_while_a_child_is_late_status_is_answered_at_once(self):
        release = threading.Event()
        self.addCleanup(release.set)
        late = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}),
                             Update=lambda *_: release.wait(LIMIT_S) and b"")
        main = self.ecu("main", late)
        began = time.monotonic()
        call = main.stub.Update.future(request("p1", "main"), timeout=LIMIT_S)
        slowest = 0.0
        while not call.done():
            asked = time.monotonic()
            main.status()
            slowest = max(slowest, time.monotonic() - asked)
        took = time.monotonic() - began
        self.assertLess(slowest, 1.0)
        self.assertGreater(took, 5.5)
        self.assertLess(took, 9)
        self.assertEqual(entries(call.result()), [
            ("p1", pb.RECOVERABLE,
             f"ECU p1 cannot be asked: 127.0.0.1:{late.port} did not answer Update in time"),
            ("main", pb.NO_FAILURE, "")])

    def test_an_abort_does_not_wait_behind_an_update(self):
        release = threading.Event()
        self.addCleanup(release.set)
        late = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}),
                             Update=lambda *_: release.wait(LIMIT_S) and b"",
                             Abort=pb.AbortResponse(ecu=[pb.AbortResponseEcu(ecu_id="p1")]).SerializeToString())
        main = self.ecu("main", late)
        update = main.stub.Update.future(request("p1"), timeout=LIMIT_S)
        main.wait_for("origins")
        main.stub.Abort(pb.AbortRequest(), timeout=LIMIT_S)
        self.assertFalse(update.done())
        update.result()

    def test_an_abort_stops_this_ecu_before_it_waits_for_others(self):
        release = threading.Event()
        self.addCleanup(release.set)
        silent = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}),
                               Abort=lambda *_: release.wait(LIMIT_S) and b"")
        main = self.ecu("main", silent)
        main.stub.Update(request("main"), timeout=LIMIT_S)
        abort = main.stub.Abort.future(pb.AbortRequest(), timeout=LIMIT_S)
        main.wait_for("abort")
        self.assertFalse(abort.done())
        release.set()
        self.assertEqual([e.ecu_id for e in abort.result().ecu], ["main"])

    def test_too_many_requests_at_once_are_refused(self):
        release = threading.Event()
        self.addCleanup(release.set)
        late = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}),
                             Update=lambda *_: release.wait(LIMIT_S) and b"")
        main = self.ecu("main", late)
        began = time.monotonic()
        calls = [main.stub.Update.future(request("p1"), timeout=1) for _ in range(20)]
        codes = [c.exception().code() for c in calls]
        refused = [c for c in calls if c.exception().code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
        self.assertGreaterEqual(len(refused), 11, codes)
        self.assertEqual(refused[0].exception().details(),
                         "Too many calls are waiting to be answered; this one has been ignored")
        # those whose callers have given up meanwhile are not done; their time has passed for the server, too
        while time.monotonic() < began + 2:
            main.status()
        release.set()
        end = time.monotonic() + LIMIT_S
        while not main.said("update "):
            self.assertLess(time.monotonic(), end)
            with contextlib.suppress(grpc.RpcError):
                main.stub.Update(request("main"), timeout=LIMIT_S)
        self.assertEqual(len([m for m, _ in late.asked if m == "Update"]), 1)

    def test_a_child_that_knows_no_abort_is_named(self):
        old = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}))
        main = self.ecu("main", old)
        answer = main.stub.Abort(pb.AbortRequest(), timeout=LIMIT_S)
        self.assertEqual(entries(answer)[0], (
            "p1", pb.ABORT_FAILURE,
            "ECU p1 at 127.0.0.1 does not support the abort endpoint (UNIMPLEMENTED)"))

    def test_nonsense_in_a_status_is_left_out(self):
        huge = "x" * 3000
        lies = status_bytes({"ecu_id": "p1", "firmware_version": huge, "failure_reason": huge, "ota_status": 1},
                            {"ecu_id": "main", "ota_status": pb.FAILURE, "firmware_version": "evil"},
                            {"ecu_id": "p2", "ota_status": pb.UPDATING}, {"ecu_id": ""}, {"ecu_id": huge},
                            {"ecu_id": "stranger", "ota_status": pb.UPDATING},
                            *({"ecu_id": f"ghost{i}"} for i in range(1000)))
        liar, p2 = self.scripted("p1", Status=lies), self.ecu("p2")
        main = self.ecu("main", liar, p2, available=["main", "p1", "p2"])
        main.wait_for("success=1")
        answer = main.status()
        by_id = {e.ecu_id: e for e in answer.ecu_v2}
        self.assertEqual(by_id["main"].firmware_version, "1.0")
        self.assertEqual(by_id["p2"].ota_status, pb.SUCCESS)
        self.assertEqual(len(by_id["p1"].firmware_version), 2048)
        self.assertLess(len(answer.ecu_v2), 70)
        self.assertEqual(len(by_id), len(answer.ecu_v2))
        main.order("wait")
        main.wait_for("waited")
        main.wait_for("ECU p1 reports 1006 ECUs; 937 that ecu_info.yaml does not name are left out, for at most 64 are kept",
                      main.log)
        # what comes with the next polls is nothing new
        main.stub.Update(request("main"), timeout=LIMIT_S)
        n_asked = len(liar.asked)
        end = time.monotonic() + LIMIT_S
        while len(liar.asked) < n_asked + 2:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        self.assertEqual(len([line for line in main.log if "left out" in line]), 1)

    def test_a_child_with_another_id_is_named_once(self):
        other = self.scripted("p1", Status=status_bytes({"ecu_id": "q7"}))
        main = self.ecu("main", other)
        end = time.monotonic() + LIMIT_S
        while len(other.asked) < 3:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        odd = [line for line in main.log if "report itself" in line]
        self.assertEqual(len(odd), 1)
        self.assertIn(f"ECU p1 at 127.0.0.1, port {other.port}, does not report itself, but ECU q7: "
                      "is its id in ecu_info.yaml right?", odd[0])

    def test_bytes_that_are_no_answer_are_told(self):
        child = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}), Update=lambda *_: b"\xff" * 100)
        main = self.ecu("main", child)
        entry, = main.stub.Update(request("p1"), timeout=LIMIT_S).ecu
        self.assertEqual((entry.ecu_id, entry.result), ("p1", pb.RECOVERABLE))
        self.assertIn("Cannot read the answer of 127.0.0.1 to Update: The message is no ", entry.message)

    def test_bytes_that_are_no_status_are_told_and_survived(self):
        bad = [b"\xff" * 100, pb.StatusResponse(ecu_v2=[pb.StatusResponseEcuV2(ecu_id="p1")] * 1025)
               .SerializeToString(), b"\x1a\x05\x0a\x03a\0b"]
        child = self.scripted("p1", Status=lambda *_: bad.pop(0) if bad else status_bytes({"ecu_id": "p1"}))
        main = self.ecu("main", child)
        main.wait_for("ECU p1: Cannot read the answer of 127.0.0.1 to Status: ", main.log)
        self.all_known(main, {"main", "p1"})

    def test_a_status_larger_than_any_vehicle_is_not_read(self):
        """Each answer is dropped as it is, and the child counts as one that says nothing."""
        huge = status_bytes({"ecu_id": "p1", "failure_traceback": "x" * (32 << 20)})
        endless = [huge] * 3
        child, p2 = self.scripted("p1", Status=lambda *_: endless.pop(0) if endless else status_bytes({"ecu_id": "p1"})), \
            self.ecu("p2")
        main = self.ecu("main", child, p2)
        main.wait_for("ECU p1: ", main.log)
        self.assertEqual({e.ecu_id for e in main.status().ecu_v2} - {"p1"}, {"main", "p2"})
        with open(f"/proc/{main.process.pid}/status") as f:
            peak_kb = next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
        self.assertLess(peak_kb, 96 << 10)
        self.all_known(main, {"main", "p1", "p2"})

    def test_nonsense_in_an_answer_is_left_out(self):
        huge = "z" * 3000
        answer = update_bytes({"ecu_id": "main", "result": pb.UNRECOVERABLE}, {"ecu_id": huge}, {"ecu_id": ""},
                              {"ecu_id": "p1", "result": ABSURD, "message": huge},
                              *({"ecu_id": f"ghost{i}"} for i in range(1000)))
        liar = self.scripted("p1", Status=status_bytes({"ecu_id": "p1", "ota_status": pb.SUCCESS}), Update=answer)
        main = self.ecu("main", liar, available=["main", "p1"])
        main.wait_for("success=1")
        got = entries(main.stub.Update(request("p1", "main"), timeout=LIMIT_S))
        self.assertEqual(got[0], ("p1", ABSURD, huge[:1023]))
        self.assertEqual(got[-1], ("main", pb.NO_FAILURE, ""))
        self.assertEqual([e for e in got if e[0] == "main"], [got[-1]])
        main.wait_for("1003 entries of the answer of ECU p1 make no sense" if len(got) == 2 else
                      "3 entries of the answer of ECU p1 make no sense", main.log)
        # nobody has asked for the ghosts: they hold up nothing
        main.order("live 1")
        main.order("wait")
        main.wait_for("waited")

    # ---- waiting, and what the proxy needs

    def test_waits_for_children_until_none_is_in_an_update(self):
        p1 = self.ecu("p1")
        main = self.ecu("main", p1, available=["main", "p1"])
        main.wait_for("success=1")
        main.stub.Update(request("p1"), timeout=LIMIT_S)
        main.wait_for("below in_update=1 network=1")
        main.order("wait", wait=False)
        main.wait_for("Waiting for ECUs below that are in an update: p1", main.log)
        p1.order("phase 4")
        main.wait_for("below in_update=1 network=0")
        # it restarts: silent, then there again with the new version
        port = p1.port
        p1.kill()
        self.assertEqual(main.said("waited"), [])
        p1 = self.ecu("p1", port=port, booted=False)
        p1.order("boot SUCCESS 2.0")
        main.wait_for("waited")
        main.wait_for("in_update=0 network=0 success=1", after=len(main.lines) - 3)

    def test_a_wait_for_children_ends_with_the_daemon(self):
        p1 = self.ecu("p1")
        main = self.ecu("main", p1, available=["main", "p1"])
        main.wait_for("success=1")
        main.stub.Update(request("p1"), timeout=LIMIT_S)
        main.order("wait", wait=False)
        main.wait_for("Waiting for ECUs below that are in an update: p1", main.log)
        main.process.send_signal(signal.SIGTERM)
        main.wait_for("ended", limit_s=5)

    def test_a_child_that_never_ends_its_update_is_waited_for_until_the_limit(self):
        p1 = self.scripted("p1", Status=status_bytes({"ecu_id": "p1", "ota_status": pb.UPDATING}))
        main = self.ecu("main", p1, available=["main", "p1"], wait_limit_s=2)
        main.wait_for("below in_update=1")
        main.stub.Update(request("main"), timeout=LIMIT_S)
        main.order("phase 6")
        self.assertEqual(main.status().ecu_v2[0].failure_reason, "")
        began = time.monotonic()
        main.order("wait")
        self.assertEqual(len(main.said("waited")), 1)
        self.assertGreaterEqual(time.monotonic() - began, 2)
        sentence = "Not waiting any longer, after 2 s, for ECUs below that are in an update: p1"
        main.wait_for(sentence, main.log)
        own = main.status().ecu_v2[0]
        self.assertEqual((own.ota_status, own.failure_type, own.failure_reason),
                         (pb.UPDATING, pb.NO_FAILURE, sentence))
        # what has been remarked ends with what it was about
        main.order("live 1")
        self.assertEqual(main.status().ecu_v2[0].failure_reason, "")

    def test_a_child_that_is_named_by_nobody_holds_up_nothing(self):
        p1 = self.ecu("p1")
        main = self.ecu("main", p1, available=["main"] + ["p2"])
        main.stub.Update(request("p1"), timeout=LIMIT_S)
        self.all_known(main, {"main", "p1"})
        main.order("wait")
        main.wait_for("waited")

    def test_the_network_is_wanted_before_children_are_told(self):
        order = []
        child = self.scripted(
            "p1", Status=status_bytes({"ecu_id": "p1", "ota_status": pb.SUCCESS}),
            Update=lambda *_: (order.extend(main.said("network=1")), order.extend(main.said("origins")),
                               update_bytes({"ecu_id": "p1", "result": pb.RECOVERABLE}))[-1])
        main = self.ecu("main", child, available=["main", "p1"])
        main.wait_for("success=1")
        end = time.monotonic() + LIMIT_S
        while not order and time.monotonic() < end:
            main.stub.Update(request("p1", "elsewhere", url="http://u/"), timeout=LIMIT_S)
        self.assertIn("origins http://u/ http://u/", order)
        self.assertIn("below in_update=1 network=1 success=0", order)
        # it has refused
        main.wait_for("in_update=0 network=0 success=1", after=len(main.lines) - 1)

    ENDING = "This ECU's otaclient is about to end; nothing was done here"

    def test_the_end_of_the_daemon_waits_for_nobody_and_is_told(self):
        silent = socket.socket()
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        child = Dead("p1")
        child.port = silent.getsockname()[1]
        main = self.ecu("main", child)
        calls = [main.stub.Update.future(request("p1", "main"), timeout=LIMIT_S) for _ in range(2)]
        main.wait_for("origins")
        began = time.monotonic()
        main.process.send_signal(signal.SIGTERM)
        self.assertEqual(main.process.wait(LIMIT_S), 0)
        self.assertLess(time.monotonic() - began, 4)
        call, queued = sorted(calls, key=lambda c: c.exception() is not None)
        self.assertEqual(entries(call.result()), [
            ("p1", pb.RECOVERABLE, f"ECU p1 cannot be asked: 127.0.0.1:{child.port} was not waited for to answer Update"),
            ("main", pb.RECOVERABLE, self.ENDING)])
        self.assertEqual((queued.exception().code(), queued.exception().details()),
                         (grpc.StatusCode.UNAVAILABLE, "otaclient ends; nothing was done"))
        self.assertEqual(main.said("update "), [])

    def test_at_the_end_of_the_daemon_children_that_have_accepted_are_told(self):
        release = threading.Event()
        self.addCleanup(release.set)
        late = self.scripted("p1", Status=status_bytes({"ecu_id": "p1"}),
                             Update=lambda *_: release.wait(LIMIT_S) and update_bytes({"ecu_id": "p1"}))
        main = self.ecu("main", late)
        call = main.stub.Update.future(request("p1", "main"), timeout=LIMIT_S)
        main.wait_for("origins")
        main.process.send_signal(signal.SIGTERM)
        with self.assertRaises(grpc.RpcError):  # once it refuses calls it has seen the signal
            while True:
                main.status()
        release.set()
        self.assertEqual(entries(call.result()), [("p1", pb.NO_FAILURE, ""), ("main", pb.RECOVERABLE, self.ENDING)])
        self.assertEqual(main.process.wait(LIMIT_S), 0)
        self.assertEqual(main.said("update "), [])


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
