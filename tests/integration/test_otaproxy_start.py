#!/usr/bin/env python3
"""How the real otaproxy starts, and what it says when it cannot, or when its disk fills. Started as root, most of it becomes
nobody first; the disk is a tmpfs in a mount namespace of the test's own.

    test_otaproxy_start.py OTAPROXY
"""

import ctypes
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

OTAPROXY = os.path.abspath(sys.argv.pop(1))
PRIVATE_MOUNTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/private-mounts")
MIB = 1 << 20
NOBODY = 65534

# The numbers of system calls, by machine.
SECCOMP, PRCTL = {"x86_64": (317, 157), "aarch64": (277, 167)}[platform.machine()]
LANDLOCK_CREATE_RULESET = 444
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
EPERM, ENOSYS = 1, 38

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def kernel_without(call, errno, argument=None):
    """For preexec_fn: from now on the system call fails, with @argument only if that is its first one."""
    load, equal, end = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0), (equal, 0, 1 if argument is None else 3, call)]
    if argument is not None:
        steps += [(load, 0, 0, 16), (equal, 0, 1, argument)]
    steps += [(end, 0, 0, 0x00050000 | errno), (end, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("=HBBI", *s) for s in steps)
    program = Program(len(steps), code)
    if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 or
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) < 0):
        raise OSError(ctypes.get_errno(), "no filter for system calls")


