"""
package_trees: three versions of one small tree, of what Debian's package sources have in several versions.

    make_package_trees("/var/cache/otaclient-bench")     # v0/, v1/, v2/ in there

v0 has the oldest version of each package, v2 the newest, v1 the newest of every second one. Packages are unpacked, not
installed; none brings a kernel, which without its initrd would be no system. Trees that are there stay. Needs apt-get,
dpkg-deb, and 1 GB.
"""

import functools
import os
import shutil
import subprocess

from bench_lab import Failed, make_slot_dirs, say, sh

VERSIONS = ("v0", "v1", "v2")
# In one version, as most of a system is from one release to the next.
CONSTANT = ("cmake-data", "vim-runtime", "coreutils", "e2fsprogs", "gdb", "bash", "libstdc++6")
# In at least two. What has only one stays as it is.
UPDATED = (
    "perl-modules-5.36", "libpython3.11-stdlib", "libpython3.11-minimal", "git", "openssl", "libssl3", "tzdata", "systemd", "udev",
    "grub-common", "grub-pc-bin", "openssh-client", "openssh-server", "curl", "libcurl4", "libglib2.0-0", "sudo",
    "ca-certificates", "libgs9-common", "bind9-libs", "libxml2",
)  # fmt: skip


def newer_first(a, b):
    return -1 if subprocess.run(["dpkg", "--compare-versions", a, "gt", b], check=False).returncode == 0 else 1


def versions_of(package):
    """Newest first."""
    found = {line.split("|")[1].strip() for line in sh("apt-cache", "madison", package).splitlines()}
    if not found:
        raise Failed(f"the package sources have no {package}; apt-get update?")
    return sorted(found, key=functools.cmp_to_key(newer_first))


def wanted():
    """[[package=version, …] of each of the VERSIONS]"""
    trees = [[], [], []]
    for i, package in enumerate(CONSTANT + UPDATED):
        versions = versions_of(package)
        for tree, at in zip(trees, (-1, -1 if i % 2 else 0, 0)):
            tree.append(f"{package}={versions[at if package in UPDATED else 0]}")
    return trees


def download(names, folder):
    """{package=version: its file}"""
    files = {}
    for name in names:
        place = os.path.join(folder, name.replace("/", "_"))
        os.makedirs(place)
        sh("apt-get", "-q", "download", name, cwd=place)
        file, = os.listdir(place)
        files[name] = os.path.join(place, file)
    return files


def make_package_trees(folder):
    if all(os.path.isdir(os.path.join(folder, v)) for v in VERSIONS):
        return
    part = os.path.join(folder, "part")
    shutil.rmtree(part, ignore_errors=True)
    trees = wanted()
    names = sorted(set(sum(trees, [])))
    say(f"fetching {len(names)} packages")
    files = download(names, os.path.join(part, "debs"))
    for version, packages in zip(VERSIONS, trees):
        tree = os.path.join(part, version)
        os.makedirs(tree)
        for package in packages:
            sh("dpkg-deb", "-x", files[package], tree)
        make_slot_dirs(tree)
        os.chmod(tree, 0o755)
    for version in VERSIONS:
        shutil.rmtree(os.path.join(folder, version), ignore_errors=True)
        os.rename(os.path.join(part, version), os.path.join(folder, version))
    shutil.rmtree(part)
