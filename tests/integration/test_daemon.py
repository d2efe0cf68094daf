#!/usr/bin/env python3
"""The daemon itself, where it has no machine to update: what it says, what it refuses, and how it ends.

The real otaclient with a /run, a /boot and a network of its own (root; nothing of this host is seen or touched). It has no boot loader
that it knows, which is a case of its own. OTACLIENT, OTACTL, UPDATE_DRIVER, … come from the environment.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from ecu_lab import enter_private  # noqa: E402
from trees import make_v1, make_v2  # noqa: E402
from update_lab import UpdateLab, run  # noqa: E402

GOOD_ECU_INFO = 'format_version: 1\necu_id: "main"\nbootloader: grub\n'
START_LIMIT_S = 20


def enter_private_machine():
    """Go on in mount and network namespaces of our own, with a /run and a /boot of their own."""
    enter_private()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for folder in ("/run", "/boot"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


class Daemon:
    """One otaclient; its log is complete once it has ended, or so far."""

    def __init__(self, *options, ecu_info=GOOD_ECU_INFO, settings="", config_dir=None, proxy_info=None, env=None):
        self.folder = tempfile.mkdtemp(prefix="daemon.", dir="/run")
        self.config = config_dir or self.folder
        if ecu_info is not None:
            self.write("ecu_info.yaml", ecu_info)
        if proxy_info is not None:
            self.write("proxy_info.yaml", proxy_info)
        self.write("otaclient.yaml", settings)
        self.log_path = os.path.join(self.folder, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [os.environ["OTACLIENT"], "--config-dir", self.config, "--certs", os.path.join(self.folder, "certs"), "--settings",
                 os.path.join(self.folder, "otaclient.yaml"), *options], stderr=log, stdout=log, env=os.environ | (env or {}))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_for(self, words):
        end = time.monotonic() + START_LIMIT_S
        while words not in self.log():
            assert self.process.poll() is None and time.monotonic() < end, f"\"{words}\" never came:\n{self.log()}"
            time.sleep(0.02)
        return self

    def serving(self):
        return self.wait_for(" serves ECU ")

    def ended(self, limit_s=START_LIMIT_S):
        return self.process.wait(timeout=limit_s)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()


def otactl(*args):
    p = subprocess.run([os.environ["OTACTL"], "--json", *args], capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout + p.stderr


def status():
    code, out = otactl("status")
    assert code == 0, out
    return json.loads(out.splitlines()[0])


def flat(value):
    return json.dumps(value)


def update():
    return otactl("update", "--url", "http://127.0.0.1:1/", "--version", "2")


# ---- one of them

def second_instance_is_refused_and_leaves_the_first_alone():
    with Daemon().serving() as first:
        with Daemon(settings="listen_port: 50052\n") as second:
            assert second.ended() == 1
            assert "E314: Another otaclient is running on this machine (/run/otaclient.lock is locked)" in second.log(), \
                second.log()
        with open("/run/otaclient.pid") as f:
            assert f.read() == str(first.process.pid)
        assert status()
    # the first was killed: its files stay, its lock does not
    with Daemon().serving() as third:
        third.process.terminate()
        assert third.ended() == 0
    assert not os.path.exists("/run/otaclient.pid")


def python_client_that_runs_is_not_disturbed():
    """A stand-in with the name and the sign of life of the Python client."""
    folder = tempfile.mkdtemp(prefix="client.", dir="/run")
    with open(os.path.join(folder, "otaclient.py"), "w") as f:
        f.write("import sys\nprint('up', flush=True)\nsys.stdin.read()\n")
    client = subprocess.Popen(["/usr/bin/python3", "-m", "otaclient"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline() == b"up\n"
    with open("/run/otaclient.pid", "w") as f:
        f.write(f"{client.pid}")
    with Daemon() as d:
        assert d.ended() == 1
        assert f"E314: The Python client is running on this machine, as process {client.pid}; stop and disable it first" \
            in d.log(), d.log()
    with open("/run/otaclient.pid") as f:
        assert f.read() == str(client.pid)
    client.communicate()
    # What it leaves behind is no sign of life, whoever has the number now.
    for pid in (client.pid, os.getpid(), "", "x", "99999999999999999999"):
        with open("/run/otaclient.pid", "w") as f:
            f.write(f"{pid}\n")
        with Daemon().serving() as d:
            with open("/run/otaclient.pid") as f:
                assert f.read() == str(d.process.pid)
            d.process.terminate()
            assert d.ended() == 0


def certificates_that_cannot_be_read_are_told_at_the_start():
    for path, why in (("/nowhere/ca.pem", "No such file or directory"), ("/run", "it is not a regular file")):
        with Daemon(settings=f"tls_ca: {path}\n").serving() as d:
            assert f"No https server will be trusted: cannot read {path} (tls_ca): {why}" in d.log(), d.log()
    with Daemon(settings="tls_ca: /etc/passwd\n").serving() as d:
        assert "https server" not in d.log(), d.log()


def lock_that_cannot_be_had_is_told():
    os.mkdir("/run/otaclient.lock.d")
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/run/otaclient.lock")
    os.symlink("/etc/passwd", "/run/otaclient.lock")
    try:
        with Daemon() as d:
            assert d.ended() == 1 and "E314: Cannot open /run/otaclient.lock" in d.log(), d.log()
    finally:
        os.unlink("/run/otaclient.lock")
        os.rmdir("/run/otaclient.lock.d")


def put_in_place(path, kind):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink("/nowhere/else", path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
    else:
        os.mkdir(path)


def what_stands_in_the_place_of_its_id_is_replaced_or_told():
    for kind in ("fifo", "link", "socket", "folder"):
        put_in_place("/run/otaclient.pid", kind)
        with Daemon() as d:
            if kind == "folder":
                assert d.ended() == 1 and "E314: Cannot write /run/otaclient.pid: Is a directory" in d.log(), d.log()
                os.rmdir("/run/otaclient.pid")
                continue
            d.serving()
            with open("/run/otaclient.pid") as f:
                assert f.read() == str(d.process.pid)
    for kind in ("fifo", "socket", "folder"):
        put_in_place("/run/otaclient.lock", kind)
        with Daemon() as d:
            # A fifo can be locked as any file.
            if kind == "fifo":
                d.serving()
            else:
                assert d.ended() == 1 and "E314: Cannot open /run/otaclient.lock" in d.log(), d.log()
        (os.rmdir if kind == "folder" else os.unlink)("/run/otaclient.lock")


def certificates_that_are_no_files_do_not_hold_it_up():
    with Daemon().serving() as d:
        d.process.terminate()
        assert d.ended() == 0
    certs = os.path.join(tempfile.mkdtemp(prefix="certs.", dir="/run"), "certs")
    os.mkdir(certs)
    for kind in ("fifo", "link", "socket", "folder"):
        put_in_place(f"{certs}/{kind}.root.pem", kind)
    with open(f"{certs}/huge.root.pem", "wb") as f:
        f.truncate(1 << 40)
    with Daemon("--certs", certs).serving() as d:
        for kind, why in (("fifo", "it is not a regular file"), ("link", "No such file or directory"), ("huge", "File too large"),
                          ("socket", "No such device or address"), ("folder", "it is not a regular file")):
            assert f"Certificate file {kind}.root.pem was skipped: {why}" in d.log(), d.log()


def port_of_another_program_is_told():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 50051))
        s.listen()
        with Daemon() as d:
            assert d.ended() == 1
            assert "50051" in d.log() and "has this port" in d.log(), d.log()
    assert not os.path.exists("/run/otaclient.pid")


# ---- usage

def otaclient(*args, **more):
    p = subprocess.run([os.environ["OTACLIENT"], *args], stderr=subprocess.PIPE, text=True, timeout=60, **more)
    return p.returncode, p.stderr


def wrong_usage_is_one_sentence():
    for args, sentence in (
            (["--frob"], "There is no option '--frob'"),
            (["-xy"], "There is no option '-x'"),
            (["-s"], "There is no option '-s'"),
            (["-\u00e9"], "There is no option of one byte, \\xc3"),
            (["--certs"], "--certs needs a value"),
            (["--version=1"], "--version takes no value"),
            (["--log-level", "loud"], "There is no log level 'loud'"),
            (["start"], "There is no argument 'start'")):
        assert otaclient(*args) == (2, f"otaclient: {sentence}; see otaclient --help\n"), (args, otaclient(*args))


def help_that_cannot_be_written_is_told():
    for arg in ("--help", "-h", "--version"):
        assert otaclient(arg, stdout=subprocess.DEVNULL) == (0, "")
        with open("/dev/full", "w") as full:
            got = otaclient(arg, stdout=full)
        assert got == (1, "otaclient: Cannot write to the standard output: No space left on device\n"), got


# ---- configuration

def refusal_of_an_ecu_without_a_name(d, why):
    assert "Updates are refused until" in d.log(), d.log()
    assert "autoware" in flat(status())
    code, out = update()
    assert code == 1 and f"takes no updates: its ecu_info.yaml {why} when the daemon started" in out, (code, out)


def missing_ecu_info_refuses_updates_and_answers_status():
    with Daemon(ecu_info=None).serving() as d:
        refusal_of_an_ecu_without_a_name(d, "could not be read")


def wrong_ecu_infos_refuse_updates_and_answer_status():
    for text in ("", "[", "ecu_id: 7\n", GOOD_ECU_INFO + "ip_addr: nowhere\n", "\0\0\0", "a: " + "x" * 3_000_000):
        with Daemon(ecu_info=text).serving() as d:
            refusal_of_an_ecu_without_a_name(d, "was wrong")


def boot_loader_that_is_to_be_guessed_is_warned_of():
    for line, times in (("", 1), ("bootloader: auto_detect\n", 1), ("bootloader: grub\n", 0)):
        with Daemon(ecu_info=f'format_version: 1\necu_id: "main"\n{line}').serving() as d:
            assert d.log().count("bootloader in ecu_info.yaml is auto_detect: better name") == times, d.log()


def ecu_that_does_not_list_itself_is_warned_of():
    for ids, times in (("[sub, other]", 1), ("[sub, main]", 0), ("[]", 0)):
        with Daemon(ecu_info=f"{GOOD_ECU_INFO}available_ecu_ids: {ids}\n").serving() as d:
            assert d.log().count("available_ecu_ids in ecu_info.yaml does not list this ECU, main\n") == times, d.log()


def unreadable_configuration_refuses_updates_and_answers_status():
    folder = tempfile.mkdtemp(prefix="config.", dir="/run")
    os.mkdir(os.path.join(folder, "ecu_info.yaml"))
    os.mkfifo(os.path.join(folder, "proxy_info.yaml"))
    with Daemon(ecu_info=None, config_dir=folder).serving() as d:
        refusal_of_an_ecu_without_a_name(d, "could not be read")
    with Daemon(ecu_info=None, config_dir="/not/there").serving() as d:
        refusal_of_an_ecu_without_a_name(d, "could not be read")


def memory_that_ends_at_the_start_is_the_end_of_it():
    """Of what it allocates for its start, itself or by the C library, each fails once. It never serves as another ECU, nor by other
    settings, than its files say: the service manager starts it again."""
    said, n, reached = set(), 0, True
    mark = os.path.join(tempfile.mkdtemp(prefix="mark.", dir="/run"), "reached")
    while reached:
        n += 1
        env = {"LD_PRELOAD": os.environ["FAILING_ALLOC_LIBRARY"], "FAILING_ALLOC": f"{n} {mark}"}
        if "ASAN_OPTIONS" in os.environ:
            env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        with Daemon(settings="listen_port: 50061\n", proxy_info="enable_local_ota_proxy: false\n", env=env) as d:
            end = time.monotonic() + START_LIMIT_S
            while d.process.poll() is None and " serves ECU " not in d.log():
                assert time.monotonic() < end, d.log()
                time.sleep(0.01)
            reached = os.path.exists(mark)
            if d.process.poll() is None:
                assert " serves ECU main on 127.0.0.1:50061" in d.log() and "proxy" not in d.log(), (n, d.log())
            else:
                last = d.log().strip().splitlines()[-1]
                assert d.ended() == 1 and reached and last[0] == "E" and last[:4] != "E000", (n, d.ended(), d.log())
                # gRPC has no word for it
                assert any(w in last for w in ("No memory for ", "Cannot allocate memory", "Cannot listen on ")), (n, last)
                said.add(last.replace(d.folder, "…"))
        if reached:
            os.unlink(mark)
    print(f"  {n - 1} allocations, {len(said)} sentences")
    for sentence in ("E314: No memory for …/ecu_info.yaml", "E314: No memory for …/proxy_info.yaml",
                     "E314: No memory for …/otaclient.yaml"):
        assert sentence in said, (sentence, said)


def wrong_settings_are_told_and_replaced_by_what_is_usual():
    with Daemon(settings="listen_port: many\nrun_dir: relative\nupdate_cooldown_s: 99999999\nnonsense: 1\n").serving() as d:
        assert "listen_port" in d.log() and "run_dir" in d.log(), d.log()
        assert status()


def variables_of_the_environment_override_the_settings():
    env = {"OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT": "soon", "OTACLIENT_DEFAULT_LOG_LEVEL": "ERROR",
           "OTACLIENT_CHUNK_SIZE": "1", "OTACLIENT_FROB": "1"}
    with Daemon(env=env).wait_for("is not a known variable") as d:
        assert "OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT must be a whole number from 10 to 86400 s, not \"soon\"" in d.log()
        assert d.log().count("OTACLIENT_CHUNK_SIZE is ignored: nothing needs to be set in its place") == 1
        # the level counts from then on
        end = time.monotonic() + START_LIMIT_S
        while otactl("status")[0] != 0:
            assert time.monotonic() < end, d.log()
        assert " serves ECU " not in d.log()


def settings_that_were_named_must_be_there():
    with Daemon("--settings", "/run/no-such-file") as d:
        assert d.ended() == 1
        assert "E314: Cannot read the settings in /run/no-such-file: No such file or directory" in d.log(), d.log()


def no_certificates_are_told_at_the_start():
    with Daemon().serving() as d:
        assert "certs" in d.log() and "ertificate" in d.log(), d.log()


# ---- the proxy

def proxy_that_cannot_run_is_told_once_and_done_without():
    told = {
        "proxy_program: /bin/nothing\n": "/bin/nothing cannot be executed: No such file or directory",
        "proxy_program: /etc/passwd\n": "/etc/passwd cannot be executed: Permission denied",
        "proxy_program: /bin\n": "/bin cannot be executed: Permission denied",
        "proxy_program: /bin/true\nproxy_user: nobody-knows\n":
            'It cannot run as the user "nobody-knows": there is none',
        "proxy_program: /bin/true\nproxy_user: root\n": 'It cannot run as the user "root": Invalid argument',
    }
    for settings, why in told.items():
        with Daemon(settings=settings).serving() as d:
            assert d.log().count(f"This ECU runs no proxy, downloads go straight to the server: {why}\n") == 1, d.log()
            assert status()


def proxy_that_can_run_is_not_mentioned_at_the_start():
    with Daemon(settings='proxy_program: /bin/true\nproxy_user: ""\n').serving() as d:
        assert "runs no proxy" not in d.log() and "otaproxy" not in d.log(), d.log()


# ---- the boot loader

def boot_loader_that_is_not_there_is_a_failure_with_its_reason():
    for name, code in (("grub", "E30"), ("cboot", "E301"), ("jetson-uefi", "E301"), ("rpi_boot", "E301")):
        with Daemon(ecu_info=f'format_version: 1\necu_id: "main"\nbootloader: {name}\n').serving() as d:
            shown = flat(status())
            assert "FAILURE" in shown and code in shown and "boot loader" in shown, shown
            result, out = update()
            assert result == 1 and "This ECU cannot be updated" in out and "boot loader" in out, (result, out)
            result, out = otactl("rollback")
            assert result == 1 and "This ECU cannot go back: " in out and "boot loader" in out, (result, out)
            result, out = otactl("abort")
            assert result == 1 and "Cannot abort: no active OTA update in progress" in out, (result, out)
            assert "FAILURE" in flat(status())
            assert d.process.poll() is None


def nothing_is_made_where_there_is_no_machine():
    with Daemon().serving() as d:
        d.process.terminate()
        assert d.ended() == 0
    assert os.listdir("/boot") == [], os.listdir("/boot")
    assert [n for n in os.listdir("/run") if n.startswith("ota")] == ["otaclient.lock"], os.listdir("/run")


# ---- the end

def ends_at_once_when_told_so():
    for signo in (signal.SIGTERM, signal.SIGINT):
        with Daemon().serving() as d:
            began = time.monotonic()
            d.process.send_signal(signo)
            assert d.ended() == 0
            assert time.monotonic() - began < 5
            assert not os.path.exists("/run/otaclient.pid")


def mounts_of_the_daemon_are_its_own():
    with Daemon().serving() as d:
        assert os.readlink(f"/proc/{d.process.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    os.makedirs("/run/later", exist_ok=True)
    subprocess.run(["mount", "--make-shared", "/run"], check=True)
    with Daemon().serving() as d:
        subprocess.run(["mount", "-t", "tmpfs", "later", "/run/later"], check=True)
        with open(f"/proc/{d.process.pid}/mountinfo") as f:
            assert "/run/later" in f.read(), "what others mount is seen"
        subprocess.run(["umount", "/run/later"], check=True)
    subprocess.run(["mount", "--make-private", "/run"], check=True)
    os.rmdir("/run/later")


@contextlib.contextmanager
def updater_in_its_thread(lab, *options, url=None):
    """The updater as the daemon uses it, with a simulated boot loader."""
    p = subprocess.Popen(
        [os.environ["UPDATE_DRIVER"], "--threaded", "--url", url or f"{lab.url}/v2", "--certs", lab.path("certs"), "--device", lab.device,
         "--active", lab.active, "--work", lab.path("run"), *options], stderr=subprocess.PIPE, text=True)
    try:
        yield p
    finally:
        p.kill()
        p.wait()


def end_of_the_daemon_ends_an_update():
    with UpdateLab() as lab:
        lab.build("v1", make_v1)
        lab.build("v2", make_v2)
        lab.active = lab.trees["v1"]
        lab.update("v1")
        # a server that says nothing: the update waits for it
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            with updater_in_its_thread(lab, url=f"http://127.0.0.1:{s.getsockname()[1]}/v2") as p:
                s.accept()
                began = time.monotonic()
                p.terminate()
                log = p.communicate(timeout=30)[1]
                assert time.monotonic() - began < 10
        assert "second request: E201: An update is running already" in log, log
        assert "E207: The update was stopped because otaclient ends" in log, log
        assert lab.status("a") == "FAILURE"
        lab.check("v1")
        # after the restart was asked for, "updating" is said until the end
        with updater_in_its_thread(lab) as p:
            for line in p.stderr:
                if "flip and reboot took" in line:
                    break
            p.terminate()
            log = p.communicate(timeout=30)[1]
        assert log.splitlines()[-1].strip() == "UPDATING", log
        assert lab.status("b") == "UPDATING"
        lab.check("v2")


def ecus_below_are_waited_for_with_the_slot_closed():
    with UpdateLab() as lab:
        lab.build("v1", make_v1)
        lab.build("v2", make_v2)
        lab.active = lab.trees["v1"]
        lab.update("v1")
        done, flipped = lab.path("children.done"), lab.path("run/flipped")
        os.unlink(flipped)
        for ended in (True, False):
            with updater_in_its_thread(lab, "--children-until", done) as p:
                for line in p.stderr:
                    if line.startswith("waiting for "):
                        break
                with open("/proc/self/mountinfo") as f:
                    assert lab.device not in f.read(), "the standby slot is still open"
                assert not os.path.lexists(flipped)
                assert lab.status("b") == "UPDATING"
                if not ended:
                    with open(done, "w"):
                        pass
                    for line in p.stderr:
                        if "flip and reboot took" in line:
                            break
                began = time.monotonic()
                p.terminate()
                log = p.communicate(timeout=30)[1]
                assert time.monotonic() - began < 5
            assert os.path.lexists(flipped) != ended
            if ended:
                assert "E207: The update was stopped because otaclient ends" in log, log
                assert lab.status("a") == "FAILURE"
        lab.check("v2")


if __name__ == "__main__":
    enter_private_machine()
    run([
        second_instance_is_refused_and_leaves_the_first_alone,
        python_client_that_runs_is_not_disturbed,
        certificates_that_cannot_be_read_are_told_at_the_start,
        lock_that_cannot_be_had_is_told,
        what_stands_in_the_place_of_its_id_is_replaced_or_told,
        certificates_that_are_no_files_do_not_hold_it_up,
        port_of_another_program_is_told,
        wrong_usage_is_one_sentence,
        help_that_cannot_be_written_is_told,
        missing_ecu_info_refuses_updates_and_answers_status,
        wrong_ecu_infos_refuse_updates_and_answer_status,
        boot_loader_that_is_to_be_guessed_is_warned_of,
        ecu_that_does_not_list_itself_is_warned_of,
        unreadable_configuration_refuses_updates_and_answers_status,
        memory_that_ends_at_the_start_is_the_end_of_it,
        wrong_settings_are_told_and_replaced_by_what_is_usual,
        variables_of_the_environment_override_the_settings,
        settings_that_were_named_must_be_there,
        no_certificates_are_told_at_the_start,
        proxy_that_cannot_run_is_told_once_and_done_without,
        proxy_that_can_run_is_not_mentioned_at_the_start,
        boot_loader_that_is_not_there_is_a_failure_with_its_reason,
        nothing_is_made_where_there_is_no_machine,
        ends_at_once_when_told_so,
        mounts_of_the_daemon_are_its_own,
        end_of_the_daemon_ends_an_update,
        ecus_below_are_waited_for_with_the_slot_closed,
    ])
