/*
 * slot_folders: what we keep in a slot beside the files of its image. What lies in them: docs/formats.md, "Inodes" and
 * "Patches of lists".
 */
#pragma once

/* At its root while an update fills it: contents by digest. Mode 0700; the other client knows it by this name, too. */
#define SLOT_STORE_NAME ".ota-resources"
/* At its root: the lists of the image that it was built from, and what was noted of it. */
#define SLOT_META_NAME ".ota-meta"
/* In there, until the system is committed. */
#define SLOT_TRIAL_NAME "on-trial"
