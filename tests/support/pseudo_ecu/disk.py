"""
disk: the image file of a pseudo-ECU. Makes it, and attaches it as a loop device with partitions.

The kernel of a test host may have no partition parsers, so the table is read with sfdisk and the partitions
are announced one by one (BLKPG). A loop device goes away by itself when the last user is gone, also after a
kill: it is set up in one call with AUTOCLEAR, and PARTSCAN makes the kernel drop the partitions with it.
"""

import array
import contextlib
import errno
import fcntl
import json
import os
import shutil
import struct
import subprocess
import uuid

from . import syscalls

SECTOR = 512
MIB = 1 << 20

LOOP_GET_STATUS64 = 0x4C05
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_PARTSCAN = 8
BLKPG = 0x1269
BLKPG_ADD_PARTITION = 1
BLKPG_DEL_PARTITION = 2

GPT_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
GPT_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

# Roles of the partitions, in the order of the table.
LAYOUTS = {
    "bios": ("boot", "slot_a", "slot_b"),
    "uefi": ("esp", "boot", "slot_a", "slot_b"),
}


class Error(Exception):
    """One sentence for the person who ran the tool."""


def run(*argv, text_in="", cwd=None):
    """Run a tool and return what it prints; its stderr becomes the sentence when it fails."""
    done = subprocess.run(argv, input=text_in, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Error(f"{argv[0]} failed with status {done.returncode}: {' '.join(lines[-3:])}")
    return done.stdout


class Partition:
    """One partition: its number, where it is, and what it is for."""

    def __init__(self, number, start, size, role):
        self.number = number
        self.start = start  # bytes
        self.size = size  # bytes
        self.role = role  # "esp", "boot", "slot_a", "slot_b"


def probe(path, tag, offset=0, size=0):
    """One of blkid's values for a device or a part of an image, "" if it has none."""
    argv = ["blkid", "-p", "-o", "value", "-s", tag]
    if size:
        argv += ["-O", str(offset), "-S", str(size)]
    return subprocess.run([*argv, path], capture_output=True, text=True).stdout.strip()


def partitions_of(image):
    table = json.loads(run("sfdisk", "--json", image))["partitiontable"]
    layout = LAYOUTS["uefi" if table["label"] == "gpt" else "bios"]
    found = []
    for number, (entry, role) in enumerate(zip(table["partitions"], layout), 1):
        found.append(Partition(number, entry["start"] * SECTOR, entry["size"] * SECTOR, role))
    if len(found) != len(layout):
        raise Error(f"{image} has {len(found)} partitions instead of {len(layout)}")
    return found


class Attached:
    """A loop device for the image, with its partitions; lives as long as the object or a mount of it."""

    def __init__(self, fd, name, parts, numbers):
        self.fd = fd
        self.name = name  # "loop0"
        self.parts = parts
        self.numbers = numbers  # name of node -> device number

    def node(self, part):
        return f"{self.name}p{part.number}"

    def part(self, role):
        return next(p for p in self.parts if p.role == role)

    def device(self, part):
        return f"/dev/{self.node(part)}"

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _loop_fd(backing_fd, image):
    """Configure the next free loop device; another process may take it first."""
    with open("/dev/loop-control", "rb", buffering=0) as control:
        for _ in range(100):
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            path = f"/dev/loop{number}"
            if not os.path.exists(path):
                os.mknod(path, 0o60660, os.makedev(7, number))
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN
            name = os.fsencode(os.path.basename(image))[:63]
            info = struct.pack("=QQQQQIIII64s64s32s16s", 0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", b"")
            config = struct.pack("=II", backing_fd, SECTOR) + info + bytes(64)
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, config)
                return fd, f"loop{number}"
            except OSError as e:
                os.close(fd)
                if e.errno != errno.EBUSY:
                    raise Error(f"Cannot attach {image} to {path}: {e.strerror}") from e
    raise Error(f"No free loop device for {image}")


def is_backed_by(name, image):
    """Is the loop device attached to this very file? It may be another machine's by now."""
    info = bytearray(232)
    try:
        with open(f"/dev/{name}", "rb", buffering=0) as f:
            fcntl.ioctl(f, LOOP_GET_STATUS64, info)
    except OSError:
        return False  # to no file, or it is just being attached or let go
    st = os.stat(image)
    return struct.unpack_from("=QQ", info) == (st.st_dev, st.st_ino)


def _blkpg(fd, op, part):
    body = array.array("B", struct.pack("=qqi64s64s4x", part.start, part.size, part.number, b"", b""))
    address, length = body.buffer_info()
    fcntl.ioctl(fd, BLKPG, struct.pack("=iiiiQ", op, 0, length, 0, address))


def attach(image):
    """Attach @image; the result is closed with close() or by `with`."""
    parts = partitions_of(image)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        fd, name = _loop_fd(backing, image)
    finally:
        os.close(backing)
    try:
        numbers = {name: os.fstat(fd).st_rdev}
        for part in parts:
            # What a killed predecessor may have left on this device would be in the way.
            with contextlib.suppress(OSError):
                _blkpg(fd, BLKPG_DEL_PARTITION, part)
            _blkpg(fd, BLKPG_ADD_PARTITION, part)
            with open(f"/sys/class/block/{name}p{part.number}/dev", encoding="ascii") as f:
                major, minor = f.read().split(":")
            numbers[f"{name}p{part.number}"] = os.makedev(int(major), int(minor))
        return Attached(fd, name, parts, numbers)
    except BaseException:
        os.close(fd)
        raise


@contextlib.contextmanager
def private_mounts(attached):
    """
    A mount namespace of our own for the rest of the process: /dev has this disk and no other, and all that is
    mounted in the folder that is given goes away with the process.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.make_mounts_private()
    folder = mount_point()
    syscalls.mount("tmpfs", folder, "tmpfs", syscalls.MS_NOSUID, "mode=0755")
    mount_dev(attached)
    try:
        yield folder
    finally:
        syscalls.umount(folder, syscalls.MNT_DETACH)
        syscalls.umount("/dev", syscalls.MNT_DETACH)


def mount_point():
    """An empty folder of the host; everybody mounts there in a mount namespace of their own."""
    os.makedirs("/run/pseudo-ecu", exist_ok=True)
    return "/run/pseudo-ecu"


def mount_dev(attached):
    """Cover /dev of this mount namespace. The names must be the final ones: mountinfo shows them as given."""
    syscalls.mount("tmpfs", "/dev", "tmpfs", syscalls.MS_NOSUID, "mode=0755")
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ):
        os.mknod(f"/dev/{name}", 0o20666, os.makedev(major, minor))
        os.chmod(f"/dev/{name}", 0o666)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/shm")
    os.chmod("/dev/shm", 0o1777)
    for name, number in attached.numbers.items():
        os.mknod(f"/dev/{name}", 0o60660, number)
    for part in attached.parts:
        for tag, kind in (("UUID", "by-uuid"), ("PART_ENTRY_UUID", "by-partuuid")):
            value = probe(attached.device(part), tag)
            if value:
                os.makedirs(f"/dev/disk/{kind}", exist_ok=True)
                os.symlink(f"../../{attached.node(part)}", f"/dev/disk/{kind}/{value}")


def mount_kernel_files(root):
    """What every system expects below @root: /proc, /sys, and /dev as mount_dev() has made it."""
    quiet = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", f"{root}/proc", "proc", quiet)
    syscalls.mount("sysfs", f"{root}/sys", "sysfs", quiet | syscalls.MS_RDONLY)
    syscalls.mount("/dev", f"{root}/dev", None, syscalls.MS_BIND)


class Recipe:
    """What a fresh machine is made of."""

    def __init__(self, rootfs, layout="bios", boot_mib=512, slot_mib=2048, files=(), grub_cfg=None):
        self.rootfs = rootfs  # folder, copied to slot A
        self.grub_cfg = grub_cfg  # text, with @SLOT_A_UUID@; None = what the slot's own grub-mkconfig makes
        self.layout = layout
        self.boot_mib = boot_mib
        self.slot_mib = slot_mib
        self.files = files  # pairs: source file, absolute path on the machine


def make(image, recipe):
    """Make a fresh machine as a distribution's installer leaves it: slot A installed, slot B empty."""
    _partition(image, recipe)
    with attach(image) as attached, private_mounts(attached) as folder:
        uuids = {}
        for part in attached.parts:
            device = attached.device(part)
            if part.role == "esp":
                run("mkfs.vfat", "-n", "ESP", device)
            else:
                # As on a large disk, and without a kernel thread that goes on writing.
                now = ("-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0") if recipe.grub_cfg else ()
                run("mkfs.ext4", "-q", "-F", *now, "-L", part.role, device)
            uuids[part.role] = probe(device, "UUID")
        syscalls.umount("/dev")
        mount_dev(attached)

        root = f"{folder}/root"
        os.mkdir(root)
        syscalls.mount(attached.device(attached.part("slot_a")), root, "ext4")
        run("cp", "-a", f"{recipe.rootfs}/.", root)
        _install_boot(root, attached, uuids)
        _configure_grub(root, recipe.grub_cfg, uuids)
        _copy_files(root, recipe.files)
        run("umount", "-R", root)
        os.fsync(attached.fd)


def clone(image, original, files):
    """A machine with the disk of another one that is off, and these files of its own."""
    run("cp", "--reflink=auto", "--sparse=always", original, image)
    with attach(image) as attached, private_mounts(attached) as folder:
        root = f"{folder}/root"
        os.mkdir(root)
        syscalls.mount(attached.device(attached.part("slot_a")), root, "ext4")
        syscalls.mount(attached.device(attached.part("boot")), f"{root}/boot", "ext4")
        _copy_files(root, files)
        run("umount", "-R", root)
        os.fsync(attached.fd)


def _copy_files(root, files):
    for source, target in files:
        os.makedirs(os.path.dirname(root + target), exist_ok=True)
        shutil.copy(source, root + target)


def _partition(image, recipe):
    gpt = recipe.layout == "uefi"
    linux = GPT_LINUX if gpt else "83"
    sizes = [(64, GPT_ESP)] if gpt else []
    sizes += [(size, linux) for size in (recipe.boot_mib, recipe.slot_mib, recipe.slot_mib)]
    with open(image, "wb") as f:
        f.truncate((sum(size for size, _ in sizes) + 4) * MIB)
    script = ["label: gpt" if gpt else "label: dos"] + [f"size={size}MiB, type={kind}" for size, kind in sizes]
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image, text_in="\n".join(script) + "\n")


