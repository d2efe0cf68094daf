/*
 * test_no_memory: memory runs out at each single allocation of each reader and writer of the common rooms, in ours and
 * in the libraries'. Each ends cleanly: with the right result, or with a failure that says so; nothing is leaked
 * (under LeakSanitizer), and nothing is trusted that was not checked.
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
#include <time.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/run.h"
#include "common/codec/base64url.h"
#include "common/codec/json.h"
#include "common/codec/zstd_patch.h"
#include "common/codec/zstd_stream.h"
#include "common/config/conf_tree.h"
#include "common/config/ecu_info.h"
#include "common/config/proxy_info.h"
#include "common/config/settings.h"
#include "common/image/image_meta.h"
#include "common/image/list_text.h"
#include "common/image/patch_list.h"
#include "common/net/http.h"
#include "common/net/http_url.h"
#include "tests/unit/no_memory.h"
#include "tests/unit/tmp_dir.h"

/* Everything that the runs read is there before memory is short. */
static struct sample {
	char dir[4096], key_path[4200], certs_dir[64];
	struct buf jwt, cert, dirs, symlinks, regulars, attributes, persistents, zst, plain;
	struct image_meta meta;
	struct file_table *table; /* of the lists */
	struct cert_store *store; /* of certs_dir */
	unsigned char *sig;       /* of "text" */
	size_t sig_len;
} sample;

static int64_t test_unix_s(void)
{
	return 1800000000; /* inside all dates of the sample */
}

static uint64_t test_monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void test_random(void *ret_data, size_t len_bytes)
{
	memset(ret_data, 7, len_bytes);
}

static const struct clock_ops test_clock = {
	.unix_s = test_unix_s, .monotonic_ms = test_monotonic_ms, .random = test_random};

/* ---- common/base ---- */

static int run_file_read(struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = file_read(AT_FDCWD, sample.key_path, 1 << 16, &text);

	if (r == 0)
		right(text.len_bytes > 100);
	return r;
}

static int count_name(void *ctx, int dir_fd, const char *name)
{
	++*(unsigned *)ctx;
	return 0;
}

static int run_folder(struct ota_err *err)
{
	AUTO_CLOSE int fd = open(sample.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned n = 0;
	int r = fd < 0 ? -errno : folder_each(fd, count_name, &n);

	if (r == 0)
		right(n >= 5);
	return r;
}

static int run_true(struct ota_err *err)
{
	static const char *const argv[] = {"true", NULL};

	return run_tool(&(struct run_args){.argv = argv}, err);
}

static void files_folders_and_tools(void **state)
{
	sweep(run_file_read, 1, SILENT);
	sweep(run_folder, 1, SILENT);
	sweep(run_true, 0, 0);
}

/* ---- common/codec ---- */

static int run_json(struct ota_err *err)
{
	static const char text[] = "{\"a\": [1, \"two\", {\"three\": null}], \"b\": \"\\u00e9\"}";
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	int r = json_doc_parse(text, strlen(text), 1000, &doc, err);

	if (r == 0)
		right(json_value_count(json_value_member(json_doc_root(doc), "a")) == 3);
	return r;
}

static int run_json_put(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};
	int r = json_put_string(&out, "a \"quoted\" text", 15);

	if (r == 0)
		right(strcmp(buf_str(&out), "\"a \\\"quoted\\\" text\"") == 0);
	else
		right(out.len_bytes == 0);
	return r;
}

static int run_base64url(struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	AUTO_BUF struct buf data = {0};
	int r = base64url_encode("any bytes", 9, &text);

	if (r == 0)
		r = base64url_decode(buf_str(&text), text.len_bytes, &data);
	if (r == 0)
		right(strcmp(buf_str(&data), "any bytes") == 0);
	return r;
}

static int gather(void *ctx, const void *data, size_t len_bytes)
{
	return buf_append(ctx, data, len_bytes);
}

