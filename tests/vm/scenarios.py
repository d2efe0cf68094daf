"""
scenarios: what a machine with otaclient must live through. Each is a list of steps, named by what is true at its end;
scripts/test --vm plays them. What runs each time is `recorded`, with some of POWER_CUTS.
"""

from power_log import PowerCuts

SCENARIOS = []


def scenario(layout="bios", bare=False, long=False):
    """@bare: the machine has only a Debian yet. @long: only with --long."""
    def add(function):
        function.layout, function.bare, function.long = layout, bare, long
        SCENARIOS.append(function)
        return function
    return add


@scenario()
def an_update_starts_the_other_slot_and_is_committed(m):
    m.serve("v2")
    m.start()
    m.expect_verdict("INITIALIZED", "", "a")
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("the image in the slot that runs", m.shell("cat /etc/image-name").strip(), "v2")
    m.restart()
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("all starts", m.starts(), ["a", "b", "b"])


def panics(root):
    """Its first program ends at once, which no kernel lives through."""
    import os
    os.unlink(f"{root}/sbin/init")
    os.symlink("/bin/false", f"{root}/sbin/init")


@scenario()
def a_kernel_that_panics_leads_back(m):
    m.serve("panics", panics)
    m.start()
    m.update("panics")
    m.expect_verdict("FAILURE", "", "a", "no sign of life; the last words of its kernel: Kernel panic - .*kill init")
    m.expect("all starts", m.starts(), ["a", "b", "a"])


@scenario()
def two_updates_lead_there_and_back(m):
    m.serve("v2")
    m.serve("v3")
    m.start()
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.update("v3")
    m.expect_verdict("SUCCESS", "v3", "a")
    m.expect("the image in the slot that runs", m.shell("cat /etc/image-name").strip(), "v3")
    m.expect("all starts", m.starts(), ["a", "b", "a"])


def hangs(root):
    """Its first program does nothing at all."""
    import os
    os.unlink(f"{root}/sbin/init")
    with open(f"{root}/sbin/init", "w", encoding="ascii") as f:
        f.write("#!/bin/bash\nexec sleep infinity\n")
    os.chmod(f"{root}/sbin/init", 0o755)


@scenario()
def a_system_that_hangs_is_reset_by_the_watchdog(m):
    m.serve("hangs", hangs)
    m.start()
    m.update("hangs")
    m.expect_verdict("FAILURE", "", "a", "its first program failed, .*; the watchdog has reset the machine")
    m.expect("resets by the watchdog", m.machine.monitor.count("WATCHDOG"), 1)
    m.expect("all starts", m.starts(), ["a", "b", "a"])