class StartTest(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="otaproxy-start.")
        self.addCleanup(shutil.rmtree, self.work)
        os.chmod(self.work, 0o777)
        self.cache = os.path.join(self.work, "cache")
        self.program = shutil.copy(OTAPROXY, self.work)  # where everybody may run it
        self.lines = []

    def assert_fails(self, args, sentence, code=1, **how):
        if os.geteuid() == 0:
            how = {"user": NOBODY, "group": NOBODY, "extra_groups": [], **how}
        p = subprocess.run([self.program, "--listen", "127.0.0.1", "--port", "0", *args], capture_output=True, text=True,
                           timeout=20, check=False, **how)
        self.assertEqual((p.returncode, re.sub(r"^<\d>", "", p.stderr).strip()), (code, sentence))

    def start(self, *command, listen="127.0.0.1", **how):
        """Until it serves; what it says from then on goes to self.lines."""
        process = subprocess.Popen([*command, "--listen", listen, "--port", "0"], stderr=subprocess.PIPE, text=True, **how)
        for line in process.stderr:
            self.lines.append(line.strip())
            if "serves on" in line:
                break
        reader = threading.Thread(target=lambda: self.lines.extend(map(str.strip, process.stderr)), daemon=True)
        reader.start()

        def end():
            process.terminate()
            process.wait(timeout=20)
            reader.join()
            process.stderr.close()

        self.addCleanup(end)
        self.assertIn("serves on", self.lines[-1] if self.lines else "")
        return process

    def wait_for_line(self, text):
        end = time.monotonic() + 20
        while not any(text in line for line in self.lines):
            self.assertLess(time.monotonic(), end, f"nobody said: {text}; but: {self.lines}")
            time.sleep(0.02)

    def test_a_folder_that_cannot_be_made(self):
        with open(self.cache, "wb"):
            pass
        path = os.path.join(self.cache, "below")
        self.assert_fails(["--cache-dir", path], f"Cannot make the folder {path}: Not a directory")

    def test_a_user_that_nobody_knows(self):
        self.assert_fails(["--cache-dir", self.cache, "--user", "no-such-user"], "There is no user no-such-user to become")
        for user in ("root", "0:0", "1:"):
            self.assert_fails(["--cache-dir", self.cache, "--user", user],
                              f"The user to become must be a name, its number or uid:gid, and not root: {user}")

    def test_a_folder_that_is_somebody_elses_is_left_alone(self):
        os.mkdir(self.cache, 0o777)
        os.chmod(self.cache, 0o777)
        page = os.path.join(self.cache, "index.html")
        with open(page, "wb"):
            pass
        for args in ([], ["--wipe"]):
            self.assert_fails(["--cache-dir", self.cache, *args],
                              f"The folder {self.cache} is no cache: it holds index.html; name an empty folder, whose content "
                              "may be removed at any time")
        self.assertEqual(os.listdir(self.cache), ["index.html"])

    def test_a_folder_of_the_other_clients_proxy_is_taken_over(self):
        os.mkdir(self.cache)
        for name in ("cache_db", "cache_db-wal", "tmp_12", "URL_ab", "0" * 64):
            with open(os.path.join(self.cache, name), "wb"):
                pass
        self.start(self.program, "--cache-dir", self.cache)

    def test_a_cache_has_one_proxy_at_a_time(self):
        os.mkdir(self.cache, 0o777)
        os.chmod(self.cache, 0o777)
        how = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        first = self.start(self.program, "--cache-dir", self.cache, **how)
        for args in ([], ["--wipe"]):
            self.assert_fails(["--cache-dir", self.cache, *args], f"The cache {self.cache} is in use by another otaproxy")
        first.kill()
        first.wait(timeout=20)
        self.start(self.program, "--cache-dir", self.cache, **how)

    def test_only_root_can_give_the_folder_away(self):
        self.assert_fails(["--cache-dir", self.cache, "--user", "1:1"],
                          f"Cannot give {self.cache} to the user 1:1: Operation not permitted")

    def test_only_root_can_become_another(self):
        self.assert_fails(["--no-cache", "--user", "1:1"], "Cannot become the user 1:1: Operation not permitted")

    def test_a_folder_that_is_a_link_to_nowhere(self):
        os.symlink("nowhere", self.cache)
        self.assert_fails(["--cache-dir", self.cache], "Cannot give up the access to files: No such file or directory")

    def test_a_kernel_that_does_not_let_system_calls_be_given_up(self):
        def refuse():
            kernel_without(SECCOMP, EPERM)
            kernel_without(PRCTL, EPERM, PR_SET_SECCOMP)

        # The second filter is the last one that can be set; of the reason the library says nothing better.
        self.assert_fails(["--cache-dir", self.cache], "Cannot give up system calls: Invalid argument",
                          preexec_fn=refuse)

    def test_a_kernel_without_landlock_will_do(self):
        self.start(self.program, "--no-cache", preexec_fn=lambda: kernel_without(LANDLOCK_CREATE_RULESET, ENOSYS))
        self.assertIn("This kernel has no Landlock: the files in reach are those of the user", self.lines[0])

    def test_a_port_that_another_has(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            self.assert_fails(["--no-cache", "--port", str(port)],
                              f"Cannot listen on 127.0.0.1, port {port}: Address already in use")

    def test_an_address_that_is_none(self):
        self.assert_fails(["--no-cache", "--listen", "example.com"], "example.com is no address to listen on")

    def test_wrong_usage_is_told_once(self):
        self.assert_fails(["--port", "x"], 'otaproxy: there is no port "x"; see otaproxy --help', 2)
        self.assert_fails(["--colour"], f"{self.program}: unrecognized option '--colour'", 2)

    def test_help_and_version_go_to_stdout_and_are_no_failure(self):
        for arg, start in (("--help", "otaproxy "), ("-h", "otaproxy "), ("--version", "otaproxy ")):
            p = subprocess.run([self.program, arg], capture_output=True, text=True, timeout=20, check=True)
            self.assertTrue(p.stdout.startswith(start))
            self.assertEqual((p.stderr, "--cache-dir" in p.stdout), ("", arg != "--version"))

    def test_it_says_where_it_serves_and_whether_it_keeps_anything(self):
        self.start(self.program, "--cache-dir", self.cache, "--soft-mark", "99", "--hard-mark", "100")
        self.assertRegex(self.lines[-1], r"otaproxy \S+ serves on 127\.0\.0\.1:[1-9]\d*, with a cache$")
        self.start(self.program, "--no-cache")
        self.assertRegex(self.lines[-1], r"otaproxy \S+ serves on 127\.0\.0\.1:[1-9]\d*, without a cache$")
        self.start(self.program, "--no-cache", listen="::1")
        self.assertRegex(self.lines[-1], r"otaproxy \S+ serves on \[::1\]:[1-9]\d*, without a cache$")

    def test_it_says_when_its_disk_fills_and_when_there_is_room_again(self):
        disk = os.path.join(self.work, "disk")
        os.mkdir(disk)
        namespace = [PRIVATE_MOUNTS] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
        process = self.start(*namespace, "sh", "-c", 'mount -t tmpfs -o size=20m none "$0" && exec "$@"', disk, self.program,
                             "--cache-dir", os.path.join(disk, "cache"), "--soft-mark", "50", "--hard-mark", "80")
        # Outside the cache, where nothing can be removed to make room.
        with open(f"/proc/{process.pid}/root{disk}/filler", "wb") as filler:
            for n_bytes, sentence in ((18 * MIB, "The cache's disk is full: nothing is written to it"),
                                      (13 * MIB, "The cache's disk is nearly full: nothing new is kept"),
                                      (0, "The cache's disk has room")):
                filler.truncate(0)
                filler.seek(0)
                filler.write(b"x" * n_bytes)
                filler.flush()
                self.wait_for_line(sentence)


if __name__ == "__main__":
    unittest.main(verbosity=2)
