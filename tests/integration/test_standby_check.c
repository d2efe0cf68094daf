/*
 * standby_check: what somebody has changed on a slot is passed over, what the disk has lost is told, on inodes with
 * nanoseconds and without. Needs root, for file systems on loop devices.
 */
#include "otaclient/standby/standby_check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/crypto/digest.h"
#include "common/image/list_text.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/inventory/inventory.h"
#include "tests/support/ext4_disk.h"

#define NOT_KEPT "The standby slot does not keep what is written to it: "

enum { FILE_BYTES = 5000, LINK_BYTES = 4000 };

/* A slot that is the image: /a, /d/b with a further name, and a link. */
struct bench {
	struct ext4_disk disk;
	char regulars[512], symlinks[128 + LINK_BYTES]; /* the table's paths lie in them */
	struct file_table *table;
	struct inventory *inv;
	struct standby_check *check;
	struct ota_err err;
};

static const char *const names[] = {"a", "d/b"};

static void write_file(struct bench *b, const char *name, char letter, int flags)
{
	AUTO_CLOSE int fd = openat(b->disk.root_fd, name, O_WRONLY | O_CLOEXEC | flags, 0644);
	char bytes[FILE_BYTES];

	memset(bytes, letter, sizeof(bytes));
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
}

static void hex_of(char letter, char hex[DIGEST_HEX_MAX])
{
	struct digest digest;
	char bytes[FILE_BYTES];

	memset(bytes, letter, sizeof(bytes));
	digest_of(bytes, sizeof(bytes), &digest);
	digest_to_hex(&digest, hex);
}

static void make_table(struct bench *b)
{
	static const char dirs[] = "0755,0,0,'/d'\n";
	char a[DIGEST_HEX_MAX], d[DIGEST_HEX_MAX], target[LINK_BYTES + 1] = "";

	hex_of('a', a);
	hex_of('b', d);
	memset(target, 't', LINK_BYTES);
	snprintf(b->symlinks, sizeof(b->symlinks), "0777,0,0,'/long','%s'\n", target);
	snprintf(b->regulars, sizeof(b->regulars),
		"0644,0,0,1,%s,'/a',%d,,\n0644,0,0,2,%s,'/d/b',%d,7,\n0644,0,0,2,%s,'/d/"
		"b-too',%d,7,\n",
		a, FILE_BYTES, d, FILE_BYTES, d, FILE_BYTES);
	b->table = file_table_new();
	assert_int_equal(list_text_read_dirs(dirs, strlen(dirs), "dirs.txt", b->table, NULL), 0);
	assert_int_equal(list_text_read_symlinks(
				 b->symlinks, strlen(b->symlinks), "symlinks.txt", b->table, NULL),
		0);
	assert_int_equal(list_text_read_regulars(
				 b->regulars, strlen(b->regulars), "regulars.txt", b->table, NULL),
		0);
	assert_int_equal(file_table_seal(b->table, NULL), 0);
}

static int setup(void **state, const char *inode_bytes)
{
	struct bench *b = calloc(1, sizeof(*b));
	char target[LINK_BYTES + 1] = "";

	ext4_disk_setup(&b->disk);
	ext4_disk_make(&b->disk, "-I", inode_bytes);
	make_table(b);
	assert_int_equal(mkdirat(b->disk.root_fd, "d", 0755), 0);
	for (size_t i = 0; i < 2; i++)
		write_file(b, names[i], (char)('a' + i), O_CREAT);
	assert_int_equal(linkat(b->disk.root_fd, "d/b", b->disk.root_fd, "d/b-too", 0), 0);
	memset(target, 't', LINK_BYTES);
	assert_int_equal(symlinkat(target, b->disk.root_fd, "long"), 0);
	b->inv = inventory_new(b->table);
	assert_int_equal(standby_check_note(b->table, b->inv, NULL, b->disk.root_fd, NULL, NULL,
				 &b->check, &b->err),
		0);
	*state = b;
	return 0;
}

static int setup_small(void **state)
{
	return setup(state, "128");
}

static int setup_usual(void **state)
{
	return setup(state, "256");
}

static int teardown(void **state)
{
	struct bench *b = *state;

	standby_check_free(b->check);
	inventory_free(b->inv);
	file_table_free(b->table);
	ext4_disk_teardown(&b->disk);
	free(b);
	return 0;
}

/* The last that is done to the slot. */
static void settle(struct bench *b)
{
	assert_int_equal(standby_check_settle(
				 b->check, b->disk.root_fd, b->disk.device, NULL, NULL, &b->err),
		0);
	ext4_disk_unmount(&b->disk);
}

