/*
 * test_image_meta: metadata.jwt as it is read, trusted and written, and the URLs that follow from it.
 *
 * Argument: the folder tests/data/sample-image. The sample is the authority on the format.
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

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/codec/base64url.h"
#include "common/image/image_meta.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int sample_fd;
static char sample_dir[4096];
static const int64_t now_s = 1800000000; /* 2027-01-15, inside all dates of the sample */

static int64_t test_unix_s(void)
{
	return now_s;
}

static const struct clock_ops test_clock = {.unix_s = test_unix_s};

static void read_sample(const char *path, struct buf *ret)
{
	assert_int_equal(file_read(sample_fd, path, 1 << 20, ret), 0);
}

static void digest_is(const struct digest *d, const char *hex)
{
	char have[DIGEST_HEX_MAX];

	digest_to_hex(d, have);
	assert_string_equal(have, hex);
}

static void parse_sample(struct buf *ret_jwt, struct image_meta *ret_meta)
{
	read_sample("image/metadata.jwt", ret_jwt);
	assert_int_equal(image_meta_parse(ret_jwt->data, ret_jwt->len_bytes, ret_meta, NULL), 0);
}

static struct sign_key *sample_key(void)
{
	struct sign_key *key = NULL;
	char path[4200];

	snprintf(path, sizeof(path), "%s/keys/sign.key", sample_dir);
	assert_int_equal(sign_key_load(path, &key, NULL), 0);
	return key;
}

/* The certificates of keys/ that a machine would have installed. */
static struct cert_store *sample_store(void)
{
	static const char *const names[] = {"test.root.pem", "test.interm.pem"};
	struct cert_store *store = NULL;
	char dir[] = "/tmp/test_image_meta.XXXXXX", from[4200], to[4200];

	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(from, sizeof(from), "%s/keys/%s", sample_dir, names[i]);
		snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
		assert_int_equal(symlink(from, to), 0);
	}
	assert_int_equal(cert_store_open(dir, NULL, NULL, &store, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
		unlink(to);
	}
	rmdir(dir);
	return store;
}

static void the_sample_is_read(void **state)
{
	AUTO_BUF struct buf jwt = {0};
	struct image_meta m;

	parse_sample(&jwt, &m);
	assert_string_equal(m.dirs.name, "dirs.txt");
	digest_is(
		&m.dirs.digest, "27c3ebf24f7ec45e978a5d5ff5e6cf9543571dc67a66fedefb1cc4582fc477aa");
	assert_string_equal(m.symlinks.name, "symlinks.txt");
	digest_is(&m.symlinks.digest,
		"32157ebf14078a758562ffbeb38a914328c8f5318f13967e695f6c8df87ea3e8");
	assert_string_equal(m.regulars.name, "regulars.txt");
	digest_is(&m.regulars.digest,
		"040d92c880e2f9fcf8cd555224f7addeb402ddbd38c9b53aeef0ffaddffdd249");
	assert_string_equal(m.persistents.name, "persistents.txt");
	digest_is(&m.persistents.digest,
		"cbd7271ff029869b8c2a0549e9f55754f7f0f82e4800226db47cbc8b69fa1c64");
	assert_string_equal(m.certificate.name, "sign.pem");
	digest_is(&m.certificate.digest,
		"016233ef81f569b3cf388717ec57b0671e165c7e4e0a844031172f7f579c6aec");
	assert_string_equal(m.attributes.name, "");
	assert_string_equal(m.rootfs_dir, "data");
	assert_string_equal(m.compressed_dir, "data.zst");
	assert_int_equal(m.total_regular_size_bytes, 523281);
}

static void the_sample_is_trusted(void **state)
{
	AUTO_CERT_STORE struct cert_store *store = sample_store();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf pem = {0};
	struct ota_err err = {0};
	struct image_meta m;

	parse_sample(&jwt, &m);
	read_sample("image/sign.pem", &pem);
	if (image_meta_verify(jwt.data, jwt.len_bytes, &m, pem.data, pem.len_bytes, store, &err) <
		0)
		fail_msg("%s", err.msg);
	assert_int_equal(
		image_meta_verify(jwt.data, jwt.len_bytes, &m, pem.data, pem.len_bytes, NULL, NULL),
		0);
}

