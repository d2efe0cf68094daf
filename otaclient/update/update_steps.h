/*
 * update_steps: the steps of an update, in the order of the table in update_plot.c. Each takes what it
 * needs from the session, calls one or two modules, and puts the result back.
 */
#pragma once

#include "otaclient/update/session.h"

/* 0; -errno with a sentence; or STEP_PLAN_AGAIN: what the plan was made on was not true. */
typedef int step_fn(struct update_session *s, struct ota_err *err);
enum {
	STEP_PLAN_AGAIN = 1,
};

/* Fetch and verify the image's lists; nothing on the machine is touched. */
step_fn step_fetch_metadata;
/* Have the standby device for us alone, checked and mounted read-only. */
step_fn step_claim_standby;
/* Find out what is there already, and decide. Still nothing is touched. */
step_fn step_plan;
/* Take the right to destroy: from here on the standby slot counts as incomplete until the commit.
 */
step_fn step_prepare_standby;
/* Have it writable, if need be on a new file system, and what is needed of it in the store. */
step_fn step_open_standby;
/* Bring what the active slot has into the store. */
step_fn step_copy_contents;
/* Bring the rest from the network into the store. */
step_fn step_fetch_contents;
/* Make the tree exactly the image. */
step_fn step_prune_and_place;
/* Carry over what the machine keeps. */
step_fn step_persist_files;
/* Kernel, loader entry, fstab for the new system, and the status files that its first boot will
 * read. */
step_fn step_stage_boot;
/* Everything on the disk, and the slot closed. */
step_fn step_close_standby;
/* No ECU below is in an update any more, or it has been silent or busy for too long. The slot stays closed. */
step_fn step_wait_for_children;
/* The one switch, and the restart. */
step_fn step_flip_and_reboot;
