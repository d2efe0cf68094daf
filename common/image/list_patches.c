/*
 * list_patches: read and write the words of "x_list_patches". Contract: list_patches.h.
 *
 * They are in a text that is signed, but an update can do without them: so a word that breaks a rule is no reason to
 * refuse the image, only to use none of them.
 */
#include "common/image/list_patches.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/image/patch_list.h"

static const char *const keys[LIST_PATCH_KEYS] = {
	"directory", "symboliclink", "regular", "persistent", "x_attributes"};

/* The constant of a text; NULL: it is none of ours. */
static const char *find_key(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strlen(keys[i]) == len && memcmp(keys[i], text, len) == 0)
			return keys[i];
	return NULL;
}

/* ---- reading ---- */

/* What is left of a word. */
struct columns {
	const char *at, *end;
	bool is_bad;
};

static const char *next_column(struct columns *c, size_t *ret_len)
{
	const char *at = c->at;
	const char *comma = memchr(at, ',', (size_t)(c->end - at));

	*ret_len = (size_t)((comma ? comma : c->end) - at);
	c->at = comma ? comma + 1 : c->end;
	return at;
}

static uint64_t next_size(struct columns *c)
{
	uint64_t size = 0;
	size_t len;
	const char *text = next_column(c, &len);

	if (decimal_parse(text, len, 1, PATCH_PAIR_MAX_BYTES, &size) < 0)
		c->is_bad = true;
	return size;
}

static struct digest next_digest(struct columns *c)
{
	struct digest digest = {0};
	size_t len;
	const char *text = next_column(c, &len);

	if (digest_from_lower_hex(text, len, &digest) < 0)
		c->is_bad = true;
	return digest;
}

static bool read_columns(struct columns *c, struct list_patch *ret)
{
	const char *last;

	ret->list_bytes = next_size(c);
	ret->old = next_digest(c);
	ret->old_bytes = next_size(c);
	ret->patch_bytes = next_size(c);
	last = c->at;
	ret->patch = next_digest(c);
	return !c->is_bad && c->end - last == DIGEST_HEX_MAX - 1;
}

/* NULL, or what keeps the words from being used. */
static const char *check(const struct list_patches *all, const struct list_patch *p)
{
	unsigned n_same = 0;

	if (p->list_bytes > PATCH_PAIR_MAX_BYTES - p->old_bytes)
		return "a list and the older one are too large for a patch";
	if (p->patch_bytes >= p->list_bytes)
		return "a patch is not smaller than its list";
	for (unsigned i = 0; i < all->n; i++) {
		const struct list_patch *other = &all->at[i];

		if (other->key != p->key)
			continue;
		n_same++;
		if (other->list_bytes != p->list_bytes)
			return "a list has two sizes";
		if (digest_equal(&other->old, &p->old))
			return "a patch is there twice";
	}
	return n_same < LIST_PATCHES_PER_LIST_MAX ? NULL
						  : "a list has more patches than are allowed";
}

static const char *read_word(const char *word, size_t len, struct list_patches *all)
{
	struct columns c = {.at = word, .end = word + len};
	struct list_patch p = {0};
	const char *why;
	size_t key_len;
	const char *key = next_column(&c, &key_len);

	p.key = find_key(key, key_len);
	if (!p.key) /* a later builder's */
		return NULL;
	if (!read_columns(&c, &p))
		return "a word is no list, older list and patch with their sizes";
	why = check(all, &p);
	if (!why)
		all->at[all->n++] = p;
	return why;
}

void list_patches_read(const char *text, struct list_patches *ret_patches)
{
	const char *why = NULL;
	size_t len;

	*ret_patches = (struct list_patches){0};
	for (; *text && !why; text += len + (text[len] == ' ')) {
		len = strcspn(text, " ");
		why = read_word(text, len, ret_patches);
	}
	if (why)
		*ret_patches = (struct list_patches){.unusable = why};
}

const struct list_patch *list_patches_find(
	const struct list_patches *patches, const char *key, const struct digest *old)
{
	for (unsigned i = 0; i < patches->n; i++)
		if (strcmp(patches->at[i].key, key) == 0 && digest_equal(&patches->at[i].old, old))
			return &patches->at[i];
	return NULL;
}

/* ---- writing ---- */

void list_patches_add(struct list_patches *patches, const struct list_patch *patch)
{
	struct list_patch *p = &patches->at[patches->n];

	assert(patches->n < LIST_PATCHES_MAX);
	*p = *patch;
	p->key = find_key(patch->key, strlen(patch->key));
	assert(p->key);
	patches->n++;
}

int list_patches_write(const struct list_patches *patches, struct buf *out)
{
	int r = 0;

	for (unsigned i = 0; i < patches->n && r == 0; i++) {
		const struct list_patch *p = &patches->at[i];
		char old[DIGEST_HEX_MAX], patch[DIGEST_HEX_MAX];

		digest_to_hex(&p->old, old);
		digest_to_hex(&p->patch, patch);
		r = buf_printf(out, "%s%s,%" PRIu64 ",%s,%" PRIu64 ",%" PRIu64 ",%s",
			i > 0 ? " " : "", p->key, p->list_bytes, old, p->old_bytes, p->patch_bytes,
			patch);
	}
	return r;
}
