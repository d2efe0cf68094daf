/*
 * Fetching contents from a server that misbehaves on purpose. Loopback only.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/run.h"
#include "common/codec/zstd_stream.h"
#include "otaclient/source/fetch_pool.h"
#include "tests/support/origin.h"
#include "tests/unit/sentence.h"

enum {
	CONTENTS_MAX = 2048,
};

/* An image on a server, and a store that is to get its contents. */
struct shop {
	char dir[64];
	char root[80];
	struct file_table *table;
	uint32_t wanted[CONTENTS_MAX];
	size_t n_wanted;
	struct origin origin;
	struct fetch_config config;
	char base_url[128];
	struct fetch_progress sum;
	unsigned n_reports;
	atomic_uint n_polls;
	unsigned stop_at_poll; /* 0 = never */
	struct ota_err err;
};

static int setup(void **state)
{
	struct shop *s = calloc(1, sizeof(*s));
	char path[128];

	snprintf(s->dir, sizeof(s->dir), "/tmp/ota-fetch-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->root, sizeof(s->root), "%s/root", s->dir);
	assert_int_equal(mkdir(s->root, 0700), 0);
	snprintf(path, sizeof(path), "%s/data", s->root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/data.zst", s->root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/store", s->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	s->table = file_table_new();
	s->config = (struct fetch_config){
		.http = {.retry_base_ms = 1, .stall_timeout_ms = 10 * 1000},
		.base_url = s->base_url,
		.rootfs_dir = "data",
		.compressed_dir = "data.zst",
		.store_dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	};
	assert_true(s->config.store_dir_fd >= 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct shop *s = *state;
	const char *argv[] = {"rm", "-rf", s->dir, NULL};

	io_set_hook(NULL, NULL);
	origin_stop(&s->origin);
	close(s->config.store_dir_fd);
	file_table_free(s->table);
	assert_int_equal(run_tool(&(struct run_args){.argv = argv}, NULL), 0);
	free(s);
	return 0;
}

/* ---- what the server has ---- */

static void put_file(struct shop *s, const char *name, const void *data, size_t len)
{
	char path[256];
	AUTO_CLOSE int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", s->root, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len), 0);
}

static int collect(void *ctx, const void *data, size_t len)
{
	return buf_append(ctx, data, len);
}

static void compress(const void *data, size_t len, struct buf *ret_frame)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(3);

	assert_int_equal(zstd_encoder_start(e, len), 0);
	assert_int_equal(zstd_encoder_feed(e, data, len, collect, ret_frame), 0);
	assert_int_equal(zstd_encoder_finish(e, collect, ret_frame), 0);
}

/* Bytes that compress, but not to nothing, and differ from file to file. */
static char *make_bytes(unsigned seed, size_t len)
{
	char *data = malloc(len + 1);
	uint32_t x = seed * 2654435761u + 1;

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		x = x * 1103515245u + 12345;
		data[i] = (char)('a' + (x >> 28));
	}
	return data;
}

/* A file "/f<seed>" of the image, which is wanted. Returns its digest in hex, good until four more are added. */
static const char *add(struct shop *s, unsigned seed, size_t len, bool zst, bool size_known)
{
	static char hexes[5][DIGEST_HEX_MAX];
	static unsigned next;
	char *hex = hexes[next++ % ARRAY_SIZE(hexes)], name[128], *path;
	AUTO_FREE char *data = make_bytes(seed, len);
	AUTO_BUF struct buf frame = {0};
	struct digest digest;
	struct file_entry f = {.mode = 0644};

	digest_of(data, len, &digest);
	digest_to_hex(&digest, hex);
	if (zst) {
		compress(data, len, &frame);
		snprintf(name, sizeof(name), "data.zst/%s.zst", hex);
		put_file(s, name, frame.data, frame.len_bytes);
	} else {
		snprintf(name, sizeof(name), "data/f%u", seed);
		put_file(s, name, data, len);
	}
	snprintf(name, sizeof(name), "/f%u", seed);
	path = arena_strndup(file_table_arena(s->table), name, strlen(name));
	f.path = (struct text){path, (uint32_t)strlen(name)};
	assert_int_equal(file_table_add_file(s->table, &f, &digest,
				 size_known ? len : CONTENT_SIZE_UNKNOWN, zst, 0),
		0);
	s->wanted[s->n_wanted] = (uint32_t)s->n_wanted;
	s->n_wanted++;
	return hex;
}

static void serve(struct shop *s, const char *script)
{
	origin_start(&s->origin, &(struct origin_options){.script = script, .root = s->root});
	snprintf(s->base_url, sizeof(s->base_url), "%s", origin_url(&s->origin, "/"));
}

/* ---- the run ---- */

static void count_progress(void *ctx, const struct fetch_progress *delta)
{
	struct shop *s = ctx;

	s->sum.files += delta->files;
	s->sum.plain_bytes += delta->plain_bytes;
	s->sum.wire_bytes += delta->wire_bytes;
	s->sum.errors += delta->errors;
	s->n_reports++;
}

static bool want_stop(void *ctx)
{
	struct shop *s = ctx;
	unsigned n = atomic_fetch_add(&s->n_polls, 1) + 1;

	return s->stop_at_poll && n >= s->stop_at_poll;
}

static int run(struct shop *s)
{
	assert_int_equal(file_table_seal(s->table, &s->err), 0);
	return fetch_pool_run(&s->config, s->table, s->wanted, s->n_wanted, count_progress,
		want_stop, s, &s->err);
}

static unsigned store_count(struct shop *s, const char *prefix)
{
	AUTO_CLOSEDIR DIR *dir = fdopendir(openat(s->config.store_dir_fd, ".", O_RDONLY));
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
			strncmp(e->d_name, prefix, strlen(prefix)) == 0)
			n++;
	return n;
}

