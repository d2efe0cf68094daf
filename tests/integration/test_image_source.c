/*
 * From a URL to a verified image, with the sample image on a server that may misbehave. Loopback only.
 *
 * Argument: the folder tests/data/sample-image.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/codec/zstd_patch.h"
#include "common/codec/zstd_stream.h"
#include "common/image/patch_list.h"
#include "otaclient/source/image_source.h"
#include "tests/support/origin.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

static char sample_dir[4096];

struct bench {
	char certs_dir[64];
	struct cert_store *certs;
	struct origin origin;
	struct image_source_config config;
	char url[256];
	struct image image;
	uint64_t wire_bytes;
	unsigned n_polls, stop_at_poll; /* 0 = never */
	char zst_dir[64];               /* an image with compressed lists; "" = none */
	char running_dir[64]; /* the root of a system that an update has made; "" = none */
	char patch_name[PATCH_NAME_MAX + 16]; /* of the patch to regulars.txt, as it is asked for */
	unsigned n_warnings;
	char warning[512]; /* the last one */
	struct ota_err err;
};

static void count_wire(void *ctx, uint64_t wire_bytes)
{
	struct bench *b = ctx;

	b->wire_bytes += wire_bytes;
}

static bool want_stop(void *ctx)
{
	struct bench *b = ctx;

	return b->stop_at_poll && ++b->n_polls >= b->stop_at_poll;
}

static const char *const ca_names[] = {"test.root.pem", "test.interm.pem"};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	char from[4200], to[128];

	snprintf(b->certs_dir, sizeof(b->certs_dir), "/tmp/ota-certs-XXXXXX");
	assert_non_null(mkdtemp(b->certs_dir));
	for (size_t i = 0; i < ARRAY_SIZE(ca_names); i++) {
		snprintf(from, sizeof(from), "%s/keys/%s", sample_dir, ca_names[i]);
		snprintf(to, sizeof(to), "%s/%s", b->certs_dir, ca_names[i]);
		assert_int_equal(symlink(from, to), 0);
	}
	assert_int_equal(cert_store_open(b->certs_dir, NULL, NULL, &b->certs, NULL), 0);
	b->config = (struct image_source_config){
		.http = {.retry_base_ms = 1, .stall_timeout_ms = 10 * 1000},
		.url = b->url,
		.certs = b->certs,
		.scratch_dir_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.progress = count_wire,
		.stop = want_stop,
		.ctx = b,
	};
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	char path[128];

	origin_stop(&b->origin);
	image_done(&b->image);
	cert_store_free(b->certs);
	close(b->config.scratch_dir_fd);
	for (size_t i = 0; i < ARRAY_SIZE(ca_names); i++) {
		snprintf(path, sizeof(path), "%s/%s", b->certs_dir, ca_names[i]);
		unlink(path);
	}
	rmdir(b->certs_dir);
	if (b->zst_dir[0])
		nftw(b->zst_dir, tmp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (b->running_dir[0])
		nftw(b->running_dir, tmp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	log_set_sink(NULL, NULL);
	free(b);
	return 0;
}

static void serve(struct bench *b, const char *script)
{
	char root[4200];

	snprintf(root, sizeof(root), "%s/image", sample_dir);
	origin_start(&b->origin, &(struct origin_options){.script = script, .root = root});
	snprintf(b->url, sizeof(b->url), "%s", origin_url(&b->origin, ""));
}

static void assert_opened(struct bench *b)
{
	if (image_source_open(&b->config, &b->image, &b->err) != 0)
		fail_msg("%s", b->err.msg);
	assert_string_equal(b->image.meta.rootfs_dir, "data");
	assert_true(b->image.table->n_files > 0);
}

static void assert_refused(struct bench *b, int r, enum ota_code code, const char *sentence)
{
	assert_int_equal(image_source_open(&b->config, &b->image, &b->err), r);
	if (b->err.code != code || !strstr(b->err.msg, sentence))
		fail_msg("E%03d: %s", (int)b->err.code, b->err.msg);
	assert_int_equal(b->err.errnum, r);
	assert_null(b->image.table);
}

/* ---- the whole way ---- */

static void a_published_image_is_fetched_and_believed(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf want = {0};
	AUTO_CLOSE int dir_fd = -1;
	char root[4200];

	serve(b, NULL);
	assert_opened(b);
	snprintf(root, sizeof(root), "%s/image", sample_dir);
	dir_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(file_read(dir_fd, "regulars.txt", 1 << 24, &want), 0);
	assert_int_equal(b->image.texts[IMAGE_LIST_REGULARS].len_bytes, want.len_bytes);
	assert_memory_equal(b->image.texts[IMAGE_LIST_REGULARS].text, want.data, want.len_bytes);
	assert_string_equal(b->image.texts[IMAGE_LIST_REGULARS].name, "regulars.txt");
	assert_string_equal(b->image.texts[IMAGE_LIST_PERSISTENTS].name, "persistents.txt");
	assert_string_equal(b->image.texts[IMAGE_LIST_ATTRIBUTES].name, "");
	assert_int_equal(b->image.texts[IMAGE_LIST_ATTRIBUTES].len_bytes, 0);
	want.len_bytes = 0;
	assert_int_equal(file_read(dir_fd, "metadata.jwt", 1 << 24, &want), 0);
	assert_int_equal(b->image.jwt.len_bytes, want.len_bytes);
	assert_memory_equal(b->image.jwt.data, want.data, want.len_bytes);
	assert_true(b->image.cert.len_bytes > 0);
	assert_true(b->wire_bytes > b->image.texts[IMAGE_LIST_REGULARS].len_bytes);
	assert_true(b->image.base_url[strlen(b->image.base_url) - 1] == '/');
	assert_int_equal(origin_hits(&b->origin, ""), 7);
	assert_int_equal(origin_connections(&b->origin), 1);
}

static void no_scratch_folder_is_no_obstacle(void **state)
{
	struct bench *b = *state;

	close(b->config.scratch_dir_fd);
	b->config.scratch_dir_fd = -1;
	serve(b, NULL);
	assert_opened(b);
}

static void through_a_proxy_only_digests_come_from_its_cache(void **state)
{
	struct bench *b = *state;
	char proxy[64];

	serve(b, NULL);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", b->origin.port);
	b->config.http.proxy = proxy;
	b->config.http.cookies = "k=v";
	snprintf(b->url, sizeof(b->url), "https://ota.invalid");
	assert_opened(b);
	assert_true(origin_saw(&b->origin, 0, "\"target\": \"http://ota.invalid/oci-layout\""));
	assert_true(origin_saw(&b->origin, 0, "\"ota-file-cache-control\": \"no_cache\""));
	assert_true(origin_saw(&b->origin, 1, "\"target\": \"http://ota.invalid/metadata.jwt\""));
	assert_true(origin_saw(&b->origin, 1, "\"ota-file-cache-control\": \"no_cache\""));
	assert_true(origin_saw(&b->origin, 2, "\"ota-file-cache-control\": \"file_sha256="));
	assert_int_equal(origin_hits(&b->origin, "no_cache"), 2);
	assert_int_equal(origin_hits(&b->origin, "\"ota-file-cache-control\": \"file_sha256="), 5);
	assert_int_equal(origin_hits(&b->origin, "\"cookie\": \"k=v\""), 7);
}

/* ---- which format ---- */

static void an_image_of_the_other_format_is_named_as_such(void **state)
{
	struct bench *b = *state;

	serve(b,
		"{\"/oci-layout\": [{\"body\": \"{\\\"imageLayoutVersion\\\": \\\"1.0.0\\\"}\"}]}");
	assert_refused(b, -ENOTSUP, OTA_E_OTA_IMAGE_INVALID, "is an OTA image of format v1");
}

static void a_server_that_has_every_file_is_not_believed(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"*\": [{\"body\": \"<html>Welcome!</html>\"}]}");
	assert_refused(b, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"answers 200 for oci-layout, a file that does not exist");
}

