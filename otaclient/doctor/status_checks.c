/*
 * status_checks: what the last update has left: the status that is stored, and whether there is a way back.
 */
#include <errno.h>
#include <string.h>

#include "common/image/utf8.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/status/status_store.h"

void check_last_status(struct machine *m, struct finding *ret)
{
	char version[STATUS_VERSION_MAX], shown[UTF8_SHOW_MAX];
	const struct boot_slot *a = &m->slots.active;
	enum ota_status status;

	if (!machine_knows_slots(m, ret))
		return;
	status = status_store_read_status(a->status_dir);
	status_store_read_version(a->status_dir, version);
	utf8_show(version, strlen(version), shown);
	switch (status) {
	case STATUS_NONE:
		finding_ok(ret, "No status is stored yet");
		break;
	case STATUS_UPDATING:
	case STATUS_ROLLBACKING:
		finding_warning(ret, "Wait until otaclient has committed it, or restart otaclient",
			"%s to version \"%s\" is not finished",
			status == STATUS_UPDATING ? "An update" : "A rollback", shown);
		break;
	case STATUS_FAILURE:
	case STATUS_ROLLBACK_FAILURE:
		finding_warning(ret,
			"See otactl status and the log for the reason, before the next",
			"The last %s has failed; version \"%s\" runs",
			status == STATUS_FAILURE ? "update" : "rollback", shown);
		break;
	default:
		finding_ok(ret, "The status is %s, the version \"%s\"", ota_status_name(status),
			shown);
	}
}

void check_way_back(struct machine *m, struct finding *ret)
{
	const struct boot_slot *b = &m->slots.standby;
	struct complete_mark mark;
	struct ota_err err = {0};
	int r;

	if (!machine_knows_slots(m, ret))
		return;
	if (b->status_inside) {
		finding_not_looked(ret, "The other slot's state is inside it");
		return;
	}
	r = status_store_read_complete(b->status_dir, &mark, &err);
	if (r == -ENOENT)
		finding_ok(ret, "%s holds no whole system, so there is no way back", b->id);
	else if (r < 0)
		finding_warning(ret, "There is no way back until the next update", "%s", err.msg);
	else if (strncmp(mark.fs_uuid, b->fs_uuid, sizeof(mark.fs_uuid)) != 0)
		finding_warning(ret, "There is no way back until the next update",
			"The file system on %s is not the one that was marked as whole", b->device);
	else
		finding_ok(ret, "%s holds a whole system", b->id);
}
