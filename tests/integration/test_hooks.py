#!/usr/bin/python3
"""Programs of the integrator in an update by the real updater on a real slot: called where and with what they are to be,
and what becomes of the update when one says no. Needs root and loop devices.

Elsewhere: which programs are run at all (unit/test_program_folder.c), a whole machine (ecu/test_ecu.py).
"""

import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from tree_list import list_tree  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402


class HooksLab(UpdateLab):
    def __enter__(self):
        super().__enter__()
        self.build("v2", lambda root: make_tree(root, b"v2"), "--no-compress")
        self.hooks = ("--hooks", self.path("hooks.d"), "--version", "v2")
        os.makedirs(self.path("run", "status-a"))
        self.write("run/status-a/status", "SUCCESS")
        self.write("run/status-a/version", "v1")
        return self

    def write(self, name, text):
        with open(self.path(*name.split("/")), "w") as f:
            f.write(text)

    def put(self, hook, name, script):
        folder = self.path("hooks.d", hook)
        os.makedirs(folder, exist_ok=True)
        for d in (self.path("hooks.d"), folder):
            os.chmod(d, 0o755)
        with open(os.path.join(folder, name), "w") as f:
            f.write(f"#!/bin/sh\n{script}\n")
        os.chmod(os.path.join(folder, name), 0o755)

    def flipped(self):
        return os.path.lexists(self.path("run", "flipped"))

    def slot_content(self):
        with self.mounted() as point:
            return list_tree(point)


def make_tree(root, text):
    for name in ("dev", "etc", "proc", "run", "sys", "tmp"):
        os.makedirs(os.path.join(root, name))
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    for i in range(4):
        with open(os.path.join(root, f"etc/{i}"), "wb") as f:
            f.write(text * (i + 1) * 100)


def hooks_are_called_in_order_and_know_what_goes_on():
    with HooksLab() as lab:
        told = lab.path("told")
        for hook in ("pre-update", "post-update", "pre-reboot", "post-commit"):
            lab.put(hook, "20-second", f"echo 2 $OTA_HOOK >> {told}")
            lab.put(hook, "10-first", f"env | grep ^OTA_ | sort >> {told}; echo running as $0")
        lab.put("pre-update", "30-third", f"cat {lab.path('run/status-a/status')} >> {told}; echo >> {told}")
        lab.put("post-update", "30-third", f"cat $OTA_STANDBY_ROOT/etc/0 | wc -c >> {told}")
        lab.update("v2", *lab.hooks)
        assert lab.flipped()
        lab.check("v2")
        with open(told) as f:
            lines = f.read().splitlines()
        session = [line for line in lines if line.startswith("OTA_SESSION=")][0]
        assert "-v2-" in session, session
        common = ["OTA_ACTION=update", "OTA_ECU_ID=main", "OTA_FROM_SLOT=a", "OTA_FROM_VERSION=v1"]
        rest = [session, "OTA_SLOT=b"]
        url = [f"OTA_URL={lab.url}/v2", "OTA_VERSION=v2"]
        assert lines == [
            "OTA_ACTION=update", "OTA_DOWNLOAD_BYTES=2000", *common[1:], "OTA_HOOK=pre-update", *rest, *url,
            "2 pre-update", "SUCCESS",
            *common, "OTA_HOOK=post-update", *rest, f"OTA_STANDBY_ROOT={lab.path('run/mnt/standby_slot')}", *url,
            "2 post-update", "200",
            *common, "OTA_HOOK=pre-reboot", *rest, *url, "2 pre-reboot"], "\n".join(lines)
        assert f"pre-update hook 10-first: running as {lab.path('hooks.d/pre-update/10-first')}" in lab.log, lab.log


def a_pre_update_hook_that_says_no_leaves_everything_as_it_was():
    with HooksLab() as lab:
        with lab.mounted(writable=True) as point:
            make_tree(point, b"v0")
        before = lab.slot_content()
        lab.put("pre-update", "10-ignition", "echo 'the ignition is on' >&2; exit 1")
        failed = lab.fail("v2", *lab.hooks)
        assert failed.code == "E210", failed
        assert failed.sentence == ("Update failed in CALCULATING_DELTA: The pre-update hook 10-ignition failed with "
                                   "status 1: the ignition is on"), failed
        assert lab.status("a") == "SUCCESS"
        assert not os.path.exists(lab.path("run", "status-a", "slot_in_use"))
        assert lab.status("b") is None
        assert lab.slot_content() == before
        # Once it agrees, the update goes its way.
        lab.put("pre-update", "10-ignition", "exit 0")
        lab.update("v2", *lab.hooks)
        assert lab.flipped()


