#!/usr/bin/env python3
"""Updates by patches: what changed crosses the network as its difference to what the machine has, and a patch that is of
no use, whatever is wrong with it, costs the whole content and never the update."""

import contextlib
import glob
import hashlib
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import forge  # noqa: E402
from patch_lab import (CHANGED, contents_asked, fresh_active, keep_lists, lab_with_patches, make, make_long,  # noqa: E402
                       patches, patches_asked, update)
from trees import Tree, noise  # noqa: E402
from update_lab import enter_private_mounts, run  # noqa: E402

MANY = 120


def make_many(version):
    def make_tree(root):
        t = Tree(root)
        t.system()
        for i in range(MANY):
            t.file(f"/{i}", noise(5000, str(i)) + b"%d" % version)
        t.done()
    return make_tree


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


def reframed(frame, flags, window, content_bytes=None):
    """@frame with another header: its flags, its window (a byte, or none), the size of the content in 8 bytes."""
    single, size_flag = frame[4] >> 5 & 1, frame[4] >> 6
    assert frame[4] & 3 == 0, "no identifier of a dictionary"
    at, length = 5 + (not single), (single, 2, 4, 8)[size_flag]
    size = int.from_bytes(frame[at:at + length], "little") + 256 * (length == 2)
    header = frame[:4] + bytes([flags, *window])
    return header + (size if content_bytes is None else content_bytes).to_bytes(8, "little") + frame[at + length:]


# What a patch can be made into: the flags say that the content's size has 8 bytes, and in 0x20 that it is the window.
FRAMES = {
    "announces 2^62 bytes": (0xe0, b"", 1 << 62),
    "announces 2^62 bytes, small window": (0xc0, b"\x00", 1 << 62),
    "window of 2^31": (0xc0, bytes([21 << 3])),
    "window of 2^41": (0xc0, b"\xff"),
    "says nothing of its size": (0xe0, b"", (1 << 64) - 1),
}


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
    elif kind == "endless":
        data += bytes(64 << 20)
    elif kind == "no frame":
        data[:] = b"not zstd" + data[8:]
    elif kind in FRAMES:
        data[:] = reframed(bytes(data), *FRAMES[kind])
    else:
        raise ValueError(kind)
    with open(path, "wb") as f:
        f.write(data)


def a_patch_that_is_of_no_use_costs_the_whole_content():
    with lab_with_patches() as lab:
        for kind in ("gone", "flipped", "last byte flipped", "cut", "empty", "longer", "endless", "no frame", *FRAMES):
            name, path = list(patches(lab).items())[0]
            shutil.copy(path, lab.path("kept"))
            damage(path, kind)
            update(lab)
            shutil.copy(lab.path("kept"), path)
            assert name in patches_asked(lab), f"{kind}: {lab.asked}"
            assert len(contents_asked(lab)) == 2, f"{kind}: {lab.asked}"
            assert lab.log.count("is not used: ") == 1, f"{kind}: {lab.log}"
            assert "No more patches" not in lab.log, f"{kind}: {lab.log}"


def the_header_that_is_made_anew_is_a_good_one():
    """Else the frames that are refused above would be refused for something else."""
    with lab_with_patches() as lab:
        good = lab.path("images/good")
        os.rename(lab.path("images/v2"), good)

        def longer_by_its_header(data):
            lines = [line.split(",") for line in data.decode().split("\n")]
            for columns in lines:
                columns[3] = str(int(columns[3]) + 9)
            return "\n".join(map(",".join, lines)).encode()

        forge(good, lab.path("images/v2"), lab.path("certs/sign.key"), {"patches.txt": longer_by_its_header})
        for path in patches(lab).values():
            with open(path, "rb") as f:
                frame = f.read()
            os.unlink(path)  # the good image has it too
            with open(path, "wb") as f:
                f.write(reframed(frame, 0xc0, bytes([20 << 3])))
        update(lab)
        assert len(patches_asked(lab)) == len(CHANGED), lab.asked
        assert len(contents_asked(lab)) == 1, f"{lab.asked} {lab.log}"


def patches_that_all_fail_are_given_up():
    # Those of two threads may be under way, sixteen each.
    at_most = 16 + 2 * 16
    with lab_with_patches(make=make_many) as lab:
        for kind, why in (("flipped", "What the server sends is not the patch "), ("gone", "404")):
            for path in patches(lab).values():
                damage(path, kind)
            update(lab)
            assert 16 <= len(patches_asked(lab)) <= at_most, f"{kind}: {len(patches_asked(lab))}"
            assert len(contents_asked(lab)) == MANY, f"{kind}: {len(contents_asked(lab))}"
            said = [line for line in lab.log.splitlines() if "No more patches" in line]
            assert len(said) == 1, f"{kind}: {lab.log}"
            words = "No more patches are fetched for this image: 16 in a row were of no use, the last one since: "
            assert words in said[0] and why in said[0], f"{kind}: {said}"


