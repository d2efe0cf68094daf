"""
disk: what is on the disk of a machine that is off. Looked at, and damaged, with debugfs, which needs neither mount nor
loop device; the file systems must have been left in order.
"""

import subprocess

from ecu_lab import Failed
from pseudo_ecu import disk as image


class Disk:
    def __init__(self, path, layout):
        self.path = path
        self.layout = layout

    def _part(self, role):
        return next(p for p in image.partitions_of(self.path) if p.role == role)

    def extent(self, role):
        """From which byte of the disk on, and up to which."""
        part = self._part(role)
        return part.start, part.start + part.size

    def uuid(self, role):
        part = self._part(role)
        return image.probe(self.path, "UUID", part.start, part.size)

    def debugfs(self, role, *commands, write=False):
        """Run commands of debugfs on a partition; what they print."""
        where = f"{self.path}?offset={self._part(role).start}"
        done = subprocess.run(["debugfs", *(["-w"] if write else []), "-f", "-", where], input="\n".join(commands) + "\n",
                              capture_output=True, text=True)
        # debugfs ends with 0 whatever happens; its first line on stderr is its version.
        said = [line for line in done.stderr.splitlines()[1:] if line.strip()]
        if done.returncode != 0 or said:
            raise Failed(["debugfs", *commands], done.returncode, " ".join(said))
        return done.stdout

    def read(self, role, path):
        where = f"{self.path}?offset={self._part(role).start}"
        return subprocess.run(["debugfs", "-R", f"cat {path}", where], capture_output=True, check=True).stdout

    def names(self, role, folder):
        """What is in a folder."""
        out = self.debugfs(role, f"ls -p {folder}")
        names = [line.split("/")[5] for line in out.splitlines() if line.startswith("/")]
        return sorted(n for n in names if n not in (".", ".."))

    def scratch(self, role):
        """The beginning of a file system, with its superblock, is gone."""
        with open(self.path, "r+b") as f:
            f.seek(self._part(role).start)
            f.write(bytes(64 << 10))

    def remove(self, role, path):
        self.debugfs(role, f"rm {path}", write=True)

    def overwrite(self, role, path, data):
        """New contents for a file that is there; its other names keep the old ones."""
        with open(f"{self.path}.new", "wb") as f:
            f.write(data)
        self.debugfs(role, f"rm {path}", f"write {self.path}.new {path}", write=True)