/* Writing what was read gives the same bytes up to the signature, which is never the same twice. */
static void the_sample_is_written_again_byte_for_byte(void **state)
{
	AUTO_SIGN_KEY struct sign_key *key = sample_key();
	AUTO_CERT_STORE struct cert_store *store = sample_store();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf ours = {0};
	AUTO_BUF struct buf pem = {0};
	struct image_meta m;
	size_t signed_len;

	parse_sample(&jwt, &m);
	assert_int_equal(image_meta_write(&m, key, &ours, NULL), 0);
	signed_len = (size_t)(strrchr(jwt.data, '.') - jwt.data);
	assert_true(ours.len_bytes > signed_len);
	assert_memory_equal(ours.data, jwt.data, signed_len + 1);
	assert_null(strchr(ours.data, '\n'));

	read_sample("image/sign.pem", &pem);
	assert_int_equal(image_meta_parse(ours.data, ours.len_bytes, &m, NULL), 0);
	assert_int_equal(image_meta_verify(ours.data, ours.len_bytes, &m, pem.data, pem.len_bytes,
				 store, NULL),
		0);
}

static void extended_attributes_come_last_and_back(void **state)
{
	static const char want[] =
		"{\"compressed_rootfs_directory\": \"data.zst\"}, "
		"{\"x_attributes\": \"attributes.txt\", \"hash\": \"" HASH "\"}, "
		"{\"x_compression\": \"zstd level=3\"}, "
		"{\"x_compressed_lists\": \"regular x_attributes\"}, "
		"{\"x_list_patches\": \"regular,9," HASH ",8,7," HASH " x_attributes,9," HASH
		",8,7," HASH "\"}]";
	struct list_patch patch = {.list_bytes = 9, .old_bytes = 8, .patch_bytes = 7};
	AUTO_SIGN_KEY struct sign_key *key = sample_key();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf ours = {0};
	AUTO_BUF struct buf payload = {0};
	struct image_meta m, back;
	const char *dot;

	parse_sample(&jwt, &m);
	strcpy(m.attributes.name, "attributes.txt");
	strcpy(m.compression, "zstd level=3");
	image_meta_add_zst(&m, &m.regulars);
	image_meta_add_zst(&m, &m.attributes);
	assert_int_equal(digest_from_hex(HASH, 64, &m.attributes.digest), 0);
	patch.old = patch.patch = m.attributes.digest;
	image_meta_add_list_patch(&m, &m.regulars, &patch);
	image_meta_add_list_patch(&m, &m.attributes, &patch);
	assert_int_equal(image_meta_write(&m, key, &ours, NULL), 0);
	assert_int_equal(image_meta_parse(ours.data, ours.len_bytes, &back, NULL), 0);
	assert_string_equal(back.attributes.name, "attributes.txt");
	assert_string_equal(back.compression, "zstd level=3");
	assert_true(image_meta_has_zst(&back, &back.regulars));
	assert_true(image_meta_has_zst(&back, &back.attributes));
	assert_false(image_meta_has_zst(&back, &back.dirs));
	digest_is(&back.attributes.digest, HASH);

	dot = strchr(ours.data, '.');
	assert_int_equal(
		base64url_decode(dot + 1, (size_t)(strchr(dot + 1, '.') - dot - 1), &payload), 0);
	assert_string_equal(payload.data + payload.len_bytes - strlen(want), want);
}

static void what_machines_would_refuse_is_not_written(void **state)
{
	AUTO_SIGN_KEY struct sign_key *key = sample_key();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf ours = {0};
	struct ota_err err = {0};
	struct image_meta m;

	parse_sample(&jwt, &m);
	strcpy(m.rootfs_dir, "a/b");
	assert_int_equal(image_meta_write(&m, key, &ours, &err), -EBADMSG);
	assert_string_equal(err.msg,
		"Cannot write metadata.jwt: metadata.jwt is invalid: "
		"the name in \"rootfs_directory\" is no single path component");
	strcpy(m.rootfs_dir, "\xff");
	assert_int_equal(image_meta_write(&m, key, &ours, &err), -EBADMSG);
	assert_string_equal(err.msg, "Cannot write metadata.jwt: one of its names is not UTF-8");
	assert_int_equal(ours.len_bytes, 0);
}