static int run_compress(struct ota_err *err)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(3);
	AUTO_BUF struct buf out = {0};
	int r = e ? zstd_encoder_start(e, sample.plain.len_bytes) : -ENOMEM;

	if (r == 0)
		r = zstd_encoder_feed(e, sample.plain.data, sample.plain.len_bytes, gather, &out);
	if (r == 0)
		r = zstd_encoder_finish(e, gather, &out);
	if (r == 0)
		right(out.len_bytes == sample.zst.len_bytes &&
			memcmp(out.data, sample.zst.data, out.len_bytes) == 0);
	return r;
}

static int run_decompress(struct ota_err *err)
{
	AUTO_ZSTD_DECODER struct zstd_decoder *d = zstd_decoder_new();
	AUTO_BUF struct buf out = {0};
	int r;

	if (!d)
		return -ENOMEM;
	zstd_decoder_start(d, sample.plain.len_bytes);
	r = zstd_decoder_feed(d, sample.zst.data, sample.zst.len_bytes, gather, &out);
	if (r == 0)
		r = zstd_decoder_finish(d);
	if (r == 0)
		right(out.len_bytes == sample.plain.len_bytes &&
			memcmp(out.data, sample.plain.data, out.len_bytes) == 0);
	return r;
}

/* One list from the other, which is a line shorter. */
static int run_patch(struct ota_err *err)
{
	const struct buf *old = &sample.plain, *made = &sample.regulars;
	AUTO_ZSTD_PATCH_DECODER struct zstd_patch_decoder *d = NULL;
	AUTO_FREE char *again = NULL;
	AUTO_BUF struct buf patch = {0};
	int r = zstd_patch_make(
		old->data, old->len_bytes, made->data, made->len_bytes, 3, made->len_bytes, &patch);

	if (r < 0)
		return r;
	right(r == 1);
	d = zstd_patch_decoder_new();
	again = malloc(made->len_bytes);
	if (!d || !again)
		return -ENOMEM;
	r = zstd_patch_decoder_start(d, old->data, old->len_bytes, again, made->len_bytes);
	if (r == 0)
		r = zstd_patch_decoder_feed(d, patch.data, patch.len_bytes);
	if (r == 0)
		r = zstd_patch_decoder_finish(d);
	if (r == 0)
		right(memcmp(again, made->data, made->len_bytes) == 0);
	return r;
}

static void texts_and_frames(void **state)
{
	sweep(run_json, 5, 0);
	assert_true(said("No memory for a JSON text"));
	sweep(run_json_put, 1, SILENT);
	sweep(run_base64url, 2, SILENT);
	sweep(run_compress, 2, SILENT);
	sweep(run_decompress, 2, SILENT);
	sweep(run_patch, 3, SILENT);
}

/* ---- common/config ---- */

static const char conf_text[] = "format_version: 1\necu_id: \"main\"\nport: 50051\nratio: 1.5\n"
				"on: true\nsecondaries:\n  - {ecu_id: A, ip_addr: 192.168.20.11}\n";

static int run_conf(struct ota_err *err)
{
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	const struct conf_node *root;
	int r = conf_tree_parse(conf_text, strlen(conf_text), "x.yaml", &tree, err);

	if (r < 0)
		return r;
	root = conf_tree_root(tree);
	right(conf_node_find(root, "port")->kind == CONF_INT &&
		conf_node_find(root, "ratio")->kind == CONF_OTHER_SCALAR &&
		conf_node_find(root, "ecu_id")->kind == CONF_STRING &&
		conf_node_find(root, "secondaries")->child->kind == CONF_MAP);
	return 0;
}

static unsigned n_notes;

static void count_note(void *ctx, enum conf_note_kind kind, const char *sentence)
{
	n_notes++;
}

/* A file for which memory is short counts as one that cannot be read: that is noted, and nothing of it is believed. */
static int run_ecu_info(struct ota_err *err)
{
	static struct ecu_info info;

	int r;

	n_notes = 0;
	r = ecu_info_parse(
		conf_text + 18, strlen(conf_text) - 18, "ecu_info.yaml", count_note, NULL, &info);
	right(n_notes > 0 || info.loaded);
	right(info.n_secondaries == (info.loaded ? 1 : 0));
	right((r == 0) == info.loaded && !info.wrong);
	return r;
}