static void even_if_that_file_has_no_end(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"*\": [{\"endless\": true}]}");
	assert_refused(b, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "answers 200 for oci-layout");
}

static void other_words_for_not_there_are_understood(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/oci-layout\": [{\"status\": 403}]}");
	assert_opened(b);
}

static void a_question_without_an_answer_is_dropped(void **state)
{
	struct bench *b = *state;
	uint64_t started = clock_monotonic_ms();

	b->config.http.stall_timeout_ms = 200;
	serve(b, "{\"/oci-layout\": [{\"size\": 10, \"stall_after\": 5}]}");
	assert_opened(b);
	assert_true(clock_monotonic_ms() - started < IMAGE_SOURCE_PROBE_MS + 1000);
}

/* ---- what can be wrong ---- */

static void without_a_trusted_certificate_nothing_is_believed(void **state)
{
	struct bench *b = *state;
	struct cert_store *empty = NULL;

	/* A folder without certificates. */
	assert_int_equal(cert_store_open("/proc/self/fdinfo", NULL, NULL, &empty, NULL), 0);
	b->config.certs = empty;
	serve(b, NULL);
	assert_refused(b, -ENOKEY, OTA_E_METADATAJWT_CERT_INVALID,
		"There is no CA certificate in /proc/self/fdinfo");
	cert_store_free(empty);
	/* No list was asked for. */
	assert_int_equal(origin_hits(&b->origin, ""), 3);
}

static void metadata_that_is_not_there_has_its_own_codes(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/metadata.jwt\": [{\"status\": 404}, {\"status\": 401}, {\"status\": 500}]}");
	assert_refused(
		b, -ENOENT, OTA_E_OTA_IMAGE_INVALID, "/metadata.jwt: the server does not have it");
	assert_refused(b, -EACCES, OTA_E_COOKIE_INVALID, "/metadata.jwt: the server wants other");
	assert_refused(b, -EIO, OTA_E_OTAMETA_DOWNLOAD_FAILED, "/metadata.jwt: the server failed");
}

static void metadata_without_end_is_refused(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/metadata.jwt\": [{\"endless\": true}]}");
	assert_refused(b, -EFBIG, OTA_E_OTA_IMAGE_INVALID, "more than the 262144 bytes");
}

static void metadata_that_is_none_is_refused(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/metadata.jwt\": [{\"body\": \"hello\"}]}");
	assert_refused(b, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "metadata.jwt");
}

static void a_wrong_certificate_file_is_refused(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/sign.pem\": [{\"body\": \"hello\"}]}");
	assert_refused(
		b, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "The server's sign.pem is not the one");
}

static void a_list_that_is_wrong_once_is_asked_for_again(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/regulars.txt\": [{\"body\": \"hello\"}, {\"file\": \"regulars.txt\"}]}");
	assert_opened(b);
}

