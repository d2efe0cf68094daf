/*
 * test_entry_attrs: what the file system does not let us set. What is set: integration/test_law.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "otaclient/slot/entry_attrs.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

static const char dirs[] = "0755,0,0,'/d'\n";
static const char attributes[] = "'/d',xattr:user.note,78\n";

static struct file_table *make_table(void)
{
	struct file_table *t = file_table_new();

	assert_int_equal(list_text_read_dirs(dirs, strlen(dirs), "dirs.txt", t, NULL), 0);
	assert_int_equal(file_table_seal(t, NULL), 0);
	assert_int_equal(list_text_read_attributes(
				 attributes, strlen(attributes), "attributes.txt", t, NULL),
		0);
	assert_int_equal(t->n_xattrs, 1);
	return t;
}

/* A call that is refused, and what is said then of /d. */
struct refused {
	int call, errnum;
	const char *sentence;
};

struct
try {
	const struct tmp_dir *dir;
	const struct file_table *table;
	const struct refused *refused;
};

static int apply_without(void *ctx)
{
	const struct try *try = ctx;
	const struct refused *refused = try->refused;
	struct attrs_want want = {.table = try->table,
		.kind = ENTRY_DIR,
		.uid = geteuid(),
		.gid = getegid(),
		.mode = 0755};
	struct ota_err err = {0};

	CHECK(refusal_call(refused->call, refused->errnum) == 0);
	CHECK(attrs_apply_fd(try->dir->fd, &want, "/d", &err) == -refused->errnum);
	CHECK(err.code == OTA_E_APPLY_OTAUPDATE_FAILED);
	CHECK(sentence_is(&err, "%s", refused->sentence));
	return 0;
}

static void what_cannot_be_set_is_said(void **state)
{
	/* The folder's own mode is 0700. */
	/* clang-format off */
	static const struct refused rows[] = {
		{SYS_fremovexattr, EIO, "Cannot clear the flags of /d: Input/output error"},
		{SYS_flistxattr, EIO, "Cannot take the extended attributes off /d: Input/output error"},
		{SYS_fsetxattr, ENOSPC,
			"Cannot set the extended attribute user.note of /d: No space left on device"},
		{SYS_fchmod, EROFS, "Cannot set owner, mode and time of /d: Read-only file system"},
	};
	/* clang-format on */
	AUTO_FILE_TABLE struct file_table *t = make_table();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct try try = {*state, t, &rows[i]};

		assert_int_equal(in_child(apply_without, &try), 0);
	}
}

static void link_that_is_gone_is_named(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_FILE_TABLE struct file_table *t = make_table();
	struct attrs_want want = {.table = t, .kind = ENTRY_SYMLINK, .index = 0};
	struct ota_err err = {0};

	assert_int_equal(attrs_apply_symlink(d->fd, "gone", &want, "/gone", &err), -ENOENT);
	assert_sentence(
		&err, "Cannot set owner and time of the link /gone: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(what_cannot_be_set_is_said),
		tmp_dir_test(link_that_is_gone_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
