#!/usr/bin/env python3
"""The running system's own list says where contents are; whatever it says, the other slot ends as the image."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from patch_lab import lab_with_patches, patches, patches_asked, update  # noqa: E402
from trees import Tree, noise  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

FILES = {f"file-{i}": noise(3000 + i, str(i)) for i in range(20)}


def make(version):
    def make_tree(root):
        t = Tree(root)
        t.system()
        t.dir("/usr")
        for name, data in FILES.items():
            t.file("/usr/" + name, data)
        t.file(f"/usr/moves-{version}", noise(7000, "moves"))
        t.file(f"/usr/it's new in {version}", noise(8000, f"version {version}"))
        t.done()
    return make_tree


def give_list(lab, version="v1"):
    """As if an update to this version had made the active slot."""
    os.makedirs(lab.active + "/.ota-meta", mode=0o700, exist_ok=True)
    for name in ("metadata.jwt", "regulars.txt"):
        shutil.copy(lab.path("images", version, name), lab.active + "/.ota-meta/" + name)
    return lab.active + "/.ota-meta/regulars.txt"


def vouch_for_list(lab):
    """The metadata names this very list; nobody looks at its signature any more."""
    def coded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    path = lab.active + "/.ota-meta/metadata.jwt"
    with open(path) as f:
        head, payload, sign = f.read().split(".")
    entries = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    with open(lab.list, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    for entry in entries:
        if "regular" in entry:
            entry["hash"] = digest
    with open(path, "w") as f:
        f.write(".".join((head, coded(json.dumps(entries).encode()), sign)))


@contextlib.contextmanager
def lab_on_v1():
    """v1 runs, and has its list; the standby slot is empty."""
    with UpdateLab() as lab:
        lab.build("v1", make(1))
        lab.build("v2", make(2))
        os.rmdir(lab.active)
        shutil.copytree(lab.trees["v1"], lab.active, symlinks=True)
        lab.list = give_list(lab)
        yield lab


def update_of(lab):
    stats = lab.update("v2")
    lab.check("v2")
    return stats


def all_that_it_names_is_copied_from_wherever_it_is():
    with lab_on_v1() as lab:
        stats = update_of(lab)
        assert (stats["copied"], stats["fetched_contents"]) == (len(FILES) + 1, 1), stats


def what_it_does_not_name_is_not_looked_for():
    """Without it all of the slot would be searched, which is slower and finds it."""
    for has_list in (True, False):
        with lab_on_v1() as lab:
            with open(lab.active + "/usr/stray", "wb") as f:
                f.write(noise(8000, "version 2"))
            if not has_list:
                os.unlink(lab.list)
            stats = update_of(lab)
            assert stats["fetched_contents"] == (1 if has_list else 0), stats


def files_that_are_no_longer_what_it_says_are_fetched():
    def other_bytes(path):
        with open(path, "r+b") as f:
            f.write(b"#")

    def longer(path):
        with open(path, "ab") as f:
            f.write(b"#")

    def link(path):
        os.unlink(path)
        os.symlink("file-19", path)

    def fifo(path):
        os.unlink(path)
        os.mkfifo(path)

    changes = (other_bytes, longer, link, fifo, os.unlink)
    with lab_on_v1() as lab:
        for i, change in enumerate(changes):
            change(f"{lab.active}/usr/file-{i}")
        stats = update_of(lab)
        assert stats["fetched_contents"] == 1 + len(changes), stats


def content_that_one_place_has_lost_is_taken_from_another():
    """By the list if that shows at once, else by a look through all of the slot."""
    for spoil in (lambda path: os.truncate(path, 1), lambda path: open(path, "r+b").write(b"#")):
        with UpdateLab() as lab:
            def make_twice(version):
                def make_tree(root):
                    t = Tree(root)
                    t.system()
                    for name in ("a", "b"):
                        t.file("/" + name, noise(9000, "twice"))
                    t.file(f"/{version}", noise(4000, str(version)))
                    t.done()
                return make_tree

            lab.build("v1", make_twice(1))
            lab.build("v2", make_twice(2))
            os.rmdir(lab.active)
            shutil.copytree(lab.trees["v1"], lab.active, symlinks=True)
            give_list(lab)
            spoil(lab.active + "/a")
            stats = update_of(lab)
            assert stats["fetched_contents"] == 1, stats


def list_that_lies_costs_bytes_only():
    with lab_on_v1() as lab:
        with open(lab.list) as f:
            rows = [line.split(",", 5) for line in f.read().splitlines()]
        digests = [row[4] for row in rows]
        for row, digest in zip(rows, digests[1:] + digests[:1]):
            row[4] = digest
        new = hashlib.sha256(noise(8000, "version 2")).hexdigest()
        rows += [["0644", "0", "0", "1", new, f"'{path}',8000,,"] for path in ("/../../etc/passwd", "relative", "/usr", "/")]
        with open(lab.list, "w") as f:
            f.writelines(",".join(row) + "\n" for row in rows)
        vouch_for_list(lab)
        stats = update_of(lab)
        assert stats["fetched_contents"] > len(FILES), stats


def damaged_list_is_none():
    def cut(path):
        os.truncate(path, os.path.getsize(path) - 9)

    def empty(path):
        os.truncate(path, 0)

    def no_lines(path):
        with open(path, "wb") as f:
            f.write(b"x" * (1 << 20))

    def link(path):
        os.rename(path, path + "-too")
        os.symlink("regulars.txt-too", path)

    def fifo(path):
        os.unlink(path)
        os.mkfifo(path)

    for damage in (cut, empty, no_lines, link, fifo):
        with lab_on_v1() as lab:
            damage(lab.list)
            stats = update_of(lab)
            assert (stats["copied"], stats["fetched_contents"]) == (len(FILES) + 1, 1), (damage, stats)


def patches_find_what_they_are_made_from():
    with lab_with_patches() as lab:
        give_list(lab)
        update(lab)
        assert patches_asked(lab) == list(patches(lab)), lab.asked


def base_that_has_changed_costs_the_whole_content():
    with lab_with_patches() as lab:
        give_list(lab)
        with open(lab.active + "/usr/tool", "r+b") as f:
            f.write(b"#")
        update(lab)
        assert len(patches_asked(lab)) == len(patches(lab)) - 1, lab.asked
        assert "data/usr/tool" in str(lab.asked), lab.asked


if __name__ == "__main__":
    enter_private_mounts()
    run([
        all_that_it_names_is_copied_from_wherever_it_is,
        what_it_does_not_name_is_not_looked_for,
        files_that_are_no_longer_what_it_says_are_fetched,
        content_that_one_place_has_lost_is_taken_from_another,
        list_that_lies_costs_bytes_only,
        damaged_list_is_none,
        patches_find_what_they_are_made_from,
        base_that_has_changed_costs_the_whole_content,
    ])