static void a_list_that_stays_wrong_breaks_the_image(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/regulars.txt\": [{\"body\": \"hello\"}]}");
	assert_refused(b, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"The server's regulars.txt is not the one that the image's metadata.jwt names: its "
		"digest is"
		" 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824, not ");
	assert_int_equal(origin_hits(&b->origin, "\"/regulars.txt\""), HTTP_TRIES_MAX);
}

static void a_list_is_continued_after_a_cut(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/regulars.txt\": ["
		 "{\"file\": \"regulars.txt\", \"ranges\": true, \"etag\": \"\\\"1\\\"\", "
		 "\"cut_after\": 1000},"
		 "{\"file\": \"regulars.txt\", \"ranges\": true, \"etag\": \"\\\"1\\\"\"}]}");
	assert_opened(b);
	assert_int_equal(origin_hits(&b->origin, "\"range\": \"bytes=1000-\""), 1);
}

static void a_list_that_was_compressed_on_the_way_is_read(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/regulars.txt\": [{\"file\": \"regulars.txt\", \"gzip\": true}]}");
	assert_opened(b);
}

static void it_can_be_stopped(void **state)
{
	struct bench *b = *state;

	b->stop_at_poll = 2;
	serve(b, "{\"/regulars.txt\": [{\"file\": \"regulars.txt\", \"stall_after\": 1000}]}");
	assert_refused(
		b, -ECANCELED, OTA_E_ABORTED, "The fetching of the image's metadata was stopped");
}

static void silence_is_not_waited_out_for_ever(void **state)
{
	struct bench *b = *state;

	b->config.inactivity_ms = 1000;
	serve(b, "{\"/regulars.txt\": [{\"status\": 503}]}");
	assert_refused(
		b, -ETIMEDOUT, OTA_E_OTAMETA_DOWNLOAD_FAILED, "the server is busy (status 503)");
}

/* The fetcher has our limit. */
static void a_list_that_cannot_be_kept_is_named(void **state)
{
	struct bench *b = *state;
	int r;

	serve(b, NULL);
	refusal_limit(RLIMIT_FSIZE, 100);
	r = image_source_open(&b->config, &b->image, &b->err);
	refusal_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	assert_int_equal(r, -EFBIG);
	assert_sentence(&b->err, "Cannot keep the image's metadata.jwt: File too large");
}

/* ---- lists that are there compressed, too ---- */

static void keep_warning(void *ctx, const struct log_entry *entry)
{
	struct bench *b = ctx;

	if (entry->level != LOG_LEVEL_WARNING)
		return;
	b->n_warnings++;
	snprintf(b->warning, sizeof(b->warning), "%s", entry->text);
}

static int collect(void *ctx, const void *data, size_t len)
{
	return buf_append(ctx, data, len);
}

static void compress(const struct buf *data, struct buf *ret_frame)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(3);

	assert_int_equal(zstd_encoder_start(e, data->len_bytes), 0);
	assert_int_equal(zstd_encoder_feed(e, data->data, data->len_bytes, collect, ret_frame), 0);
	assert_int_equal(zstd_encoder_finish(e, collect, ret_frame), 0);
}

static void put_in(const char *dir, const char *name, const void *data, size_t len)
{
	char path[400];
	AUTO_CLOSE int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len), 0);
}

static void put(struct bench *b, const char *name, const void *data, size_t len)
{
	put_in(b->zst_dir, name, data, len);
}

static void put_meta(const char *dir, const struct image_meta *meta)
{
	AUTO_SIGN_KEY struct sign_key *key = NULL;
	AUTO_BUF struct buf jwt = {0};
	char path[4200];

	snprintf(path, sizeof(path), "%s/keys/sign.key", sample_dir);
	assert_int_equal(sign_key_load(path, &key, NULL), 0);
	assert_int_equal(image_meta_write(meta, key, &jwt, NULL), 0);
	put_in(dir, "metadata.jwt", jwt.data, jwt.len_bytes);
}

/* The sample with two of its lists compressed, and a word that no client knows yet. */
static void make_compressed(struct bench *b)
{
	static const char *const names[] = {
		"dirs.txt", "symlinks.txt", "regulars.txt", "persistents.txt", "sign.pem"};
	AUTO_BUF struct buf jwt = {0};
	struct image_meta meta;
	char path[4200], zst_name[64];

	snprintf(b->zst_dir, sizeof(b->zst_dir), "/tmp/ota-zst-lists-XXXXXX");
	assert_non_null(mkdtemp(b->zst_dir));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_BUF struct buf text = {0}, frame = {0};

		snprintf(path, sizeof(path), "%s/image/%s", sample_dir, names[i]);
		assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
		put(b, names[i], text.data, text.len_bytes);
		if (i != 1 && i != 2)
			continue;
		compress(&text, &frame);
		snprintf(zst_name, sizeof(zst_name), "%s.zst", names[i]);
		put(b, zst_name, frame.data, frame.len_bytes);
	}
	snprintf(path, sizeof(path), "%s/image/metadata.jwt", sample_dir);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &jwt), 0);
	assert_int_equal(image_meta_parse(jwt.data, jwt.len_bytes, &meta, NULL), 0);
	strcpy(meta.compressed_lists, "x_later");
	image_meta_add_zst(&meta, &meta.symlinks);
	image_meta_add_zst(&meta, &meta.regulars);
	put_meta(b->zst_dir, &meta);
}

static void serve_compressed(struct bench *b, const char *script)
{
	if (!b->zst_dir[0])
		make_compressed(b);
	log_set_sink(keep_warning, b);
	origin_start(&b->origin, &(struct origin_options){.script = script, .root = b->zst_dir});
	snprintf(b->url, sizeof(b->url), "%s", origin_url(&b->origin, ""));
}