static int look(struct bench *b)
{
	int r;

	ext4_disk_mount(&b->disk, MS_RDONLY);
	r = standby_check_read(b->check, b->disk.root_fd, b->disk.device, NULL, NULL, &b->err);
	return r;
}

static void assert_lost(struct bench *b, const char *sentence)
{
	assert_int_equal(look(b), -EBADMSG);
	assert_string_equal(b->err.msg, sentence);
}

static void debugfs(struct bench *b, const char *request)
{
	const char *const argv[] = {"debugfs", "-w", "-R", request, b->disk.device, NULL};
	AUTO_BUF struct buf out = {0};

	ext4_disk_tool(argv, &out);
}

/* Other bytes, the same length, and the time of the last change set back: as `cp -p` does, and whoever unpacks. */
static void write_alike(struct bench *b, const char *name)
{
	struct timespec times[2];
	struct stat st;

	assert_int_equal(fstatat(b->disk.root_fd, name, &st, 0), 0);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	write_file(b, name, 'x', O_TRUNC);
	assert_int_equal(utimensat(b->disk.root_fd, name, times, 0), 0);
}

/* Wherever they are: the target of a link is in the journal, too. */
static void spoil_bytes_of(struct bench *b, char letter)
{
	AUTO_CLOSE int fd = open(b->disk.image, O_RDWR | O_CLOEXEC);
	char want[LINK_BYTES], have[LINK_BYTES];
	unsigned n = 0;

	memset(want, letter, sizeof(want));
	for (off_t at = 0; at < EXT4_DISK_BYTES; at += EXT4_DISK_BLOCK) {
		assert_int_equal(pread(fd, have, sizeof(have), at), sizeof(have));
		if (memcmp(have, want, sizeof(want)) != 0)
			continue;
		assert_int_equal(pwrite(fd, "#", 1, at + 77), 1);
		n++;
	}
	assert_true(n > 0);
	assert_int_equal(fsync(fd), 0);
}

static void a_slot_that_nobody_has_touched_is_read(void **state)
{
	struct bench *b = *state;

	settle(b);
	assert_int_equal(look(b), 0);
}

static void bytes_that_the_disk_loses_are_told(void **state)
{
	struct bench *b = *state;

	settle(b);
	spoil_bytes_of(b, 'a');
	assert_lost(b, NOT_KEPT "/a has other bytes than the image's");
}

static void a_file_that_somebody_has_written_is_passed_over(void **state)
{
	struct bench *b = *state;

	write_file(b, "a", 'x', O_TRUNC);
	assert_int_equal(unlinkat(b->disk.root_fd, "d/b", 0), 0);
	settle(b);
	assert_int_equal(look(b), 0);
}

static void so_it_is_with_the_time_of_the_old_one(void **state)
{
	struct bench *b = *state;

	write_alike(b, "a");
	write_alike(b, "d/b");
	settle(b);
	assert_int_equal(look(b), 0);
}

static void other_attributes_hide_nothing(void **state)
{
	struct bench *b = *state;

	assert_int_equal(fchmodat(b->disk.root_fd, "d/b", 0700, 0), 0);
	settle(b);
	spoil_bytes_of(b, 'b');
	assert_lost(b, NOT_KEPT "/d/b has other bytes than the image's");
}

/* The file system is whole; what was written to the inode last has not come to the disk. */
static void an_inode_that_is_of_before_is_told(void **state)
{
	struct bench *b = *state;

	settle(b);
	debugfs(b, "set_inode_field a mode 0100600");
	debugfs(b, "set_inode_field a ctime 20200101000000");
	assert_lost(b, NOT_KEPT "/a has another state than it was left in");
}

static void so_is_a_folder(void **state)
{
	struct bench *b = *state;

	settle(b);
	debugfs(b, "set_inode_field d mode 040700");
	debugfs(b, "set_inode_field d ctime 20200101000000");
	assert_lost(b, NOT_KEPT "/d has another state than it was left in");
}

