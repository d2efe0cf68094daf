/*
 * slot_note: what the running slot knows of the other one, and leaves for it, where each slot's status files lie
 * inside it (boot_slot.status_inside). Nothing is ever written into a slot that does not run: the mark of the other one
 * is kept here, and that a rollback to it was asked for is a note that it reads there, read-only, at its start.
 *
 * Files: docs/formats.md, "Status files".
 */
#pragma once

#include <limits.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/err.h"

/* Where the mark "complete" of the standby is: in its own status folder, or with the running slot. */
void slot_note_mark_dir(const struct slot_pair *slots, char ret_dir[PATH_MAX]);

/* The running slot asks the other one to take over: its own status files and the note, published. */
int slot_note_leave(const struct slot_pair *slots, struct ota_err *err);

/*
 * At the start, before first_boot: has the other slot asked this one to take over? Then the status files here say so
 * from now on (ROLLBACKING, this slot). A note counts once. The other slot is mounted for the look, below @run_dir, and
 * only if this one was left and does not know yet why it runs again. What cannot be read is no note.
 */
int slot_note_find(const struct boot_ctl *boot, const char *run_dir, struct ota_err *err);

/* The same with the other slot's status folder at hand. */
int slot_note_take(
	const struct boot_slot *active, const char *other_status_dir, struct ota_err *err);
