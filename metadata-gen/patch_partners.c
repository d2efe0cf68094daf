/*
 * patch_partners: by path, and by path and name without version numbers. Contract: patch_partners.h.
 *
 * A key is the hash of a name whose numbers are folded. Two names with one hash that are not alike cost a patch that
 * is made in vain.
 */
#include "metadata-gen/patch_partners.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/patch_list.h"

struct key {
	uint64_t hash, size_bytes;
	uint32_t content;
};

struct search {
	const struct file_table *made, *old;
	struct patch_partners *partners;
	struct key *keys; /* of the old files, by hash, then size */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The end of a number as versions have it: digits, and single dots between digits. */
static size_t number_end(const char *name, size_t len, size_t at)
{
	while (at < len &&
		(is_digit(name[at]) || (name[at] == '.' && at + 1 < len && is_digit(name[at + 1]))))
		at++;
	return at;
}

uint64_t patch_partners_fold(const char *name, size_t len_bytes)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (size_t at = 0; at < len_bytes;) {
		unsigned char c = (unsigned char)name[at];

		if (is_digit(name[at])) {
			c = '0';
			at = number_end(name, len_bytes, at);
		} else {
			at++;
		}
		hash = (hash ^ c) * 1099511628211u;
	}
	return hash;
}

static struct text last_component(struct text path)
{
	const char *slash = memrchr(path.at, '/', path.len);

	if (!slash)
		return path;
	return (struct text){slash + 1, path.len - (uint32_t)(slash + 1 - path.at)};
}

bool patch_partners_usable(const struct content *c, const struct content *made)
{
	return c->size_bytes != CONTENT_SIZE_UNKNOWN && c->size_bytes > 0 &&
	       made->size_bytes <= PATCH_PAIR_MAX_BYTES &&
	       c->size_bytes <= PATCH_PAIR_MAX_BYTES - made->size_bytes;
}

bool patch_partners_wanted(
	const struct file_table *made, const struct file_table *old, uint32_t content)
{
	const struct content *c = &made->contents[content];

	return c->size_bytes != CONTENT_SIZE_UNKNOWN && c->size_bytes > 0 &&
	       file_table_find_content(old, &c->digest) == FILE_TABLE_NONE;
}

static bool is_wanted(const struct search *s, uint32_t content)
{
	return patch_partners_wanted(s->made, s->old, content);
}

static void add_partner(struct search *s, uint32_t content, uint32_t old, enum patch_way way)
{
	struct patch_partners *p = &s->partners[content];

	if (p->n == PATCH_PARTNERS_MAX ||
		!patch_partners_usable(&s->old->contents[old], &s->made->contents[content]))
		return;
	for (uint32_t i = 0; i < p->n; i++)
		if (p->old[i] == old)
			return;
	p->old[p->n] = old;
	p->way[p->n++] = way;
}

/* ---- by path ---- */

static void same_path(struct search *s)
{
	for (uint32_t i = 0; i < s->made->n_files; i++) {
		const struct file_entry *f = &s->made->files[i];
		enum entry_kind kind;
		uint32_t found;

		if (is_wanted(s, f->content) &&
			file_table_find(s->old, f->path.at, f->path.len, &kind, &found) &&
			kind == ENTRY_FILE)
			add_partner(s, f->content, s->old->files[found].content, PATCH_WAY_PATH);
	}
}

/* ---- by key ---- */

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->size_bytes < y->size_bytes ? -1 : x->size_bytes > y->size_bytes;
}

static uint64_t key_of(struct text path, bool whole_path)
{
	struct text name = whole_path ? path : last_component(path);

	return patch_partners_fold(name.at, name.len);
}

static void make_keys(struct search *s, bool whole_path)
{
	for (uint32_t i = 0; i < s->old->n_files; i++) {
		const struct file_entry *f = &s->old->files[i];

		s->keys[i] = (struct key){
			.hash = key_of(f->path, whole_path),
			.size_bytes = s->old->contents[f->content].size_bytes,
			.content = f->content,
		};
	}
	qsort(s->keys, s->old->n_files, sizeof(*s->keys), compare_keys);
}

