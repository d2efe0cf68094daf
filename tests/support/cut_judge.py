"""
cut_judge: may a machine be left like this? Looks at one disk of cut_disks after the other.

    judge = Judge(lab, scene)
    for cut in disk.cuts(…):
        problems += judge.look(disk, cut)   # sentences

The raw disk is given to the real GRUB before anything is mounted: it must lead to a slot that may boot at that moment,
and so must the start after that, if GRUB has changed its environment. Kernel and initrd, as they are on the disk without
its journal, belong to the version that the slot holds. Each file system is one that `e2fsck -p` mends, on a copy, and
then the slot that boots is, file for file, a version that the scene knows.

What was found out about a partition is kept by its bytes, so that equal ones are looked at once.
"""

import hashlib
import os
import subprocess
import uuid

from ecu_lab import OF_THE_MACHINE
from pseudo_ecu import loader
from small_machine import release_of
from tree_list import differences, list_tree

UUID_AT = 1024 + 0x68  # in an ext4 file system
STARTS_MAX = 3  # of GRUB, one after the other, while each changes the disk
OURS = (b"/.ota-", b"/ota-cache")
UNFINISHED = b".ota_io_tmp_"  # common/base/io.h


class Judge:
    def __init__(self, lab, scene):
        self.lab = lab
        self.scene = scene
        self.work = lab.path(f"judge.{os.getpid()}")
        os.makedirs(f"{self.work}/mnt", exist_ok=True)
        self.trees = {version: _of_the_image(list_tree(tree)) for version, tree in lab.trees.items()}
        self.files = {version: _boot_files(tree, version) for version, tree in lab.trees.items()}
        self.loaded, self.checked, self.held = {}, {}, {}
        self.n_judged = 0

    def look(self, disk, cut):
        """Sentences about what is wrong with this disk; none = nothing."""
        self.n_judged += 1
        problems = [p for role in disk.parts if (p := self.file_system(disk, role))]
        starts, why = self.starts(disk)
        if why:
            problems.append(why)
        allowed = self.scene.roles(cut.interval)
        for n, start in enumerate(starts, 1):
            role = self._role(disk, start.root)
            if role is None:
                problems.append(f"start {n} leads to a kernel that finds no root {start.root}")
                continue
            if role not in allowed:
                problems.append(f"start {n} leads to {role}, which may not boot then, but {sorted(allowed)}")
            version, why = self.version(disk, role)
            if why:
                problems.append(f"start {n} leads to {role}, which is not complete: {why}")
            elif start.files != self.files[version]:
                problems.append(f"start {n} leads to {role} with version {version}, but the kernel or initrd is not its own")
            allowed = self.scene.roles(cut.interval) | self.scene.roles_before
        return problems

    # ---- the boot loader

    def starts(self, disk):
        """What the real GRUB does on the raw disk, start after start, and why it does nothing."""
        key = disk.state("boot")
        if key not in self.loaded:
            self.loaded[key] = self._starts(disk)
        return self.loaded[key]

    def _starts(self, disk):
        before = disk.part_bytes("boot")
        starts, last = [], None
        try:
            for _ in range(STARTS_MAX):
                now = disk.part_bytes("boot")
                if now == last:
                    break
                last = now
                starts.append(self._start(disk))
            return starts, None
        except loader.NoBoot as e:
            return starts, f"start {len(starts) + 1}: {e}"
        finally:
            disk.set_part_bytes("boot", before)

    def _start(self, disk):
        choice = loader.choose(disk.path)
        part = f"(loop0,msdos{disk.parts['boot'].number})"
        return Start(choice.uuid, [_digest_on(disk.path, part + name) for name in (choice.kernel, *choice.initrds)])

    @staticmethod
    def _role(disk, root):
        for role in ("slot_a", "slot_b"):
            if _uuid(disk, role) == root:
                return role
        return None

    # ---- file systems

    def part_file(self, disk, role):
        """A copy of a partition, for tools that change it."""
        path = f"{self.work}/{role}"
        with open(path, "wb") as f:
            f.write(disk.part_bytes(role))
        return path

    def file_system(self, disk, role):
        """What is wrong with it; None = nothing that e2fsck does not mend by itself."""
        key = (role, disk.state(role))
        if key not in self.checked:
            argv = ["e2fsck", "-f", "-p", self.part_file(disk, role)]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            said = " ".join((done.stdout + done.stderr).split())
            self.checked[key] = None if done.returncode < 2 else f"e2fsck of {role} ends with {done.returncode}: {said}"
        return self.checked[key]

    def version(self, disk, role):
        """The version that a slot must hold, and why it does not."""
        key = (role, disk.state(role))
        if key not in self.held:
            self.held[key] = self._version(disk, role)
        return self.held[key]

    def _version(self, disk, role):
        part = self.part_file(disk, role)
        subprocess.run(["e2fsck", "-f", "-p", part], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        point = f"{self.work}/mnt"
        mounted = subprocess.run(["mount", "-o", "loop,ro", part, point], capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            return None, mounted.stderr.strip()
        try:
            have = _of_the_image(list_tree(point))
            fstab = _read(f"{point}/etc/fstab")
        finally:
            subprocess.run(["umount", point], check=True)
        if [f"UUID={_uuid(disk, role)}", "/"] not in [line.split()[:2] for line in fstab.splitlines()]:
            return None, f"its fstab does not name it as /: {fstab}"
        version = self.scene.versions.get(role)
        if version is None:
            return None, "no version belongs there"
        parents = {os.path.dirname(path) for path in OF_THE_MACHINE} | {b"/"}
        found = differences(self.trees[version], have, ignore_mtime_of=parents)
        return version, f"{len(found)} differences from {version}: {'; '.join(found[:5])}" if found else None


class Start:
    """A start of the machine, as far as its boot loader goes."""

    def __init__(self, root, files):
        self.root = root  # UUID of the root file system
        self.files = files  # digests of kernel and initrd, as the loader reads them


def _uuid(disk, role):
    at = disk.parts[role].start + UUID_AT
    return str(uuid.UUID(bytes=disk.map[at : at + 16]))


def _of_the_image(listing):
    """Without what is the machine's, and the unfinished files that a cut may leave until the next start."""
    return {
        p: e
        for p, e in listing.items()
        if p not in OF_THE_MACHINE and not p.startswith(OURS) and not os.path.basename(p).startswith(UNFINISHED)
    }


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError as e:
        return e.strerror


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _boot_files(tree, version):
    digests = []
    for name in ("vmlinuz", "initrd.img"):
        with open(f"{tree}/boot/{name}-{release_of(version)}", "rb") as f:
            digests.append(_sha256(f.read()))
    return digests


def _digest_on(image, name):
    """Of a file as GRUB reads it: without the journal, and whatever the checksums of ext4 say."""
    argv = ["grub-fstest", image, "cat", name]
    return _sha256(subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout)