static void assert_stored(struct shop *s)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();

	for (size_t i = 0; i < s->n_wanted; i++) {
		const struct content *c = &s->table->contents[i];
		char hex[DIGEST_HEX_MAX];
		struct digest digest;
		uint64_t size;
		struct stat st;

		digest_to_hex(&c->digest, hex);
		AUTO_CLOSE int fd = openat(s->config.store_dir_fd, hex, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(digest_of_fd(ctx, fd, &digest, &size), 0);
		assert_true(digest_equal(&digest, &c->digest));
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	assert_int_equal(store_count(s, ""), s->n_wanted);
}

static void assert_ran(struct shop *s)
{
	if (run(s) != 0)
		fail_msg("%s", s->err.msg);
	assert_stored(s);
	assert_int_equal(s->sum.files, s->n_wanted);
}

/* It failed so, with a sentence that holds @what, and left no unfinished file. */
static void assert_failed(struct shop *s, int r, enum ota_code code, const char *what)
{
	assert_int_equal(run(s), r);
	assert_int_equal(s->err.errnum, r);
	if (s->err.code != code || !strstr(s->err.msg, what))
		fail_msg("E%03d: %s", (int)s->err.code, s->err.msg);
	assert_int_equal(store_count(s, IO_TMP_PREFIX), 0);
}

/* ---- tests ---- */

static void contents_land_under_their_digests(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, true);
	add(s, 2, 300000, true, true);
	add(s, 3, 3 << 20, true, true);
	add(s, 4, 2 << 20, false, true);
	add(s, 5, 5000, false, false); /* an old list: no size */
	add(s, 6, 5000, true, false);
	serve(s, NULL);
	assert_ran(s);
	assert_int_equal(s->sum.plain_bytes, 1000 + 300000 + (3 << 20) + (2 << 20) + 10000);
	assert_true(s->sum.wire_bytes < s->sum.plain_bytes);
	assert_int_equal(s->sum.errors, 0);
	assert_int_equal(origin_hits(&s->origin, "ota-file-cache-control"), 0);
	assert_int_equal(origin_hits(&s->origin, "accept-encoding"), 0);
}

