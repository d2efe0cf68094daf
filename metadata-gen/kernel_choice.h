/*
 * kernel_choice: of several kernels in /boot, the newest goes into the image and the others stay out.
 *
 * A kernel's files are vmlinuz-, initrd.img-, System.map- and config- followed by a release that begins with a
 * version of the form 5.15.0-100 and goes on with a flavour ("-generic").
 */
#pragma once

#include "common/base/err.h"
#include "metadata-gen/rootfs_tree.h"

enum kernel_choice {
	KERNEL_ALL,           /* no choice */
	KERNEL_NEWEST,        /* the newest; a tree without one is an error */
	KERNEL_NEWEST_IF_ANY, /* the newest, if there is one */
};

/*
 * Give FATE_OLD_KERNEL to the files of all kernels but the newest, among the entries that are listed so far. A
 * tree with /boot/extlinux/extlinux.conf chooses its kernel there, so all stay. 0, or -ENOENT with a sentence if
 * there is no kernel, or no initrd of the newest one.
 */
int kernel_choice_apply(struct rootfs_tree *tree, enum kernel_choice choice, struct ota_err *err);

/* Compare two releases by version ("5.15.0-99-x" before "5.15.0-100-x"), as strcmp does. */
int kernel_release_compare(const char *a, const char *b);

/* The release in the name of a kernel's file (below /boot), or NULL if it is none. */
const char *kernel_release_of(const char *name);
