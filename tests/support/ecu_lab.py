"""
ecu_lab: everything around one pseudo-ECU, for the demo, the end-to-end tests and the benchmarks: development
certificates, root file systems with the product installed, signed images, an HTTPS server, and the machine itself.

    enter_private()                     # mounts and network of our own: nothing stays behind
    with Lab(Programs(build), work) as lab:
        old, new = lab.install(rootfs + "/old"), lab.install(rootfs + "/new")
        lab.build_image("v2", new)
        with lab.origin() as origin:
            ecu = lab.make_ecu("ecu", old)
            with ecu.on():
                ecu.update("v2", origin.url("v2"))

The programs are the real ones. What of the machine is simulated stands in pseudo_ecu/__init__.py.
"""

import contextlib
import glob
import json
import os
import pickle
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pseudo_ecu import disk, machine, syscalls  # noqa: E402
from tree_list import Entry, differences, list_tree  # noqa: E402

SOURCE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PSEUDO_ECU = os.path.join(SOURCE_ROOT, "tests/support/pseudo-ecu")

ECU_ADDRESS = machine.NET
HOST_ADDRESS = machine.host_address(machine.NET)
PORT = 8443

# What install(slim=True) takes off: a small ECU has neither documentation nor languages nor drivers of others' hardware.
NOT_SLIM = (
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/zoneinfo", "usr/share/vim",
    "usr/share/perl5", "usr/share/bash-completion", "usr/lib/python3.11", "usr/lib/modules/*/kernel/drivers",
    "usr/lib/modules/*/kernel/fs",
)  # fmt: skip

# Whom systemd would start with the machine, and with which target, as the package has it.
ENABLED = {"otaclient.service": "multi-user.target", "otaclient-commit-guard.timer": "sysinit.target"}
UNITS = (*ENABLED, "otaclient-commit-guard.service")

KILL_PROXY = """
for p in /proc/[0-9]*; do
    [ "$(cat $p/comm)" = otaproxy ] && kill -9 ${p#/proc/} && echo killed
done; true
"""

# Written into a slot for the machine that it is on (docs/formats.md); an image cannot say them.
OF_THE_MACHINE = {
    b"/etc/fstab",
    b"/etc/default/grub",
    b"/etc/grub.d/30_ota",
    b"/etc/grub.d/30_uefi-firmware",
    b"/lost+found",
}


class Failed(Exception):
    """A program ended with another status than 0; str() is what it said."""

    def __init__(self, argv, status, said):
        self.status = status
        super().__init__(f"{' '.join(argv)} ended with {status}: {said.strip()}")


def enter_private():
    """Go on in a mount and a network namespace of our own, so that nothing we make can stay behind."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
    syscalls.make_mounts_private()
    run("ip", "link", "set", "lo", "up")


def _die_with_us():
    syscalls.die_with_parent(signal.SIGKILL)


def run(*argv, env=None):
    """A program to its end; returns what it printed."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        raise Failed(argv, done.returncode, done.stderr or done.stdout)
    return done.stdout


class Programs:
    """Where the programs under test are."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.otaclient = f"{self.build}/otaclient/otaclient"
        self.otactl = f"{self.build}/otaclient/otactl"
        self.fetcher = f"{self.build}/otaclient/otaclient-fetcher"
        self.otaproxy = f"{self.build}/otaproxy/otaproxy"
        self.metadata_gen = f"{self.build}/metadata-gen/metadata_gen"


class Origin:
    """nginx, serving a folder over HTTPS and HTTP/2. The log is what it really sent."""

    CONF = """