static void without_a_compressed_folder_plain_files_are_asked_for(void **state)
{
	struct shop *s = *state;
	AUTO_FREE char *data = make_bytes(1, 1000);

	add(s, 1, 1000, true, true);
	put_file(s, "data/f1", data, 1000);
	s->config.compressed_dir = "";
	serve(s, NULL);
	assert_ran(s);
	assert_true(origin_saw(&s->origin, 0, "\"path\": \"/data/f1\""));
}

static void the_empty_content_needs_no_server(void **state)
{
	struct shop *s = *state;

	add(s, 1, 0, false, true);
	serve(s, NULL);
	assert_ran(s);
	assert_int_equal(origin_hits(&s->origin, ""), 0);
}

static void nothing_to_fetch_is_fine(void **state)
{
	struct shop *s = *state;

	assert_int_equal(run(s), 0);
	assert_int_equal(s->n_reports, 0);
}

static void many_contents_come_in_another_order(void **state)
{
	struct shop *s = *state;
	unsigned in_order = 0;

	for (unsigned i = 0; i < 600; i++)
		add(s, i, 100 + i, i % 2, true);
	s->config.n_threads = 4;
	serve(s, NULL);
	assert_ran(s);
	assert_int_equal(origin_hits(&s->origin, ""), 600);
	for (unsigned i = 0; i < 600; i += 2) {
		char path[32];

		snprintf(path, sizeof(path), "\"/data/f%u\"", i);
		in_order += origin_saw(&s->origin, i, path);
	}
	/* 300 by chance in their place: as good as never. */
	assert_true(in_order < 100);
	assert_true(origin_connections(&s->origin) <= 4 * 8);
}

static void a_cut_frame_is_continued(void **state)
{
	struct shop *s = *state;
	char script[512];
	const char *hex = add(s, 1, 2 << 20, true, true);

	snprintf(script, sizeof(script),
		"{\"/data.zst/%s.zst\": ["
		"{\"file\": \"data.zst/%s.zst\", \"ranges\": true, \"etag\": \"\\\"1\\\"\", "
		"\"cut_after\": 100000},"
		"{\"file\": \"data.zst/%s.zst\", \"ranges\": true, \"etag\": \"\\\"1\\\"\"}]}",
		hex, hex, hex);
	serve(s, script);
	assert_ran(s);
	assert_true(origin_saw(&s->origin, 1, "\"range\": \"bytes=100000-\""));
	assert_int_equal(s->sum.errors, 1);
}

static void wrong_bytes_are_replaced_by_a_second_try(void **state)
{
	struct shop *s = *state;

	add(s, 1, 100000, false, true);
	serve(s, "{\"/data/f1\": [{\"size\": 100000}, {\"size\": 99999}, {\"size\": 100001}, "
		 "{\"file\": \"data/f1\"}]}");
	assert_ran(s);
	assert_int_equal(s->sum.errors, 3);
}

static void through_a_proxy_the_second_try_goes_past_the_cache(void **state)
{
	struct shop *s = *state;
	char proxy[64], script[512], control[256];
	const char *hex = add(s, 1, 1000, true, true);

	snprintf(script, sizeof(script),
		"{\"/img/data.zst/%s.zst\": [{\"size\": 100}, {\"file\": \"data.zst/%s.zst\"}]}",
		hex, hex);
	serve(s, script);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", s->origin.port);
	s->config.http.proxy = proxy;
	snprintf(s->base_url, sizeof(s->base_url), "https://ota.invalid/img/");
	assert_ran(s);
	snprintf(control, sizeof(control),
		"\"ota-file-cache-control\": \"file_sha256=%s,file_compression_alg=zst\"", hex);
	assert_true(origin_saw(&s->origin, 0, control));
	snprintf(control, sizeof(control),
		"\"ota-file-cache-control\": "
		"\"retry_caching,file_sha256=%s,file_compression_alg=zst\"",
		hex);
	assert_true(origin_saw(&s->origin, 1, control));
}