static int run_proxy_info(struct ota_err *err)
{
	static const char text[] = "enable_local_ota_proxy: false\n"
				   "upper_ota_proxy: \"http://10.0.0.1:8082\"\n";
	static struct proxy_info info;
	int r;

	n_notes = 0;
	r = proxy_info_parse(text, strlen(text), "proxy_info.yaml", count_note, NULL, &info);
	right(n_notes > 0 || info.loaded);
	right((info.upper_ota_proxy[0] != '\0') == info.loaded);
	right((r == 0) == info.loaded);
	return r;
}

static int run_settings(struct ota_err *err)
{
	static const char text[] = "listen_port: 1234\n";
	static struct settings settings;
	int r;

	n_notes = 0;
	r = settings_parse(text, strlen(text), "otaclient.yaml", count_note, NULL, &settings);
	right((r < 0) == (settings.listen_port != 1234));
	right((n_notes > 0) == (r < 0));
	return r;
}

static void configuration(void **state)
{
	sweep(run_conf, 20, 0);
	assert_true(said("No memory for x.yaml"));
	sweep(run_ecu_info, 20, SILENT);
	sweep(run_proxy_info, 10, SILENT);
	sweep(run_settings, 10, SILENT);
}

/* ---- common/crypto ---- */

static int trust_sample(const struct cert_store *store, struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	int r = signer_cert_parse(sample.cert.data, sample.cert.len_bytes, &cert, err);

	return r == 0 ? cert_store_verify(store, cert, err) : r;
}

static int run_trust(struct ota_err *err)
{
	return trust_sample(sample.store, err);
}

/*
 * For as long as the daemon lives: what was read when memory was short is as good as ever, or was not read; nor has a lack
 * of memory while it was asked spoilt it.
 */
static int run_store_for_good(struct ota_err *err)
{
	AUTO_CERT_STORE struct cert_store *store = NULL;
	int r = cert_store_open(sample.certs_dir, NULL, NULL, &store, err);

	if (r == 0)
		r = trust_sample(store, err);
	failing_alloc_stop();
	if (r < 0 && store)
		right(trust_sample(store, NULL) == 0);
	return r;
}

static int run_sign(struct ota_err *err)
{
	AUTO_SIGN_KEY struct sign_key *key = NULL;
	AUTO_FREE unsigned char *sig = NULL;
	size_t len = 0;
	int r = sign_key_load(sample.key_path, &key, err);

	if (r == 0)
		r = sign_key_sign(key, "text", 4, &sig, &len, err);
	if (r == 0)
		right(len > 60 && len < 80);
	return r;
}

static int check_sample(const char *text, struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	int r = signer_cert_parse(sample.cert.data, sample.cert.len_bytes, &cert, err);

	return r < 0 ? r : signer_cert_check(cert, text, 4, sample.sig, sample.sig_len, err);
}

static int run_check(struct ota_err *err)
{
	return check_sample("text", err);
}

/* However short memory is, a wrong signature is never right. */
static int run_wrong_check(struct ota_err *err)
{
	int r = check_sample("tex!", err);

	right(r < 0);
	return strstr(err->msg, "The signature was not made with the key") ? 0 : r;
}

static void certificates_and_signatures(void **state)
{
	sweep(run_store_for_good, 5, 0);
	assert_true(said("No memory for the certificates"));
	assert_true(said("No memory for the start of libcrypto"));
	sweep(run_trust, 5, 0);
	assert_true(said("No memory for the signing certificate"));
	assert_true(said("No memory for the check of a certificate"));
	sweep(run_sign, 50, ANY_FAILURE);
	assert_true(said("No memory for the signing key"));
	assert_true(said("libcrypto cannot sign with this key"));
	sweep(run_check, 5, 0);
	assert_true(said("No memory for the check of a signature"));
	sweep(run_wrong_check, 5, 0);
}

