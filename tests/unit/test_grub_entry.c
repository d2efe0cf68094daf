/* grub_entry: the menu entry of a slot, out of what grub-mkconfig prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot-controllers/grub/grub_entry.h"
#include "common/base/cleanup.h"

static const struct grub_entry_wish wish = {
	.slot_id = "ota-slot_b",
	.kernel_version = "6.1.0-18-amd64",
	.root_uuid = "1111-22",
	.boot_uuid = "b00t",
};

/* Before the kernel is loaded. */
/* clang-format off */
#define GUARD \
	"set ota_whole=\n" \
	"\tif [ -s /ota-slot_b/vmlinuz-6.1.0-18-amd64 -a -s /ota-slot_b/initrd.img-6.1.0-18-amd64 ]; then " \
		"set ota_whole=y; fi\n" \
	"\tif [ -n \"${ota_whole}\" -a \"${ota_slots}\" = \"ab\" -a \"${lockdown}\" != \"y\" -a \"${shim_lock}\" != \"y\" " \
		"-a -s /ota-slot_b/kernel.sha256 -a -f $prefix/$grub_cpu-$grub_platform/hashsum.mod ]; then\n" \
	"\t\tinsmod hashsum\n" \
	"\t\tif hashsum --hash sha256 /ota-slot_b/kernel.sha256; then\n" \
	"\t\t\tif ! hashsum --hash sha256 --prefix /ota-slot_b --check /ota-slot_b/kernel.sha256; then " \
		"set ota_whole=; fi\n" \
	"\t\tfi\n" \
	"\tfi\n\t"
/* clang-format on */
#define LAST_LINE                                                                                \
	"\tif [ -n \"${ota_whole}\" ]; then echo 'Booting from ota-slot_b ...'; else echo 'The " \
	"kernel or "                                                                             \
	"initrd of ota-slot_b is not whole'; fi\n"
#define IF_WHOLE      "if [ -n \"${ota_whole}\" ]; then "
#define OR_START_OVER "; then sleep 10; reboot; fi; fi"

/* As Debian's grub-mkconfig prints it, shortened. */
static const char mkconfig[] =
	"function gfxmode {\n\tset gfxpayload=\"${1}\"\n}\n"
	"# a comment with menuentry 'x' {\n"
	"menuentry 'Debian' --class os $menuentry_id_option 'gnulinux-simple' {\n"
	"\tlinux\t/vmlinuz-5.10.0-9-amd64 root=/dev/sda3 ro\n"
	"}\n"
	"submenu 'Advanced' $menuentry_id_option 'adv' {\n"
	"\tmenuentry 'Debian, with Linux 6.1.0-18-amd64 (recovery mode)' $menuentry_id_option "
	"'rec' {\n"
	"\t\tlinux /vmlinuz-6.1.0-18-amd64 root=UUID=old ro single\n"
	"\t\tinitrd /initrd.img-6.1.0-18-amd64\n"
	"\t}\n"
	"\tmenuentry 'Debian, it'\\''s 6.1' --class os $menuentry_id_option 'gnulinux-6.1' {\n"
	"\t\tif [ x$grub_platform = xxen ]; then insmod xzio; fi\n"
	"\t\tset x='{' # }\n"
	"\t\tsearch --no-floppy --fs-uuid --set=root b00t\n"
	"\t\tlinux\t/vmlinuz-6.1.0-18-amd64 root=PARTUUID=77 ro quiet root=/dev/sda9\n"
	"\t\tif true; then { echo ${a}; } fi\n"
	"\t\tinitrd\t/intel-ucode.img /initrd.img-6.1.0-18-amd64\n"
	"\t}\n"
	"}\n";

static void the_entry_of_the_kernel_becomes_the_slots(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};

	assert_int_equal(grub_entry_from_mkconfig(mkconfig, strlen(mkconfig), &wish, &b, &err), 0);
	assert_string_equal(buf_str(&b),
		"menuentry 'ota-slot_b' --class os $menuentry_id_option 'ota-slot_b' {\n"
		"\t\tif [ x$grub_platform = xxen ]; then insmod xzio; fi\n"
		"\t\tset x='{' # }\n"
		"\t\tsearch --no-floppy --fs-uuid --set=root b00t\n"
		"\t\t" GUARD IF_WHOLE "linux\t/ota-slot_b/vmlinuz-6.1.0-18-amd64 root=UUID=1111-22 "
		"ro quiet  panic=10; fi\n"
		"\t\tif true; then { echo ${a}; } fi\n"
		"\t\t" IF_WHOLE "if ! initrd\t/ota-slot_b/intel-ucode.img "
		"/ota-slot_b/initrd.img-6.1.0-18-amd64" OR_START_OVER "\n" LAST_LINE "\t}\n");
}

