/*
 * proxy_request: the decision about one request, as a row of checks. Contract: proxy_request.h.
 *
 * Each step looks at one thing and either goes on or ends the row with a decision. What may be read
 * in two ways is refused rather than guessed, for a proxy and a server that read it differently can
 * be played against each other.
 */
#include "otaproxy/proxy_request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

enum {
	GO_ON = 0,
	DECIDED = 1,
};

/* A field's value without the spaces around it. */
struct span {
	const char *text;
	size_t len;
};

struct reading {
	const struct proxy_received *in;
	const struct proxy_rules *rules;
	bool absolute;              /* the target names a server itself */
	bool asked_https;           /* … by https */
	struct authority authority; /* the server that is asked */
	const char *path; /* rest of the target with its query; "" or "?…": "/" is missing */
	struct proxy_request q; /* what it becomes */
};

/* The number of fields of that name; @ret_value is the first one's. */
static size_t field_find(const struct proxy_received *in, const char *name, struct span *ret_value)
{
	size_t n = 0;

	for (size_t i = 0; i < in->n_fields; i++) {
		const char *s = in->fields[i].value;
		size_t len;

		if (strcasecmp(in->fields[i].name, name) != 0 || n++ > 0)
			continue;
		s += strspn(s, " \t");
		len = strlen(s);
		while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
			len--;
		*ret_value = (struct span){s, len};
	}
	return n;
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.text, text, s.len) == 0;
}

static int refuse(struct reading *r, unsigned http_status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct reading *r, unsigned http_status, const char *fmt, ...)
{
	va_list ap;

	r->q.kind = PROXY_REFUSE;
	r->q.http_status = http_status;
	va_start(ap, fmt);
	vsnprintf(r->q.sentence, sizeof(r->q.sentence), fmt, ap);
	va_end(ap);
	return DECIDED;
}

/* The same where the end of this request is not certain. */
static int refuse_and_close(struct reading *r, unsigned http_status, const char *why)
{
	r->q.close = true;
	return refuse(r, http_status, "%s", why);
}

static int check_sizes(struct reading *r)
{
	size_t bytes = 0;

	if (r->in->too_many_fields)
		return refuse_and_close(r, 431, "There are too many header fields");
	for (size_t i = 0; i < r->in->n_fields; i++)
		bytes += strlen(r->in->fields[i].name) + strlen(r->in->fields[i].value) +
			 strlen(": \r\n");
	if (bytes > PROXY_HEADER_MAX_BYTES)
		return refuse_and_close(r, 431, "The header fields are too long");
	if (strlen(r->in->target) > PROXY_TARGET_MAX_BYTES)
		return refuse_and_close(r, 414, "The URL is too long");
	return GO_ON;
}