static void bytes_that_stay_wrong_break_the_image(void **state)
{
	struct shop *s = *state;
	const char *hex = add(s, 1, 100, false, true);

	serve(s, "{\"/data/f1\": [{\"size\": 100}]}");
	assert_int_equal(run(s), -EBADMSG);
	assert_int_equal(s->err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_sentence(&s->err,
		"Cannot fetch the content of /f1: What the server sends is not the content %s: "
		"its digest is another",
		hex);
	assert_int_equal(origin_hits(&s->origin, ""), HTTP_TRIES_MAX);
	assert_int_equal(store_count(s, ""), 0);
}

static void a_list_with_a_wrong_size_is_told_from_wrong_bytes(void **state)
{
	struct shop *s = *state;

	add(s, 1, 100, false, true);
	put_file(s, "data/f1", "short", 5);
	serve(s, NULL);
	assert_failed(s, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "it is shorter");
}

static void frames_that_are_not_right_are_refused(void **state)
{
	static const struct {
		const char *what, *sentence;
	} rows[] = {
		{"garbage", "no whole zstd frame"         },
		{"two",     "no whole zstd frame"         },
		{"half",    "its zstd frame ends early"   },
		{"other",   "its digest is another"       },
		{"longer",  "no whole zstd frame of that "},
		{"shorter", "it is shorter"               },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *hex;
		char name[128];
		struct shop *s;
		void *one;
		AUTO_BUF struct buf frame = {0};
		AUTO_FREE char *data = make_bytes(1, 6000), *other = make_bytes(2, 5000);

		setup(&one);
		s = one;
		s->config.http.retry_base_ms = 1;
		hex = add(s, 1, 5000, true, true);
		switch (i) {
		case 0:
			buf_puts(&frame, "this is no frame at all");
			break;
		case 1:
			compress(data, 5000, &frame);
			compress(data, 5000, &frame);
			break;
		case 2:
			compress(data, 5000, &frame);
			frame.len_bytes /= 2;
			break;
		case 3:
			compress(other, 5000, &frame);
			break;
		case 4:
			compress(data, 6000, &frame);
			break;
		case 5:
			compress(data, 4000, &frame);
			break;
		}
		snprintf(name, sizeof(name), "data.zst/%s.zst", hex);
		put_file(s, name, frame.data, frame.len_bytes);
		serve(s, NULL);
		assert_failed(s, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, rows[i].sentence);
		teardown(&one);
	}
}

static void an_endless_body_is_not_endured(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, false);
	s->config.max_unknown_size_bytes = 100000;
	serve(s, "{\"/data/f1\": [{\"endless\": true}]}");
	assert_failed(s, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "it is longer");
	assert_true(s->sum.wire_bytes < 16 << 20);
}

static void what_a_cache_says_of_its_bytes_counts(void **state)
{
	struct shop *s = *state;
	char script[2048];
	const char *hex = add(s, 1, 5000, true, true);
	AUTO_FREE char *data = make_bytes(1, 5000);

	put_file(s, "data/f1", data, 5000);
	/* Says it is another; says it is not compressed; says so by saying nothing. */
	snprintf(script, sizeof(script),
		"{\"/data.zst/%s.zst\": ["
		"{\"file\": \"data.zst/%s.zst\", \"headers\": {\"ota-file-cache-control\":"
		" \"file_sha256=0000000000000000000000000000000000000000000000000000000000000000\"}"
		"},"
		"{\"file\": \"data/f1\", \"headers\": {\"ota-file-cache-control\":"
		" \"file_sha256=%s , file_compression_alg=none\"}}]}",
		hex, hex, hex);
	serve(s, script);
	assert_ran(s);
	assert_int_equal(s->sum.errors, 1);
}