static void assert_entry(const char *in, const char *want)
{
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};

	assert_int_equal(grub_entry_from_mkconfig(in, strlen(in), &wish, &b, &err), 0);
	assert_string_equal(buf_str(&b), want);
}

static void what_is_missing_is_added(void **state)
{
	assert_entry(
		"menuentry x {\nlinux16 (hd0,1)/boot/vmlinuz-6.1.0-18-amd64\ninitrd16 \"/a b\"; }",
		"menuentry 'ota-slot_b' $menuentry_id_option 'ota-slot_b' {\n"
		"insmod part_msdos\n\tinsmod part_gpt\n\tinsmod ext2\n"
		"\tsearch --no-floppy --fs-uuid --set=root b00t\n"
		"\t" GUARD IF_WHOLE "linux16 /ota-slot_b/vmlinuz-6.1.0-18-amd64 root=UUID=1111-22 "
		"panic=10; fi\n" IF_WHOLE "if ! initrd16 \"/ota-slot_b/a b\"" OR_START_OVER
		";\n" LAST_LINE " }\n");
}

static void paths_are_prefixed_once(void **state)
{
	AUTO_BUF struct buf once = {0}, twice = {0};

	assert_int_equal(
		grub_entry_from_mkconfig(mkconfig, strlen(mkconfig), &wish, &once, NULL), 0);
	assert_int_equal(
		grub_entry_from_mkconfig(once.data, once.len_bytes, &wish, &twice, NULL), 0);
	assert_null(strstr(buf_str(&twice), "ota-slot_b/ota-slot_b"));
	assert_non_null(
		strstr(buf_str(&twice), " /ota-slot_b/initrd.img-6.1.0-18-amd64" OR_START_OVER));
}

static void assert_fails(const char *in, int r, const char *why)
{
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};

	assert_int_equal(grub_entry_from_mkconfig(in, strlen(in), &wish, &b, &err), r);
	assert_non_null(strstr(err.msg, why));
	assert_int_equal(b.len_bytes, 0);
}

static void an_absent_or_broken_entry_is_an_error(void **state)
{
	AUTO_BUF struct buf deep = {0};

	assert_fails("", -ENOENT, "no menu entry that boots vmlinuz-6.1.0-18-amd64");
	assert_fails(
		"menuentry 'a' {\nlinux /vmlinuz-6.1.0-18-amd64-rt\n}\n", -ENOENT, "no menu entry");
	assert_fails("menuentry 'a' {\nlinux /vmlinuz-6.1.0-18-amd64\n", -EBADMSG, "never closed");
	assert_fails(
		"menuentry 'a {\nlinux /vmlinuz-6.1.0-18-amd64\n}\n", -EBADMSG, "never closed");
	assert_fails("menuentry {\nlinux /vmlinuz-6.1.0-18-amd64\n}\n", -EBADMSG, "not of the usual form");
	assert_int_equal(buf_puts(&deep, "menuentry 'a' "), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_puts(&deep, "{ "), 0);
	assert_fails(buf_str(&deep), -E2BIG,
		"Braces go deeper than 64 or a command has more than 512 words");
}

static void a_quote_inside_a_path_is_not_cut_in_two(void **state)
{
	assert_fails("menuentry 'a' {\nlinux a'b/vmlinuz-6.1.0-18-amd64'\n}\n", -ENOENT,
		"no menu entry");
	assert_entry("menuentry 'a' {\nsearch b00t\nlinux /vmlinuz-6.1.0-18-amd64 root=1 panic=1\n"
		     "initrd a'b/c' ${x/y}/z /d\n}\n",
		"menuentry 'ota-slot_b' $menuentry_id_option 'ota-slot_b' {\nsearch b00t\n" GUARD
			IF_WHOLE
		"linux /ota-slot_b/vmlinuz-6.1.0-18-amd64 root=UUID=1111-22 panic=1; fi\n" IF_WHOLE
		"if ! initrd a'b/c' ${x/y}/z /ota-slot_b/d" OR_START_OVER "\n" LAST_LINE "}\n");
}