daemon off;
master_process off;  # one process: a worker would outlive a test that is killed, which ends only the master
user root;
pid {work}/nginx.pid;
error_log {work}/nginx.error;
events {{ worker_connections 256; }}
http {{
	log_format sent '$request_method $status $bytes_sent $server_protocol $request_uri "$http_via"';
	access_log {work}/nginx.access sent;
	client_body_temp_path {work}/nginx.tmp;
	proxy_temp_path {work}/nginx.tmp;
	fastcgi_temp_path {work}/nginx.tmp;
	uwsgi_temp_path {work}/nginx.tmp;
	scgi_temp_path {work}/nginx.tmp;
	sendfile on;
	keepalive_requests 1000000;
	server {{
		listen {listen}:{port} ssl http2;
		ssl_certificate {tls}/server.pem;
		ssl_certificate_key {tls}/server.key;
		root {root};
		location /slow/ {{ alias {root}/; }}
		location ~ ^/slow/(.*/data.*)$ {{ alias {root}/$1; limit_rate 20k; }}
	}}
}}
"""

    def __init__(self, work, root, tls, namespace=None):
        """@namespace: where it serves, to nobody but programs in there; None = here, to all."""
        self.work = work
        self.enter = namespace.enter if namespace else lambda: None
        listen = "127.0.0.1" if namespace else "0.0.0.0"
        self.log = f"{work}/nginx.access"
        with open(f"{work}/nginx.conf", "w", encoding="ascii") as f:
            f.write(self.CONF.format(work=work, root=root, tls=tls, listen=listen, port=PORT))
        argv = ["nginx", "-e", f"{work}/nginx.error", "-p", work, "-c", f"{work}/nginx.conf"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=self._before_exec)
        call = namespace.call if namespace else lambda function: function()
        call(lambda: wait_for("nginx answers", self._answers, 10))

    def _before_exec(self):
        _die_with_us()
        self.enter()

    def _answers(self):
        if self.process.poll() is not None:
            with open(f"{self.work}/nginx.error", encoding="utf-8") as f:
                raise Failed(["nginx"], self.process.returncode, f.read())
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", PORT)).close()
            return True
        return False

    @staticmethod
    def url(name):
        return f"https://{HOST_ADDRESS}:{PORT}/{name}/"

    def slow_url(self, name):
        """The same at 20 kB/s for each content: small ones come at once, large ones take minutes."""
        return self.url(f"slow/{name}")

    def sent(self):
        """Requests answered and bytes sent so far, as the server logged them."""
        with open(self.log, encoding="utf-8") as f:
            lines = [line.split() for line in f]
        return len(lines), sum(int(fields[2]) for fields in lines)

    def requests(self):
        """(path, Via) of each request so far; Via is "-" where none came."""
        with open(self.log, encoding="utf-8") as f:
            return [re.fullmatch(r'(?:\S+ ){4}(\S+) "(.*)"\n', line).groups() for line in f]

    @contextlib.contextmanager
    def held(self):
        """Meanwhile it answers nobody, and what was asked of it stays as it is."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def wait_for(what, condition, timeout_s, poll_s=0.05):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed([what], "a time limit", f"not within {timeout_s} s")
        time.sleep(poll_s)


