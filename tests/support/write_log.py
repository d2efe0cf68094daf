"""
write_log: the disk that write_log.c is, and what its log says.

    with LoggedDisk(program, image, log, folder) as disk:
        …                                   # disk.path for a loop device, disk.mark for programs that tell their steps
    for record in read(log):
        …                                   # in the order in which they came

Needs root and /dev/fuse. The disk is gone when the process that made it is.
"""

import os
import signal
import struct
import subprocess
from typing import NamedTuple

HEADER = b"write_log 1\n"
RECORD = struct.Struct("=8sQQ")
RECORD_MAX_BYTES = 1 << 30  # of one write or mark; more is a log that is not one


class Record(NamedTuple):
    kind: str  # "write", "zeroes", "flush", "mark"
    offset: int
    size: int
    data: bytes  # of a write or a mark

    def content(self):
        """What a write or zeroes put on the disk."""
        return self.data if self.kind == "write" else bytes(self.size)


def read(path):
    """All records of a log. Raises ValueError where it is none, or ends within a record."""
    with open(path, "rb") as f:
        if f.read(len(HEADER)) != HEADER:
            raise ValueError(f"{path} is not the log of a disk")
        records = []
        while head := f.read(RECORD.size):
            if len(head) < RECORD.size:
                raise ValueError(f"{path} ends within record {len(records)}")
            kind, offset, size = RECORD.unpack(head)
            kind = kind.rstrip(b"\0").decode("ascii")
            if kind not in ("write", "zeroes", "flush", "mark") or size > RECORD_MAX_BYTES:
                raise ValueError(f"Record {len(records)} of {path} is none")
            data = f.read(size) if kind in ("write", "mark") else b""
            if kind in ("write", "mark") and len(data) < size:
                raise ValueError(f"{path} ends within record {len(records)}")
            records.append(Record(kind, offset, size, data))
        return records


class LoggedDisk:
    """A file system of two files, in a folder of ours."""

    def __init__(self, program, image, log, folder):
        self.argv = [program, image, log, folder]
        self.folder = folder
        self.path = os.path.join(folder, "disk")
        self.mark = os.path.join(folder, "mark")
        self.process = None

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "mounted\n":
            raise OSError(f"{self.argv[0]} ended with {self.process.wait()}")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)  # it unmounts, and nobody has it open any more
        self.process.wait()
        self.process.stdout.close()

    def say(self, text):
        """A mark of our own."""
        with open(self.mark, "wb", buffering=0) as f:
            f.write(text.encode())
