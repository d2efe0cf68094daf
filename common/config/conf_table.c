/*
 * conf_table: one function per type of value, chosen by the row's type. Contract: conf_table.h.
 */
#include "common/config/conf_table.h"

#include <arpa/inet.h>
#include <assert.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

enum {
	SHOWN_MAX = 64, /* bytes of a wrong value that a sentence repeats */
};

void conf_note(
	struct conf_notes *notes, enum conf_note_kind kind, unsigned line, const char *fmt, ...)
{
	char sentence[OTA_ERR_MSG_MAX], words[OTA_ERR_MSG_MAX - 280];
	va_list ap;

	if (kind == CONF_WRONG)
		notes->n_wrong++;
	if (!notes->note)
		return;
	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	if (line > 0)
		snprintf(sentence, sizeof(sentence), "%.250s, line %u: %s", notes->file, line,
			words);
	else
		snprintf(sentence, sizeof(sentence), "%.250s: %s", notes->file, words);
	notes->note(notes->ctx, kind, sentence);
}

/* The value as a sentence shows it. */
static const char *shown(const struct conf_node *value, char buf[SHOWN_MAX + 8])
{
	switch (value->kind) {
	case CONF_LIST:
		return "a list";
	case CONF_MAP:
		return "a map";
	case CONF_NULL:
		return "nothing";
	case CONF_STRING:
		snprintf(buf, SHOWN_MAX + 8, "\"%.*s\"", SHOWN_MAX, value->text);
		return buf;
	default:
		snprintf(buf, SHOWN_MAX + 8, "%.*s", SHOWN_MAX, value->text);
		return buf;
	}
}

/* Each reader returns NULL and has set the field, or what the value must be ("an IP address"). */
typedef const char *read_fn(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size);

static const char *read_bool(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	if (v->kind != CONF_BOOL)
		return "true or false";
	*(bool *)field = conf_node_is_true(v);
	return NULL;
}

static bool read_digits(const char *text, uint64_t *ret_number)
{
	return strlen(text) <= 10 &&
	       decimal_parse(text, strlen(text), 0, UINT64_MAX, ret_number) == 0;
}

static const char *read_uint(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	uint64_t n = 0;

	snprintf(scratch, scratch_size, "a whole number from %u to %u%s%s", key->min, key->max,
		key->unit ? " " : "", key->unit ? key->unit : "");
	if (v->kind == CONF_INT) {
		if (conf_node_uint(v, &n) < 0)
			return scratch;
	} else if (v->kind != CONF_STRING || !read_digits(v->text, &n)) {
		return scratch;
	}
	if (n < key->min || n > key->max)
		return scratch;
	*(uint32_t *)field = (uint32_t)n;
	return NULL;
}

static bool is_clean_text(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static const char *read_string(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	if (v->kind == CONF_BOOL || v->kind == CONF_INT || v->kind == CONF_OTHER_SCALAR)
		return "a string (put it in quotes)";
	if (v->kind != CONF_STRING || !v->text[0])
		return "a string that is not empty";
	if (!is_clean_text(v->text))
		return "a string without control characters";
	if (strlen(v->text) >= key->size_bytes) {
		snprintf(scratch, scratch_size, "a string of at most %zu bytes",
			key->size_bytes - 1);
		return scratch;
	}
	memcpy(field, v->text, strlen(v->text) + 1);
	return NULL;
}

/* inet_pton does not know "fe80::1%eth0". */
static bool is_ip(const char *text)
{
	unsigned char addr[sizeof(struct in6_addr)];
	char bare[INET6_ADDRSTRLEN];
	const char *zone = strchr(text, '%');
	size_t len = zone ? (size_t)(zone - text) : strlen(text);

	if (len >= sizeof(bare) || (zone && (!zone[1] || strlen(zone + 1) >= IF_NAMESIZE)))
		return false;
	memcpy(bare, text, len);
	bare[len] = '\0';
	return inet_pton(AF_INET6, bare, addr) == 1 ||
	       (!zone && inet_pton(AF_INET, bare, addr) == 1);
}

static const char *read_ip(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	uint64_t n;

	if (v->kind == CONF_STRING && strcmp(v->text, "localhost") == 0) {
		memcpy(field, "127.0.0.1", sizeof("127.0.0.1"));
		return NULL;
	}
	if (v->kind == CONF_INT && conf_node_uint(v, &n) == 0 && n <= UINT32_MAX) {
		struct in_addr a = {.s_addr = htonl((uint32_t)n)};

		inet_ntop(AF_INET, &a, field, CONF_IP_MAX);
		return NULL;
	}
	if (v->kind != CONF_STRING || !is_ip(v->text) || !is_clean_text(v->text))
		return "an IP address";
	memcpy(field, v->text, strlen(v->text) + 1);
	return NULL;
}

/* "http://host[:port][/…]", host a name, an IPv4 address or an IPv6 address in brackets. */
static bool is_http_url(const char *url)
{
	const char *host, *end, *port;
	uint64_t n;

	if (strncasecmp(url, "http://", 7) == 0)
		host = url + 7;
	else if (strncasecmp(url, "https://", 8) == 0)
		host = url + 8;
	else
		return false;
	for (const char *p = host; *p; p++)
		if ((unsigned char)*p <= 0x20 || *p == 0x7f || strchr("\"<>\\^`{|}@", *p))
			return false;
	end = host + strcspn(host, "/?#");
	port = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":/?#");
	if (!port || port > end)
		return false;
	if (host[0] == '[')
		port++;
	if (port - host < 1 || strncmp(host, "[]", 2) == 0)
		return false;
	if (port < end) {
		char digits[8] = "";

		if (*port != ':' || end - port > 6)
			return false;
		memcpy(digits, port + 1, (size_t)(end - port - 1));
		return digits[0] == '\0' || (read_digits(digits, &n) && n >= 1 && n <= 65535);
	}
	return true;
}