class Ecu:
    """One machine: its disk, and the programs that talk to it."""

    address = ECU_ADDRESS
    cables = ()  # options of `pseudo-ecu boot`; none = one cable to the host

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        self.disk = lab.path(f"{name}.img")
        self.console = lab.path(f"{name}.console")
        self.events = lab.path(f"{name}.events")  # what pseudo-ecu says: boots, reboots
        self.process = None

    # ---- power

    @contextlib.contextmanager
    def on(self, *options):
        self.switch_on(*options)
        try:
            yield self
        finally:
            self.switch_off()

    def switch_on(self, *options):
        self.begin_to_boot(*options)
        self.wait_until_up()

    def begin_to_boot(self, *options):
        """Without waiting for the daemon, so that several machines start at once."""
        argv = [PSEUDO_ECU, "boot", self.disk, "--console", self.console, *self.cables, *options]
        with open(self.events, "ab") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, preexec_fn=_die_with_us
            )

    def wait_until_up(self):
        try:
            wait_for("the daemon answers", self.answers, 60)
        except Failed as e:
            self.switch_off()
            raise Failed([f"the start of {self.name}"], "no daemon", f"{e}\n{self.tail()}") from e

    def switch_off(self, cut=False):
        """@cut: every process is killed where it is."""
        if self.process is None:
            return
        if self.process.poll() is None:
            run(PSEUDO_ECU, "off", self.disk, *(["--cut"] if cut else []))
        self.process.wait()
        self.process = None

    def boot_with(self, *command):
        """One boot with another program in place of the daemon. Returns the slot that was booted."""
        said = run(PSEUDO_ECU, "boot", self.disk, "--once", "--net", "host", "--", *command)
        with open(self.events, "a", encoding="utf-8") as f:
            f.write(said)
        return self.boots()[-1]

    def boot_in_background(self, *command):
        """The same without waiting for its end; switch_off() ends it."""
        argv = [PSEUDO_ECU, "boot", self.disk, "--once", "--net", "host", "--console", self.console, "--", *command]
        with open(self.events, "ab") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, preexec_fn=_die_with_us
            )
        wait_for("the machine runs", lambda: machine.running(self.disk) is not None, 60)

    def execute(self, *argv):
        return run(PSEUDO_ECU, "exec", self.disk, "--", *argv)

    def has(self, path):
        """Is there such a file on the running machine?"""
        if self.process.poll() is not None:
            raise Failed(["pseudo-ecu", "boot"], self.process.returncode, self.tail())
        return os.path.lexists(f"/proc/{machine.running(self.disk)['pid']}/root{path}")

    def kill_daemon(self):
        self.execute("/bin/sh", "-c", "kill -9 $(cat /run/otaclient.pid)")

    def kill_proxy(self):
        """Returns how many there were."""
        return self.execute("/bin/sh", "-c", KILL_PROXY).count("killed")

    def answers(self):
        if self.process.poll() is not None:
            raise Failed(["pseudo-ecu", "boot"], self.process.returncode, self.tail())
        try:
            return bool(self.status())
        except Failed:
            return False

    def said(self):
        """All that the console has shown so far."""
        with contextlib.suppress(FileNotFoundError):
            with open(self.console, encoding="utf-8", errors="replace") as f:
                return f.read()
        return ""

    def cpu_s(self):
        """Processor time that the machine took from its switching on until it was switched off, over all such times."""
        with open(self.events, encoding="utf-8") as f:
            return sum(float(s) for s in re.findall(r"^pseudo-ecu: took (\S+) s of CPU$", f.read(), re.M))

    def tail(self, n=15):
        said = []
        for path in (self.events, self.console):
            with contextlib.suppress(FileNotFoundError):
                with open(path, encoding="utf-8", errors="replace") as f:
                    said += f.readlines()[-n:]
        return "".join(said)

    def boots(self):
        """The slots that the loader has booted so far: ["slot_a", "slot_b", …]."""
        with open(self.events, encoding="utf-8") as f:
            return re.findall(r"^pseudo-ecu: boot .* root on (slot_[ab])$", f.read(), re.M)

    def booted_at(self):
        """When each of them began, by the monotonic clock."""
        with open(self.events, encoding="utf-8") as f:
            return [float(s) for s in re.findall(r"^pseudo-ecu: power at (\S+)$", f.read(), re.M)]

    def remove(self):
        self.switch_off(cut=True)
        os.unlink(self.disk)

    # ---- API

    def otactl(self, *args):
        return run(self.lab.programs.otactl, "--ecu", self.address, *args)

    def status(self):
        """The entry of this ECU in the API's answer."""
        return json.loads(self.otactl("--json", "status").splitlines()[-1])["ecus"][0]

    def update(self, version, url, wait=True):
        try:
            return self.otactl("update", "--version", version, "--url", url, *(["--wait"] if wait else []))
        except Failed as e:
            raise Failed(["otactl", "update"], e.status, f"{e}\n{self.tail(40)}") from e

    # ---- disk of a machine that is off

    def look(self, *argv):
        return run(PSEUDO_ECU, "look", self.disk, "--", *argv)

    def list_slot(self, role):
        """What is in a slot, as tree_list lists it."""
        script = (
            "import os, pickle, sys, tree_list\n"
            "with open(sys.argv[2], 'wb') as f:\n"
            "    pickle.dump({p: tuple(e) for p, e in tree_list.list_tree(os.environ[sys.argv[1]]).items()}, f)\n"
        )
        out = self.lab.path(f"{self.name}.{role}.list")
        env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), "PYTHONDONTWRITEBYTECODE": "1"}
        run(PSEUDO_ECU, "look", self.disk, "--", sys.executable, "-c", script, role.upper(), out, env=env)
        with open(out, "rb") as f:
            return {path: Entry(*fields) for path, fields in pickle.load(f).items()}

    def differences(self, tree, role):
        """
        In what a slot differs from the tree that it was made from, as readable lines. What an update writes into a
        slot for its machine is left out: fstab, GRUB's defaults and hooks, our notes; and what its own proxy keeps.
        """
        want, have = dict(self.lab.listing(tree)), self.list_slot(role)
        for listing in (want, have):
            for path in list(listing):
                if path in OF_THE_MACHINE or path.startswith((b"/.ota-", b"/ota-cache")):
                    del listing[path]
        parents = {os.path.dirname(path) for path in OF_THE_MACHINE} | {b"/"}
        return differences(want, have, ignore_mtime_of=parents)

    def check_disk(self):
        run(PSEUDO_ECU, "fsck", self.disk)

    def written_kib(self, role):
        """KiB ever written to the file system of a slot, by its superblock; starts at 0 with mkfs."""
        part = next(p for p in disk.partitions_of(self.disk) if p.role == role)
        with open(self.disk, "rb") as f:
            f.seek(part.start + 1024 + 0x178)
            return struct.unpack("<Q", f.read(8))[0]


