/*
 * build_report: what a build says at its end. Contract: build.h.
 */
#include "metadata-gen/build.h"

#include <inttypes.h>
#include <stdio.h>

#include "metadata-gen/verbs.h"

static void show_damaged(uint64_t n, const char *what)
{
	if (n > 0)
		fprintf(stderr,
			"metadata_gen: warning: %" PRIu64
			" compressed content%s of the image %s %s damaged and made anew\n",
			n, verb_plural(n), what, n == 1 ? "was" : "were");
}

static void show_lost(uint64_t n, const char *what)
{
	if (n > 0)
		fprintf(stderr,
			"metadata_gen: warning: %" PRIu64
			" %s%s of the images to patch from %s missing or damaged, so no patch "
			"starts there\n",
			n, what, verb_plural(n), n == 1 ? "is" : "are");
}

static void show_warnings(const struct build *b, const struct blob_counts *counts)
{
	if (b->opt->reuse && !b->old.same_settings)
		fprintf(stderr,
			"metadata_gen: warning: compressed contents of the image to reuse, %s, are "
			"made anew: its compression is \"%s\", not \"%s\"\n",
			b->opt->reuse, b->old.settings, b->settings);
	if (b->opt->reuse)
		show_damaged(counts->n_refused[0], "to reuse");
	show_damaged(counts->n_refused[b->opt->reuse ? 1 : 0], "of before");
	show_lost(b->patches.n_unreadable, "content");
	show_lost(b->list_patches.n_unreadable, "list");
}

/* How many there are, and by which way their older contents were found. */
static void show_patches(const struct patches_result *p)
{
	static const char *const ways[PATCH_WAYS] = {
		[PATCH_WAY_PATH] = "the same path",
		[PATCH_WAY_VERSIONED] = "the same path but for version numbers",
		[PATCH_WAY_NAME] = "the same name in another folder",
		[PATCH_WAY_CONTENT] = "what has much in common",
	};

	printf("%" PRIu64 " patch%s with %" PRIu64 " byte%s, %" PRIu64 " taken over\n",
		p->n_patches, p->n_patches == 1 ? "" : "es", p->patch_bytes,
		verb_plural(p->patch_bytes), p->n_reused);
	for (unsigned i = 0; i < PATCH_WAYS; i++)
		if (p->by_way[i].n > 0)
			printf("  %" PRIu64 " from %s: %" PRIu64 " bytes in place of %" PRIu64 "\n",
				p->by_way[i].n, ways[i], p->by_way[i].patch_bytes,
				p->by_way[i].whole_bytes);
}

static void show_list_patches(const struct patch_sums *sums)
{
	if (sums->n > 0)
		printf("%" PRIu64 " patch%s of lists: %" PRIu64 " bytes in place of %" PRIu64 "\n",
			sums->n, sums->n == 1 ? "" : "es", sums->patch_bytes, sums->whole_bytes);
}

void build_report(const struct build *b)
{
	const struct image_lists *l = &b->lists;
	struct blob_counts counts;
	char hex[DIGEST_HEX_MAX];

	select_report_show(&b->report);
	blob_store_counts(b->store, &counts);
	show_warnings(b, &counts);
	digest_to_hex(&b->meta.jwt_digest, hex);
	printf("%s: %" PRIu64 " director%s, %" PRIu64 " link%s, %" PRIu64 " file%s with %" PRIu64
	       " byte%s; %" PRIu64 " content%s compressed, %" PRIu64 " taken over\n",
		b->folder.path, l->n_dirs, l->n_dirs == 1 ? "y" : "ies", l->n_symlinks,
		verb_plural(l->n_symlinks), l->n_files, verb_plural(l->n_files),
		l->total_size_bytes, verb_plural(l->total_size_bytes), counts.n_compressed,
		verb_plural(counts.n_compressed), counts.n_reused);
	if (b->patch_fd >= 0)
		show_patches(&b->patches);
	show_list_patches(&b->list_patches.sums);
	printf("identity %s\n", hex);
}
