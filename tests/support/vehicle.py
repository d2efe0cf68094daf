"""
vehicle: seven pseudo-ECUs on an in-vehicle network, of which only the main ECU reaches the server.

    origin ── relay ══ uplink ══ main ──┬── ecu_a ──┬── ecu_d         every ECU is a port of one bridge ("vehicle");
     (a network namespace of its own)   ├── ecu_b   ├── ecu_e         who talks to whom is what ecu_info.yaml and
                                        └── ecu_c   └── ecu_f         proxy_info.yaml say

    with Lab(programs, work) as lab:
        …
        with Uplink(lab) as uplink, Vehicle(lab, old) as vehicle, vehicle.on():
            vehicle.update("v2", uplink.origin.url("v2"))

The uplink is a bridge without addresses; behind it, a cable that can be shaped and pulled, and a relay (relay.py). The
test itself is a service computer on the vehicle's network: it can ask every ECU.
"""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import threading

from ecu_lab import HOST_ADDRESS, PORT, Ecu, Failed, run, wait_for
from netns import Namespace
from pseudo_ecu import machine
from relay import Relay

UPLINK_RATE = "20mbit"
NETWORK = "10.93.0"
TESTER = f"{NETWORK}.254"
SHAPE = ("--slot-mib", "1024", "--boot-mib", "192")

WIRE_BYTES = re.compile(r"Contents: kept .* \((\d+) on the wire\)")


@dataclasses.dataclass(frozen=True)
class Place:
    """One ECU on the plan of a vehicle."""

    name: str
    number: int  # last part of its address
    parent: str = None  # whose secondary it is
    proxy: bool = False  # runs one of its own
    foreign: bool = False  # is not one of our machines: somebody else answers at its address

    @property
    def address(self):
        return f"{NETWORK}.{self.number}"


class Plan:
    """Who is there, and what an integrator writes for each. The first one is the main ECU."""

    def __init__(self, *places):
        self.places = {place.name: place for place in places}
        self.names = tuple(self.places)
        self.ours = tuple(name for name, place in self.places.items() if not place.foreign)

    def __getitem__(self, name):
        return self.places[name]

    def ecu_info(self, name):
        me = self[name]
        lines = ["format_version: 1", f"ecu_id: {name}", f"ip_addr: {me.address}", "bootloader: grub"]
        children = [place for place in self.places.values() if place.parent == name]
        if children:
            lines.append("secondaries:")
        for child in children:
            lines += [f"  - ecu_id: {child.name}", f"    ip_addr: {child.address}"]
        if me.parent is None:  # only the main ECU lists all of the vehicle
            lines += ["available_ecu_ids:", *(f"  - {n}" for n in self.names)]
        return "\n".join(lines) + "\n"

    def proxy_info(self, name):
        me = self[name]
        lines = [f"enable_local_ota_proxy: {'true' if me.proxy else 'false'}"]
        if me.parent is None:
            lines.append("gateway: true")
        else:
            lines.append(f"upper_ota_proxy: http://{self[me.parent].address}:8082")
        return "\n".join(lines) + "\n"


SEVEN = Plan(
    Place("main", 1, proxy=True),
    Place("ecu_a", 2, "main", proxy=True),
    Place("ecu_b", 3, "main"),
    Place("ecu_c", 4, "main"),
    Place("ecu_d", 5, "ecu_a"),
    Place("ecu_e", 6, "ecu_a"),
    Place("ecu_f", 7, "ecu_a"),
)
# The same with one of each kind.
FOUR = Plan(
    Place("main", 1, proxy=True),
    Place("ecu_a", 2, "main", proxy=True),
    Place("ecu_b", 3, "main"),
    Place("ecu_d", 5, "ecu_a"),
)


class Uplink:
    """The server, and the way to it."""

    def __init__(self, lab, rate=UPLINK_RATE):
        self.lab = lab
        self.rate = rate  # as tc(8) has it, both ways
        self.undo = contextlib.ExitStack()

    def __enter__(self):
        with self.undo as undo:
            self.outside = Namespace()
            undo.callback(self.outside.close)
            run("ip", "link", "add", "uplink", "type", "bridge")
            undo.callback(run, "ip", "link", "delete", "uplink")
            run("ip", "link", "set", "uplink", "up")
            run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", self.outside.path)
            undo.callback(run, "ip", "link", "delete", "up0")
            run("ip", "link", "set", "up0", "master", "uplink", "up")
            self.outside.run("ip", "address", "add", f"{HOST_ADDRESS}/30", "dev", "eth0")
            self.outside.run("ip", "link", "set", "eth0", "up")
            shape = ("root", "tbf", "rate", self.rate, "burst", "64kb", "latency", "100ms")
            self.outside.run("tc", "qdisc", "add", "dev", "eth0", *shape)
            run("tc", "qdisc", "add", "dev", "up0", *shape)
            self.origin = undo.enter_context(self.lab.origin(self.outside))
            self.relay = Relay((HOST_ADDRESS, PORT), ("127.0.0.1", PORT), self.outside.enter)
            undo.callback(self.relay.stop)
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *_):
        self.undo.close()

    @staticmethod
    def pull():
        """The cable is out: what is under way is lost."""
        run("ip", "link", "set", "up0", "down")

    @staticmethod
    def plug():
        run("ip", "link", "set", "up0", "up")

    @staticmethod
    def bytes_in():
        """Into the vehicle so far, frames and all."""
        return json.loads(run("ip", "-json", "-statistics", "link", "show", "up0"))[0]["stats64"]["rx"]["bytes"]