/* ---- common/image ---- */

static int run_meta_parse(struct ota_err *err)
{
	struct image_meta meta;
	int r = image_meta_parse(sample.jwt.data, sample.jwt.len_bytes, &meta, err);

	if (r == 0)
		right(memcmp(&meta, &sample.meta, sizeof(meta)) == 0);
	return r;
}

static int run_meta_verify(struct ota_err *err)
{
	return image_meta_verify(sample.jwt.data, sample.jwt.len_bytes, &sample.meta,
		sample.cert.data, sample.cert.len_bytes, NULL, err);
}

static int run_meta_write(struct ota_err *err)
{
	AUTO_SIGN_KEY struct sign_key *key = NULL;
	AUTO_BUF struct buf jwt = {0};
	struct image_meta again;
	int r = sign_key_load(sample.key_path, &key, err);

	if (r == 0)
		r = image_meta_write(&sample.meta, key, &jwt, err);
	if (r == 0) {
		failing_alloc_stop();
		right(image_meta_parse(jwt.data, jwt.len_bytes, &again, NULL) == 0);
	} else {
		right(jwt.len_bytes == 0);
	}
	return r;
}

static void signed_metadata(void **state)
{
	sweep(run_meta_parse, 20, 0);
	assert_true(said("No memory for metadata.jwt"));
	assert_true(said("its header cannot be read: No memory for a JSON text"));
	sweep(run_meta_verify, 5, 0);
	sweep(run_meta_write, 20, ANY_FAILURE);
	assert_true(said("Cannot write metadata.jwt: Cannot allocate memory"));
	assert_true(said("Cannot sign metadata.jwt: libcrypto cannot sign with this key"));
}

static int read_table(struct file_table *t, struct ota_err *err)
{
	const struct sample *s = &sample;
	int r = list_text_read_dirs(s->dirs.data, s->dirs.len_bytes, "dirs.txt", t, err);

	if (r == 0)
		r = list_text_read_symlinks(
			s->symlinks.data, s->symlinks.len_bytes, "symlinks.txt", t, err);
	if (r == 0)
		r = list_text_read_regulars(
			s->regulars.data, s->regulars.len_bytes, "regulars.txt", t, err);
	if (r == 0)
		r = file_table_seal(t, err);
	if (r == 0)
		r = list_text_read_attributes(
			s->attributes.data, s->attributes.len_bytes, "attributes.txt", t, err);
	return r;
}

static int run_lists(struct ota_err *err)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	enum entry_kind kind;
	uint32_t index;
	int r = t ? read_table(t, err) : ota_err_no_memory(err, "the table");

	if (r < 0)
		return r;
	right(file_table_find(t, "/etc/hosts", 10, &kind, &index) && kind == ENTRY_FILE);
	right(t->files[index].path.len == 10 && t->n_xattrs == 1);
	right(file_table_find(t, "/var/made", 9, &kind, &index) && kind == ENTRY_DIR);
	return 0;
}

static int run_patch_list(struct ota_err *err)
{
	const struct content *made = &sample.table->contents[0];
	const struct patch_base base = {
		.digest = sample.table->contents[1].digest, .size_bytes = 5};
	AUTO_PATCH_LIST struct patch_list *list = NULL;
	AUTO_BUF struct buf text = {0};
	int r = patch_list_write(&text, &made->digest, &base, 7, &made->digest);

	if (r < 0)
		return ota_err_no_memory(err, "the text");
	r = patch_list_read(text.data, text.len_bytes, "patches.txt", sample.table, &list, err);
	if (r == 0)
		right(list->n_patches == 1 && list->patches[0].size_bytes == 7);
	return r;
}

static int count_path(void *ctx, const char *path, struct ota_err *err)
{
	++*(unsigned *)ctx;
	return 0;
}

