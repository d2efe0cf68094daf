/*
 * patch_list: read and write patches.txt. Contract: patch_list.h; scanner: list_scan.h.
 *
 * The lines are sorted, which is checked: a pair that is there twice is then found by a look at the line before.
 */
#include "common/image/patch_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/image/list_scan.h"

/* A line, before the bases are told apart. */
struct line {
	struct patch patch;
	struct digest made;
	struct patch_base base;
};

struct reading {
	const struct file_table *table;
	struct line *lines;
	uint32_t n, cap;
	uint32_t n_same; /* lines so far for the content of the last one */
};

void patch_list_free(struct patch_list *list)
{
	if (!list)
		return;
	free(list->patches);
	free(list->first);
	free(list->bases);
	free(list);
}

void patch_list_freep(struct patch_list **list)
{
	patch_list_free(*list);
}

/* ---- a line ---- */

static int compare_digests(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static int scan_digest(struct scan *s, const char *what, struct digest *ret_digest)
{
	const size_t len = DIGEST_HEX_MAX - 1;

	if ((size_t)(s->end - s->at) < len || digest_from_lower_hex(s->at, len, ret_digest) < 0)
		return scan_expected(s, what);
	s->at += len;
	return 0;
}

static int scan_comma(struct scan *s)
{
	return scan_char(s, ',', "a comma");
}

static int scan_columns(struct scan *s, struct line *l)
{
	int r = scan_digest(s, "the digest of a content, in 64 lower-case hex digits", &l->made);

	if (r == 0)
		r = scan_comma(s);
	if (r == 0)
		r = scan_digest(s, "the digest of an older content, in 64 lower-case hex digits",
			&l->base.digest);
	if (r == 0)
		r = scan_comma(s);
	if (r == 0)
		r = scan_number(s, 10, PATCH_PAIR_MAX_BYTES, "the size of the older content",
			&l->base.size_bytes);
	if (r == 0)
		r = scan_comma(s);
	if (r == 0)
		r = scan_number(
			s, 10, PATCH_PAIR_MAX_BYTES, "the size of a patch", &l->patch.size_bytes);
	if (r == 0)
		r = scan_comma(s);
	if (r == 0)
		r = scan_digest(
			s, "the digest of a patch, in 64 lower-case hex digits", &l->patch.digest);
	return r == 0 ? scan_end(s) : r;
}

static int check_line(struct scan *s, const struct reading *rd, struct text shown, struct line *l)
{
	const struct content *content;

	l->patch.content = file_table_find_content(rd->table, &l->made);
	if (l->patch.content == FILE_TABLE_NONE)
		return scan_refuse(s, shown, "is no content of the image");
	content = &rd->table->contents[l->patch.content];
	if (content->size_bytes == CONTENT_SIZE_UNKNOWN)
		return scan_refuse(s, shown, "has no size in the image's list of files");
	if (l->base.size_bytes == 0 ||
		content->size_bytes > PATCH_PAIR_MAX_BYTES - l->base.size_bytes)
		return scan_refuse(s, shown, "has a base that is empty or too large");
	if (l->patch.size_bytes == 0 || l->patch.size_bytes >= content->size_bytes)
		return scan_refuse(s, shown, "has a patch that is empty or larger than itself");
	return 0;
}

/* Behind the line before? */
static int check_order(struct scan *s, struct reading *rd, struct text shown, const struct line *l)
{
	const struct line *last = rd->n > 0 ? &rd->lines[rd->n - 1] : NULL;
	int order = last ? compare_digests(&last->made, &l->made) : -1;

	rd->n_same = order == 0 ? rd->n_same + 1 : 1;
	if (order > 0 || (order == 0 && compare_digests(&last->base.digest, &l->base.digest) >= 0))
		return scan_refuse(s, shown,
			"is out of order; lines are sorted by content and older content, each pair "
			"once");
	if (rd->n_same > PATCHES_PER_CONTENT_MAX)
		return scan_refuse(s, shown, "has more patches than are allowed");
	return 0;
}

static int read_line(struct scan *s, void *ctx)
{
	struct text shown = {s->at, DIGEST_HEX_MAX - 1};
	struct reading *rd = ctx;
	struct line l = {0};
	int r = scan_columns(s, &l);

	if (r == 0)
		r = check_line(s, rd, shown, &l);
	if (r == 0)
		r = check_order(s, rd, shown, &l);
	if (r < 0)
		return r;
	r = array_grow(&rd->lines, sizeof(*rd->lines), rd->n, &rd->cap);
	if (r < 0)
		return scan_table_failed(s, r);
	rd->lines[rd->n++] = l;
	return 0;
}

/* ---- the list ---- */

static int compare_lines_by_base(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	return compare_digests(&x->base.digest, &y->base.digest);
}

/* By index, which is the order of the table. */
static int compare_lines_by_content(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->patch.content != y->patch.content)
		return x->patch.content < y->patch.content ? -1 : 1;
	return compare_lines_by_base(a, b);
}