/* Whichever way they came. */
static void assert_lists_are_the_samples(struct bench *b)
{
	static const enum image_list lists[] = {IMAGE_LIST_SYMLINKS, IMAGE_LIST_REGULARS};

	assert_opened(b);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const struct image_text *text = &b->image.texts[lists[i]];
		AUTO_BUF struct buf want = {0};
		char path[4200];

		snprintf(path, sizeof(path), "%s/image/%s", sample_dir, text->name);
		assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &want), 0);
		assert_int_equal(text->len_bytes, want.len_bytes);
		assert_memory_equal(text->text, want.data, want.len_bytes);
	}
}

static void lists_that_are_there_compressed_are_fetched_so_and_no_more(void **state)
{
	struct bench *b = *state;

	serve_compressed(b, NULL);
	assert_lists_are_the_samples(b);
	assert_int_equal(origin_hits(&b->origin, ""), 7);
	assert_int_equal(origin_hits(&b->origin, "\"/regulars.txt.zst\""), 1);
	assert_int_equal(origin_hits(&b->origin, "\"/symlinks.txt.zst\""), 1);
	assert_int_equal(origin_hits(&b->origin, "\"/dirs.txt\""), 1);
	assert_int_equal(b->n_warnings, 0);
}

static void a_proxy_is_told_that_they_are_compressed(void **state)
{
	struct bench *b = *state;
	char proxy[64];

	serve_compressed(b, NULL);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", b->origin.port);
	b->config.http.proxy = proxy;
	snprintf(b->url, sizeof(b->url), "https://ota.invalid");
	assert_lists_are_the_samples(b);
	assert_int_equal(origin_hits(&b->origin, ",file_compression_alg=zst\""), 2);
	assert_int_equal(origin_hits(&b->origin, "\"ota-file-cache-control\": \"file_sha256="), 5);
}

/* It keeps what it has by the digest of the plain list, and says which form that is. */
static void a_cache_may_have_the_other_form_of_a_list(void **state)
{
	struct bench *b = *state;
	char script[1024], hex[DIGEST_HEX_MAX];

	make_compressed(b);
	serve(b, NULL);
	assert_opened(b);
	digest_to_hex(&b->image.meta.regulars.digest, hex);
	image_done(&b->image);
	origin_stop(&b->origin);
	b->origin = (struct origin){0};

	snprintf(script, sizeof(script),
		"{\"/regulars.txt.zst\": [{\"file\": \"regulars.txt\", \"headers\": "
		"{\"ota-file-cache-control\": \"file_sha256=%s\"}}]}",
		hex);
	serve_compressed(b, script);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 0);
	image_done(&b->image);
	origin_stop(&b->origin);
	b->origin = (struct origin){0};

	snprintf(script, sizeof(script),
		"{\"/regulars.txt.zst\": [{\"status\": 404}], \"/regulars.txt\": "
		"[{\"file\": \"regulars.txt.zst\", \"headers\": {\"ota-file-cache-control\": "
		"\"file_sha256=%s,file_compression_alg=zst\"}}]}",
		hex);
	serve_compressed(b, script);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 1);
}

static void a_compressed_list_is_continued_after_a_cut(void **state)
{
	struct bench *b = *state;

	serve_compressed(b,
		"{\"/regulars.txt.zst\": ["
		"{\"file\": \"regulars.txt.zst\", \"ranges\": true, \"etag\": \"\\\"1\\\"\", "
		"\"cut_after\": 1000},"
		"{\"file\": \"regulars.txt.zst\", \"ranges\": true, \"etag\": \"\\\"1\\\"\"}]}");
	assert_lists_are_the_samples(b);
	assert_int_equal(origin_hits(&b->origin, "\"range\": \"bytes=1000-\""), 1);
	assert_int_equal(b->n_warnings, 0);
}

/* One zstd frame that says it has 2 GiB: bomb_bytes[5] is its window, the eight after it the size. */
static const unsigned char bomb_bytes[] = {
	0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x58, 0, 0, 0, 0x80, 0, 0, 0, 0, 0x02, 0, 0x10, 'a'};