static int check_method(struct reading *r)
{
	r->q.head = strcmp(r->in->method, "HEAD") == 0;
	if (!r->q.head && strcmp(r->in->method, "GET") != 0)
		return refuse_and_close(r, 400, "Only GET and HEAD are served here");
	if (strcmp(r->in->version, "HTTP/1.1") != 0 && strcmp(r->in->version, "HTTP/1.0") != 0)
		return refuse_and_close(r, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here");
	return GO_ON;
}

static bool is_token(const char *s)
{
	static const char allowed[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return s[0] != '\0' && s[strspn(s, allowed)] == '\0';
}

/* No control character but the tab. */
static bool is_value(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

/* Where does the request end? */
static int check_framing(struct reading *r)
{
	struct span host, length, other;
	size_t n_lengths;

	if (r->in->malformed)
		return refuse_and_close(r, 400, "The header is malformed");
	for (size_t i = 0; i < r->in->n_fields; i++)
		if (!is_token(r->in->fields[i].name) || !is_value(r->in->fields[i].value))
			return refuse_and_close(r, 400, "A header field is malformed");
	if (field_find(r->in, "Host", &host) > 1)
		return refuse_and_close(r, 400, "There is more than one Host field");
	n_lengths = field_find(r->in, "Content-Length", &length);
	if (n_lengths > 1)
		return refuse_and_close(r, 400, "There is more than one Content-Length field");
	if (n_lengths == 1 && !span_is(length, "0"))
		return refuse_and_close(r, 400, "A request may have no body here");
	if (field_find(r->in, "Transfer-Encoding", &other) > 0)
		return refuse_and_close(r, 400, "A request may have no body here");
	return GO_ON;
}

/* Is @word one of the words of @list? Comments in it are no reason to look closer. */
static bool has_word(const char *list, const char *word)
{
	static const char separators[] = " \t,()";

	while (*list) {
		size_t len = strcspn(list, separators);

		if (len == strlen(word) && strncasecmp(list, word, len) == 0)
			return true;
		list += len;
		list += strspn(list, separators);
	}
	return false;
}

static int check_via(struct reading *r)
{
	for (size_t i = 0; i < r->in->n_fields; i++) {
		const char *value = r->in->fields[i].value;

		if (strcasecmp(r->in->fields[i].name, "Via") != 0)
			continue;
		if (has_word(value, r->rules->pseudonym))
			return refuse(r, 508, "The request goes in a loop: it was here before");
		if (via_add(&r->q.via, value) < 0)
			return refuse(r, 508, "The request has passed too many proxies");
	}
	return GO_ON;
}

static bool has_scheme(const char *target, const char *scheme)
{
	return strncasecmp(target, scheme, strlen(scheme)) == 0;
}

/* Which of the two forms is it, and where does its path begin? */
static int read_target(struct reading *r)
{
	const char *target = r->in->target, *rest;

	for (const char *s = target; *s; s++)
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f || *s == '#')
			return refuse_and_close(
				r, 400, "The URL has a character that must be encoded");
	r->path = target;
	if (target[0] == '/')
		return GO_ON;
	r->asked_https = has_scheme(target, "https://");
	if (!r->asked_https && !has_scheme(target, "http://"))
		return refuse(r, 400, "The URL is neither a path nor http:// or https://");
	rest = strchr(target, ':') + strlen("://");
	r->path = rest + strcspn(rest, "/?");
	r->absolute = true;
	if (memchr(rest, '@', (size_t)(r->path - rest)))
		return refuse(r, 400, "The URL has a user name, which it may not have");
	if (authority_parse(rest, (size_t)(r->path - rest), &r->authority) < 0)
		return refuse(r, 400, "The host or port of the URL is malformed");
	return GO_ON;
}

static int read_host(struct reading *r)
{
	struct authority host = {0};
	struct span text;

	if (field_find(r->in, "Host", &text) == 0)
		return refuse(r, 400, "There is no Host field");
	if (authority_parse(text.text, text.len, &host) < 0)
		return refuse(r, 400, "The Host field is malformed");
	if (!r->absolute)
		r->authority = host;
	else if (!authority_equal(&r->authority, &host, r->asked_https))
		return refuse(r, 400, "The Host field is another than the URL's");
	authority_normalise(&r->authority, r->asked_https);
	return GO_ON;
}

static bool is_self(const struct reading *r)
{
	const struct proxy_rules *rules = r->rules;
	const char *local = r->in->local_address;
	struct authority address;

	if (local && authority_parse(local, strlen(local), &address) == 0 &&
		authority_equal(&address, &r->authority, r->asked_https))
		return true;
	return rules->is_self && rules->is_self(rules->is_self_ctx, r->authority.host,
					 authority_port(&r->authority, r->asked_https));
}

static int check_self(struct reading *r)
{
	if (!is_self(r))
		return GO_ON;
	if (r->absolute)
		return refuse(r, 508, "The request goes in a loop: it asks this proxy for itself");
	if (strcmp(r->path, "/") != 0)
		return refuse(r, 400, "This is a proxy, which has no files of its own");
	r->q.kind = PROXY_STATUS_PAGE;
	return DECIDED;
}

/* May that server be asked, and how? */
static int choose_origin(struct reading *r, bool *ret_https)
{
	const struct origins *origins = r->rules->origins;
	const struct origin *o;

	*ret_https = r->rules->https;
	if (!origins)
		return GO_ON;
	if (!origins->known) {
		r->q.retry_later = true;
		return refuse(r, 503, "Which servers may be asked is not known yet");
	}
	o = origins_find(origins, &r->authority);
	if (!o)
		return refuse(r, 403, "The server %.*s is none of those that may be asked here",
			PROXY_SENTENCE_MAX / 2, r->authority.host);
	*ret_https = o->https;
	return GO_ON;
}

static int make_url(struct reading *r)
{
	char origin[AUTHORITY_ORIGIN_MAX];
	bool https = false;
	int verdict = choose_origin(r, &https);

	if (verdict != GO_ON)
		return verdict;
	authority_origin(&r->authority, https, origin);
	r->q.origin = strdup(origin);
	if (!r->q.origin)
		return -ENOMEM;
	/* The upper proxy knows by itself how the server is asked; it must see the same port. */
	if (asprintf(&r->q.url, "%s%s%s%s", https && !r->rules->has_upper ? "https" : "http",
		    strchr(origin, ':'), r->path[0] == '/' ? "" : "/", r->path) < 0) {
		r->q.url = NULL;
		return -ENOMEM;
	}
	return GO_ON;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte at *@s, percent-encoded or not; *@s is moved behind it. */
static char next_byte(const char **s)
{
	const char *at = *s;
	int high = at[0] == '%' ? hex_value(at[1]) : -1;
	int low = high >= 0 ? hex_value(at[2]) : -1;

	*s += low >= 0 ? 3 : 1;
	return (char)(low >= 0 ? high << 4 | low : at[0]);
}

/* Is @name what stands behind the last '/', however it is spelled? */
static bool path_ends_in(const char *path, const char *name)
{
	const char *end = path + strcspn(path, "?");
	const char *at = name;
	bool same = false; /* since the last '/' */

	while (path < end) {
		char c = next_byte(&path);

		if (c == '/') {
			at = name;
			same = true;
		} else {
			same = same && c != '\0' && c == *at++;
		}
	}
	return same && *at == '\0';
}

static int note_name(struct reading *r)
{
	static const char *const names[] = {"metadata.jwt", "index.jwt", "oci-layout"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (path_ends_in(r->path, names[i]))
			r->q.never_stale = true;
	return GO_ON;
}

static int read_cache_control(struct reading *r)
{
	struct ota_err err = {0};

	for (size_t i = 0; i < r->in->n_fields; i++) {
		const struct proxy_field *f = &r->in->fields[i];

		if (strcasecmp(f->name, CACHE_CONTROL_NAME) == 0 &&
			cache_control_parse(f->value, strlen(f->value), &r->q.cache_control, &err) <
				0)
			return refuse(r, 400, "%.*s", PROXY_SENTENCE_MAX - 1, err.msg);
	}
	return GO_ON;
}

/* "bytes=FIRST-LAST", "bytes=FIRST-" or "bytes=-LENGTH" */
static struct proxy_range parse_range(struct span text)
{
	static const struct proxy_range none = {0};
	static const char unit[] = "bytes=";
	struct proxy_range range = {.form = PROXY_RANGE_FROM};
	const char *s = text.text + sizeof(unit) - 1, *end = text.text + text.len;
	bool has_first;

	if (text.len < sizeof(unit) - 1 || strncasecmp(text.text, unit, sizeof(unit) - 1) != 0)
		return none;
	has_first = decimal_read(&s, end, UINT64_MAX, &range.first) == 0;
	if (s == end || *s++ != '-')
		return none;
	if (!has_first) {
		range.form = PROXY_RANGE_SUFFIX;
		if (decimal_read(&s, end, UINT64_MAX, &range.suffix_bytes) < 0 || s != end)
			return none;
		return range;
	}
	if (s == end)
		return range;
	range.form = PROXY_RANGE_BETWEEN;
	if (decimal_read(&s, end, UINT64_MAX, &range.last) < 0 || s != end ||
		range.last < range.first)
		return none;
	return range;
}

/* Part of a body is a favour: whatever is odd about the wish gets the whole. */
static int read_range(struct reading *r)
{
	struct span range, condition;
	size_t n_conditions = field_find(r->in, "If-Range", &condition);

	if (r->q.head || field_find(r->in, "Range", &range) != 1 || n_conditions > 1)
		return GO_ON;
	if (n_conditions == 1 && (condition.len == 0 || condition.len > PROXY_IF_RANGE_MAX_BYTES))
		return GO_ON;
	r->q.range = parse_range(range);
	if (r->q.range.form == PROXY_RANGE_NONE || n_conditions == 0)
		return GO_ON;
	r->q.if_range = strndup(condition.text, condition.len);
	return r->q.if_range ? GO_ON : -ENOMEM;
}

/* A field that is sent on as it is. */
static int read_secret(struct reading *r, const char *name, char **ret_value)
{
	AUTO_FREE char *value = NULL;
	struct span text;
	size_t n = field_find(r->in, name, &text);

	if (n == 0)
		return GO_ON;
	if (n > 1)
		return refuse(r, 400, "There is more than one %s field", name);
	if (text.len > PROXY_SECRET_MAX_BYTES)
		return refuse(r, 431, "The %s field is too long", name);
	value = strndup(text.text, text.len);
	if (!value)
		return -ENOMEM;
	if (!http_text_is_field_value(value))
		return refuse(r, 400, "The %s field has control characters", name);
	*ret_value = TAKE_PTR(value);
	return GO_ON;
}

static int read_secrets(struct reading *r)
{
	int verdict = read_secret(r, "Authorization", &r->q.authorization);

	return verdict == GO_ON ? read_secret(r, "Cookie", &r->q.cookie) : verdict;
}

/* GO_ON, DECIDED (in r->q), or -ENOMEM. */
static int (*const steps[])(struct reading *r) = {
	check_sizes,
	check_method,
	check_framing,
	check_via,
	read_target,
	read_host,
	check_self,
	read_cache_control,
	read_range,
	read_secrets,
	note_name,
	make_url,
};

int proxy_request_read(const struct proxy_received *received, const struct proxy_rules *rules,
	struct proxy_request *ret_request)
{
	struct reading r = {
		.in = received,
		.rules = rules,
		.q = {.kind = PROXY_FETCH},
	};
	int verdict = GO_ON;

	for (size_t i = 0; i < ARRAY_SIZE(steps) && verdict == GO_ON; i++)
		verdict = steps[i](&r);
	if (verdict < 0) {
		proxy_request_done(&r.q);
		return verdict;
	}
	*ret_request = r.q;
	return 0;
}

void proxy_request_done(struct proxy_request *q)
{
	if (!q)
		return;
	free(q->url);
	free(q->origin);
	free(q->if_range);
	free(q->authorization);
	free(q->cookie);
	*q = (struct proxy_request){0};
}