/* Texts with a payload of our making; the signature part is there for the form only. */

static void make_jwt(const char *header, const char *payload, struct buf *ret_jwt)
{
	base64url_encode(header, strlen(header), ret_jwt);
	buf_puts(ret_jwt, ".");
	base64url_encode(payload, strlen(payload), ret_jwt);
	buf_puts(ret_jwt, ".AAAA");
}

static int parse_payload(const char *payload, struct image_meta *ret_meta, struct ota_err *err)
{
	AUTO_BUF struct buf jwt = {0};

	make_jwt("{\"alg\": \"ES256\"}", payload, &jwt);
	return image_meta_parse(jwt.data, jwt.len_bytes, ret_meta, err);
}

static void refuses_payload(const char *payload, const char *why)
{
	struct ota_err err = {0};
	struct image_meta m = {.rootfs_dir = "untouched"};

	assert_int_equal(parse_payload(payload, &m, &err), -EBADMSG);
	if (!strstr(err.msg, why) || strncmp(err.msg, "metadata.jwt is invalid: ", 25) != 0)
		fail_msg("\"%s\" is not \"%s\"", err.msg, why);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_string_equal(m.rootfs_dir, "untouched");
}

/* The required entries, each to be left out or replaced. */
#define V    "{\"version\": 1}"
#define D    "{\"directory\": \"d\", \"hash\": \"" HASH "\"}"
#define S    "{\"symboliclink\": \"s\", \"hash\": \"" HASH "\"}"
#define R    "{\"regular\": \"r\", \"hash\": \"" HASH "\"}"
#define P    "{\"persistent\": \"p\", \"hash\": \"" HASH "\"}"
#define C    "{\"certificate\": \"c\", \"hash\": \"" HASH "\"}"
#define ROOT "{\"rootfs_directory\": \"data\"}"
#define ALL  V "," D "," S "," R "," P "," C "," ROOT

static void the_order_does_not_matter_and_unknown_keys_are_skipped(void **state)
{
	struct image_meta m;

	assert_int_equal(parse_payload("[" ALL "]", &m, NULL), 0);
	assert_string_equal(m.compressed_dir, "");
	assert_int_equal(m.total_regular_size_bytes, 0);
	assert_int_equal(parse_payload("[" ROOT "," C ",{\"x_other\": [1, {\"a\": 2}]}," P "," R
				       "," S "," D ",{}," V "]",
				 &m, NULL),
		0);
	assert_string_equal(m.certificate.name, "c");
}

static void each_required_entry_is_missed_by_name(void **state)
{
	refuses_payload("[" D "," S "," R "," P "," C "," ROOT "]", "it has no entry \"version\"");
	refuses_payload(
		"[" V "," S "," R "," P "," C "," ROOT "]", "it has no entry \"directory\"");
	refuses_payload(
		"[" V "," D "," R "," P "," C "," ROOT "]", "it has no entry \"symboliclink\"");
	refuses_payload("[" V "," D "," S "," P "," C "," ROOT "]", "it has no entry \"regular\"");
	refuses_payload(
		"[" V "," D "," S "," R "," C "," ROOT "]", "it has no entry \"persistent\"");
	refuses_payload(
		"[" V "," D "," S "," R "," P "," ROOT "]", "it has no entry \"certificate\"");
	refuses_payload(
		"[" V "," D "," S "," R "," P "," C "]", "it has no entry \"rootfs_directory\"");
	refuses_payload("[]", "it has no entry \"version\"");
}

static void other_versions_are_refused(void **state)
{
	refuses_payload("[{\"version\": 2}]", "it has version 2, and only version 1 is known");
	refuses_payload("[{\"version\": \"1\"}]", "its version is no number");
	refuses_payload("[{\"version\": 1.5}]", "its version is no number");
}

