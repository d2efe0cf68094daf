/*
 * test_blob_store: contents are kept once, compressed where it pays, and taken over only if they are right.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "metadata-gen/blob_store.h"
#include "tests/unit/tmp_dir.h"

enum {
	LARGE_BYTES = BLOB_MEMORY_MAX + 4096, /* beyond what is held in memory */
};

struct fixture {
	struct tmp_dir *dir;
	int zst_fd, plain_fd, old_fd, data_fd;
	struct file_table *table; /* of the old folder; NULL: it has none */
	struct blob_store *store;
	struct blob_hand *hand;
};

static int sub_dir(struct fixture *f, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(f->dir->fd, name, 0755), 0);
	fd = openat(f->dir->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void open_store(struct fixture *f, bool all_plain)
{
	struct blob_config config = {
		.zst_fd = f->zst_fd,
		.plain_fd = f->plain_fd,
		.sources = {{.zst_fd = f->old_fd, .plain_fd = -1, .table = f->table}},
		.n_sources = 1,
		.all_plain = all_plain,
		.min_bytes = BLOB_MIN_BYTES,
		.min_ratio = BLOB_MIN_RATIO,
		.level = 3,
	};

	blob_hand_free(f->hand);
	blob_store_free(f->store);
	assert_int_equal(blob_store_new(&config, &f->store, NULL), 0);
	f->hand = blob_hand_new(f->store);
	assert_non_null(f->hand);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *dir;

	if (!f || tmp_dir_setup(&dir) < 0)
		return -1;
	f->dir = dir;
	f->zst_fd = sub_dir(f, "data.zst");
	f->plain_fd = sub_dir(f, "plain");
	f->old_fd = sub_dir(f, "old");
	f->data_fd = sub_dir(f, "data");
	open_store(f, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *dir = f->dir;

	blob_hand_free(f->hand);
	blob_store_free(f->store);
	file_table_free(f->table);
	close(f->zst_fd);
	close(f->plain_fd);
	close(f->old_fd);
	close(f->data_fd);
	free(f);
	return tmp_dir_teardown(&dir);
}

/* Bytes that do not compress. */
static char *noise(size_t len, uint64_t seed)
{
	char *data = malloc(len + 1);

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		data[i] = (char)(seed >> 56);
	}
	return data;
}

static char *lines(size_t len)
{
	static const char line[] = "a compressible line\n";
	char *data = malloc(len + 1);

	assert_non_null(data);
	for (size_t i = 0; i < len; i++)
		data[i] = line[i % (sizeof(line) - 1)];
	return data;
}

static int source(struct fixture *f, const void *data, size_t len)
{
	int fd = openat(f->dir->fd, "source", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len), 0);
	return fd;
}

static struct blob *take(struct fixture *f, const void *data, size_t len, bool hash_first)
{
	AUTO_CLOSE int fd = source(f, data, len);
	struct blob *blob = NULL;

	assert_int_equal(blob_take_file(f->hand, fd, len, hash_first, &blob, NULL), 0);
	assert_int_equal(blob->size_bytes, len);
	return blob;
}

static bool has_zst_file(const struct fixture *f, const struct blob *blob)
{
	char name[BLOB_NAME_MAX];

	blob_name(&blob->digest, name);
	return faccessat(f->zst_fd, name, F_OK, 0) == 0;
}

static int verify(const struct fixture *f, int dir_fd, const struct blob *blob, struct ota_err *err)
{
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1;

	blob_name(&blob->digest, name);
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return blob_verify(f->hand, fd, &blob->digest, blob->size_bytes, -1, err);
}

static unsigned count_names(int dir_fd)
{
	int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSEDIR DIR *dir = fdopendir(copy);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	return n - 2;
}

static void contents_are_compressed_from_16384_bytes_on(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(BLOB_MIN_BYTES);
	struct blob *small = take(f, data, BLOB_MIN_BYTES - 1, false);
	struct blob *enough = take(f, data, BLOB_MIN_BYTES, false);

	assert_false(small->has_zst);
	assert_true(small->has_plain);
	assert_true(enough->has_zst);
	assert_false(enough->has_plain);
	assert_int_equal(verify(f, f->zst_fd, enough, NULL), 0);
}

static void what_does_not_shrink_by_a_quarter_stays_plain(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = noise(38768, 1);
	struct blob *low, *ok;

	memset(data + 32768, 0, 6000); /* ratio about 1.18 */
	low = take(f, data, 38768, false);
	memset(data + 28768, 0, 10000); /* about 1.34 */
	ok = take(f, data, 38768, false);
	assert_false(low->has_zst);
	assert_true(low->has_plain);
	assert_false(has_zst_file(f, low));
	assert_true(ok->has_zst);
}