static void an_entry_tells_what_it_boots(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct grub_entry_info info;

	assert_int_equal(grub_entry_from_mkconfig(mkconfig, strlen(mkconfig), &wish, &b, NULL), 0);
	assert_int_equal(grub_entry_read(b.data, b.len_bytes, &info, NULL), 0);
	assert_string_equal(info.kernel, "/ota-slot_b/vmlinuz-6.1.0-18-amd64");
	assert_string_equal(info.initrd, "/ota-slot_b/initrd.img-6.1.0-18-amd64");
	assert_string_equal(info.root_uuid, "1111-22");
	assert_int_equal(grub_entry_read("set x=1\n", 8, &info, NULL), -ENOENT);
}

static void a_root_without_grub_mkconfig_gets_a_plain_entry(void **state)
{
	AUTO_BUF struct buf b = {0}, same = {0};
	struct grub_entry_info info;

	assert_int_equal(grub_entry_plain(&wish, "quiet\nsplash", &b, NULL), 0);
	assert_string_equal(buf_str(&b),
		"# Made without grub-mkconfig, which this slot's root does not have.\n"
		"menuentry 'ota-slot_b' --class gnu-linux --class gnu --class os "
		"$menuentry_id_option 'ota-slot_b' {\n"
		"\tinsmod gzio\n"
		"\techo\t'Loading Linux 6.1.0-18-amd64 ...'\n"
		"\tinsmod part_msdos\n\tinsmod part_gpt\n\tinsmod ext2\n"
		"\tsearch --no-floppy --fs-uuid --set=root b00t\n"
		"\t" GUARD IF_WHOLE "linux\t/ota-slot_b/vmlinuz-6.1.0-18-amd64 "
		"root=UUID=1111-22 ro quiet splash panic=10; fi\n"
		"\techo\t'Loading initial ramdisk ...'\n"
		"\t" IF_WHOLE "if ! initrd\t/ota-slot_b/initrd.img-6.1.0-18-amd64" OR_START_OVER
		"\n" LAST_LINE "}\n");
	assert_int_equal(grub_entry_read(b.data, b.len_bytes, &info, NULL), 0);
	assert_string_equal(info.root_uuid, "1111-22");
	assert_int_equal(grub_entry_from_mkconfig(b.data, b.len_bytes, &wish, &same, NULL), 0);
}

static void arguments_that_are_no_words_are_refused(void **state)
{
	static const char *const bad[] = {"say 'x", "{", "a \"b"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		AUTO_BUF struct buf b = {0};
		struct ota_err err = {0};

		assert_int_equal(grub_entry_plain(&wish, bad[i], &b, &err), -EBADMSG);
		assert_non_null(strstr(
			err.msg, "The kernel's arguments of /etc/default/grub cannot be used: "));
		assert_int_equal(b.len_bytes, 0);
	}
}

static void an_entry_of_the_older_layout_is_taken_over(void **state)
{
	static const char old[] =
		"menuentry 'Ubuntu' --class ubuntu $menuentry_id_option 'simple' {\n"
		"\tlinux\t/vmlinuz-ota root=UUID=a ro quiet\n"
		"\tinitrd\t/early.img /initrd.img-ota\n"
		"}\n";
	AUTO_BUF struct buf b = {0};

	assert_int_equal(
		grub_entry_from_legacy(old, strlen(old), "vmlinuz-ota", &wish, &b, NULL), 0);
	assert_non_null(strstr(buf_str(&b), "linux\t/ota-slot_b/vmlinuz-6.1.0-18-amd64 "
					    "root=UUID=1111-22 ro quiet panic=10; fi\n"));
	assert_non_null(strstr(
		buf_str(&b), "initrd\t/ota-slot_b/initrd.img-6.1.0-18-amd64 " OR_START_OVER "\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_entry_of_the_kernel_becomes_the_slots),
		cmocka_unit_test(what_is_missing_is_added),
		cmocka_unit_test(paths_are_prefixed_once),
		cmocka_unit_test(an_absent_or_broken_entry_is_an_error),
		cmocka_unit_test(a_quote_inside_a_path_is_not_cut_in_two),
		cmocka_unit_test(an_entry_tells_what_it_boots),
		cmocka_unit_test(a_root_without_grub_mkconfig_gets_a_plain_entry),
		cmocka_unit_test(arguments_that_are_no_words_are_refused),
		cmocka_unit_test(an_entry_of_the_older_layout_is_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