static void nothing_may_be_said_twice(void **state)
{
	refuses_payload("[" ALL "," D "]", "it has two entries \"directory\"");
	refuses_payload("[" ALL "," V "]", "it has two entries \"version\"");
	refuses_payload("[{\"directory\": \"a\", \"directory\": \"b\"}]", "duplicate object key");
	refuses_payload("[{\"directory\": \"a\", \"regular\": \"b\", \"hash\": \"" HASH "\"}]",
		"\"directory\" and \"regular\" stand in one object");
}

static void names_are_single_path_components(void **state)
{
	static const char *const names[] = {
		"",
		".",
		"..",
		"/",
		"/etc/passwd",
		"../up",
		"a/b",
		"a/",
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"234567890123456789"
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"234567890123456789"
		"01234567890123456789012345678901234567890123456789012345",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char payload[1000];

		snprintf(payload, sizeof(payload),
			"[{\"certificate\": \"%s\", \"hash\": \"" HASH "\"}]", names[i]);
		refuses_payload(payload, "the name in \"certificate\" is no single path component");
		snprintf(payload, sizeof(payload), "[{\"compressed_rootfs_directory\": \"%s\"}]",
			names[i]);
		refuses_payload(payload,
			"the name in \"compressed_rootfs_directory\" is no single path component");
	}
	refuses_payload("[{\"certificate\": \"a\\u0000b\", \"hash\": \"" HASH "\"}]", "NUL");
	refuses_payload(
		"[{\"rootfs_directory\": 7}]", "the value of \"rootfs_directory\" is no string");
	refuses_payload(
		"[{\"rootfs_directory\": null}]", "the value of \"rootfs_directory\" is no string");
}

static void a_hash_is_64_lower_case_hex_digits(void **state)
{
	static const char *const hashes[] = {
		"\"\"",
		"7",
		"null",
		"\"" HASH "0\"",
		"\"0123\"",
		"\"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\"",
		"\"g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
		"\" 123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
	};

	for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
		char payload[300];

		snprintf(payload, sizeof(payload), "[{\"regular\": \"r\", \"hash\": %s}]",
			hashes[i]);
		refuses_payload(payload, "\"regular\" has no \"hash\" of 64 lower-case hex digits");
	}
	refuses_payload("[{\"x_attributes\": \"r\"}]", "\"x_attributes\" has no \"hash\" of 64");
}

static void a_word_on_compression_is_a_short_string(void **state)
{
	char payload[1000], word[IMAGE_META_TEXT_MAX + 1];
	struct image_meta m;

	memset(word, 'x', sizeof(word));
	word[IMAGE_META_TEXT_MAX] = '\0';
	snprintf(payload, sizeof(payload), "[{\"x_compression\": \"%s\"}]", word);
	refuses_payload(
		payload, "the value of \"x_compression\" is no string of less than 256 bytes");
	refuses_payload("[{\"x_compression\": 10}]",
		"the value of \"x_compression\" is no string of less than 256 bytes");
	assert_int_equal(parse_payload("[" ALL ",{\"x_compression\": \"\"}]", &m, NULL), 0);
	assert_string_equal(m.compression, "");
}

static void lists_are_compressed_if_their_key_is_among_the_words(void **state)
{
	/* clang-format off */
	static const struct {
		const char *words;
		bool regulars, attributes;
	} rows[] = {
		{"",                            false, false},
		{"regular",                     true,  false},
		{"x_attributes regular",        true,  true },
		{"  regular  x_attributes ",    true,  true },
		{"x_later regular",             true,  false},
		{"regularly x_attributes2",     false, false},
		{"regula attributes Regular",   false, false},
		{"regular,x_attributes",        false, false},
	};
	/* clang-format on */
	char payload[1000], name[IMAGE_META_ZST_NAME_MAX];
	struct image_meta m;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(payload, sizeof(payload), "[" ALL ",{\"x_compressed_lists\": \"%s\"}]",
			rows[i].words);
		assert_int_equal(parse_payload(payload, &m, NULL), 0);
		assert_int_equal(image_meta_has_zst(&m, &m.regulars), rows[i].regulars);
		assert_int_equal(image_meta_has_zst(&m, &m.attributes), rows[i].attributes);
		assert_false(image_meta_has_zst(&m, &m.certificate));
	}
	memset(m.regulars.name, 'n', IMAGE_META_NAME_MAX - 1);
	m.regulars.name[IMAGE_META_NAME_MAX - 1] = '\0';
	image_part_zst_name(&m.regulars, name);
	assert_int_equal(strlen(name), IMAGE_META_NAME_MAX + 3);
	assert_string_equal(name + IMAGE_META_NAME_MAX - 1, ".zst");
	refuses_payload("[{\"x_compressed_lists\": [\"regular\"]}]",
		"the value of \"x_compressed_lists\" is no string of less than 256 bytes");
}