static int run_persistents(struct ota_err *err)
{
	unsigned n = 0;
	int r = list_text_read_persistents(sample.persistents.data, sample.persistents.len_bytes,
		"persistents.txt", count_path, &n, err);

	if (r == 0)
		right(n == 6);
	return r;
}

static int run_write_lists(struct ota_err *err)
{
	static const struct text path = {"/it's", 5};
	AUTO_BUF struct buf b = {0};
	int r = list_text_write_dir(&b, &(struct dir_entry){.path = path, .mode = 0755});

	if (r == 0)
		r = list_text_write_symlink(
			&b, &(struct symlink_entry){.path = path, .target = path});
	if (r == 0)
		r = list_text_write_regular(&b, &(struct regular_line){.path = path});
	if (r == 0)
		r = list_text_write_mtime(&b, path, 1, 2);
	if (r == 0)
		r = list_text_write_xattr(&b, path, "user.x", "1", 1);
	return r;
}

static int run_urls(struct ota_err *err)
{
	AUTO_BUF struct buf url = {0};
	int r = image_url_plain("http://a/b/", "data", "/etc/x y", 8, &url);

	if (r == 0)
		right(strcmp(buf_str(&url), "http://a/b/data/etc/x%20y") == 0);
	return r;
}

static void lists_and_their_table(void **state)
{
	sweep(run_lists, 10, 0);
	assert_true(said("No memory for dirs.txt"));
	assert_true(said("No memory for symlinks.txt"));
	assert_true(said("No memory for regulars.txt"));
	assert_true(said("No memory for attributes.txt"));
	assert_true(said("No memory for the image's list of files"));
	sweep(run_patch_list, 3, 0);
	sweep(run_persistents, 0, 0);
	sweep(run_write_lists, 2, SILENT);
	sweep(run_urls, 1, SILENT);
}

/* ---- common/net ---- */

static int run_url(struct ota_err *err)
{
	static const char url[] = "https://user@[::1]:8443/a?b";
	int r = http_url_check(url, err);

	if (r < 0)
		return r;
	AUTO_FREE char *origin = http_url_origin(url);
	AUTO_FREE char *plain = http_url_for_request(url, true);

	if (!origin || !plain)
		return ota_err_no_memory(err, "a URL");
	right(strcmp(origin, "https://[::1]:8443") == 0);
	right(strcmp(plain, "http://user@[::1]:8443/a?b") == 0);
	return 0;
}

static int run_cookies(struct ota_err *err)
{
	static const char json[] = "{\"one\": \"1\", \"two\": \"2\"}";
	AUTO_FREE char *header = NULL;
	int r = http_cookies_from_json(json, strlen(json), &header, err);

	if (r == 0)
		right(strcmp(header, "one=1; two=2") == 0);
	return r;
}

static const struct http_config http_config = {
	.proxy = "http://127.0.0.1:1",
	.tls_ca = "/etc/ssl/certs/ca-certificates.crt",
	.cookies = "one=1",
};

static int run_client(struct ota_err *err)
{
	AUTO_HTTP_CLIENT struct http_client *c = NULL;

	return http_client_new(&http_config, &c, err);
}

/* Nobody is there: to be told so takes all of libcurl's way but the answer. */
static int run_get(struct ota_err *err)
{
	const struct http_request request = {
		.url = "http://127.0.0.1:1/", .head = true, .tries_max = 1};
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct http_result result = {0};
	int r = http_client_new(&(struct http_config){0}, &c, err);

	if (r < 0)
		return r;
	r = http_get(c, &request, &result);
	right(r < 0);
	if (result.err.errnum < 0)
		*err = result.err;
	return strstr(err->msg, "onnect") ? 0 : r;
}

static void addresses_and_a_client(void **state)
{
	sweep(run_url, 3, ANY_FAILURE);
	assert_true(said("No memory for a URL"));
	sweep(run_cookies, 5, 0);
	assert_true(said("Cannot read the request's cookies: Cannot allocate memory"));
	sweep(run_client, 5, 0);
	assert_true(said("No memory for an HTTP client"));
	sweep(run_get, 5, ANY_FAILURE);
}

