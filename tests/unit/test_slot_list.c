/*
 * test_slot_list: every line of a list that is read in pieces, and what is no list.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/codec/base64url.h"
#include "common/crypto/digest.h"
#include "otaclient/inventory/slot_list.h"
#include "tests/unit/tmp_dir.h"

#define DIGEST "1111111111111111111111111111111111111111111111111111111111111111"

enum {
	MANY = 20000, /* lines: many times what is read at once */
};

struct seen {
	unsigned n, end_at;
	char last[64];
	uint64_t bytes;
};

static int see(void *ctx, const char *path, const struct digest *digest, uint64_t size_bytes,
	struct ota_err *err)
{
	struct seen *s = ctx;

	assert_int_equal(digest->bytes[31], 0x11);
	s->n++;
	s->bytes += size_bytes;
	snprintf(s->last, sizeof(s->last), "%s", path);
	return s->n == s->end_at ? -ECANCELED : 0;
}

static int meta_of(const struct tmp_dir *d)
{
	assert_int_equal(mkdirat(d->fd, ".ota-meta", 0700), 0);
	return openat(d->fd, ".ota-meta", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void write_file(int dir_fd, const char *name, const void *data, size_t len)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(file_write_all(fd, data, len), 0);
}

/* A metadata.jwt that nobody has signed, which names the list @name with this digest. */
static void write_metadata(int meta_fd, const char *name, const void *data, size_t len)
{
	AUTO_BUF struct buf text = {0}, jwt = {0};
	char hex[DIGEST_HEX_MAX];
	struct digest digest;

	digest_of(data, len, &digest);
	digest_to_hex(&digest, hex);
	assert_int_equal(buf_printf(&text,
				 "[{\"version\": 1}, {\"directory\": \"d\", \"hash\": \"" DIGEST
				 "\"}, {\"symboliclink\": \"s\", \"hash\": \"" DIGEST
				 "\"}, {\"regular\": \"%s\", \"hash\": \"%s\"}, "
				 "{\"persistent\": \"p\", \"hash\": \"" DIGEST
				 "\"}, {\"certificate\": \"c\", \"hash\": \"" DIGEST
				 "\"}, {\"rootfs_directory\": \"data\"}]",
				 name, hex),
		0);
	assert_int_equal(base64url_encode("{\"alg\": \"ES256\"}", 16, &jwt), 0);
	assert_int_equal(buf_puts(&jwt, "."), 0);
	assert_int_equal(base64url_encode(text.data, text.len_bytes, &jwt), 0);
	assert_int_equal(buf_puts(&jwt, ".c2ln"), 0);
	write_file(meta_fd, "metadata.jwt", jwt.data, jwt.len_bytes);
}

static void write_list(int meta_fd, const void *data, size_t len)
{
	write_file(meta_fd, "regulars.txt", data, len);
	write_metadata(meta_fd, "regulars.txt", data, len);
}

static void every_line_is_given(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = meta_of(d);
	AUTO_BUF struct buf b = {0};
	struct seen seen = {0};

	for (int i = 0; i < MANY; i++)
		assert_int_equal(
			buf_printf(&b, "0644,0,0,1," DIGEST ",'/a/it'\\''s %d',%d,,\n", i, i), 0);
	write_list(meta_fd, b.data, b.len_bytes);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), 0);
	assert_int_equal(seen.n, MANY);
	assert_int_equal(seen.bytes, (uint64_t)MANY * (MANY - 1) / 2);
	assert_string_equal(seen.last, "/a/it's 19999");

	/* The last line end may be missing; who has seen enough says so. */
	write_list(meta_fd, b.data, b.len_bytes - 1);
	seen = (struct seen){0};
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), 0);
	assert_int_equal(seen.n, MANY);
	seen = (struct seen){.end_at = 15000};
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -ECANCELED);
	assert_string_equal(seen.last, "/a/it's 14999");

	write_list(meta_fd, "", 0);
	seen = (struct seen){0};
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), 0);
	assert_int_equal(seen.n, 0);
}

static void sizes_may_be_missing(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = meta_of(d);
	struct seen seen = {0};
	static const char line[] = "0644,0,0,1," DIGEST ",'/old'\n";

	write_list(meta_fd, line, sizeof(line) - 1);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), 0);
	assert_int_equal(seen.bytes, CONTENT_SIZE_UNKNOWN);
}

static void what_is_no_list_is_none(void **state)
{
	static const char *const wrong[] = {
		"0644,0,0,1," DIGEST ",'/a',1,,\n0644,0,0,1," DIGEST ",'/b",
		"0644,0,0,1,zz" DIGEST ",'/a',1,,\n",
		"0644,0,0,1," DIGEST ",/a,1,,\n",
		"<html>\n",
	};
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = -1;
	AUTO_FREE char *endless = malloc(1 << 20);
	struct seen seen = {0};

	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -ENOENT);
	meta_fd = meta_of(d);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		write_list(meta_fd, wrong[i], strlen(wrong[i]));
		assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
	}
	memset(endless, 'a', 1 << 20);
	write_list(meta_fd, endless, 1 << 20);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
}

static void another_list_than_the_metadata_says_is_none(void **state)
{
	static const char lines[] =
		"0644,0,0,1," DIGEST ",'/a',1,,\n0644,0,0,1," DIGEST ",'/b',1,,\n";
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = meta_of(d);
	struct seen seen = {0};

	write_list(meta_fd, lines, sizeof(lines) - 1);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), 0);
	/* Cut at the end of a line, and to nothing. */
	write_file(meta_fd, "regulars.txt", lines, (sizeof(lines) - 1) / 2);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
	write_file(meta_fd, "regulars.txt", lines, 0);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
	/* Under another name; not there; of a slot that says nothing of itself. */
	write_file(meta_fd, "r", lines, sizeof(lines) - 1);
	write_metadata(meta_fd, "r", lines, sizeof(lines) - 1);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), 0);
	assert_int_equal(unlinkat(meta_fd, "r", 0), 0);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -ENOENT);
	write_list(meta_fd, lines, sizeof(lines) - 1);
	write_file(meta_fd, "metadata.jwt", "x", 1);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -ENOENT);
}

static void what_is_no_file_is_none(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = meta_of(d);
	struct seen seen = {0};

	write_list(meta_fd, "", 0);
	assert_int_equal(renameat(meta_fd, "regulars.txt", d->fd, "regulars.txt"), 0);
	assert_int_equal(symlinkat("../regulars.txt", meta_fd, "regulars.txt"), 0);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
	assert_int_equal(unlinkat(meta_fd, "regulars.txt", 0), 0);
	assert_int_equal(mkfifoat(meta_fd, "regulars.txt", 0600), 0);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
	assert_int_equal(unlinkat(meta_fd, "regulars.txt", 0), 0);
	assert_int_equal(mkdirat(meta_fd, "regulars.txt", 0700), 0);
	assert_int_equal(slot_list_read(d->fd, see, &seen, NULL), -EBADMSG);
	assert_int_equal(seen.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(every_line_is_given),
		tmp_dir_test(sizes_may_be_missing),
		tmp_dir_test(what_is_no_list_is_none),
		tmp_dir_test(another_list_than_the_metadata_says_is_none),
		tmp_dir_test(what_is_no_file_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