static void equal_contents_are_one(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(30000);
	struct blob *first = take(f, data, 30000, false);
	struct blob_counts counts;

	assert_ptr_equal(take(f, data, 30000, false), first);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_compressed, 1);
}

static void large_contents_go_both_ways_to_the_same_end(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(LARGE_BYTES);
	struct blob *one_pass = take(f, data, LARGE_BYTES, false);

	assert_true(one_pass->has_zst);
	assert_int_equal(verify(f, f->zst_fd, one_pass, NULL), 0);
	assert_ptr_equal(take(f, data, LARGE_BYTES, true), one_pass);
	assert_ptr_equal(take(f, data, LARGE_BYTES, false), one_pass);
	assert_int_equal(count_names(f->zst_fd), 1);
	open_store(f, false);
	assert_true(take(f, data, LARGE_BYTES, true)->has_zst);
}

static void large_noise_stays_plain_and_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = noise(LARGE_BYTES, 2);
	struct blob *blob = take(f, data, LARGE_BYTES, false);

	assert_false(blob->has_zst);
	assert_true(blob->has_plain);
	assert_int_equal(count_names(f->zst_fd), 0);
	assert_int_equal(blob_place(f->hand, blob, f->data_fd, "a", NULL), 0);
	AUTO_CLOSE int fd = openat(f->data_fd, "a", O_RDONLY | O_CLOEXEC);
	struct digest digest;
	uint64_t size;

	assert_int_equal(digest_of_fd(blob_hand_digest(f->hand), fd, &digest, &size), 0);
	assert_true(digest_equal(&digest, &blob->digest));
}

static void a_file_that_changes_its_size_is_refused(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(LARGE_BYTES);
	static const size_t sizes[] = {100, 20000, LARGE_BYTES};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		AUTO_CLOSE int fd = source(f, data, sizes[i]);
		struct ota_err err = {0};
		struct blob *blob;

		assert_int_equal(
			blob_take_file(f->hand, fd, sizes[i] - 1, false, &blob, &err), -EAGAIN);
		assert_non_null(strstr(err.msg, "its size changed"));
		if (sizes[i] < LARGE_BYTES)
			assert_int_equal(
				blob_take_file(f->hand, fd, sizes[i] + 1, false, &blob, &err),
				-EAGAIN);
	}
	assert_int_equal(count_names(f->zst_fd), 0);
}

/* Put a blob of the content into the old folder. */
static void make_old(struct fixture *f, const char *data, size_t len, struct digest *ret_digest)
{
	int zst_fd = f->zst_fd;

	f->zst_fd = f->old_fd;
	open_store(f, false);
	*ret_digest = take(f, data, len, false)->digest;
	f->zst_fd = zst_fd;
	open_store(f, false);
}

static void a_right_old_blob_is_taken_over(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(50000);
	struct blob_counts counts;
	struct digest digest;
	struct blob *blob;

	make_old(f, data, 50000, &digest);
	blob = take(f, data, 50000, false);
	assert_true(blob->has_zst);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_reused, 1);
	assert_int_equal(counts.n_compressed, 0);
	assert_int_equal(verify(f, f->zst_fd, blob, NULL), 0);
}

static void a_damaged_old_blob_is_made_anew(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(50000);
	char name[BLOB_NAME_MAX];
	struct blob_counts counts;
	struct digest digest;
	struct blob *blob;

	make_old(f, data, 50000, &digest);
	blob_name(&digest, name);
	{
		AUTO_CLOSE int fd = openat(f->old_fd, name, O_WRONLY | O_CLOEXEC);

		assert_int_equal(pwrite(fd, "\xff", 1, 12), 1);
	}
	blob = take(f, data, 50000, false);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_reused, 0);
	assert_int_equal(counts.n_refused[0], 1);
	assert_int_equal(counts.n_compressed, 1);
	assert_int_equal(verify(f, f->zst_fd, blob, NULL), 0);
	assert_int_not_equal(verify(f, f->old_fd, blob, NULL), 0);
}

