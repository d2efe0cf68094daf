/*
 * test_origins: the list of allowed servers, and its file that comes and changes.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "otaproxy/origins.h"
#include "tests/unit/tmp_dir.h"

static struct origins *list_of(const char *text)
{
	struct origins *o = NULL;
	struct ota_err err = {0};

	if (origins_parse(text, strlen(text), "list", &o, &err) < 0)
		fail_msg("%s", err.msg);
	return o;
}

/* "https://…" as the list has it; "" = not allowed. */
static const char *asked(const struct origins *o, const char *authority)
{
	static char text[AUTHORITY_ORIGIN_MAX];
	const struct origin *found;
	struct authority a;

	assert_int_equal(authority_parse(authority, strlen(authority), &a), 0);
	found = origins_find(o, &a);
	return found ? authority_origin(&found->authority, found->https, text) : "";
}

static void a_list_names_servers_with_their_scheme(void **state)
{
	AUTO_ORIGINS struct origins *o =
		list_of("https://Image.Example\nHTTP://10.0.0.1:8080\n\nhttp://[::1]\n");

	assert_true(o->known);
	assert_int_equal(o->n, 3);
	assert_string_equal(asked(o, "image.EXAMPLE"), "https://image.example");
	assert_string_equal(asked(o, "image.example:443"), "https://image.example");
	assert_string_equal(asked(o, "image.example:80"), "");
	assert_string_equal(asked(o, "10.0.0.1:8080"), "http://10.0.0.1:8080");
	assert_string_equal(asked(o, "10.0.0.1"), "");
	assert_string_equal(asked(o, "[0::1]"), "http://[::1]");
	assert_string_equal(asked(o, "[::1]:80"), "http://[::1]");
	assert_string_equal(asked(o, "example"), "");
	assert_string_equal(asked(o, "x.image.example"), "");
}

static void https_wins_where_both_are_allowed(void **state)
{
	AUTO_ORIGINS struct origins *a = list_of("https://h\nhttp://h\n");
	AUTO_ORIGINS struct origins *b = list_of("http://h\nhttps://h\n");

	assert_string_equal(asked(a, "h"), "https://h");
	assert_string_equal(asked(b, "h"), "https://h");
	assert_string_equal(asked(b, "h:80"), "http://h");
}

static void an_empty_list_allows_nothing(void **state)
{
	AUTO_ORIGINS struct origins *o = list_of("");

	assert_true(o->known);
	assert_string_equal(asked(o, "h"), "");
}

static void a_wrong_line_is_named(void **state)
{
	static const char *const lines[] = {"h", "ftp://h", "http:h", "http://", "http://h/",
		"http://h ", " http://h", "http://u@h", "http://h:0", "http://h\r", "# http://h",
		"http://*.h"};
	char text[64];

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct origins *o = NULL;
		struct ota_err err = {0};

		snprintf(text, sizeof(text), "http://fine\n%s\n", lines[i]);
		if (origins_parse(text, strlen(text), "list", &o, &err) != -EBADMSG)
			fail_msg("%s was taken", lines[i]);
		assert_string_equal(err.msg,
			"Line 2 of list is no http:// or https:// with host and "
			"port and nothing else");
		assert_null(o);
	}
}

static void half_a_line_is_not_taken(void **state)
{
	struct origins *o = NULL;
	struct ota_err err = {0};

	assert_int_equal(origins_parse("http://a\nhttp://b", 17, "list", &o, &err), -EBADMSG);
	assert_string_equal(err.msg, "Line 2 of list does not end");
}

static void a_list_has_limits(void **state)
{
	static char long_line[ORIGINS_LINE_MAX_BYTES + 2];
	AUTO_BUF struct buf b = {0};
	struct origins *o = NULL;
	struct ota_err err = {0};

	for (unsigned i = 0; i < ORIGINS_LINES_MAX; i++)
		assert_int_equal(buf_printf(&b, "http://h%u\n", i), 0);
	assert_int_equal(origins_parse(b.data, b.len_bytes, "list", &o, &err), 0);
	assert_int_equal(o->n, ORIGINS_LINES_MAX);
	origins_unref(TAKE_PTR(o));
	assert_int_equal(buf_puts(&b, "\n"), 0);
	assert_int_equal(origins_parse(b.data, b.len_bytes, "list", &o, &err), -E2BIG);
	assert_string_equal(err.msg, "list has more than 64 lines");
	memset(long_line, 'a', sizeof(long_line) - 1);
	assert_int_equal(origins_parse(long_line, sizeof(long_line) - 1, "list", &o, &err), -E2BIG);
	assert_string_equal(err.msg, "Line 1 of list is longer than 512 bytes");
}

/* A file in a test's folder, and who reads it. */
struct watched {
	char path[96];
	struct origins_file *file;
	unsigned n_writes;
};

static void watched_init(struct watched *w, const struct tmp_dir *d)
{
	*w = (struct watched){0};
	snprintf(w->path, sizeof(w->path), "%s/origins", d->path);
	assert_int_equal(origins_file_new(w->path, &w->file), 0);
}

/* As its owner does it: by a new file in the old one's place. The time moves on by itself. */
static void watched_write(struct watched *w, const char *text)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000 + ++w->n_writes}};
	char other[sizeof(w->path) + 2];
	int fd;

	snprintf(other, sizeof(other), "%s~", w->path);
	fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	assert_int_equal(rename(other, w->path), 0);
}

