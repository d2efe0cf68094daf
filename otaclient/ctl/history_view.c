/*
 * history_view: the flight recorder's records as lines. Contract: history_view.h.
 */
#include "otaclient/ctl/history_view.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/base/hex.h"
#include "common/codec/json.h"
#include "otaclient/ctl/columns.h"

enum {
	TIME_MAX = 32,
	BOOT_ID_HEX_MAX = 2 * FLIGHT_BOOT_ID_BYTES + 1,
	KIND_COLUMNS = 16,
	SLOT_COLUMNS = 11,
	INDENT = 10, /* of what belongs to the line above */
};

/* UTC, so that it means the same wherever the file is read. */
static void format_time(int64_t unix_s, char ret_text[TIME_MAX])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(ret_text, TIME_MAX, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
		snprintf(ret_text, TIME_MAX, "%" PRId64, unix_s);
}

static void print_head(FILE *out, const struct flight_record *r)
{
	char hex[BOOT_ID_HEX_MAX];

	hex_encode(r->boot_id, FLIGHT_BOOT_ID_BYTES, hex);
	fprintf(out, "start of the machine %s\n", hex);
}

/* Lines of a kernel's log, or a sentence. */
static void print_lines(FILE *out, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		char line[FLIGHT_TEXT_MAX];

		snprintf(line, sizeof(line), "%.*s", (int)len, text);
		fprintf(out, "%*s", INDENT, "");
		columns_print(out, line);
		fputc('\n', out);
		text += len + (text[len] == '\n');
	}
}

static void print_joined(FILE *out, const char *before, const char *middle, const char *behind)
{
	columns_print(out, before);
	if (before[0] && behind[0])
		fputs(middle, out);
	columns_print(out, behind);
}

static void print_what(FILE *out, const struct flight_record *r)
{
	switch (r->kind) {
	case FLIGHT_UPDATE_BEGINS:
		print_joined(out, r->subject, "  session ", r->text);
		break;
	case FLIGHT_STEP:
		print_joined(out, r->text, "  ", r->subject);
		break;
	case FLIGHT_CHECK:
		columns_print(out, r->subject);
		print_joined(out, r->failed ? " failed" : " ok", ": ", r->text);
		break;
	case FLIGHT_FAILURE:
		fprintf(out, "E%03u: ", r->code);
		columns_print(out, r->text);
		break;
	case FLIGHT_KERNEL:
		columns_print(out, r->subject);
		break;
	default:
		print_joined(out, r->subject, ": ", r->text);
		break;
	}
}

static void print_record(FILE *out, const struct flight_record *r)
{
	char when[TIME_MAX];

	format_time(r->unix_s, when);
	fprintf(out, "  %s %9.1f s  ", when, (double)r->boot_ms / 1000.0);
	columns_print_left(out, r->slot, SLOT_COLUMNS);
	fputs("  ", out);
	columns_print_left(out, flight_kind_name(r->kind), KIND_COLUMNS);
	print_what(out, r);
	fputc('\n', out);
	if (r->kind == FLIGHT_KERNEL)
		print_lines(out, r->text);
}

void history_view(FILE *out, const struct flight_record *records, size_t n)
{
	if (n == 0)
		fputs("Nothing is recorded yet.\n", out);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || memcmp(records[i].boot_id, records[i - 1].boot_id,
				      sizeof(records[i].boot_id)) != 0)
			print_head(out, &records[i]);
		print_record(out, &records[i]);
	}
}

static void json_text(FILE *out, const char *key, const char *text)
{
	AUTO_BUF struct buf quoted = {0};

	if (json_put_string(&quoted, text, strlen(text)) < 0)
		quoted.len_bytes = 0;
	fprintf(out, ", \"%s\": %s", key, quoted.len_bytes ? buf_str(&quoted) : "null");
}

void history_view_json(FILE *out, const struct flight_record *records, size_t n)
{
	fputs("{\"records\": [", out);
	for (size_t i = 0; i < n; i++) {
		const struct flight_record *r = &records[i];
		char hex[BOOT_ID_HEX_MAX];

		hex_encode(r->boot_id, FLIGHT_BOOT_ID_BYTES, hex);
		fprintf(out, "%s{\"number\": %" PRIu64, i ? ", " : "", r->number);
		json_text(out, "kind", flight_kind_name(r->kind));
		json_text(out, "slot", r->slot);
		fprintf(out, ", \"unix_s\": %" PRId64 ", \"since_start_ms\": %" PRIu64, r->unix_s,
			r->boot_ms);
		json_text(out, "boot_id", hex);
		json_text(out, "subject", r->subject);
		fprintf(out, ", \"failed\": %s, \"code\": %u", r->failed ? "true" : "false",
			r->code);
		json_text(out, "text", r->text);
		fputc('}', out);
	}
	fputs("]}\n", out);
}