/* ---- the sample ---- */

static void read_sample(const char *name, struct buf *ret)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", sample.dir, name);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, ret), 0);
}

/* Certificates as they lie on a machine. */
static void install_certs(void)
{
	static const char *const names[] = {"test.root.pem", "test.interm.pem"};

	snprintf(sample.certs_dir, sizeof(sample.certs_dir), "/tmp/ota-test-XXXXXX");
	assert_non_null(mkdtemp(sample.certs_dir));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char from[4200], to[128];

		snprintf(from, sizeof(from), "%s/keys/%s", sample.dir, names[i]);
		snprintf(to, sizeof(to), "%s/%s", sample.certs_dir, names[i]);
		assert_int_equal(symlink(from, to), 0);
	}
}

static int setup(void **state)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(3);
	AUTO_SIGN_KEY struct sign_key *key = NULL;

	clock_set_ops(&test_clock);
	read_sample("image/metadata.jwt", &sample.jwt);
	read_sample("image/sign.pem", &sample.cert);
	read_sample("image/dirs.txt", &sample.dirs);
	read_sample("image/symlinks.txt", &sample.symlinks);
	read_sample("image/regulars.txt", &sample.regulars);
	read_sample("image/persistents.txt", &sample.persistents);
	read_sample("image/regulars.txt", &sample.plain);
	/* A folder that only a file's name tells of, and names that must be unquoted. */
	assert_int_equal(buf_puts(&sample.regulars,
				 "\n0644,0,0,2,"
				 "f41ae3eb817019b713bb1389d19839325082e1e7d04e45e26059e22d836730a6,"
				 "'/var/made/it'\\''s',27,9,"),
		0);
	assert_int_equal(buf_puts(&sample.attributes, "'/',mtime,000000006553f100075bcd15\n"
						      "'/etc/hosts',xattr:user.x,31\n"),
		0);
	snprintf(sample.key_path, sizeof(sample.key_path), "%s/keys/sign.key", sample.dir);
	install_certs();
	sample.table = file_table_new();
	assert_int_equal(read_table(sample.table, NULL), 0);
	assert_int_equal(cert_store_open(sample.certs_dir, NULL, NULL, &sample.store, NULL), 0);
	assert_int_equal(sign_key_load(sample.key_path, &key, NULL), 0);
	assert_int_equal(sign_key_sign(key, "text", 4, &sample.sig, &sample.sig_len, NULL), 0);
	assert_int_equal(
		image_meta_parse(sample.jwt.data, sample.jwt.len_bytes, &sample.meta, NULL), 0);
	assert_int_equal(zstd_encoder_start(e, sample.plain.len_bytes), 0);
	assert_int_equal(zstd_encoder_feed(
				 e, sample.plain.data, sample.plain.len_bytes, gather, &sample.zst),
		0);
	assert_int_equal(zstd_encoder_finish(e, gather, &sample.zst), 0);
	return 0;
}

static int teardown(void **state)
{
	struct buf *bufs[] = {&sample.jwt, &sample.cert, &sample.dirs, &sample.symlinks,
		&sample.regulars, &sample.attributes, &sample.persistents, &sample.zst,
		&sample.plain, &no_memory_said};

	for (size_t i = 0; i < ARRAY_SIZE(bufs); i++)
		buf_done(bufs[i]);
	cert_store_free(sample.store);
	file_table_free(sample.table);
	free(sample.sig);
	return nftw(sample.certs_dir, tmp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_folders_and_tools),
		cmocka_unit_test(texts_and_frames),
		cmocka_unit_test(configuration),
		cmocka_unit_test(certificates_and_signatures),
		cmocka_unit_test(signed_metadata),
		cmocka_unit_test(lists_and_their_table),
		cmocka_unit_test(addresses_and_a_client),
	};

	if (argc != 2)
		return 2;
	snprintf(sample.dir, sizeof(sample.dir), "%s", argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
