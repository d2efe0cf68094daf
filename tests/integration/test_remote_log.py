#!/usr/bin/python3
"""What a vehicle's log server gets: the lines of the real daemon and the record of a real update, over HTTP and gRPC.

The servers are stand-ins (tests/support/log_servers.py); some are slow, wrong or not there. The daemon runs where it has
no machine to update, as in test_daemon.py; updates are those of tests/support/update_lab.py. Root; nothing of this host
is touched. OTACLIENT, UPDATE_DRIVER, PROTO_FOLDER, … come from the environment.
"""

import json
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../support")]
from log_servers import GrpcLogServer, HttpLogServer, OtherGrpcServer, SilentServer  # noqa: E402
from test_daemon import Daemon, enter_private_machine, status  # noqa: E402
from trees import make_v1, make_v2  # noqa: E402
from update_lab import UpdateLab, run  # noqa: E402

KEYS = ["timestamp", "level", "logger", "function", "line", "message"]
NOBODY = "http://127.0.0.1:1"
END_LIMIT_S = 3  # the daemon's own end, and 1 s for the log


def daemon(server, server_grpc="null", **more):
    return Daemon(proxy_info=f"{{logging_server: {server}, logging_server_grpc: {server_grpc}}}", **more)


def ends_quickly(d):
    began = time.monotonic()
    d.process.terminate()
    assert d.ended() == 0
    assert time.monotonic() - began < END_LIMIT_S, time.monotonic() - began


# ---- lines

def lines_go_over_http_where_no_grpc_is_set():
    with HttpLogServer() as http, daemon(http.url) as d:
        line = json.loads(http.records.wait_for(" serves ECU main on "))
        assert list(line) == KEYS, line
        assert line["level"] == "INFO" and line["logger"] == "otaclient.main" and line["function"] == "main", line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["timestamp"]) and line["line"].isdigit(), line
        assert {path for path, _, _ in http.records.all} == {"/main"}
        assert http.headers[0]["Content-Type"] == "text/plain; charset=utf-8", http.headers[0]
        ends_quickly(d)


def lines_go_over_grpc_where_it_answers():
    with HttpLogServer() as http, GrpcLogServer() as grpc, daemon(http.url, grpc.url) as d:
        line = json.loads(grpc.records.wait_for(" serves ECU main on "))
        assert list(line) == KEYS, line
        ends_quickly(d)
        assert {(ecu, kind) for ecu, kind, _ in grpc.records.all} == {("main", 0)}
        assert grpc.checks == 1 and http.records.texts() == []


def server_is_told_that_the_ecu_has_no_name():
    with HttpLogServer() as http, daemon(http.url, ecu_info="ecu_id: 7\n"):
        line = json.loads(http.records.wait_for("Updates are refused until"))
        assert line["level"] == "ERROR", line
        assert http.records.all[0][0] == "/autoware"


def what_is_wrong_in_the_files_is_told_to_the_server():
    with HttpLogServer() as http, Daemon(
            ecu_info="format_version: 1\necu_id: main\nbootloader: grub\nip_addr: nowhere\n",
            proxy_info=f"{{gateway: true, nonsense: 7, logging_server: {http.url}, "
                       "logging_server_grpc: null}") as d:
        http.records.wait_for(" serves ECU ")
        ends_quickly(d)
        lines = [json.loads(line)["message"] for line in http.records.texts()]
        for wrong in ("ip_addr", "gateway", "nonsense"):
            assert [line for line in lines if wrong in line], (wrong, lines)
        # All that the journal has, and in its order.
        assert lines == d.log().splitlines()[:len(lines)], (lines, d.log())


def lines_go_over_http_where_grpc_is_dead_garbage_or_silent():
    with SilentServer(b"\x00\xff" * 100) as garbage, SilentServer() as silent:
        for server_grpc in (NOBODY, garbage.url, silent.url):
            with HttpLogServer() as http, daemon(http.url, server_grpc) as d:
                http.records.wait_for(" serves ECU main on ")
                assert "takes no records" not in d.log(), d.log()
                ends_quickly(d)


def http_takes_over_when_the_grpc_server_goes():
    with HttpLogServer() as http, GrpcLogServer() as grpc, daemon(http.url, grpc.url) as d:
        grpc.records.wait_for(" serves ECU main on ")
        grpc.stop()
        refused(d, http)
        ends_quickly(d)


