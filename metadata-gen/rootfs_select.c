/*
 * rootfs_select: what goes into the image. Contract: rootfs_select.h.
 */
#include "metadata-gen/rootfs_select.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/path.h"
#include "common/image/list_text.h"
#include "common/image/utf8.h"

/* Is this inside /dev, /proc, … ? */
static bool is_runtime_content(const char *image_path)
{
	const char *slash = strchr(image_path + 1, '/');

	return slash && rootfs_is_runtime_dir(image_path, (size_t)(slash - image_path));
}

enum rootfs_fate rootfs_fate_of(const struct rootfs_tree *tree, const struct rootfs_entry *entry,
	const struct ignore_rules *rules)
{
	const char *p = entry->image_path;
	bool is_file = entry->node->kind == ROOTFS_FILE;

	if (strncmp(p, "/.ota-", 6) == 0)
		return FATE_OTA_STORE;
	if (strcmp(p, "/.dockerenv") == 0 || strcmp(p, "/run/.containerenv") == 0)
		return FATE_CONTAINER_MARK;
	if (is_runtime_content(p))
		return FATE_RUNTIME;
	if (entry->node->kind == ROOTFS_SPECIAL)
		return FATE_SPECIAL;
	if (entry->node->kind == ROOTFS_SYMLINK)
		is_file = rootfs_tree_leads_to_file(tree, entry->path);
	return ignore_rules_match(rules, entry->path, is_file) ? FATE_IGNORED : FATE_LISTED;
}

static int refuse(const struct rootfs_entry *e, const char *what, const char *why, size_t n_more,
	struct ota_err *err)
{
	char name[UTF8_SHOW_MAX];
	char more[64] = "";

	if (n_more > 0)
		snprintf(more, sizeof(more), " (and %zu more such names)", n_more);
	return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC, "An image cannot carry %s %s: %s%s",
		what, utf8_show(e->image_path, strlen(e->image_path), name), why, more);
}

/* Why the format cannot carry an entry, and what of it; NULL if it can. */
static const char *cannot_carry(const struct rootfs_entry *e, const char **ret_what)
{
	const char *why = list_text_cannot_carry(e->image_path, strlen(e->image_path));

	*ret_what = "the name";
	if (!why && !path_is_canonical(e->image_path, strlen(e->image_path)))
		why = "the path is too long";
	if (!why && e->node->kind == ROOTFS_SYMLINK) {
		*ret_what = "the target of the link";
		why = list_text_cannot_carry(e->node->target, strlen(e->node->target));
	}
	return why;
}

static int check_names(const struct rootfs_tree *tree, struct ota_err *err)
{
	const struct rootfs_entry *first = NULL;
	const char *first_why = NULL, *first_what = NULL;
	size_t n = 0;

	for (size_t i = 0; i < tree->n_entries; i++) {
		const struct rootfs_entry *e = tree->entries[i];
		const char *what, *why;

		if (e->fate != FATE_LISTED)
			continue;
		if (e->node->errnum < 0)
			return ota_err_wrap(err, e->node->errnum, "Cannot read %s", e->path);
		why = cannot_carry(e, &what);
		if (why && n++ == 0) {
			first = e;
			first_why = why;
			first_what = what;
		}
	}
	return n > 0 ? refuse(first, first_what, first_why, n - 1, err) : 0;
}

static struct text text_of(const char *t)
{
	return (struct text){.at = t, .len = (uint32_t)strlen(t)};
}

/* Count an entry and keep the first names. */
static void note(size_t *n, const char **first, const struct rootfs_entry *e)
{
	if (*n < SELECT_NAMES_SHOWN)
		first[*n] = e->image_path;
	++*n;
}

static void report(struct select_report *rep, const struct rootfs_tree *tree)
{
	for (size_t i = 0; i < tree->n_entries; i++) {
		const struct rootfs_entry *e = tree->entries[i];

		note(&rep->left[e->fate].n, rep->left[e->fate].first, e);
		if (e->fate != FATE_LISTED)
			continue;
		if (e->node->kind == ROOTFS_SYMLINK &&
			!list_text_symlink_is_portable(
				text_of(e->image_path), text_of(e->node->target)))
			note(&rep->n_awkward_links, rep->first_awkward, e);
		if (e->node->lost_xattr)
			note(&rep->n_lost_xattrs, rep->first_lost, e);
	}
}

