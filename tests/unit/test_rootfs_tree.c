/*
 * test_rootfs_tree: names, objects and attributes of a tree in the making.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/hex.h"
#include "metadata-gen/rootfs_tree.h"

static struct rootfs_node *add(struct rootfs_tree *tree, enum rootfs_kind kind, const char *path)
{
	struct rootfs_node *node = rootfs_node_new(tree, kind);

	assert_non_null(node);
	assert_int_equal(rootfs_tree_add(tree, path, node, NULL), 0);
	return node;
}

static void add_link(struct rootfs_tree *tree, const char *path, const char *target)
{
	add(tree, ROOTFS_SYMLINK, path)->target = target;
}

static void links_are_followed_within_the_tree(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");

	add(tree, ROOTFS_DIR, "/usr");
	add(tree, ROOTFS_DIR, "/usr/bin");
	add(tree, ROOTFS_FILE, "/usr/bin/sh");
	add_link(tree, "/bin", "usr/bin");
	add_link(tree, "/relative", "bin/sh");
	add_link(tree, "/absolute", "/bin/../bin/./sh");
	add_link(tree, "/usr/up", "../../../bin/sh");
	add_link(tree, "/to-dir", "/usr//bin/");
	add_link(tree, "/dangling", "/etc/passwd");
	add_link(tree, "/loop", "loop");
	add_link(tree, "/ping", "pong");
	add_link(tree, "/pong", "ping");
	assert_true(rootfs_tree_leads_to_file(tree, "/relative"));
	assert_true(rootfs_tree_leads_to_file(tree, "/absolute"));
	assert_true(rootfs_tree_leads_to_file(tree, "/usr/up"));
	assert_true(rootfs_tree_leads_to_file(tree, "/usr/bin/sh"));
	assert_false(rootfs_tree_leads_to_file(tree, "/to-dir"));
	/* The machine that builds has an /etc/passwd; the tree has none. */
	assert_false(rootfs_tree_leads_to_file(tree, "/dangling"));
	assert_false(rootfs_tree_leads_to_file(tree, "/loop"));
	assert_false(rootfs_tree_leads_to_file(tree, "/ping"));
}

static void entries_are_sorted_by_bytes_with_parents_first(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");
	static const char *const want[] = {"/a", "/a-b", "/a.b/c", "/a/b", "/ab", "/\xc3\xa4"};
	static const char *const given[] = {"/\xc3\xa4", "/ab", "/a.b/c", "/a/b", "/a", "/a-b"};

	for (size_t i = 0; i < ARRAY_SIZE(given); i++)
		add(tree, ROOTFS_FILE, given[i]);
	rootfs_tree_sort(tree);
	assert_int_equal(tree->n_entries, ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		assert_string_equal(tree->entries[i]->path, want[i]);
}

static void a_dropped_folder_takes_everything_below_along(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");

	add(tree, ROOTFS_DIR, "/a");
	add(tree, ROOTFS_FILE, "/a/b");
	add(tree, ROOTFS_FILE, "/ab");
	rootfs_tree_drop(tree, rootfs_tree_find(tree, "/a"));
	assert_null(rootfs_tree_find(tree, "/a"));
	assert_null(rootfs_tree_find(tree, "/a/b"));
	assert_non_null(rootfs_tree_find(tree, "/ab"));
	add(tree, ROOTFS_FILE, "/a");
	rootfs_tree_sort(tree);
	assert_int_equal(tree->n_entries, 2);
}

static void a_prefix_goes_into_image_paths_only(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/opt/tree");

	add(tree, ROOTFS_FILE, "/etc/hosts");
	assert_string_equal(tree->entries[0]->path, "/etc/hosts");
	assert_string_equal(tree->entries[0]->image_path, "/opt/tree/etc/hosts");
	assert_non_null(rootfs_tree_find(tree, "/etc/hosts"));
}

/* What becomes of a capability given in hex; NULL if it is not carried. */
static const struct rootfs_xattr *carry_capability(struct rootfs_tree *tree, const char *hex)
{
	struct rootfs_node *node = rootfs_node_new(tree, ROOTFS_FILE);
	uint8_t value[32];
	size_t len = strlen(hex) / 2;

	assert_int_equal(hex_decode(hex, strlen(hex), value), 0);
	assert_true(
		rootfs_node_add_xattr(tree, node, "security.capability", value, len, NULL, 0) >= 0);
	assert_int_equal(node->lost_xattr, node->xattrs == NULL);
	return node->xattrs;
}

static void assert_capability(const struct rootfs_xattr *x, const char *want_hex)
{
	char hex[64];

	assert_non_null(x);
	assert_int_equal(x->len_bytes, 20);
	hex_encode(x->value, x->len_bytes, hex);
	assert_string_equal(hex, want_hex);
}

static void capabilities_become_revision_2(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");
	static const char v2[] = "0100000200040000000000000000000000000000";

	assert_capability(carry_capability(tree, v2), v2);
	assert_capability(
		carry_capability(tree, "010000030004000000000000000000000000000000000000"), v2);
	assert_capability(carry_capability(tree, "010000010004000000000000"), v2);
}

static void a_capability_of_another_name_space_is_lost(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");

	assert_null(carry_capability(tree, "0100000300040000000000000000000000000000e8030000"));
	assert_null(carry_capability(tree, "01000002"));
	assert_null(carry_capability(tree, ""));
}

static void attributes_are_sorted_and_the_later_value_counts(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");
	struct rootfs_node *node = rootfs_node_new(tree, ROOTFS_FILE);

	assert_int_equal(rootfs_node_add_xattr(tree, node, "user.b", "1", 1, NULL, 0), 1);
	assert_int_equal(rootfs_node_add_xattr(tree, node, "user.a", NULL, 0, NULL, 0), 1);
	assert_int_equal(rootfs_node_add_xattr(tree, node, "user.b", "22", 2, NULL, 0), 1);
	assert_string_equal(node->xattrs->name, "user.a");
	assert_int_equal(node->xattrs->len_bytes, 0);
	assert_string_equal(node->xattrs->next->name, "user.b");
	assert_memory_equal(node->xattrs->next->value, "22", 2);
	assert_null(node->xattrs->next->next);
}

static void other_attributes_are_carried_on_request_only(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new("/");
	struct rootfs_node *node = rootfs_node_new(tree, ROOTFS_FILE);
	const char *more[] = {"trusted.my"};

	assert_int_equal(rootfs_node_add_xattr(tree, node, "trusted.my.x", "1", 1, NULL, 0), 0);
	assert_int_equal(rootfs_node_add_xattr(tree, node, "security.ima", "1", 1, more, 1), 0);
	assert_int_equal(rootfs_node_add_xattr(tree, node, "trusted.my.x", "1", 1, more, 1), 1);
	assert_int_equal(rootfs_node_add_xattr(tree, node, "security.selinux", "1", 1, NULL, 0), 1);
	assert_int_equal(rootfs_node_add_xattr(tree, node, "user.bad\nname", "1", 1, NULL, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_are_followed_within_the_tree),
		cmocka_unit_test(entries_are_sorted_by_bytes_with_parents_first),
		cmocka_unit_test(a_dropped_folder_takes_everything_below_along),
		cmocka_unit_test(a_prefix_goes_into_image_paths_only),
		cmocka_unit_test(capabilities_become_revision_2),
		cmocka_unit_test(a_capability_of_another_name_space_is_lost),
		cmocka_unit_test(attributes_are_sorted_and_the_later_value_counts),
		cmocka_unit_test(other_attributes_are_carried_on_request_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