def refused(d, http, times=1):
    """A line that the daemon writes for this: a call without a message that can be read."""
    import grpc
    with grpc.insecure_channel("127.0.0.1:50051") as channel:
        call = channel.unary_unary("/OtaClientV2.OtaClientService/Update", lambda b: b, lambda b: b)
        for _ in range(times):
            try:
                call(b"\xff\xff\xff", timeout=10)
                raise AssertionError("garbage was taken for a request")
            except grpc.RpcError:
                pass
    http.records.wait_for("OtaClientService/Update from ")


def one_line_again_and_again_is_cut_short():
    with HttpLogServer() as http, daemon(http.url).serving() as d:
        refused(d, http, times=20)
        ends_quickly(d)
        for lines in (d.log().splitlines(), [json.loads(line)["message"] for line in http.records.texts()]):
            found = [line for line in lines if "OtaClientService/Update from " in line]
            assert len(found) == 7 and "… 14 more like it in 16 s: Call " in found[6], found


def lines_are_json_whatever_is_in_them():
    with HttpLogServer() as http, daemon(http.url, ecu_info='format_version: 1\necu_id: "m\\"x\\\\ \u65e5"\nbootloader: grub\n'):
        line = http.records.wait_for(" serves ECU m")
        assert " serves ECU m\"x\\ \u65e5 on " in json.loads(line)["message"], line
        assert http.records.all[0][0] == "/m%22x%5C%20%E6%97%A5", http.records.all[0]


def null_switches_it_off():
    with SilentServer() as silent, daemon("null", silent.url).serving() as d:
        silent.socket.settimeout(1)
        try:
            silent.socket.accept()
            raise AssertionError("somebody was asked")
        except TimeoutError:
            pass
        ends_quickly(d)


# ---- servers that are unwell

def dead_server_costs_nothing_and_is_told_of_once():
    with daemon(NOBODY, NOBODY).serving() as d:
        d.wait_for(f"The log server {NOBODY} takes no records, which wait for it: Cannot fetch ")
        assert status()
        ends_quickly(d)
        assert d.log().count("takes no records") == 1, d.log()


def slow_server_holds_up_nobody():
    with HttpLogServer(delays=(30,)) as http, daemon(http.url).serving() as d:
        http.records.wait_for("")
        began = time.monotonic()
        assert status()
        assert time.monotonic() - began < 5
        ends_quickly(d)
        assert len(http.records.texts()) == 1, "the first is still being answered"


def silent_server_holds_up_nobody():
    with SilentServer() as silent, daemon(silent.url, silent.url).serving() as d:
        silent.socket.accept()
        assert status()
        ends_quickly(d)


def slow_first_answer_is_waited_for_and_all_arrives():
    with HttpLogServer(delays=(3, 0)) as http, daemon(http.url) as d:
        http.records.wait_for(" serves ECU main on ")
        ends_quickly(d)
        lines = http.records.texts()
        assert len(lines) == len(set(lines)) and "takes no records" not in d.log(), d.log()


def server_that_answers_500_has_had_the_line():
    with HttpLogServer(status=500) as http, daemon(http.url) as d:
        http.records.wait_for(" serves ECU main on ")
        ends_quickly(d)
        lines = http.records.texts()
        assert len(lines) == len(set(lines)), lines


def garbage_is_no_answer_and_lines_wait_for_a_better_one():
    with HttpLogServer(garbage=b"\x16\x03\x01 not HTTP\r\n" * 20) as http, daemon(http.url).serving() as d:
        d.wait_for("takes no records")
        port = http.port
        http.__exit__()
        with HttpLogServer(port=port) as better:
            better.records.wait_for(" serves ECU main on ", limit_s=60)
            better.records.wait_for("takes records again")
            ends_quickly(d)


def grpc_server_whose_answers_are_none_is_told_of():
    with HttpLogServer() as http, OtherGrpcServer(b"\xff") as other, daemon(http.url, other.url).serving() as d:
        d.wait_for(f"The log server {http.url} takes no records, which wait for it: "
                   f"127.0.0.1:{other.port} answers PutLog with what is no such message")
        ends_quickly(d)


