"""
workshop: what machines are made from, and keeps it: the Debian (make-tree), our packages, certificates, signed images,
and for each layout the disk of a machine on which otaclient has been installed as docs/install.md says.

    shop = Workshop(Programs(build))
    shop.disk("bios")         # path of a disk, to be copied
    shop.tree                 # a root file system with the product, as an image has it
    shop.image("v2")          # path of an image

All is below /var/cache/otaclient-vm, in folders whose names are digests of all that went in, so what fits is taken and the
rest is made again. One process makes, others wait. What nobody has used for a day is removed.
"""

import contextlib
import fcntl
import glob
import hashlib
import inspect
import os
import shutil
import subprocess
import sys
import time

import document
from ecu_lab import SOURCE_ROOT, Failed, run
from machine import Machine
from pseudo_ecu import syscalls

CACHE = os.environ.get("OTACLIENT_VM", "/var/cache/otaclient-vm")
HERE = os.path.dirname(os.path.abspath(__file__))
# What the packages depend on; tests and most documents are not among it.
PACKAGE_SOURCES = {
    "boot-controllers", "certs", "common", "debian", "ecu_info.yaml.example", "meson.build", "metadata-gen", "otaclient",
    "otaclient.yaml.example", "otaproxy", "proto", "proxy_info.yaml.example", "systemd",
}  # fmt: skip
KEEP_S = 24 * 3600  # what nobody has used for so long is removed
ECU_ADDRESS = "10.0.2.15"
HOST_ADDRESS = "10.0.2.2"
PORT = 8080

INSTALLER = r"""
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap 'echo "<installer: failed>"; echo o >/proc/sysrq-trigger; sleep 100' EXIT
set -ex
mount -t tmpfs tmpfs /tmp
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
{disk}
cp -ax /. /mnt
{system}
sync
echo "<installer: done>"
echo o >/proc/sysrq-trigger
sleep 100
"""

# `editor` stands for the person who says which ECU it is.
FIRST_START = r"""
set -e
cd /root
for f in {files}; do curl -sSf -O http://{host}:{port}/{folder}/$f; done
editor() {{ sed -i -e 's/^ecu_id:.*/ecu_id: vm/' -e 's/^ip_addr:.*/ip_addr: {address}/' "$1"; }}
systemctl() {{ command systemctl --no-pager "$@"; }}
{commands}
rm {files}
sync
"""


def _digest(*paths, text=""):
    """Of the contents of files and folders."""
    digest = hashlib.sha256(text.encode())
    for path in paths:
        names = [path] if os.path.isfile(path) else sorted(
            os.path.join(d, f) for d, _, files in os.walk(path) for f in files if "__pycache__" not in d)
        for name in names:
            with open(name, "rb") as f:
                digest.update(os.path.relpath(name, SOURCE_ROOT).encode() + b"\0" + f.read())
    return digest.hexdigest()[:16]


