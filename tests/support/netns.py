"""
netns: network namespaces besides the one that a test runs in. One lives as long as its object, or as a process in it.
"""

import concurrent.futures
import os
import subprocess

from pseudo_ecu import syscalls


class Namespace:
    def __init__(self):
        self.fd = in_a_thread(self._make)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"  # for ip(8) and nsenter(1)
        self.run("ip", "link", "set", "lo", "up")

    @staticmethod
    def _make():
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self):
        """For this thread, or between fork and exec."""
        syscalls.setns(self.fd)

    def call(self, function):
        """What @function returns, run in there: sockets that it opens stay in there."""

        def inside():
            self.enter()
            return function()

        return in_a_thread(inside)

    def run(self, *argv):
        subprocess.run(["nsenter", f"--net={self.path}", "--", *argv], stdin=subprocess.DEVNULL, check=True)

    def close(self):
        os.close(self.fd)


def in_a_thread(function):
    """A thread of its own, since a namespace entered is not left again."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