static void a_cache_may_have_the_plain_file(void **state)
{
	struct shop *s = *state;
	char script[1024];
	const char *hex = add(s, 1, 5000, true, true);
	AUTO_FREE char *data = make_bytes(1, 5000);

	put_file(s, "data/f1", data, 5000);
	snprintf(script, sizeof(script),
		"{\"/data.zst/%s.zst\": [{\"file\": \"data/f1\", \"headers\": "
		"{\"ota-file-cache-control\":"
		" \"file_sha256=%s\"}}]}",
		hex, hex);
	serve(s, script);
	assert_ran(s);
	assert_int_equal(s->sum.errors, 0);
}

static void a_cache_may_have_the_compressed_file(void **state)
{
	struct shop *s = *state;
	char script[1024];
	const char *hex = add(s, 1, 5000, false, true);
	AUTO_FREE char *data = make_bytes(1, 5000);
	AUTO_BUF struct buf frame = {0};

	compress(data, 5000, &frame);
	put_file(s, "blob", frame.data, frame.len_bytes);
	snprintf(script, sizeof(script),
		"{\"/data/f1\": [{\"file\": \"blob\", \"headers\": {\"ota-file-cache-control\":"
		" \"file_sha256=%s,file_compression_alg=zst\"}}]}",
		hex);
	serve(s, script);
	assert_ran(s);
}

/* A content of 9 MiB as its frame, cut in the middle; @rest_control: what a cache says of the rest. */
static void serve_cut_frame(struct shop *s, const char *rest_control)
{
	char script[2048], control[256] = "";
	const char *hex = add(s, 1, 9 << 20, true, true);

	if (rest_control)
		snprintf(control, sizeof(control),
			", \"headers\": {\"ota-file-cache-control\": \"file_sha256=%s%s\"}", hex,
			rest_control);
	snprintf(script, sizeof(script),
		"{\"/data.zst/%s.zst\": ["
		"{\"file\": \"data.zst/%s.zst\", \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		"\"cut_after\": 3000000},"
		"{\"file\": \"data.zst/%s.zst\", \"ranges\": true, \"etag\": \"\\\"v1\\\"\"%s},"
		"{\"file\": \"data.zst/%s.zst\"}]}",
		hex, hex, hex, control, hex);
	serve(s, script);
}

static void a_large_frame_goes_on_after_a_cut(void **state)
{
	struct shop *s = *state;

	serve_cut_frame(s, ",file_compression_alg=zst");
	assert_ran(s);
	assert_int_equal(origin_hits(&s->origin, ""), 2);
	assert_int_equal(origin_hits(&s->origin, "bytes=3000000-"), 1);
	assert_true(s->sum.wire_bytes < 9 << 20);
}

/* It is not even begun: all is asked for anew, past the cache. */
static void a_rest_in_another_form_is_not_taken(void **state)
{
	struct shop *s = *state;

	serve_cut_frame(s, "");
	assert_ran(s);
	assert_int_equal(origin_hits(&s->origin, ""), 3);
	assert_true(s->sum.wire_bytes < 8 << 20);
}

static void a_coding_on_the_way_is_undone_for_plain_files(void **state)
{
	struct shop *s = *state;

	add(s, 1, 5000, false, true);
	serve(s, "{\"/data/f1\": [{\"file\": \"data/f1\", \"gzip\": true}]}");
	assert_ran(s);
}

static void the_first_failure_ends_the_pool(void **state)
{
	struct shop *s = *state;

	for (unsigned i = 0; i < 500; i++)
		add(s, i, 1000, false, true);
	serve(s, "{\"/data/f7\": [{\"status\": 404}], \"/data/f300\": [{\"size\": 1000, "
		 "\"stall_after\": 10}]}");
	assert_failed(s, -ENOENT, OTA_E_OTA_IMAGE_INVALID,
		"/data/f7: the server does not have it (status 404)");
	assert_non_null(strstr(s->err.msg, "Cannot fetch the content of /f7: "));
}

static void refused_cookies_are_named_so(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, true);
	serve(s, "{\"*\": [{\"status\": 403}]}");
	assert_failed(s, -EACCES, OTA_E_COOKIE_INVALID, "the server forbids it (status 403)");
}

