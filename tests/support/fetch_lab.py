"""fetch_lab: a small signed image, and the daemon's fetching of it (tests/support/fetch_driver.c), for network tests.

Programs come from the environment: METADATA_GEN, FETCH_DRIVER, MAKE_DEV_CERTS (meson sets them). No root.

    with FetchLab() as lab:
        with lab.origin() as origin, lab.driver("--retry-ms", "1") as driver:
            outcome = driver.fetch(origin.url)
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

SUPPORT = os.path.dirname(os.path.abspath(__file__))
IMAGE = "img"


def noise(size, seed):
    return hashlib.shake_256(seed.encode()).digest(size)


class Outcome:
    """What came of one fetch: .ok, else .code ("E101") and .sentence; .stored: names of complete contents; .seconds."""

    def __init__(self, line, stored, seconds):
        self.line, self.stored, self.seconds = line.rstrip("\n"), stored, seconds
        self.ok = line.startswith("ok ")
        self.code = None if self.ok else line.split(" ")[0]
        self.sentence = "" if self.ok else self.line.partition(": ")[2]

    def __str__(self):
        return f"{self.line} ({len(self.stored)} contents, {self.seconds:.1f} s)"


class Origin:
    """tests/support/http_origin.py, serving the image below url."""

    def __init__(self, lab, script=None, tls=None, options=()):
        self.log_name = tempfile.mktemp(prefix="log.", dir=lab.work)
        args = ["--root", lab.path("www"), "--log", self.log_name, *options]
        if script is not None:
            args += ["--script", json.dumps(script)]
        if tls:
            args += ["--cert", lab.path(tls + ".pem"), "--key", lab.path(tls + ".key")]
        self.process = subprocess.Popen([sys.executable, os.path.join(SUPPORT, "http_origin.py"), *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.scheme = "https" if tls else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}/{IMAGE}"

    def requests(self):
        with open(self.log_name, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def forget_requests(self):
        os.truncate(self.log_name, 0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()


class Driver:
    """One fetch_driver; it fetches one image after the other, each within limit_s."""

    def __init__(self, lab, *options, program=None, limit_s=60, env=None):
        """@env: variables besides our own."""
        self.lab, self.limit_s = lab, limit_s
        self.process = subprocess.Popen([program or os.environ["FETCH_DRIVER"], "--certs", lab.path("certs"), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={**os.environ, **(env or {})})
        self.store = tempfile.mkdtemp(prefix="store.", dir=lab.work)

    def begin(self, url):
        shutil.rmtree(self.store)
        os.mkdir(self.store)
        self.started = time.monotonic()
        self.process.stdin.write(f"{url}\t{self.store}\n")
        self.process.stdin.flush()

    def end(self):
        """The outcome. What is in the store is right, and there is nothing beside it."""
        watchdog = threading.Timer(self.limit_s, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        seconds = time.monotonic() - self.started
        assert line, f"no end after {seconds:.0f} s: {self.process.stderr.read()}"
        return Outcome(line, self.lab.check_store(self.store, line.startswith("ok ")), seconds)

    def fetch(self, url):
        self.begin(url)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.wait(timeout=self.limit_s)
        said = self.process.stderr.read()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        assert "Sanitizer" not in said and "runtime error:" not in said, said


class FetchLab:
    def __init__(self, files=None):
        """@files: contents by name; small by default."""
        self.files = files or {"etc/plain": noise(700, "plain"), "etc/empty": b"", "etc/hosts": b"localhost\n" * 90,
                               "usr/blob": noise(1500, "blob")}
        self.work = tempfile.mkdtemp(prefix="fetch-lab.")
        self.stack = contextlib.ExitStack()

    def path(self, *names):
        return os.path.join(self.work, *names)

    def __enter__(self):
        self.stack.callback(shutil.rmtree, self.work, ignore_errors=True)
        try:
            subprocess.run([os.environ["MAKE_DEV_CERTS"], self.path("certs")], check=True, capture_output=True)
            self.make_image()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def make_image(self):
        tree = self.path("tree")
        for name, data in self.files.items():
            os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
            with open(os.path.join(tree, name), "wb") as f:
                f.write(data)
        os.makedirs(self.path("www"))
        with open(self.path("persistents"), "w", encoding="utf-8") as f:
            f.write("'/etc/plain'\n")
        subprocess.run([os.environ["METADATA_GEN"], "build", "--rootfs", tree, "--output", self.path("www", IMAGE),
                        "--sign-key", self.path("certs", "sign.key"), "--cert", self.path("certs", "sign.pem"),
                        "--persistents", self.path("persistents")], check=True, capture_output=True)
        self.digests = {hashlib.sha256(data).hexdigest() for data in self.files.values()}

    def image_file(self, name):
        return self.path("www", IMAGE, name)

    def make_tls(self, name="tls", subject_alt="IP:127.0.0.1", days=2, ca=True):
        """A self-signed server certificate, <name>.pem and .key. @days may be negative: it has expired."""
        end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))
        begin = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 40 * 86400))
        with open(self.path(name + ".cnf"), "w", encoding="utf-8") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.path(name + '.db')}\n"
                    f"serial={self.path(name + '.serial')}\nnew_certs_dir={self.work}\n"
                    f"default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
                    f"[x]\nbasicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}\nsubjectAltName={subject_alt}\n"
                    "[req]\ndistinguished_name=n\n[n]\n")
        open(self.path(name + ".db"), "w", encoding="utf-8").close()
        with open(self.path(name + ".serial"), "w", encoding="utf-8") as f:
            f.write("01\n")
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=origin", "-config", self.path(name + ".cnf"), "-keyout", self.path(name + ".key"),
                        "-out", self.path(name + ".csr")], check=True, capture_output=True)
        subprocess.run(["openssl", "ca", "-batch", "-selfsign", "-keyfile", self.path(name + ".key"), "-config",
                        self.path(name + ".cnf"), "-extensions", "x", "-startdate", begin, "-enddate", end, "-notext",
                        "-in", self.path(name + ".csr"), "-out", self.path(name + ".pem")], check=True,
                       capture_output=True)
        return self.path(name + ".pem")

    def origin(self, script=None, tls=None, options=()):
        """@script: answers by path below the image."""
        full = None if script is None else {p if p == "*" else f"/{IMAGE}/{p}": a for p, a in script.items()}
        return Origin(self, full, tls, options)

    def driver(self, *options, **more):
        return Driver(self, *options, **more)

    def check_store(self, folder, complete):
        names = set(os.listdir(folder))
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                assert hashlib.sha256(f.read()).hexdigest() == name, f"{name} is not what it is called"
        assert names == self.digests if complete else names <= self.digests, (names, self.digests)
        return names