static void what_is_wrong_with_a_compressed_list_costs_the_plain_one_alone(void **state)
{
	struct bench *b = *state;
	/* clang-format off */
	static const struct {
		const char *answer, *why;
		unsigned n_tries;
	} rows[] = {
		{"\"status\": 404", "the server does not have it", 1},
		{"\"status\": 403", "the server", 1},
		{"\"status\": 500", "the server failed", 3},
		{"\"hang_up\": true", "Empty reply", 4}, /* libcurl asks once more on its own */
		{"\"file\": \"regulars.txt.zst\", \"cut_after\": 100", "", 3},
		{"\"body\": \"hello\"", "it is no whole zstd frame of that size", 3},
		{"\"body\": \"\"", "its zstd frame ends early", 3},
		{"\"file\": \"regulars.txt\"", "it is no whole zstd frame of that size", 3},
		{"\"file\": \"symlinks.txt.zst\"", "its digest is ", 3},
		{"\"file\": \"bomb.zst\"", "it is no whole zstd frame of that size", 3},
		{"\"file\": \"short.zst\"", "its zstd frame ends early", 3},
		{"\"file\": \"long.zst\"", "it is no whole zstd frame of that size", 3},
	};
	/* clang-format on */
	AUTO_BUF struct buf frame = {0};
	char path[128];

	make_compressed(b);
	snprintf(path, sizeof(path), "%s/regulars.txt.zst", b->zst_dir);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &frame), 0);
	put(b, "bomb.zst", bomb_bytes, sizeof(bomb_bytes));
	put(b, "short.zst", frame.data, frame.len_bytes - 1);
	assert_int_equal(buf_append(&frame, "x", 1), 0);
	put(b, "long.zst", frame.data, frame.len_bytes);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char script[256];

		snprintf(script, sizeof(script), "{\"/regulars.txt.zst\": [{%s}]}", rows[i].answer);
		b->n_warnings = 0;
		serve_compressed(b, script);
		assert_lists_are_the_samples(b);
		assert_int_equal(b->n_warnings, 1);
		if (!strstr(b->warning,
			    "The image's regulars.txt is fetched in place of regulars.txt.zst: ") ||
			!strstr(b->warning, rows[i].why))
			fail_msg("%s: %s", rows[i].answer, b->warning);
		assert_int_equal(origin_hits(&b->origin, "\"/regulars.txt.zst\""), rows[i].n_tries);
		assert_int_equal(origin_hits(&b->origin, "\"/regulars.txt\""), 1);
		image_done(&b->image);
		origin_stop(&b->origin);
		b->origin = (struct origin){0};
	}
}

static void an_abort_while_one_is_fetched_is_one(void **state)
{
	struct bench *b = *state;

	b->stop_at_poll = 2;
	serve_compressed(b, "{\"/regulars.txt.zst\": [{\"file\": \"regulars.txt.zst\", "
			    "\"stall_after\": 1000}]}");
	assert_refused(
		b, -ECANCELED, OTA_E_ABORTED, "The fetching of the image's metadata was stopped");
	assert_int_equal(b->n_warnings, 0);
}

/* ---- lists that the running system has in an older form ---- */

static void get_text(const char *dir, const char *name, struct buf *ret)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ret->len_bytes = 0;
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, ret), 0);
}

static void get_meta(const char *dir, struct image_meta *ret)
{
	AUTO_BUF struct buf jwt = {0};

	get_text(dir, "metadata.jwt", &jwt);
	assert_int_equal(image_meta_parse(jwt.data, jwt.len_bytes, ret, NULL), 0);
}

static void start_again(struct bench *b)
{
	image_done(&b->image);
	origin_stop(&b->origin);
	b->origin = (struct origin){0};
	b->n_warnings = 0;
}

static void write_running(struct bench *b, const struct buf *old_regulars)
{
	static const char *const same[] = {"dirs.txt", "symlinks.txt", "persistents.txt"};
	struct image_meta meta;
	char dir[80];

	get_meta(b->zst_dir, &meta);
	digest_of(old_regulars->data, old_regulars->len_bytes, &meta.regulars.digest);
	snprintf(dir, sizeof(dir), "%s/.ota-meta", b->running_dir);
	put_meta(dir, &meta);
	put_in(dir, "regulars.txt", old_regulars->data, old_regulars->len_bytes);
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		AUTO_BUF struct buf text = {0};

		get_text(b->zst_dir, same[i], &text);
		put_in(dir, same[i], buf_str(&text), text.len_bytes);
	}
}

/* The running system has another regulars.txt, and the image a patch from that. */
static void make_patched(struct bench *b)
{
	AUTO_BUF struct buf old = {0}, made = {0}, patch = {0};
	char path[128];
	struct image_meta meta;
	struct list_patch p;

	make_compressed(b);
	get_text(b->zst_dir, "regulars.txt", &made);
	assert_int_equal(buf_puts(&old, "an older line\n"), 0);
	assert_int_equal(buf_append(&old, made.data, made.len_bytes - 100), 0);
	snprintf(b->running_dir, sizeof(b->running_dir), "/tmp/ota-running-XXXXXX");
	assert_non_null(mkdtemp(b->running_dir));
	snprintf(path, sizeof(path), "%s/.ota-meta", b->running_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	write_running(b, &old);
	b->config.running_root = b->running_dir;

	assert_int_equal(zstd_patch_make(old.data, old.len_bytes, made.data, made.len_bytes, 10,
				 1 << 20, &patch),
		1);
	p = (struct list_patch){.list_bytes = made.len_bytes,
		.old_bytes = old.len_bytes,
		.patch_bytes = patch.len_bytes};
	digest_of(old.data, old.len_bytes, &p.old);
	digest_of(patch.data, patch.len_bytes, &p.patch);
	get_meta(b->zst_dir, &meta);
	image_meta_add_list_patch(&meta, &meta.regulars, &p);
	put_meta(b->zst_dir, &meta);
	snprintf(path, sizeof(path), "%s/patches", b->zst_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	strcpy(b->patch_name, "patches/");
	patch_name(&meta.regulars.digest, &p.old, b->patch_name + 8);
	put(b, b->patch_name, patch.data, patch.len_bytes);
}

static void a_list_is_made_of_the_older_one_and_others_are_not_asked_for(void **state)
{
	struct bench *b = *state;

	make_patched(b);
	serve_compressed(b, NULL);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 0);
	assert_int_equal(origin_hits(&b->origin, b->patch_name), 1);
	/* Which format, metadata.jwt, the certificate, the patch. */
	assert_int_equal(origin_hits(&b->origin, ""), 4);
	assert_string_equal(b->image.texts[IMAGE_LIST_DIRS].name, "dirs.txt");
	assert_true(b->image.table->n_dirs > 0);
}

static void a_list_is_patched_in_memory_too(void **state)
{
	struct bench *b = *state;

	close(b->config.scratch_dir_fd);
	b->config.scratch_dir_fd = -1;
	make_patched(b);
	serve_compressed(b, NULL);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 0);
	assert_int_equal(origin_hits(&b->origin, ""), 4);
}