static void a_list_is_not_known_before_its_file_comes(void **state)
{
	struct watched w;
	struct ota_err trouble = {0};

	watched_init(&w, *state);
	{
		AUTO_ORIGINS struct origins *o = origins_file_get(w.file, &trouble);

		assert_false(o->known);
	}
	watched_write(&w, "http://a\n");
	{
		AUTO_ORIGINS struct origins *o = origins_file_get(w.file, &trouble);

		assert_true(o->known);
		assert_string_equal(asked(o, "a"), "http://a");
	}
	assert_int_equal(unlink(w.path), 0);
	{
		AUTO_ORIGINS struct origins *o = origins_file_get(w.file, &trouble);

		assert_false(o->known);
	}
	assert_int_equal(trouble.errnum, 0);
	origins_file_free(w.file);
}

static void a_changed_file_is_read_again_and_an_unchanged_one_is_not(void **state)
{
	struct watched w;
	struct origins *first, *same, *next;

	watched_init(&w, *state);
	watched_write(&w, "http://a\n");
	first = origins_file_get(w.file, NULL);
	same = origins_file_get(w.file, NULL);
	assert_ptr_equal(first, same);
	watched_write(&w, "http://b\n");
	next = origins_file_get(w.file, NULL);
	assert_string_equal(asked(next, "b"), "http://b");
	assert_string_equal(asked(next, "a"), "");
	origins_file_free(w.file);
	assert_string_equal(asked(first, "a"), "http://a"); /* who has it keeps it */
	origins_unref(first);
	origins_unref(same);
	origins_unref(next);
}

static void a_broken_file_allows_nothing_and_is_told_once(void **state)
{
	struct watched w;
	char sentence[160];

	watched_init(&w, *state);
	watched_write(&w, "http://a\n");
	origins_unref(origins_file_get(w.file, NULL));
	watched_write(&w, "http://b");
	snprintf(sentence, sizeof(sentence), "Line 1 of %s does not end", w.path);
	for (unsigned i = 0; i < 3; i++) {
		struct ota_err trouble = {0};
		AUTO_ORIGINS struct origins *o = origins_file_get(w.file, &trouble);

		assert_false(o->known);
		assert_int_equal(o->n, 0);
		assert_int_equal(trouble.errnum, i == 0 ? -EBADMSG : 0);
		assert_string_equal(trouble.msg, i == 0 ? sentence : "");
	}
	origins_file_free(w.file);
}

static void what_is_no_file_is_told(void **state)
{
	struct watched w;
	struct ota_err trouble = {0};
	char sentence[160];

	watched_init(&w, *state);
	assert_int_equal(mkfifo(w.path, 0600), 0);
	origins_unref(origins_file_get(w.file, &trouble));
	snprintf(sentence, sizeof(sentence), "%s is no regular file", w.path);
	assert_string_equal(trouble.msg, sentence);
	assert_int_equal(unlink(w.path), 0);
	assert_int_equal(symlink("origins", w.path), 0); /* to itself: stat fails too */
	trouble = (struct ota_err){0};
	origins_unref(origins_file_get(w.file, &trouble));
	assert_int_equal(trouble.errnum, 0);
	origins_file_free(w.file);
}

static void a_file_beyond_all_limits_is_not_read(void **state)
{
	static char text[ORIGINS_FILE_MAX_BYTES + 2];
	struct watched w;
	struct ota_err trouble = {0};

	watched_init(&w, *state);
	memset(text, '\n', sizeof(text) - 1);
	watched_write(&w, text);
	origins_unref(origins_file_get(w.file, &trouble));
	assert_int_equal(trouble.errnum, -EFBIG);
	assert_int_equal(strncmp(trouble.msg, "Cannot read /", 13), 0);
	origins_file_free(w.file);
}

enum {
	N_THREADS = 4,
	N_ROUNDS = 200,
};

/* Every list that is seen is a whole one, else @file is returned. */
static void *look(void *file)
{
	for (unsigned i = 0; i < N_ROUNDS; i++) {
		struct origins *o = origins_file_get(file, NULL);
		bool fine = o->known && o->n == 1;

		origins_unref(o);
		if (!fine)
			return file;
	}
	return NULL;
}

static void many_threads_see_whole_lists(void **state)
{
	struct watched w;
	pthread_t threads[N_THREADS];
	void *wrong = NULL;

	watched_init(&w, *state);
	watched_write(&w, "http://a\n");
	for (unsigned i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look, w.file), 0);
	for (unsigned i = 0; i < N_ROUNDS; i++)
		watched_write(&w, i % 2 ? "http://a\n" : "http://b\n");
	for (unsigned i = 0; i < N_THREADS; i++) {
		void *said;

		pthread_join(threads[i], &said);
		wrong = said ? said : wrong;
	}
	assert_null(wrong);
	origins_file_free(w.file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_names_servers_with_their_scheme),
		cmocka_unit_test(https_wins_where_both_are_allowed),
		cmocka_unit_test(an_empty_list_allows_nothing),
		cmocka_unit_test(a_wrong_line_is_named),
		cmocka_unit_test(half_a_line_is_not_taken),
		cmocka_unit_test(a_list_has_limits),
		tmp_dir_test(a_list_is_not_known_before_its_file_comes),
		tmp_dir_test(a_changed_file_is_read_again_and_an_unchanged_one_is_not),
		tmp_dir_test(a_broken_file_allows_nothing_and_is_told_once),
		tmp_dir_test(what_is_no_file_is_told),
		tmp_dir_test(a_file_beyond_all_limits_is_not_read),
		tmp_dir_test(many_threads_see_whole_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
