/*
 * json: reading small JSON texts from outside. The door to jansson.
 *
 * A text is bounded in size and nesting; duplicate keys, NUL in strings, invalid UTF-8 and anything behind
 * the value are refused. (Names begin with json_doc_, json_value_ and json_put_ as jansson owns the others.)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"

enum {
	JSON_DEPTH_MAX = 16, /* nested arrays and objects; no format of ours has more than three */
};

struct json_doc;   /* owns all its values */
struct json_value; /* borrowed from its json_doc */

/* -EBADMSG with a sentence and no code (the caller knows whom to blame), -EFBIG, -ENOMEM. */
int json_doc_parse(const char *text, size_t len_bytes, size_t max_bytes, struct json_doc **ret_doc,
	struct ota_err *err);
void json_doc_free(struct json_doc *doc);
void json_doc_freep(struct json_doc **doc);
#define AUTO_JSON_DOC CLEANUP(json_doc_freep)

const struct json_value *json_doc_root(const struct json_doc *doc);

/* All take NULL for @v as well, as a value of no type. */
bool json_value_is_object(const struct json_value *v);
bool json_value_is_array(const struct json_value *v);

/* Elements of an array or members of an object; else 0. */
size_t json_value_count(const struct json_value *v);

/* The element of an array; NULL if there is none. */
const struct json_value *json_value_at(const struct json_value *v, size_t index);

/* The member of an object; NULL if there is none. */
const struct json_value *json_value_member(const struct json_value *v, const char *key);

/* Call @fn for each member of an object in the text's order, until it returns non-zero, which is returned. */
typedef int json_member_fn(void *ctx, const char *key, const struct json_value *value);
int json_value_each_member(const struct json_value *v, json_member_fn *fn, void *ctx);

/* The text of a string, UTF-8 without NUL inside; NULL for any other type. */
const char *json_value_string(const struct json_value *v);

/* 0, or -EINVAL if @v is no integer. */
int json_value_integer(const struct json_value *v, int64_t *ret_number);

/* Append @text (UTF-8) as a quoted JSON string in plain ASCII. 0, -EBADMSG (no UTF-8) or -ENOMEM. */
int json_put_string(struct buf *out, const char *text, size_t len_bytes);
