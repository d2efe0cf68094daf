#!/usr/bin/env python3
"""The real otaproxy on the loopback: each byte is fetched once, nothing wrong is ever whole, and no kill makes it so.

The origin is tests/support/http_origin.py, which misbehaves by script. Readers are Python's own HTTP client. No root needed.
"""

import concurrent.futures
import http.client
import os
import random
import re
import signal
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from proxy_lab import MIB, OTAPROXY, Proxy, ProxyLab, sha256, wait_for  # noqa: E402

CLIENTS = 6


class ProxyTest(ProxyLab):
    # ---- once is enough

    def many_files(self, n):
        r = random.Random(3)
        files = {}
        for i in range(n):
            data = b"%d" % i * bool(i) + r.randbytes(r.choice([0, 700, 5000, 20000, 70000, 200000]) * bool(i))  # 0: empty
            files[f"/data/{i}"] = (self.file(f"data/{i}", data), data)
        return files

    def fetch_all(self, proxy, origin, files, seed, survive=False):
        """All files in an order of one's own, over one connection; with @survive a broken one is asked for again."""
        paths = list(files)
        random.Random(seed).shuffle(paths)
        connection = proxy.connect()
        for path in paths:
            digest, data = files[path]
            for _ in range(400 if survive else 1):
                try:
                    status, _, body = proxy.ask(origin.host, path, digest, connection=connection)
                    if status == 200 or not survive:
                        break
                except (OSError, http.client.HTTPException):
                    if not survive:
                        raise
                connection.close()
                time.sleep(0.05)  # the proxy may be starting anew
                connection = proxy.connect()
            self.assertEqual((status, body), (200, data), path)
        connection.close()

    def test_six_clients_at_once_cost_each_byte_once(self):
        origin, proxy, files = self.origin(), None, self.many_files(300)
        proxy = self.proxy()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            for f in [pool.submit(self.fetch_all, proxy, origin, files, i) for i in range(CLIENTS)]:
                f.result()
        self.assertEqual(sorted(r["path"] for r in origin.requests()), sorted(files))
        self.assertEqual(proxy.counter("origin_received_bytes"), sum(len(data) for _, data in files.values()))

    def test_a_kill_in_the_middle_costs_nothing_that_was_kept(self):
        origin, files = self.origin(), self.many_files(400)
        proxy = self.proxy()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(self.fetch_all, proxy, origin, files, i, True) for i in range(CLIENTS)]
            wait_for(lambda: len(self.entries()) > 150, "half of the files in the cache")
            proxy.end(signal.SIGKILL)
            kept = set(self.entries())
            asked = len(origin.requests())
            proxy.start()
            for f in futures:
                f.result()
        again = {sha256(files[r["path"]][1]) for r in origin.requests()[asked:]}
        self.assertLess(len(kept & again), 3, "what was kept was fetched again")
        self.assertGreater(len(kept), 100)

    def test_an_origin_that_cuts_is_asked_for_the_rest(self):
        data = bytes(i % 251 for i in range(2 * MIB))
        digest = self.file("data/x", data)
        cut = {"size": 2 * MIB, "ranges": True, "etag": '"v1"', "cut_after": 700_000}
        origin = self.origin({"/data/x": [cut, cut, {"size": 2 * MIB, "ranges": True, "etag": '"v1"'}]})
        proxy = self.proxy()
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], data)
        self.assertEqual([("range" in r["headers"]) for r in origin.requests()], [False, True, True])
        self.assertEqual(proxy.counter("origin_received_bytes"), len(data))

    def test_an_origin_that_only_cuts_never_looks_whole(self):
        origin = self.origin({"*": [{"size": MIB, "cut_after": 300_000}]})
        proxy = self.proxy()
        for path, digest in (("/x", None), ("/data/y", sha256(bytes(i % 251 for i in range(MIB))))):
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
                proxy.ask(origin.host, path, digest)
        self.assertEqual(self.entries(), [])

    # ---- nothing wrong is ever whole

    def assert_refused(self, proxy, origin, path, digest, alg=None):
        """No client sees a whole answer."""
        try:
            status, _, _ = proxy.ask(origin.host, path, digest, alg)
            self.assertGreaterEqual(status, 500)
        except (http.client.HTTPException, ConnectionError):
            pass
        self.assertEqual(self.entries(), [])

    def test_a_lie_about_the_digest_is_never_completed_nor_kept(self):
        for size in (0, 10, 64 * 1024, 3 * MIB):
            self.file(f"data/{size}", random.Random(size).randbytes(size))
        origin, proxy = self.origin(), self.proxy()
        for size in (0, 10, 64 * 1024, 3 * MIB):
            self.assert_refused(proxy, origin, f"/data/{size}", sha256(b"another content"))
        self.assertEqual(proxy.counter("rejected_bodies"), 4)

    def test_a_lie_about_the_digest_is_no_outage(self):
        """Which is what 502 says, and what clients sit out."""
        self.file("data/x", b"something")
        origin, upper = self.origin(), self.proxy()
        lower = self.proxy("--no-cache", "--upper-proxy", f"http://127.0.0.1:{upper.port}")
        for proxy in (upper, lower):
            status, _, body = proxy.ask(origin.host, "/data/x", sha256(b"another"))
            self.assertEqual(status, 500)
            self.assertIn("The body is not what its digest ", body.decode())

    def test_a_lie_about_the_compression_is_never_completed_nor_kept(self):
        data = b"not compressed at all " * 50_000
        digest = self.file("data/x", data)
        frame = subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout
        self.file("data/x.zst", frame)
        self.file("data/bad.zst", frame[:-10])
        origin, proxy = self.origin(), self.proxy()
        self.assert_refused(proxy, origin, "/data/x", digest, "zst")
        self.assert_refused(proxy, origin, "/data/x.zst", digest)
        self.assert_refused(proxy, origin, "/data/bad.zst", digest, "zst")
        status, headers, body = proxy.ask(origin.host, "/data/x.zst", digest, "zst")
        self.assertEqual((status, body), (200, frame))
        self.assertEqual(headers["ota-file-cache-control"], f"file_sha256={digest},file_compression_alg=zst")
        self.wait_for_entries(digest + ".zst")

    def test_a_bomb_costs_no_memory(self):
        bomb = subprocess.run("head -c 3G /dev/zero | zstd -q -c", shell=True, capture_output=True, check=True).stdout
        self.file("data/bomb.zst", bomb)
        origin, proxy = self.origin(), self.proxy()
        self.assert_refused(proxy, origin, "/data/bomb.zst", sha256(b""), "zst")
        with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as f:
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1])
        self.assertLess(peak, 64 << 10, "KiB at most")

    def test_names_of_signed_metadata_are_always_asked_for(self):
        origin, proxy = self.origin(), self.proxy()
        for name in ("metadata.jwt", "index.jwt", "oci-layout"):
            self.file(name, b"old")
            self.assertEqual(proxy.ask(origin.host, "/" + name)[2], b"old")
            self.file(name, b"new")
            self.assertEqual(proxy.ask(origin.host, "/" + name)[2], b"new")
        self.assertEqual(self.entries(), [])

    def test_what_has_no_digest_is_asked_whether_it_is_still_right(self):
        self.file("list.txt", b"first")
        origin, proxy = self.origin(), self.proxy()
        for wanted in (b"first", b"first", b"second", b"second"):
            if wanted == b"second":
                self.file("list.txt", wanted)
            self.assertEqual(proxy.ask(origin.host, "/list.txt")[2], wanted)
        # This origin knows no conditions: each time it was asked, and what it said counted.
        self.assertEqual(len(origin.requests("/list.txt")), 4)

    def test_retry_caching_replaces_an_entry(self):
        digest = self.file("data/x", b"right bytes")
        origin, proxy = self.origin(), self.proxy()
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], b"right bytes")
        self.wait_for_entries(digest)
        path = self.entry(digest)
        with open(path, "r+b") as f:
            f.write(b"WRONG")  # as a disk may
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], b"WRONG bytes")
        value = f"retry_caching,file_sha256={digest}"
        self.assertEqual(proxy.ask(origin.host, "/data/x", headers={"ota-file-cache-control": value})[2], b"right bytes")
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], b"right bytes")
        self.assertEqual(len(origin.requests()), 2)

    def test_retry_caching_drops_both_forms_of_a_content(self):
        digest = self.file("data/x", b"right bytes")
        with open(os.path.join(self.root, "data/x.zst"), "wb") as f:
            f.write(subprocess.run(["zstd", "-q", "-c", os.path.join(self.root, "data/x")], check=True,
                                   capture_output=True).stdout)
        origin, proxy = self.origin(), self.proxy()
        for path, alg in (("/data/x", None), ("/data/x.zst", "zst")):
            self.assertEqual(proxy.ask(origin.host, path, digest, alg)[0], 200)
        self.wait_for_entries(digest, digest + ".zst")
        value = f"retry_caching,file_sha256={digest}"
        self.assertEqual(proxy.ask(origin.host, "/data/x", headers={"ota-file-cache-control": value})[2], b"right bytes")
        self.wait_for_entries(digest)

    # ---- after a power cut

    def test_entries_of_another_boot_are_hashed_before_their_first_use(self):
        good, bad = self.file("data/good", b"good" * 30_000), self.file("data/bad", b"bad!" * 30_000)
        origin, proxy = self.origin(), self.proxy()
        for name, digest in (("good", good), ("bad", bad)):
            proxy.ask(origin.host, f"/data/{name}", digest)
        proxy.end()
        boot, = [n for n in os.listdir(self.cache + "/v1") if n != "tmp"]
        other = "0" * 8 + boot[8:]
        os.rename(f"{self.cache}/v1/{boot}", f"{self.cache}/v1/{other}")
        with open(f"{self.cache}/v1/{other}/{bad}", "r+b") as f:
            f.truncate(4096 * 3)  # what was not written when the power went
        proxy.start()
        self.assertEqual(proxy.ask(origin.host, "/data/good", good)[2], b"good" * 30_000)
        self.assertEqual(proxy.ask(origin.host, "/data/bad", bad)[2], b"bad!" * 30_000)
        self.assertEqual([r["path"] for r in origin.requests()], ["/data/good", "/data/bad", "/data/bad"])
        self.wait_for_entries(good, bad)
        self.assertEqual(sorted(os.listdir(f"{self.cache}/v1/{boot}")), sorted([good, bad]))

    def test_an_external_cache_is_used_and_not_believed(self):
        external = os.path.join(self.work, "usb")
        os.makedirs(external + "/data")
        right, wrong = b"from the outside" * 5000, b"changed there" * 5000
        digests = self.file("data/right", right), self.file("data/wrong", wrong)
        for digest, data in zip(digests, (right, b"something else")):
            with open(f"{external}/data/{digest}", "wb") as f:
                f.write(data)
        origin, proxy = self.origin(), self.proxy("--external", external)
        self.assertEqual(proxy.ask(origin.host, "/data/right", digests[0])[2], right)
        self.assertEqual(proxy.ask(origin.host, "/data/wrong", digests[1])[2], wrong)
        self.assertEqual([r["path"] for r in origin.requests()], ["/data/wrong"])

    def test_of_two_external_caches_each_has_its_say_and_a_third_is_too_many(self):
        folders = [os.path.join(self.work, name) for name in ("usb", "nfs")]
        contents = [b"on the disk" * 5000, b"on the server" * 5000]
        options = []
        for folder, data in zip(folders, contents):
            os.makedirs(folder + "/data")
            with open(f"{folder}/data/{sha256(data)}", "wb") as f:
                f.write(data)
            options += ["--external", folder]
        origin, proxy = self.origin(), self.proxy(*options)
        for data in contents:
            self.assertEqual(proxy.ask(origin.host, "/data/gone", sha256(data))[2], data)
        self.assertEqual(origin.requests(), [])
        done = subprocess.run([OTAPROXY, *options, "--external", "/mnt"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, 'otaproxy: there is one --external too many, "/mnt"; see otaproxy --help\n')

    def test_a_huge_external_file_holds_up_nobody_and_fills_no_disk(self):
        external = os.path.join(self.work, "usb")
        os.makedirs(external + "/data")
        huge = self.file("data/huge", b"what the server has")
        with open(f"{external}/data/{huge}", "wb") as f:
            f.truncate(4 << 30)
        digests = [self.file(f"data/{i}", b"%d" % i * 1000) for i in range(5)]
        origin, proxy = self.origin(), self.proxy("--external", external)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(proxy.ask, origin.host, "/data/huge", huge)
            for i, digest in enumerate(digests):
                began = time.monotonic()
                self.assertEqual(proxy.ask(origin.host, f"/data/{i}", digest)[2], b"%d" % i * 1000)
                self.assertLess(time.monotonic() - began, 3)
            self.assertEqual(asked.result(20)[2], b"what the server has")
            wait_for(lambda: os.listdir(f"{self.cache}/v1/tmp") == [], "no copy is left")
        digest = sha256(b"another")
        os.rename(f"{external}/data/{huge}", f"{external}/data/{digest}")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(proxy.ask, origin.host, "/data/huge", digest)
            wait_for(lambda: os.listdir(f"{self.cache}/v1/tmp"), "a copy")
            began = time.monotonic()
            self.assertEqual(proxy.end(), 0)
            self.assertLess(time.monotonic() - began, 2)

    def test_an_external_cache_that_is_not_there_is_done_without(self):
        data = b"only there"
        digest = self.file("data/x", data)
        origin, proxy = self.origin(), self.proxy("--external", self.work + "/none")
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], data)
        self.assertIn(f"Cannot open the external cache {self.work}/none: No such file or directory", "".join(proxy.lines))

    def test_foreign_files_of_the_folder_are_never_served(self):
        data = b"the right content"
        digest = self.file("data/x", data)
        os.makedirs(self.cache)
        with open(f"{self.cache}/{digest}", "wb") as f:
            f.write(b"left by another program")
        origin, proxy = self.origin(), self.proxy()
        self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], data)

    # ---- chains

    def test_an_upper_proxy_by_tls_is_wrong_usage(self):
        done = subprocess.run([OTAPROXY, "--upper-proxy", "https://10.0.0.1"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, "otaproxy: the upper proxy must be http://host:port, not \"https://10.0.0.1\"; see "
                                      "otaproxy --help\n")

    def test_a_proxy_behind_a_proxy_fetches_through_it(self):
        data = random.Random(1).randbytes(MIB)
        digest = self.file("data/x", data)
        origin, upper = self.origin(), self.proxy()
        lower = Proxy(os.path.join(self.work, "lower"), "--upper-proxy", f"HTTP://127.0.0.1:{upper.port}/")
        self.addCleanup(lower.end)
        for _ in range(2):
            self.assertEqual(lower.ask(origin.host, "/data/x", digest)[2], data)
        self.assertEqual(len(origin.requests()), 1)
        self.assertEqual(upper.counter("cache_misses"), 1)
        self.assertEqual(lower.counter("cache_hits"), 1)

    def test_without_a_cache_everything_passes_through(self):
        data = random.Random(2).randbytes(5 * MIB)
        digest = self.file("data/x", data)
        origin, proxy = self.origin(), self.proxy("--no-cache")
        for _ in range(2):
            self.assertEqual(proxy.ask(origin.host, "/data/x", digest)[2], data)
        self.assertEqual(len(origin.requests()), 2)
        self.assertFalse(os.path.exists(self.cache))

    # ---- ends

    def test_it_ends_while_clients_wait(self):
        origin = self.origin({"*": [{"size": MIB, "stall_after": 1000}]})
        proxy = self.proxy()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(proxy.ask, origin.host, f"/{i % 2}", sha256(b"x")) for i in range(CLIENTS)]
            wait_for(lambda: len(origin.requests()) == 2, "two requests at the origin")
            self.assertEqual(proxy.end(), 0)
            for f in futures:
                self.assertIsInstance(f.exception() or f.result()[0] >= 500, (Exception, bool))

    def test_wipe_empties_the_folder(self):
        digest = self.file("data/x", b"content")
        origin, proxy = self.origin(), self.proxy()
        proxy.ask(origin.host, "/data/x", digest)
        proxy.end()
        subprocess.run([OTAPROXY, "--wipe", "--cache-dir", self.cache], check=True)
        self.assertEqual(self.entries(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
