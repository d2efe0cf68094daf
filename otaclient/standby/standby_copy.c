/*
 * standby_copy: contents that the active slot has. Contract: standby_writer.h.
 *
 * Small ones by their places on its disk first, as far as these are known (standby_gather); what is left by name. What
 * only one file wants in the order of files, so that a folder is filled at once.
 *
 * Threads: each takes contents for itself; a content's source and action, and whether a file is
 * placed, are written by the one that has it.
 */
#include "otaclient/standby/standby_work.h"

#include <fcntl.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"

static int copy_one(struct standby_writer *w, uint32_t content, uint32_t file, struct ota_err *err)
{
	char buf[PATH_MAX];
	struct standby_origin from = {.path = inventory_path(w->c.inv, w->c.table, content, buf)};
	AUTO_CLOSE int src_fd = -1;
	int r = -ENODATA;

	if (standby_stopped(w))
		return -ECANCELED;
	src_fd = path_open(w->c.active_fd, from.path, O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	from.fd = src_fd;
	if (src_fd >= 0)
		r = standby_put(w, content, file, &from, err);
	if (r == -ENODATA) {
		w->c.inv->sources[content].place = PLACE_NOWHERE;
		w->c.plan->actions[content] = PLAN_FETCH;
	}
	return r == -ENODATA ? 0 : r;
}

/* The content of a file that alone wants it. */
static int copy_file_item(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	const struct file_entry *f = &w->c.table->files[index];

	if (f->group != index || !standby_is_to_copy(w, f->content) ||
		w->c.plan->takers[f->content] != 1)
		return 0;
	return copy_one(w, f->content, (uint32_t)index, err);
}

static int copy_content_item(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;

	return standby_is_to_copy(w, (uint32_t)index)
		       ? copy_one(w, (uint32_t)index, FILE_TABLE_NONE, err)
		       : 0;
}

int standby_copy(struct standby_writer *w, struct ota_err *err)
{
	int r = standby_gather(w, err);

	/* What did not turn up by its place, or has none: one by one. */
	if (r == 0)
		r = workers_run(w->c.table->n_files, 8, WORKERS_FOR_DISK, copy_file_item, w, err);
	if (r == 0)
		r = workers_run(
			w->c.table->n_contents, 8, WORKERS_FOR_DISK, copy_content_item, w, err);
	return r;
}
