/*
 * http_answer: reading the fields of an answer. Contract: http_answer.h.
 */
#include "common/net/http_answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

void http_answer_init(struct http_answer *a)
{
	*a = (struct http_answer){
		.length_bytes = HTTP_LENGTH_UNKNOWN,
		.range_total = HTTP_LENGTH_UNKNOWN,
	};
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool has_control(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
			return true;
	return false;
}

bool http_field_split(const char *line, size_t len_bytes, struct http_field *ret_field)
{
	char *colon, *value, *end;

	while (len_bytes > 0 && (line[len_bytes - 1] == '\n' || line[len_bytes - 1] == '\r' ||
					is_space(line[len_bytes - 1])))
		len_bytes--;
	if (len_bytes >= HTTP_FIELD_MAX || has_control(line, len_bytes))
		return false;
	memcpy(ret_field->text, line, len_bytes);
	ret_field->text[len_bytes] = '\0';
	end = ret_field->text + len_bytes;
	colon = memchr(ret_field->text, ':', len_bytes);
	if (!colon || colon == ret_field->text || is_space(colon[-1]))
		return false;
	*colon = '\0';
	value = colon + 1;
	while (value < end && is_space(*value))
		value++;
	ret_field->name = ret_field->text;
	ret_field->value = value;
	return true;
}

static void note_length(struct http_answer *a, const char *value)
{
	uint64_t n;

	if (decimal_parse(value, strlen(value), 0, UINT64_MAX, &n) == 0)
		a->length_bytes = n;
}

/* "bytes FIRST-LAST/TOTAL" or "bytes FIRST-LAST/ *" without the space */
static void note_range(struct http_answer *a, const char *value)
{
	uint64_t first, last, total = HTTP_LENGTH_UNKNOWN;
	const char *end = value + strlen(value);

	if (strncasecmp(value, "bytes ", 6) != 0)
		return;
	value += 6;
	if (decimal_read(&value, end, UINT64_MAX, &first) < 0 || *value++ != '-')
		return;
	if (decimal_read(&value, end, UINT64_MAX, &last) < 0 || *value++ != '/')
		return;
	if (*value == '*')
		value++;
	else if (decimal_read(&value, end, UINT64_MAX, &total) < 0)
		return;
	if (*value != '\0' || last < first || total <= last)
		return;
	a->has_range = true;
	a->range_first = first;
	a->range_last = last;
	a->range_total = total;
}

static void note_validator(char ret_text[HTTP_VALIDATOR_MAX], const char *value)
{
	if (strlen(value) < HTTP_VALIDATOR_MAX)
		snprintf(ret_text, HTTP_VALIDATOR_MAX, "%s", value);
}

static void note_etag(struct http_answer *a, const char *value)
{
	if (value[0] == '"') /* else it is a weak one ("W/…"), which says nothing about bytes */
		note_validator(a->etag, value);
}

static void note_last_modified(struct http_answer *a, const char *value)
{
	note_validator(a->last_modified, value);
}

static void note_accept_ranges(struct http_answer *a, const char *value)
{
	a->refuses_ranges = strcasecmp(value, "none") == 0;
}

static void note_encoding(struct http_answer *a, const char *value)
{
	a->encoded = value[0] != '\0' && strcasecmp(value, "identity") != 0;
}

static void note_transfer_encoding(struct http_answer *a, const char *value)
{
	a->chunked = true;
}

static const struct {
	const char *name;
	void (*note)(struct http_answer *a, const char *value);
} field_table[] = {
	{"accept-ranges",     note_accept_ranges    },
	{"content-encoding",  note_encoding         },
	{"content-length",    note_length           },
	{"content-range",     note_range            },
	{"etag",              note_etag             },
	{"last-modified",     note_last_modified    },
	{"transfer-encoding", note_transfer_encoding},
};

void http_answer_add(struct http_answer *a, const struct http_field *field)
{
	for (size_t i = 0; i < ARRAY_SIZE(field_table); i++)
		if (strcasecmp(field->name, field_table[i].name) == 0)
			field_table[i].note(a, field->value);
}

uint64_t http_answer_length(const struct http_answer *a)
{
	return a->chunked ? HTTP_LENGTH_UNKNOWN : a->length_bytes;
}

const char *http_answer_validator(const struct http_answer *a)
{
	return a->etag[0] ? a->etag : a->last_modified;
}
