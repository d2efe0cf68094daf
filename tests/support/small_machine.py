"""
small_machine: a pseudo-ECU on a small disk, whose slots hold little more than what the daemon needs, and which logs what
is written to it. One story of a machine is recorded as scenes; each leaves a disk as it was before, and a log.

    lab = SmallLab(build, work)
    with lab.origin() as origin:
        Story(lab, origin).record()
    for scene in scenes(work):
        …

Real: the daemon (which tells the names of its durable steps besides), its fetcher, otactl, metadata_gen, nginx, the image,
ext4, GRUB (grub-emu) and its environment. Simulated, beside what pseudo_ecu says: the programs and libraries of the
slots are the host's (/usr/bin, /usr/lib), kernel and initrd are noise, and no slot has a grub-mkconfig, so that the
daemon makes grub.cfg and menu entries itself.
"""

import contextlib
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ecu_lab import Ecu, Lab, Programs, run, wait_for  # noqa: E402
from pseudo_ecu import disk  # noqa: E402
from trees import Tree, noise, text  # noqa: E402
from write_log import LoggedDisk, read  # noqa: E402

BOOT_MIB = 12
SLOT_MIB = 20
VERSIONS = ("v1", "v2", "v3")
RELEASE = "5.10.0-{}-small"
COUNTED = "boot_attempts: 2\n"  # the other versions try a new system once

# As grub-mkconfig writes it, with the two variables that count.
DISTRIBUTION_CFG = """
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default=0
set timeout=0
menuentry 'Small' --id 'small' {
  linux /vmlinuz-@RELEASE@ root=UUID=@SLOT_A_UUID@ ro
  initrd /initrd.img-@RELEASE@
}
"""


def release_of(version):
    """Kernel of a version, v1 and so on."""
    return RELEASE.format(version.removeprefix("v"))


def make_root(lab, root, version):
    """The root file system of a version. Two of them differ in some files; all that is the machine's is in none."""
    os.makedirs(root)
    t = Tree(root)
    for d in ("/boot", "/etc", "/etc/default", "/etc/grub.d", "/etc/otaclient", "/opt", "/opt/ota", "/opt/ota/client",
              "/opt/ota/client/certs", "/opt/product", "/root", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/sbin",
              "/usr/share", "/var", "/var/lib"):  # fmt: skip
        t.dir(d)
    t.system()
    for name in ("bin", "lib", "lib64", "sbin"):
        t.link(f"/{name}", f"usr/{name}")
    for tool in ("e2fsck", "mke2fs"):
        with open(f"/usr/sbin/{tool}", "rb") as f:
            t.file(f"/usr/sbin/{tool}", f.read(), 0o755)
    t.name("/usr/sbin/mke2fs", "/usr/sbin/mkfs.ext4")
    t.link("/usr/sbin/reboot", "../bin/systemctl")
    release = release_of(version)
    t.file(f"/boot/vmlinuz-{release}", noise(90_000, f"kernel {version}"))
    t.file(f"/boot/initrd.img-{release}", noise(150_000, f"initrd {version}"))
    t.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\notafetcher:x:990:990::/:/bin/false\n")
    t.file("/etc/group", b"root:x:0:\notafetcher:x:990:\n")
    t.file("/etc/fstab", b"")
    t.file("/etc/default/grub", b"GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=\"quiet\"\n")
    settings = f"tls_ca: /etc/otaclient/origin-ca.pem\nupdate_cooldown_s: 0\n{COUNTED if version == 'v3' else ''}"
    t.file("/etc/otaclient/otaclient.yaml", settings.encode())
    for source, target in ((f"{lab.tls()}/ca.pem", "/etc/otaclient/origin-ca.pem"),
                           (f"{lab.certs()}/dev.root.pem", "/opt/ota/client/certs/dev.root.pem"),
                           (f"{lab.certs()}/dev.interm.pem", "/opt/ota/client/certs/dev.interm.pem")):  # fmt: skip
        with open(source, "rb") as f:
            t.file(target, f.read())
    for i in range(12):
        t.file(f"/usr/share/same{i:02}", text(3000 + 700 * i, f"same {i}"))
        t.file(f"/usr/share/new{i:02}", text(2000 + 900 * i, f"{version} {i}"), mtime=10 + int(version[1:]))
    t.file(f"/usr/share/moved-{version}", noise(40_000, "moved"))
    t.file("/etc/version", f"{version}\n".encode(), mtime=20 + int(version[1:]))
    t.name("/etc/version", f"/etc/version-{version}")
    t.done()


class SmallLab(Lab):
    """The lab, with the trees and images of all versions."""

    def __init__(self, build, work):
        super().__init__(Programs(build), work)
        self.trees = {}
        self.write_log = f"{self.programs.build}/tests/write_log"
        os.makedirs(self.path("product", "bin"))
        os.makedirs(self.path("product", "libexec"))
        for source, target in ((f"{self.programs.build}/otaclient/otaclient-marked", "bin/otaclient"),
                               (self.programs.otactl, "bin/otactl"),
                               (self.programs.fetcher, "libexec/otaclient-fetcher")):  # fmt: skip
            shutil.copy(source, self.path("product", target))

        for version in VERSIONS:
            self.trees[version] = self.path(f"tree-{version}")
            make_root(self, self.trees[version], version)
            self.build_image(version, self.trees[version], "--compress-level", "1")


