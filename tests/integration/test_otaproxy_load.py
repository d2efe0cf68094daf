#!/usr/bin/env python3
"""The real otaproxy where there is much of everything: files, clients, foreign content, idle connections, years.

Needs root (file systems of its own, in a mount namespace of its own) and 11 000 open files. With LOAD=long all files
are in every run, not only in the plain one.
"""

import concurrent.futures
import hashlib
import http.client
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
import upstream_standin  # noqa: E402
from proxy_lab import MIB, Broken, Line, ProxyLab, sha256, wait_for  # noqa: E402
from pseudo_ecu import syscalls  # noqa: E402

CLIENTS = 6
MANY = 7000
FEWER = MANY if os.environ.get("LOAD") == "long" else 1500
FETCHES_MAX = 24  # that the proxy has under way at once
KIB = 1 << 10


def wanted(digest):
    return f"ota-file-cache-control: file_sha256={digest}"


def read_all(port, host, files, seed, tries):
    """One client, a process of its own: all of {path: digest} in an order of one's own. Returns what went wrong."""
    paths, line, again = list(files), None, 0
    random.Random(seed).shuffle(paths)
    for path in paths:
        for left in range(tries - 1, -1, -1):
            try:
                line = line or Line(port)
                status, _, body = line.ask(host, path, wanted(files[path]))
                if status == 200:
                    if sha256(body) != files[path]:
                        return f"{path}: wrong bytes"
                    break
                trouble = f"status {status}: {body[:200]}"
            except (Broken, OSError) as e:
                trouble = repr(e)
            if left == 0:
                return f"{path}: {trouble}"
            again += 1
            if line is not None:
                line.close()
            line = None
            time.sleep(0.02)  # the proxy may be starting anew
    line.close()
    return again