static void a_cache_keeps_the_patch_of_a_list_by_its_own_digest(void **state)
{
	struct bench *b = *state;
	char proxy[64], hex[DIGEST_HEX_MAX], wanted[160];
	struct image_meta meta;

	make_patched(b);
	get_meta(b->zst_dir, &meta);
	digest_to_hex(&meta.list_patches.at[0].patch, hex);
	snprintf(wanted, sizeof(wanted), "\"ota-file-cache-control\": \"file_sha256=%s\"", hex);
	serve_compressed(b, NULL);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", b->origin.port);
	b->config.http.proxy = proxy;
	snprintf(b->url, sizeof(b->url), "https://ota.invalid");
	assert_lists_are_the_samples(b);
	assert_int_equal(origin_hits(&b->origin, wanted), 1);
	assert_int_equal(b->n_warnings, 0);
}

/* One warning with @why, and the list came as it would without a patch. */
static void assert_patch_was_of_no_use(
	struct bench *b, const char *shown, const char *why, unsigned n_asked)
{
	assert_lists_are_the_samples(b);
	if (b->n_warnings != 1 ||
		!strstr(b->warning, "The patch to the image's regulars.txt is not used: ") ||
		!strstr(b->warning, why))
		fail_msg("%s: %u warnings, %s", shown, b->n_warnings, b->warning);
	if (origin_hits(&b->origin, b->patch_name) != n_asked)
		fail_msg("%s: asked %u times", shown, origin_hits(&b->origin, b->patch_name));
	assert_int_equal(origin_hits(&b->origin, "\"/regulars.txt.zst\""), 1);
	assert_int_equal(origin_hits(&b->origin, "\"/regulars.txt\""), 0);
}

static void make_other_patches(struct bench *b)
{
	AUTO_BUF struct buf made = {0}, patch = {0}, other = {0};

	get_text(b->zst_dir, b->patch_name, &patch);
	get_text(b->zst_dir, "regulars.txt", &made);
	put(b, "bomb.zst", bomb_bytes, sizeof(bomb_bytes));
	put(b, "short.zst", patch.data, patch.len_bytes - 1);
	/* From something else, as small as the right one, or nearly. */
	assert_int_equal(buf_append(&other, made.data, made.len_bytes), 0);
	other.data[7]++;
	patch.len_bytes = 0;
	assert_int_equal(zstd_patch_make(other.data, other.len_bytes, made.data, made.len_bytes, 19,
				 1 << 20, &patch),
		1);
	put(b, "other.zst", patch.data, patch.len_bytes);
	get_text(b->zst_dir, b->patch_name, &patch);
	assert_int_equal(buf_append(&patch, "x", 1), 0);
	put(b, "long.zst", patch.data, patch.len_bytes);
	patch.data[patch.len_bytes / 2] ^= 0x55;
	put(b, "flipped.zst", patch.data, patch.len_bytes - 1);
}

static void what_is_wrong_with_the_patch_of_a_list_costs_the_list_alone(void **state)
{
	struct bench *b = *state;
	/* clang-format off */
	static const struct {
		const char *answer, *why;
		unsigned n_tries;
	} rows[] = {
		{"\"status\": 404", "the server does not have it", 1},
		{"\"status\": 403", "the server", 1},
		{"\"status\": 500", "the server failed", 1},
		{"\"hang_up\": true", "Empty reply", 2}, /* libcurl asks once more on its own */
		{"\"body\": \"hello\"", "What the server sends is not the patch ", 1},
		{"\"body\": \"\"", "it ends early", 1},
		{"\"file\": \"short.zst\"", "it ends early", 1},
		{"\"file\": \"long.zst\"", "more than the ", 1},
		{"\"endless\": true", "", 1},
		{"\"file\": \"flipped.zst\"", "", 1},
		{"\"file\": \"other.zst\"", "", 1},
		{"\"file\": \"bomb.zst\"", "it does not fit the older content", 1},
		{"\"file\": \"regulars.txt\"", "", 1},
	};
	/* clang-format on */

	make_patched(b);
	make_other_patches(b);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char script[600];

		snprintf(
			script, sizeof(script), "{\"/%s\": [{%s}]}", b->patch_name, rows[i].answer);
		serve_compressed(b, script);
		assert_patch_was_of_no_use(b, rows[i].answer, rows[i].why, rows[i].n_tries);
		start_again(b);
	}
}

static void spoil(const char *path, const char *how)
{
	static const char ours[] = "regulars.txt is another one";

	assert_int_equal(unlink(path), 0);
	if (strcmp(how, "another") == 0)
		put_in("", path, ours, sizeof(ours));
	else if (strcmp(how, "link") == 0)
		assert_int_equal(symlink("/dev/zero", path), 0);
	else if (strcmp(how, "fifo") == 0)
		assert_int_equal(mkfifo(path, 0600), 0);
	else if (strcmp(how, "folder") == 0)
		assert_int_equal(mkdir(path, 0700), 0);
	else
		assert_string_equal(how, "gone");
}

static void unspoil(const char *path)
{
	if (unlink(path) < 0)
		(void)rmdir(path);
}

