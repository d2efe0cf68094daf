/*
 * slot_note: a rollback from slot to slot where the status files lie inside. Contract: slot_note.h.
 *
 * The slot that is left says ROLLBACKING and names the other one, as any rollback does, and has a token. The slot that
 * comes up writes the same into its own files, then the token, and only then is it committed. So a cut anywhere is made
 * good by the next start, and a note that was carried out once is not taken for another one when this slot is left and
 * comes back later for a reason of its own.
 */
#include "otaclient/slot/slot_note.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "otaclient/slot/slot_mount.h"
#include "otaclient/status/status_store.h"

enum {
	TOKEN_BYTES = 16,
	TOKEN_MAX = 2 * TOKEN_BYTES + 1,
};

static const char left_name[] = "rollback_token", taken_name[] = "rollback_taken";

void slot_note_mark_dir(const struct slot_pair *slots, char ret_dir[PATH_MAX])
{
	if (slots->standby.status_inside)
		snprintf(ret_dir, PATH_MAX, "%.*s/other", PATH_MAX - 16, slots->active.status_dir);
	else
		snprintf(ret_dir, PATH_MAX, "%s", slots->standby.status_dir);
}

/* "" = there is none, or it is torn. */
static void read_token(const char *dir, const char *name, char ret_token[TOKEN_MAX])
{
	AUTO_CLOSE int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char text[TOKEN_MAX + 1] = "";
	ssize_t len;
	size_t n = 0;

	ret_token[0] = '\0';
	len = fd < 0 ? -errno : file_read_word(fd, name, text, sizeof(text));
	while (len == TOKEN_MAX && isxdigit((unsigned char)text[n]))
		n++;
	if (n != TOKEN_MAX - 1 || text[n] != '\n')
		return;
	memcpy(ret_token, text, n);
	ret_token[n] = '\0';
}

static int write_token(const char *dir, const char *name, const char *token, struct ota_err *err)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char line[TOKEN_MAX + 1];
	int r, n = snprintf(line, sizeof(line), "%s\n", token);

	r = fd < 0 ? -errno : io_replace_file("rollback token", fd, name, line, (size_t)n, 0644);
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write %s/%s: %s", dir, name,
			       strerror(-r))
		     : 0;
}

/* The other slot reads it without the journal. */
static int publish(const char *dir, struct ota_err *err)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : io_publish_boot("publish the status", fd);

	return r < 0 ? ota_err_set(
			       err, r, OTA_E_UNSPECIFIC, "Cannot publish %s: %s", dir, strerror(-r))
		     : 0;
}

int slot_note_leave(const struct slot_pair *slots, struct ota_err *err)
{
	const char *dir = slots->active.status_dir;
	uint8_t random[TOKEN_BYTES];
	char token[TOKEN_MAX];
	int r;

	clock_random(random, sizeof(random));
	hex_encode(random, sizeof(random), token);
	r = write_token(dir, left_name, token, err);
	/* Cut between these two, the next start finds a rollback to the slot that runs, and is content. */
	if (r == 0)
		r = status_store_write_status(dir, STATUS_ROLLBACKING, err);
	if (r == 0)
		r = status_store_write_slot_in_use(dir, slots->standby.id, err);
	return r < 0 ? r : publish(dir, err);
}

static bool names(const char *dir, const char *slot)
{
	char slot_in_use[STATUS_SLOT_MAX];

	status_store_read_slot_in_use(dir, slot_in_use);
	return strcmp(slot_in_use, slot) == 0;
}

int slot_note_take(
	const struct boot_slot *active, const char *other_status_dir, struct ota_err *err)
{
	const char *dir = active->status_dir;
	bool asked = status_store_read_status(other_status_dir) == STATUS_ROLLBACKING &&
		     names(other_status_dir, active->id);
	char left[TOKEN_MAX], taken[TOKEN_MAX];
	int r;

	read_token(other_status_dir, left_name, left);
	read_token(dir, taken_name, taken);
	if (asked && left[0] && strcmp(left, taken) != 0) {
		r = status_store_write_slot_in_use(dir, active->id, err);
		if (r == 0)
			r = status_store_write_status(dir, STATUS_ROLLBACKING, err);
		return r < 0 ? r : write_token(dir, taken_name, left, err);
	}
	/* It was begun here, but the other slot has come back meanwhile and given it up. */
	if (!asked && taken[0] && strcmp(left, taken) == 0 &&
		status_store_read_status(dir) == STATUS_ROLLBACKING && names(dir, active->id))
		return status_store_write_status(dir, STATUS_FAILURE, err);
	return 0;
}

int slot_note_find(const struct boot_ctl *boot, const char *run_dir, struct ota_err *err)
{
	struct slot_mount mount;
	struct slot_pair slots;
	struct ota_err why = {0};
	enum ota_status stored;
	int r = boot->ops->slots(boot, &slots, err);

	if (r < 0)
		return r;
	stored = status_store_read_status(slots.active.status_dir);
	if (!slots.standby.status_inside ||
		(stored != STATUS_FAILURE && stored != STATUS_ROLLBACKING))
		return 0;
	slot_mount_init(&mount);
	if (slot_mount_peek(&mount, &slots.standby, run_dir, &why) < 0)
		log_info("Whether slot %s has asked for this start cannot be seen: %s",
			slots.standby.id, why.msg);
	else if (!slot_mount_owns_status(&mount))
		log_info("Whether slot %s has asked for this start cannot be seen: a link leads to "
			 "its status files",
			slots.standby.id);
	else
		r = slot_note_take(&slots.active, slots.standby.status_dir, err);
	slot_mount_done(&mount);
	return r;
}