def crashes(root):
    """The daemon ends at each start; the guard against that waits one minute instead of twenty."""
    import os
    with open(f"{root}/usr/bin/otaclient", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexit 1\n")
    folder = f"{root}/etc/systemd/system/otaclient-commit-guard.timer.d"
    os.mkdir(folder)
    with open(f"{folder}/soon.conf", "w", encoding="ascii") as f:
        f.write("[Timer]\nOnBootSec=\nOnBootSec=60\n")


@scenario()
def a_daemon_that_crashes_at_each_start_is_left(m):
    m.serve("crashes", crashes)
    m.start()
    m.update("crashes")
    m.expect_verdict("FAILURE", "", "a", "its otaclient.service was .* started again .* times, and ended last with status 1")
    m.expect("all starts", m.starts(), ["a", "b", "a"])


def fails_a_check(root):
    """A check of the integrator's says no."""
    import os
    os.makedirs(f"{root}/etc/otaclient/health.d", exist_ok=True)
    with open(f"{root}/etc/otaclient/health.d/brakes", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\necho no brakes >&2\nexit 3\n")
    os.chmod(f"{root}/etc/otaclient/health.d/brakes", 0o755)
    with open(f"{root}/etc/otaclient/otaclient.yaml", "a", encoding="ascii") as f:
        f.write("health_timeout_s: 30\n")


@scenario()
def a_system_that_fails_a_check_is_left(m):
    m.serve("unwell", fails_a_check)
    m.start()
    m.update("unwell")
    m.expect_verdict("FAILURE", "", "a", reason="brakes")
    m.expect("all starts", m.starts(), ["a", "b", "a"])


# ---- damage between the flip and the start

def flipped(m):
    """A machine that is off, and would start the new system in B next."""
    m.serve("v2")
    m.start()
    m.update_and_stop("v2")


def in_boot(m, beginning):
    """The file of slot B on /boot whose name begins so."""
    name, = [n for n in m.disk.names("boot", "/ota-slot_b") if n.startswith(beginning)]
    return f"/ota-slot_b/{name}"


@scenario()
def an_initrd_that_is_missing_leads_back(m):
    flipped(m)
    m.disk.remove("boot", in_boot(m, "initrd.img-"))
    m.start()
    m.expect_verdict("FAILURE", "", "a", "could not start it: .*initrd.img-.*, which is not there")
    m.expect("all starts", m.starts(), ["a", "a"])


@scenario()
def a_kernel_that_is_missing_leads_back(m):
    flipped(m)
    m.disk.remove("boot", in_boot(m, "vmlinuz-"))
    m.start()
    m.expect_verdict("FAILURE", "", "a", "could not start it: .*vmlinuz-.*, which is not there")
    m.expect("all starts", m.starts(), ["a", "a"])


@scenario()
def a_kernel_that_is_cut_short_leads_back(m):
    flipped(m)
    kernel = in_boot(m, "vmlinuz-")
    m.disk.overwrite("boot", kernel, m.disk.read("boot", kernel)[: 3 << 20])
    m.start()
    m.expect_verdict("FAILURE", "", "a", "could not start it: .* is cut short or changed")
    m.expect("all starts", m.starts(), ["a", "a"])


@scenario()
def a_root_that_does_not_mount_leads_back(m):
    flipped(m)
    m.disk.scratch("slot_b")
    m.start()
    m.expect_verdict("FAILURE", "", "a", "there is no ext4 any more")
    m.expect("all starts", m.starts(), ["a", "b", "a"])


# ---- damage to what GRUB keeps, with B committed

def with_grubenv(m, data):
    m.serve("v2")
    m.start()
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.switch_off()
    m.disk.overwrite("boot", "/grub/grubenv", data(m.disk.read("boot", "/grub/grubenv")))
    m.start()
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("all starts", m.starts(), ["a", "b", "b"])


@scenario()
def an_empty_grubenv_starts_what_is_committed(m):
    with_grubenv(m, lambda old: b"")


@scenario()
def a_grubenv_of_zeros_starts_what_is_committed(m):
    with_grubenv(m, lambda old: bytes(1024))


@scenario()
def a_torn_grubenv_starts_what_is_committed(m):
    with_grubenv(m, lambda old: old[:512])


# ---- power cuts

@scenario()
def a_power_cut_while_the_new_system_starts_leads_back(m):
    m.serve("v2")
    m.start()
    m.update("v2")
    m.machine.console.wait_for("Welcome to", 120)
    m.cut_power()
    m.start()
    m.expect_verdict("FAILURE", "", "a", reason=".")
    m.expect("all starts", m.starts(), ["a", "b", "a"])


@scenario()
def a_power_cut_in_an_update_leaves_the_old_system_and_the_next_one_completes(m):
    m.serve("v2")
    m.start()
    for phase in ("DOWNLOADING_OTA_FILES", "APPLYING_UPDATE"):
        m.request("v2")
        m.wait_for_phase(phase)
        m.cut_power()
        m.start()
        m.expect_verdict("FAILURE", "", "a", reason=".")
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("all starts", m.starts(), ["a", "a", "a", "b"])


@scenario()
def a_power_cut_after_the_commit_keeps_the_new_system(m):
    m.serve("v2")
    m.start()
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.cut_power()
    m.start()
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("all starts", m.starts(), ["a", "b", "b"])


def recorded(m):
    """An update, a rollback and a fall back, each up to a while after its verdict. All is noted that the disk was given."""
    m.serve("v2")
    m.serve("panics", panics)
    m.part("update")
    m.start()
    m.expect_verdict("INITIALIZED", "", "a")
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("the image in the slot that runs", m.shell("cat /etc/image-name").strip(), "v2")
    m.settle()
    m.part("rollback")
    m.roll_back()
    m.expect_verdict("SUCCESS", "", "a")
    m.settle()
    m.part("")
    m.request("panics")
    m.wait_for_reset()
    m.part("fallback")
    m.expect_verdict("FAILURE", "", "a", "no sign of life; the last words of its kernel: Kernel panic - .*kill init")
    m.settle()
    m.expect("all starts", m.starts(), ["a", "b", "a", "b", "a"])


# What is true where the power fails in a part of this: status and version, by the slot that runs then. And how many
# flushes and torn writes of GRUB's files are tried with --ci and otherwise; with --long it is all of them.
POWER_CUTS = [
    PowerCuts("a_power_cut_anywhere_in_an_update_leaves_a_machine_that_boots", "update", {
        "a": [("INITIALIZED", ""), ("FAILURE", "")],
        "b": [("SUCCESS", "v2")],
    }, ci=(1, 4), some=(8, 6)),
    PowerCuts("a_power_cut_anywhere_in_a_rollback_leaves_a_machine_that_boots", "rollback", {
        "a": [("SUCCESS", "")],
        "b": [("SUCCESS", "v2"), ("FAILURE", "v2"), ("ROLLBACK_FAILURE", "v2")],
    }, ci=(1, 4), some=(6, 6)),
    PowerCuts("a_power_cut_anywhere_in_a_fall_back_leaves_a_machine_that_boots", "fallback", {
        "a": [("FAILURE", "")],
    }, ci=(0, 2), some=(3, 4)),
]  # fmt: skip


# ---- other machines and images

@scenario(layout="uefi")
def with_uefi_an_update_is_committed_and_a_panic_leads_back(m):
    m.serve("v2")
    m.serve("panics", panics)
    m.start()
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.update("panics")
    m.expect_verdict("FAILURE", "v2", "b", reason=".")
    m.expect("all starts", m.starts(), ["a", "b", "a", "b"])


def of_a_container(root):
    """As the tools that print a container as a tar leave it."""
    import os
    for name in (".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf"):
        open(f"{root}/{name}", "w").close()
    for name in ("dev/console", "dev/pts", "dev/shm"):
        if os.path.lexists(f"{root}/{name}"):
            os.unlink(f"{root}/{name}")
    open(f"{root}/dev/console", "w").close()
    for name in ("dev/pts", "dev/shm"):
        os.mkdir(f"{root}/{name}")


@scenario()
def an_image_from_the_tar_of_a_container_starts(m):
    m.serve("container", of_a_container, tar=True)
    m.start()
    m.update("container")
    m.expect_verdict("SUCCESS", "container", "b")
    m.expect("units that failed", m.shell("systemctl --failed --plain --no-legend").strip(), "")


@scenario(long=True)
def twenty_updates_leave_nothing_behind(m):
    m.serve("v2")
    m.serve("v3")
    m.start()
    kept = []
    for n in range(20):
        version = ("v2", "v3")[n % 2]
        m.update(version)
        m.expect_verdict("SUCCESS", version, "ba"[n % 2])
        kept.append(m.shell("cd /boot && find . | sort").split())
    # After the second one both slots have had an update; from then on only two states alternate.
    for n in range(4, 20):
        m.expect(f"what /boot holds after update {n + 1}", kept[n], kept[n - 2])
    m.expect("all starts", m.starts(), ["a"] + ["b", "a"] * 10)


# What the Python client up to 3.13 keeps on /boot: a folder for each partition, and links to switch them.
OLD_LAYOUT = r"""
set -e
cd /boot
v=$(uname -r)
mkdir ota-partition.sda2 ota-partition.sda3
cp -p vmlinuz-$v initrd.img-$v ota-partition.sda2
for f in vmlinuz initrd.img; do
    ln -s $f-$v ota-partition.sda2/$f-ota
    ln -s ota-partition/$f-ota $f-ota
    ln -s ota-partition.sda3/$f-ota $f-ota.standby
done
ln -s ota-partition.sda2 ota-partition
printf SUCCESS >ota-partition.sda2/status
printf 1.0 >ota-partition.sda2/version
printf sda2 >ota-partition.sda2/slot_in_use
printf '%s\n' '# This file is generated by otaclient, modification might not be preserved across OTA.' \
    GRUB_DISABLE_SUBMENU=y GRUB_DISABLE_OS_PROBER=true GRUB_DISABLE_RECOVERY=true GRUB_TIMEOUT_STYLE=menu >/etc/default/grub
grub-mkconfig >ota-partition.sda2/grub.cfg
n=$(awk '/^menuentry / {i++} /linux\t.*vmlinuz-ota / {print i - 1; exit}' ota-partition.sda2/grub.cfg)
echo "GRUB_DEFAULT=$n" >>/etc/default/grub
sed -i "s/set default=\"0\"/set default=\"$n\"/" ota-partition.sda2/grub.cfg
rm grub/grub.cfg
ln -s ../ota-partition/grub.cfg grub/grub.cfg
sync
"""


@scenario(bare=True)
def a_machine_of_the_old_layout_is_taken_over_and_updated(m):
    m.serve("v2")
    m.power_on()
    m.shell(OLD_LAYOUT, 300)
    m.switch_off()
    m.power_on()
    m.machine.console.wait_for("BOOT_IMAGE=/vmlinuz-ota ", 120)
    m.install_otaclient()
    m.expect_verdict("SUCCESS", "1.0", "a")
    # The folders stay: a mirror for the client that knows no others.
    m.expect("links of the old layout", m.shell("find /boot /boot/grub -maxdepth 1 -type l").split(), [])
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.restart()
    m.expect("all starts", m.starts(), ["a", "a", "b", "b"])


# What the Python client keeps on /boot from 3.14 on, after an update to this slot: a folder and a menu entry for each slot.
NEW_LAYOUT = r"""
set -e
cd /boot
v=$(uname -r)
mkdir -p ota-slot_a/grub
mv vmlinuz-$v initrd.img-$v ota-slot_a
ln ota-slot_a/vmlinuz-$v ota-slot_a/initrd.img-$v .
printf SUCCESS >ota-slot_a/status
printf 1.0 >ota-slot_a/version
printf ota-slot_a >ota-slot_a/slot_in_use
printf '%s\n' '# OTAClient managed configuration file, DO NOT EDIT!' \
    '# Manual edits to this file will NOT be preserved across OTA!' >/tmp/head
cp /tmp/head /etc/default/grub
printf '%s\n' GRUB_TIMEOUT_STYLE=menu GRUB_TIMEOUT=0 GRUB_DISABLE_SUBMENU=y GRUB_DISABLE_OS_PROBER=true \
    GRUB_DISABLE_RECOVERY=true GRUB_DEFAULT=saved >>/etc/default/grub
grub-mkconfig | awk '/^menuentry / {on = 1} on {print} on && /^}/ {exit}' |
    sed -e "1s/'[^']*'/'ota-slot_a'/" -e "1s/menuentry_id_option '[^']*'/menuentry_id_option 'ota-slot_a'/" \
        -e 's,/vmlinuz-,/ota-slot_a/vmlinuz-,; s,/initrd.img-,/ota-slot_a/initrd.img-,' \
        -e "\$i echo 'Booting from ota-slot_a ...'" >grub/ota-slot_a.cfg
cat >/etc/grub.d/30_ota <<'EOF'
#!/bin/sh
for slot in ota-slot_a ota-slot_b; do
    echo "if [ -f \${config_directory}/$slot.cfg ]; then"
    echo "  source \${config_directory}/$slot.cfg"
    echo "fi"
done
EOF
chmod 750 /etc/grub.d/30_ota
mkdir -p /tmp/empty/grub
unshare -m sh -c 'mount --bind /tmp/empty /boot && exec grub-mkconfig' >/tmp/body
(
    cat /tmp/head /tmp/body
    echo '# ------ OTA managed metadata ------ #'
    echo '# otaclient_version: 3.14.2'
    echo '# grub_version: unknown_grub_version'
    echo "# checksum: sha256:$(head -c -1 /tmp/body | sha256sum | cut -d ' ' -f 1)"
    echo '# ------ End of OTA managed metadata ------ #'
) >grub/grub.cfg
grub-editenv grub/grubenv create
grub-editenv grub/grubenv set saved_entry=ota-slot_a
sync
"""


@scenario(bare=True)
def a_machine_of_the_new_layout_is_taken_over_and_updated(m):
    m.serve("v2")
    m.power_on()
    m.shell(NEW_LAYOUT, 300)
    m.switch_off()
    m.power_on()
    m.machine.console.wait_for("BOOT_IMAGE=/ota-slot_a/vmlinuz-", 120)
    m.install_otaclient()
    m.expect_verdict("SUCCESS", "1.0", "a")
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.restart()
    m.expect("all starts", m.starts(), ["a", "a", "b", "b"])