/* clang-format off */
static const struct {
	const char *how, *why;
} spoilt_rows[] = {
	{"another", "The running system's regulars.txt is another than its metadata.jwt says"},
	{"gone", "The running system's regulars.txt cannot be opened: No such file or directory"},
	{"link", "The running system's regulars.txt cannot be opened: Too many levels of symbolic links"},
	{"fifo", "The running system's regulars.txt is no regular file"},
	{"folder", "The running system's regulars.txt is no regular file"},
};
/* clang-format on */

static void an_older_list_that_is_none_is_no_base(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf old = {0};
	char path[128];

	make_patched(b);
	snprintf(path, sizeof(path), "%s/.ota-meta/regulars.txt", b->running_dir);
	get_text("", path, &old);
	for (size_t i = 0; i < ARRAY_SIZE(spoilt_rows); i++) {
		spoil(path, spoilt_rows[i].how);
		serve_compressed(b, NULL);
		assert_patch_was_of_no_use(b, spoilt_rows[i].how, spoilt_rows[i].why, 0);
		start_again(b);
		unspoil(path);
		put_in("", path, old.data, old.len_bytes);
	}
	/* As long as the right one. */
	old.data[old.len_bytes - 1] ^= 1;
	put_in("", path, old.data, old.len_bytes);
	serve_compressed(b, NULL);
	assert_patch_was_of_no_use(b, "changed", "is another than its metadata.jwt says", 0);
}

static void a_list_of_the_running_system_that_is_spoilt_is_fetched(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf old = {0};
	char path[128];

	make_patched(b);
	snprintf(path, sizeof(path), "%s/.ota-meta/dirs.txt", b->running_dir);
	get_text("", path, &old);
	for (size_t i = 0; i < ARRAY_SIZE(spoilt_rows); i++) {
		spoil(path, spoilt_rows[i].how);
		serve_compressed(b, NULL);
		assert_lists_are_the_samples(b);
		if (b->n_warnings != 1 ||
			!strstr(b->warning, "The image's dirs.txt is fetched, "
					    "although it is the running system's: "))
			fail_msg("%s: %s", spoilt_rows[i].how, b->warning);
		assert_int_equal(origin_hits(&b->origin, "\"/dirs.txt\""), 1);
		assert_int_equal(origin_hits(&b->origin, b->patch_name), 1);
		start_again(b);
		unspoil(path);
		put_in("", path, old.data, old.len_bytes);
	}
}

static void a_signed_word_that_lies_costs_the_list_alone(void **state)
{
	struct bench *b = *state;
	/* clang-format off */
	static const struct {
		const char *shown, *why;
		int list_more, old_more, patch_more;
		unsigned n_asked;
	} rows[] = {
		{"larger list",  "it does not fit the older content", 1, 0, 0, 1},
		{"smaller list", "it does not fit the older content", -1, 0, 0, 1},
		{"other base",   "is another than its metadata.jwt says", 0, 1, 0, 0},
		{"small patch",  "more than the ", 0, 0, -1, 1},
	};
	/* clang-format on */
	struct image_meta good, meta;

	make_patched(b);
	get_meta(b->zst_dir, &good);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		meta = good;
		meta.list_patches.at[0].list_bytes += (uint64_t)rows[i].list_more;
		meta.list_patches.at[0].old_bytes += (uint64_t)rows[i].old_more;
		meta.list_patches.at[0].patch_bytes += (uint64_t)rows[i].patch_more;
		put_meta(b->zst_dir, &meta);
		serve_compressed(b, NULL);
		assert_patch_was_of_no_use(b, rows[i].shown, rows[i].why, rows[i].n_asked);
		start_again(b);
	}
	/* Whose patch it is not makes no difference: what it makes is looked at. */
	meta = good;
	meta.list_patches.at[0].patch.bytes[0] ^= 1;
	put_meta(b->zst_dir, &meta);
	serve_compressed(b, NULL);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 0);
	start_again(b);
	/* Words that cannot be read are an offer that is not taken. */
	meta = good;
	list_patches_add(&meta.list_patches, &good.list_patches.at[0]);
	put_meta(b->zst_dir, &meta);
	serve_compressed(b, NULL);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 1);
	assert_string_equal(b->warning,
		"The image's patches of lists are not used: in its metadata.jwt, a patch is there "
		"twice");
	assert_int_equal(origin_hits(&b->origin, b->patch_name), 0);
}

static void a_system_that_no_update_has_made_fetches_whole_lists(void **state)
{
	static const char *const texts[] = {"", "hello", "a.b.c"};
	struct bench *b = *state;
	char path[128];

	make_patched(b);
	snprintf(path, sizeof(path), "%s/.ota-meta/metadata.jwt", b->running_dir);
	for (size_t i = 0; i <= ARRAY_SIZE(texts); i++) {
		if (i < ARRAY_SIZE(texts))
			put_in("", path, texts[i], strlen(texts[i]));
		else
			assert_int_equal(unlink(path), 0);
		serve_compressed(b, NULL);
		assert_lists_are_the_samples(b);
		assert_int_equal(b->n_warnings, 0);
		assert_int_equal(origin_hits(&b->origin, ""), 7);
		start_again(b);
	}
	b->config.running_root = "/tmp/there-is-no-such-folder";
	serve_compressed(b, NULL);
	assert_lists_are_the_samples(b);
	assert_int_equal(b->n_warnings, 0);
}