#define LIST_PATCH "regular,5000," HASH ",4000,300," HASH

static void patches_of_lists_are_found_by_list_and_older_list(void **state)
{
	struct digest hash;
	struct image_meta m;

	assert_int_equal(digest_from_hex(HASH, 64, &hash), 0);
	assert_int_equal(
		parse_payload("[" ALL ",{\"x_list_patches\": \"" LIST_PATCH "\"}]", &m, NULL), 0);
	assert_null(m.list_patches.unusable);
	assert_int_equal(image_meta_list_patch(&m, &m.regulars, &hash)->patch_bytes, 300);
	assert_null(image_meta_list_patch(&m, &m.dirs, &hash));
	hash.bytes[0] ^= 1;
	assert_null(image_meta_list_patch(&m, &m.regulars, &hash));
}

static void patches_of_lists_that_are_none_are_no_reason_to_refuse_the_image(void **state)
{
	/* clang-format off */
	static const struct {
		const char *value, *why;
	} rows[] = {
		{"7", "it is no string"},
		{"[\"" LIST_PATCH "\"]", "it is no string"},
		{"\"" LIST_PATCH " " LIST_PATCH "\"", "a patch is there twice"},
	};
	/* clang-format on */
	char payload[2000];
	struct image_meta m;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(payload, sizeof(payload), "[" ALL ",{\"x_list_patches\": %s}]",
			rows[i].value);
		assert_int_equal(parse_payload(payload, &m, NULL), 0);
		assert_string_equal(m.list_patches.unusable, rows[i].why);
		assert_int_equal(m.list_patches.n, 0);
	}
	refuses_payload("[{\"x_list_patches\": \"\"}, {\"x_list_patches\": \"\"}]",
		"it has two entries \"x_list_patches\"");
}

static void all_lists_together_fit(void **state)
{
	struct image_meta m = {0};
	const struct image_part *parts[] = {&m.dirs, &m.symlinks, &m.regulars, &m.persistents,
		&m.certificate, &m.attributes, &m.patches};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		image_meta_add_zst(&m, parts[i]);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		assert_true(image_meta_has_zst(&m, parts[i]));
}

static void a_size_is_digits(void **state)
{
	static const char *const sizes[] = {
		"\"\"",
		"\"-1\"",
		"\"12 3\"",
		"\"1e3\"",
		"\"0x10\"",
		"-5",
		"1.5",
		"null",
		"\"99999999999999999999999\"",
	};
	char payload[1000];
	struct image_meta m;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(payload, sizeof(payload), "[{\"total_regular_size\": %s}]", sizes[i]);
		refuses_payload(payload, "the value of \"total_regular_size\" is no size in bytes");
	}
	assert_int_equal(
		parse_payload("[" ALL ",{\"total_regular_size\": \"5000000000\\n\"}]", &m, NULL),
		0);
	assert_int_equal(m.total_regular_size_bytes, 5000000000);
	assert_int_equal(parse_payload("[" ALL ",{\"total_regular_size\": 17}]", &m, NULL), 0);
	assert_int_equal(m.total_regular_size_bytes, 17);
}

static void the_payload_is_an_array_of_objects(void **state)
{
	refuses_payload(V, "its payload is not an array of objects");
	refuses_payload("[1]", "its payload is not an array of objects");
	refuses_payload("[[" ALL "]]", "its payload is not an array of objects");
	refuses_payload("[", "its payload cannot be read: The text is no valid JSON");
	refuses_payload("", "its payload cannot be read: The text is no valid JSON");
	refuses_payload("[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]", "nested deeper");
}

static void refuses_text(const char *text, size_t len_bytes, const char *why)
{
	struct ota_err err = {0};
	struct image_meta m;

	assert_int_equal(image_meta_parse(text, len_bytes, &m, &err), -EBADMSG);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" is not \"%s\"", err.msg, why);
}