/* As a writer leaves them: with the image's times, which have nanoseconds whatever the inodes have. */
static void note_as_made(struct bench *b)
{
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
                { .tv_sec = 1000000000, .tv_nsec = 123456789}
        };
	struct inode_note *made = calloc((size_t)b->table->n_files + 1, sizeof(*made));
	struct stat st;

	assert_int_equal(file_table_begin_attributes(b->table), 0);
	for (uint32_t i = 0; i < b->table->n_files; i++) {
		char path[PATH_MAX];

		if (b->table->files[i].group != i)
			continue;
		text_path(b->table->files[i].path, path);
		file_table_set_mtime(
			b->table, ENTRY_FILE, i, times[1].tv_sec, (uint32_t)times[1].tv_nsec);
		assert_int_equal(utimensat(b->disk.root_fd, path + 1, times, 0), 0);
		assert_int_equal(fstatat(b->disk.root_fd, path + 1, &st, 0), 0);
		made[i] = inode_note_of(&st, true);
	}
	standby_check_free(b->check);
	assert_int_equal(standby_check_note(b->table, b->inv, made, b->disk.root_fd, NULL, NULL,
				 &b->check, &b->err),
		0);
}

static void bytes_of_files_that_were_noted_when_made_are_read(void **state)
{
	struct bench *b = *state;

	note_as_made(b);
	settle(b);
	spoil_bytes_of(b, 'a');
	assert_lost(b, NOT_KEPT "/a has other bytes than the image's");
}

static void so_they_are_behind_other_attributes(void **state)
{
	struct bench *b = *state;

	note_as_made(b);
	assert_int_equal(fchmodat(b->disk.root_fd, "d/b", 0700, 0), 0);
	settle(b);
	spoil_bytes_of(b, 'b');
	assert_lost(b, NOT_KEPT "/d/b has other bytes than the image's");
}

static void a_name_that_is_gone_is_told(void **state)
{
	struct bench *b = *state;

	settle(b);
	debugfs(b, "unlink a");
	assert_lost(b, NOT_KEPT "/a has gone, or is something else");
}

/* It does not lie in the inode; on a file system without sums nothing else tells. */
static void the_target_of_a_long_link_is_read_back(void **state)
{
	struct bench *b = *state;

	settle(b);
	spoil_bytes_of(b, 't');
	assert_lost(b, NOT_KEPT "/long has gone, or is something else");
}

static void so_it_is_with_a_further_name(void **state)
{
	struct bench *b = *state;

	settle(b);
	debugfs(b, "unlink d/b-too");
	assert_lost(b, NOT_KEPT "/d/b-too has gone, or is something else");
}

static void links_that_somebody_has_changed_are_passed_over(void **state)
{
	struct bench *b = *state;

	assert_int_equal(unlinkat(b->disk.root_fd, "long", 0), 0);
	assert_int_equal(symlinkat("elsewhere", b->disk.root_fd, "long"), 0);
	assert_int_equal(unlinkat(b->disk.root_fd, "d/b-too", 0), 0);
	settle(b);
	assert_int_equal(look(b), 0);
}

/* A folder in another's place brings other inodes under the same names. */
static void a_folder_that_somebody_has_replaced_is_passed_over(void **state)
{
	struct bench *b = *state;

	assert_int_equal(renameat(b->disk.root_fd, "d", b->disk.root_fd, "d.old"), 0);
	assert_int_equal(mkdirat(b->disk.root_fd, "d", 0755), 0);
	write_file(b, "d/b", 'x', O_CREAT);
	settle(b);
	assert_int_equal(look(b), 0);
}

static bool is_unwanted(void *ctx)
{
	return true;
}

static void work_that_nobody_wants_ends(void **state)
{
	struct bench *b = *state;

	assert_int_equal(standby_check_settle(b->check, b->disk.root_fd, b->disk.device,
				 is_unwanted, NULL, &b->err),
		-ECANCELED);
}

int main(void)
{
#define BOTH(f)                                             \
	{#f " (128)", f, setup_small, teardown, NULL},      \
	{                                                   \
#f " (256)", f, setup_usual, teardown, NULL \
	}
	const struct CMUnitTest tests[] = {
		BOTH(a_slot_that_nobody_has_touched_is_read),
		BOTH(bytes_that_the_disk_loses_are_told),
		BOTH(a_file_that_somebody_has_written_is_passed_over),
		BOTH(so_it_is_with_the_time_of_the_old_one),
		BOTH(other_attributes_hide_nothing),
		BOTH(bytes_of_files_that_were_noted_when_made_are_read),
		BOTH(so_they_are_behind_other_attributes),
		BOTH(an_inode_that_is_of_before_is_told),
		BOTH(so_is_a_folder),
		BOTH(a_name_that_is_gone_is_told),
		BOTH(the_target_of_a_long_link_is_read_back),
		BOTH(so_it_is_with_a_further_name),
		BOTH(links_that_somebody_has_changed_are_passed_over),
		BOTH(a_folder_that_somebody_has_replaced_is_passed_over),
		BOTH(work_that_nobody_wants_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