static bool is_none(const struct conf_node *v)
{
	return v->kind == CONF_NULL || (v->kind == CONF_STRING && !v->text[0]);
}

static const char *read_url(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	if (is_none(v)) {
		*(char *)field = '\0';
		return NULL;
	}
	if (v->kind != CONF_STRING || strlen(v->text) >= CONF_URL_MAX || !is_http_url(v->text))
		return "a URL such as http://192.168.20.1:8082, or null";
	memcpy(field, v->text, strlen(v->text) + 1);
	return NULL;
}

/* Of what is_http_url() has let through: has it a port, and no path behind it but "/"? */
static bool is_host_and_port(const char *url)
{
	const char *host = strstr(url, "//") + 2;
	const char *end = host + strcspn(host, "/?#");
	const char *port = end;

	while (port > host && port[-1] >= '0' && port[-1] <= '9')
		port--;
	return port < end && port > host && port[-1] == ':' && (!*end || strcmp(end, "/") == 0);
}

/*
 * No proxy is spoken to by TLS, so the file must not promise it. Without a port each program would take another one for
 * granted, and what stands in a path is not sent.
 */
static const char *read_proxy(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	if (v->kind == CONF_STRING && strncasecmp(v->text, "https:", 6) == 0)
		return "a URL that begins with http://, the only way to speak to a proxy";
	if (v->kind == CONF_STRING && is_http_url(v->text) && !is_host_and_port(v->text))
		return "http://host:port, with nothing behind it";
	return read_url(key, v, field, scratch, scratch_size);
}

static const char *read_text(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	if (!is_none(v))
		return read_string(key, v, field, scratch, scratch_size);
	*(char *)field = '\0';
	return NULL;
}

static const char *read_path(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	if (is_none(v) && !key->required) {
		*(char *)field = '\0';
		return NULL;
	}
	if (v->kind != CONF_STRING || v->text[0] != '/' || strlen(v->text) >= key->size_bytes ||
		!is_clean_text(v->text))
		return "an absolute path";
	memcpy(field, v->text, strlen(v->text) + 1);
	return NULL;
}

static const char *read_choice(const struct conf_key *key, const struct conf_node *v, void *field,
	char *scratch, size_t scratch_size)
{
	size_t used;

	for (size_t i = 0; v->kind == CONF_STRING && key->words[i]; i++) {
		if (strcmp(v->text, key->words[i]) == 0) {
			*(const char **)field = key->words[i];
			return NULL;
		}
	}
	used = (size_t)snprintf(scratch, scratch_size, "one of");
	for (size_t i = 0; key->words[i] && used < scratch_size; i++)
		used += (size_t)snprintf(
			scratch + used, scratch_size - used, "%s %s", i ? "," : "", key->words[i]);
	return scratch;
}

static read_fn *const readers[] = {
	[CONF_TYPE_BOOL] = read_bool,
	[CONF_TYPE_UINT] = read_uint,
	[CONF_TYPE_STRING] = read_string,
	[CONF_TYPE_TEXT] = read_text,
	[CONF_TYPE_IP] = read_ip,
	[CONF_TYPE_URL] = read_url,
	[CONF_TYPE_PROXY] = read_proxy,
	[CONF_TYPE_PATH] = read_path,
	[CONF_TYPE_CHOICE] = read_choice,
};

