/*
 * json: a narrow view of jansson. Contract: json.h.
 */
#include "common/codec/json.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <jansson.h>

struct json_doc {
	json_t *root;
};

static const struct json_value *from_jansson(const json_t *v)
{
	return (const struct json_value *)v;
}

static const json_t *to_jansson(const struct json_value *v)
{
	return (const json_t *)v;
}

/* jansson recurses 2048 deep before it gives up; texts from outside shall not choose our stack's depth. */
static bool is_too_deep(const char *text, size_t len_bytes)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len_bytes; i++) {
		char c = text[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '[' || c == '{') && ++depth > JSON_DEPTH_MAX)
			return true;
		else if (!in_string && (c == ']' || c == '}') && depth > 0)
			depth--;
	}
	return false;
}

/*
 * Where memory is short, jansson calls many a good text invalid, and reads others without some of their bytes. So it is
 * asked for by way of us.
 */
static _Thread_local bool memory_was_short;
static pthread_once_t memory_watched = PTHREAD_ONCE_INIT;

static void *take_memory(size_t size_bytes)
{
	void *p = malloc(size_bytes);

	memory_was_short |= !p;
	return p;
}

static void watch_memory(void)
{
	json_set_alloc_funcs(take_memory, free);
}

int json_doc_parse(const char *text, size_t len_bytes, size_t max_bytes, struct json_doc **ret_doc,
	struct ota_err *err)
{
	struct json_doc *doc;
	json_error_t why;

	if (len_bytes > max_bytes)
		return ota_err_set(err, -EFBIG, OTA_E_UNSPECIFIC,
			"The JSON text has %zu bytes, more than the %zu allowed", len_bytes,
			max_bytes);
	if (is_too_deep(text, len_bytes))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The JSON text is nested deeper than %d levels", JSON_DEPTH_MAX);
	doc = malloc(sizeof(*doc));
	if (!doc)
		return ota_err_no_memory(err, "a JSON text");
	pthread_once(&memory_watched, watch_memory);
	memory_was_short = false;
	doc->root = json_loadb(text, len_bytes, JSON_REJECT_DUPLICATES, &why);
	if (!doc->root || memory_was_short) {
		json_decref(doc->root);
		free(doc);
		if (memory_was_short)
			return ota_err_no_memory(err, "a JSON text");
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The text is no valid JSON in line %d, column %d: %s", why.line, why.column,
			why.text);
	}
	*ret_doc = doc;
	return 0;
}

void json_doc_free(struct json_doc *doc)
{
	if (!doc)
		return;
	json_decref(doc->root);
	free(doc);
}

void json_doc_freep(struct json_doc **doc)
{
	json_doc_free(*doc);
}

const struct json_value *json_doc_root(const struct json_doc *doc)
{
	return from_jansson(doc->root);
}

bool json_value_is_object(const struct json_value *v)
{
	return json_is_object(to_jansson(v));
}

bool json_value_is_array(const struct json_value *v)
{
	return json_is_array(to_jansson(v));
}

size_t json_value_count(const struct json_value *v)
{
	/* Each is 0 for the other type and for NULL. */
	return json_array_size(to_jansson(v)) + json_object_size(to_jansson(v));
}

const struct json_value *json_value_at(const struct json_value *v, size_t index)
{
	return from_jansson(json_array_get(to_jansson(v), index));
}

const struct json_value *json_value_member(const struct json_value *v, const char *key)
{
	return from_jansson(json_object_get(to_jansson(v), key));
}

int json_value_each_member(const struct json_value *v, json_member_fn *fn, void *ctx)
{
	/* jansson's iterator wants a pointer to non-const; it changes nothing. */
	json_t *object = (json_t *)(uintptr_t)v;

	for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
		int r = fn(ctx, json_object_iter_key(it), from_jansson(json_object_iter_value(it)));

		if (r != 0)
			return r;
	}
	return 0;
}

const char *json_value_string(const struct json_value *v)
{
	return json_string_value(to_jansson(v));
}

int json_value_integer(const struct json_value *v, int64_t *ret_number)
{
	if (!json_is_integer(to_jansson(v)))
		return -EINVAL;
	*ret_number = json_integer_value(to_jansson(v));
	return 0;
}

static int put_piece(const char *data, size_t len_bytes, void *ctx)
{
	return buf_append(ctx, data, len_bytes);
}

int json_put_string(struct buf *out, const char *text, size_t len_bytes)
{
	size_t before = out->len_bytes;
	json_t *v;
	int r;

	pthread_once(&memory_watched, watch_memory);
	memory_was_short = false;
	v = json_stringn(text, len_bytes);
	if (!v)
		return memory_was_short ? -ENOMEM : -EBADMSG;
	r = json_dump_callback(v, put_piece, out, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	json_decref(v);
	if (r == 0)
		return 0;
	if (out->data) {
		out->len_bytes = before;
		out->data[before] = '\0';
	}
	return -ENOMEM;
}
