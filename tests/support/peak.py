"""peak: the most memory that a program and its children took, sampled while they run: what belongs to nobody else."""

import os
import re
import threading
import time


def own_bytes(pid):
    """Anonymous and shared memory of a process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return sum(map(int, re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", f.read(), re.M))) << 10
    except (FileNotFoundError, ProcessLookupError):
        return 0


def children_of(pid):
    try:
        pids = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                pids += map(int, f.read().split())
        return pids
    except (FileNotFoundError, ProcessLookupError):
        return []


class Peak(threading.Thread):
    """Samples until the process is gone. .own: of it alone; .below: of its children together."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.own, self.below, self.looks = pid, 0, 0, 0
        self.start()

    def run(self):
        while os.path.exists(f"/proc/{self.pid}/mem") and (own := own_bytes(self.pid)):
            self.own = max(self.own, own)
            self.below = max(self.below, sum(map(own_bytes, children_of(self.pid))))
            self.looks += 1
            time.sleep(0.01)
