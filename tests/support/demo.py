"""
demo: the part of scripts/demo that comes after building and making the root file systems.

    demo.py BUILD_DIR

First one machine and two updates: the first fills an empty standby slot, the second changes the other slot in place.
Then a vehicle: seven machines in a tree, one request, and an uplink of 20 Mbit/s that only the main one has. What is
printed was measured: by the daemon (its log), the server (its log), ext4 (its superblock) and GRUB (what it booted).
"""

import os
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from ecu_lab import ECU_ADDRESS, Failed, Lab, Programs, enter_private  # noqa: E402
from vehicle import UPLINK_RATE, Uplink, Vehicle, times_over_the_uplink  # noqa: E402

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")
DIFFER_MIN = 50
CONTENTS = re.compile(
    r"Contents: kept (\d+) files (\d+) bytes, moved (\d+) files (\d+) bytes, copied (\d+) files (\d+) bytes, "
    r"fetched (\d+) files (\d+) bytes \((\d+) on the wire\), wrote (\d+) bytes"
)


def say(text):
    print(f"demo: {text}", flush=True)


def mib(count):
    return f"{count / (1 << 20):.1f} MiB"


class Update:
    """One update, from the request to the commit, and what it took."""

    def __init__(self, name, ecu, origin):
        self.name = name
        self.ecu = ecu
        self.origin = origin

    def run(self, version, image):
        url = self.origin.url(image)
        sent = self.origin.sent()
        n_boots = len(self.ecu.boots())
        began = time.monotonic()
        say(f"otactl update --version {version} --url {url} --wait")
        # Its progress goes straight to the terminal.
        argv = [self.ecu.lab.programs.otactl, "--ecu", ECU_ADDRESS, "update", "--version", version, "--url", url, "--wait"]
        status = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
        self.seconds = time.monotonic() - began
        if status != 0:
            raise Failed(argv, status, self.ecu.tail(40))
        self.requests, self.wire_bytes = (now - before for now, before in zip(self.origin.sent(), sent))
        with open(self.ecu.console, encoding="utf-8", errors="replace") as f:
            found = CONTENTS.findall(f.read())
        self.figures = [int(n) for n in found[-1]]
        state = self.ecu.status()
        if (state["ota_status"], state["firmware_version"]) != ("SUCCESS", version):
            raise Failed(argv, 0, f"the machine says {state['ota_status']}, version {state['firmware_version']}")
        self.slot = self.ecu.boots()[-1]
        say(f"GRUB booted {' and '.join(self.ecu.boots()[n_boots:])}; the daemon committed version {version}")

    def column(self):
        kept, moved, copied, fetched = (self.figures[i : i + 2] for i in (0, 2, 4, 6))
        rows = [f"{files:6} files {mib(size):>10}" for files, size in (kept, moved, copied, fetched)]
        return [
            *rows,
            f"{self.requests:6} reqs. {mib(self.wire_bytes):>10}",
            f"{mib(self.figures[9]):>23}",
            f"{self.seconds:21.1f} s",
            f"{self.slot:>23}",
        ]


ROWS = [
    "kept in place", "moved on the slot", "copied from the active slot", "fetched (plain size)", "sent by the server",
    "written to the slot", "request to commit", "slot now running",
]  # fmt: skip


def table(updates):
    print()
    print(" " * 28 + "".join(f"{u.name:>26}" for u in updates))
    columns = [u.column() for u in updates]
    for number, label in enumerate(ROWS):
        print(f"{label:<28}" + "".join(f"{column[number]:>26}" for column in columns))
    print()


def check_slot(ecu, tree, role):
    """The law: a slot equals the root file system that its image was made from."""
    ecu.check_disk()
    wrong = ecu.differences(tree, role)
    if wrong:
        raise Failed(["the comparison of", role], len(wrong), "\n".join(wrong[:10]))
    say(f"{role} equals its source in names, contents, owners, modes, links, xattrs and times; e2fsck finds nothing")


