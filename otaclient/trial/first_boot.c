/*
 * first_boot: the table of what happens across a restart. Contract: first_boot.h.
 *
 * Commit order: the boot loader first and published, then the marks that the slots are complete, the mark
 * of the trial, then the status. Cut anywhere, the next start finds UPDATING again and repeats what is missing.
 */
#include "otaclient/trial/first_boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/image/image_meta.h"
#include "otaclient/log/journal.h"
#include "otaclient/slot/fs_state.h"
#include "otaclient/slot/slot_folders.h"
#include "otaclient/slot/slot_note.h"
#include "otaclient/update/rollback.h"

enum match {
	MATCH_NO,
	MATCH_YES,
	MATCH_ANY,
};

/* stored status, is slot_in_use the slot that runs?, action: the first row that fits counts */
static const struct first_boot_row {
	enum ota_status stored;
	enum match slot_matches;
	enum first_boot_action action;
} first_boot_table[] = {
	{STATUS_NONE,        MATCH_ANY, FIRST_BOOT_INITIALIZE   },
	{STATUS_UPDATING,    MATCH_YES, FIRST_BOOT_COMMIT       },
	{STATUS_UPDATING,    MATCH_NO,  FIRST_BOOT_FAIL         },
	{STATUS_ROLLBACKING, MATCH_YES, FIRST_BOOT_COMMIT       },
	{STATUS_ROLLBACKING, MATCH_NO,  FIRST_BOOT_FAIL_ROLLBACK},
};

enum first_boot_action first_boot_decide(enum ota_status stored, bool slot_matches)
{
	for (size_t i = 0; i < ARRAY_SIZE(first_boot_table); i++) {
		const struct first_boot_row *row = &first_boot_table[i];

		if (row->stored == stored &&
			(row->slot_matches == MATCH_ANY ||
				(row->slot_matches == MATCH_YES) == slot_matches))
			return row->action;
	}
	return FIRST_BOOT_KEEP;
}

/* Which image it is is only known of a system that came as one; a digest of zeros says so. */
static void mark_complete(const struct boot_slot *slot, const char *root)
{
	struct complete_mark mark = {.unix_s = clock_unix_s()};
	AUTO_BUF struct buf jwt = {0};
	char path[PATH_MAX];
	struct ota_err err = {0};

	snprintf(path, sizeof(path), "%s/.ota-meta/metadata.jwt", root);
	if (file_read(AT_FDCWD, path, IMAGE_META_JWT_MAX_BYTES, &jwt) == 0)
		digest_of(jwt.data, jwt.len_bytes, &mark.image);
	snprintf(mark.fs_uuid, sizeof(mark.fs_uuid), "%s", slot->fs_uuid);
	if (status_store_write_complete(slot->status_dir, &mark, &err) < 0)
		log_warning("The slot %s is not marked complete: %s", slot->id, err.msg);
}

/*
 * The old slot is as it was left, until somebody mounts it writable: its mark gets the time that tells.
 * One that never was updated has none yet; it gets one, for the system on it has just carried an update
 * through. A mark that is torn is none, and then there is no way back.
 */
static void seal_old_slot(const struct boot_slot *slot, const char *mark_dir)
{
	struct complete_mark mark = {.unix_s = clock_unix_s()};
	struct fs_state fs = {0};
	struct ota_err err = {0};
	int r = status_store_read_complete(mark_dir, &mark, &err);
	bool unmarked = r == -ENOENT;

	if (r == 0 || unmarked) {
		err = (struct ota_err){0};
		r = fs_state_read(slot->device, &fs);
	}
	if (r == 0) {
		mark.other_mount_s = fs.mounted_unix_s;
		if (unmarked)
			snprintf(mark.fs_uuid, sizeof(mark.fs_uuid), "%s", fs.uuid);
		r = status_store_write_complete(mark_dir, &mark, &err);
	}
	if (r < 0)
		log_warning("The slot %s is no longer one to go back to: %s", slot->id,
			err.msg[0] ? err.msg : strerror(-r));
}

/* systemd looks for it, too: docs/install.md, "Health before commit". */
static void end_trial(const char *root)
{
	AUTO_CLOSE int dir_fd = -1;
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/" SLOT_META_NAME, root);
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = dir_fd < 0 ? -errno : io_unlink("end the trial", dir_fd, SLOT_TRIAL_NAME, 0);
	if (r < 0 && r != -ENOENT)
		log_warning("Cannot remove %s/" SLOT_TRIAL_NAME ": %s", path, strerror(-r));
}