class SmallEcu(Ecu):
    """A machine whose disk is a link to the image or to the logged disk."""

    def __init__(self, lab, name, image):
        super().__init__(lab, name)
        self.use(image)
        self.binds = [f"{lab.path('product')}:/opt/product"]
        self.binds += [f"/usr/{d}:/usr/{d}" for d in ("bin", "lib", "lib64")]
        self.mark = None

    def use(self, image):
        if os.path.lexists(self.disk):
            os.unlink(self.disk)
        os.symlink(image, self.disk)

    def begin_to_boot(self, *options):
        argv = [option for bind in self.binds for option in ("--bind", bind)]
        if self.mark:
            argv += ["--mark", self.mark, "--bind", f"{self.mark}:/run/mark", "--env", "MARK_FILE=/run/mark"]
        super().begin_to_boot(*argv, *options, "--", "/opt/product/bin/otaclient")


class Scene:
    """
    What was recorded of one thing that a machine did, and what may be found after a cut in it.

    @turns: (mark, slots, statuses): once that step is done, the loader leads to one of the slots, and the daemon on the
    slot that ran at first says one of the statuses. The first turn has no mark. Each mark is looked for behind the one
    before; a step of several operations has one for each, and is done with the last.
    """

    def __init__(self, folder, name, versions, again, turns):
        self.name = name
        self.base = f"{folder}/{name}.base"  # image of the disk before
        self.log = f"{folder}/{name}.log"
        self.versions = versions  # role -> the version that may boot there
        self.again = again  # the version that a second run brings
        self.turns = turns
        self.records = read(self.log)
        self.roles_before = turns[0][1]
        self.marks = [r.data.decode("utf-8", "replace").strip() for r in self.records if r.kind == "mark"]
        self.first, self.last = [0], [0]  # numbers of marks that must be done: for a turn to be possible, and certain
        for mark, _, _ in turns[1:]:
            at = self.marks.index(mark, self.last[-1])
            self.first.append(at)
            while at < len(self.marks) and self.marks[at] == mark:
                at += 1
            self.last.append(at)

    def possible(self, interval):
        """The turns that a cut in the interval may find, by number."""
        done_min, done_max = max(0, interval.earlier - 1), interval.earlier + len(interval.marks)
        certain = max(n for n, last in enumerate(self.last) if last <= done_min)
        possible = max(n for n, first in enumerate(self.first) if first < max(done_max, 1))
        return range(certain, possible + 1)

    def roles(self, interval):
        return set().union(*(self.turns[n][1] for n in self.possible(interval)))

    def statuses(self, interval):
        return set().union(*(self.turns[n][2] for n in self.possible(interval)))


A, B = {"slot_a"}, {"slot_b"}


def _turns_of_an_update(active, standby, status):
    return [
        (None, active, {status}),
        ("status file", active, {"FAILURE"}),
        ("replace grubenv at flip", standby, {"FAILURE"}),
        ("GRUB begins", active | standby, {"FAILURE"}),
        ("replace grubenv at commit", standby, {"FAILURE"}),
    ]


def _turns_of_a_rollback(active, other):
    return [
        (None, active, {"SUCCESS"}),
        ("status file", active, {"FAILURE", "ROLLBACK_FAILURE"}),
        ("replace grubenv at flip", other, {"ROLLBACK_FAILURE"}),
        ("GRUB begins", active | other, {"ROLLBACK_FAILURE"}),
        ("replace grubenv at commit", other, {"ROLLBACK_FAILURE"}),
    ]


TURNS_OF_AN_ABORT = [
    (None, A, {"SUCCESS"}),
    ("status file", A, {"FAILURE"}),
    ("status file", A, {"ABORTED"}),
]

# Name, what the machine does, the versions that may boot in each slot, the one that a second run brings, and turns. Each
# scene begins where the one before has ended, but for what is done to the machine before it (PREPARED).
STORY = (
    ("bootstrap", lambda story: story.start(), {"slot_a": "v1"}, "v2", [(None, A, {"INITIALIZED"})]),
    (
        "first_update",
        lambda story: story.update("v2"),
        {"slot_a": "v1", "slot_b": "v2"},
        "v2",
        _turns_of_an_update(A, B, "INITIALIZED"),
    ),
    ("rollback", lambda story: story.roll_back(), {"slot_a": "v1", "slot_b": "v2"}, "v3", _turns_of_a_rollback(B, A)),
    ("abort", lambda story: story.abort("v3"), {"slot_a": "v1"}, "v3", TURNS_OF_AN_ABORT),
    ("new_release", lambda story: story.start(), {"slot_a": "v1"}, "v3", [(None, A, {"ABORTED"})]),
    (
        "update",
        lambda story: story.update("v3"),
        {"slot_a": "v1", "slot_b": "v3"},
        "v3",
        _turns_of_an_update(A, B, "ABORTED"),
    ),
    (
        "counted_update",
        lambda story: story.update("v2"),
        {"slot_a": "v2", "slot_b": "v3"},
        "v2",
        _turns_of_an_update(B, A, "SUCCESS"),
    ),
    ("other_client", lambda story: story.start(), {"slot_a": "v1"}, "v2", [(None, A, {"SUCCESS"})]),
)


