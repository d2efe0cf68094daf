#!/usr/bin/env python3
"""Patches through otaproxy: each crosses the uplink once for all who need it, and one that is damaged is not kept.

Real: metadata_gen, the updater, otaproxy, ext4. Needs root and loop devices.
"""

import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from patch_lab import (CHANGED, contents_asked, keep_lists, lab_with_patches, make_long, patches,  # noqa: E402
                       patches_asked, update)
from proxy_lab import Proxy  # noqa: E402
from trees import Tree, noise  # noqa: E402
from update_lab import enter_private_mounts, run  # noqa: E402


@contextlib.contextmanager
def proxy(lab, name, *options):
    """With a cache of its own, in memory. Gives the option of a client that fetches through it."""
    cache = lab.path("memory", name)
    os.mkdir(cache)
    p = Proxy(cache, *options)
    try:
        yield ["--proxy", f"http://127.0.0.1:{p.port}"]
    finally:
        p.end()


def flip(path):
    """In place, and back again when it is called once more."""
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 0x55]))


def a_patch_is_fetched_once_for_all_clients_of_a_proxy():
    with lab_with_patches() as lab, proxy(lab, "cache") as through:
        update(lab, *through)
        assert patches_asked(lab) == list(patches(lab)), lab.asked
        assert contents_asked(lab) == ["data/usr/only-2"], lab.asked
        for path in patches(lab).values():
            flip(path)  # nobody looks there any more
        update(lab, *through)
        assert patches_asked(lab) == [], lab.asked
        assert contents_asked(lab) == [], lab.asked
        assert "is not used: " not in lab.log, lab.log


def a_damaged_patch_is_not_kept_by_the_proxy():
    with lab_with_patches() as lab, proxy(lab, "cache") as through:
        name, path = list(patches(lab).items())[0]
        flip(path)
        update(lab, *through)
        assert patches_asked(lab).count(name) >= 1, lab.asked
        assert len(contents_asked(lab)) == 2, f"{lab.asked} {lab.log}"
        assert lab.log.count("is not used: ") == 1, lab.log
        flip(path)
        update(lab, *through)
        assert patches_asked(lab) == [name], lab.asked
        assert "is not used: " not in lab.log, lab.log
        update(lab, *through)
        assert patches_asked(lab) == [], lab.asked


def a_patch_that_the_server_has_not_costs_the_whole_content_through_a_proxy_too():
    with lab_with_patches() as lab, proxy(lab, "cache") as through:
        name, path = list(patches(lab).items())[0]
        os.unlink(path)
        update(lab, *through)
        assert patches_asked(lab).count(name) == 1, lab.asked
        assert len(contents_asked(lab)) == 2, f"{lab.asked} {lab.log}"


def the_patch_of_a_list_is_fetched_once_for_all_clients_of_a_proxy():
    with lab_with_patches(make=make_long) as lab, proxy(lab, "cache") as through:
        keep_lists(lab)
        update(lab, *through)
        assert len(patches_asked(lab)) == 1 and patches_asked(lab) == list(patches(lab)), lab.asked
        assert "is not used: " not in lab.log, lab.log
        for path in patches(lab).values():
            flip(path)  # nobody looks there any more
        update(lab, *through)
        assert patches_asked(lab) == [], lab.asked
        assert "is not used: " not in lab.log, lab.log


def a_damaged_patch_of_a_list_is_not_kept_by_the_proxy():
    with lab_with_patches(make=make_long) as lab, proxy(lab, "cache") as through:
        keep_lists(lab)
        name, path = list(patches(lab).items())[0]
        flip(path)
        update(lab, *through)
        assert patches_asked(lab).count(name) >= 1, lab.asked
        assert lab.log.count("The patch to the image's ") == 1, lab.log
        flip(path)
        update(lab, *through)
        assert patches_asked(lab) == [name], lab.asked
        assert "is not used: " not in lab.log, lab.log


def make_large(version):
    """One content of which much is new, so that its patch is passed on while it comes."""
    def make_tree(root):
        t = Tree(root)
        t.system()
        t.file("/large", noise(3_000_000, "large") + noise(6_000_000, f"large {version}"))
        t.done()
    return make_tree


def a_large_patch_that_is_damaged_costs_the_whole_content_through_proxies_too():
    """The client has most of it by then, and asks for the rest, which never comes."""
    with lab_with_patches(make=make_large) as lab, proxy(lab, "parent") as parent:
        with proxy(lab, "child", "--upper-proxy", parent[1]) as child:
            (name, path), = patches(lab).items()
            assert os.path.getsize(path) > 5_000_000
            for damage in (flip, lambda path: os.truncate(path, os.path.getsize(path) - 1)):
                damage(path)
                for through in (parent, child):
                    update(lab, *through)
                    assert set(patches_asked(lab)) == {name}, lab.asked
                    assert lab.log.count("is not used: ") == 1, lab.log


def a_child_gets_patches_through_the_proxies_of_both():
    """The parent's own update has brought them already, so nothing of the child's crosses the uplink."""
    with lab_with_patches() as lab, proxy(lab, "parent") as parent:
        with proxy(lab, "child", "--upper-proxy", parent[1]) as child:
            update(lab, *parent)
            assert patches_asked(lab) == list(patches(lab)), lab.asked
            update(lab, *child)
            assert patches_asked(lab) == [] and contents_asked(lab) == [], lab.asked
            assert f"Fetching {len(CHANGED) + 1} contents, {len(CHANGED)} of them as patches" in lab.log, lab.log
            assert "is not used: " not in lab.log, lab.log


def a_child_is_first_and_the_parent_profits():
    with lab_with_patches() as lab, proxy(lab, "parent") as parent:
        with proxy(lab, "child", "--upper-proxy", parent[1]) as child:
            name, path = list(patches(lab).items())[0]
            flip(path)
            update(lab, *child)
            assert set(patches_asked(lab)) == set(patches(lab)), lab.asked
            assert len(contents_asked(lab)) == 2, f"{lab.asked} {lab.log}"
            flip(path)
            update(lab, *parent)
            assert patches_asked(lab) == [name] and contents_asked(lab) == [], lab.asked


if __name__ == "__main__":
    enter_private_mounts()
    run([
        the_patch_of_a_list_is_fetched_once_for_all_clients_of_a_proxy,
        a_damaged_patch_of_a_list_is_not_kept_by_the_proxy,
        a_patch_is_fetched_once_for_all_clients_of_a_proxy,
        a_damaged_patch_is_not_kept_by_the_proxy,
        a_patch_that_the_server_has_not_costs_the_whole_content_through_a_proxy_too,
        a_large_patch_that_is_damaged_costs_the_whole_content_through_proxies_too,
        a_child_gets_patches_through_the_proxies_of_both,
        a_child_is_first_and_the_parent_profits,
    ])