class Lab:
    """A working folder, and what is in it."""

    def __init__(self, programs, work):
        self.programs = programs
        self.work = os.path.abspath(work)
        os.makedirs(self.path("images"), exist_ok=True)
        self.overlays = 0
        self.vehicles = 0
        self.listings = {}
        self.bases = {}  # (tree, options of `pseudo-ecu make`): image of a fresh machine that is never switched on

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for n in range(self.overlays):
            subprocess.run(["umount", "-R", "-l", self.path(f"tree{n}")], check=False)
        shutil.rmtree(self.work)

    def path(self, *names):
        return os.path.join(self.work, *names)

    # ---- certificates

    def certs(self):
        """A development chain for images."""
        folder = self.path("certs")
        if not os.path.exists(folder):
            run(f"{SOURCE_ROOT}/certs/make-dev-certs", folder)
        return folder

    def tls(self):
        """A CA of our own and a certificate for the server: ca.pem, server.pem, server.key."""
        folder = self.path("tls")
        if os.path.exists(folder):
            return folder
        os.mkdir(folder)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        ca = ["-subj", "/CN=demo origin CA", "-addext", "basicConstraints=critical,CA:TRUE"]
        run("openssl", "req", "-x509", *key, *ca, "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem")
        run(
            "openssl", "req", "-x509", *key, "-subj", "/CN=demo origin",
            "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key",
            "-addext", f"subjectAltName=IP:{HOST_ADDRESS}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.pem",
        )  # fmt: skip
        return folder

    # ---- root file systems and images

    def install(self, rootfs, slim=False):
        """
        A root file system with our daemon installed: an overlay, the given folder stays as it is. Returns its path.
        @slim: without what takes most of the files, for tests of what does not depend on their number.
        """
        top = self.path(f"tree{self.overlays}")
        self.overlays += 1
        os.mkdir(top)
        syscalls.mount("tmpfs", top, "tmpfs", 0, "mode=0755")
        for name in ("upper", "work", "root"):
            os.mkdir(f"{top}/{name}")
        layers = f"lowerdir={rootfs},upperdir={top}/upper,workdir={top}/work"
        root = f"{top}/root"
        syscalls.mount("overlay", root, "overlay", 0, layers)
        for folder in NOT_SLIM if slim else ():
            for path in glob.glob(folder, root_dir=root):
                shutil.rmtree(f"{root}/{path}")
        self._add_product(root)
        return root

    @staticmethod
    def uninstall(root):
        """Give back what install() has made."""
        subprocess.run(["umount", "-R", "-l", os.path.dirname(root)], check=True)

    def _add_product(self, root):
        files = [
            (self.programs.otaclient, "/usr/bin/otaclient", 0o755),
            (self.programs.otactl, "/usr/bin/otactl", 0o755),
            (self.programs.otaproxy, "/usr/bin/otaproxy", 0o755),
            (self.programs.fetcher, "/usr/libexec/otaclient-fetcher", 0o755),
            (f"{SOURCE_ROOT}/systemd/otaclient.sysusers", "/usr/lib/sysusers.d/otaclient.conf", 0o644),
            *((f"{SOURCE_ROOT}/systemd/{unit}", f"/usr/lib/systemd/system/{unit}", 0o644) for unit in UNITS),
            (f"{self.certs()}/dev.root.pem", "/opt/ota/client/certs/dev.root.pem", 0o644),
            (f"{self.certs()}/dev.interm.pem", "/opt/ota/client/certs/dev.interm.pem", 0o644),
            (f"{self.tls()}/ca.pem", "/etc/otaclient/origin-ca.pem", 0o644),
        ]
        for source, target, mode in files:
            os.makedirs(os.path.dirname(root + target), exist_ok=True)
            shutil.copyfile(source, root + target)
            os.chmod(root + target, mode)
        with open(f"{root}/etc/otaclient/otaclient.yaml", "w", encoding="ascii") as f:
            f.write("tls_ca: /etc/otaclient/origin-ca.pem\nupdate_cooldown_s: 0\n")
        for unit, target in ENABLED.items():
            wants = f"{root}/etc/systemd/system/{target}.wants"
            os.makedirs(wants, exist_ok=True)
            os.symlink(f"/usr/lib/systemd/system/{unit}", f"{wants}/{unit}")
        run("chroot", root, "/usr/bin/systemd-sysusers", "otaclient.conf")
        # Opened for writing it became a copy in the overlay, whose identity may change once more; nobody needs it.
        os.unlink(f"{root}/etc/.pwd.lock")

    def build_image(self, name, tree, *options):
        certs = self.certs()
        run(
            self.programs.metadata_gen, "build", "--rootfs", tree, "--output", self.path("images", name),
            "--sign-key", f"{certs}/sign.key", "--cert", f"{certs}/sign.pem", *options,
        )  # fmt: skip
        return self.path("images", name)

    def inspect(self, name):
        return json.loads(run(self.programs.metadata_gen, "inspect", "--json", self.path("images", name)))

    def listing(self, tree):
        """What is in a tree that does not change any more, as tree_list lists it: that takes a second of processor time."""
        if tree not in self.listings:
            self.listings[tree] = list_tree(tree)
        return self.listings[tree]

    # ---- server and machine

    @contextlib.contextmanager
    def origin(self, namespace=None):
        origin = Origin(self.work, self.path("images"), self.tls(), namespace)
        try:
            yield origin
        finally:
            origin.stop()

    def make_ecu(self, name, tree, *options, proxy_info="enable_local_ota_proxy: false\n"):
        """
        A fresh machine with @tree, as it was the first time, in slot A. @options: pairs, as `pseudo-ecu make` has them.
        """
        pairs = list(zip(options[::2], options[1::2]))
        own = [word for pair in pairs if pair[0] == "--file" for word in pair]
        shape = [word for pair in pairs if pair[0] != "--file" for word in pair]
        files = {
            "ecu_info.yaml": f"format_version: 1\necu_id: {name}\nip_addr: {ECU_ADDRESS}\nbootloader: grub\n",
            "proxy_info.yaml": proxy_info,
        }
        self.clone_disk(name, files, tree, shape, *own)
        return Ecu(self, name)

    def clone_disk(self, name, files, tree, shape, *options):
        """A disk as `pseudo-ecu make` makes it; a copy of the first one, since making takes ten times as long."""
        key = (tree, *shape)
        if key not in self.bases:
            base = f"base{len(self.bases)}"
            self.make_disk("make", base, {}, "--rootfs", tree, *shape)
            self.bases[key] = self.path(f"{base}.img")
        self.make_disk("clone", name, files, "--from", self.bases[key], *options)

    def make_disk(self, verb, name, files, *options):
        """`pseudo-ecu make` or `pseudo-ecu clone`. @files: names in /boot/ota of the machine, and what is in them."""
        argv = [PSEUDO_ECU, verb, self.path(f"{name}.img"), *options]
        for file, text in files.items():
            with open(self.path(f"{name}.{file}"), "w", encoding="ascii") as f:
                f.write(text)
            argv += ["--file", f"{self.path(f'{name}.{file}')}:/boot/ota/{file}"]
        run(*argv)
