/*
 * proxy_counts: one GET, and a reader that knows four lines of the answer. Contract: proxy_counts.h.
 *
 * Another program may have the proxy's port, so the answer is nobody's word: its size has a limit, and of its lines
 * only those are looked at that begin with a name of the table.
 */
#include "otaclient/proxy/proxy_counts.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/net/http.h"

/* Sums of them are far from the end of uint64_t. */
#define VALUE_MAX ((uint64_t)1 << 60)

enum sample {
	SAMPLE_HITS,
	SAMPLE_MISSES,
	SAMPLE_JOINED,
	SAMPLE_REVALIDATED,
	SAMPLE_COUNT,
};

/* In the order of enum sample, as otaproxy writes them. */
static const char *const sample_names[] = {
	"otaproxy_cache_hits_total ",
	"otaproxy_cache_misses_total ",
	"otaproxy_joined_requests_total ",
	"otaproxy_revalidated_requests_total ",
};
_Static_assert(ARRAY_SIZE(sample_names) == SAMPLE_COUNT, "a name for each sample");

struct samples {
	uint64_t value[SAMPLE_COUNT];
	bool has[SAMPLE_COUNT];
};

/* Lines of other samples are fine. */
static int read_line(const char *line, size_t len, struct samples *samples)
{
	for (size_t i = 0; i < SAMPLE_COUNT; i++) {
		size_t name_len = strlen(sample_names[i]);

		if (len < name_len || memcmp(line, sample_names[i], name_len) != 0)
			continue;
		if (samples->has[i] || decimal_parse(line + name_len, len - name_len, 0, VALUE_MAX,
					       &samples->value[i]) < 0)
			return -EBADMSG;
		samples->has[i] = true;
		return 0;
	}
	return 0;
}

int proxy_counts_parse(const char *text, size_t len_bytes, struct proxy_counts *ret_counts)
{
	struct samples s = {0};
	const char *end = text + len_bytes;

	while (text < end) {
		const char *line_end = memchr(text, '\n', (size_t)(end - text));

		if (!line_end || read_line(text, (size_t)(line_end - text), &s) < 0)
			return -EBADMSG;
		text = line_end + 1;
	}
	for (size_t i = 0; i < SAMPLE_COUNT; i++)
		if (!s.has[i])
			return -EBADMSG;
	/* One that was found to be the newest has asked the server before, and was counted there. */
	*ret_counts = (struct proxy_counts){
		.total_requests =
			s.value[SAMPLE_HITS] + s.value[SAMPLE_MISSES] + s.value[SAMPLE_JOINED],
		.local_hits = s.value[SAMPLE_HITS] + s.value[SAMPLE_REVALIDATED],
	};
	return 0;
}

static int put_data(void *ctx, const void *data, size_t len_bytes, struct ota_err *err)
{
	return buf_append(ctx, data, len_bytes);
}

int proxy_counts_ask(const char *url, struct proxy_counts *ret_counts, struct ota_err *err)
{
	static const char *const fields[] = {"Accept: application/openmetrics-text", NULL};
	const struct http_config config = {.max_connections = 1};
	AUTO_HTTP_CLIENT struct http_client *client = NULL;
	AUTO_BUF struct buf text = {0};
	const struct http_request request = {
		.url = url,
		.fields = fields,
		.max_bytes = PROXY_COUNTS_MAX_BYTES,
		.tries_max = 1, /* so nothing comes twice */
		.total_timeout_ms = PROXY_COUNTS_WAIT_MS,
		.sink = {.data = put_data},
		.sink_ctx = &text,
	};
	struct http_result result = {0};
	int r = http_client_new(&config, &client, err);

	if (r < 0)
		return r;
	r = http_get(client, &request, &result);
	if (r < 0) {
		*err = result.err;
		return r;
	}
	if (proxy_counts_parse(buf_str(&text), text.len_bytes, ret_counts) < 0)
		return ota_err_set(err, -EBADMSG, OTA_E_OTAPROXY_FAILED,
			"What %s says is not what otaproxy counts", url);
	return 0;
}
