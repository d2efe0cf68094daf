/*
 * external_cache: where contents may lie beside the network: a disk with a label, mounted while the proxy runs, and a
 * folder that somebody else has mounted. Both hold data/<sha256>[.zst]; none of it is believed (otaproxy).
 *
 * Needs root, and a mount namespace of our own so that nobody else sees the disk (mount_own_namespace()).
 */
#pragma once

#include <limits.h>

#include "common/base/err.h"

#define EXTERNAL_CACHE_LABEL "ota_cache_src"

/*
 * Mount the disk with the label, if it is an ext file system that is whole, on mnt/external_cache in @run_dir:
 * read-only and so that nothing of it can be a program or a device. Only root finds the way to it. Blocks while the
 * disk is checked, for half a minute at most.
 *
 * 0; -ENOENT: no disk has the label; else why it cannot be used (E311).
 */
int external_cache_mount(const char *run_dir, char ret_dir[PATH_MAX], struct ota_err *err);

/* Undo it, also if it was not mounted. If somebody still uses it, it is unmounted once they end, and an error. */
int external_cache_unmount(const char *run_dir, struct ota_err *err);

/* Has somebody mounted a folder at @path? 0, or with E311 -ENOENT, -ENOTDIR or what stat says. */
int external_cache_check_folder(const char *path, struct ota_err *err);
