/*
 * slot_search: one look through one slot for wanted contents: candidates are noted, then hashed on many threads in the
 * order of their inodes, no inode twice (by a list: in the order of its lines). Private to inventory, whose two halves
 * are made of it: inventory_standby.c and inventory_active.c.
 *
 * While candidates are noted, only search_add() may be called from several threads; while they are hashed each
 * thread writes its own candidate.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/inventory/inventory.h"

/* For a candidate's content: it was hashed, and nobody wants what it holds. */
#define CONTENT_UNWANTED (FILE_TABLE_NONE - 1)

/* A name of a file that may hold a wanted content. There may be a million of them. */
struct candidate {
	uint64_t ino;
	uint64_t size_bytes;
	uint32_t path; /* as in struct content_source */
	uint32_t
		content; /* what hashing found; FILE_TABLE_NONE = not hashed, or CONTENT_UNWANTED */
	union {
		uint32_t n_links; /* on standby: as many names the inode says it has */
		uint32_t base;    /* on the active slot: that it is, or FILE_TABLE_NONE */
	};
	uint32_t
		disk_kib; /* what it takes on the disk: a file with holes takes less than its size */
};
_Static_assert(sizeof(struct candidate) == 32, "no padding");

struct standby_inodes;

struct search {
	struct inventory *inv;
	const struct file_table *table;
	int root_fd;
	const struct standby_inodes
		*inodes; /* of what the last update has left; NULL = nobody knows */
	const struct patch_list *patches; /* whose bases are looked for, too; NULL = of none */
	inventory_stop_fn *stop;
	void *stop_ctx;

	uint64_t *sizes; /* sorted sizes of the contents that are looked for */
	size_t n_sizes;

	/* For what follows, and for the inventory while candidates are noted. */
	pthread_mutex_t lock;
	struct candidate *candidates;
	uint32_t n_candidates, cap_candidates;
};

void search_done(struct search *s);

bool search_is_stopped(const struct search *s);

/* The sizes of all contents that have no place yet, and of the bases that they could be made of. */
int search_collect_sizes(struct search *s);
bool search_size_is_wanted(const struct search *s, uint64_t size_bytes);

/* The image's file at this very path, or FILE_TABLE_NONE. */
uint32_t search_file_at(const struct search *s, const char *path);

/* The number for a path that the image has no file at; under the lock while others add. */
int search_add_path(struct search *s, const char *path, uint32_t *ret_number);

/* Add @c, which has the name @path; c->path says which file the image has there, or FILE_TABLE_NONE. */
int search_add(struct search *s, struct candidate c, const char *path);
void search_sort(struct search *s);

/* Is the candidate's name one that the image has a file at? */
bool candidate_has_file(const struct search *s, const struct candidate *c);
/* Does it hold what somebody wants? */
bool candidate_is_found(const struct candidate *c);

/*
 * Hash the first candidate of each inode that @wanted says yes to, and give the result to all names
 * of the inode. What cannot be read is unwanted. Candidates are sorted.
 */
typedef bool candidate_fn(const struct search *s, const struct candidate *c);
int search_hash(struct search *s, candidate_fn *wanted, struct ota_err *err);

candidate_fn candidate_has_wanted_size;
