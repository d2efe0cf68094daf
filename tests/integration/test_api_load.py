"""Status while an update runs and many ask: memory does not grow, and the answer comes at once.

    /usr/bin/python3 test_api_load.py TREE_SERVER PROTO_FOLDER

Against tests/support/tree_server with a child below it, which is asked every second. Prints what it has measured.
"""

import concurrent.futures
import os
import signal
import statistics
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
N_CALLS = 10_000
N_AT_ONCE = 64
N_ROUNDS = 100
N_WARM_UP = 2_000
N_BLOCKS = 10
LIMIT_S = 30
pb, pb_grpc = api_stubs.load(PROTO)


def p99(times):
    return sorted(times)[len(times) * 99 // 100]


VEHICLE = [pb.StatusResponseEcuV2(ecu_id=f"ecu{i}", firmware_version="1.0", otaclient_version="4.0.0",
                                  ota_status=pb.UPDATING) for i in range(6)]
LIES = [pb.StatusResponseEcuV2(ecu_id=f"ecu{i}", firmware_version="x" * 3000) for i in range(1024)]


class LoadTest(unittest.TestCase):
    def serve(self, reports):
        """The server, with a child that reports these."""
        said = pb.StatusResponse(ecu_v2=reports).SerializeToString()
        child = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        child.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "OtaClientV2.OtaClientService",
            {"Status": grpc.unary_unary_rpc_method_handler(lambda *_: said, lambda b: b, lambda b: b)}),))
        child_port = child.add_insecure_port("127.0.0.1:0")
        child.start()
        self.addCleanup(child.stop, None)
        self.server = subprocess.Popen([SERVER, "--child", f"ecu0:{child_port}"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(self.end)
        while not (line := self.server.stdout.readline()).startswith("port "):
            pass
        self.address = "127.0.0.1:" + line.split()[1]
        self.reader = threading.Thread(target=self.server.stdout.read)
        self.reader.start()
        self.channels = []
        self.begin_update(min(len(reports), 65))
        return self.asker()

    def end(self):
        for channel in self.channels:
            channel.close()
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(LIMIT_S), 0)
        self.reader.join()
        self.server.stdin.close()
        self.server.stdout.close()

    def begin_update(self, n_shown):
        self.server.stdin.write("boot SUCCESS 1\n")
        self.server.stdin.flush()
        with grpc.insecure_channel(self.address) as channel:
            stub = pb_grpc.OtaClientServiceStub(channel)
            answer = stub.Update(pb.UpdateRequest(ecu=[pb.UpdateRequestEcu(ecu_id="main", url="http://x/")]),
                                 timeout=LIMIT_S, wait_for_ready=True)
            self.assertEqual(answer.ecu[0].result, pb.NO_FAILURE)
            end = time.monotonic() + LIMIT_S
            while len(stub.Status(pb.StatusRequest(), timeout=LIMIT_S).ecu_v2) < n_shown:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)

    def asker(self):
        """A client with a connection of its own. Bytes: Python takes longer to take an answer apart than the server
        to make it."""
        channel = grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])
        self.channels.append(channel)
        return channel.unary_unary("/OtaClientV2.OtaClientService/Status", lambda b: b, lambda b: b)

    def rss_kib(self):
        with open(f"/proc/{self.server.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))

    def in_a_row(self, ask, n):
        times = []
        for _ in range(n):
            began = time.monotonic()
            self.assertGreater(len(ask(b"", timeout=LIMIT_S)), 100)
            times.append(time.monotonic() - began)
        return times

    def at_once(self, asks):
        """How long each waited, asked in the same instant."""
        times = []
        began = time.monotonic()
        calls = [ask.future(b"", timeout=LIMIT_S) for ask in asks]
        for call in calls:
            call.add_done_callback(lambda _: times.append(time.monotonic() - began))
        for call in calls:
            self.assertGreater(len(call.result()), 100)
        end = time.monotonic() + LIMIT_S
        while len(times) < len(asks):  # result() may return before the callback has run
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)
        return times

    def check(self, what, blocks, p99_limit_s, before, growth_limit_kib):
        """The best of several blocks counts: what else runs on the machine can only make them worse."""
        growth = self.rss_kib() - before
        best = min(blocks, key=p99)
        print(f"{what}: median {statistics.median(best) * 1000:.2f} ms, p99 {p99(best) * 1000:.2f} ms "
              f"({p99(sum(blocks, [])) * 1000:.2f} ms of all), memory {before} KiB and {growth:+} KiB", file=sys.stderr)
        self.assertLess(p99(best), p99_limit_s)
        self.assertLess(growth, growth_limit_kib)

    def test_calls_in_a_row(self):
        ask = self.serve(VEHICLE)
        self.in_a_row(ask, N_WARM_UP)
        before = self.rss_kib()
        blocks = [self.in_a_row(ask, N_CALLS // N_BLOCKS) for _ in range(N_BLOCKS)]
        self.check(f"{N_CALLS} in a row", blocks, 0.020, before, 1024)

    def test_the_same_with_a_child_that_reports_as_much_as_it_can(self):
        ask = self.serve(LIES)
        self.in_a_row(ask, N_WARM_UP)
        before = self.rss_kib()
        blocks = [self.in_a_row(ask, N_CALLS // N_BLOCKS) for _ in range(N_BLOCKS)]
        # Its polls take apart 3 MiB each, of which the allocator keeps some.
        self.check(f"{N_CALLS} in a row, large", blocks, 0.020, before, 16 * 1024)

    def test_clients_at_once(self):
        asks = [self.serve(VEHICLE)] + [self.asker() for _ in range(N_AT_ONCE - 1)]
        for _ in range(20):
            self.at_once(asks)
        before = self.rss_kib()
        blocks = [sum((self.at_once(asks) for _ in range(N_ROUNDS // N_BLOCKS)), []) for _ in range(N_BLOCKS)]
        # The most of it is what one Python process needs for 64 calls.
        self.check(f"{N_AT_ONCE} at once", blocks, 0.060, before, 1024)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