static void an_old_blob_of_another_content_is_made_anew(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(50000);
	AUTO_FREE char *other = lines(50000);
	char name[BLOB_NAME_MAX], other_name[BLOB_NAME_MAX];
	struct digest digest, other_digest;
	struct blob_counts counts;

	other[7] = '!';
	make_old(f, data, 50000, &digest);
	make_old(f, other, 50000, &other_digest);
	blob_name(&digest, name);
	blob_name(&other_digest, other_name);
	assert_int_equal(renameat(f->old_fd, other_name, f->old_fd, name), 0);
	take(f, data, 50000, false);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_refused[0], 1);
	assert_int_equal(counts.n_compressed, 1);
}

/* List a content as one of the old image's. */
static void list_old(struct fixture *f, const struct digest *digest, size_t size, bool has_zst)
{
	struct file_entry file = {
		.path = {.at = "/a", .len = 2},
                  .mode = 0644
        };

	f->table = file_table_new();
	assert_non_null(f->table);
	assert_int_equal(file_table_add_file(f->table, &file, digest, size, has_zst, 0), 0);
	assert_int_equal(file_table_seal(f->table, NULL), 0);
	open_store(f, false);
}

static void a_content_that_did_not_pay_is_not_tried_again(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(50000);
	struct blob_counts counts;
	struct digest digest;
	struct blob *blob;

	digest_of(data, 50000, &digest);
	list_old(f, &digest, 50000, false);
	blob = take(f, data, 50000, false);
	assert_true(blob->tried && blob->has_plain && !blob->has_zst);
	assert_int_equal(count_names(f->zst_fd), 0);
	data[0] = '!';
	assert_true(take(f, data, 50000, false)->has_zst);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_compressed, 1);
}

static void a_list_decides_what_is_looked_for(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(50000);
	struct blob_counts counts;
	struct digest digest, other = {{1}};
	char name[BLOB_NAME_MAX];

	make_old(f, data, 50000, &digest);
	list_old(f, &other, 50000, true);
	take(f, data, 50000, false);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_reused, 0);
	assert_int_equal(counts.n_refused[0], 0);
	assert_int_equal(counts.n_compressed, 1);

	/* What is listed has to be there. */
	file_table_free(f->table);
	list_old(f, &digest, 50000, true);
	blob_name(&digest, name);
	assert_int_equal(unlinkat(f->old_fd, name, 0), 0);
	take(f, data, 50000, false);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_refused[0], 1);
}

/* Whether a large file can be taken in with one reading depends on whether an old blob might be there. */
static void a_large_old_content_is_found_by_its_size(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(LARGE_BYTES);
	struct blob_counts counts;
	struct digest digest;

	make_old(f, data, LARGE_BYTES, &digest);
	list_old(f, &digest, LARGE_BYTES, true);
	assert_true(take(f, data, LARGE_BYTES, false)->has_zst);
	data[0] = '!';
	assert_true(take(f, data, LARGE_BYTES - 1, false)->has_zst);
	blob_store_counts(f->store, &counts);
	assert_int_equal(counts.n_reused, 1);
	assert_int_equal(counts.n_compressed, 1);
}

static void verify_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(50000);
	struct blob blob = *take(f, data, 50000, false);
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct ota_err err = {0};
	struct digest wrong = blob.digest;

	blob_name(&blob.digest, name);
	fd = openat(f->zst_fd, name, O_RDWR | O_CLOEXEC);
	assert_int_equal(blob_verify(f->hand, fd, &blob.digest, 50001, -1, &err), -EBADMSG);
	assert_string_equal(err.msg, "it holds 50000 bytes instead of 50001");
	assert_int_equal(blob_verify(f->hand, fd, &blob.digest, 49999, -1, &err), -EBADMSG);
	assert_string_equal(err.msg, "it is not one whole zstd frame of at most 49999 bytes");
	wrong.bytes[0] ^= 1;
	assert_int_equal(blob_verify(f->hand, fd, &wrong, 50000, -1, &err), -EBADMSG);
	assert_string_equal(err.msg, "its content has another digest than its name says");
	assert_int_equal(ftruncate(fd, 20), 0);
	assert_int_equal(blob_verify(f->hand, fd, &blob.digest, 50000, -1, &err), -EBADMSG);
}