class Story:
    """One machine, from its first start on."""

    def __init__(self, lab, origin):
        self.lab = lab
        self.origin = origin
        cfg = lab.path("distribution.cfg")
        with open(cfg, "w", encoding="ascii") as f:
            f.write(DISTRIBUTION_CFG.replace("@RELEASE@", release_of("v1")))
        options = ["--boot-mib", str(BOOT_MIB), "--slot-mib", str(SLOT_MIB), "--grub-cfg", cfg]
        lab.make_ecu("fresh", lab.trees["v1"], *options)
        self.image = lab.path("fresh.img")
        self.ecu = SmallEcu(lab, "small", self.image)

    def record(self):
        for name, act, *_ in STORY:
            PREPARED.get(name, lambda story: None)(self)
            run("cp", "--sparse=always", self.image, self.lab.path(f"{name}.base"))
            with LoggedDisk(self.lab.write_log, self.image, self.lab.path(f"{name}.log"), self.lab.path("logged")) as logged:
                self.ecu.use(logged.path)
                self.ecu.mark = logged.mark
                try:
                    act(self)
                finally:
                    self.ecu.switch_off()
                    self.ecu.mark = None
                    self.ecu.use(self.image)

    def start(self):
        self.ecu.switch_on()

    def update(self, version):
        self.ecu.switch_on()
        self.ecu.update(version, self.origin.url(version))

    def roll_back(self):
        self.ecu.switch_on()
        self.ecu.otactl("rollback", "--wait")

    def abort(self, version):
        """While the contents come slowly."""
        self.ecu.switch_on()
        self.ecu.update(version, self.origin.slow_url(version), wait=False)
        wait_for("contents come", lambda: self._phase() == "DOWNLOADING_OTA_FILES", 30)
        self.ecu.otactl("abort")
        wait_for("the update is aborted", lambda: self.ecu.status()["ota_status"] == "ABORTED", 30)

    @contextlib.contextmanager
    def boot_mounted(self):
        part = next(p for p in disk.partitions_of(self.image) if p.role == "boot")
        point = self.lab.path("boot")
        os.makedirs(point, exist_ok=True)
        run("mount", "-o", f"loop,offset={part.start},sizelimit={part.size}", self.image, point)
        try:
            yield point
        finally:
            run("umount", point)

    def make_older(self):
        """grub.cfg and menu entry as an earlier release of otaclient has left them; only one slot has an entry now."""
        with self.boot_mounted() as boot:
            for name, pattern, new in (
                ("grub.cfg", r"(?m)^# otaclient_version: .*$", "# otaclient_version: 3.0.0"),
                ("ota-slot_a.cfg", r"\A", "# Made by an earlier release\n"),
            ):
                with open(f"{boot}/grub/{name}", "r+", encoding="utf-8") as f:
                    text = re.sub(pattern, new, f.read())
                    f.seek(0)
                    f.truncate()
                    f.write(text)

    def make_other_clients(self):
        """A machine that was installed just now, with the older layout of /boot (docs/formats.md, "GRUB files")."""
        run("cp", "--sparse=always", self.lab.path("bootstrap.base"), self.image)
        release = release_of("v1")
        with self.boot_mounted() as boot:
            folder = f"{boot}/ota-partition.sda2"
            os.mkdir(folder)
            for kind in ("vmlinuz", "initrd.img"):
                os.rename(f"{boot}/{kind}-{release}", f"{folder}/{kind}-{release}")
                os.symlink(f"{kind}-{release}", f"{folder}/{kind}-ota")
                os.symlink(f"ota-partition/{kind}-ota", f"{boot}/{kind}-ota")
            for name, content in (("status", "SUCCESS"), ("version", "v1"), ("slot_in_use", "sda2")):
                with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                    f.write(content)
            with open(f"{boot}/grub/grub.cfg", encoding="utf-8") as f:
                cfg = f.read().replace(f"-{release}", "-ota")
            with open(f"{folder}/grub.cfg", "w", encoding="utf-8") as f:
                f.write(cfg)
            os.unlink(f"{boot}/grub/grub.cfg")
            os.symlink("ota-partition.sda2", f"{boot}/ota-partition")
            os.symlink("../ota-partition/grub.cfg", f"{boot}/grub/grub.cfg")

    def _phase(self):
        update = self.ecu.status()["update_status"]
        return update and update["phase"]


PREPARED = {"new_release": Story.make_older, "other_client": Story.make_other_clients}


def scenes(folder):
    """Of a story that was recorded there."""
    return [Scene(folder, name, versions, again, turns) for name, _, versions, again, turns in STORY]
