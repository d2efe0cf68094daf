#!/usr/bin/python3
"""
The Debian packages: built from the sources, checked by lintian; otaclient installed into a Debian 12, removed and
purged. The image tools, whose libraries a vehicle does not carry, are unpacked and run on this host.

Arguments: the root of the source tree. Needs root, scripts/setup's packages, and the root file system that
tests/support/rootfs/make makes, which it makes if it is missing. The copy that the packages go into has a mount
namespace and no network.
"""
import glob
import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.path.abspath(sys.argv.pop(1))
ROOTFS = os.environ.get("OTACLIENT_ROOTFS", "/var/cache/otaclient-demo")
SUPPORT = os.path.join(SOURCE, "tests/support")
NOT_SOURCES = shutil.ignore_patterns(".git", "build", "build-*", "obj-*", "__pycache__", ".cache")

# owner, group, mode and type of what is there once the package is installed
INSTALLED = {
    "/usr/bin/otaclient": "root root 755 regular file",
    "/usr/bin/otactl": "root root 755 regular file",
    "/usr/bin/otaproxy": "root root 755 regular file",
    "/usr/libexec/otaclient-fetcher": "root root 755 regular file",
    "/etc/otaclient/otaclient.yaml": "root root 644 regular file",
    "/etc/otaclient/health.d": "root root 755 directory",
    "/etc/otaclient/hooks.d/pre-update": "root root 755 directory",
    "/etc/otaclient/hooks.d/post-update": "root root 755 directory",
    "/etc/otaclient/hooks.d/pre-reboot": "root root 755 directory",
    "/etc/otaclient/hooks.d/post-commit": "root root 755 directory",
    "/etc/default/grub.d/otaclient.cfg": "root root 644 regular file",
    "/lib/systemd/system/otaclient.service": "root root 644 regular file",
    "/etc/systemd/system/multi-user.target.wants/otaclient.service": "root root 777 symbolic link",
    "/lib/systemd/system/otaclient-commit-guard.service": "root root 644 regular file",
    "/lib/systemd/system/otaclient-commit-guard.timer": "root root 644 regular file",
    "/etc/systemd/system/sysinit.target.wants/otaclient-commit-guard.timer": "root root 777 symbolic link",
    "/usr/lib/sysusers.d/otaclient.conf": "root root 644 regular file",
    "/usr/lib/tmpfiles.d/otaclient.conf": "root root 644 regular file",
    "/etc/systemd/system.conf.d/otaclient-watchdog.conf": "root root 644 regular file",
    "/usr/share/initramfs-tools/hooks/otaclient-watchdog": "root root 755 regular file",
    "/usr/share/initramfs-tools/scripts/init-bottom/otaclient-watchdog": "root root 755 regular file",
    "/usr/share/bash-completion/completions/otactl": "root root 644 regular file",
    "/usr/share/doc/otaclient/examples/ecu_info.yaml.example": "root root 644 regular file",
    "/usr/share/man/man1/otactl.1.gz": "root root 644 regular file",
    "/usr/share/man/man5/otaclient.yaml.5.gz": "root root 644 regular file",
    "/usr/share/man/man8/otaclient.8.gz": "root root 644 regular file",
    "/usr/share/man/man8/otaproxy.8.gz": "root root 644 regular file",
    "/ota-cache": "otaproxy otaproxy 700 directory",
}