static void placed_names_of_one_content_are_links(void **state)
{
	struct fixture *f = *state;
	struct blob *blob = take(f, "small", 5, false);
	struct stat a, b;

	assert_int_equal(blob_place(f->hand, blob, f->data_fd, "etc/x/one", NULL), 0);
	assert_int_equal(blob_place(f->hand, blob, f->data_fd, "two", NULL), 0);
	assert_int_equal(fstatat(f->data_fd, "etc/x/one", &a, 0), 0);
	assert_int_equal(fstatat(f->data_fd, "two", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_mode & 07777, 0644);
	assert_int_equal(count_names(f->plain_fd), 0);
}

static void a_compressed_content_can_be_placed_plain(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(20000);
	struct blob *blob = take(f, data, 20000, false);
	AUTO_BUF struct buf placed = {0};

	assert_false(blob->has_plain);
	assert_int_equal(blob_place(f->hand, blob, f->data_fd, "etc/nv_tegra_release", NULL), 0);
	assert_int_equal(file_read(f->data_fd, "etc/nv_tegra_release", 100000, &placed), 0);
	assert_int_equal(placed.len_bytes, 20000);
	assert_memory_equal(placed.data, data, 20000);
}

static void all_contents_are_kept_plain_on_request(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(20000);
	struct blob *blob;

	open_store(f, true);
	blob = take(f, data, 20000, false);
	assert_true(blob->has_zst);
	assert_true(blob->has_plain);
}

static void a_spare_content_is_compressed_only_when_settled(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(20000);
	struct digest digest;
	struct blob *blob;

	digest_of(data, 20000, &digest);
	assert_int_equal(blob_claim(f->store, &digest, 20000, &blob, NULL), 1);
	assert_int_equal(blob_claim(f->store, &digest, 20000, &blob, NULL), 0);
	assert_int_equal(blob_fill(f->hand, blob, data, true, NULL), 0);
	assert_true(blob->has_plain && !blob->has_zst && !blob->tried);
	assert_int_equal(blob_settle(f->hand, blob, NULL), 0);
	assert_true(!blob->has_plain && blob->has_zst);
	assert_int_equal(verify(f, f->zst_fd, blob, NULL), 0);
	assert_int_equal(blob_settle(f->hand, blob, NULL), 0);
}

static void a_sweep_removes_what_nobody_wants(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(20001);
	struct blob *wanted = take(f, data, 20000, false);
	struct blob *unwanted = take(f, data, 20001, false);
	struct blob *plain = take(f, "x", 1, false);

	wanted->wanted = true;
	assert_int_equal(blob_store_sweep(f->store, NULL), 0);
	assert_true(has_zst_file(f, wanted));
	assert_false(has_zst_file(f, unwanted));
	assert_false(plain->has_plain);
	assert_int_equal(count_names(f->plain_fd), 0);
}

static void a_content_can_come_by_way_of_a_spool(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = lines(20000);
	char name[BLOB_SPOOL_NAME_MAX];
	struct digest digest;
	struct blob *blob;
	bool is_new;

	digest_of(data, 20000, &digest);
	for (int i = 0; i < 2; i++) {
		AUTO_CLOSE int fd = -1;

		assert_int_equal(blob_spool_open(f->store, name, &fd, NULL), 0);
		assert_int_equal(file_write_all(fd, data, 20000), 0);
		assert_int_equal(
			blob_spool_keep(f->store, name, &digest, 20000, &blob, &is_new, NULL), 0);
		assert_int_equal(is_new, i == 0);
	}
	assert_int_equal(count_names(f->plain_fd), 1);
	assert_int_equal(blob_settle(f->hand, blob, NULL), 0);
	assert_true(blob->has_zst);
	assert_int_equal(count_names(f->plain_fd), 0);
}

#define store_test(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(contents_are_compressed_from_16384_bytes_on),
		store_test(what_does_not_shrink_by_a_quarter_stays_plain),
		store_test(equal_contents_are_one),
		store_test(large_contents_go_both_ways_to_the_same_end),
		store_test(large_noise_stays_plain_and_leaves_nothing_behind),
		store_test(a_file_that_changes_its_size_is_refused),
		store_test(a_right_old_blob_is_taken_over),
		store_test(a_damaged_old_blob_is_made_anew),
		store_test(an_old_blob_of_another_content_is_made_anew),
		store_test(a_content_that_did_not_pay_is_not_tried_again),
		store_test(a_list_decides_what_is_looked_for),
		store_test(a_large_old_content_is_found_by_its_size),
		store_test(verify_says_what_is_wrong),
		store_test(placed_names_of_one_content_are_links),
		store_test(a_compressed_content_can_be_placed_plain),
		store_test(all_contents_are_kept_plain_on_request),
		store_test(a_spare_content_is_compressed_only_when_settled),
		store_test(a_sweep_removes_what_nobody_wants),
		store_test(a_content_can_come_by_way_of_a_spool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
