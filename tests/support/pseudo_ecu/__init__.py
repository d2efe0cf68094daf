"""
pseudo_ecu: an ECU made of an image file, namespaces and the real GRUB, for the demo and the end-to-end tests.

What is real: the partition table, ext4, the slots' own Debian with its grub-mkconfig and grub-probe, GRUB's
scripts, its environment block and its reading of the raw disk (Debian's grub-emu), mounts by the slot's own
fstab, reboot(2), the daemon.

What is simulated: the kernel is the host's (the slot's own kernel and initrd must be there, but are not run;
/proc/sys/kernel/osrelease and /proc/cmdline say what they would say); process 1 is init.py, not systemd; the
boot sector and the ESP hold no boot loader, since grub-emu is the firmware and the loader in one.

disk      the image file: partitions, file systems, loop devices that go away by themselves
loader    grub-emu: which slot would this disk boot?
machine   namespaces, mounts, network; boot until it is switched off
init      process 1 of the machine
"""