def a_hook_that_would_be_refused_later_is_found_before_anything_is_touched():
    with HooksLab() as lab:
        for hook in ("post-update", "pre-reboot", "post-commit"):
            lab.put(hook, "10-mine", f"touch {lab.path('ran')}")
            os.chmod(lab.path("hooks.d", hook, "10-mine"), 0o775)
            failed = lab.fail("v2", *lab.hooks)
            assert failed.code == "E210", failed
            assert failed.sentence == (
                f"Update failed in CALCULATING_DELTA: {lab.path('hooks.d', hook, '10-mine')} is refused: "
                "others than root may write to it"), failed
            assert lab.status("a") == "SUCCESS"
            shutil.rmtree(lab.path("hooks.d", hook))
        assert not os.path.exists(lab.path("ran"))


def a_post_update_hook_may_change_the_new_system():
    with HooksLab() as lab:
        lab.put("post-update", "add", "umask 022; echo hello > $OTA_STANDBY_ROOT/etc/added")
        lab.update("v2", *lab.hooks)
        with lab.mounted() as point, open(os.path.join(point, "etc/added")) as f:
            assert f.read() == "hello\n"
        # The next update makes the slot the image again.
        shutil.rmtree(lab.path("hooks.d"))
        lab.update("v2", *lab.hooks)
        lab.check("v2")


def a_file_that_a_post_update_hook_replaces_stays_whatever_its_time():
    """As long as the image's, and with its time, as `cp -p` leaves it where builders give all files one time."""
    with HooksLab() as lab:
        size = os.path.getsize(lab.path("tree-v2", "etc/1"))
        lab.write("mine", "m" * size)
        file = "$OTA_STANDBY_ROOT/etc/1"
        lab.put("post-update", "replace", f"touch -r {file} {lab.path('mine')} && cp -p {lab.path('mine')} {file}")
        for _ in range(2):
            lab.update("v2", *lab.hooks)
            with lab.mounted() as point, open(os.path.join(point, "etc/1"), "rb") as f:
                assert f.read() == b"m" * size


def a_post_update_hook_that_says_no_ends_the_update_before_the_flip():
    with HooksLab() as lab:
        lab.put("post-update", "check", "echo 'no licence for this version'; exit 7")
        failed = lab.fail("v2", *lab.hooks)
        assert failed.code == "E210", failed
        assert failed.sentence == ("Update failed in PROCESSING_POSTUPDATE: The post-update hook check failed with "
                                   "status 7: no licence for this version"), failed
        assert lab.status("a") == "FAILURE" and not lab.flipped()
        lab.put("post-update", "check", "exit 0")
        assert lab.update("v2", *lab.hooks)["fetched"] == 0
        assert lab.flipped()


def a_pre_reboot_hook_that_says_no_ends_the_update_before_the_flip():
    with HooksLab() as lab:
        lab.put("pre-reboot", "parked", "echo 'the vehicle moves'; exit 1")
        failed = lab.fail("v2", *lab.hooks)
        assert failed.code == "E210", failed
        assert failed.sentence == ("Update failed in FINALIZING_UPDATE: The pre-reboot hook parked failed with status "
                                   "1: the vehicle moves"), failed
        assert lab.status("a") == "FAILURE" and lab.status("b") == "FAILURE" and not lab.flipped()
        lab.check("v2")


def the_ecus_below_are_waited_for_before_and_after_the_pre_reboot_hooks():
    with HooksLab() as lab:
        done = lab.path("children-done")
        lab.write("children-done", "")
        # What stays in its group is ended with it.
        lab.put("pre-reboot", "again", f"rm {done}\nsetsid sh -c 'touch {done}.later; sleep 0.5; touch {done}' &\n"
                                       f"while ! [ -e {done}.later ]; do sleep 0.05; done")
        lab.update("v2", *lab.hooks, "--children-until", done)
        assert lab.flipped()
        assert os.path.exists(done)
        assert lab.log.count("waiting for ") == 2, lab.log


def a_hook_that_hangs_is_killed():
    with HooksLab() as lab:
        before = lab.slot_content()
        pid = lab.path("pid")
        lab.put("pre-update", "10-hang", f"trap '' TERM; echo $$ > {pid}; echo asking the user; while :; do sleep 1; done")
        began = time.monotonic()
        failed = lab.fail("v2", *lab.hooks, "--hook-timeout-ms", "500")
        assert time.monotonic() - began < 20
        assert failed.sentence == ("Update failed in CALCULATING_DELTA: The pre-update hook 10-hang did not end within "
                                   "0.5 s and was stopped: asking the user"), failed
        with open(pid) as f:
            assert not os.path.exists(f"/proc/{f.read().strip()}")
        assert lab.status("a") == "SUCCESS" and lab.slot_content() == before


def an_abort_ends_a_pre_update_hook():
    with HooksLab() as lab:
        lab.put("pre-update", "wait", "echo waiting for the user; sleep 100")
        began = time.monotonic()
        failed = lab.fail("v2", *lab.hooks, "--abort-at-line", "pre-update hook wait: waiting")
        assert time.monotonic() - began < 20
        assert failed.code == "E207", failed
        assert lab.status("a") == "ABORTED"


