#!/usr/bin/python3
"""
What becomes of a vehicle when something fails in the middle of an update: each test says what every ECU reports in the
end.

    test_vehicle_faults.py BUILD_DIR [TEST…]

Four ECUs: main, ecu_a (with a proxy) and ecu_b below it, ecu_d below ecu_a. All else as in test_vehicle.py.
"""

import os
import re
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../support"))
from ecu_lab import SOURCE_ROOT, enter_private  # noqa: E402
from vehicle import FOUR  # noqa: E402
from vehicle_case import VehicleCase  # noqa: E402

OUTAGE_S = 30
OLD = ""  # the version of a machine that was never updated


class Faults(VehicleCase):
    rate = "40mbit"  # downloads take some 15 s

    def end(self, **others):
        """All run v2 but the others, and the main ECU says so."""
        self.vehicle.wait_until_reported(self.all_at("v2", **others))

    # ---- a machine

    def test_an_ecu_that_is_off_is_left_out_and_holds_up_nobody(self):
        vehicle = self.make(FOUR)
        with vehicle.on(["main", "ecu_a", "ecu_d"]):
            self.request(ecu_b="RECOVERABLE")
            self.end(ecu_b=None)

    def test_the_main_ecu_waits_for_an_ecu_that_dies_and_comes_back(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            self.request()
            self.reach("ecu_b", "DOWNLOADING_OTA_FILES")
            vehicle["ecu_b"].switch_off(cut=True)
            self.reach("main", "FINALIZING_UPDATE")
            vehicle.wait_until_reported(
                {"main": ("UPDATING", OLD), "ecu_a": ("SUCCESS", "v2"), "ecu_d": ("SUCCESS", "v2")}
            )
            self.assertEqual("FINALIZING_UPDATE", vehicle.phase("main"))
            vehicle["ecu_b"].switch_on()
            self.end(ecu_b=("FAILURE", OLD))
            self.assertEqual(["slot_a", "slot_a"], vehicle["ecu_b"].boots())
            self.request("v2", ["ecu_b"])
            self.end()
        self.assert_slots_are_new(FOUR.names)

    def test_an_ecu_without_room_fails_by_itself_and_says_why(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            vehicle["ecu_b"].fill_disk()
            self.request()
            self.end(ecu_b=("FAILURE", OLD))
            self.assertRegex(vehicle["ecu_b"].status()["failure_reason"], r"^E\d{3}: .*No space left on device")
            vehicle["ecu_b"].execute("/bin/rm", "/var/filler")
            self.request("v2", ["ecu_b"])
            self.end()

    def test_a_parent_without_room_still_passes_on_what_it_cannot_keep(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            vehicle["ecu_a"].fill_disk()
            self.request()
            self.end(ecu_a=("FAILURE", OLD))

    def test_children_of_a_daemon_that_is_restarted_complete(self):
        """Its own update is lost; those of the ECUs below go on as soon as it is back with its proxy."""
        vehicle = self.make(FOUR)
        with vehicle.on():
            self.request()
            self.reach("ecu_d", "DOWNLOADING_OTA_FILES")
            vehicle["ecu_a"].kill_daemon()
            self.end(ecu_a=("FAILURE", OLD))
            self.assertEqual(["slot_a"], vehicle["ecu_a"].boots())

    def test_the_vehicle_completes_when_the_main_daemon_is_restarted(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            self.request()
            self.reach("ecu_b", "DOWNLOADING_OTA_FILES")
            vehicle.main.kill_daemon()
            self.end(main=("FAILURE", OLD))

    # ---- a proxy, the uplink

    def test_proxies_that_are_killed_are_started_again(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            self.request()
            self.reach("ecu_d", "DOWNLOADING_OTA_FILES")
            for name in ("main", "ecu_a"):
                self.assertEqual(1, vehicle[name].kill_proxy())
            self.end()
            for name in ("main", "ecu_a"):
                self.assert_said(name, "otaproxy was ended by signal 9")
        self.assert_slots_are_new(FOUR.names)

    def test_an_uplink_that_is_out_for_a_while_costs_time_only(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            self.request()
            self.reach("ecu_d", "DOWNLOADING_OTA_FILES")
            self.uplink.pull()
            again = threading.Timer(OUTAGE_S, self.uplink.plug)
            again.start()
            self.addCleanup(again.join)
            self.end()

    def test_a_server_that_falls_silent_for_a_while_costs_time_only(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            self.request()
            self.reach("ecu_d", "DOWNLOADING_OTA_FILES")
            self.uplink.relay.cut(OUTAGE_S)
            self.end()
            self.assertFalse(self.uplink.relay.is_cut())

    def test_an_uplink_that_drops_every_connection_costs_little(self):
        self.uplink.relay.drop_after_bytes = 4 << 20
        self.uplink.relay.delay_s = 0.05
        self.addCleanup(setattr, self.uplink.relay, "drop_after_bytes", 0)
        self.addCleanup(setattr, self.uplink.relay, "delay_s", 0.0)
        vehicle = self.make(FOUR)
        before = self.uplink.relay.n_connections, self.uplink.relay.bytes_down
        with vehicle.on():
            self.request()
            self.end()
        self.assertGreater(self.uplink.relay.n_connections - before[0], 10)
        image = max(ecu.wire_bytes() for ecu in vehicle.ecus.values())
        self.assertLess(self.uplink.relay.bytes_down - before[1], 1.5 * image)

    # ---- an abort

    def abort_in(self, phase):
        """An ECU ends ABORTED if it has accepted the abort, and else as if there had been none."""
        self.request()
        self.reach("main", phase)
        answers = self.vehicle.abort()
        self.assertEqual(set(FOUR.names), set(answers))
        aborted = {name: ("ABORTED", OLD) for name, result in answers.items() if result == "ABORT_NO_FAILURE"}
        self.end(**aborted)
        return answers

    def test_an_abort_while_the_lists_are_read_stops_all(self):
        with self.make(FOUR).on():
            answers = self.abort_in("PROCESSING_METADATA")
            self.assertEqual({"ABORT_NO_FAILURE"}, set(answers.values()))
            self.request()
            self.end()

    def test_an_abort_while_the_plan_is_made_stops_all(self):
        with self.make(FOUR).on():
            self.assertEqual({"ABORT_NO_FAILURE"}, set(self.abort_in("CALCULATING_DELTA").values()))

    def test_an_abort_of_downloads_stops_all_and_the_next_request_completes(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            answers = self.abort_in("DOWNLOADING_OTA_FILES")
            self.assertEqual({"ABORT_NO_FAILURE"}, set(answers.values()))
            self.assertEqual({"slot_a"}, {slot for ecu in vehicle.ecus.values() for slot in ecu.boots()})
            self.request()
            self.end()
        self.assert_slots_are_new(FOUR.names)

    def test_an_abort_in_the_last_phases_is_refused_where_it_is_too_late(self):
        vehicle = self.make(FOUR)
        with vehicle.on():
            answers = self.abort_in("FINALIZING_UPDATE")
            self.assertEqual("ABORT_FAILURE", answers["main"])
            self.assert_said("main", re.escape("Cannot abort: update is in FINAL_PHASE") + "|commit")


if __name__ == "__main__":
    subprocess.run([f"{SOURCE_ROOT}/tests/support/rootfs/make"], check=True)
    enter_private()
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
