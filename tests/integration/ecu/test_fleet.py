#!/usr/bin/python3
"""
A mixed fleet: our daemon driven by a foreign agent, above and below an ECU that runs the other client.

    test_fleet.py BUILD_DIR PROTO_FOLDER [TEST…]

The agent is a Python program made from the API's definition. The other ECU is a stand-in, tests/support/upstream_ecu.py.
All else as in test_vehicle.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # machines are forked beside its threads, and execute at once
sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
import grpc  # noqa: E402
import api_stubs  # noqa: E402
from ecu_lab import HOST_ADDRESS, SOURCE_ROOT, Failed, enter_private, run, wait_for  # noqa: E402
from pseudo_ecu import machine, syscalls  # noqa: E402
from vehicle import Place, Plan  # noqa: E402
from vehicle_case import VehicleCase  # noqa: E402

PROTO = sys.argv[2]
STAND_IN = os.path.join(SOURCE_ROOT, "tests/support/upstream_ecu.py")
REQUEST_ID = r"\d{10}-[0-9a-f]{8}"

OURS_ABOVE = Plan(Place("main", 1, proxy=True), Place("other", 20, "main", foreign=True))
OURS_BELOW = Plan(Place("other", 20, proxy=True, foreign=True), Place("ecu_b", 3, "other"))

pb, pb_grpc = api_stubs.load(PROTO)


class Agent:
    """A fleet agent: it knows the address of a main ECU, and the API."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(f"{address}:50051", [("grpc.max_reconnect_backoff_ms", 1000)])
        self.stub = pb_grpc.OtaClientServiceStub(self.channel)

    def update(self, *entries):
        """@entries: (ecu_id, version, url). Returns [(ecu_id, result)] in the order of the answer."""
        request = pb.UpdateRequest()
        for ecu_id, version, url in entries:
            request.ecu.add(ecu_id=ecu_id, version=version, url=url, cookies="{}")
        return [(e.ecu_id, pb.FailureType.Name(e.result)) for e in self.stub.Update(request, timeout=20).ecu]

    def abort(self):
        answer = self.stub.Abort(pb.AbortRequest(), timeout=20)
        return [(e.ecu_id, pb.AbortFailureType.Name(e.result)) for e in answer.ecu]

    def entries(self):
        """{ecu_id: entry}; nothing while the ECU does not answer."""
        try:
            return {e.ecu_id: e for e in self.stub.Status(pb.StatusRequest(), timeout=6).ecu_v2}
        except grpc.RpcError:
            return {}

    def states(self):
        return {n: (pb.StatusOta.Name(e.ota_status), e.firmware_version) for n, e in self.entries().items()}

    def phase(self, ecu_id):
        """As agents must read it: update_status is always there, and means something while UPDATING."""
        entry = self.entries().get(ecu_id)
        if entry is None or entry.ota_status != pb.UPDATING:
            return None
        return pb.UpdatePhase.Name(entry.update_status.phase)


