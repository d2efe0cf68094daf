/*
 * rollback: the rule when the standby slot may be gone back to, and the steps. Contract: rollback.h.
 *
 * Nothing of the system on either slot is written. The status files say what a cut leaves behind: the running slot
 * FAILURE from before the flip on, the other ROLLBACKING until it has come up (first_boot.c). Where the other's lie
 * inside it, the running slot says ROLLBACKING and leaves a note (slot_note.c).
 */
#include "otaclient/update/rollback.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "otaclient/slot/fs_state.h"
#include "otaclient/slot/slot_note.h"
#include "otaclient/status/status_store.h"

/* Is the file system on the slot the one that was marked, and untouched since it was left? */
static int check_untouched(
	const struct boot_slot *slot, const struct complete_mark *mark, struct ota_err *err)
{
	struct fs_state fs;
	int r = fs_state_read(slot->device, &fs);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read the superblock of %s: %s",
			slot->device, strerror(-r));
	if (strcmp(fs.uuid, mark->fs_uuid) != 0 || strcmp(fs.uuid, slot->fs_uuid) != 0)
		return ota_err_set(err, -ESTALE, OTA_E_UNSPECIFIC,
			"It holds another file system, %s, than the one that was left there, %s",
			fs.uuid, mark->fs_uuid);
	if (mark->other_mount_s == 0)
		return ota_err_set(err, -ESTALE, OTA_E_UNSPECIFIC,
			"It is not known in which state it was left");
	if (fs.mounted_unix_s != mark->other_mount_s)
		return ota_err_set(err, -ESTALE, OTA_E_UNSPECIFIC,
			"It was mounted writable since it was left");
	return 0;
}

int rollback_check(const struct boot_ctl *boot, struct ota_err *err)
{
	struct complete_mark mark;
	struct slot_pair slots;
	char mark_dir[PATH_MAX];
	int r = boot->ops->slots(boot, &slots, err);

	if (r < 0)
		return r;
	slot_note_mark_dir(&slots, mark_dir);
	r = status_store_read_complete(mark_dir, &mark, err);
	if (r == -ENOENT) {
		*err = (struct ota_err){0};
		ota_err_set(err, r, OTA_E_UNSPECIFIC, "No complete system is known to be on it");
	}
	if (r == 0)
		r = check_untouched(&slots.standby, &mark, err);
	if (r == 0)
		r = boot->ops->check(boot, err);
	if (r < 0) {
		err->code = OTA_E_INVALID_STATUS_FOR_ROLLBACK;
		return ota_err_wrap(err, r, "Cannot go back to %s", slots.standby.id);
	}
	return 0;
}

int rollback_claim(struct update_session *s, struct ota_err *err)
{
	int r = s->env->boot->ops->slots(s->env->boot, &s->slots, err);

	return r < 0 ? r : slot_mount_hold(&s->mount, &s->slots.standby, s->env->active_root, err);
}

int rollback_check_again(struct update_session *s, struct ota_err *err)
{
	return rollback_check(s->env->boot, err);
}

int rollback_keep(struct update_session *s, struct ota_err *err)
{
	return s->env->boot->ops->keep(s->env->boot, err);
}

int rollback_write_status(struct update_session *s, struct ota_err *err)
{
	const char *active = s->slots.active.status_dir, *standby = s->slots.standby.status_dir;
	const char *id = s->slots.standby.id;
	int r;

	if (s->slots.standby.status_inside)
		return slot_note_leave(&s->slots, err);
	r = status_store_write_status(active, STATUS_FAILURE, err);
	if (r == 0)
		r = status_store_write_slot_in_use(active, id, err);
	if (r == 0)
		r = status_store_write_status(standby, STATUS_ROLLBACKING, err);
	return r < 0 ? r : status_store_write_slot_in_use(standby, id, err);
}

int rollback_flip(struct update_session *s, struct ota_err *err)
{
	int r = step_flip_and_reboot(s, err);

	if (r < 0 && err->code == OTA_E_BOOTCONTROL_POSTUPDATE)
		err->code = OTA_E_BOOTCONTROL_POSTROLLBACK;
	return r;
}
