/*
 * test_kernel_choice: which kernel files stay.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "metadata-gen/kernel_choice.h"

static struct rootfs_tree *tree_of(const char *const *paths)
{
	struct rootfs_tree *tree = rootfs_tree_new("/");

	assert_non_null(tree);
	for (; *paths; paths++) {
		struct rootfs_node *node = rootfs_node_new(tree, ROOTFS_FILE);

		assert_non_null(node);
		assert_int_equal(rootfs_tree_add(tree, *paths, node, NULL), 0);
	}
	return tree;
}

static enum rootfs_fate fate(const struct rootfs_tree *tree, const char *path)
{
	const struct rootfs_entry *e = rootfs_tree_find(tree, path);

	assert_non_null(e);
	return e->fate;
}

static void the_newest_version_stays_by_number_not_by_text(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = tree_of((const char *[]){
		"/boot/vmlinuz-5.15.0-100-generic", "/boot/initrd.img-5.15.0-100-generic",
		"/boot/config-5.15.0-100-generic", "/boot/vmlinuz-5.15.0-99-generic",
		"/boot/initrd.img-5.15.0-99-generic", "/boot/System.map-5.15.0-99-generic",
		"/boot/memtest86", "/usr/vmlinuz-5.15.0-99-generic", NULL});

	assert_int_equal(kernel_choice_apply(tree, KERNEL_NEWEST, NULL), 0);
	assert_int_equal(fate(tree, "/boot/vmlinuz-5.15.0-100-generic"), FATE_LISTED);
	assert_int_equal(fate(tree, "/boot/initrd.img-5.15.0-100-generic"), FATE_LISTED);
	/* Kept although there is no System.map beside it. */
	assert_int_equal(fate(tree, "/boot/config-5.15.0-100-generic"), FATE_LISTED);
	assert_int_equal(fate(tree, "/boot/vmlinuz-5.15.0-99-generic"), FATE_OLD_KERNEL);
	assert_int_equal(fate(tree, "/boot/initrd.img-5.15.0-99-generic"), FATE_OLD_KERNEL);
	assert_int_equal(fate(tree, "/boot/System.map-5.15.0-99-generic"), FATE_OLD_KERNEL);
	assert_int_equal(fate(tree, "/boot/memtest86"), FATE_LISTED);
	assert_int_equal(fate(tree, "/usr/vmlinuz-5.15.0-99-generic"), FATE_LISTED);
}

static void without_a_choice_all_kernels_stay(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = tree_of((const char *[]){
		"/boot/vmlinuz-5.15.0-100-generic", "/boot/vmlinuz-5.15.0-99-generic", NULL});

	assert_int_equal(kernel_choice_apply(tree, KERNEL_ALL, NULL), 0);
	assert_int_equal(fate(tree, "/boot/vmlinuz-5.15.0-99-generic"), FATE_LISTED);
}

static void a_tree_without_a_kernel_is_refused_only_on_request(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree =
		tree_of((const char *[]){"/etc/hosts", "/boot/vmlinuz-custom", NULL});
	struct ota_err err = {0};

	assert_int_equal(kernel_choice_apply(tree, KERNEL_NEWEST_IF_ANY, &err), 0);
	assert_int_equal(kernel_choice_apply(tree, KERNEL_NEWEST, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "the tree has no file /boot/vmlinuz-<version>"));
}

static void a_kernel_without_initrd_is_refused(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = tree_of((const char *[]){
		"/boot/vmlinuz-6.1.0-13-amd64", "/boot/initrd.img-6.1.0-12-amd64", NULL});
	struct ota_err err = {0};

	assert_int_equal(kernel_choice_apply(tree, KERNEL_NEWEST, &err), -ENOENT);
	assert_string_equal(err.msg, "The newest kernel /boot/vmlinuz-6.1.0-13-amd64 has no "
				     "/boot/initrd.img-6.1.0-13-amd64");
}

static void with_extlinux_the_tree_has_chosen_already(void **state)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree =
		tree_of((const char *[]){"/boot/extlinux/extlinux.conf",
			"/boot/vmlinuz-5.10.1-1-tegra", "/boot/vmlinuz-5.10.1-2-tegra", NULL});

	assert_int_equal(kernel_choice_apply(tree, KERNEL_NEWEST, NULL), 0);
	assert_int_equal(fate(tree, "/boot/vmlinuz-5.10.1-1-tegra"), FATE_LISTED);
}

static void a_backup_copy_is_not_newer_than_its_original(void **state)
{
	assert_true(kernel_release_compare("5.15.0-100-generic", "5.15.0-100-generic.bak") > 0);
	assert_true(kernel_release_compare("5.15.0-9-x", "5.15.0-10-x") < 0);
	assert_true(kernel_release_compare("6.0.0-1-x", "5.99.99-99-x") > 0);
	assert_int_equal(kernel_release_compare("6.0.0-1-x", "6.0.0-1-x"), 0);
}

static void only_names_of_the_four_kinds_have_a_release(void **state)
{
	assert_string_equal(kernel_release_of("config-6.1.0-13-amd64"), "6.1.0-13-amd64");
	assert_string_equal(
		kernel_release_of("vmlinuz-6.5.0-060500rc1-generic"), "6.5.0-060500rc1-generic");
	assert_null(kernel_release_of("vmlinuz-6.1.0-13"));
	assert_null(kernel_release_of("vmlinuz-a.b.c-d-e"));
	assert_null(kernel_release_of("vmlinuz.old"));
	assert_null(kernel_release_of("grub-6.1.0-13-amd64"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_version_stays_by_number_not_by_text),
		cmocka_unit_test(without_a_choice_all_kernels_stay),
		cmocka_unit_test(a_tree_without_a_kernel_is_refused_only_on_request),
		cmocka_unit_test(a_kernel_without_initrd_is_refused),
		cmocka_unit_test(with_extlinux_the_tree_has_chosen_already),
		cmocka_unit_test(a_backup_copy_is_not_newer_than_its_original),
		cmocka_unit_test(only_names_of_the_four_kinds_have_a_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
