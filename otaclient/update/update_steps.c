/*
 * update_steps: what each step of an update does. Contract: update_steps.h; order and blame:
 * update_plot.c.
 */
#include "otaclient/update/update_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "otaclient/log/journal.h"
#include "otaclient/slot/slot_note.h"
#include "otaclient/source/fetch_pool.h"
#include "otaclient/standby/persist_files.h"
#include "otaclient/status/status_store.h"
#include "otaclient/status/text.h"
#include "otaclient/update/update_forecast.h"
#include "otaclient/update/update_proxy.h"

/* ---- metadata -----------------------------------------------------------------------------------
 */

static struct http_config http_config_of(const struct update_session *s)
{
	return (struct http_config){
		.proxy = s->proxy,
		.tls_ca = s->env->tls_ca,
		.cookies = s->cookie_header,
		.user_agent = "otaclient/" OTA_VERSION,
		.max_connections = s->env->connections,
		.retry_base_ms = s->env->retry_base_ms,
	};
}

static void add_wire_bytes(struct update_stats *u, const void *arg)
{
	u->downloaded_bytes += *(const uint64_t *)arg;
}

static void metadata_progress(void *ctx, uint64_t wire_bytes)
{
	struct update_session *s = ctx;

	s->net.bytes += wire_bytes;
	status_change(s->env->status, add_wire_bytes, &wire_bytes);
}

static void set_totals(struct update_stats *u, const void *arg)
{
	const struct image *image = arg;

	u->total_files_num = image->table->n_files;
	u->total_files_size = image->meta.total_regular_size_bytes
				      ? image->meta.total_regular_size_bytes
				      : image->table->total_size_bytes;
}