static void an_abort_while_the_patch_of_a_list_comes_is_one(void **state)
{
	struct bench *b = *state;
	char script[600];

	make_patched(b);
	snprintf(script, sizeof(script), "{\"/%s\": [{\"file\": \"%s\", \"stall_after\": 10}]}",
		b->patch_name, b->patch_name);
	b->stop_at_poll = 2;
	serve_compressed(b, script);
	assert_refused(
		b, -ECANCELED, OTA_E_ABORTED, "The fetching of the image's metadata was stopped");
	assert_int_equal(b->n_warnings, 0);
}

/* ---- the URL of the request ---- */

static void base_urls_have_one_form(void **state)
{
	/* clang-format off */
	static const struct {
		const char *url, *base;
	} rows[] = {
		{"http://host",                 "http://host/"},
		{"http://host/",                "http://host/"},
		{"https://host:8443/a/b",       "https://host:8443/a/b/"},
		{"https://host/a/b///",         "https://host/a/b/"},
		{"http://host/a?x=1/y",         "http://host/a/"},
		{"http://host?x=1",             "http://host/"},
		{"http://host/a//b/#frag/",     "http://host/a//b/"},
		{"http://host/a b/\xe6\x97\xa5", "http://host/a%20b/%E6%97%A5/"},
		{"http://host/100%/a%2fb",      "http://host/100%25/a%2fb/"},
		{"http://u:p@host/a",           "http://u:p@host/a/"},
		{"http://[::1]:80/a",           "http://[::1]:80/a/"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *base = NULL;
		struct ota_err err = {0};

		if (image_source_base_url(rows[i].url, &base, &err) < 0)
			fail_msg("%s: %s", rows[i].url, err.msg);
		assert_string_equal(base, rows[i].base);
	}
}

static void what_is_no_url_is_refused_with_its_reason(void **state)
{
	/* clang-format off */
	static const struct {
		const char *url, *reason;
	} rows[] = {
		{"",                     "begins with neither http:// nor https://"},
		{"ftp://host/a",         "begins with neither http:// nor https://"},
		{"host/a",               "begins with neither http:// nor https://"},
		{"file:///etc",          "begins with neither http:// nor https://"},
		{"http://",              "has no host"},
		{"http:///a",            "has no host"},
		{"http://host/a\r\nX: 1", "the byte 0x0d at position 13"},
		{"http://ho st/a",       "the byte 0x20 at position 9"},
		{"http://host:99999/",   "is malformed"},
		{"http://host:port/",    "is malformed"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *base = NULL;
		struct ota_err err = {0};

		assert_int_equal(image_source_base_url(rows[i].url, &base, &err), -EINVAL);
		assert_null(base);
		assert_int_equal(err.code, OTA_E_INVALID_REQUEST);
		if (!strstr(err.msg, "Cannot use the image's URL: ") ||
			!strstr(err.msg, rows[i].reason))
			fail_msg("%s: %s", rows[i].url, err.msg);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_published_image_is_fetched_and_believed),
		TEST(no_scratch_folder_is_no_obstacle),
		TEST(through_a_proxy_only_digests_come_from_its_cache),
		TEST(an_image_of_the_other_format_is_named_as_such),
		TEST(a_server_that_has_every_file_is_not_believed),
		TEST(even_if_that_file_has_no_end),
		TEST(other_words_for_not_there_are_understood),
		TEST(a_question_without_an_answer_is_dropped),
		TEST(without_a_trusted_certificate_nothing_is_believed),
		TEST(metadata_that_is_not_there_has_its_own_codes),
		TEST(metadata_without_end_is_refused),
		TEST(metadata_that_is_none_is_refused),
		TEST(a_wrong_certificate_file_is_refused),
		TEST(a_list_that_is_wrong_once_is_asked_for_again),
		TEST(a_list_that_stays_wrong_breaks_the_image),
		TEST(a_list_is_continued_after_a_cut),
		TEST(a_list_that_was_compressed_on_the_way_is_read),
		TEST(it_can_be_stopped),
		TEST(silence_is_not_waited_out_for_ever),
		TEST(a_list_that_cannot_be_kept_is_named),
		TEST(lists_that_are_there_compressed_are_fetched_so_and_no_more),
		TEST(a_proxy_is_told_that_they_are_compressed),
		TEST(a_cache_may_have_the_other_form_of_a_list),
		TEST(a_compressed_list_is_continued_after_a_cut),
		TEST(what_is_wrong_with_a_compressed_list_costs_the_plain_one_alone),
		TEST(an_abort_while_one_is_fetched_is_one),
		TEST(a_list_is_made_of_the_older_one_and_others_are_not_asked_for),
		TEST(a_list_is_patched_in_memory_too),
		TEST(a_cache_keeps_the_patch_of_a_list_by_its_own_digest),
		TEST(what_is_wrong_with_the_patch_of_a_list_costs_the_list_alone),
		TEST(an_older_list_that_is_none_is_no_base),
		TEST(a_list_of_the_running_system_that_is_spoilt_is_fetched),
		TEST(a_signed_word_that_lies_costs_the_list_alone),
		TEST(a_system_that_no_update_has_made_fetches_whole_lists),
		TEST(an_abort_while_the_patch_of_a_list_comes_is_one),
		cmocka_unit_test(base_urls_have_one_form),
		cmocka_unit_test(what_is_no_url_is_refused_with_its_reason),
	};

	if (argc != 2 || !realpath(argv[1], sample_dir)) {
		fprintf(stderr, "usage: test_image_source SAMPLE_IMAGE_DIR\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