/* Give each base a number. -EBADMSG: one has two sizes. */
static int number_bases(struct reading *rd, struct patch_list *list)
{
	qsort(rd->lines, rd->n, sizeof(*rd->lines), compare_lines_by_base);
	for (uint32_t i = 0; i < rd->n; i++) {
		struct line *l = &rd->lines[i];
		struct patch_base *last =
			list->n_bases > 0 ? &list->bases[list->n_bases - 1] : NULL;

		if (!last || !digest_equal(&last->digest, &l->base.digest))
			list->bases[list->n_bases++] = l->base;
		else if (last->size_bytes != l->base.size_bytes)
			return -EBADMSG;
		l->patch.base = list->n_bases - 1;
	}
	return 0;
}

static void sort_patches(struct reading *rd, struct patch_list *list)
{
	uint32_t next = 0;

	qsort(rd->lines, rd->n, sizeof(*rd->lines), compare_lines_by_content);
	for (uint32_t i = 0; i < rd->n; i++)
		list->patches[i] = rd->lines[i].patch;
	for (uint32_t c = 0; c <= rd->table->n_contents; c++) {
		while (next < rd->n && list->patches[next].content < c)
			next++;
		list->first[c] = next;
	}
	list->n_patches = rd->n;
}

static int make_list(struct reading *rd, struct patch_list **ret_list)
{
	AUTO_PATCH_LIST struct patch_list *list = calloc(1, sizeof(*list));
	int r;

	if (!list)
		return -ENOMEM;
	list->patches = calloc((size_t)rd->n + 1, sizeof(*list->patches));
	list->bases = calloc((size_t)rd->n + 1, sizeof(*list->bases));
	list->first = calloc((size_t)rd->table->n_contents + 1, sizeof(*list->first));
	if (!list->patches || !list->bases || !list->first)
		return -ENOMEM;
	if (rd->n > 0) {
		r = number_bases(rd, list);
		if (r < 0)
			return r;
		sort_patches(rd, list);
	}
	*ret_list = TAKE_PTR(list);
	return 0;
}

int patch_list_read(const char *text, size_t len_bytes, const char *name,
	const struct file_table *t, struct patch_list **ret_list, struct ota_err *err)
{
	struct reading rd = {.table = t};
	struct scan s = {.list = name, .err = err};
	int r = scan_lines(&s, text, len_bytes, read_line, &rd);

	if (r == 0) {
		r = make_list(&rd, ret_list);
		if (r == -EBADMSG)
			ota_err_set(err, r, OTA_E_OTA_IMAGE_INVALID,
				"%s gives an older content two sizes", name);
		else if (r < 0)
			ota_err_no_memory(err, name);
	}
	free(rd.lines);
	return r;
}

uint32_t patch_list_find_base(const struct patch_list *list, const struct digest *digest)
{
	uint32_t low = 0, high = list->n_bases;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare_digests(&list->bases[middle].digest, digest);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return FILE_TABLE_NONE;
}

int patch_list_write(struct buf *b, const struct digest *made, const struct patch_base *base,
	uint64_t patch_bytes, const struct digest *patch)
{
	char made_hex[DIGEST_HEX_MAX], base_hex[DIGEST_HEX_MAX], patch_hex[DIGEST_HEX_MAX];

	digest_to_hex(made, made_hex);
	digest_to_hex(&base->digest, base_hex);
	digest_to_hex(patch, patch_hex);
	return buf_printf(b, "%s,%s,%" PRIu64 ",%" PRIu64 ",%s", made_hex, base_hex,
		base->size_bytes, patch_bytes, patch_hex);
}

void patch_name(const struct digest *made, const struct digest *base, char ret_name[PATCH_NAME_MAX])
{
	char made_hex[DIGEST_HEX_MAX], base_hex[DIGEST_HEX_MAX];

	digest_to_hex(made, made_hex);
	digest_to_hex(base, base_hex);
	snprintf(ret_name, PATCH_NAME_MAX, "%s.%s.zst", made_hex, base_hex);
}