/* The first key that is not before @wanted. */
static uint32_t lower_bound(const struct search *s, const struct key *wanted)
{
	uint32_t low = 0, high = s->old->n_files;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare_keys(&s->keys[middle], wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t distance(const struct key *key, const struct key *wanted)
{
	return key->size_bytes > wanted->size_bytes ? key->size_bytes - wanted->size_bytes
						    : wanted->size_bytes - key->size_bytes;
}

static const struct key *nearest(const struct search *s, const struct key *wanted)
{
	uint32_t at = lower_bound(s, wanted);
	const struct key *above = at < s->old->n_files ? &s->keys[at] : NULL;
	const struct key *below = at > 0 ? &s->keys[at - 1] : NULL;

	if (above && above->hash != wanted->hash)
		above = NULL;
	if (below && below->hash != wanted->hash)
		below = NULL;
	if (above && below)
		return distance(above, wanted) <= distance(below, wanted) ? above : below;
	return above ? above : below;
}

static void same_key(struct search *s, bool whole_path)
{
	make_keys(s, whole_path);
	for (uint32_t i = 0; i < s->made->n_files; i++) {
		const struct file_entry *f = &s->made->files[i];
		const struct key wanted = {
			.hash = key_of(f->path, whole_path),
			.size_bytes = s->made->contents[f->content].size_bytes,
		};
		const struct key *found;

		if (!is_wanted(s, f->content))
			continue;
		found = nearest(s, &wanted);
		if (found)
			add_partner(s, f->content, found->content,
				whole_path ? PATCH_WAY_VERSIONED : PATCH_WAY_NAME);
	}
}

int patch_partners_find(const struct file_table *made, const struct file_table *old,
	struct patch_partners *ret_partners)
{
	AUTO_FREE struct key *keys = calloc((size_t)old->n_files + 1, sizeof(*keys));
	struct search s = {.made = made, .old = old, .partners = ret_partners, .keys = keys};

	if (!keys)
		return -ENOMEM;
	memset(ret_partners, 0, made->n_contents * sizeof(*ret_partners));
	same_path(&s);
	same_key(&s, true);
	same_key(&s, false);
	return 0;
}

/* ---- alike ---- */

/* What two names may share. */
enum trait {
	TRAIT_FOLDER,
	TRAIT_ENDING,
	TRAITS,
};

static struct text folder_of(struct text path)
{
	return (struct text){path.at, path.len - last_component(path).len};
}

/* From the last dot that has no digit behind it: ".so.3" and ".html"; empty: there is none, or nothing before it. */
static struct text ending_of(struct text path)
{
	struct text name = last_component(path);

	for (uint32_t at = name.len; at-- > 1;)
		if (name.at[at] == '.' && at + 1 < name.len && !is_digit(name.at[at + 1]))
			return (struct text){name.at + at, name.len - at};
	return (struct text){name.at, 0};
}

static unsigned size_class(uint64_t size_bytes)
{
	return size_bytes ? 63 - (unsigned)__builtin_clzll(size_bytes) : 0;
}

/* The hash of a trait and a class of sizes; 0: the name has not that trait. */
static uint64_t trait_key(struct text path, enum trait trait, unsigned class)
{
	struct text text = trait == TRAIT_FOLDER ? folder_of(path) : ending_of(path);

	if (text.len == 0)
		return 0;
	return (patch_partners_fold(text.at, text.len) ^ (64 * trait + class + 1)) * 1099511628211u;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The traits of what is wanted, each with its own class of sizes and those beside it. Returns how many keys. */
static size_t wanted_keys(const struct file_table *made, const bool *wanted, uint64_t *keys)
{
	size_t n = 0;

	for (uint32_t i = 0; i < made->n_files; i++) {
		const struct file_entry *f = &made->files[i];
		unsigned class = size_class(made->contents[f->content].size_bytes);

		if (!wanted[f->content])
			continue;
		for (unsigned trait = 0; trait < TRAITS; trait++)
			for (unsigned c = class > 0 ? class - 1 : 0; c <= class + 1; c++)
				keys[n++] = trait_key(f->path, trait, c);
	}
	qsort(keys, n, sizeof(*keys), compare_u64);
	return n;
}

int patch_partners_alike(const struct file_table *made, const bool *wanted,
	const struct file_table *old, bool *ret_alike)
{
	AUTO_FREE uint64_t *keys = calloc((size_t)made->n_files + 1, 3 * TRAITS * sizeof(*keys));
	size_t n;

	if (!keys)
		return -ENOMEM;
	n = wanted_keys(made, wanted, keys);
	memset(ret_alike, 0, old->n_contents * sizeof(*ret_alike));
	for (uint32_t i = 0; i < old->n_files; i++) {
		const struct file_entry *f = &old->files[i];
		uint64_t size = old->contents[f->content].size_bytes;

		for (unsigned trait = 0; trait < TRAITS && size != CONTENT_SIZE_UNKNOWN; trait++) {
			uint64_t key = trait_key(f->path, trait, size_class(size));

			if (key && bsearch(&key, keys, n, sizeof(*keys), compare_u64))
				ret_alike[f->content] = true;
		}
	}
	return 0;
}
