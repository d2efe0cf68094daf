/*
 * forecast: count what a plan means. Contract: forecast.h.
 */
#include "otaclient/update/forecast.h"

#include <errno.h>
#include <inttypes.h>

const char *forecast_action_name(enum plan_action a)
{
	static const char *const names[PLAN_ACTIONS] = {
		"keep", "move", "repeat", "copy", "patch", "fetch"};

	return names[a];
}

static void count_content(const struct plan *p, const struct file_table *t,
	const struct patch_list *patches, uint32_t i, struct forecast *f)
{
	enum plan_action a = (enum plan_action)p->actions[i];
	bool sized = t->contents[i].size_bytes != CONTENT_SIZE_UNKNOWN;
	uint64_t size = sized ? t->contents[i].size_bytes : 0;
	uint64_t wire = 0;

	switch (a) {
	case PLAN_PATCH:
		wire = patches ? patches->patches[p->patch_of[i]].size_bytes : size;
		break;
	case PLAN_FETCH:
		wire = size;
		f->n_unsized += !sized;
		break;
	case PLAN_COPY:
	case PLAN_REPEAT:
		f->work.copy_bytes += size * p->takers[i];
		break;
	default:
		break;
	}
	f->actions[a].download_bytes += wire;
	f->work.download_bytes += wire;
	if (a == PLAN_PATCH || a == PLAN_FETCH)
		f->work.fetch_bytes += size;
	f->work.check_bytes += size;
}

void forecast_make(const struct plan *p, const struct file_table *t,
	const struct patch_list *patches, const struct sample *net, const struct sample *disk,
	struct forecast *ret_forecast)
{
	struct forecast f = {.rebuild = p->rebuild, .work.write_bytes = p->write_bytes};
	struct estimate e;

	for (uint32_t i = 0; i < t->n_contents; i++)
		count_content(p, t, patches, i, &f);
	for (int a = 0; a < PLAN_ACTIONS; a++) {
		f.actions[a].contents = p->sums[a].contents;
		f.actions[a].files = p->sums[a].files;
		f.actions[a].bytes = p->sums[a].bytes;
	}
	estimate_make(&f.work, net, disk, &e);
	f.whole_s = estimate_total_s(&e);
	f.download_s =
		e.fetch_ms == ESTIMATE_UNKNOWN ? ESTIMATE_UNKNOWN : (e.fetch_ms + 999) / 1000;
	*ret_forecast = f;
}

int forecast_check(const struct forecast *f, uint64_t max_bytes, struct ota_err *err)
{
	if (max_bytes == 0 || f->work.download_bytes <= max_bytes)
		return 0;
	return ota_err_set(err, -EFBIG, OTA_E_HOOK,
		"The update would download up to %" PRIu64 " bytes, and max_download_mib of "
		"otaclient.yaml allows %" PRIu64,
		f->work.download_bytes, max_bytes);
}