def a_program_that_stays_on_the_new_system_ends_the_update_before_the_flip():
    with HooksLab() as lab:
        pid = lab.path("pid")
        lab.put("post-update", "stay", "cd $OTA_STANDBY_ROOT && setsid sh -c "
                                       f"'echo $$ > {pid}; exec sleep 100' > /dev/null 2>&1 &\n"
                                       f"while ! [ -s {pid} ]; do sleep 0.05; done")
        failed = lab.fail("v2", *lab.hooks, "--own-namespace")
        with open(pid) as f:
            os.kill(int(f.read()), signal.SIGKILL)
        assert failed.code == "E313" and "busy" in failed.sentence, failed
        assert lab.status("a") == "FAILURE" and not lab.flipped()


def a_mount_that_a_hook_leaves_on_the_new_system_is_not_in_the_way_later():
    with HooksLab() as lab:
        lab.put("post-update", "mount", "mount -t tmpfs left $OTA_STANDBY_ROOT/run")
        failed = lab.fail("v2", *lab.hooks)
        assert failed.code == "E313" and "busy" in failed.sentence, failed
        assert lab.status("a") == "FAILURE" and not lab.flipped()
        lab.put("post-update", "mount", "mount -t tmpfs left $OTA_STANDBY_ROOT/run; umount $OTA_STANDBY_ROOT/run")
        lab.update("v2", *lab.hooks)
        assert lab.flipped()
        lab.check("v2")


def a_hook_that_takes_the_new_system_away_ends_the_update_before_the_flip():
    """What is set up there next would be written into a folder of the running system."""
    with HooksLab() as lab:
        for script in ("umount -l $OTA_STANDBY_ROOT", "mount -t tmpfs over $OTA_STANDBY_ROOT",
                       "umount -l $OTA_STANDBY_ROOT; mount --bind /usr $OTA_STANDBY_ROOT"):
            lab.put("post-update", "away", script)
            failed = lab.fail("v2", *lab.hooks)
            assert failed.code == "E210", (script, failed)
            assert failed.sentence == ("Update failed in PROCESSING_POSTUPDATE: The new system is no longer mounted where the "
                                       "post-update hooks had it"), (script, failed)
            assert lab.status("a") == "FAILURE" and not lab.flipped()
        shutil.rmtree(lab.path("hooks.d", "post-update"))
        lab.update("v2", *lab.hooks)
        assert lab.flipped()
        lab.check("v2")


def the_end_of_the_daemon_ends_a_hook():
    with HooksLab() as lab:
        for hook in ("pre-update", "post-update", "pre-reboot"):
            pid = lab.path("pid-" + hook)
            lab.put(hook, "wait", f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 100")
            p = subprocess.Popen(
                [os.environ["UPDATE_DRIVER"], "--url", f"{lab.url}/v2", "--certs", lab.path("certs"), "--device",
                 lab.device, "--active", lab.active, "--work", lab.path("run"), "--threaded", *lab.hooks],
                stderr=subprocess.PIPE, text=True, umask=0o077)
            until = time.monotonic() + 60
            while not os.path.exists(pid):
                assert p.poll() is None and time.monotonic() < until, hook
                time.sleep(0.02)
            began = time.monotonic()
            p.send_signal(signal.SIGTERM)
            stderr = p.communicate(timeout=60)[1]
            assert time.monotonic() - began < 15, hook
            assert "The update was stopped because otaclient ends" in stderr, stderr
            with open(pid) as f:
                assert not os.path.exists(f"/proc/{f.read().strip()}")
            assert lab.status("a") == "FAILURE" and not lab.flipped()
            shutil.rmtree(lab.path("hooks.d", hook))


if __name__ == "__main__":
    enter_private_mounts()
    run([hooks_are_called_in_order_and_know_what_goes_on,
         a_pre_update_hook_that_says_no_leaves_everything_as_it_was,
         a_hook_that_would_be_refused_later_is_found_before_anything_is_touched,
         a_post_update_hook_may_change_the_new_system,
         a_file_that_a_post_update_hook_replaces_stays_whatever_its_time,
         a_post_update_hook_that_says_no_ends_the_update_before_the_flip,
         a_pre_reboot_hook_that_says_no_ends_the_update_before_the_flip,
         the_ecus_below_are_waited_for_before_and_after_the_pre_reboot_hooks,
         a_hook_that_hangs_is_killed,
         an_abort_ends_a_pre_update_hook,
         a_program_that_stays_on_the_new_system_ends_the_update_before_the_flip,
         a_mount_that_a_hook_leaves_on_the_new_system_is_not_in_the_way_later,
         a_hook_that_takes_the_new_system_away_ends_the_update_before_the_flip,
         the_end_of_the_daemon_ends_a_hook])
