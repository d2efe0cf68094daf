#!/usr/bin/env python3
"""
A whole update of a Jetson with CBoot: the real updater and the real controller on a real ext4 slot, whose status files lie inside it. NVIDIA's tools
are simulated (tests/support/fake-cboot). Needs root and loop devices.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support")
sys.path.insert(0, SUPPORT)
from trees import Tree, noise, text  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

MENU = b"TIMEOUT 30\nDEFAULT primary\nLABEL primary\n  LINUX /boot/Image\n  INITRD /boot/initrd\n  APPEND ${cbootargs} root=/dev/mmcblk0p1 rw\n"
NEW_ROOT = b"root=PARTUUID=0a000000-0000-4000-8000-000000000002"
FIRMWARE = b"new firmware\n"
MANIFEST = f"""format_version: 1
hardware_type: nvidia_jetson
firmware_spec:
  bsp_version: R32.6.1
  firmware_compat: {{board_id: 2888, board_sku: 0004, board_rev: "", fab_id: 400, board_conf: xavier}}
firmware_packages:
  - payload_name: bl
    file_location: file:///opt/ota/firmware/bl
    type: BUP
    digest: sha256:{hashlib.sha256(FIRMWARE).hexdigest()}
""".encode()


def make(version, menu=MENU, firmware=False):
    def into(root):
        t = Tree(root)
        t.system()
        for path in ("/etc", "/usr", "/boot", "/boot/extlinux"):
            t.dir(path)
        t.file("/etc/same", b"same\n")
        t.file("/usr/large", noise(1 << 20, "large"), 0o600 + version)
        t.file(f"/usr/text-{version}", text(30_000, f"text {version}"))
        t.file("/boot/Image", b"kernel %d\n" % version)
        t.file("/boot/initrd", b"initrd %d\n" % version)
        t.file("/boot/extlinux/extlinux.conf", menu)
        if firmware:
            for path in ("/opt", "/opt/ota", "/opt/ota/firmware"):
                t.dir(path)
            t.file("/opt/ota/firmware/bl", FIRMWARE)
            t.file("/opt/ota/firmware/firmware_manifest.yaml", MANIFEST)
            t.file("/opt/ota/firmware/firmware_update.yaml", b"format_version: 1\nfirmware_list: [bl]\n")
        t.done()
    return into


class Jetson(UpdateLab):
    def __enter__(self):
        super().__enter__()
        self.tools = self.path("tools")
        shutil.copytree(os.path.join(SUPPORT, "fake-cboot"), self.tools)
        self.reset()
        return self

    def reset(self):
        """As flashed: slot 0 runs, and it has never been updated."""
        shutil.rmtree(self.active)
        for name in ("nvbootctrl-state", "nvbootctrl-calls", "firmware_1"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))
        for folder in ("etc", "run", "boot/extlinux", "boot/ota"):
            os.makedirs(os.path.join(self.active, folder))
        for name, data in (("etc/nv_tegra_release", b"# R32 (release), REVISION: 6.1, GCID: 1\n"),
                           ("etc/nv_boot_control.conf", b"TNSPEC 2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\n"),
                           ("boot/ota/ecu_info.yaml", b"ecu_id: jetson\n"), ("boot/extlinux/extlinux.conf", MENU)):
            with open(os.path.join(self.active, name), "wb") as f:
                f.write(data)

    def driver(self, name, *options, **more):
        return super().driver(name, "--jetson", self.tools, *options, **more)

    def status(self, slot, name="status"):
        """Of the slot that runs."""
        assert slot == "a"
        return read(os.path.join(self.active, "boot/ota-status", name))

    def switches(self):
        """Which slots are chosen: (boot loader, root file system)."""
        found = dict(re.findall(r"(\w+)=(\S+)", read(self.path("nvbootctrl-state")) or ""))
        return found.get("loader_active", "0"), found.get("rootfs_active", "0")

    def start(self):
        """The machine restarts on slot 0, and what its run folder holds is gone."""
        for name in ("active_slot", "standby_slot"):
            # Left by a run that was stopped; a bind mount does not show as one from Python.
            subprocess.run(["umount", os.path.join(self.active, "run/otaclient/mnt", name)], capture_output=True)
        shutil.rmtree(os.path.join(self.active, "run"))
        os.makedirs(os.path.join(self.active, "run"))

    def check_booted(self, name):
        """The slot is the image, but for what makes it boot here, and that is right."""
        with self.mounted(writable=True) as root:
            menu = read(root + "/boot/extlinux/extlinux.conf").encode()
            assert NEW_ROOT in menu and b"mmcblk0p1" not in menu, menu
            assert read(root + "/boot/ota/ecu_info.yaml") == "ecu_id: jetson\n"
            told = {n: read(f"{root}/boot/ota-status/{n}") for n in os.listdir(root + "/boot/ota-status")}
            assert told == {"status": "UPDATING", "slot_in_use": "1", "version": "test", "other_slot": "0"}, told
            shutil.rmtree(root + "/boot/ota")
            shutil.rmtree(root + "/boot/ota-status")
            with open(root + "/boot/extlinux/extlinux.conf", "wb") as f:
                f.write(MENU)
        self.check(name, ignore_mtime_of=(b"/boot", b"/boot/extlinux", b"/boot/extlinux/extlinux.conf"))


def read(path):
    try:
        with open(path) as f:
            return f.read()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def jetson():
    with Jetson(slot_mib=32) as lab:
        lab.build("v1", make(1))
        lab.build("v2", make(2))
        yield lab


# ---- tests

def an_update_ends_with_a_slot_that_cboot_boots():
    with jetson() as lab:
        for name in ("v1", "v2", "v2"):
            lab.update(name)
            assert lab.switches() == ("1", "1"), lab.switches()
            assert lab.status("a") == "FAILURE" and lab.status("a", "slot_in_use") == "1"
            assert lab.status("a", "other_slot") == "1"
            lab.check_booted(name)
            lab.start()


def firmware_comes_with_the_slot():
    with jetson() as lab:
        lab.build("v3", make(3, firmware=True))
        lab.update("v3")
        assert read(lab.path("firmware_1")) == FIRMWARE.decode()
        assert lab.switches() == ("1", "1"), lab.switches()
        lab.check_booted("v3")


def an_image_that_cboot_cannot_boot_is_refused():
    with jetson() as lab:
        lab.build("bad", make(4, menu=MENU.replace(b"/boot/Image", b"/boot/Other")))
        lab.build("worse", make(5, menu=MENU + b"LABEL x\nAPPEND \\\n"))
        for name, why in (("bad", 'The entry "primary" boots "/boot/Other", which the image does not have'),
                          ("worse", "/boot/extlinux/extlinux.conf is unusable: Line 8 ends with a backslash, but no line can go on in "
                                    "the next one")):
            e = lab.fail(name)
            assert e.code == "E304" and e.sentence.endswith("Cannot make slot 1 bootable: " + why), e
            assert lab.switches() == ("0", "0"), lab.switches()
            assert lab.status("a") == "FAILURE"
            assert lab.status("a", "other_slot") is None
        lab.update("v1")
        lab.check_booted("v1")


def a_link_does_not_lead_out_of_the_slot():
    """From the root of the system that runs it would lead to a file that is nobody's business."""
    with jetson() as lab:
        outside = lab.path("outside")
        os.makedirs(outside)

        def into(root):
            make(6)(root)
            os.symlink(outside, root + "/boot/ota-status")
        lab.build("linked", into)
        e = lab.fail("linked")
        assert e.code == "E304" and e.sentence.endswith(": A link leads to the folder of the new system's status files"), e
        assert os.listdir(outside) == [], os.listdir(outside)
        # What the slot holds is that link now. What it leads to, the next update does not remove.
        with open(outside + "/complete", "w"):
            pass
        lab.start()
        lab.update("v1")
        assert os.listdir(outside) == ["complete"], os.listdir(outside)
        lab.check_booted("v1")


def a_stop_anywhere_is_made_good_by_the_next_update():
    with jetson() as lab:
        p = lab.driver("v1", "--count")
        assert p.returncode == 0, p.stderr
        n = int(re.search(r"\d+", p.stdout).group())
        places = 20
        assert n > 2 * places, n
        switched = 0
        # The last ones all: there are the switches.
        for at in sorted({n * i // places for i in range(1, places)} | set(range(n - 12, n + 1))):
            lab.reset()
            lab.wipe_slot()
            p = lab.driver("v1", "--stop-at", str(at))
            assert p.returncode == 77, p
            lab.start()
            loader, root = lab.switches()
            assert root == "0", (at, p.stderr)
            switched += loader == "1"
            lab.update("v2")
            assert lab.switches() == ("1", "1"), (at, lab.switches())
            lab.check_booted("v2")
        assert switched > 0


if __name__ == "__main__":
    enter_private_mounts()
    run([an_update_ends_with_a_slot_that_cboot_boots, firmware_comes_with_the_slot, an_image_that_cboot_cannot_boot_is_refused,
         a_link_does_not_lead_out_of_the_slot, a_stop_anywhere_is_made_good_by_the_next_update])