static void a_text_of_another_form_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"",				     "it has not three parts with a dot between"},
		{"\n",				   "three parts"                              },
		{"<html>404</html>",                     "three parts"                              },
		{"a.b",				  "three parts"                              },
		{"a.b.c.d",			      "three parts"                              },
		{"%.%.%",				"its header is not base64url"              },
		{"..",				   "its header cannot be read"                },
		{"eyJhbGciOiAiRVMyNTYifQ==.*.AAAA",      "its payload is not base64url"             },
		{"eyJhbGciOiAiRVMyNTYifQ==.W10=\n.AAAA", "its payload is not base64url"             },
		{"eyJhbGciOiAibm9uZSJ9.W10=.AAAA",       "does not say \"alg\": \"ES256\""          },
		{"W10=.W10=.AAAA",                       "does not say \"alg\": \"ES256\""          },
	};
	AUTO_FREE char *large = malloc(IMAGE_META_JWT_MAX_BYTES + 1);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refuses_text(bad[i].text, strlen(bad[i].text), bad[i].why);
	memset(large, 'A', IMAGE_META_JWT_MAX_BYTES + 1);
	refuses_text(large, IMAGE_META_JWT_MAX_BYTES + 1,
		"it has 262145 bytes, more than the 262144 allowed");
}

static void a_line_end_and_missing_padding_are_accepted(void **state)
{
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf text = {0};
	struct image_meta m, m2;

	parse_sample(&jwt, &m);
	buf_append(&text, jwt.data, jwt.len_bytes);
	buf_puts(&text, "\r\n");
	assert_int_equal(image_meta_parse(text.data, text.len_bytes, &m2, NULL), 0);
	assert_true(digest_equal(&m.regulars.digest, &m2.regulars.digest));
	/* Another text is another image. */
	assert_false(digest_equal(&m.jwt_digest, &m2.jwt_digest));

	text.len_bytes = 0;
	for (size_t i = 0; i < jwt.len_bytes; i++)
		if (jwt.data[i] != '=')
			buf_append(&text, &jwt.data[i], 1);
	assert_int_equal(image_meta_parse(text.data, text.len_bytes, &m2, NULL), 0);
	assert_true(digest_equal(&m.regulars.digest, &m2.regulars.digest));
}

static void any_changed_byte_is_noticed(void **state)
{
	AUTO_CERT_STORE struct cert_store *store = sample_store();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf pem = {0};
	unsigned n_verified = 0;
	struct image_meta m;

	parse_sample(&jwt, &m);
	read_sample("image/sign.pem", &pem);
	for (size_t i = 0; i < jwt.len_bytes; i++) {
		char was = jwt.data[i];
		struct image_meta changed;
		struct ota_err err = {0};

		jwt.data[i] = was == 'A' ? 'B' : 'A';
		/* Against what was read before the change, always. */
		assert_int_equal(image_meta_verify(jwt.data, jwt.len_bytes, &m, pem.data,
					 pem.len_bytes, store, &err),
			-EBADMSG);
		if (!strchr(".\n", was))
			assert_string_equal(err.msg, "metadata.jwt is invalid: it is not the text "
						     "that was read before");
		if (image_meta_parse(jwt.data, jwt.len_bytes, &changed, NULL) == 0) {
			assert_true(image_meta_verify(jwt.data, jwt.len_bytes, &changed, pem.data,
					    pem.len_bytes, store, NULL) < 0);
			n_verified++;
		}
		jwt.data[i] = was;
	}
	/* The change of a digit in a hash or a letter in a name passes the first step. */
	assert_true(n_verified > 100);
}