def _install_boot(root, attached, uuids):
    """fstab, and /boot on its own partition."""
    boot = f"{root}/boot"
    fstab = [f"UUID={uuids['slot_a']} / ext4 errors=remount-ro 0 1", f"UUID={uuids['boot']} /boot ext4 defaults 0 2"]
    if "esp" in uuids:
        fstab.append(f"UUID={uuids['esp']} /boot/efi vfat umask=0077 0 1")
    with open(f"{root}/etc/fstab", "w", encoding="ascii") as f:
        f.write("\n".join(fstab) + "\n")

    kernels = [f"{boot}/{name}" for name in os.listdir(boot) if name.startswith(("vmlinuz-", "initrd.img-"))]
    if not kernels:
        raise Error("The root file system has no kernel in /boot")
    device = attached.device(attached.part("boot"))
    stage = f"{root}.boot"
    os.mkdir(stage)
    syscalls.mount(device, stage, "ext4")
    for path in kernels:
        shutil.copy2(path, stage)
    os.mkdir(f"{stage}/grub")
    if "esp" in uuids:
        os.mkdir(f"{stage}/efi", 0o700)
    syscalls.umount(stage)
    syscalls.mount(device, boot, "ext4")


def _configure_grub(root, grub_cfg, uuids):
    """grub.cfg and grubenv: as given, or by the slot's own tools."""
    boot = f"{root}/boot"
    if grub_cfg is not None:
        with open(f"{boot}/grub/grub.cfg", "w", encoding="utf-8") as f:
            f.write(grub_cfg.replace("@SLOT_A_UUID@", uuids["slot_a"]))
        with open(f"{boot}/grub/grubenv", "w", encoding="ascii") as f:
            f.write("# GRUB Environment Block\n".ljust(1024, "#"))
        return
    # A distribution waits five seconds in its menu; nobody is there to see it.
    with open(f"{root}/etc/default/grub", encoding="utf-8") as f:
        text = f.read()
    with open(f"{root}/etc/default/grub", "w", encoding="utf-8") as f:
        f.write(text.replace("GRUB_TIMEOUT=5", "GRUB_TIMEOUT=0"))

    mount_kernel_files(root)
    run("chroot", root, "grub-mkconfig", "-o", "/boot/grub/grub.cfg")
    run("chroot", root, "grub-editenv", "/boot/grub/grubenv", "create")