def run(*argv, cwd=None):
    done = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError("%s ended with %d:\n%s" % (" ".join(argv), done.returncode, done.stdout[-4000:]))
    return done.stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        run(os.path.join(SUPPORT, "rootfs/make"), ROOTFS)
        cls.folder = tempfile.mkdtemp(prefix="ota-package-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        tree = os.path.join(cls.folder, "otaclient")
        shutil.copytree(SOURCE, tree, symlinks=True, ignore=NOT_SOURCES)
        cls.build_log = run("dpkg-buildpackage", "-us", "-uc", "-b", cwd=tree)
        cls.debs = sorted(d for d in glob.glob(cls.folder + "/*.deb") if "dbgsym" not in d)
        cls.changes, = glob.glob(cls.folder + "/*.changes")
        cls.root = os.path.join(cls.folder, "root")
        run("cp", "-a", os.path.join(ROOTFS, "old"), cls.root)
        os.makedirs(cls.root + "/boot/ota", exist_ok=True)
        with open(cls.root + "/boot/ota/ecu_info.yaml", "w") as f:
            f.write("ecu_id: mine\n")
        cls.tools, cls.client = cls.debs
        shutil.copy(cls.client, cls.root + "/tmp")

    def inside(self, *argv):
        return run(os.path.join(SUPPORT, "private-mounts"), "unshare", "--net", "sh", "-ec",
                   'root=$1; shift; mount -t proc proc "$root/proc"; exec chroot "$root" "$@"', "sh", self.root,
                   "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
                   *argv)

    def there(self, path):
        return os.path.lexists(self.root + path)

    def test_1_lintian_has_nothing_to_say(self):
        said = run("lintian", "--allow-root", "--fail-on", "error,warning", self.changes)
        self.assertEqual([line for line in said.splitlines() if line[:2] in ("E:", "W:")], [])

    def test_2_two_packages_with_what_belongs_into_them(self):
        self.assertEqual([os.path.basename(d).split("_")[0] for d in self.debs], ["ota-image-tools", "otaclient"])
        names = {p: run("dpkg-deb", "-c", d) for p, d in zip(("tools", "client"), self.debs)}
        self.assertIn("./usr/bin/metadata_gen\n", names["tools"])
        self.assertNotIn("metadata_gen", names["client"])
        self.assertNotIn("/boot", names["client"])

    def test_3_installed_everything_has_its_owner_and_mode(self):
        self.inside("sh", "-c", "dpkg -i /tmp/otaclient_*.deb")
        for path, want in INSTALLED.items():
            self.assertEqual(self.inside("stat", "-c", "%U %G %a %F", path).strip(), want, path)

    def test_3_installed_the_documents_are_where_the_product_says(self):
        named = set()
        for path in ("/usr/bin/otactl", "/usr/bin/otaclient", "/etc/otaclient/otaclient.yaml"):
            with open(self.root + path, "rb") as f:
                named |= set(re.findall(rb"/usr/share/doc/[a-z./-]+[a-z]", f.read()))
        for path in glob.glob(self.root + "/usr/share/man/man*/ota*"):
            with gzip.open(path) as f:
                named |= set(re.findall(rb"/usr/share/doc/[a-z./-]+[a-z]", f.read().replace(b"\\-", b"-")))
        self.assertIn(b"/usr/share/doc/otaclient/hooks.md", named)
        for path in sorted(named):
            self.assertTrue(self.there(path.decode()), path)

    def test_4_installed_the_programs_run(self):
        for program in ("otaclient", "otactl", "otaproxy"):
            self.assertIn(" 4.", self.inside(program, "--version"), program)
        self.assertTrue(self.inside("getent", "passwd", "otaproxy").rstrip().endswith("nologin"))

    def test_4_unpacked_the_image_tools_run(self):
        tools = os.path.join(self.folder, "tools")
        run("dpkg-deb", "-x", self.tools, tools)
        self.assertIn(" 4.", run(tools + "/usr/bin/metadata_gen", "--version"))
        run(tools + "/usr/share/ota-image-tools/make-dev-certs", tools + "/keys")
        self.assertTrue(os.path.exists(tools + "/keys/sign.key"))
        self.assertTrue(os.path.exists(tools + "/usr/share/man/man1/metadata_gen.1.gz"))

    def test_5_systemd_understands_the_unit(self):
        for unit in ("otaclient.service", "otaclient-commit-guard.timer"):
            self.assertEqual(self.inside("systemd-analyze", "verify", "--man=no", unit), "")

    def test_5_grub_mkconfig_gets_a_kernel_line_that_ends_a_panic(self):
        for before, want in (("true", "panic=10|"),
                             ("GRUB_CMDLINE_LINUX=quiet", "quiet panic=10|"),
                             ("GRUB_CMDLINE_LINUX='panic=3 quiet'", "panic=3 quiet|"),
                             ("GRUB_CMDLINE_LINUX_DEFAULT=panic=0", "|panic=0")):
            said = self.inside("sh", "-euc", "GRUB_CMDLINE_LINUX=; GRUB_CMDLINE_LINUX_DEFAULT=; " + before +
                               '; . /etc/default/grub.d/otaclient.cfg; '
                               'echo "$GRUB_CMDLINE_LINUX|$GRUB_CMDLINE_LINUX_DEFAULT"')
            self.assertEqual(said.strip(), want)

    def test_6_removed_it_leaves_configuration_and_cache(self):
        self.inside("dpkg", "--remove", "otaclient")
        self.assertFalse(self.there("/usr/bin/otaclient"))
        self.assertTrue(self.there("/etc/otaclient/otaclient.yaml"))
        self.assertTrue(self.there("/ota-cache"))

    def test_7_purged_it_leaves_what_is_the_machines(self):
        with open(self.root + "/ota-cache/content", "w") as f:
            f.write("kept by the proxy\n")
        self.inside("dpkg", "--purge", "otaclient")
        for path in INSTALLED:
            self.assertFalse(self.there(path), path)
        self.assertFalse(self.there("/etc/otaclient"))
        with open(self.root + "/boot/ota/ecu_info.yaml") as f:
            self.assertEqual(f.read(), "ecu_id: mine\n")
        self.assertTrue(stat.S_ISDIR(os.stat(self.root + "/boot/ota").st_mode))


if __name__ == "__main__":
    unittest.main(verbosity=2, failfast=True)
