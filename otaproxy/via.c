/*
 * via: take the fields apart and compose them anew. Contract: via.h.
 *
 * An entry is a protocol, a name and perhaps a comment (RFC 9110, 7.6.3). Handed on are protocol and name, so that
 * nothing of a client's reaches a server through here but words that we have read.
 */
#include "otaproxy/via.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Of a token, and of a host with its port. */
static bool is_word_char(char c)
{
	return c > 0x20 && c < 0x7f && !strchr(",()\"\\<>{}=;@?", c);
}

static size_t word_length(const char *s)
{
	size_t len = 0;

	while (is_word_char(s[len]))
		len++;
	return len;
}

/* To the ',' that ends the entry, or the text's end. @ret_clean: there were only comments on the way. */
static const char *skip_comments(const char *s, bool *ret_clean)
{
	unsigned depth = 0;

	*ret_clean = true;
	for (; *s && (depth > 0 || *s != ','); s++) {
		if (*s == '(')
			depth++;
		else if (depth == 0)
			*ret_clean &= *s == ' ' || *s == '\t';
		else if (*s == ')')
			depth--;
		else if (*s == '\\' && s[1])
			s++;
	}
	*ret_clean &= depth == 0;
	return s;
}

static int append(
	struct via *v, const char *protocol, size_t protocol_len, const char *name, size_t name_len)
{
	const char *comma = v->n_hops > 0 ? ", " : "";

	if (v->n_hops == VIA_HOPS_MAX ||
		v->len_bytes + strlen(comma) + protocol_len + 1 + name_len >= sizeof(v->text))
		return -E2BIG;
	v->len_bytes += (size_t)snprintf(v->text + v->len_bytes, sizeof(v->text) - v->len_bytes,
		"%s%.*s %.*s", comma, (int)protocol_len, protocol, (int)name_len, name);
	v->n_hops++;
	return 0;
}

int via_add(struct via *v, const char *value)
{
	const char *s = value + strspn(value, " \t,");

	while (*s) {
		size_t protocol_len = word_length(s);
		const char *protocol = s,
			   *name = s + protocol_len + strspn(s + protocol_len, " \t");
		size_t name_len = word_length(name);
		bool clean;

		s = skip_comments(name + name_len, &clean);
		if (protocol_len > 0 && name_len > 0 && clean &&
			append(v, protocol, protocol_len, name, name_len) < 0)
			return -E2BIG;
		s += strspn(s, " \t,");
	}
	return 0;
}