class StandIn:
    """The process of the other client's ECU, at its address on the vehicle's network."""

    def __init__(self, lab, plan, name):
        self.work = tempfile.mkdtemp(prefix=f"{name}.", dir=lab.work)
        place = plan[name]
        below = [p for p in plan.places.values() if p.parent == name]
        config = {
            "ecu_id": name, "address": place.address, "proto": PROTO, "work": self.work,
            "secondaries": [{"ecu_id": p.name, "address": p.address} for p in below],
            "available": list(plan.names) if place.parent is None else [],
            "upper_proxy": f"http://{plan[place.parent].address if place.parent else place.address}:8082",
            "ca": f"{lab.tls()}/ca.pem" if place.proxy else None,
        }  # fmt: skip
        with open(f"{self.work}/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.out = f"{self.work}/said"
        run("ip", "address", "add", f"{place.address}/24", "dev", "vehicle")
        if place.parent is None:
            run("ip", "address", "add", f"{machine.NET}/30", "dev", "uplink")
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                ["/usr/bin/python3", STAND_IN, f"{self.work}/config.json"], stdin=subprocess.DEVNULL, stdout=out,
                preexec_fn=lambda: syscalls.die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        wait_for("the stand-in is ready", lambda: self.events("ready"), 30)

    def events(self, name):
        """What it said so far of this kind."""
        with open(self.out, encoding="utf-8") as f:
            said = [json.loads(line) for line in f if line.endswith("\n")]
        return [event for event in said if event["event"] == name]

    def tail(self):
        with open(self.out, encoding="utf-8") as f:
            return "".join(f.readlines()[-15:])

    def hold(self):
        with open(f"{self.work}/hold", "x", encoding="ascii"):
            pass

    def release(self):
        os.unlink(f"{self.work}/hold")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        run("ip", "address", "flush", "dev", "uplink")


class MixedFleet(VehicleCase):
    rate = "200mbit"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.build_image("other", cls.small_tree(cls.lab.path("small")))

    @staticmethod
    def small_tree(root):
        """What the stand-in fetches: some of each kind of file that is fetched in a way of its own."""
        os.makedirs(f"{root}/usr/share/some names, quoted'")
        for n in range(40):
            with open(f"{root}/usr/share/some names, quoted'/{n}.txt", "w", encoding="ascii") as f:
                f.write(f"line {n}\n" * (4000 if n % 2 else 10))
        with open(f"{root}/usr/share/incompressible", "wb") as f:
            f.write(os.urandom(300_000))
        with open(f"{root}/usr/share/empty", "wb"):
            pass
        return root

    def start(self, plan):
        vehicle = self.make(plan)
        self.enterContext(vehicle.on())
        stand_in = StandIn(self.lab, plan, "other")
        self.addCleanup(stand_in.stop)
        agent = Agent(plan[plan.names[0]].address)
        self.addCleanup(agent.channel.close)
        self.other, self.agent = stand_in, agent
        everybody = set(plan.names)
        self.until("the main ECU has heard from all", lambda: set(agent.entries()) == everybody, 30)
        return vehicle, stand_in, agent

    def test_an_ecu_of_the_other_client_below_ours(self):
        vehicle, other, agent = self.start(OURS_ABOVE)
        self.assertEqual({"main": ("INITIALIZED", ""), "other": ("INITIALIZED", "0")}, agent.states())
        asked_before = len(self.uplink.origin.requests())
        other.hold()
        answer = agent.update(("main", "v2", self.url("v2")), ("other", "o2", self.url("other")))
        self.assertEqual([("other", "NO_FAILURE"), ("main", "NO_FAILURE")], answer, "those below come first")
        self.assertEqual(["main", "other"], other.events("update")[0]["ecus"], "the request goes on whole")
        self.assertRegex(other.events("update")[0]["request_id"], f"^{REQUEST_ID}$")

        self.until("ours has done its part", lambda: agent.phase("main") == "FINALIZING_UPDATE", 180)
        self.until("the other has fetched all", lambda: other.events("fetched"), 60)
        self.until("we hear of it", lambda: agent.phase("other") == "APPLYING_UPDATE", 20)
        self.assertEqual("FINALIZING_UPDATE", agent.phase("main"), "an ECU below is still at work")
        self.assertEqual(1, len(vehicle.main.boots()))
        other.release()
        want = {"main": ("SUCCESS", "v2"), "other": ("SUCCESS", "o2")}
        self.until("both are done", lambda: agent.states() == want, 120)
        self.assertEqual(["slot_a", "slot_b"], vehicle.main.boots())

        self.assertEqual(41, other.events("fetched")[0]["files"])
        asked = self.uplink.origin.requests()[asked_before:]
        self.assertEqual([], [path for path, via in asked if " otaproxy-" not in via], "all came through our proxy")
        paths = [path for path, _ in asked if not path.endswith(("metadata.jwt", "oci-layout"))]
        self.assertEqual(len(set(paths)), len(paths))

    def test_an_abort_reaches_the_other_client_below(self):
        vehicle, other, agent = self.start(OURS_ABOVE)
        other.hold()
        self.assertEqual([("other", "NO_FAILURE")], agent.update(("other", "o2", self.url("other"))))
        self.until("it is at work", lambda: agent.phase("other") == "APPLYING_UPDATE", 60)
        self.assertEqual([("other", "ABORT_NO_FAILURE"), ("main", "ABORT_FAILURE")], agent.abort())
        self.until("we hear of it", lambda: agent.states()["other"] == ("ABORTED", "0"), 20)
        self.assertEqual(1, len(vehicle.main.boots()))

    def test_ours_below_an_ecu_of_the_other_client(self):
        vehicle, other, agent = self.start(OURS_BELOW)
        ours = vehicle["ecu_b"]
        self.assert_no_way_to(HOST_ADDRESS, ["ecu_b"])
        answer = agent.update(("other", "o2", self.url("other")), ("ecu_b", "v2", self.url("v2")))
        self.assertEqual([("ecu_b", "NO_FAILURE"), ("other", "NO_FAILURE")], answer)
        want = {"ecu_b": ("SUCCESS", "v2"), "other": ("SUCCESS", "o2")}
        self.until("both are done", lambda: agent.states() == want, 240)
        self.assertEqual(["slot_a", "slot_b"], ours.boots())

        request_id = other.events("update")[0]["request_id"]
        self.assertIn(request_id, ours.said(), "one id for the whole campaign")
        asked = {e["path"]: e for e in other.events("proxied") if e["path"].startswith("/v2/")}
        self.assertGreater(len(asked), 500)
        self.assertEqual({"http:"}, {e["form"] for e in asked.values()}, "whole URLs of http, whatever the origin speaks")
        self.assertEqual("no_cache", asked["/v2/metadata.jwt"]["control"])
        for path, event in asked.items():
            if path.startswith("/v2/data"):
                alg = ",file_compression_alg=zst" if path.endswith(".zst") else ""
                self.assertRegex(event["control"], f"^file_sha256=[0-9a-f]{{64}}{re.escape(alg)}$")
        vehicle.switch_off()
        self.assert_slots_are_new(["ecu_b"])

    def until(self, what, condition, timeout_s):
        """As wait_for(); who reads of a failure is told what everybody said."""
        try:
            wait_for(what, condition, timeout_s, poll_s=0.2)
        except Failed as e:
            e.add_note(f"{self.agent.states()}\n{self.other.tail()}\n{self.vehicle.consoles()}")
            raise


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[3:]])