class Campaign:
    """One request for all ECUs of a vehicle, followed to its end as otactl tells it."""

    def __init__(self, vehicle, uplink):
        self.vehicle = vehicle
        self.uplink = uplink
        self.done_after_s = {}  # by ECU
        # The server's log goes on from the first part.
        self.sent_before, self.asked_before = uplink.origin.sent(), len(uplink.origin.requests())

    def run(self, version, image):
        url = self.uplink.origin.url(image)
        argv = [self.vehicle.lab.programs.otactl, "--ecu", self.vehicle.main.address, "update", "--version", version]
        argv += ["--url", url, "--all", "--wait"]
        say(f"otactl update --version {version} --url {url} --all --wait")
        began = time.monotonic()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                print(line, end="", flush=True)
                name, _, state = line.strip().partition(": ")
                if state.startswith("SUCCESS"):
                    self.done_after_s[name] = time.monotonic() - began
        if process.returncode != 0:
            raise Failed(argv, process.returncode, self.vehicle.consoles())

    def table(self):
        print()
        print(f"{'ECU':<10}{'version':>9}{'slot':>9}{'done after':>13}{'fetched':>13}   from")
        for name, (_, version) in self.vehicle.own_states().items():
            ecu, place = self.vehicle[name], self.vehicle.plan[name]
            source = f"the proxy of {place.parent}" if place.parent else "the server, through its own proxy"
            after = f"{self.done_after_s[name]:.1f} s" if name in self.done_after_s else "?"
            print(f"{name:<10}{version:>9}{ecu.boots()[-1]:>9}{after:>13}{mib(ecu.wire_bytes()):>13}   {source}")
        print()

    def once(self):
        """What crossed the uplink, by the server's log."""
        images = self.vehicle.lab.path("images")
        asked = [a for a in self.uplink.origin.requests()[self.asked_before :] if os.path.isfile(images + a[0])]
        times = times_over_the_uplink(asked, {path: os.path.getsize(images + path) for path, _ in asked})
        n_requests, n_bytes = (now - before for now, before in zip(self.uplink.origin.sent(), self.sent_before))
        say(f"the server answered {n_requests} requests with {mib(n_bytes)}: each image byte crossed the uplink {times:.3f} times")


def update_vehicle(lab, tree):
    with Uplink(lab) as uplink:
        began = time.monotonic()
        with Vehicle(lab, tree) as vehicle:
            say(f"seven machines with the old system were made in {time.monotonic() - began:.1f} s; switching them on")
            with vehicle.on():
                say(f"the main one reaches the server at {UPLINK_RATE}, the others only their parents")
                campaign = Campaign(vehicle, uplink)
                campaign.run("2.0", "v2")
                campaign.table()
                campaign.once()


def main():
    with open(f"{ROOTFS}/facts", encoding="utf-8") as f:
        differing = int(re.search(r"^differing=(\d+)$", f.read(), re.M).group(1))
    say(f"{differing} contents of the new system are not in the old one")
    if differing < DIFFER_MIN:
        raise Failed(["tests/support/rootfs/make"], 0, f"at least {DIFFER_MIN} must differ")

    with Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="otaclient-demo.", dir="/var/tmp")) as lab:
        trees = {"v1": lab.install(f"{ROOTFS}/old"), "v2": lab.install(f"{ROOTFS}/new")}
        for name, tree in trees.items():
            began = time.monotonic()
            lab.build_image(name, tree, "--compress-level", "3")
            say(f"metadata_gen built and signed image {name} in {time.monotonic() - began:.1f} s")
        with lab.origin() as origin:
            say("nginx serves both over HTTPS, by a certificate of our own CA")
            ecu = lab.make_ecu("demo-ecu", trees["v1"])
            say("switching on a fresh machine: slot A has the old system, slot B is empty")
            with ecu.on():
                first = Update("first, empty standby", ecu, origin)
                first.run("2.0", "v2")
            check_slot(ecu, trees["v2"], "slot_b")
            say("switching it on again; slot A is now the standby, changed in place")
            with ecu.on():
                second = Update("second, in place", ecu, origin)
                second.run("1.0-again", "v1")
            check_slot(ecu, trees["v1"], "slot_a")
        table([first, second])
        ecu.remove()
        update_vehicle(lab, trees["v1"])


if __name__ == "__main__":
    enter_private()
    try:
        main()
    except Failed as e:
        print(f"demo: {e}", file=sys.stderr)
        sys.exit(1)