class Member(Ecu):
    """One machine of the vehicle."""

    def __init__(self, lab, place, disk_name):
        super().__init__(lab, disk_name)
        self.name = place.name
        self.address = place.address
        self.cables = ["--port", f"vehicle={self.address}/24"]
        if place.parent is None:
            self.cables += ["--port", f"uplink={machine.NET}/30"]

    def fill_disk(self):
        """The slot that runs has no room left."""
        self.execute("/bin/sh", "-c", "cat /dev/zero >/var/filler 2>/dev/null; sync; true")

    def wire_bytes(self):
        """Payload of contents that the last update has fetched, by its log."""
        found = WIRE_BYTES.findall(self.said())
        return int(found[-1]) if found else 0

    def own_state(self):
        """(ota_status, firmware_version) by its own answer; None when it does not answer."""
        try:
            status = self.status()
        except Failed:
            return None
        return status["ota_status"], status["firmware_version"]


class Vehicle:
    """
    The machines of a plan, and what is asked of them. The disk that all are made from stays in the lab for the next
    vehicle.
    """

    def __init__(self, lab, tree, plan=SEVEN):
        self.lab = lab
        self.plan = plan
        lab.vehicles += 1
        self.ecus = {}
        for name in plan.ours:
            disk_name = f"vehicle{lab.vehicles}.{name}"
            files = {"ecu_info.yaml": plan.ecu_info(name), "proxy_info.yaml": plan.proxy_info(name)}
            lab.clone_disk(disk_name, files, tree, SHAPE)
            self.ecus[name] = Member(lab, plan[name], disk_name)

    def __getitem__(self, name):
        return self.ecus[name]

    @property
    def main(self):
        return self.ecus["main"]

    def __enter__(self):
        run("ip", "link", "add", "vehicle", "type", "bridge")
        run("ip", "address", "add", f"{TESTER}/24", "dev", "vehicle")
        run("ip", "link", "set", "vehicle", "up")
        return self

    def __exit__(self, *_):
        for ecu in self.ecus.values():
            ecu.remove()
        run("ip", "link", "delete", "vehicle")

    # ---- power

    @contextlib.contextmanager
    def on(self, names=None):
        try:
            self.switch_on(names)
            yield self
        except BaseException as e:
            e.add_note(self.consoles())
            raise
        finally:
            self.switch_off()

    def switch_on(self, names=None):
        names = names or self.plan.ours
        for name in names:
            self[name].begin_to_boot()
        for name in names:
            self[name].wait_until_up()

    def switch_off(self):
        threads = [threading.Thread(target=ecu.switch_off) for ecu in self.ecus.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # ---- requests

    def request(self, version, url, names=None, to="main"):
        """{ECU: what it answered}, without waiting for the update."""
        return self._answers(to, "update", "--version", version, "--url", url, *self._ids(names))

    def abort(self, to="main"):
        return self._answers(to, "abort")

    def update(self, version, url, names=None):
        """One request to the main ECU, followed to the end as otactl sees it. Returns what otactl printed."""
        return self.main.otactl("update", "--version", version, "--url", url, *self._ids(names), "--wait")

    def _answers(self, to, *args):
        argv = [self.lab.programs.otactl, "--ecu", self[to].address, "--json", *args]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        entries = [json.loads(line) for line in done.stdout.splitlines()]
        if not entries:  # an answer that refuses is one, too; this is none
            raise Failed(argv, done.returncode, done.stderr)
        return {ecu["ecu_id"]: ecu["result"] for entry in entries for ecu in entry["ecus"]}

    def _ids(self, names):
        return [word for name in names or self.plan.names for word in ("--ecu-id", name)]

    # ---- answers

    def reported(self):
        """{ECU: (ota_status, firmware_version)} as the main ECU tells it."""
        ecus = json.loads(self.main.otactl("--json", "status").splitlines()[-1])["ecus"]
        return {ecu["ecu_id"]: (ecu["ota_status"], ecu["firmware_version"]) for ecu in ecus}

    def own_states(self):
        return {name: ecu.own_state() for name, ecu in self.ecus.items()}

    def phase(self, name):
        """What the ECU is at, "" when it is not updating or does not answer."""
        try:
            update = self[name].status()["update_status"]
        except Failed:
            return ""
        return update["phase"] if update else ""

    def wait_until(self, what, condition, timeout_s=180):
        """As wait_for(); the main ECU may be away in between."""

        def holds():
            with contextlib.suppress(Failed):
                return condition()
            return False

        wait_for(what, holds, timeout_s, poll_s=0.3)

    def wait_until_reported(self, want, timeout_s=150):
        """Until the main ECU reports exactly this."""
        last = {}

        def there():
            last.update({"now": self.reported()})
            return last["now"] == want

        try:
            self.wait_until("the vehicle's end state", there, timeout_s)
        except Failed as e:
            raise Failed(["the vehicle"], "another state", f"reported {last.get('now')},\nwanted {want}: {e}") from e

    def consoles(self, n=12):
        """The last lines of everybody, for whoever reads about a failure."""
        parts = []
        for name, ecu in self.ecus.items():
            with contextlib.suppress(OSError):
                parts.append(f"---- {name}, its own answer: {ecu.own_state() if ecu.process else 'off'}\n{ecu.tail(n)}")
        return "\n".join(parts)


def times_over_the_uplink(requests, sizes):
    """How often each byte of what was asked for crossed the uplink, on average: 1.0 is best. @sizes: {path: bytes}."""
    asked = [path for path, _ in requests]
    return sum(sizes[path] for path in asked) / sum(sizes[path] for path in set(asked))
