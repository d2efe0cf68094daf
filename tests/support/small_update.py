"""small_update: one whole update of a small tree, which is made to go wrong in one place, and its judgement.

Few files, but what the plan can do with them: keep, move, repeat, copy and fetch; a link group and a file that the machine
keeps. Whatever goes wrong, the update is refused with a sentence and the slot is not booted, or the slot is the image.
"""

import contextlib
import os

from trees import Tree, noise, text
from update_lab import UpdateLab

ONLY_HERE = b"only the active slot has it\n"


def make_small(version):
    """Few files, with all of keep, move, repeat, copy and fetch, a link group and a persistent file between the two versions."""
    def make(root):
        t = Tree(root)
        t.system()
        t.dir("/etc")
        t.dir("/usr")
        t.file("/etc/same", b"same\n", xattrs=[("user.note", b"%d" % version)])
        t.file("/etc/hosts", b"hosts of version %d\n" % version)
        t.file(f"/usr/moves-{version}", noise(9000, "moves"))
        t.file("/usr/repeated", noise(8000, "repeated"))
        t.file("/usr/large", noise(2 << 20, "large"), 0o600 + version)
        t.link("/usr/link", f"moves-{version}")
        t.dir(f"/usr/folder-{version}")
        t.file(f"/usr/folder-{version}/inside", text(3000, f"inside {version}"))
        if version == 2:
            t.file("/usr/repeated-too", noise(8000, "repeated"))
            t.file("/usr/new", text(30_000, "new"))
            t.file("/usr/new-large", noise(1 << 20, "new large"))
            t.file("/usr/copied", ONLY_HERE, 0o4755)
            t.name("/usr/copied", "/etc/copied-too")
            t.file("/usr/empty", b"")
        t.done()
    return make


@contextlib.contextmanager
def lab_before_the_update(slot_mib=32):
    with UpdateLab(slot_mib=slot_mib) as lab:
        lab.run_in_memory()
        lab.patience = ["--retry-ms", "5"]
        lab.build("v1", make_small(1))
        lab.build("v2", make_small(2), persistents=("/etc/machine",))
        lab.active = lab.path("active")
        for path, data in (("x", ONLY_HERE), ("etc/machine", b"the machine's own\n")):
            os.makedirs(os.path.dirname(os.path.join(lab.active, path)), exist_ok=True)
            with open(os.path.join(lab.active, path), "wb") as f:
                f.write(data)
        lab.update("v1")
        lab.save_slot("before")
        yield lab


def check_v2(lab):
    """v2, and the machine's own file."""
    with lab.mounted(writable=True) as root:
        with open(root + "/etc/machine", "rb") as f:
            assert f.read() == b"the machine's own\n"
        os.unlink(root + "/etc/machine")
    lab.check("v2", ignore_mtime_of=(b"/etc",))


def start_again(lab, slot="before"):
    if slot:
        lab.restore_slot(slot)
    for name in "ab":
        with open(lab.path("run", "status-" + name, "status"), "w") as f:
            f.write("SUCCESS")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(lab.path("run", "flipped"))


def is_flipped(lab):
    return os.path.lexists(lab.path("run", "flipped"))


def judge(lab, p, what, never=("E000", "E100")):
    """"refused", with another code than @never's, or "equal"; anything else is an error."""
    try:
        if p.returncode == 0:
            assert is_flipped(lab) and lab.status("b") == "UPDATING", (is_flipped(lab), lab.status("b"))
            check_v2(lab)
            return "equal"
        assert p.returncode == 1, f"it ended with {p.returncode}"
        last = p.stderr.strip().splitlines()[-1]
        code, _, sentence = last.partition(": ")
        assert code[0] == "E" and code not in never and sentence.isprintable(), last
        # What the loader might try now must not be committed; and if it is tried, it is whole.
        if is_flipped(lab):
            assert lab.status("b") != "UPDATING", f"it may be committed: {last}"
            check_v2(lab)
        return "refused"
    except Exception as e:
        raise AssertionError(f"{what}: {e}\n{p.stderr[-700:]}") from e