static void a_signature_by_another_key_is_refused(void **state)
{
	AUTO_CERT_STORE struct cert_store *store = sample_store();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf ours = {0};
	AUTO_BUF struct buf pem = {0};
	AUTO_SIGN_KEY struct sign_key *other = NULL;
	struct ota_err err = {0};
	struct image_meta m;
	char path[4200];

	parse_sample(&jwt, &m);
	read_sample("image/sign.pem", &pem);
	snprintf(path, sizeof(path), "%s/keys/negative/leaf.key", sample_dir);
	assert_int_equal(sign_key_load(path, &other, NULL), 0);
	assert_int_equal(image_meta_write(&m, other, &ours, NULL), 0);
	assert_int_equal(image_meta_parse(ours.data, ours.len_bytes, &m, NULL), 0);
	assert_int_equal(image_meta_verify(ours.data, ours.len_bytes, &m, pem.data, pem.len_bytes,
				 store, &err),
		-EPERM);
	assert_int_equal(err.code, OTA_E_METADATAJWT_CERT_INVALID);
	assert_string_equal(err.msg,
		"metadata.jwt cannot be trusted: The signature was not made with the key of "
		"certificate "
		"CN=sign.sample.example, serial 2FD9AD743C876F4B9359EDF7E2998C859DC0D810");
}

