/*
 * http_answer: what the header of one answer says about its body: how long, which part, of which
 * version. Pure; the field lines are bytes from outside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HTTP_VALIDATOR_MAX = 256, /* with the NUL; a longer ETag counts as none */
	HTTP_FIELD_MAX =
		4096, /* name and value of a field that is handed on; longer ones are not */
};
#define HTTP_LENGTH_UNKNOWN UINT64_MAX

struct http_answer {
	char etag[HTTP_VALIDATOR_MAX];          /* strong, with its quotes; "" = none */
	char last_modified[HTTP_VALIDATOR_MAX]; /* "" = none */
	bool refuses_ranges;                    /* Accept-Ranges: none */
	bool encoded;                           /* a Content-Encoding other than identity */
	bool chunked;          /* a Transfer-Encoding, whose word counts and not Content-Length's */
	uint64_t length_bytes; /* Content-Length; HTTP_LENGTH_UNKNOWN */

	bool has_range; /* a well-formed Content-Range */
	uint64_t range_first, range_last;
	uint64_t range_total; /* HTTP_LENGTH_UNKNOWN for "*" */
};

void http_answer_init(struct http_answer *a);

/*
 * Split a line "Name: value" (with or without its line end) into @ret_field, where both parts end
 * in NUL. False: it is no field, is too long, or has a control character inside that is no tab: who hands it on would
 * hand on two.
 */
struct http_field {
	char text[HTTP_FIELD_MAX];
	const char *name, *value; /* inside text */
};
bool http_field_split(const char *line, size_t len_bytes, struct http_field *ret_field);

/* Note what @field says about the body. Unknown fields are fine. */
void http_answer_add(struct http_answer *a, const struct http_field *field);

/* How long the body is on the wire; HTTP_LENGTH_UNKNOWN = its end will tell. */
uint64_t http_answer_length(const struct http_answer *a);

/* What identifies this version of the body in If-Range; "" = nothing does. */
const char *http_answer_validator(const struct http_answer *a);