# ---- the record of an update

def assert_record(record, lab, stats, failure=""):
    assert record["ecu_id"] == "main" and record["request_id"] == "1700000000-0badcafe", record
    assert record["target_firmware_version"] == "test" and record["bootloader_type"] == "folder", record
    assert record["failure_reason"].startswith(failure) and bool(failure) == bool(record["failure_reason"]), record
    times = [record[k] for k in record if k.endswith("_start_timestamp") and record[k]]
    assert times == sorted(times) and abs(times[0] - time.time()) < 300, record
    if failure:
        assert record["reboot_start_timestamp"] == 0, record
        return
    assert len(times) == 8 and record["failure_type"] == "NO_FAILURE", record
    assert record["downloaded_bytes"] == stats["wire_bytes"] > 0, (record, stats)
    assert record["delta_download_files_num"] == stats["fetched_contents"] > 0, (record, stats)
    assert record["ota_image_total_regulars_num"] == stats["total"], (record, stats)
    assert record["ota_image_total_files_size"] == stats["total_bytes"], (record, stats)


def record_of_an_update_goes_out_once_over_either_way():
    with UpdateLab() as lab:
        lab.build("v1", make_v1)
        lab.build("v2", make_v2)
        with HttpLogServer() as http:
            stats = lab.update("v1", "--log-server", http.url)
            records = [json.loads(t) for t in http.records.texts() if '"otaclient.metrics"' in t]
            assert len(records) == 1 and list(records[0]) == KEYS, records
            record = json.loads(records[0]["message"])
            assert_record(record, lab, stats)
            assert record["standby_firmware_version"] == "", record
            assert any("Contents: kept" in t for t in http.records.texts()), "the lines of the update"
        with HttpLogServer() as http, GrpcLogServer() as grpc:
            with open(lab.path("run", "status-b", "version"), "w") as f:
                f.write("what was there")
            stats = lab.update("v2", "--log-server", http.url, "--log-server-grpc", grpc.url)
            record, = (json.loads(t) for t in grpc.records.texts(kind=1))
            assert_record(record, lab, stats)
            assert record["standby_firmware_version"] == "what was there" and record["use_inplace_mode"], record
            assert http.records.texts() == []
        lab.check("v2")


def record_of_a_failed_update_says_why():
    with UpdateLab() as lab:
        lab.build("v1", make_v1)
        with HttpLogServer() as http, GrpcLogServer() as grpc:
            lab.fail("none", "--log-server", http.url, "--log-server-grpc", grpc.url)
            record, = (json.loads(t) for t in grpc.records.texts(kind=1))
            assert_record(record, lab, None, "E203: Update failed in PROCESSING_METADATA: ")
            assert record["failed_status"] == "FAILURE" and record["failure_type"] == "RECOVERABLE", record


def update_succeeds_whatever_the_log_server_does():
    with UpdateLab() as lab, SilentServer() as silent:
        lab.build("v1", make_v1)
        for server in (NOBODY, silent.url):
            lab.update("v1", "--log-server", server, "--log-server-grpc", server)
            lab.check("v1")


if __name__ == "__main__":
    enter_private_machine()
    run([
        lines_go_over_http_where_no_grpc_is_set,
        lines_go_over_grpc_where_it_answers,
        server_is_told_that_the_ecu_has_no_name,
        what_is_wrong_in_the_files_is_told_to_the_server,
        lines_go_over_http_where_grpc_is_dead_garbage_or_silent,
        http_takes_over_when_the_grpc_server_goes,
        one_line_again_and_again_is_cut_short,
        lines_are_json_whatever_is_in_them,
        null_switches_it_off,
        dead_server_costs_nothing_and_is_told_of_once,
        slow_server_holds_up_nobody,
        silent_server_holds_up_nobody,
        slow_first_answer_is_waited_for_and_all_arrives,
        server_that_answers_500_has_had_the_line,
        garbage_is_no_answer_and_lines_wait_for_a_better_one,
        grpc_server_whose_answers_are_none_is_told_of,
        record_of_an_update_goes_out_once_over_either_way,
        record_of_a_failed_update_says_why,
        update_succeeds_whatever_the_log_server_does,
    ])