def a_patch_that_is_of_use_lets_others_be_tried_on():
    """One in four fails, in an order that is left to chance: sixteen in a row will not come."""
    with lab_with_patches(make=make_many) as lab:
        bad = list(patches(lab).values())[::4]
        assert len(bad) > 16
        for path in bad:
            damage(path, "gone")
        update(lab)
        assert len(patches_asked(lab)) == MANY, len(patches_asked(lab))
        assert len(contents_asked(lab)) == len(bad), lab.asked
        assert "No more patches" not in lab.log, lab.log


def spoil(path, kind):
    if kind == "changed":
        with open(path, "r+b") as f:
            f.write(b"something else")
    elif kind == "shorter":
        os.truncate(path, 4096)
    elif kind == "emptied":
        os.truncate(path, 0)
    else:
        os.unlink(path)
        {"gone": lambda: None,
         "link": lambda: os.symlink("same-size", path),
         "link out": lambda: os.symlink("/dev/zero", path),
         "fifo": lambda: os.mkfifo(path),
         "folder": lambda: os.mkdir(path),
         "device": lambda: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))}[kind]()


SPOILT = ("changed", "shorter", "emptied", "gone", "link", "link out", "fifo", "folder", "device")


def an_older_content_that_is_spoilt_once_it_was_found_costs_the_whole_content():
    """By a program that runs behind the plan and before the first content is fetched."""
    with lab_with_patches() as lab:
        folder = lab.path("hooks.d/pre-update")
        os.makedirs(folder)
        os.chmod(lab.path("hooks.d"), 0o755)
        os.chmod(folder, 0o755)
        for kind in SPOILT:
            fresh_active(lab)
            with open(folder + "/10-spoil", "w") as f:
                f.write(f"#!/bin/sh\nexec {sys.executable} {os.path.abspath(__file__)} --spoil {lab.active}/usr/tool '{kind}'\n")
            os.chmod(folder + "/10-spoil", 0o755)
            update(lab, "--hooks", lab.path("hooks.d"))
            assert "Fetching 5 contents, 4 of them as patches" in lab.log, f"{kind}: {lab.log}"
            assert len(contents_asked(lab)) == 2, f"{kind}: {lab.asked} {lab.log}"


def is_mapped(path):
    """By any process."""
    st = os.stat(path)
    wanted = [f"{os.major(st.st_dev):02x}:{os.minor(st.st_dev):02x}", str(st.st_ino)]
    for maps in glob.glob("/proc/[0-9]*/maps"):
        with contextlib.suppress(OSError), open(maps, encoding="utf-8", errors="replace") as f:
            if any(line.split()[3:5] == wanted for line in f):
                return True
    return False


def wait_until_mapped(path):
    end = time.monotonic() + 20
    while not is_mapped(path):
        assert time.monotonic() < end, f"{path} is not mapped"
        time.sleep(0.01)


def an_older_content_that_is_spoilt_while_its_patch_comes_costs_the_whole_content():
    """With the first byte it is mapped, so what becomes shorter after that is a fault of the memory."""
    def spoil_once(path):
        # Not while another patch comes: then the older content might not have been opened yet.
        if f"/patches/{new}." in path and "spoilt" not in lab.asked:
            lab.asked.append("spoilt")
            spoil(tool, kind)

    def spoil_once_mapped(path):
        if f"/patches/{new}." in path and "spoilt" not in lab.asked:
            wait_until_mapped(tool)
            spoil_once(path)

    with lab_with_patches() as lab:
        tool = lab.active + "/usr/tool"
        with open(lab.trees["v2"] + "/usr/tool", "rb") as f:
            new = hashlib.sha256(f.read()).hexdigest()
        other_bytes, other_size = "What the fetcher has written is not ", "has another size by now"
        for kind, before, amid in (("changed", other_bytes, other_bytes), ("shorter", other_size, "Input/output error"),
                                   ("emptied", other_size, "Input/output error"), ("gone", None, None)):
            for when, why in (("before_answer", before), ("amid_answer", amid)):
                n_whole = 1 if why else 0
                fresh_active(lab)
                lab.before_answer = lab.amid_answer = lambda path: None
                setattr(lab, when, spoil_once if when == "before_answer" else spoil_once_mapped)
                update(lab)
                assert "spoilt" in lab.asked, f"{kind} {when}: {lab.log}"
                assert len(patches_asked(lab)) == len(CHANGED), f"{kind} {when}: {lab.asked}"
                assert len(contents_asked(lab)) == 1 + n_whole, f"{kind} {when}: {lab.asked} {lab.log}"
                said = [line for line in lab.log.splitlines() if "is not used: " in line]
                assert len(said) == n_whole and (not why or why in said[0]), f"{kind} {when}: {lab.log}"


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
        # A patch from another content than the list says: the machine has that one, and the server the patch.
        unchanged = noise(70_000, "unchanged")

        def wrong_base(columns):
            other = hashlib.sha256(unchanged).hexdigest()
            shutil.copy(f"{good}/patches/{columns[0]}.{columns[1]}.zst", f"{good}/patches/{columns[0]}.{other}.zst")
            columns[1:3] = other, str(len(unchanged))

        with_lie(wrong_base)
        assert len(patches_asked(lab)) == len(CHANGED), lab.asked
        assert len(contents_asked(lab)) == 2, f"{lab.asked} {lab.log}"
        assert lab.log.count("is not used: ") == 1, lab.log
        with_list(lambda data: data + b"\n" + data.split(b"\n")[-1])
        assert contents_asked(lab) and patches_asked(lab) == [], lab.asked
        assert "is out of order; lines are sorted" in lab.log, lab.log