int first_boot_commit(struct boot_ctl *boot, const char *root, struct ota_err *err)
{
	static const struct log_event committed = {.id = JOURNAL_COMMITTED};
	char mark_dir[PATH_MAX];
	struct slot_pair slots;
	int r = boot->ops->slots(boot, &slots, err);

	if (r < 0)
		return r;
	r = boot->ops->commit(boot, err);
	if (r < 0) {
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
		return ota_err_wrap(err, r, "Cannot commit the slot %s", slots.active.id);
	}
	mark_complete(&slots.active, root);
	slot_note_mark_dir(&slots, mark_dir);
	seal_old_slot(&slots.standby, mark_dir);
	end_trial(root);
	r = status_store_write_status(slots.active.status_dir, STATUS_SUCCESS, err);
	if (r == 0)
		log_event(LOG_LEVEL_INFO, &committed, "The slot %s is committed", slots.active.id);
	first_boot_settle(boot);
	return r;
}

/* The loader's own fallback knows less than we do: what is none to go back to must not be its spare either. */
void first_boot_settle(struct boot_ctl *boot)
{
	struct ota_err why = {0}, err = {0};
	bool whole;

	if (!boot->ops->settle)
		return;
	whole = rollback_check(boot, &why) == 0;
	if (boot->ops->settle(boot, whole, &err) < 0)
		log_warning("%s", err.msg);
}

/* The status to report, after whatever the table says was done. */
static int act(enum first_boot_action action, const struct slot_pair *slots,
	enum ota_status *status, struct ota_err *err)
{
	const char *dir = slots->active.status_dir, *other = slots->standby.status_dir;
	int r = 0;

	if (action == FIRST_BOOT_FAIL || action == FIRST_BOOT_FAIL_ROLLBACK)
		log_warning("The machine is back on the slot %s", slots->active.id);
	switch (action) {
	case FIRST_BOOT_KEEP:
	case FIRST_BOOT_COMMIT:
		break;
	case FIRST_BOOT_INITIALIZE:
		*status = STATUS_INITIALIZED;
		r = status_store_write_status(dir, *status, err);
		break;
	case FIRST_BOOT_FAIL:
		*status = STATUS_FAILURE;
		r = status_store_write_status(dir, *status, err);
		break;
	case FIRST_BOOT_FAIL_ROLLBACK:
		*status = STATUS_ROLLBACK_FAILURE;
		r = status_store_write_status(dir, *status, err);
		/* What came up here is not under way there any more. */
		if (r == 0 && status_store_read_status(other) == STATUS_ROLLBACKING)
			r = status_store_write_status(other, STATUS_FAILURE, err);
		break;
	}
	return r;
}

/*
 * A slot that is left, by an update or a rollback, says FAILURE from then on. That it was a rollback, one
 * from which the machine has come back, stands with the other slot.
 */
static enum ota_status what_was_going_on(
	const struct slot_pair *slots, enum ota_status stored, bool slot_matches)
{
	if (stored == STATUS_FAILURE && !slot_matches &&
		status_store_read_status(slots->standby.status_dir) == STATUS_ROLLBACKING)
		return STATUS_ROLLBACKING;
	return stored;
}

int first_boot_run(struct boot_ctl *boot, bool reset, struct status *status, bool *ret_on_trial,
	struct ota_err *err)
{
	enum first_boot_action action;
	char slot_in_use[STATUS_SLOT_MAX] = "", version[STATUS_VERSION_MAX];
	struct release_detail release;
	struct slot_pair slots;
	enum ota_status stored;
	const char *dir;
	bool matches;
	int r = boot->ops->slots(boot, &slots, err);

	if (r < 0)
		return r;
	dir = slots.active.status_dir;
	stored = reset ? STATUS_NONE : status_store_read_status(dir);
	if (!reset)
		status_store_read_slot_in_use(dir, slot_in_use);
	if (slot_in_use[0] == '\0') {
		snprintf(slot_in_use, sizeof(slot_in_use), "%s", slots.active.id);
		r = status_store_write_slot_in_use(dir, slot_in_use, err);
		if (r < 0)
			return r;
	}
	matches = strcmp(slot_in_use, slots.active.id) == 0;
	stored = what_was_going_on(&slots, stored, matches);
	if (!matches)
		log_warning("The slot %s runs although %s was to be used: the last update did not "
			    "come to its end",
			slots.active.id, slot_in_use);
	action = first_boot_decide(stored, matches);
	r = act(action, &slots, &stored, err);
	if (r < 0)
		return r;
	status_store_read_version(dir, version);
	status_store_read_release(dir, &release);
	status_set_booted(status, stored, version, &release);
	*ret_on_trial = action == FIRST_BOOT_COMMIT;
	if (*ret_on_trial)
		status_begin_trial(status);
	return 0;
}
