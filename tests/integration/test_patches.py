#!/usr/bin/env python3
"""Updates by patches: what changed crosses the network as its difference to what the machine has, and a patch that is of
no use, whatever is wrong with it, costs the whole content and never the update."""

import contextlib
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import forge  # noqa: E402
from trees import Tree, noise  # noqa: E402
from update_lab import QuietHandler, UpdateLab, enter_private_mounts, run  # noqa: E402

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
def lab_with_patches(*options):
    """The active slot has v1, the image v2 offers patches from it. lab.asked: what the server was asked for."""
    with UpdateLab() as lab:
        v1 = lab.build("v1", make(1))
        lab.build("v2", make(2), "--patch-from", v1, *options)
        shutil.rmtree(lab.active)
        subprocess.run(["cp", "-a", lab.trees["v1"], lab.active], check=True)
        lab.asked = []

        class Handler(QuietHandler):
            def do_GET(self):
                lab.asked.append(self.path.removeprefix("/v2/"))
                super().do_GET()

        handler = lab.server.RequestHandlerClass
        lab.server.RequestHandlerClass = lambda *args: Handler(*args, **handler.keywords)
        yield lab


def patches(lab):
    folder = lab.path("images/v2/patches")
    return {name: os.path.join(folder, name) for name in sorted(os.listdir(folder))}


def update(lab):
    lab.wipe_slot()
    lab.asked.clear()
    stats = lab.update("v2")
    lab.check("v2")
    return stats


def contents_asked(lab):
    return sorted(path for path in lab.asked if path.startswith("data"))


def patches_asked(lab):
    return sorted(path.removeprefix("patches/") for path in lab.asked if path.startswith("patches/"))


def what_changed_is_fetched_as_patches():
    with lab_with_patches() as lab:
        stats = update(lab)
        assert len(patches(lab)) == len(CHANGED), patches(lab)
        assert patches_asked(lab) == list(patches(lab)), lab.asked
        assert contents_asked(lab) == ["data/usr/only-2"], lab.asked
        asked = (lab.path("images/v2", name) for name in lab.asked if "/" not in name)
        lists = sum(os.path.getsize(path) for path in asked if os.path.exists(path))
        patch_bytes = sum(os.path.getsize(path) for path in patches(lab).values())
        assert patch_bytes < 1000, patch_bytes
        assert stats["wire_bytes"] <= lists + patch_bytes + 20_000, (stats, lists, patch_bytes)
        # One has the size of the older content, which shows only when that is copied.
        assert "Plan: patch 3 contents for 3 files" in lab.log, lab.log
        assert "Fetching 5 contents, 4 of them as patches" in lab.log, lab.log


def contents_are_the_same_in_place_and_over_a_standby_that_is_older():
    with lab_with_patches() as lab:
        lab.build("v0", make(0))
        lab.wipe_slot()
        lab.update("v0")
        lab.asked.clear()
        lab.update("v2")
        lab.check("v2")
        assert patches_asked(lab) == list(patches(lab)), lab.asked


