/*
 * metrics: the record of one update. Contract: metrics.h.
 *
 * Three kinds of fields, a table's row each: times, texts and numbers. What only the proxy knows comes last, if it is
 * known.
 */
#include "otaclient/update/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "otaclient/status/text.h"

/* clang-format off */
static const struct {
	const char *name;
	enum update_phase phase;
} time_rows[] = {
	{"initializing_start_timestamp",        PHASE_INITIALIZING         },
	{"processing_metadata_start_timestamp", PHASE_PROCESSING_METADATA  },
	{"delta_calculation_start_timestamp",   PHASE_CALCULATING_DELTA    },
	{"download_start_timestamp",            PHASE_DOWNLOADING_OTA_FILES},
	{"apply_update_start_timestamp",        PHASE_APPLYING_UPDATE      },
	{"post_update_start_timestamp",         PHASE_PROCESSING_POSTUPDATE},
	{"finalizing_update_start_timestamp",   PHASE_FINALIZING_UPDATE    },
};
/* clang-format on */

/* Unix seconds of a monotonic time, counted from the session's begin, which is known in both; 0 = not reached. */
static uint64_t unix_s_of(const struct update_stats *u, uint64_t ms)
{
	uint64_t began = u->phase_began_ms[PHASE_INITIALIZING];

	return ms == 0 || began == 0 || ms < began ? 0 : u->start_unix_s + (ms - began) / 1000;
}

static int put_number(struct buf *out, const char *name, uint64_t number)
{
	return buf_printf(out, "%s\"%s\":%" PRIu64, out->len_bytes > 0 ? "," : "", name, number);
}

static int put_bool(struct buf *out, const char *name, bool value)
{
	return buf_printf(out, ",\"%s\":%s", name, value ? "true" : "false");
}

static int put_text(struct buf *out, const char *name, const char *value)
{
	AUTO_FREE char *text = strdup(value);
	int r = text ? buf_printf(out, ",\"%s\":", name) : -ENOMEM;

	if (r < 0)
		return r;
	text_repair(text);
	return json_put_string(out, text, strlen(text));
}

static int put_times(struct buf *out, const struct metrics *m)
{
	const struct update_stats *u = &m->now->update;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(time_rows) && r == 0; i++)
		r = put_number(out, time_rows[i].name,
			unix_s_of(u, u->phase_began_ms[time_rows[i].phase]));
	return r < 0 ? r
		     : put_number(out, "reboot_start_timestamp",
			       m->restarts ? unix_s_of(u, m->now_ms) : 0);
}

static const char *failure_type(const struct ota_err *failure)
{
	if (!failure)
		return "NO_FAILURE";
	return ota_code_is_recoverable(failure->code) ? "RECOVERABLE" : "UNRECOVERABLE";
}

static int put_texts(struct buf *out, const struct metrics *m)
{
	char reason[OTA_ERR_MSG_MAX + 16] = "";
	/* clang-format off */
	const struct {
		const char *name, *value;
	} rows[] = {
		{"ecu_id",                   m->ecu_id              },
		{"request_id",               m->request_id          },
		{"session_id",               m->session_id          },
		{"current_firmware_version", m->now->firmware_version},
		{"standby_firmware_version", m->standby_version     },
		{"target_firmware_version",  m->target_version      },
		{"otaclient_version",        OTA_VERSION            },
		{"failure_type",             failure_type(m->failure)},
		{"failure_reason",           reason                 },
		{"failed_status",            m->failure ? ota_status_name(m->failed_status) : ""},
		{"ota_image_format",         "legacy"               },
		{"bootloader_type",          m->bootloader          },
	};
	/* clang-format on */
	int r = 0;

	if (m->failure)
		snprintf(reason, sizeof(reason), "E%03d: %s", (int)m->failure->code,
			m->failure->msg[0] ? m->failure->msg : ota_code_text(m->failure->code));
	for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0; i++)
		r = put_text(out, rows[i].name, rows[i].value);
	return r;
}

static int put_numbers(struct buf *out, const struct metrics *m)
{
	const struct update_stats *u = &m->now->update;
	/* clang-format off */
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"ota_image_total_files_size",      u->total_files_size         },
		{"ota_image_total_regulars_num",    u->total_files_num          },
		{"ota_image_total_directories_num", m->n_directories            },
		{"ota_image_total_symlinks_num",    m->n_symlinks               },
		{"delta_download_files_num",        u->total_download_files_num },
		{"delta_download_files_size",       u->total_download_files_size},
		{"downloaded_bytes",                u->downloaded_bytes         },
		{"downloaded_errors",               u->downloading_errors       },
	};
	/* clang-format on */
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0; i++)
		r = put_number(out, rows[i].name, rows[i].value);
	return r;
}

static int put_proxy_counts(struct buf *out, const struct proxy_counts *c)
{
	int r = put_number(out, "cache_total_requests", c->total_requests);

	return r < 0 ? r : put_number(out, "cache_local_hits", c->local_hits);
}

int metrics_record(const struct metrics *m, struct buf *out)
{
	AUTO_BUF struct buf fields = {0};
	int r = put_times(&fields, m);

	if (r == 0)
		r = put_texts(&fields, m);
	if (r == 0)
		r = put_bool(&fields, "use_inplace_mode", m->in_place);
	if (r == 0)
		r = put_bool(&fields, "enable_local_ota_proxy_cache", m->proxy_keeps);
	if (r == 0)
		r = put_numbers(&fields, m);
	if (r == 0 && m->proxy_counts)
		r = put_proxy_counts(&fields, m->proxy_counts);
	return r < 0 ? r : buf_printf(out, "{%s}", buf_str(&fields));
}
