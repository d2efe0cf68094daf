/* extlinux: the default entry of extlinux.conf, and the same file with another root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot-controllers/cboot/extlinux.h"
#include "common/base/cleanup.h"

static void becomes(const char *text, const char *want)
{
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	if (extlinux_set_root(text, strlen(text), "12-ab", &out, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(buf_str(&out), want);
}

static void refuses(const char *text, size_t len_bytes, const char *sentence)
{
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	assert_int_equal(extlinux_set_root(text, len_bytes, "12-ab", &out, &err), -EBADMSG);
	assert_string_equal(err.msg, sentence);
	assert_int_equal(out.len_bytes, 0);
}

static void every_root_of_an_append_line_is_replaced(void **state)
{
	becomes("LABEL a\n  APPEND ${cbootargs} root=/dev/mmcblk0p1 rw\n",
		"LABEL a\n  APPEND ${cbootargs} root=PARTUUID=12-ab rw\n");
	becomes("APPEND root=a\tquiet  root=LABEL=x",
		"APPEND root=PARTUUID=12-ab\tquiet  root=PARTUUID=12-ab");
	becomes("LABEL a\nappend root=\nLABEL b\nAPPEND x root=y",
		"LABEL a\nappend root=PARTUUID=12-ab\nLABEL b\nAPPEND x root=PARTUUID=12-ab");
}

static void a_line_without_a_root_gets_one(void **state)
{
	becomes("APPEND quiet\n", "APPEND quiet root=PARTUUID=12-ab\n");
	becomes("APPEND\nTIMEOUT 3", "APPEND root=PARTUUID=12-ab\nTIMEOUT 3");
	becomes("APPEND nfsroot=h:/x rootwait \r\nX\r\n",
		"APPEND nfsroot=h:/x rootwait root=PARTUUID=12-ab\r\nX\r\n");
}

static void other_lines_stay_as_they_are(void **state)
{
	becomes("# APPEND root=x\nMENU TITLE root=x \n\nAPPENDIX root=x\nAPPEND root=x\n",
		"# APPEND root=x\nMENU TITLE root=x \n\nAPPENDIX root=x\nAPPEND "
		"root=PARTUUID=12-ab\n");
}

static void what_is_no_menu_is_refused(void **state)
{
	static char big[EXTLINUX_MAX_BYTES + 1];

	refuses("", 0, "There is no APPEND line in it");
	refuses("LABEL a\nLINUX /boot/Image\n", 26, "There is no APPEND line in it");
	refuses("APPEND a\0b\n", 11, "There is a NUL in it");
	memset(big, 'x', sizeof(big));
	refuses(big, EXTLINUX_LINE_MAX_BYTES + 1, "Line 1 is longer than 4096 bytes");
	big[0] = '\n';
	refuses(big, EXTLINUX_LINE_MAX_BYTES + 2, "Line 2 is longer than 4096 bytes");
	refuses(big, sizeof(big), "It is longer than 65536 bytes");
}

static void a_line_that_seems_to_go_on_is_refused(void **state)
{
	static const char sentence[] =
		"Line 2 ends with a backslash, but no line can go on in the next one";

	refuses("LABEL a\nAPPEND quiet \\\n root=/dev/mmcblk0p1\n", 44, sentence);
	refuses("LABEL a\r\nAPPEND quiet \\ \r\n root=/dev/mmcblk0p1\r\n", 48, sentence);
	refuses("LABEL a\nLINUX \\", 15, sentence);
	becomes("# a \\\nAPPEND x\\y\n \\z\n", "# a \\\nAPPEND x\\y root=PARTUUID=12-ab\n \\z\n");
}

static void the_default_entry_is_the_named_one_or_the_first(void **state)
{
	static const char text[] = "DEFAULT b\nLABEL a\nLINUX /a\nAPPEND root=x\n"
				   "LABEL b\nkernel /b\nINITRD /i\nAPPEND root=x root=PARTUUID=7\n"
				   "LABEL c\nLINUX /c\nAPPEND\n";
	struct extlinux_entry e;

	assert_int_equal(extlinux_read(text, strlen(text), &e, NULL), 0);
	assert_string_equal(e.label, "b");
	assert_string_equal(e.kernel, "/b");
	assert_string_equal(e.initrd, "/i");
	assert_string_equal(e.root, "PARTUUID=7");
	assert_int_equal(extlinux_read(text + 10, strlen(text + 10), &e, NULL), 0);
	assert_string_equal(e.label, "a");
	assert_string_equal(e.kernel, "/a");
	assert_string_equal(e.initrd, "");
}

static void reads_not(const char *text, const char *sentence)
{
	struct extlinux_entry e;
	struct ota_err err = {0};

	assert_int_equal(extlinux_read(text, strlen(text), &e, &err), -EBADMSG);
	assert_string_equal(err.msg, sentence);
}

static void a_menu_without_its_default_entry_is_refused(void **state)
{
	AUTO_BUF struct buf longer = {0};

	/* The file that it names would be none of CBoot's. */
	reads_not("DEFAULT a\nINCLUDE /boot/extlinux/more.conf\nAPPEND x\n",
		"Its default entry, \"a\", is not there or has no APPEND");
	reads_not("LABEL a\nLINUX /a\nAPPEND x\nLABEL b\nAPPEND y\nLABEL a\nLINUX /b\nAPPEND z\n",
		"Its default entry, \"a\", is there 2 times");
	reads_not("APPEND x\n", "There is no LABEL in it");
	reads_not("LABEL\nAPPEND x\n", "There is no LABEL in it");
	reads_not("DEFAULT b\nLABEL a\nAPPEND x\n",
		"Its default entry, \"b\", is not there or has no APPEND");
	reads_not("LABEL a\nLINUX /a\nLABEL b\nAPPEND x\n",
		"Its default entry, \"a\", is not there or has no APPEND");
	assert_int_equal(buf_puts(&longer, "LABEL a\nAPPEND x\nLINUX "), 0);
	for (int i = 0; i < EXTLINUX_WORD_MAX; i++)
		assert_int_equal(buf_puts(&longer, "x"), 0);
	reads_not(buf_str(&longer), "The kernel of an entry is longer than 511 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_root_of_an_append_line_is_replaced),
		cmocka_unit_test(a_line_without_a_root_gets_one),
		cmocka_unit_test(other_lines_stay_as_they_are),
		cmocka_unit_test(what_is_no_menu_is_refused),
		cmocka_unit_test(a_line_that_seems_to_go_on_is_refused),
		cmocka_unit_test(the_default_entry_is_the_named_one_or_the_first),
		cmocka_unit_test(a_menu_without_its_default_entry_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