static int open_image(struct update_session *s, struct ota_err *err)
{
	AUTO_CLOSE int scratch_fd = open(s->env->scratch_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct image_source_config config = {
		.http = http_config_of(s),
		.url = s->request->url,
		.certs = s->env->certs,
		.running_root = s->env->active_root,
		.scratch_dir_fd = scratch_fd,
		.inactivity_ms = s->env->inactivity_ms,
		.progress = metadata_progress,
		.stop = session_poll,
		.ctx = s,
	};

	return image_source_open(&config, &s->image, err);
}

int step_fetch_metadata(struct update_session *s, struct ota_err *err)
{
	int r = update_proxy_wait(s, err);

	s->net.ms = clock_monotonic_ms();
	if (r == 0)
		r = open_image(s, err);
	if (r < 0)
		return r;
	s->net.ms = clock_monotonic_ms() - s->net.ms;
	s->has_image = true;
	status_change(s->env->status, set_totals, &s->image);
	log_info("The image has %u files, %u folders and %u links, %" PRIu64 " MiB",
		s->image.table->n_files, s->image.table->n_dirs, s->image.table->n_symlinks,
		s->image.table->total_size_bytes >> 20);
	return 0;
}

/* ---- looking and deciding -----------------------------------------------------------------------
 */

int step_claim_standby(struct update_session *s, struct ota_err *err)
{
	int r = s->env->boot->ops->slots(s->env->boot, &s->slots, err);

	if (r < 0)
		return r;
	/* For the record: later it is the new one's. */
	status_store_read_version(s->slots.standby.status_dir, s->standby_version);
	return slot_mount_claim(
		&s->mount, &s->slots.standby, s->env->active_root, s->env->run_dir, err);
}

/* What an ext4 that is damaged answers; a disk that fails says EIO, and a new file system would not help. */
static bool is_damage(int r)
{
	return r == -EUCLEAN || r == -EROFS || r == -ESTALE || r == -EBADMSG || r == -EBUSY;
}

/*
 * Of what was read of the standby slot alone: all but the disk, the memory and the user is for a new file system to
 * mend, as a folder that is locked with a key that nobody has.
 */
static int as_damage(int r)
{
	return r >= 0 || r == -EIO || r == -ENOMEM || r == -ECANCELED ? r : -EUCLEAN;
}

/* A fresh inventory and plan; of the standby slot's content only if it can be kept. */
static int look_and_plan(struct update_session *s, bool with_standby, struct ota_err *err)
{
	const struct file_table *t = s->image.table;
	uint64_t began_ms = clock_monotonic_ms();
	struct slot_space space;
	int r;

	inventory_free(s->inventory);
	plan_free(s->plan);
	s->inventory = inventory_new(t);
	s->plan = plan_new(t);
	if (!s->inventory || !s->plan)
		return -ENOMEM;
	s->inventory->believes_nothing = s->believes_nothing;
	r = slot_mount_space(&s->mount, &space, err);
	if (r == 0 && s->image.patches)
		r = inventory_want_bases(s->inventory, s->image.patches);
	if (r == 0 && with_standby)
		r = as_damage(inventory_scan_standby(s->inventory, t, s->mount.standby_fd,
			s->mount.standby.device, session_poll, s, err));
	if (r == 0)
		r = inventory_scan_active(
			s->inventory, t, s->mount.active_fd, session_poll, s, err);
	if (r == 0)
		r = plan_make(s->plan, t, s->inventory, &space, with_standby, err);
	if (r == 0)
		plan_use_patches(s->plan, t, s->inventory);
	if (s->inventory->n_hashed_bytes > s->disk.bytes)
		s->disk = (struct sample){
			s->inventory->n_hashed_bytes, clock_monotonic_ms() - began_ms};
	return r;
}

static void set_plan_sums(struct update_stats *u, const void *arg)
{
	const struct update_session *s = arg;
	const struct plan_sum *sums = s->plan->sums;

	u->kept_files = sums[PLAN_KEEP].files;
	u->kept_bytes = sums[PLAN_KEEP].bytes;
	u->moved_files = sums[PLAN_MOVE].files + sums[PLAN_REPEAT].files;
	u->moved_bytes = sums[PLAN_MOVE].bytes + sums[PLAN_REPEAT].bytes;
	u->copied_files = sums[PLAN_COPY].files;
	u->copied_bytes = sums[PLAN_COPY].bytes;
	u->fetched_files = sums[PLAN_PATCH].files + sums[PLAN_FETCH].files;
	u->fetched_bytes = sums[PLAN_PATCH].bytes + sums[PLAN_FETCH].bytes;
	u->total_download_files_num = sums[PLAN_PATCH].contents + sums[PLAN_FETCH].contents;
	u->total_download_files_size = 0;
	for (uint32_t i = 0; i < s->image.table->n_contents; i++)
		if ((s->plan->actions[i] == PLAN_FETCH || s->plan->actions[i] == PLAN_PATCH) &&
			s->image.table->contents[i].size_bytes != CONTENT_SIZE_UNKNOWN)
			u->total_download_files_size += s->image.table->contents[i].size_bytes;
	u->processed_files_num = u->kept_files;
	u->processed_files_size = u->kept_bytes;
}

/* Whenever it has changed. */
static void publish_plan(struct update_session *s)
{
	update_forecast_publish(s);
	status_change(s->env->status, set_plan_sums, s);
}

static void log_plan(const struct update_session *s)
{
	log_info("The standby slot %s is %s", s->slots.standby.device,
		s->plan->rebuild ? "made anew" : "changed in place");
	if (s->inventory->n_known_names > 0)
		log_info("%" PRIu64 " names on it are as the last update left them, and will be "
			 "read at the end; %" PRIu64 " files were looked at one by one",
			s->inventory->n_known_names, s->inventory->n_asked_names);
	for (int a = 0; a < PLAN_ACTIONS; a++)
		if (s->plan->sums[a].files > 0)
			log_info("Plan: %s %" PRIu64 " contents for %" PRIu64 " files, %" PRIu64
				 " MiB",
				forecast_action_name((enum plan_action)a),
				s->plan->sums[a].contents, s->plan->sums[a].files,
				s->plan->sums[a].bytes >> 20);
}

int step_plan(struct update_session *s, struct ota_err *err)
{
	bool keep_fs = s->mount.usable;
	int r = look_and_plan(s, keep_fs, err);

	if (keep_fs && is_damage(r)) {
		log_warning("The standby slot will be made anew: %s", err->msg);
		*err = (struct ota_err){0};
		keep_fs = false;
		r = look_and_plan(s, keep_fs, err);
	}
	/* In place it does not fit: what the new file system will not have any more must come from
	 * elsewhere. */
	if (r == 0 && s->plan->rebuild && keep_fs)
		r = look_and_plan(s, false, err);
	if (r < 0)
		return r;
	log_plan(s);
	publish_plan(s);
	return update_forecast_tell(s, err);
}

/* ---- changing the standby slot ------------------------------------------------------------------
 */

/* Of files that the machine keeps, each that fails is told of. */
static void log_note(void *ctx, const char *sentence)
{
	log_each_warning("%s", sentence);
}

static int open_writer(struct update_session *s, struct ota_err *err)
{
	struct writer_config config = {
		.table = s->image.table,
		.inv = s->inventory,
		.plan = s->plan,
		.standby_fd = s->mount.standby_fd,
		.active_fd = s->mount.active_fd,
		.note = log_note,
		.stop = session_poll,
		.stop_ctx = s,
	};

	return standby_writer_open(&config, &s->writer, err);
}

static int prune(struct update_session *s, struct ota_err *err)
{
	int r = standby_prune(s->writer, err);

	s->pruned = r == 0;
	return r;
}

/* From here until the commit whoever looks sees a slot that is not to be trusted. */
int step_prepare_standby(struct update_session *s, struct ota_err *err)
{
	const char *dir = s->slots.active.status_dir;
	char mark_dir[PATH_MAX];
	int r = status_store_write_status(dir, STATUS_FAILURE, err);

	if (r == 0)
		r = status_store_write_slot_in_use(dir, s->slots.standby.id, err);
	slot_note_mark_dir(&s->slots, mark_dir);
	if (r == 0)
		r = status_store_remove_complete(mark_dir, err);
	if (r == 0)
		r = s->env->boot->ops->prepare(s->env->boot, err);
	if (r == 0)
		s->may_destroy = true;
	return r;
}

static int open_in_place(struct update_session *s, struct ota_err *err)
{
	int r = slot_mount_make_writable(&s->mount, s->plan->rebuild, err);

	/* What the slot says of itself there vouches for nothing, but it would no longer be true. */
	if (r == 0 && s->slots.standby.status_inside && slot_mount_owns_status(&s->mount))
		r = status_store_remove_complete(s->slots.standby.status_dir, err);
	if (r == 0)
		r = open_writer(s, err);
	if (r == 0)
		r = standby_harvest(s->writer, err);
	if (r == 0 && s->plan->prune_first)
		r = prune(s, err);
	return r;
}

/*
 * Something on the old file system cannot be removed, is damaged, or leaves no room: start over on a new one. What was
 * in the store goes with it; most of it comes from the active slot again. Once only: the plan says
 * rebuild then.
 */
static int make_fs_anew(struct update_session *s, struct ota_err *err)
{
	int r;

	log_warning("The standby slot's file system is made anew: %s", err->msg);
	*err = (struct ota_err){0};
	standby_writer_free(s->writer);
	s->writer = NULL;
	standby_check_free(TAKE_PTR(s->check));
	s->pruned = true;
	r = slot_mount_make_writable(&s->mount, true, err);
	if (r == 0)
		r = look_and_plan(s, false, err);
	if (r == 0)
		r = open_writer(s, err);
	if (r == 0)
		publish_plan(s);
	return r;
}

static bool wants_new_fs(const struct update_session *s, int r)
{
	return is_damage(r) && !s->plan->rebuild;
}

int step_open_standby(struct update_session *s, struct ota_err *err)
{
	int r = open_in_place(s, err);

	/* -ENOSPC: too full even for the store, of things that must not go before it is there. */
	if (wants_new_fs(s, r) || (r == -ENOSPC && !s->plan->rebuild))
		return make_fs_anew(s, err);
	return r;
}

/* Contents that were to be copied but were not what they seemed: are they elsewhere on the active
 * slot? */
static int search_again(struct update_session *s, struct ota_err *err)
{
	int r = inventory_search_active(
		s->inventory, s->image.table, s->mount.active_fd, session_poll, s, err);

	for (uint32_t i = 0; r == 0 && i < s->image.table->n_contents; i++)
		if (s->plan->actions[i] == PLAN_FETCH &&
			s->inventory->sources[i].place == PLACE_ACTIVE)
			s->plan->actions[i] = PLAN_COPY;
	return r;
}

static int copy_contents(struct update_session *s, struct ota_err *err)
{
	uint64_t planned = s->plan->sums[PLAN_FETCH].contents;
	int r = standby_copy(s->writer, err);

	if (r < 0)
		return r;
	plan_sum_up(s->plan, s->image.table, s->inventory);
	if (s->plan->sums[PLAN_FETCH].contents > planned) {
		r = search_again(s, err);
		if (r == 0)
			r = standby_copy(s->writer, err);
		if (r < 0)
			return r;
		plan_sum_up(s->plan, s->image.table, s->inventory);
		plan_use_patches(s->plan, s->image.table, s->inventory);
	}
	publish_plan(s);
	session_publish(s);
	return 0;
}

int step_copy_contents(struct update_session *s, struct ota_err *err)
{
	int r = copy_contents(s, err);

	if (wants_new_fs(s, r)) {
		r = make_fs_anew(s, err);
		if (r == 0)
			r = copy_contents(s, err);
	}
	return r;
}

static void add_fetched(struct update_stats *u, const void *arg)
{
	const struct fetch_progress *p = arg;

	u->downloaded_files_num += p->files;
	u->downloaded_files_size += p->plain_bytes;
	u->downloaded_bytes += p->wire_bytes;
	u->downloading_errors += p->errors;
}

static void fetch_progress_of(void *ctx, const struct fetch_progress *delta)
{
	struct update_session *s = ctx;

	standby_add_fetched(s->writer, delta->files, delta->plain_bytes);
	status_change(s->env->status, add_fetched, delta);
}

static uint32_t patch_of(void *ctx, uint32_t content)
{
	const struct plan *plan = ((struct update_session *)ctx)->plan;

	return plan->actions[content] == PLAN_PATCH ? plan->patch_of[content] : FILE_TABLE_NONE;
}

static int open_base(void *ctx, uint32_t base)
{
	const struct update_session *s = ctx;
	char buf[PATH_MAX];
	const char *path = inventory_base_path(s->inventory, s->image.table, base, buf);

	return path ? path_open(s->mount.active_fd, path, O_RDONLY | O_NOATIME | O_NONBLOCK, 0)
		    : -ENOENT;
}

int step_fetch_contents(struct update_session *s, struct ota_err *err)
{
	struct fetch_config config = {
		.http = http_config_of(s),
		.base_url = s->image.base_url,
		.rootfs_dir = s->image.meta.rootfs_dir,
		.compressed_dir = s->image.meta.compressed_dir,
		.store_dir_fd = standby_writer_store_fd(s->writer),
		.inactivity_ms = s->env->inactivity_ms,
		.patches = s->image.patches,
		.patch_of = patch_of,
		.open_base = open_base,
		.patch_ctx = s,
	};
	AUTO_FREE uint32_t *missing = NULL;
	size_t n_missing = 0;
	int r = standby_missing(s->writer, &missing, &n_missing);

	if (r < 0 || n_missing == 0)
		return r;
	/* A copy may have turned out to be of other bytes, or the old file system to be of no use. */
	r = forecast_check(&s->forecast, s->env->max_download_bytes, err);
	if (r < 0)
		return r;
	log_info("Fetching %zu contents, %" PRIu64 " of them as patches", n_missing,
		s->plan->sums[PLAN_PATCH].contents);
	r = fetch_pool_run(&config, s->image.table, missing, n_missing, fetch_progress_of,
		session_poll, s, err);
	session_publish(s);
	return r;
}

/* All is at its place: what told where to take it from goes, since the notes want room to be sorted. */
static void forget_sources(struct update_session *s)
{
	session_publish(s);
	s->has_believed = s->inventory->n_known_names > 0;
	standby_writer_free(TAKE_PTR(s->writer));
	inventory_free(TAKE_PTR(s->inventory));
}

static int prune_and_place(struct update_session *s, struct ota_err *err)
{
	int r = s->pruned ? 0 : prune(s, err);

	if (r == 0)
		r = standby_place(s->writer, err);
	if (r == 0)
		r = standby_drop_store(s->writer, err);
	if (r == 0)
		r = standby_save_image(s->mount.standby_fd, &s->image, err);
	if (r == 0)
		r = standby_finish_dirs(s->writer, err);
	if (r == 0)
		r = standby_check_note(s->image.table, s->inventory,
			standby_writer_take_notes(s->writer), s->mount.standby_fd, session_poll, s,
			&s->check, err);
	if (r < 0)
		return r;
	forget_sources(s);
	return standby_check_save(s->check, s->mount.standby_fd, err);
}

int step_prune_and_place(struct update_session *s, struct ota_err *err)
{
	int r = prune_and_place(s, err);

	if (wants_new_fs(s, r)) {
		r = make_fs_anew(s, err);
		if (r == 0)
			r = copy_contents(s, err);
		if (r == 0)
			r = step_fetch_contents(s, err);
		if (r == 0)
			r = prune_and_place(s, err);
	}
	session_publish(s);
	return r;
}

/* ---- finishing ----------------------------------------------------------------------------------
 */

int step_persist_files(struct update_session *s, struct ota_err *err)
{
	const struct image_text *list = &s->image.texts[IMAGE_LIST_PERSISTENTS];

	if (list->name[0] == '\0')
		return 0;
	return persist_files_copy(list->text, list->len_bytes, list->name, s->mount.active_fd,
		s->mount.standby_fd, log_note, NULL, err);
}

static int write_standby_status(struct update_session *s, struct ota_err *err)
{
	const char *dir = s->slots.standby.status_dir;
	const struct update_request *q = s->request;
	struct release_detail d;
	int r;

	if (s->slots.standby.status_inside && !slot_mount_owns_status(&s->mount))
		return ota_err_set(err, -ELOOP, OTA_E_UNSPECIFIC,
			"A link leads to the folder of the new system's status files");
	r = status_store_write_status(dir, STATUS_UPDATING, err);
	if (r == 0)
		r = status_store_write_version(dir, q->version, err);
	if (r == 0 && q->release_name[0] && q->release_id[0] && q->image_id[0]) {
		text_put(d.release_name, sizeof(d.release_name), q->release_name);
		text_put(d.release_id, sizeof(d.release_id), q->release_id);
		text_put(d.image_id, sizeof(d.image_id), q->image_id);
		r = status_store_write_release(dir, &d, err);
	}
	if (r == 0)
		r = status_store_write_slot_in_use(dir, s->slots.standby.id, err);
	return r;
}

int step_stage_boot(struct update_session *s, struct ota_err *err)
{
	int r = write_standby_status(s, err);

	return r < 0 ? r : s->env->boot->ops->stage(s->env->boot, s->mount.standby_dir, err);
}

/* The demo and whoever measures an update read this line. */
static void log_contents(const struct update_session *s)
{
	struct status_snapshot now;
	const struct update_stats *u = &now.update;

	status_get(s->env->status, &now);
	log_info("Contents: kept %" PRIu64 " files %" PRIu64 " bytes, moved %" PRIu64
		 " files %" PRIu64 " bytes, copied %" PRIu64 " files %" PRIu64
		 " bytes, fetched %" PRIu64 " files %" PRIu64 " bytes (%" PRIu64
		 " on the wire), wrote %" PRIu64 " bytes",
		u->kept_files, u->kept_bytes, u->moved_files, u->moved_bytes, u->copied_files,
		u->copied_bytes, u->fetched_files, u->fetched_bytes, u->downloaded_bytes,
		u->written_bytes);
}

/* What was counted for the plan that has failed. What crossed the network has crossed it. */
static void forget_progress(struct update_stats *u, const void *arg)
{
	u->downloaded_files_num = 0;
	u->downloaded_files_size = 0;
	u->removed_files_num = 0;
	for (int p = PHASE_CALCULATING_DELTA + 1; p < PHASE_COUNT; p++)
		u->phase_began_ms[p] = 0;
}

/* What is on the slot is not to be started: nothing else says so to who finds its status files. */
static int fail_standby(struct update_session *s, struct ota_err *err)
{
	const struct boot_slot *slot = &s->slots.standby;
	int r;

	if (slot->status_inside) {
		r = slot_mount_make_writable(&s->mount, false, err);
		if (r < 0 || !slot_mount_owns_status(&s->mount))
			return r;
	}
	return status_store_write_status(slot->status_dir, STATUS_FAILURE, err);
}

/*
 * A file that was taken for what the last update had noted is something else, or cannot be read. Nothing is lost but
 * time: the slot is looked at once more, and this time every file is read.
 */
static int plan_again(struct update_session *s, struct ota_err *err)
{
	log_warning("Every file of the standby slot is read before it is kept: %s", err->msg);
	*err = (struct ota_err){0};
	s->believes_nothing = true;
	s->pruned = false;
	standby_check_free(TAKE_PTR(s->check));
	status_change(s->env->status, forget_progress, NULL);
	/* One that is damaged is not mounted; it is made anew. */
	s->mount.usable = s->mount.standby_fd >= 0;
	return s->mount.usable ? fail_standby(s, err) : 0;
}

/* @settled: what was found while it could still be written to. */
static int look_at_closed(
	struct update_session *s, int settled, const struct ota_err *why, struct ota_err *err)
{
	int r = slot_mount_look_again(&s->mount, err);

	if (r == 0 && settled < 0) {
		*err = *why;
		r = settled;
	}
	if (r == 0)
		r = standby_check_read(s->check, s->mount.standby_fd, s->mount.standby.device,
			session_poll, s, err);
	return r;
}

/* Not only written, but read: what is wrong on the disk shows now, while the running system still boots. */
int step_close_standby(struct update_session *s, struct ota_err *err)
{
	struct ota_err why = {0};
	int settled, r;

	log_contents(s);
	settled = standby_check_settle(
		s->check, s->mount.standby_fd, s->mount.standby.device, session_poll, s, &why);
	r = slot_mount_close_standby(&s->mount, err);
	if (r < 0)
		return r;
	r = look_at_closed(s, settled, &why, err);
	if (r < 0 && s->has_believed && r != -ECANCELED && r != -ENOMEM) {
		r = plan_again(s, err);
		return r < 0 ? r : STEP_PLAN_AGAIN;
	}
	return r < 0 ? r : slot_mount_end_look(&s->mount, err);
}

int step_wait_for_children(struct update_session *s, struct ota_err *err)
{
	const struct children *c = s->env->children;

	int r = c && !s->left_behind ? c->wait(c->ctx, session_poll, s) : 0;

	if (r > 0)
		s->left_behind = true;
	return r < 0 ? r : 0;
}

int step_flip_and_reboot(struct update_session *s, struct ota_err *err)
{
	const struct log_event event = {.id = JOURNAL_FLIPPED, .session = s->id};
	int r = s->env->boot->ops->flip(s->env->boot, err);

	if (r < 0)
		return r;
	s->flipped = true;
	flight_recorder_note(s->env->recorder, FLIGHT_FLIP, s->slots.standby.id, "%s", s->id);
	log_event(LOG_LEVEL_INFO, &event, "The next boot tries the slot %s", s->slots.standby.id);
	session_report(s, NULL);
	return s->env->boot->ops->reboot(s->env->boot, err);
}