def damage(path, kind):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    if kind == "gone":
        os.unlink(path)
        return
    if kind == "flipped":
        data[len(data) // 2] ^= 0x55
    elif kind == "last byte flipped":
        data[-1] ^= 1
    elif kind == "cut":
        del data[-3:]
    elif kind == "empty":
        data.clear()
    elif kind == "longer":
        data += b"x"
    elif kind == "no frame":
        data[:] = b"not zstd" + data[8:]
    with open(path, "wb") as f:
        f.write(data)


def a_patch_that_is_of_no_use_costs_the_whole_content():
    with lab_with_patches() as lab:
        for kind in ("gone", "flipped", "last byte flipped", "cut", "empty", "longer", "no frame"):
            name, path = list(patches(lab).items())[0]
            shutil.copy(path, lab.path("kept"))
            damage(path, kind)
            update(lab)
            shutil.copy(lab.path("kept"), path)
            assert name in patches_asked(lab), f"{kind}: {lab.asked}"
            assert len(contents_asked(lab)) == 2, f"{kind}: {lab.asked}"
            assert "is not used: " in lab.log, f"{kind}: {lab.log}"


def a_patch_to_something_else_costs_the_whole_content():
    """Each in another's place: they decode to wrong bytes, or not at all."""
    with lab_with_patches() as lab:
        paths = list(patches(lab).values())
        shutil.copy(paths[0], lab.path("kept"))
        for one, other in zip(paths, paths[1:]):
            shutil.copy(other, one)
        shutil.copy(lab.path("kept"), paths[-1])
        update(lab)
        assert len(contents_asked(lab)) == 1 + len(CHANGED), lab.asked
        assert lab.log.count("is not used: ") == len(CHANGED), lab.log
        assert "What the server sends is not the patch " in lab.log, lab.log


def an_older_content_that_is_gone_or_changed_is_no_base():
    with lab_with_patches() as lab:
        os.unlink(lab.active + "/usr/tool")
        with open(lab.active + "/usr/same-size", "r+b") as f:
            f.write(b"another")
        update(lab)
        assert len(patches_asked(lab)) == 2, lab.asked
        assert len(contents_asked(lab)) == 3, lab.asked
        assert "is not used" not in lab.log, lab.log


def an_older_content_is_found_wherever_it_is():
    with lab_with_patches() as lab:
        os.makedirs(lab.active + "/opt")
        os.rename(lab.active + "/usr/tool", lab.active + "/opt/elsewhere")
        update(lab)
        assert len(patches_asked(lab)) == len(CHANGED), lab.asked


def a_list_that_cannot_be_had_costs_whole_contents():
    with lab_with_patches() as lab:
        path = lab.path("images/v2/patches.txt")
        shutil.copy(path, lab.path("kept"))
        for kind in ("gone", "flipped", "empty"):
            damage(path, kind)
            update(lab)
            shutil.copy(lab.path("kept"), path)
            assert patches_asked(lab) == [], f"{kind}: {lab.asked}"
            assert len(contents_asked(lab)) == 1 + len(CHANGED), f"{kind}: {lab.asked}"
            assert "The image's patches are not used: " in lab.log, f"{kind}: {lab.log}"


def a_signed_list_that_lies_costs_no_more_than_whole_contents():
    def other_size(columns):
        columns[3] = str(int(columns[3]) + 1)

    def tiny(columns):
        columns[3] = "1"

    def other_base_size(columns):
        columns[2] = str(int(columns[2]) + 1)

    def other_digest(columns):
        columns[4] = "0" * 64

    def not_in_the_image(columns):
        columns[0] = "f" * 64

    def absurd(columns):
        columns[2] = "9" * 30

    with lab_with_patches() as lab:
        good = lab.path("images/good")
        os.rename(lab.path("images/v2"), good)

        def with_list(change):
            forge(good, lab.path("images/v2"), lab.path("certs/sign.key"), {"patches.txt": change})
            update(lab)

        def with_lie(lie):
            def change(data):
                lines = data.decode().split("\n")
                columns = lines[-1].split(",")
                lie(columns)
                return "\n".join(lines[:-1] + [",".join(columns)]).encode()
            with_list(change)

        # What the machine sees of a patch itself counts, not what the list says of it.
        for lie, n_whole in ((other_size, 0), (tiny, 1), (other_base_size, 1), (other_digest, 0),
                             (not_in_the_image, 4), (absurd, 4)):
            with_lie(lie)
            assert len(contents_asked(lab)) == 1 + n_whole, f"{lie.__name__}: {lab.asked} {lab.log}"
        with_list(lambda data: data + b"\n" + data.split(b"\n")[-1])
        assert "is out of order; lines are sorted" in lab.log, lab.log


def a_killed_update_goes_on_with_patches():
    with lab_with_patches() as lab:
        total = int(lab.driver("v2", "--count").stdout.splitlines()[0])
        for at in range(1, total + 1, max(1, total // 12)):
            lab.wipe_slot()
            lab.driver("v2", "--kill-at", str(at))
            lab.update("v2")
            lab.check("v2")


if __name__ == "__main__":
    enter_private_mounts()
    run([
        what_changed_is_fetched_as_patches,
        contents_are_the_same_in_place_and_over_a_standby_that_is_older,
        a_patch_that_is_of_no_use_costs_the_whole_content,
        a_patch_to_something_else_costs_the_whole_content,
        an_older_content_that_is_gone_or_changed_is_no_base,
        an_older_content_is_found_wherever_it_is,
        a_list_that_cannot_be_had_costs_whole_contents,
        a_signed_list_that_lies_costs_no_more_than_whole_contents,
        a_killed_update_goes_on_with_patches,
    ])
