"""
loader: ask the real GRUB which system a disk would boot.

Debian's grub-emu runs GRUB's own scripting, file systems and environment block on the raw image file, as the
firmware's GRUB does on the raw disk: no journal is replayed, and save_env writes to the disk. It cannot start a
Linux kernel, so `linux` and `initrd` are script functions here: they look for the files as the real commands do
and print what they would start. Must not run while the disk is attached.
"""

import os
import re
import select
import subprocess
import tempfile
import time

from . import disk

# The prefix is the boot partition, as grub-install would have set it. A grub.cfg switches to a graphical terminal,
# which is an invisible one here (CACA_DRIVER); what we print goes to the console again.
GRUB_CFG = """
function linux {
	terminal_output console
	unset pecu_kernel
	if [ -f "$1" ]; then
		set pecu_kernel="$1"
		echo "pecu-kernel $1"
		for word in "$@"; do
			echo "pecu-word $word"
		done
	else
		echo "pecu-error there is no kernel $1 on $root"
		false
	fi
}
function initrd {
	terminal_output console
	if [ -z "$pecu_kernel" ]; then
		echo "pecu-error the entry has an initrd, but no kernel"
		false
	else
		for file in "$@"; do
			if [ -f "$file" ]; then
				echo "pecu-initrd $file"
			else
				echo "pecu-error there is no initrd $file on $root"
			fi
		done
		echo "pecu-boot $chosen"
		exit
	fi
}
set root=%(root)s
set prefix=(%(root)s)/grub
export root
export prefix
configfile (%(root)s)/grub/grub.cfg
echo "pecu-error there is no grub.cfg on the boot partition"
exit
"""

TIMEOUT_S = 12  # a menu's own time limit included


class Choice:
    """What GRUB would start."""

    def __init__(self):
        self.entry = ""  # id of the menu entry
        self.kernel = ""  # path on the boot partition
        self.words = []  # kernel command line, without the kernel
        self.initrds = []
        self.fell_back = False  # the default entry failed, another one was tried
        self.uuid = ""  # of the root file system
        self.role = ""  # "slot_a" or "slot_b"

    def cmdline(self):
        return " ".join([f"BOOT_IMAGE={self.kernel}"] + self.words)


class NoBoot(disk.Error):
    """The machine stays in its boot loader, or its kernel finds no root."""


def choose(image):
    """Run the loader on the disk. Raises NoBoot with the reason and what GRUB said."""
    parts = disk.partitions_of(image)
    boot = next(p for p in parts if p.role == "boot")
    kind = "gpt" if len(parts) == 4 else "msdos"
    choice, said = _listen(image, f"hd0,{kind}{boot.number}")
    if not choice.entry and not choice.kernel:
        raise NoBoot(f"GRUB boots nothing: {said}")
    if not choice.initrds:
        raise NoBoot(f"GRUB has no initrd for {choice.kernel}: {said}")

    root = next((w.removeprefix("root=UUID=") for w in choice.words if w.startswith("root=")), "")
    choice.uuid = root
    slots = [p for p in parts if p.role.startswith("slot_")]
    part = next((p for p in slots if disk.probe(image, "UUID", p.start, p.size) == root), None)
    if part is None:
        raise NoBoot(f"The kernel of entry {choice.entry} finds no root file system {root or '(no root=UUID=)'}")
    choice.role = part.role
    return choice


def _listen(image, root):
    with tempfile.TemporaryDirectory(prefix="pseudo-ecu.") as folder:
        with open(f"{folder}/grub.cfg", "w", encoding="ascii") as f:
            f.write(GRUB_CFG % {"root": root})
        with open(f"{folder}/device.map", "w", encoding="ascii") as f:
            f.write(f"(hd0) {os.path.abspath(image)}\n")
        emu = subprocess.Popen(
            ["grub-emu", "-m", f"{folder}/device.map", "-r", "host", "-d", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "TERM": "dumb", "CACA_DRIVER": "null"},
        )
        try:
            return _read(emu)
        finally:
            emu.kill()
            emu.wait()
            emu.stdin.close()
            emu.stdout.close()


def _read(emu):
    """Read until GRUB boots, ends, or waits for a person."""
    raw = b""
    waits = False
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and not waits:
        ready, _, _ = select.select([emu.stdout], [], [], 0.5)
        chunk = os.read(emu.stdout.fileno(), 65536) if ready else b""
        if ready and not chunk:
            break
        raw += chunk
        waits = b"Press any key" in raw
    if emu.poll() is None and b"pecu-boot" not in raw:
        raw += b"\npecu-error it waits for a key\n"
    return _parse(raw)


def _parse(raw):
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode("utf-8", "replace")).replace("\r", "\n")
    choice = Choice()
    errors = []
    booted = False
    for line in text.splitlines():
        line = line.strip()
        tag, _, rest = line.partition(" ")
        if tag == "pecu-kernel":
            choice.kernel, choice.words, choice.initrds = rest, [], []
        elif tag == "pecu-word":
            choice.words.append(rest)
        elif tag == "pecu-initrd":
            choice.initrds.append(rest)
        elif tag == "pecu-boot":
            choice.entry, booted = rest, True
        elif tag == "pecu-error" or line.startswith("error:"):
            errors.append(line.removeprefix("pecu-error ").removeprefix("error: "))
        elif line.startswith("Falling back to"):
            choice.fell_back = True
    choice.words = choice.words[1:]
    if not booted:
        choice = Choice()
    return choice, "; ".join(errors) or "no reason given"