/* All that an attacker can do without a key of the chain: his certificate, his digest of it, his signature. */
static void images_signed_with_foreign_certificates_are_refused(void **state)
{
	static const struct {
		const char *file, *why;
	} bad[] = {
		{"self-signed.pem", "CN=anyone, serial 46E5943FAC1C74124A14D8741FDDBCF4FAA93340 "
                 "vouches for itself"},
		{"unrelated-ca-leaf.pem",
                 "CN=leaf, serial 79891D3A20093B3A2AA153BFA77BE341FB38BF5D was issued by "
                 "CN=evilca"},
		{"impostor-issuer-name-leaf.pem",
                 "CN=leaf, serial 027A3B8FAA95BFA55869B4F9F8075E73C1C9DCC4 was not signed "
                 "by the issuer it names"},
		{"issued-by-end-entity.pem",
                 "CN=leaf, serial 3FD1EEB1E415EE09CB9483048800197E72B69B2D was issued by "
                 "CN=sign.sample.example"},
	};
	AUTO_CERT_STORE struct cert_store *store = sample_store();
	AUTO_SIGN_KEY struct sign_key *key = NULL;
	AUTO_BUF struct buf jwt = {0};
	struct image_meta m;
	char path[4200];

	parse_sample(&jwt, &m);
	snprintf(path, sizeof(path), "%s/keys/negative/leaf.key", sample_dir);
	assert_int_equal(sign_key_load(path, &key, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUF struct buf pem = {0};
		AUTO_BUF struct buf ours = {0};
		struct ota_err err = {0};

		snprintf(path, sizeof(path), "keys/negative/%s", bad[i].file);
		read_sample(path, &pem);
		digest_of(pem.data, pem.len_bytes, &m.certificate.digest);
		assert_int_equal(image_meta_write(&m, key, &ours, NULL), 0);
		assert_int_equal(image_meta_parse(ours.data, ours.len_bytes, &m, NULL), 0);
		/* The signature itself is good: only the trust is missing. */
		assert_int_equal(image_meta_verify(ours.data, ours.len_bytes, &m, pem.data,
					 pem.len_bytes, NULL, NULL),
			0);
		assert_int_equal(image_meta_verify(ours.data, ours.len_bytes, &m, pem.data,
					 pem.len_bytes, store, &err),
			strstr(bad[i].why, "was not signed") ? -EPERM : -ENOKEY);
		assert_int_equal(err.code, OTA_E_METADATAJWT_CERT_INVALID);
		if (!strstr(err.msg, bad[i].why))
			fail_msg("\"%s\" is not \"%s\"", err.msg, bad[i].why);
	}
}

static void the_certificate_must_be_the_one_that_is_named(void **state)
{
	AUTO_CERT_STORE struct cert_store *store = sample_store();
	AUTO_BUF struct buf jwt = {0};
	AUTO_BUF struct buf pem = {0};
	struct ota_err err = {0};
	struct image_meta m;

	parse_sample(&jwt, &m);
	read_sample("image/sign.pem", &pem);
	buf_puts(&pem, "\n");
	assert_int_equal(image_meta_verify(
				 jwt.data, jwt.len_bytes, &m, pem.data, pem.len_bytes, store, &err),
		-EBADMSG);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_string_equal(err.msg,
		"metadata.jwt is invalid: the file it names as its certificate has another "
		"digest than it says");
}

static void url_is(const char *path, const char *want)
{
	AUTO_BUF struct buf url = {0};

	assert_int_equal(image_url_plain("http://h/img/", "data", path, strlen(path), &url), 0);
	assert_string_equal(buf_str(&url), want);
}

static void urls_are_spelled_as_every_client_spells_them(void **state)
{
	url_is("/home/user name/it's a quote.txt",
		"http://h/img/data/home/user%20name/it%27s%20a%20quote.txt");
	url_is("/percent%20and%41", "http://h/img/data/percent%2520and%2541");
	url_is("/hash#frag", "http://h/img/data/hash%23frag");
	url_is("/question?query=1&x=2", "http://h/img/data/question%3Fquery%3D1%26x%3D2");
	url_is("/plus+plus", "http://h/img/data/plus%2Bplus");
	url_is("/semi;colon", "http://h/img/data/semi%3Bcolon");
	url_is("/at@colon:eq=", "http://h/img/data/at%40colon%3Aeq%3D");
	url_is("/日本語ファイル.txt",
		"http://h/img/data/"
		"%E6%97%A5%E6%9C%AC%E8%AA%9E%E3%83%95%E3%82%A1%E3%82%A4%E3%83%AB.txt");
	url_is("/path;adf.ae?qu.er\\y=str#frag",
		"http://h/img/data/path%3Badf.ae%3Fqu.er%5Cy%3Dstr%23frag");
	url_is("/AZaz09_.-~/!()*,$[]\"\n",
		"http://h/img/data/AZaz09_.-~/%21%28%29%2A%2C%24%5B%5D%22%0A");
}

static void the_other_files_have_urls_too(void **state)
{
	AUTO_BUF struct buf url = {0};

	assert_int_equal(image_url_part("https://h:8443/a/b/", "sign it.pem", &url), 0);
	assert_string_equal(buf_str(&url), "https://h:8443/a/b/sign%20it.pem");
	url.len_bytes = 0;
	assert_int_equal(image_url_blob("http://h/", "data.zst", &digest_of_nothing, &url), 0);
	assert_string_equal(buf_str(&url),
		"http://h/data.zst/"
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.zst");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_is_read),
		cmocka_unit_test(the_sample_is_trusted),
		cmocka_unit_test(the_sample_is_written_again_byte_for_byte),
		cmocka_unit_test(extended_attributes_come_last_and_back),
		cmocka_unit_test(what_machines_would_refuse_is_not_written),
		cmocka_unit_test(the_order_does_not_matter_and_unknown_keys_are_skipped),
		cmocka_unit_test(each_required_entry_is_missed_by_name),
		cmocka_unit_test(other_versions_are_refused),
		cmocka_unit_test(nothing_may_be_said_twice),
		cmocka_unit_test(names_are_single_path_components),
		cmocka_unit_test(a_hash_is_64_lower_case_hex_digits),
		cmocka_unit_test(a_word_on_compression_is_a_short_string),
		cmocka_unit_test(lists_are_compressed_if_their_key_is_among_the_words),
		cmocka_unit_test(patches_of_lists_are_found_by_list_and_older_list),
		cmocka_unit_test(patches_of_lists_that_are_none_are_no_reason_to_refuse_the_image),
		cmocka_unit_test(all_lists_together_fit),
		cmocka_unit_test(a_size_is_digits),
		cmocka_unit_test(the_payload_is_an_array_of_objects),
		cmocka_unit_test(a_text_of_another_form_is_refused),
		cmocka_unit_test(a_line_end_and_missing_padding_are_accepted),
		cmocka_unit_test(any_changed_byte_is_noticed),
		cmocka_unit_test(a_signature_by_another_key_is_refused),
		cmocka_unit_test(images_signed_with_foreign_certificates_are_refused),
		cmocka_unit_test(the_certificate_must_be_the_one_that_is_named),
		cmocka_unit_test(urls_are_spelled_as_every_client_spells_them),
		cmocka_unit_test(the_other_files_have_urls_too),
	};

	if (argc != 2 || !realpath(argv[1], sample_dir))
		return 2;
	sample_fd = open(sample_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	clock_set_ops(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
