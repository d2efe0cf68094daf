/*
 * grub_choice: what GRUB is told to boot. Contract: grub_choice.h.
 *
 * A slot that is tried once goes by next_entry, as any GRUB knows it and as another client writes it; one that is
 * tried more often by ota_try and ota_left, which only our part of grub.cfg knows.
 */
#include "boot-controllers/grub/grub_choice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/path.h"

static bool has_entry(const struct grub_ctl *ctl, unsigned slot)
{
	char name[NAME_MAX];
	struct stat st;

	grub_entry_name(slot, false, name);
	return fstatat(ctl->grub_fd, name, &st, 0) == 0;
}

static unsigned env_slot(const struct grub_ctl *ctl, const char *name)
{
	unsigned slot = GRUB_N_SLOTS;

	grub_env_slot(ctl, name, &slot);
	return slot;
}

/* One digit; -1: GRUB would not count that. */
static int env_digit(const struct grub_env *env, const char *name)
{
	char value[2];

	if (grub_env_get(env, name, value, sizeof(value)) < 0 || value[0] < '0' || value[0] > '9')
		return -1;
	return value[0] - '0';
}

static unsigned committed_slot(const struct grub_ctl *ctl)
{
	AUTO_BUF struct buf b = {0};
	unsigned s = GRUB_N_SLOTS;

	if (grub_read_file(ctl->grub_fd, "ota-committed.cfg", GRUB_SMALL_FILE_MAX_BYTES, &b) < 0)
		return s;
	for (s = 0; s < GRUB_N_SLOTS; s++) {
		AUTO_BUF struct buf want = {0};

		if (grub_cfg_committed(grub_slot_id[s], &want) == 0 &&
			want.len_bytes == b.len_bytes &&
			memcmp(buf_str(&want), buf_str(&b), b.len_bytes) == 0 && has_entry(ctl, s))
			break;
	}
	return s;
}

struct grub_choice grub_choice_of(unsigned slot)
{
	return (struct grub_choice){.saved = slot, .trial = GRUB_N_SLOTS, .spare = GRUB_N_SLOTS};
}

int grub_choice_read(const struct grub_ctl *ctl, struct grub_choice *ret_choice)
{
	struct grub_choice c = grub_choice_of(GRUB_N_SLOTS);
	struct grub_env env;
	int n;

	grub_load_env(ctl, &env);
	c.saved = env_slot(ctl, "saved_entry");
	if (c.saved == GRUB_N_SLOTS)
		c.saved = committed_slot(ctl);
	if (c.saved == GRUB_N_SLOTS)
		return -ENOENT;
	c.trial = env_slot(ctl, "next_entry");
	c.once = c.trial < GRUB_N_SLOTS;
	c.tries = 1;
	n = env_digit(&env, "ota_left");
	if (!c.once && n > 0) {
		c.trial = env_slot(ctl, "ota_try");
		c.tries = (unsigned)n;
	}
	n = env_digit(&env, "ota_spare_after");
	c.spare_after = n > 0 ? (unsigned)n : 0;
	c.spare = n >= 0 ? env_slot(ctl, "ota_spare") : GRUB_N_SLOTS;
	*ret_choice = c;
	return 0;
}

/* Both variables, or neither. */
static int set_counted(
	struct grub_env *env, const char *name, unsigned slot, const char *count, unsigned n)
{
	char digit[2] = {(char)('0' + n), '\0'};
	int r;

	grub_env_unset(env, name);
	grub_env_unset(env, count);
	if (slot == GRUB_N_SLOTS)
		return 0;
	r = grub_env_set(env, name, grub_slot_id[slot]);
	return r < 0 ? r : grub_env_set(env, count, digit);
}

static int fill_env(struct grub_env *env, const struct grub_choice *c)
{
	bool once = c->trial < GRUB_N_SLOTS && c->tries == 1;
	int r;

	/* An older switch that was never carried through would win over saved_entry. */
	grub_env_unset(env, "prev_saved_entry");
	grub_env_unset(env, "next_entry");
	r = grub_env_set(env, "saved_entry", grub_slot_id[c->saved]);
	if (r == 0 && once)
		r = grub_env_set(env, "next_entry", grub_slot_id[c->trial]);
	if (r == 0)
		r = set_counted(
			env, "ota_try", once ? GRUB_N_SLOTS : c->trial, "ota_left", c->tries);
	if (r == 0)
		r = set_counted(env, "ota_spare", c->spare, "ota_spare_after", c->spare_after);
	return r;
}

static int make_block(const struct grub_ctl *ctl, const struct grub_choice *choice,
	char ret_block[GRUB_ENV_BYTES], struct ota_err *err)
{
	struct grub_env env;
	int r;

	grub_load_env(ctl, &env);
	r = fill_env(&env, choice);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot change /boot/grub/grubenv: variables of others fill its %d bytes",
			GRUB_ENV_BYTES);
	grub_env_render(&env, ret_block);
	return 0;
}

int grub_choice_write(const struct grub_ctl *ctl, const char *what,
	const struct grub_choice *choice, struct ota_err *err)
{
	char block[GRUB_ENV_BYTES];
	struct buf content = {.data = block, .len_bytes = sizeof(block)};
	int r = make_block(ctl, choice, block, err);

	if (r == 0)
		r = grub_write_file(
			what, ctl->grub_fd, "grubenv", "/boot/grub/grubenv", &content, 0644, err);
	return r < 0 ? r : grub_publish(ctl, what, err);
}

int grub_choice_write_in_place(const struct grub_ctl *ctl, const char *what,
	const struct grub_choice *choice, struct ota_err *err)
{
	struct ota_err no_room = {0};
	char block[GRUB_ENV_BYTES];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int r = grub_choice_write(ctl, what, choice, &no_room);

	if (r == -ENOSPC || r == -EDQUOT)
		fd = path_open(ctl->grub_fd, "grubenv", O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != sizeof(block)) {
		if (r < 0 && err)
			*err = no_room;
		return r;
	}
	r = make_block(ctl, choice, block, err);
	if (r < 0)
		return r;
	r = io_overwrite("overwrite grubenv", fd, block, sizeof(block), 0);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot overwrite /boot/grub/grubenv: %s", strerror(-r));
	return grub_publish(ctl, what, err);
}

int grub_choice_commit(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err)
{
	AUTO_BUF struct buf b = {0};
	int r = grub_cfg_committed(grub_slot_id[slot], &b);

	if (r < 0)
		return ota_err_no_memory(err, "ota-committed.cfg");
	r = grub_write_file("replace ota-committed.cfg", ctl->grub_fd, "ota-committed.cfg",
		"/boot/grub/ota-committed.cfg", &b, 0644, err);
	return r < 0 ? r : grub_publish(ctl, "publish ota-committed.cfg", err);
}
