/*
 * conf_table: read the keys of a configuration file into a struct, as a table of keys says.
 *
 * One row per key gives its type, range, default and explanation; what is checked, what is
 * complained about and what the help shows all come from it. Every wrong key is reported, not only
 * the first.
 * In use: settings.c, proxy_info.c, ecu_info.c.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config/conf_tree.h"

enum conf_note_kind {
	CONF_NOTICE, /* worth a line in the log, nothing is wrong */
	CONF_WRONG,  /* the file breaks a rule */
};

/* Called with one sentence per finding: "/boot/ota/ecu_info.yaml, line 3: ip_addr must be …". */
typedef void conf_note_fn(void *ctx, enum conf_note_kind kind, const char *sentence);

/* Where the findings about one file go, and how many of them are CONF_WRONG. */
struct conf_notes {
	const char *file;   /* its name in sentences */
	conf_note_fn *note; /* NULL: nobody listens */
	void *ctx;
	unsigned n_wrong;
};

/* @line 0: none; the sentence then begins "FILE: …". */
void conf_note(struct conf_notes *notes, enum conf_note_kind kind, unsigned line, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));

enum {
	CONF_IP_MAX = INET6_ADDRSTRLEN + 17, /* with "%eth0" and the NUL */
	CONF_URL_MAX = 1024, /* bytes with the NUL; longer ones are no address of a proxy */
};

/* Field type in brackets. */
enum conf_type {
	CONF_TYPE_BOOL,   /* (bool) */
	CONF_TYPE_UINT,   /* (uint32_t) min … max; digits in quotes are fine as well */
	CONF_TYPE_STRING, /* (char[]) not empty, no control characters */
	CONF_TYPE_TEXT,   /* (char[]) the same, or null or "" for none: "" */
	CONF_TYPE_IP,     /* (char[CONF_IP_MAX]) IPv4 or IPv6; "localhost" becomes 127.0.0.1 */
	CONF_TYPE_URL,    /* (char[CONF_URL_MAX]) http or https; null or "" is none: "" */
	CONF_TYPE_PROXY,  /* (char[CONF_URL_MAX]) the same, but http only */
	CONF_TYPE_PATH,   /* (char[]) absolute; null or "" is none: "" */
	CONF_TYPE_CHOICE, /* (const char *) one of the row's words */
	CONF_TYPE_OTHER,  /* the file's own reader sees to it */
	CONF_TYPE_UNUSED, /* known from other versions, ignored with a notice */
};

/* NULL for the "" of those that may be none. */
static inline const char *conf_text_or_null(const char *text)
{
	return text[0] ? text : NULL;
}

struct conf_key {
	const char *name;
	enum conf_type type;
	size_t offset;            /* of the field */
	size_t size_bytes;        /* of a char[] field */
	uint32_t min, max;        /* CONF_TYPE_UINT */
	const char *const *words; /* CONF_TYPE_CHOICE; ends with NULL */
	const char *old_name;     /* another spelling, noticed as old; NULL = none */
	bool required;            /* never empty; without a default it must be there */
	const char *fallback;     /* the default as it stands in a file; NULL = field left alone */
	const char *env;          /* variable of the environment that overrides the file; NULL = none */
	const char *unit;         /* for people: "s"; NULL = none */
	const char *text;         /* for people: one sentence on the effect */
};

/* Set every field that has a default. The table must be right: a default that breaks its own rule
 * asserts. */
void conf_table_defaults(const struct conf_key *keys, size_t n_keys, void *object);

/*
 * Read @map into @object. A wrong value leaves its field alone. Keys that are not in the table and
 * keys that are there twice are noticed. @where goes before key names in sentences:
 * "secondaries[0].", or "".
 */
void conf_table_read(const struct conf_key *keys, size_t n_keys, const struct conf_node *map,
	const char *where, void *object, struct conf_notes *notes);

/*
 * The value of the variable key->env, @text; the words of a choice and of a boolean may be in capitals, 1 and 0 are
 * booleans too. False after a note: the field is left alone.
 */
bool conf_table_read_env(
	const struct conf_key *key, const char *text, void *object, struct conf_notes *notes);

/* One value, for lists that a file's own reader walks through. False after a note. */
bool conf_table_read_value(const struct conf_key *key, const struct conf_node *value,
	const char *where, void *object, struct conf_notes *notes);
