/*
 * fuzz_proxy_request: "METHOD target VERSION" and one field per line, split here by a simple
 * splitter; what is decided must hold under every set of rules.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "otaproxy/proxy_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	FIELDS_MAX = 64,
	INPUT_MAX_BYTES = 1 << 16,
};

static const char list_text[] = "https://image.example\nhttp://10.0.0.2:8080\nhttp://[::2]\n";

static bool is_self(void *ctx, const char *host, uint16_t port)
{
	assert(host[0] != '\0' && host[0] != '[' && port > 0);
	return strcmp(host, "self") == 0 && port == 8082;
}

/* Up to the next @separator, which is taken away. */
static char *next_part(char **rest, const char *separator)
{
	static char nothing[1];

	return *rest ? strsep(rest, separator) : nothing;
}

static size_t split_fields(char *rest, struct proxy_field fields[FIELDS_MAX])
{
	size_t n = 0;
	char *line;

	while (n < FIELDS_MAX && (line = strsep(&rest, "\n"))) {
		char *value = line, *name;

		line[strcspn(line, "\r")] = '\0';
		name = strsep(&value, ":");
		if (value)
			fields[n++] = (struct proxy_field){name, value};
	}
	return n;
}

static bool is_on_list(const char *origin)
{
	const char *at = strstr(list_text, origin);

	return at && at[strlen(origin)] == '\n';
}

static bool ends_in(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return end_len <= len && strcmp(text + len - end_len, end) == 0;
}

/* Bounded, and no byte of it is one that the client did not send in a Via field. */
static void check_via(const struct proxy_received *in, const struct via *via)
{
	struct via again = {0};
	size_t sent = 0;

	for (size_t i = 0; i < in->n_fields; i++)
		if (strcasecmp(in->fields[i].name, "Via") == 0)
			sent += strlen(in->fields[i].value) + 2;
	assert(via->len_bytes == strlen(via->text) && via->len_bytes <= sent);
	assert(via->n_hops <= VIA_HOPS_MAX && (via->n_hops > 0) == (via->text[0] != '\0'));
	assert(!strpbrk(via->text, "()\"\\") && http_text_is_field_value(via->text));
	/* What is composed is read as the same. */
	assert(via_add(&again, via->text) == 0 && again.n_hops == via->n_hops &&
		strcmp(again.text, via->text) == 0);
}

static void check_fetch(const struct proxy_received *in, const struct proxy_rules *rules,
	const struct proxy_request *q)
{
	const char *rest = strstr(q->url, "://") + 3, *server = strstr(q->origin, "://") + 3;
	const char *path = rest + strlen(server);

	for (const char *s = q->url; *s; s++)
		assert((unsigned char)*s > 0x20 && (unsigned char)*s < 0x7f && *s != '#');
	assert(http_url_check(q->url, NULL) == 0);
	assert(strncmp(rest, server, strlen(server)) == 0 && path[0] == '/');
	assert(ends_in(in->target, path) || ends_in(in->target, path + 1));
	if (rules->origins)
		assert(is_on_list(q->origin));
	if (rules->has_upper)
		assert(strncmp(q->url, "http://", 7) == 0);
	else
		assert(strncmp(q->url, q->origin, strlen(q->origin)) == 0);
	assert(!q->authorization || http_text_is_field_value(q->authorization));
	assert(!q->cookie || http_text_is_field_value(q->cookie));
	check_via(in, &q->via);
	assert(!q->if_range || q->range.form != PROXY_RANGE_NONE);
	if (q->range.form == PROXY_RANGE_BETWEEN)
		assert(q->range.first <= q->range.last);
	assert(strcmp(in->method, q->head ? "HEAD" : "GET") == 0);
}

static void decide(const struct proxy_received *in, const struct proxy_rules *rules)
{
	AUTO_PROXY_REQUEST struct proxy_request q = {0};

	assert(proxy_request_read(in, rules, &q) == 0);
	if (q.kind == PROXY_FETCH)
		check_fetch(in, rules, &q);
	else if (q.kind == PROXY_STATUS_PAGE)
		assert(strcmp(in->target, "/") == 0);
	else
		assert(q.http_status >= 400 && q.http_status <= 599 && q.sentence[0] &&
			http_text_is_field_value(q.sentence));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[INPUT_MAX_BYTES + 1];
	AUTO_ORIGINS struct origins *list = NULL;
	struct origins unknown = {.known = false};
	struct proxy_field fields[FIELDS_MAX];
	struct proxy_received in = {.fields = fields, .local_address = "127.0.0.1:8082"};
	char *rest = text, *line;

	if (size > INPUT_MAX_BYTES)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	line = next_part(&rest, "\n");
	line[strcspn(line, "\r")] = '\0';
	in.method = next_part(&line, " ");
	in.target = next_part(&line, " ");
	in.version = next_part(&line, " ");
	in.n_fields = rest ? split_fields(rest, fields) : 0;

	assert(origins_parse(list_text, sizeof(list_text) - 1, "list", &list, NULL) == 0);
	for (unsigned i = 0; i < 12; i++)
		decide(&in, &(struct proxy_rules){
				    .has_upper = i & 1,
				    .https = i & 2,
				    .origins = i < 4   ? NULL
					       : i < 8 ? list
						       : &unknown,
				    .pseudonym = "me",
				    .is_self = is_self,
			    });
	return 0;
}
