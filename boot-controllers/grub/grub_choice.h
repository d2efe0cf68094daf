/*
 * grub_choice: what GRUB is told to boot, in its environment block and in ota-committed.cfg.
 *
 * The part of grub.cfg that obeys it is in grub_cfg.c; docs/formats.md, "grubenv", has the names. Variables of others
 * stay. Where a variable of ours is missing, torn or nonsense, the committed slot boots: another client writes the
 * block anew without them.
 */
#pragma once

#include "boot-controllers/grub/grub_ctl.h"

enum {
	GRUB_TRIES_MAX = 9, /* GRUB counts with one digit */
};

struct grub_choice {
	unsigned saved; /* boots by itself */
	unsigned trial; /* is tried before; GRUB_N_SLOTS = none */
	unsigned tries; /* how often still, 1 to GRUB_TRIES_MAX */
	bool once;      /* as it was read: by next_entry, which GRUB takes off when it begins */
	/* Has its turn once the saved one was started so often without coming up; GRUB_N_SLOTS = none. */
	unsigned spare;
	unsigned spare_after; /* how often still, 0 to GRUB_TRIES_MAX */
};

/* @slot boots by itself, and nothing else is to be tried. */
struct grub_choice grub_choice_of(unsigned slot);

/*
 * As GRUB would read it; a slot without an entry is none. -ENOENT: no slot boots by itself, neither by the block nor
 * by ota-committed.cfg.
 */
int grub_choice_read(const struct grub_ctl *ctl, struct grub_choice *ret_choice);

/* Write the environment block and publish it. */
int grub_choice_write(const struct grub_ctl *ctl, const char *what,
	const struct grub_choice *choice, struct ota_err *err);

/*
 * The same for a choice that must not fail for want of room: then the block that is there is overwritten. Torn by a
 * power cut, it boots the slot that ota-committed.cfg names, which must be @choice's.
 */
int grub_choice_write_in_place(const struct grub_ctl *ctl, const char *what,
	const struct grub_choice *choice, struct ota_err *err);

/* ota-committed.cfg, written and published. */
int grub_choice_commit(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err);