def lists_asked(lab):
    return sorted(path for path in lab.asked if path.endswith((".txt", ".txt.zst")))


def lists_are_made_of_those_that_the_last_update_has_left():
    with lab_with_patches(make=make_long) as lab:
        keep_lists(lab)
        update(lab)
        assert len(patches_asked(lab)) == 1 and patches_asked(lab) == list(patches(lab)), lab.asked
        # Of regulars.txt. The other lists are the same, and the list of patches is not kept.
        assert lists_asked(lab) == ["patches.txt"], lab.asked
        assert "is not used" not in lab.log and "is fetched" not in lab.log, lab.log
        with lab.mounted() as point:
            for name in ("regulars.txt", "attributes.txt", "dirs.txt"):
                with open(f"{point}/.ota-meta/{name}", "rb") as f, open(lab.path("images/v2", name), "rb") as g:
                    assert f.read() == g.read(), name
        # What is running then has the very lists.
        lab.build_image("v2-again", lab.trees["v2"])
        shutil.rmtree(lab.active + "/.ota-meta")
        with lab.mounted() as point:
            shutil.copytree(point + "/.ota-meta", lab.active + "/.ota-meta")
        lab.update("v2-again")
        lab.check("v2-again")


def a_list_whose_patch_or_older_form_is_of_no_use_is_fetched():
    with lab_with_patches(make=make_long) as lab:
        keep_lists(lab)
        for kind in ("gone", "flipped", "endless"):
            name, path = list(patches(lab).items())[0]
            shutil.copy(path, lab.path("kept"))
            damage(path, kind)
            update(lab)
            shutil.copy(lab.path("kept"), path)
            assert patches_asked(lab).count(name) == 1, f"{kind}: {lab.asked}"
            assert len(lists_asked(lab)) == 2, f"{kind}: {lab.asked} {lab.log}"
            assert lab.log.count("The patch to the image's ") == 1, f"{kind}: {lab.log}"
        for kind in ("changed", "gone", "device"):
            path = lab.active + "/.ota-meta/regulars.txt"
            shutil.copy(path, lab.path("kept"))
            spoil(path, kind)
            update(lab)
            shutil.rmtree(path, ignore_errors=True)
            if os.path.lexists(path):
                os.unlink(path)
            shutil.copy(lab.path("kept"), path)
            assert patches_asked(lab) == [], f"{kind}: {lab.asked}"
            assert lab.log.count("The patch to the image's regulars.txt is not used: ") == 1, f"{kind}: {lab.log}"


def a_killed_update_goes_on_with_patches():
    with lab_with_patches() as lab:
        total = int(lab.driver("v2", "--count").stdout.splitlines()[0])
        for at in range(1, total + 1, max(1, total // 12)):
            lab.wipe_slot()
            lab.driver("v2", "--kill-at", str(at))
            lab.update("v2")
            lab.check("v2")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--spoil"]:
        spoil(*sys.argv[2:])
        sys.exit()
    enter_private_mounts()
    run([
        what_changed_is_fetched_as_patches,
        contents_are_the_same_in_place_and_over_a_standby_that_is_older,
        a_patch_that_is_of_no_use_costs_the_whole_content,
        the_header_that_is_made_anew_is_a_good_one,
        a_patch_to_something_else_costs_the_whole_content,
        patches_that_all_fail_are_given_up,
        a_patch_that_is_of_use_lets_others_be_tried_on,
        an_older_content_that_is_spoilt_once_it_was_found_costs_the_whole_content,
        an_older_content_that_is_spoilt_while_its_patch_comes_costs_the_whole_content,
        an_older_content_that_is_gone_or_changed_is_no_base,
        an_older_content_is_found_wherever_it_is,
        a_list_that_cannot_be_had_costs_whole_contents,
        a_signed_list_that_lies_costs_no_more_than_whole_contents,
        lists_are_made_of_those_that_the_last_update_has_left,
        a_list_whose_patch_or_older_form_is_of_no_use_is_fetched,
        a_killed_update_goes_on_with_patches,
    ])