class ManyFiles(ProxyLab):
    """As many as an image has, for as many ECUs as a vehicle."""

    def files_of(self, n):
        """{path: digest}, and the sum of their sizes."""
        r = random.Random(n)
        block, files, total = r.randbytes(8 * MIB), {}, 0
        for i in range(n):
            size = r.randrange(1 * KIB, 30 * KIB)
            if i % 350 == 7:
                size = r.randrange(MIB, 4 * MIB)
            start = r.randrange(len(block) - size)
            files[f"/data/{i}"] = self.file(f"data/{i}", b"%d " % i + block[start:start + size])
            total += os.path.getsize(f"{self.root}/data/{i}")
        return files, total

    def read_by_six(self, proxy, origin, files, tries=1, meanwhile=None):
        fork = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(CLIENTS, fork) as pool:
            jobs = [pool.submit(read_all, proxy.port, origin.host, files, i, tries) for i in range(CLIENTS)]
            if meanwhile:
                meanwhile()
            results = [job.result() for job in jobs]
        self.assertEqual([r for r in results if isinstance(r, str)], [])
        return sum(results)

    def sent_bytes(self, origin):
        # The origin's line about a body is written after its last byte, which a client may have seen already. Of a
        # request whose asker was killed before there was anything to send, none is written.
        end, before = time.monotonic() + 20, -1
        while len(origin.sent()) != len(origin.requests()) and len(origin.sent()) != before:
            self.assertLess(time.monotonic(), end, "the origin's account goes on")
            before = len(origin.sent())
            time.sleep(1)
        return sum(n for _, n in origin.sent())

    def test_seven_thousand_files_cost_each_byte_once(self):
        files, total = self.files_of(MANY)
        origin, proxy = self.origin(), self.proxy()
        self.read_by_six(proxy, origin, files)
        self.assertEqual(sorted(r["path"] for r in origin.requests()), sorted(files))
        self.assertEqual(self.sent_bytes(origin), total)
        self.assertEqual(proxy.counter("origin_received_bytes"), total)
        self.assertEqual(proxy.counter("client_sent_bytes"), CLIENTS * total)

    def test_a_kill_half_way_costs_no_more_than_was_under_way(self):
        # What is lost with the process are the bodies that it was just fetching, at most FETCHES_MAX. So only so many
        # files are asked for twice, none three times, and no more bytes than theirs come again.
        files, total = self.files_of(FEWER)
        origin, proxy = self.origin(), self.proxy()

        def kill_half_way():
            wait_for(lambda: len(origin.requests()) > FEWER // 2, "half of the requests", seconds=60)
            proxy.end(signal.SIGKILL)
            proxy.start()

        self.assertGreater(self.read_by_six(proxy, origin, files, 500, kill_half_way), 0)
        paths = [r["path"] for r in origin.requests()]
        twice = [p for p in files if paths.count(p) > 1]
        self.assertEqual(set(paths), set(files))
        self.assertEqual(len(paths), len(files) + len(twice))
        self.assertLessEqual(len(twice), FETCHES_MAX)
        again = self.sent_bytes(origin) - total
        self.assertLessEqual(again, sum(os.path.getsize(self.root + p) for p in twice))

    def test_an_origin_that_cuts_every_tenth_body_sends_each_byte_once(self):
        files, total = self.files_of(FEWER)
        origin, proxy = self.origin(None, "--cut-every", "10"), self.proxy()
        self.read_by_six(proxy, origin, files)
        # One for each file, and one for each cut.
        self.assertEqual(len(origin.requests()), len(files) + len(files) // 10)
        self.assertEqual(self.sent_bytes(origin), total)

    def test_a_slow_client_slows_no_other(self):
        files, total = self.files_of(FEWER)
        big = random.Random(1).randbytes(40 * MIB)
        files["/data/big"] = self.file("data/big", big)
        origin, proxy = self.origin(), self.proxy()
        line = Line(proxy.port)
        stop, slow, digest = threading.Event(), [0], hashlib.sha256()

        def read_slowly():
            line.send(origin.host, "/data/big", wanted(files["/data/big"]))
            _, fields = line.head()
            left = int(fields["content-length"])
            while left > 0:
                data = line.file.read(min(left, MIB if stop.is_set() else KIB))
                digest.update(data)
                left -= len(data)
                slow[0] += len(data)
                stop.wait(0.1)  # 10 kB/s

        thread = threading.Thread(target=read_slowly, daemon=True)
        thread.start()
        wait_for(lambda: slow[0] > 0, "the slow client's first bytes")
        began = time.monotonic()
        self.read_by_six(proxy, origin, files)
        took = time.monotonic() - began
        self.assertLess(slow[0], 2 * 10 * KIB * took + 64 * KIB)  # it was slow indeed
        self.assertLess(slow[0], len(big) // 10)
        stop.set()
        thread.join(60)
        self.assertFalse(thread.is_alive())
        line.close()
        self.assertEqual(digest.hexdigest(), files["/data/big"])
        self.assertEqual(self.sent_bytes(origin), total + len(big))


class FullDisks(ProxyLab):
    """The cache has a file system of its own, which is small."""

    def mount(self, kind, options):
        os.makedirs(self.cache)
        if kind == "tmpfs":
            syscalls.mount("tmpfs", self.cache, "tmpfs", 0, options)
        else:
            image = os.path.join(self.work, "disk")
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", *options.split(), image], check=True)
            subprocess.run(["mount", "-o", "loop", image, self.cache], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.cache], check=True)

    def fill(self, leave):
        """All but @leave bytes, as somebody else would who has files beside the cache's folder."""
        fs = os.statvfs(self.cache)
        n = fs.f_bavail * fs.f_frsize - leave
        path = os.path.join(self.cache, "lost+found", "filling")  # which the proxy leaves alone
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, n)
        return path

    def ask_all(self, proxy, origin, files):
        """Several clients, at once; none may see anything but the right body."""
        def read(seed):
            line, paths = Line(proxy.port), list(files)
            random.Random(seed).shuffle(paths)
            for path in paths:
                status, fields, body = line.ask(origin.host, path, wanted(files[path]))
                self.assertEqual((status, sha256(body)), (200, files[path]), (path, fields, body[:200]))
            line.close()

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            for job in [pool.submit(read, i) for i in range(CLIENTS)]:
                job.result()

    def bodies(self, sizes):
        r = random.Random(5)
        return {f"/data/{i}": self.file(f"data/{i}", r.randbytes(size)) for i, size in enumerate(sizes)}

    def check_a_full_disk(self):
        files = self.bodies([100, 20 * KIB, 70 * KIB, 300 * KIB, 5 * MIB, 12 * MIB])
        origin, proxy = self.origin(), self.proxy()
        filling = self.fill(2 * MIB)
        for _ in range(2):
            self.ask_all(proxy, origin, files)
        os.unlink(filling)
        self.check_it_keeps(proxy, origin, files)

    def check_it_keeps(self, proxy, origin, files):
        """There is room again, which is looked at every two seconds."""
        wait_for(lambda: self.ask_all(proxy, origin, files) or set(files.values()) <= set(self.entries()),
                 "all files in the cache")
        asked = len(origin.requests())
        self.ask_all(proxy, origin, files)
        self.assertEqual(len(origin.requests()), asked)

    def test_a_full_tmpfs_costs_no_answer(self):
        self.mount("tmpfs", "size=24m")
        self.check_a_full_disk()

    def test_a_full_ext4_costs_no_answer(self):
        open(os.path.join(self.work, "disk"), "wb").close()
        os.truncate(os.path.join(self.work, "disk"), 32 * MIB)
        self.mount("ext4", "-O ^has_journal")
        self.check_a_full_disk()

    def test_a_disk_that_became_read_only_costs_no_answer(self):
        self.mount("tmpfs", "size=64m")
        files = self.bodies([100, 20 * KIB, 70 * KIB, 5 * MIB])
        origin, proxy = self.origin(), self.proxy()
        subprocess.run(["mount", "-o", "remount,ro", self.cache], check=True)
        for _ in range(2):
            self.ask_all(proxy, origin, files)
        self.assertEqual(self.entries(), [])
        subprocess.run(["mount", "-o", "remount,rw", self.cache], check=True)
        self.check_it_keeps(proxy, origin, files)

    def test_a_cache_that_was_removed_costs_no_answer(self):
        files = self.bodies([100, 20 * KIB, 70 * KIB, 5 * MIB])
        origin, proxy = self.origin(), self.proxy()
        shutil.rmtree(self.cache)
        for _ in range(2):
            self.ask_all(proxy, origin, files)

    def test_a_full_disk_costs_no_body_of_unknown_length(self):
        self.mount("tmpfs", "size=24m")
        files = self.bodies([100, 20 * KIB, 70 * KIB, 5 * MIB])
        chunked = {p: [{"file": os.path.join(self.root, p[1:]), "content_length": "chunked"}] for p in files}
        origin, proxy = self.origin(chunked), self.proxy()
        filling = self.fill(256 * KIB)
        for path, digest in [*files.items()] * 3:
            # What is too big for the disk and does not say so has gone out in part when it is full.
            line = Line(proxy.port)
            status, _, body = line.ask(origin.host, path, wanted(digest))
            self.assertEqual((status, sha256(body)), (200, digest))
            line.close()
        os.unlink(filling)
        self.check_it_keeps(proxy, origin, files)

    def test_a_part_of_what_is_passed_through_comes(self):
        bodies = {}
        for name, size in (("long", 5 * MIB), ("short", 512 * KIB)):
            bodies[f"/data/{name}"] = random.Random(size).randbytes(size)
            self.file(f"data/{name}", bodies[f"/data/{name}"])
        origin, proxy = self.origin(), self.proxy()
        for path, body in bodies.items():
            for field in (wanted(sha256(body)) + ",no_cache", "ota-file-cache-control: no_cache"):
                for part, begin, end in (("400000-", 400000, None), ("-100", -100, None), ("10-99", 10, 100)):
                    with self.subTest(path=path, part=part, field=field):
                        line = Line(proxy.port, timeout=20)
                        status, _, got = line.ask(origin.host, path, field, "Range: bytes=" + part)
                        line.close()
                        if end and "sha256" in field and path == "/data/long":
                            # the digest speaks of all of it, for which there is no room
                            self.assertEqual((status, sha256(got)), (200, sha256(body)))
                        else:
                            self.assertEqual((status, sha256(got)), (206, sha256(body[begin:end])))

    def test_without_inodes_all_is_passed_through(self):
        self.mount("tmpfs", "size=64m,nr_inodes=40")
        files = self.bodies([100, 20 * KIB, 70 * KIB, MIB])
        origin, proxy = self.origin(), self.proxy()
        made = []
        with self.assertRaises(OSError):
            os.makedirs(os.path.join(self.cache, "lost+found"))
            while True:
                made.append(os.path.join(self.cache, "lost+found", str(len(made))))
                open(made[-1], "wb").close()
        for _ in range(2):
            self.ask_all(proxy, origin, files)
        for path in made[:-1]:
            os.unlink(path)
        self.check_it_keeps(proxy, origin, files)

    def test_old_entries_make_room_for_inodes_too(self):
        self.mount("tmpfs", "size=64m,nr_inodes=200")
        files = self.bodies([1000] * 400)
        origin, proxy = self.origin(), self.proxy("--soft-mark", "75", "--hard-mark", "80")
        line = Line(proxy.port)
        for path, digest in files.items():
            self.assertEqual(line.ask(origin.host, path, wanted(digest))[0], 200)
        line.close()
        last = dict(list(files.items())[-20:])

        def all_are_kept():
            self.ask_all(proxy, origin, last)
            return set(last.values()) <= set(self.entries())
        wait_for(all_are_kept, "the last ones in the cache")
        fs = os.statvfs(self.cache)
        self.assertGreater(fs.f_ffree, 0)


class DeadDisks(ProxyLab):
    def test_an_external_cache_that_does_not_answer_holds_up_nobody(self):
        data = b"far away" * 5000
        self.assertEqual(self.file("data/x", data), sha256(data))
        external = os.path.join(self.work, "external")
        os.makedirs(os.path.join(external, "data"))
        with open(os.path.join(external, "data", sha256(data)), "wb") as f:
            f.write(data)
        env = {"LD_PRELOAD": os.environ["STUCK_DISK"], "STUCK_BYTES": str(len(data))}
        if "ASAN_OPTIONS" in os.environ:
            env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        origin, proxy = self.origin(), self.proxy("--external", external, env=env)
        other, line = self.file("data/y", b"here"), Line(proxy.port, timeout=20)
        status, _, body = line.ask(origin.host, "/data/x", wanted(sha256(data)))
        self.assertEqual((status, body), (200, data))
        began = time.monotonic()
        status, _, body = line.ask(origin.host, "/data/y", wanted(other))
        self.assertEqual((status, body), (200, b"here"))
        self.assertLess(time.monotonic() - began, 1)
        line.close()
        began = time.monotonic()
        self.assertEqual(proxy.end(), 0)
        self.assertLess(time.monotonic() - began, 9)
        self.assertIn("A file in an external cache cannot be read to its end: it is not waited for", "".join(proxy.lines))
        self.assertEqual("".join(proxy.lines).count("A disk does not answer"), 1)


class ForeignContent(ProxyLab):
    def setUp(self):
        super().setUp()
        self.outside = os.path.join(self.work, "outside")
        os.makedirs(self.outside)
        self.secret = os.path.join(self.outside, "secret")
        with open(self.secret, "w", encoding="ascii") as f:
            f.write("somebody's secret")

    def own_boot(self):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            return f.read().strip()

    def litter(self, folder, name, kind):
        """One thing at @name that is no entry."""
        path = os.path.join(folder, name)
        if kind == "folder":
            os.makedirs(os.path.join(path, "below"))
        elif kind == "link":
            os.symlink(self.secret, path)
        elif kind == "link to a folder":
            os.symlink(self.outside, path)
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
        elif kind == "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        else:
            with open(path, "wb") as f:
                f.write(b"of another program")

    KINDS = ("folder", "link", "link to a folder", "FIFO", "device", "socket", "file")

    def test_nothing_foreign_is_served_or_followed(self):
        boots = self.own_boot(), "00000000-1111-2222-3333-444444444444"
        r, files = random.Random(8), {}
        for kind in self.KINDS:
            for place in (*boots, "v1", "tmp", ""):
                if kind == "file" and place == boots[0]:
                    continue  # what this boot's folder has under a digest has been hashed
                path = f"/data/{kind}-{place}".replace(" ", "-")
                files[path] = digest = self.file(path[1:], r.randbytes(3000))
                folder = os.path.join(self.cache, "" if place == "" else "v1", "" if place == "v1" else place)
                os.makedirs(folder, exist_ok=True)
                self.litter(folder, digest, kind)
        for i in range(10_000):
            with open(os.path.join(self.cache, "v1" if i % 2 else "", f"{i}-of-another-program"), "wb"):
                pass
        origin = self.origin()
        began = time.monotonic()
        proxy = self.proxy()
        self.assertLess(time.monotonic() - began, 2)
        for _ in range(2):
            line = Line(proxy.port, timeout=10)
            for path, digest in files.items():
                status, _, body = line.ask(origin.host, path, wanted(digest))
                self.assertEqual((status, sha256(body)), (200, digest), path)
            line.close()
        # Each is kept, whatever lay in its place.
        self.assertEqual(sorted(r["path"] for r in origin.requests()), sorted(files))
        with open(self.secret, encoding="ascii") as f:
            self.assertEqual(f.read(), "somebody's secret")
        self.assertEqual(os.listdir(self.outside), ["secret"])

    def test_foreign_content_goes_first_and_no_link_is_followed(self):
        os.makedirs(self.cache)
        syscalls.mount("tmpfs", self.cache, "tmpfs", 0, "size=64m,nr_inodes=20000")
        self.addCleanup(subprocess.run, ["umount", "-l", self.cache], check=True)
        origin, proxy = self.origin(), self.proxy("--soft-mark", "60", "--hard-mark", "90")
        kept = self.file("data/kept", b"kept" * 1000)
        line = Line(proxy.port)
        line.ask(origin.host, "/data/kept", wanted(kept))
        entry = self.entry(kept)
        os.utime(entry, (1000, 1000))  # the least recently used of all
        for kind in self.KINDS:
            self.litter(self.cache, kind, kind)
            self.litter(os.path.join(self.cache, "v1"), kind, kind)
        for i in range(10_000):
            with open(os.path.join(self.cache, f"{i}-of-another-program"), "wb") as f:
                f.write(bytes(4000))
        wait_for(lambda: len(os.listdir(self.cache)) < 9_900, "room")
        self.assertTrue(os.path.exists(entry), "the entry went before what is foreign")
        with open(os.path.join(self.cache, "big"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 24 * MIB)
        wait_for(lambda: not os.path.exists(os.path.join(self.cache, "big")), "more room")
        self.assertEqual(os.listdir(self.outside), ["secret"])
        asked = len(origin.requests())
        self.assertEqual(line.ask(origin.host, "/data/kept", wanted(kept))[2], b"kept" * 1000)
        self.assertEqual(len(origin.requests()), asked)
        line.close()


class IdleConnections(ProxyLab):
    def test_ten_thousand_of_one_address_keep_no_other_out(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.assertGreater(hard, 11_000, "so many files must be allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        digest = self.file("data/x", b"content" * 1000)
        origin, proxy = self.origin(), self.proxy()
        idle = []
        self.addCleanup(lambda: [s.close() for s in idle])
        for i in range(10_000):
            s = socket.socket()
            idle.append(s)
            s.settimeout(20)
            s.connect(("127.0.0.1", proxy.port))
            if i % 1000 == 999:
                began = time.monotonic()
                line = Line(proxy.port, source=("127.0.0.2", 0))
                self.assertEqual(line.ask(origin.host, "/data/x", wanted(digest))[2], b"content" * 1000)
                line.close()
                self.assertLess(time.monotonic() - began, 1)
        self.assertLess(len(os.listdir(f"/proc/{proxy.process.pid}/fd")), 1000)


MS_NOATIME = 1 << 10
YEARS_S = 10 * 365 * 86400


class ClockJumps(ProxyLab):
    """The program's wall clock alone: tests/support/clock_shift.c. Files get the times that a kernel would give."""

    def jump(self, by_s):
        os.pwrite(self.shift.fileno(), by_s.to_bytes(8, sys.byteorder, signed=True), 0)

    def start(self):
        os.makedirs(self.cache)
        # noatime, since the kernel's clock does not jump.
        syscalls.mount("tmpfs", self.cache, "tmpfs", MS_NOATIME, "size=24m")
        self.addCleanup(subprocess.run, ["umount", "-l", self.cache], check=True)
        path = os.path.join(self.work, "shift")
        self.shift = open(path, "wb", buffering=0)
        self.addCleanup(self.shift.close)
        self.jump(0)
        env = {"LD_PRELOAD": os.environ["CLOCK_SHIFT"], "CLOCK_SHIFT_FILE": path}
        if "ASAN_OPTIONS" in os.environ:
            env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        return self.proxy("--soft-mark", "75", "--hard-mark", "95", env=env)

    def check_jump(self, by_s):
        r = random.Random(by_s)
        before = {f"/data/b{i}": self.file(f"data/b{i}", r.randbytes(MIB)) for i in range(8)}
        after = {f"/data/a{i}": self.file(f"data/a{i}", r.randbytes(MIB)) for i in range(4)}
        slow_body = bytes(i % 251 for i in range(2 * MIB))
        origin = self.origin({"/slow": [{"size": 2 * MIB, "piece": 64 * KIB, "piece_delay_ms": 40}]})
        proxy = self.start()
        slow, line = Line(proxy.port, timeout=20), Line(proxy.port, timeout=20)
        for path, digest in before.items():
            self.assertEqual(sha256(line.ask(origin.host, path, wanted(digest))[2]), digest)
        slow.send(origin.host, "/slow", wanted(sha256(slow_body)))
        status, fields = slow.head()  # the first bytes are there

        self.jump(by_s)
        self.assertEqual((status, b"".join(slow.pieces(fields))), (200, slow_body))
        slow.close()
        os.unlink(self.entry(sha256(slow_body)))
        for path, digest in after.items():
            self.assertEqual(sha256(line.ask(origin.host, path, wanted(digest))[2]), digest)
            now = time.time() + by_s
            os.utime(self.entry(digest), (now, now))
        used = before["/data/b3"]
        self.assertEqual(sha256(line.ask(origin.host, "/data/b3", wanted(used))[2]), used)
        self.assertAlmostEqual(os.stat(self.entry(used)).st_atime, time.time() + by_s, delta=30)
        self.assertEqual(len(origin.requests()), 13)

        os.makedirs(os.path.join(self.cache, "lost+found"))
        with open(os.path.join(self.cache, "lost+found", "filling"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 9 * MIB)  # with it, 21 of 24 MiB are used
        keeps = {*after.values(), used}
        wait_for(lambda: len(self.entries()) < 12, "room")
        wait_for(lambda: os.statvfs(self.cache).f_bfree * 100 > 25 * os.statvfs(self.cache).f_blocks, "enough room")
        self.assertLessEqual(keeps, set(self.entries()), "what was used last went before what was not")
        line.close()
        line = Line(proxy.port, timeout=20)
        for path, digest in {**before, **after}.items():
            self.assertEqual(sha256(line.ask(origin.host, path, wanted(digest))[2]), digest)
        line.close()
        self.assertEqual(proxy.end(), 0)

    def test_ten_years_forward(self):
        self.check_jump(YEARS_S)

    def test_ten_years_back(self):
        self.check_jump(-YEARS_S)

    def test_to_and_fro_while_clients_read(self):
        files = {f"/data/{i}": self.file(f"data/{i}", random.Random(i).randbytes(20 * KIB)) for i in range(300)}
        origin, proxy, stop = self.origin(), self.start(), threading.Event()

        def jump_about():
            while not stop.wait(0.05):
                self.jump(random.choice([0, YEARS_S, -YEARS_S]))

        thread = threading.Thread(target=jump_about)
        thread.start()
        try:
            for seed in range(3):
                self.assertEqual(read_all(proxy.port, origin.host, files, seed, 1), 0)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(len(origin.requests()), len(files))


class OtherImplementations(ProxyLab):
    """Between the stand-ins of tests/support/upstream_standin.py, in each place of a chain."""

    def setUp(self):
        super().setUp()
        self.data = random.Random(4).randbytes(300 * KIB) + bytes(200 * KIB)
        self.digest = self.file("data/plain", self.data)
        self.other = self.data[::-1]  # its proxy takes both forms of one content for the same
        self.file("data/small.zst", self.compressed(self.other))

    @staticmethod
    def compressed(data):
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout

    def downloader(self, port, cookies=None):
        d = upstream_standin.Downloader(port, cookies)
        self.addCleanup(d.close)
        return d

    def upper(self, port=0):
        u = upstream_standin.UpperProxy(port)
        self.addCleanup(u.close)
        return u

    def check_chain(self, downloader, origin):
        """Each form twice, so that once it may come from what is kept."""
        base = f"http://{origin.host}"
        for _ in range(2):
            self.assertEqual(downloader.download(f"{base}/data/plain", self.digest, len(self.data)), self.data)
            self.assertEqual(
                downloader.download(f"{base}/data/small.zst", sha256(self.other), len(self.other), "zst"), self.other)
            self.assertEqual(downloader.download(f"{base}/data/plain"), self.data)
            self.assertEqual(downloader.download(f"{base}/encoded"), self.text)
            self.assertEqual(downloader.download(f"{base}/encoded", sha256(self.text), len(self.text)), self.text)
        with self.assertRaises(upstream_standin.Refused):
            downloader.download(f"{base}/nothing", sha256(b"nothing"))
        self.assertEqual(downloader.download(f"{base}/a%20b", sha256(b"a name")), b"a name")

    def chain_origin(self):
        self.text = b"a text that gets shorter " * 400
        self.file("a b", b"a name")
        return self.origin({"/encoded": [{"body": self.text.decode(), "gzip": True, "etag": '"v1"'}]})

    def test_its_client_behind_ours(self):
        origin, proxy = self.chain_origin(), self.proxy()
        d = self.downloader(proxy.port, {"CloudFront-Policy": "secret", "k2": "v2"})
        self.check_chain(d, origin)
        self.assertEqual(d.n_tries, 12, "nothing had to be asked for again")
        for r in origin.requests():
            self.assertEqual(r["headers"]["cookie"], "CloudFront-Policy=secret; k2=v2")
        self.assertEqual(len(origin.requests("/data/small.zst")), 1)

    def test_its_client_behind_its_proxy_behind_ours(self):
        origin, proxy = self.chain_origin(), self.proxy()
        self.check_chain(self.downloader(self.upper(proxy.port).port), origin)
        self.assertEqual(len(origin.requests("/data/small.zst")), 1)

    def test_its_client_behind_ours_behind_its_proxy(self):
        origin, upper = self.chain_origin(), self.upper()
        proxy = self.proxy("--upper-proxy", f"http://127.0.0.1:{upper.port}")
        self.check_chain(self.downloader(proxy.port, {"k": "v"}), origin)
        self.assertEqual(len(origin.requests("/data/small.zst")), 1)
        control = [r.get("ota-file-cache-control", "") for r in upper.requests if r["target"].endswith("small.zst")]
        self.assertEqual(control, [f"file_sha256={sha256(self.other)},file_compression_alg=zst"])
        for r in upper.requests:
            self.assertTrue(r["target"].startswith(f"http://{origin.host}/"))
            self.assertEqual((r["host"], r["cookie"]), (origin.host, "k=v"))

    def test_retry_caching_mends_an_entry_for_its_client(self):
        origin, proxy = self.chain_origin(), self.proxy()
        d, url = self.downloader(proxy.port), f"http://{origin.host}/data/plain"
        d.download(url, self.digest)
        entry = self.entry(self.digest)
        with open(entry, "r+b") as f:
            f.write(b"as a disk may")
        self.assertEqual(d.download(url, self.digest), self.data)
        self.assertEqual(d.n_tries, 3)
        self.assertEqual(len(origin.requests()), 2)
        # Its flags count by being there, whatever is said of them.
        for n, flag in enumerate(("retry_caching=false", "no_cache=0", "no_cache, use_cache"), 3):
            line = Line(proxy.port)
            answer = line.ask(origin.host, "/data/plain", f"{wanted(self.digest)} , {flag}")
            self.assertEqual((answer[0], answer[2]), (200, self.data))
            self.assertEqual(len(origin.requests()), n, flag)
            line.close()

    def test_an_origin_in_trouble_costs_its_client_only_a_retry(self):
        cut = {"file": "data/plain", "cut_after": 200 * KIB, "ranges": False}
        origin = self.origin({"/data/plain": [{"status": 503}] * 4 + [cut] * 4 + [{"file": "data/plain"}]})
        d = self.downloader(self.proxy().port)
        self.assertEqual(d.download(f"http://{origin.host}/data/plain", self.digest), self.data)
        self.assertGreater(d.n_tries, 1)

    def test_a_body_that_its_proxy_ends_short_never_looks_whole(self):
        cut = {"file": "data/plain", "cut_after": 200 * KIB}
        origin = self.origin({"/data/plain": [cut, {"file": "data/plain"}]})
        proxy = self.proxy("--upper-proxy", f"http://127.0.0.1:{self.upper().port}")
        d = self.downloader(proxy.port)
        self.assertEqual(d.download(f"http://{origin.host}/data/plain", self.digest), self.data)
        self.wait_for_entries(self.digest)

    def test_what_its_proxy_keeps_wrongly_is_never_passed_on(self):
        origin, upper = self.chain_origin(), self.upper()
        proxy = self.proxy("--upper-proxy", f"http://127.0.0.1:{upper.port}")
        field = {"ota-file-cache-control": f"file_sha256={self.digest}"}
        upper.kept[self.digest] = field, b"another content" * 10_000
        d = self.downloader(proxy.port)
        d.TRIES = 2
        with self.assertRaises(upstream_standin.Failed):
            d.try_once(f"http://{origin.host}/data/plain", self.digest, None, None, {"file_sha256": self.digest})
        self.assertEqual(self.entries(), [])
        upper.kept[self.digest] = {"ota-file-cache-control": f"file_sha256={sha256(b'x')}"}, b"x"
        with self.assertRaises(upstream_standin.Failed):
            d.try_once(f"http://{origin.host}/data/plain", self.digest, None, None, {"file_sha256": self.digest})
        self.assertEqual(self.entries(), [])

    def test_its_proxy_may_answer_in_another_form(self):
        origin, upper = self.chain_origin(), self.upper()
        proxy = self.proxy("--upper-proxy", f"http://127.0.0.1:{upper.port}")
        field = {"ota-file-cache-control": f"file_sha256={self.digest},file_compression_alg=zst"}
        upper.kept[self.digest] = field, self.compressed(self.data)
        url = f"http://{origin.host}/data/plain"
        self.assertEqual(self.downloader(proxy.port).download(url, self.digest, len(self.data)), self.data)
        self.wait_for_entries(self.digest + ".zst")
        self.assertEqual(origin.requests(), [])

    def test_a_busy_proxy_above_is_asked_again(self):
        origin, upper = self.chain_origin(), self.upper()
        proxy = self.proxy("--upper-proxy", f"http://127.0.0.1:{upper.port}")
        upper.busy = 2
        d = self.downloader(proxy.port)
        self.assertEqual(d.download(f"http://{origin.host}/data/plain", self.digest), self.data)
        self.assertEqual(d.n_tries, 1)

    def test_its_proxy_does_not_make_signed_metadata_stale(self):
        origin, upper = self.chain_origin(), self.upper()
        proxy = self.proxy("--upper-proxy", f"http://127.0.0.1:{upper.port}")
        d = self.downloader(proxy.port)
        for name in ("metadata.jwt", "index.jwt", "oci-layout"):
            for text in (b"old", b"new"):
                self.file(name, text)
                self.assertEqual(d.download(f"http://{origin.host}/{name}"), text)

    def test_statuses_come_through_both(self):
        origin = self.origin({f"/{n}": [{"status": n}] for n in (401, 403, 404, 410)})
        upper = self.upper()
        lower = self.proxy("--upper-proxy", f"http://127.0.0.1:{upper.port}")
        above = self.upper(lower.port)
        for port in (lower.port, above.port):
            line = Line(port)
            for status in (401, 403, 404, 410):
                self.assertEqual(line.ask(origin.host, f"/{status}")[0], status)
            line.close()
        # Any answer to this is a sign of life.
        for port in (lower.port, above.port):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            c.request("GET", "/")
            self.assertIn(c.getresponse().status, (200, 400))
            c.close()


if __name__ == "__main__":
    syscalls.unshare(syscalls.CLONE_NEWNS)  # before any thread
    syscalls.make_mounts_private()
    unittest.main(verbosity=2)