/* Groups are numbered by their first name, so that equal trees get equal numbers. */
static void number_groups(struct rootfs_tree *tree)
{
	uint64_t group_no = 0;

	for (size_t i = 0; i < tree->n_entries; i++) {
		struct rootfs_entry *e = tree->entries[i];

		if (e->fate == FATE_LISTED && e->node->kind == ROOTFS_FILE)
			e->node->n_listed++;
	}
	for (size_t i = 0; i < tree->n_entries; i++) {
		struct rootfs_node *node = tree->entries[i]->node;

		if (tree->entries[i]->fate == FATE_LISTED && node->n_listed > 1 && !node->group_no)
			node->group_no = ++group_no;
	}
}

int rootfs_select(struct rootfs_tree *tree, const struct ignore_rules *rules,
	enum kernel_choice kernels, struct select_report *ret_report, struct ota_err *err)
{
	int r;

	for (size_t i = 0; i < tree->n_entries; i++)
		tree->entries[i]->fate = rootfs_fate_of(tree, tree->entries[i], rules);
	r = kernel_choice_apply(tree, kernels, err);
	if (r < 0)
		return r;
	r = check_names(tree, err);
	if (r < 0)
		return r;
	number_groups(tree);
	*ret_report = (struct select_report){0};
	report(ret_report, tree);
	return 0;
}

bool rootfs_is_served_by_name(const struct rootfs_entry *e)
{
	static const char releases[] = "/opt/ota/otaclient_release/";

	if (e->node->kind != ROOTFS_FILE || (e->fate != FATE_LISTED && e->fate != FATE_IGNORED))
		return false;
	return strncmp(e->image_path, releases, strlen(releases)) == 0 ||
	       strcmp(e->image_path, "/etc/nv_tegra_release") == 0;
}

static void show_names(size_t n, const char *const *first)
{
	char name[UTF8_SHOW_MAX];

	for (size_t i = 0; i < n && i < SELECT_NAMES_SHOWN; i++)
		fprintf(stderr, "%s %s", i == 0 ? ":" : ",",
			utf8_show(first[i], strlen(first[i]), name));
	fprintf(stderr, n > SELECT_NAMES_SHOWN ? ", ...\n" : "\n");
}

void select_report_show(const struct select_report *rep)
{
	static const char *const words[FATE_COUNT] = {
		[FATE_IGNORED] = "left out by the ignore file",
		[FATE_OLD_KERNEL] = "left out as older kernels",
		[FATE_CONTAINER_MARK] = "left out as marks of a container",
		[FATE_RUNTIME] = "left out as content of /dev, /proc, /sys, /run, /tmp",
		[FATE_SPECIAL] = "left out as special files, which images cannot carry",
		[FATE_OTA_STORE] = "left out as the OTA client's own, /.ota-*",
	};

	for (int fate = 0; fate < FATE_COUNT; fate++) {
		if (!words[fate] || rep->left[fate].n == 0)
			continue;
		fprintf(stderr, "metadata_gen: %zu %s %s", rep->left[fate].n,
			rep->left[fate].n == 1 ? "name" : "names", words[fate]);
		show_names(rep->left[fate].n, rep->left[fate].first);
	}
	if (rep->n_awkward_links > 0) {
		fprintf(stderr,
			"metadata_gen: warning: clients before 4.0 cannot read an image with a "
			"link "
			"whose name ends in ' or whose target begins with ,' (%zu here)",
			rep->n_awkward_links);
		show_names(rep->n_awkward_links, rep->first_awkward);
	}
	if (rep->n_lost_xattrs > 0) {
		fprintf(stderr,
			"metadata_gen: warning: %zu %s with a capability of another user name "
			"space, "
			"which images cannot carry",
			rep->n_lost_xattrs, rep->n_lost_xattrs == 1 ? "name" : "names");
		show_names(rep->n_lost_xattrs, rep->first_lost);
	}
}
