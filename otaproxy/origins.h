/*
 * origins: the servers that may be asked through this proxy. Whoever can reach the proxy is held to
 * them, so that it is no way into every network that this machine sees.
 *
 * A text file, one "http://host[:port]" or "https://host[:port]" a line; empty lines are fine. The
 * last line must end, so that a file of which only a part was written never names another host.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "otaproxy/authority.h"

enum {
	ORIGINS_LINES_MAX = 64,       /* an image has one server, or a few mirrors */
	ORIGINS_LINE_MAX_BYTES = 512, /* beyond the longest origin that is right */
	ORIGINS_FILE_MAX_BYTES = ORIGINS_LINES_MAX * (ORIGINS_LINE_MAX_BYTES + 1),
};

struct origin {
	struct authority authority;
	bool https;
};

/* Does not change once it is made; shared by counting. */
struct origins {
	atomic_uint n_refs;
	bool known; /* false: nobody has said yet which servers are allowed */
	unsigned n;
	struct origin list[ORIGINS_LINES_MAX];
};

/*
 * Parse a list; @name is the file's, for sentences. @ret_origins: origins_unref(). 0, or with a
 * sentence -EBADMSG (a line is wrong or does not end), -E2BIG (a limit is passed), -ENOMEM.
 */
int origins_parse(const char *text, size_t len_bytes, const char *name,
	struct origins **ret_origins, struct ota_err *err);

struct origins *origins_ref(struct origins *o);
void origins_unref(struct origins *o); /* NULL is fine */
void origins_unrefp(struct origins **o);
#define AUTO_ORIGINS CLEANUP(origins_unrefp)

/*
 * The entry for a server as a request names it; NULL = not on the list. A request without a port
 * means the port of the entry's scheme, for clients ask a proxy by http for what is served by
 * https; if both are listed, it is https. Borrowed from @o.
 */
const struct origin *origins_find(const struct origins *o, const struct authority *asked);

/* Is that one entry the server, whatever its scheme? */
bool origins_match(const struct origin *o, const struct authority *asked);

/* The list in a file that may come, change and go while we run. Thread safe. */
struct origins_file;

/* 0 or -ENOMEM. The file need not be there. */
int origins_file_new(const char *path, struct origins_file **ret_file);
void origins_file_free(struct origins_file *f);
void origins_file_freep(struct origins_file **f);
#define AUTO_ORIGINS_FILE CLEANUP(origins_file_freep)

/*
 * The list as it is now, origins_unref() it; never NULL. It is not known while there is no file, or
 * one that cannot be used: then @ret_trouble (may be NULL) gets the sentence, once for each version
 * of the file (or whenever it could not be read at all), and is left alone otherwise. The list may
 * be held beyond origins_file_free().
 */
struct origins *origins_file_get(struct origins_file *f, struct ota_err *ret_trouble);