def in_root(root, *argv):
    """A program in a root file system, without network; what it mounts goes with it."""
    run(os.path.join(SOURCE_ROOT, "tests/support/private-mounts"), "unshare", "--net", "sh", "-ec",
        'root=$1; shift; mount -t proc proc "$root/proc"; mount -t tmpfs tmpfs "$root/run";'
        ' mount --bind /dev "$root/dev"; exec chroot "$root" "$@"', "sh", root,
        "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *argv)  # fmt: skip


class Workshop:
    def __init__(self, programs, debian, shelves=None, say=print):
        """@debian: what make-tree has printed. @shelves: those of another workshop, whatever the sources have become."""
        self.programs = programs
        self.say = say
        self.debian = debian
        stamp = os.path.basename(os.path.dirname(debian))
        steps = [INSTALLER, FIRST_START, *(document.commands(section, layout) for layout in ("bios", "uefi")
                                           for section in ("disk", "system", "otaclient"))]  # fmt: skip
        sources = [os.path.join(SOURCE_ROOT, n) for n in sorted(os.listdir(SOURCE_ROOT)) if n in PACKAGE_SOURCES]
        self.shelves = shelves or f"{_digest(*sources)} {_digest(text=stamp + ''.join(steps))}"
        packages, installed = self.shelves.split()
        # Three shelves: one depends on our sources, one on the Debian and the document, and one on both.
        self.packages = self._shelf(f"packages-{packages}")
        self.installed = self._shelf(f"installed-{installed}")
        self.folder = self._shelf(f"product-{packages}-{installed}")
        self._forget_old()
        self.made(self.packages, "debs", self._make_packages)
        self.certs = self.made(self.folder, "certs", self._make_certs)
        self.files = self.made(self.folder, "files", self._make_files)
        self.tree = self.made(self.folder, "tree", self._make_tree)

    @staticmethod
    def _shelf(name):
        path = f"{CACHE}/{name}"
        os.makedirs(path, exist_ok=True)
        os.utime(path)
        return path

    @staticmethod
    def _forget_old():
        for kind in ("debian", "packages", "installed", "product"):
            for folder in glob.glob(f"{CACHE}/{kind}-*"):
                if time.time() - os.stat(folder).st_mtime > KEEP_S:
                    shutil.rmtree(folder)

    def made(self, shelf, name, make):
        """The path of something on a shelf; @make makes it at the path that it is given, if it is not there."""
        path = f"{shelf}/{name}"
        with open(f"{path}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(path):
                began = time.monotonic()
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(f"{path}.part")
                shutil.rmtree(f"{path}.part", ignore_errors=True)
                make(f"{path}.part")
                os.rename(f"{path}.part", path)
                self.say(f"made {name} in {time.monotonic() - began:.0f} s")
        return path

    # ---- parts

    def _make_packages(self, path):
        os.mkdir(path)
        source = f"{path}/source"
        shutil.copytree(SOURCE_ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(
            ".git", "build", "build-*", "obj-*", "__pycache__", ".cache"))
        done = subprocess.run(["dpkg-buildpackage", "-us", "-uc", "-b"], cwd=source, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(["dpkg-buildpackage"], done.returncode, (done.stdout + done.stderr)[-2000:])
        shutil.rmtree(source)

    def deb(self):
        found, = glob.glob(f"{self.packages}/debs/otaclient_*.deb")
        return found

    def _make_certs(self, path):
        run(f"{SOURCE_ROOT}/certs/make-dev-certs", path)
        # The document speaks of the chain of production.
        for role in ("root", "interm"):
            os.rename(f"{path}/dev.{role}.pem", f"{path}/prd.{role}.pem")

    def _make_files(self, path):
        """What a person brings along to install otaclient."""
        os.mkdir(path)
        for file in (self.deb(), f"{self.certs}/prd.root.pem", f"{self.certs}/prd.interm.pem"):
            shutil.copy(file, path)

    def _make_tree(self, path):
        """What an image has: the Debian, the package, the certificates."""
        run("cp", "-a", self.debian, path)
        shutil.copy(self.deb(), f"{path}/otaclient.deb")
        in_root(path, "dpkg", "-i", "/otaclient.deb")
        os.unlink(f"{path}/otaclient.deb")
        os.makedirs(f"{path}/opt/ota/client/certs")
        for role in ("root", "interm"):
            shutil.copy(f"{self.certs}/prd.{role}.pem", f"{path}/opt/ota/client/certs")

    # ---- images

    @contextlib.contextmanager
    def changed_tree(self, change):
        """A copy of the tree, in memory where it differs, with @change(root) made to it."""
        top = "/run/otaclient-vm"
        os.makedirs(top, exist_ok=True)
        syscalls.mount("tmpfs", top, "tmpfs", 0, "mode=0755")
        try:
            for name in ("upper", "work", "root"):
                os.mkdir(f"{top}/{name}")
            syscalls.mount("overlay", f"{top}/root", "overlay", 0,
                           f"lowerdir={self.tree},upperdir={top}/upper,workdir={top}/work")
            change(f"{top}/root")
            yield f"{top}/root"
        finally:
            run("umount", "-R", "-l", top)

    def image(self, name, change=lambda root: None, tar=False):
        """The folder that is served as /@name: the image of the tree with this change."""
        def changed(root):
            with open(f"{root}/etc/image-name", "w", encoding="ascii") as f:
                f.write(f"{name}\n")
            change(root)

        def make(path):
            with self.changed_tree(changed) as root:
                argv = [self.programs.metadata_gen, "build", "--output", path, "--sign-key", f"{self.certs}/sign.key",
                        "--cert", f"{self.certs}/sign.pem", "--compress-level", "1"]
                if tar:
                    self._build_from_tar(argv, root)
                else:
                    run(*argv, "--rootfs", root)

        key = hashlib.sha256(f"{inspect.getsource(change)} {tar}".encode()).hexdigest()[:8]
        return self.made(self.folder, f"image-{name}-{key}", make)

    @staticmethod
    def _build_from_tar(argv, root):
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            done = subprocess.run([*argv, "--tar", "-"], stdin=tar.stdout, capture_output=True, text=True)
        if done.returncode != 0 or tar.returncode != 0:
            raise Failed(argv, done.returncode, done.stderr)

    # ---- disks

    def disk(self, layout):
        """A machine that is switched off, with otaclient in A, INITIALIZED."""
        bare = self.bare(layout)

        def make(folder):
            os.mkdir(folder)
            run("cp", "--sparse=always", *glob.glob(f"{bare}*"), folder)
            with Machine(f"{folder}/machine", f"{folder}/disk", layout) as m, serving(self.folder):
                m.power_on()
                m.line.wait_until_up(300)
                self.install_otaclient(m)
                m.shut_down()

        return self.made(self.folder, f"disk-{layout}", make) + "/disk"

    def bare(self, layout):
        """A machine that only has a Debian in A."""
        def make_medium(path):
            run("truncate", "-s", "700M", path)
            run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", self.debian, path)

        medium = self.made(self.installed, "medium", make_medium)

        def make(folder):
            os.mkdir(folder)
            run("truncate", "-s", "2100M", f"{folder}/disk")
            with Machine(f"{folder}/machine", f"{folder}/disk", layout) as m:
                self._run_installer(m, medium, f"{folder}/script", layout)

        return self.made(self.installed, f"bare-{layout}", make) + "/disk"

    def install_otaclient(self, m):
        """In a machine that runs. Our folder must be served."""
        names = sorted(os.listdir(self.files))
        m.shell(FIRST_START.format(
            files=" ".join(names), folder=os.path.basename(self.files), host=HOST_ADDRESS, port=PORT, address=ECU_ADDRESS,
            commands=document.commands("otaclient", m.layout)), 600)  # fmt: skip

    def _run_installer(self, m, medium, script, layout):
        kernel, = glob.glob(f"{self.debian}/boot/vmlinuz-*")
        initrd, = glob.glob(f"{self.debian}/boot/initrd.img-*")
        text = INSTALLER.format(disk=document.commands("disk", layout), system=document.commands("system", layout))
        with open(script, "w", encoding="ascii") as f:
            f.write(text + "\n" * (-len(text) % 4096))
        # init is bash, which runs the script that the third disk consists of.
        m.power_on("-kernel", kernel, "-initrd", initrd, "-append",
                   "console=ttyS0 loglevel=4 root=/dev/vdb ro panic=-1 init=/bin/bash -- /dev/vdc",
                   "-drive", f"if=none,id=medium,format=raw,readonly=on,file={medium}",
                   "-device", "virtio-blk-pci,drive=medium",
                   "-drive", f"if=none,id=script,format=raw,readonly=on,file={script}",
                   "-device", "virtio-blk-pci,drive=script")  # fmt: skip
        said = m.console.wait_for(r"<installer: (\w+)>\r\n", 400)[1]
        if said != b"done":
            raise Failed(["the installation"], said.decode(), m.console.tail(15))
        m.wait_until_off(60)


@contextlib.contextmanager
def serving(root):
    """An HTTP server of this host; the guest finds it at HOST_ADDRESS:PORT."""
    argv = [sys.executable, f"{SOURCE_ROOT}/tests/support/http_origin.py", "--root", root, "--port", str(PORT)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            if not server.stdout.readline():
                raise Failed(argv, server.wait(), "it does not listen")
            yield
        finally:
            server.stdin.close()
