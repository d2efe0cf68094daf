"""
vehicle_case: what tests of whole vehicles have in common: two root file systems, an image of the newer one behind an
uplink, and ways to wait and to look.
"""

import concurrent.futures
import os
import sys
import tempfile
import unittest

from ecu_lab import Failed, Lab, Programs
from vehicle import Uplink, Vehicle

ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")
PHASES = (
    "INITIALIZING", "PROCESSING_METADATA", "CALCULATING_DELTA", "DOWNLOADING_OTA_FILES", "APPLYING_UPDATE",
    "PROCESSING_POSTUPDATE", "FINALIZING_UPDATE",
)  # fmt: skip


class VehicleCase(unittest.TestCase):
    maxDiff = 4000
    rate = "20mbit"

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(Programs(sys.argv[1]), tempfile.mkdtemp(prefix="test-vehicle.", dir="/var/tmp"))
        cls.addClassCleanup(cls.lab.close)
        cls.old, cls.new = cls.lab.install(f"{ROOTFS}/old"), cls.lab.install(f"{ROOTFS}/new")
        cls.lab.build_image("v2", cls.new, "--compress-level", "1")
        cls.uplink = cls.enterClassContext(Uplink(cls.lab, cls.rate))

    def make(self, plan):
        self.plan = plan
        self.vehicle = self.enterContext(Vehicle(self.lab, self.old, plan))
        return self.vehicle

    def url(self, image="v2"):
        return self.uplink.origin.url(image)

    def accepted_by(self, *names):
        return {name: "NO_FAILURE" for name in names}

    def all_at(self, version, **others):
        """What the main ECU reports when everybody runs @version but the @others; None there = no entry."""
        want = {name: ("SUCCESS", version) for name in self.plan.names} | others
        return {name: state for name, state in want.items() if state is not None}

    def request(self, version="v2", names=None, **others):
        """One request for all (or @names), which all accept but the @others."""
        want = self.accepted_by(*(names or self.plan.names)) | others
        self.assertEqual(want, self.vehicle.request(version, self.url(), names))

    def reach(self, name, phase, timeout_s=120):
        """Until the ECU is at work in @phase, or past it."""

        def there():
            now = self.vehicle.phase(name)
            return now and PHASES.index(now) >= PHASES.index(phase)

        self.vehicle.wait_until(f"{name} reaches {phase}", there, timeout_s)

    def assert_said(self, name, pattern):
        self.assertRegex(self.vehicle[name].said(), pattern)

    def assert_slots_are_new(self, names):
        """Of machines that are off: the slot that they have been updated to equals its image."""

        def look(name):
            ecu = self.vehicle[name]
            ecu.check_disk()
            return ecu.differences(self.new, ecu.boots()[-1])[:20]

        self.lab.listing(self.new)  # once, for all of them
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
            for name, found in [(name, threads.submit(look, name)) for name in names]:
                with self.subTest(ecu=name):
                    self.assertEqual([], found.result())
                    self.assertNotRegex(self.vehicle[name].said(), r"Sanitizer|runtime error:")

    def assert_no_way_to(self, address, names):
        for name in names:
            with self.assertRaisesRegex(Failed, "Network is unreachable"):
                self.vehicle[name].execute("/sbin/ip", "route", "get", address)
