"""patch_lab: an update_lab whose active slot has version 1, and whose image v2 offers patches from it.

    with lab_with_patches() as lab:
        update(lab)
        assert contents_asked(lab) == ["data/usr/only-2"]
"""

import contextlib
import os
import shutil
import subprocess

from trees import Tree, noise
from update_lab import QuietHandler, UpdateLab

BODY = noise(400_000, "body")
CHANGED = ("/usr/tool", "/etc/config", "/lib/5.10.0-1/net.ko", "/usr/same-size")


def make(version):
    """Contents that change: in one place, in a small file, under a path with a version in it, without a new size."""
    def make_tree(root):
        t = Tree(root)
        t.system()
        for path in ("/etc", "/usr", "/lib", f"/lib/5.10.0-{version}"):
            t.dir(path)
        word = b"version %d" % version
        t.file("/usr/tool", BODY[:9000] + word * version + BODY[9000:], 0o755)
        t.file("/etc/config", b"setting = 1\n" * 200 + word * version)
        t.file(f"/lib/5.10.0-{version}/net.ko", BODY[:150_000] + word * version)
        t.file("/usr/same-size", BODY[:50_000] + word + BODY[50_000:90_000])
        t.file("/usr/unchanged", noise(70_000, "unchanged"))
        t.file(f"/usr/only-{version}", noise(20_000, f"only {version}"))
        t.done()
    return make_tree


@contextlib.contextmanager
def lab_with_patches(*options, make=make):
    """The active slot has v1, the image v2 offers patches from it. lab.asked: what the server was asked for."""
    with UpdateLab() as lab:
        v1 = lab.build("v1", make(1))
        lab.build("v2", make(2), "--patch-from", v1, *options)
        fresh_active(lab)
        lab.asked = []
        lab.before_answer = lab.amid_answer = lambda path: None

        class Handler(QuietHandler):
            def do_GET(self):
                lab.asked.append(self.path.removeprefix("/v2/"))
                if "/patches/" in self.path:
                    lab.before_answer(self.path)
                super().do_GET()

            def copyfile(self, source, outputfile):
                if "/patches/" in self.path:
                    outputfile.write(source.read(1))
                    lab.amid_answer(self.path)
                super().copyfile(source, outputfile)

        handler = lab.server.RequestHandlerClass
        lab.server.RequestHandlerClass = lambda *args: Handler(*args, **handler.keywords)
        yield lab


def fresh_active(lab):
    shutil.rmtree(lab.active)
    subprocess.run(["cp", "-a", lab.trees["v1"], lab.active], check=True)


def make_long(version):
    """Lists that are long enough for patches; a line of one changes."""
    def make_tree(root):
        t = Tree(root)
        t.system()
        t.dir("/usr")
        for i in range(150):
            t.file(f"/usr/{i}", noise(100, str(i)))
        t.file("/usr/changed", b"version %d" % version)
        t.done()
    return make_tree


def keep_lists(lab):
    """What an update to v1 leaves on the active slot."""
    lab.wipe_slot()
    lab.update("v1")
    with lab.mounted() as point:
        subprocess.run(["cp", "-a", point + "/.ota-meta", lab.active], check=True)


def patches(lab):
    folder = lab.path("images/v2/patches")
    return {name: os.path.join(folder, name) for name in sorted(os.listdir(folder))}


def update(lab, *options):
    lab.wipe_slot()
    lab.asked.clear()
    stats = lab.update("v2", *options)
    lab.check("v2")
    return stats


def contents_asked(lab):
    return sorted(path for path in lab.asked if path.startswith("data"))


def patches_asked(lab):
    return sorted(path.removeprefix("patches/") for path in lab.asked if path.startswith("patches/"))