static void stopping_drops_what_is_under_way(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, true);
	s->stop_at_poll = 3;
	serve(s, "{\"/data/f1\": [{\"size\": 1000, \"stall_after\": 10}]}");
	assert_failed(s, -ECANCELED, OTA_E_ABORTED, "The fetching was stopped");
}

static void silence_ends_the_pool_with_its_cause(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, true);
	s->config.inactivity_ms = 1000;
	serve(s, "{\"/data/f1\": [{\"status\": 503}]}");
	assert_failed(s, -ETIMEDOUT, OTA_E_NETWORK, "the server is busy (status 503)");
	assert_non_null(strstr(s->err.msg, "No byte came for 1 s: Cannot fetch http://"));
}

static void an_outage_is_outlasted(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, true);
	serve(s, "{\"/data/f1\": [{\"status\": 502}, {\"status\": 502}, {\"status\": 502}, "
		 "{\"status\": 502},"
		 "{\"status\": 502}, {\"status\": 502}, {\"status\": 502}, {\"status\": 502}, "
		 "{\"status\": 502},"
		 "{\"status\": 502}, {\"file\": \"data/f1\"}]}");
	assert_ran(s);
	assert_int_equal(s->sum.errors, 10);
}

static int full_disk(void *ctx, const char *what)
{
	return strcmp(what, "fetch: content") == 0 ? -ENOSPC : 0;
}

static void a_full_disk_ends_the_pool_at_once(void **state)
{
	struct shop *s = *state;

	add(s, 1, 1000, false, true);
	io_set_hook(full_disk, NULL);
	serve(s, NULL);
	assert_failed(s, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
		"Cannot fetch the content of /f1: Cannot keep its file: No space left on device");
	assert_int_equal(origin_hits(&s->origin, ""), 1);
	assert_int_equal(store_count(s, ""), 0);
}

static void a_store_that_is_gone_is_no_fault_of_the_network(void **state)
{
	struct shop *s = *state;
	char path[128];

	add(s, 1, 1000, false, true);
	snprintf(path, sizeof(path), "%s/store", s->dir);
	assert_int_equal(rmdir(path), 0);
	serve(s, NULL);
	assert_int_equal(run(s), -ENOENT);
	assert_int_equal(s->err.code, OTA_E_APPLY_OTAUPDATE_FAILED);
	assert_non_null(strstr(s->err.msg, "Cannot make a folder in the store: No such file"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(contents_land_under_their_digests),
		TEST(without_a_compressed_folder_plain_files_are_asked_for),
		TEST(the_empty_content_needs_no_server),
		TEST(nothing_to_fetch_is_fine),
		TEST(many_contents_come_in_another_order),
		TEST(a_cut_frame_is_continued),
		TEST(wrong_bytes_are_replaced_by_a_second_try),
		TEST(through_a_proxy_the_second_try_goes_past_the_cache),
		TEST(bytes_that_stay_wrong_break_the_image),
		TEST(a_list_with_a_wrong_size_is_told_from_wrong_bytes),
		cmocka_unit_test(frames_that_are_not_right_are_refused),
		TEST(an_endless_body_is_not_endured),
		TEST(what_a_cache_says_of_its_bytes_counts),
		TEST(a_cache_may_have_the_plain_file),
		TEST(a_cache_may_have_the_compressed_file),
		TEST(a_large_frame_goes_on_after_a_cut),
		TEST(a_rest_in_another_form_is_not_taken),
		TEST(a_coding_on_the_way_is_undone_for_plain_files),
		TEST(the_first_failure_ends_the_pool),
		TEST(refused_cookies_are_named_so),
		TEST(stopping_drops_what_is_under_way),
		TEST(silence_ends_the_pool_with_its_cause),
		TEST(an_outage_is_outlasted),
		TEST(a_full_disk_ends_the_pool_at_once),
		TEST(a_store_that_is_gone_is_no_fault_of_the_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
