/*
 * update_hooks: what the session knows, as facts for programs. Contract: update_hooks.h.
 */
#include "otaclient/update/update_hooks.h"

#include <errno.h>

#include "common/base/log.h"
#include "otaclient/status/status_store.h"

/* What is said to each, and room for it. */
struct told {
	struct hook_facts facts;
	char version[STATUS_VERSION_MAX], from_version[STATUS_VERSION_MAX];
	uint64_t download_bytes;
};

static void tell(const struct update_session *s, struct told *t)
{
	const struct slot_pair *slots = &s->slots;

	status_store_read_version(slots->active.status_dir, t->from_version);
	if (!s->request)
		status_store_read_version(slots->standby.status_dir, t->version);
	t->facts = (struct hook_facts){
		.action = s->request ? "update" : "rollback",
		.session = s->id,
		.ecu_id = s->env->ecu_id ? s->env->ecu_id : "",
		.version = s->request ? s->request->version : t->version,
		.from_version = t->from_version,
		.url = s->request ? s->request->url : NULL,
		.slot = slots->standby.id,
		.from_slot = slots->active.id,
	};
}

static int run(struct update_session *s, enum hook which, const struct told *t, struct ota_err *err)
{
	return hooks_run(&s->env->hooks, which, &t->facts, session_poll, s, err);
}

int step_pre_update(struct update_session *s, struct ota_err *err)
{
	struct status_snapshot now;
	struct told t = {0};
	int r;

	/* The plan is made a second time: what there was to refuse has begun. */
	if (s->may_destroy)
		return 0;
	r = hooks_check(&s->env->hooks, err);
	tell(s, &t);
	status_get(s->env->status, &now);
	t.download_bytes = now.update.total_download_files_size;
	t.facts.download_bytes = &t.download_bytes;
	if (r == 0)
		r = run(s, HOOK_PRE_UPDATE, &t, err);
	s->refused = r < 0 && r != -ECANCELED;
	return r;
}

int step_post_update(struct update_session *s, struct ota_err *err)
{
	struct told t = {0};
	int r;

	tell(s, &t);
	t.facts.standby_root = s->mount.standby_dir;
	r = run(s, HOOK_POST_UPDATE, &t, err);
	/* The next step writes there, by the path. */
	if (r == 0 && !slot_mount_is_in_place(&s->mount))
		r = ota_err_set(err, -ESTALE, OTA_E_HOOK,
			"The new system is no longer mounted where the post-update hooks had it");
	return r;
}

/* An ECU below may have begun anew while they ran, and fetches through this one. */
int step_pre_reboot(struct update_session *s, struct ota_err *err)
{
	struct told t = {0};
	int r;

	tell(s, &t);
	r = run(s, HOOK_PRE_REBOOT, &t, err);
	/* Of a rollback nothing has been begun. */
	s->refused = !s->request && r < 0 && r != -ECANCELED;
	return r < 0 ? r : step_wait_for_children(s, err);
}

struct hooks_thread *post_commit_hooks(const struct hooks *hooks, const struct boot_ctl *boot,
	const char *ecu_id, bool is_rollback)
{
	char version[STATUS_VERSION_MAX], from_version[STATUS_VERSION_MAX];
	struct ota_err err = {0};
	struct slot_pair slots;

	if (boot->ops->slots(boot, &slots, &err) < 0) {
		log_warning("The post-commit hooks are not run: %s", err.msg);
		return NULL;
	}
	status_store_read_version(slots.active.status_dir, version);
	status_store_read_version(slots.standby.status_dir, from_version);
	return hooks_start(hooks, HOOK_POST_COMMIT,
		&(struct hook_facts){
			.action = is_rollback ? "rollback" : "update",
			.ecu_id = ecu_id,
			.version = version,
			.from_version = from_version,
			.slot = slots.active.id,
			.from_slot = slots.standby.id,
		});
}
