/*
 * counters: one table of what is counted, and two ways to show it. Contract: counters.h.
 *
 * A reader may see one number of a request and not yet the other; for that they are not exact to
 * the last request, but never torn or lost.
 */
#include "otaproxy/counters.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/cleanup.h"

/* In the order of enum counter. A metric of bytes ends in "_bytes"; "_total" is its sample's. */
/* clang-format off */
static const struct row {
	const char *label, *unit, *metric, *help;
	bool is_gauge;
} rows[] = {
	{"Answered from the cache", "requests", "otaproxy_cache_hits",
		"Requests answered from the cache.", false},
	{"Fetched from the origin", "requests", "otaproxy_cache_misses",
		"Requests for which the origin was asked.", false},
	{"Joined a running fetch", "requests", "otaproxy_joined_requests",
		"Requests answered from the fetch of another one.", false},
	{"Still the newest", "requests", "otaproxy_revalidated_requests",
		"Requests answered from the cache after the origin confirmed it.", false},
	{"Refused", "requests", "otaproxy_refused_requests",
		"Requests refused by the proxy itself.", false},
	{"From origins", "bytes", "otaproxy_origin_received_bytes",
		"Bytes of bodies received from origins.", false},
	{"To clients", "bytes", "otaproxy_client_sent_bytes",
		"Bytes of bodies sent to clients.", false},
	{"Wrong digest", "bodies", "otaproxy_rejected_bodies",
		"Bodies that had another digest than asked for.", false},
	{"Removed for room", "entries", "otaproxy_evicted_entries",
		"Entries removed from the cache to make room.", false},
	{"Open now", "requests", "otaproxy_open_requests",
		"Requests being answered now.", true},
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(rows) == COUNTER_COUNT, "a row for each counter");

void counters_add(struct counters *c, enum counter which, uint64_t n)
{
	assert(which < COUNTER_COUNT);
	atomic_fetch_add_explicit(&c->value[which], n, memory_order_relaxed);
}

void counters_sub(struct counters *c, enum counter which, uint64_t n)
{
	assert(which < COUNTER_COUNT && rows[which].is_gauge);
	atomic_fetch_sub_explicit(&c->value[which], n, memory_order_relaxed);
}

uint64_t counters_get(const struct counters *c, enum counter which)
{
	assert(which < COUNTER_COUNT);
	return atomic_load_explicit(&c->value[which], memory_order_relaxed);
}

int counters_text(const struct counters *c, struct buf *b)
{
	int r = buf_puts(b, "Since the proxy was started:\n");

	for (unsigned i = 0; r == 0 && i < COUNTER_COUNT; i++)
		r = buf_printf(b, "  %-24s %20" PRIu64 " %s\n", rows[i].label, counters_get(c, i),
			rows[i].unit);
	return r;
}

static int put_metric(const struct row *row, uint64_t value, struct buf *b)
{
	const char *type = row->is_gauge ? "gauge" : "counter";
	int r = buf_printf(b, "# TYPE %s %s\n", row->metric, type);

	if (r == 0 && strcmp(row->unit, "bytes") == 0)
		r = buf_printf(b, "# UNIT %s bytes\n", row->metric);
	if (r == 0)
		r = buf_printf(b, "# HELP %s %s\n%s%s %" PRIu64 "\n", row->metric, row->help,
			row->metric, row->is_gauge ? "" : "_total", value);
	return r;
}

int counters_openmetrics(const struct counters *c, struct buf *b)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < COUNTER_COUNT; i++)
		r = put_metric(&rows[i], counters_get(c, i), b);
	return r < 0 ? r : buf_puts(b, "# EOF\n");
}