bool conf_table_read_value(const struct conf_key *key, const struct conf_node *value,
	const char *where, void *object, struct conf_notes *notes)
{
	char scratch[160], buf[SHOWN_MAX + 8];
	const char *must = readers[key->type](
		key, value, (char *)object + key->offset, scratch, sizeof(scratch));

	if (must)
		conf_note(notes, CONF_WRONG, value->line, "%s%s must be %s, not %s", where,
			key->name, must, shown(value, buf));
	return !must;
}

/* What stands in variables is text in any case; as in a file it would be what its type wants. */
static void env_to_node(const struct conf_key *key, const char *text, char word[SHOWN_MAX],
	struct conf_node *ret_node)
{
	static const char *const bools[] = {"true", "false", "yes", "no", "on", "off"};

	*ret_node = (struct conf_node){.kind = CONF_STRING, .text = text};
	if ((key->type != CONF_TYPE_CHOICE && key->type != CONF_TYPE_BOOL) ||
		strlen(text) >= SHOWN_MAX)
		return;
	for (size_t i = 0; i <= strlen(text); i++)
		word[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
	ret_node->text = word;
	if (key->type != CONF_TYPE_BOOL)
		return;
	if (strcmp(word, "1") == 0 || strcmp(word, "0") == 0)
		ret_node->text = word[0] == '1' ? "true" : "false";
	for (size_t i = 0; i < ARRAY_SIZE(bools); i++)
		if (strcmp(ret_node->text, bools[i]) == 0)
			ret_node->kind = CONF_BOOL;
}

bool conf_table_read_env(
	const struct conf_key *key, const char *text, void *object, struct conf_notes *notes)
{
	char scratch[160], buf[SHOWN_MAX + 8], word[SHOWN_MAX];
	struct conf_node value;
	const char *must;

	assert(key->env);
	env_to_node(key, text, word, &value);
	must = readers[key->type](
		key, &value, (char *)object + key->offset, scratch, sizeof(scratch));
	value.text = text;
	if (must)
		conf_note(notes, CONF_WRONG, 0, "%s must be %s, not %s", key->env, must,
			shown(&value, buf));
	return !must;
}

void conf_table_defaults(const struct conf_key *keys, size_t n_keys, void *object)
{
	for (size_t i = 0; i < n_keys; i++) {
		const struct conf_key *key = &keys[i];
		struct conf_node value = {.kind = CONF_STRING, .text = key->fallback};
		char scratch[160];
		const char *must;

		if (!key->fallback)
			continue;
		if (key->type == CONF_TYPE_BOOL)
			value.kind = CONF_BOOL;
		must = readers[key->type](
			key, &value, (char *)object + key->offset, scratch, sizeof(scratch));
		assert(!must);
		(void)must;
	}
}

static const struct conf_key *key_find(const struct conf_key *keys, size_t n_keys, const char *name)
{
	for (size_t i = 0; i < n_keys; i++)
		if (strcmp(keys[i].name, name) == 0 ||
			(keys[i].old_name && strcmp(keys[i].old_name, name) == 0))
			return &keys[i];
	return NULL;
}

/* Say what will have no effect: unknown, old and repeated keys. */
static void notice_idle_keys(const struct conf_key *keys, size_t n_keys,
	const struct conf_node *map, const char *where, struct conf_notes *notes)
{
	for (const struct conf_node *n = map->child; n; n = n->next) {
		const struct conf_key *key = key_find(keys, n_keys, n->key);

		if (!key)
			conf_note(notes, CONF_NOTICE, n->line,
				"%s%.64s is not a known key and is ignored", where, n->key);
		else if (key->type == CONF_TYPE_UNUSED)
			conf_note(notes, CONF_NOTICE, n->line, "%s%s is ignored: %s", where,
				key->name, key->text);
		else if (conf_node_find(map, n->key) != n)
			conf_note(notes, CONF_NOTICE, n->line,
				"%s%s is there again below, which counts", where, n->key);
		else if (strcmp(key->name, n->key) != 0)
			conf_note(notes, CONF_NOTICE, n->line, "%s%s is the old name of %s", where,
				n->key, key->name);
	}
}

void conf_table_read(const struct conf_key *keys, size_t n_keys, const struct conf_node *map,
	const char *where, void *object, struct conf_notes *notes)
{
	notice_idle_keys(keys, n_keys, map, where, notes);
	for (size_t i = 0; i < n_keys; i++) {
		const struct conf_key *key = &keys[i];
		const struct conf_node *value;

		if (key->type == CONF_TYPE_UNUSED)
			continue;
		value = conf_node_find(map, key->name);
		if (!value && key->old_name)
			value = conf_node_find(map, key->old_name);
		if (!value && key->required && !key->fallback)
			conf_note(
				notes, CONF_WRONG, map->line, "%s%s is missing", where, key->name);
		else if (value && key->type != CONF_TYPE_OTHER)
			conf_table_read_value(key, value, where, object, notes);
	}
}
