/*
 * test_persist_files: a standby slot that does not take what is to be carried over, and an active one that does not give
 * it. What is carried over, and how: integration/test_persist.py.
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
#include "common/base/file.h"
#include "common/base/io.h"
#include "otaclient/standby/persist_files.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

/* One entry of the active slot, the call that is refused, and what is said then. */
struct refused {
	const struct tmp_dir *dir;
	const char *list;
	int call, errnum;
	int r; /* that comes of it */
	enum ota_code code;
	const char *sentence;
};

static int carry_over_noting(const struct tmp_dir *d, const char *list, persist_note_fn *note,
	void *note_ctx, struct ota_err *err)
{
	AUTO_CLOSE int active = openat(d->fd, "active", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int standby = openat(d->fd, "standby", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return persist_files_copy(
		list, strlen(list), "persistents.txt", active, standby, note, note_ctx, err);
}

static int carry_over(const struct tmp_dir *d, const char *list, struct ota_err *err)
{
	return carry_over_noting(d, list, NULL, NULL, err);
}

static int carry_over_without(void *ctx)
{
	const struct refused *refused = ctx;
	struct ota_err err = {0};

	CHECK(refusal_call(refused->call, refused->errnum) == 0);
	CHECK(carry_over(refused->dir, refused->list, &err) == refused->r);
	CHECK(err.code == refused->code);
	CHECK(sentence_is(&err, "%s", refused->sentence));
	return 0;
}

static void put_file(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(file_write_all(fd, "x", 1), 0);
}

/* On the active slot a file, a link and a folder; in the way of the folder on standby one that has something in it. */
static void make_slots(const struct tmp_dir *d)
{
	static const char *const folders[] = {"active", "active/folder", "active/new", "standby",
		"standby/folder", "standby/file"};

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		assert_int_equal(mkdirat(d->fd, folders[i], 0700), 0);
	put_file(d->fd, "active/file");
	put_file(d->fd, "active/new/file");
	put_file(d->fd, "standby/folder/old");
	put_file(d->fd, "standby/file/old");
	assert_int_equal(symlinkat("file", d->fd, "active/link"), 0);
}

static void slot_that_takes_nothing_fails_the_update(void **state)
{
	/* clang-format off */
	const struct refused rows[] = {
		{*state, "'/link'\n", SYS_symlinkat, ENOSPC, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot carry over /link: the standby slot is full"},
		{*state, "'/link'\n", SYS_symlinkat, EDQUOT, -EDQUOT, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot carry over /link: the standby slot is full"},
		{*state, "'/link'\n", SYS_symlinkat, EROFS, -EROFS, OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot carry over /link to the standby slot: Read-only file system"},
		{*state, "'/folder'\n", SYS_unlinkat, EBUSY, -EBUSY, OTA_E_UNSPECIFIC,
			"Cannot carry over /folder: Cannot remove folder from the standby slot: "
			"Device or resource busy"},
		{*state, "'/link'\n", SYS_fchownat, EIO, -EIO, OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot carry over /link to the standby slot: Input/output error"},
		{*state, "'/file'\n", SYS_lremovexattr, EIO, -EIO, OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot carry over /file to the standby slot: Input/output error"},
		{*state, "'/link'\n", SYS_utimensat, EROFS, -EROFS, OTA_E_APPLY_OTAUPDATE_FAILED,
			"Cannot carry over /link to the standby slot: Read-only file system"},
		{*state, "'/new/file'\n", SYS_mkdirat, ENOSPC, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot carry over /new: the standby slot is full"},
		{*state, "'/new'\n", SYS_mkdirat, ENOSPC, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot carry over /new: the standby slot is full"},
	};
	/* clang-format on */
	make_slots(*state);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(in_child(carry_over_without, (void *)(uintptr_t)&rows[i]), 0);
}

/* A call of which the active slot's device fails, and the one note that is made of it. */
struct unreadable {
	const struct tmp_dir *dir;
	const char *list;
	int call;
	uint32_t flags;    /* of an openat(), else 0 */
	const char *stays; /* on standby; NULL = the entry has taken its place */
	const char *note;
};

struct notes {
	unsigned n;
	char last[OTA_ERR_MSG_MAX];
};

static void keep_note(void *ctx, const char *sentence)
{
	struct notes *notes = ctx;

	notes->n++;
	snprintf(notes->last, sizeof(notes->last), "%s", sentence);
}

static int carry_over_unreadable(void *ctx)
{
	const struct unreadable *u = ctx;
	struct notes notes = {0};
	struct ota_err err = {0};
	struct stat st;

	CHECK((u->flags ? refusal_call_with(u->call, 2, u->flags, EIO)
			: refusal_call(u->call, EIO)) == 0);
	CHECK(carry_over_noting(u->dir, u->list, keep_note, &notes, &err) == 0);
	CHECK(notes.n == 1);
	CHECK(strcmp(notes.last, u->note) == 0);
	CHECK(!u->stays || fstatat(u->dir->fd, u->stays, &st, AT_SYMLINK_NOFOLLOW) == 0);
	return 0;
}

static void what_the_active_slot_does_not_give_is_noted_and_left_out(void **state)
{
	/* clang-format off */
	const struct unreadable rows[] = {
		{*state, "'/file'\n", SYS_openat, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, "standby/file/old",
			"/file is not carried over: it cannot be opened: Input/output error"},
		{*state, "'/file'\n", SYS_read, 0, "standby/file/old",
			"/file is not carried over: it cannot be read"},
		{*state, "'/folder'\n", SYS_openat, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
			"standby/folder/old", "The folder /folder is not carried over: Input/output error"},
		{*state, "'/new'\n", SYS_getdents64, 0, "standby/new",
			"Not all of /new is carried over: it cannot be read: Input/output error"},
		{*state, "'/file'\n", SYS_llistxattr, 0, "standby/file",
			"The extended attributes of /file cannot be read: Input/output error"},
	};
	/* clang-format on */

	make_slots(*state);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(in_child(carry_over_unreadable, (void *)(uintptr_t)&rows[i]), 0);
}

static void assert_same_file(const struct tmp_dir *d, const char *name, const char *other)
{
	struct stat a, b;

	assert_int_equal(fstatat(d->fd, name, &a, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fstatat(d->fd, other, &b, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(a.st_ino, b.st_ino);
}

static void names_of_several_files_stay_apart(void **state)
{
	const struct tmp_dir *d = *state;

	make_slots(d);
	put_file(d->fd, "active/other");
	assert_int_equal(linkat(d->fd, "active/file", d->fd, "active/file-too", 0), 0);
	assert_int_equal(linkat(d->fd, "active/other", d->fd, "active/other-too", 0), 0);
	assert_int_equal(carry_over(d, "'/file'\n'/other'\n'/other-too'\n'/file-too'\n", NULL), 0);
	assert_same_file(d, "standby/file", "standby/file-too");
	assert_same_file(d, "standby/other", "standby/other-too");
}

/* The last step of an entry. */
static int fail_entry(void *ctx, const char *what)
{
	return strcmp(what, "persist: an entry") == 0 ? -EIO : 0;
}

static void entry_that_cannot_be_put_in_its_place_fails_the_update(void **state)
{
	const struct tmp_dir *d = *state;
	struct ota_err err = {0};
	struct stat st;
	int r;

	make_slots(d);
	io_set_hook(fail_entry, NULL);
	r = carry_over(d, "'/file'\n", &err);
	io_set_hook(NULL, NULL);
	assert_int_equal(r, -EIO);
	assert_sentence(&err, "Cannot carry over /file to the standby slot: Input/output error");
	assert_int_equal(fstatat(d->fd, "standby/file/old", &st, 0), 0);
	/* Once it can, it stands in the folder's place. */
	assert_int_equal(carry_over(d, "'/file'\n'/folder'\n'/link'\n", NULL), 0);
	assert_int_equal(fstatat(d->fd, "standby/file", &st, 0), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(fstatat(d->fd, "standby/folder/old", &st, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(slot_that_takes_nothing_fails_the_update),
		tmp_dir_test(what_the_active_slot_does_not_give_is_noted_and_left_out),
		tmp_dir_test(names_of_several_files_stay_apart),
		tmp_dir_test(entry_that_cannot_be_put_in_its_place_fails_the_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
