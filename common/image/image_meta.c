/*
 * image_meta: read, verify and write metadata.jwt. Contract: image_meta.h.
 *
 * <header>.<payload>.<signature>, each base64url. The payload is an array of small objects, and one table below
 * lists them for reading as well as for writing.
 *
 * The payload is read before it is verified, because it names the certificate. So everything that could be
 * turned against us by then (sizes, nesting, names, digests) is checked here, and image_meta_verify() makes sure
 * that what it verifies is the very text that was read.
 *
 * Elsewhere: fetching (the updater), certificates and signatures (cert_store), URLs (image_url.c).
 */
#include "common/image/image_meta.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/base/path.h"
#include "common/codec/base64url.h"
#include "common/codec/json.h"

enum entry_kind {
	ENTRY_VERSION,
	ENTRY_PART, /* a file of the image: its name, and its digest as "hash" beside it */
	ENTRY_DIR,
	ENTRY_SIZE,
	ENTRY_TEXT,    /* words; not looked into here */
	ENTRY_PATCHES, /* of lists; no reason to refuse the image */
};

struct entry {
	const char *key;
	enum entry_kind kind;
	bool required;
	size_t offset; /* of the field in struct image_meta */
};

#define AT(field) offsetof(struct image_meta, field)

/* In the order in which they are written; readers take any order. Ours come last, others skip them. */
static const struct entry entries[] = {
	{"version",		     ENTRY_VERSION, true,  0                           },
	{"directory",                   ENTRY_PART,    true,  AT(dirs)                    },
	{"symboliclink",                ENTRY_PART,    true,  AT(symlinks)                },
	{"regular",		     ENTRY_PART,    true,  AT(regulars)                },
	{"persistent",                  ENTRY_PART,    true,  AT(persistents)             },
	{"rootfs_directory",            ENTRY_DIR,     true,  AT(rootfs_dir)              },
	{"certificate",                 ENTRY_PART,    true,  AT(certificate)             },
	{"total_regular_size",          ENTRY_SIZE,    false, AT(total_regular_size_bytes)},
	{"compressed_rootfs_directory", ENTRY_DIR,     false, AT(compressed_dir)          },
	{"x_attributes",                ENTRY_PART,    false, AT(attributes)              },
	{"x_patches",                   ENTRY_PART,    false, AT(patches)                 },
	{"x_compression",               ENTRY_TEXT,    false, AT(compression)             },
	{"x_compressed_lists",          ENTRY_TEXT,    false, AT(compressed_lists)        },
	{"x_list_patches",              ENTRY_PATCHES, false, AT(list_patches)            },
};

enum {
	FORMAT_VERSION = 1,
};

static const char header_json[] = "{\"alg\": \"ES256\"}";

/* The three parts as slices of the text. */
struct jwt_parts {
	const char *header, *payload, *signature;
	size_t header_len, payload_len, signature_len;
	size_t signed_len; /* <header>.<payload>, from the text's first byte */
};

static int invalid(struct ota_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int invalid(struct ota_err *err, const char *fmt, ...)
{
	char why[OTA_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return ota_err_set(
		err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "metadata.jwt is invalid: %s", why);
}

static int jwt_split(
	const char *jwt, size_t len_bytes, struct jwt_parts *ret_parts, struct ota_err *err)
{
	const char *end = jwt + len_bytes, *dot1, *dot2;

	if (len_bytes > IMAGE_META_JWT_MAX_BYTES)
		return invalid(err, "it has %zu bytes, more than the %d allowed", len_bytes,
			IMAGE_META_JWT_MAX_BYTES);
	/* Editors and shells add a line end; it is not part of any of the three. */
	if (end > jwt && end[-1] == '\n')
		end--;
	if (end > jwt && end[-1] == '\r')
		end--;
	dot1 = memchr(jwt, '.', (size_t)(end - jwt));
	dot2 = dot1 ? memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1)) : NULL;
	if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
		return invalid(err, "it has not three parts with a dot between");
	*ret_parts = (struct jwt_parts){
		.header = jwt,
		.header_len = (size_t)(dot1 - jwt),
		.payload = dot1 + 1,
		.payload_len = (size_t)(dot2 - dot1 - 1),
		.signature = dot2 + 1,
		.signature_len = (size_t)(end - dot2 - 1),
		.signed_len = (size_t)(dot2 - jwt),
	};
	return 0;
}

static int decode_part(const char *what, const char *text, size_t len_bytes, struct buf *ret_data,
	struct ota_err *err)
{
	int r = base64url_decode(text, len_bytes, ret_data);

	if (r == -EBADMSG)
		return invalid(err, "its %s is not base64url", what);
	if (r < 0)
		return ota_err_no_memory(err, "metadata.jwt");
	return 0;
}

static int decode_json(const char *what, const char *text, size_t len_bytes,
	struct json_doc **ret_doc, struct ota_err *err)
{
	AUTO_BUF struct buf json = {0};
	int r = decode_part(what, text, len_bytes, &json, err);

	if (r < 0)
		return r;
	r = json_doc_parse(buf_str(&json), json.len_bytes, IMAGE_META_JWT_MAX_BYTES, ret_doc, err);
	if (r < 0) {
		ota_err_blame(err, OTA_E_OTA_IMAGE_INVALID);
		return ota_err_wrap(err, r, "metadata.jwt is invalid: its %s cannot be read", what);
	}
	return 0;
}

static int read_header(const struct jwt_parts *parts, struct ota_err *err)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	const char *alg;
	int r = decode_json("header", parts->header, parts->header_len, &doc, err);

	if (r < 0)
		return r;
	alg = json_value_string(json_value_member(json_doc_root(doc), "alg"));
	if (!alg || strcmp(alg, "ES256") != 0)
		return invalid(err, "its header does not say \"alg\": \"ES256\"");
	return 0;
}

/* Names are not shown: until the signature is verified anybody may have put anything there. */
static int read_name(const struct entry *e, const struct json_value *v,
	char ret_name[IMAGE_META_NAME_MAX], struct ota_err *err)
{
	const char *name = json_value_string(v);

	if (!name)
		return invalid(err, "the value of \"%s\" is no string", e->key);
	if (!path_is_component(name, strlen(name)))
		return invalid(err, "the name in \"%s\" is no single path component", e->key);
	memcpy(ret_name, name, strlen(name) + 1);
	return 0;
}

static int read_part(const struct entry *e, const struct json_value *object,
	const struct json_value *v, struct image_part *ret_part, struct ota_err *err)
{
	const char *hash = json_value_string(json_value_member(object, "hash"));
	int r = read_name(e, v, ret_part->name, err);

	if (r < 0)
		return r;
	if (!hash || strspn(hash, "0123456789abcdef") != strlen(hash) ||
		digest_from_hex(hash, strlen(hash), &ret_part->digest) < 0)
		return invalid(err, "\"%s\" has no \"hash\" of 64 lower-case hex digits", e->key);
	return 0;
}

static int read_size(
	const struct entry *e, const struct json_value *v, uint64_t *ret_size, struct ota_err *err)
{
	const char *text = json_value_string(v);
	int64_t number;
	size_t n = text ? strspn(text, "0123456789") : 0;

	if (json_value_integer(v, &number) == 0 && number >= 0) {
		*ret_size = (uint64_t)number;
		return 0;
	}
	/* The text of a file goes in here as it is, so a line end may be with it. */
	if (!text || text[n + strspn(text + n, " \t\r\n")] != '\0' ||
		decimal_parse(text, n, 0, INT64_MAX, ret_size) < 0)
		return invalid(err, "the value of \"%s\" is no size in bytes", e->key);
	return 0;
}

static int read_text(const struct entry *e, const struct json_value *v,
	char ret_text[IMAGE_META_TEXT_MAX], struct ota_err *err)
{
	const char *text = json_value_string(v);

	if (!text || strlen(text) >= IMAGE_META_TEXT_MAX)
		return invalid(err, "the value of \"%s\" is no string of less than %d bytes",
			e->key, IMAGE_META_TEXT_MAX);
	memcpy(ret_text, text, strlen(text) + 1);
	return 0;
}

static int read_patches(const struct json_value *v, struct list_patches *ret_patches)
{
	const char *text = json_value_string(v);

	if (text)
		list_patches_read(text, ret_patches);
	else
		*ret_patches = (struct list_patches){.unusable = "it is no string"};
	return 0;
}

static int read_version(const struct json_value *v, struct ota_err *err)
{
	int64_t version;

	if (json_value_integer(v, &version) < 0)
		return invalid(err, "its version is no number");
	if (version != FORMAT_VERSION)
		return invalid(err, "it has version %" PRId64 ", and only version %d is known",
			version, FORMAT_VERSION);
	return 0;
}

static int read_entry(const struct entry *e, const struct json_value *object,
	struct image_meta *meta, struct ota_err *err)
{
	const struct json_value *v = json_value_member(object, e->key);
	void *field = (char *)meta + e->offset;

	switch (e->kind) {
	case ENTRY_VERSION:
		return read_version(v, err);
	case ENTRY_PART:
		return read_part(e, object, v, field, err);
	case ENTRY_DIR:
		return read_name(e, v, field, err);
	case ENTRY_SIZE:
		return read_size(e, v, field, err);
	case ENTRY_TEXT:
		return read_text(e, v, field, err);
	case ENTRY_PATCHES:
		return read_patches(v, field);
	}
	assert(false);
	return -EINVAL;
}

/* @seen: one bit for each row of the table that has been met. */
static int read_object(const struct json_value *object, unsigned *seen, struct image_meta *meta,
	struct ota_err *err)
{
	const struct entry *found = NULL;

	if (!json_value_is_object(object))
		return invalid(err, "its payload is not an array of objects");
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		const struct entry *e = &entries[i];
		int r;

		if (!json_value_member(object, e->key))
			continue;
		if (found)
			return invalid(
				err, "\"%s\" and \"%s\" stand in one object", found->key, e->key);
		if (*seen & 1u << i)
			return invalid(err, "it has two entries \"%s\"", e->key);
		r = read_entry(e, object, meta, err);
		if (r < 0)
			return r;
		found = e;
		*seen |= 1u << i;
	}
	return 0;
}

static int read_payload(
	const struct json_value *payload, struct image_meta *meta, struct ota_err *err)
{
	unsigned seen = 0;
	int r;

	if (!json_value_is_array(payload))
		return invalid(err, "its payload is not an array of objects");
	for (size_t i = 0; i < json_value_count(payload); i++) {
		r = read_object(json_value_at(payload, i), &seen, meta, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		if (entries[i].required && !(seen & 1u << i))
			return invalid(err, "it has no entry \"%s\"", entries[i].key);
	return 0;
}

int image_meta_parse(
	const char *jwt, size_t len_bytes, struct image_meta *ret_meta, struct ota_err *err)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	struct image_meta meta = {0};
	struct jwt_parts parts = {0};
	int r = jwt_split(jwt, len_bytes, &parts, err);

	if (r == 0)
		r = read_header(&parts, err);
	if (r == 0)
		r = decode_json("payload", parts.payload, parts.payload_len, &doc, err);
	if (r == 0)
		r = read_payload(json_doc_root(doc), &meta, err);
	if (r < 0)
		return r;
	digest_of(jwt, len_bytes, &meta.jwt_digest);
	*ret_meta = meta;
	return 0;
}

int image_meta_verify(const char *jwt, size_t len_bytes, const struct image_meta *meta,
	const char *cert_pem, size_t cert_len, const struct cert_store *store, struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	AUTO_BUF struct buf signature = {0};
	struct jwt_parts parts = {0};
	struct digest digest;
	int r = jwt_split(jwt, len_bytes, &parts, err);

	if (r < 0)
		return r;
	digest_of(jwt, len_bytes, &digest);
	if (!digest_equal(&digest, &meta->jwt_digest))
		return invalid(err, "it is not the text that was read before");
	digest_of(cert_pem, cert_len, &digest);
	if (!digest_equal(&digest, &meta->certificate.digest))
		return invalid(err,
			"the file it names as its certificate has another digest than it says");
	r = decode_part("signature", parts.signature, parts.signature_len, &signature, err);
	if (r < 0)
		return r;
	r = signer_cert_parse(cert_pem, cert_len, &cert, err);
	if (r == 0 && store)
		r = cert_store_verify(store, cert, err);
	if (r == 0)
		r = signer_cert_check(
			cert, jwt, parts.signed_len, buf_str(&signature), signature.len_bytes, err);
	return r < 0 ? ota_err_wrap(err, r, "metadata.jwt cannot be trusted") : 0;
}

/* ---- lists that are there in other forms, too ---- */

/* What metadata.jwt calls the list: names may have spaces, keys have none. */
static const char *key_of_part(const struct image_meta *meta, const struct image_part *part)
{
	size_t offset = (size_t)((const char *)part - (const char *)meta);

	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		if (entries[i].kind == ENTRY_PART && entries[i].offset == offset)
			return entries[i].key;
	assert(false);
	return "";
}

/* Words that are no keys of ours are a later builder's, and no harm. */
bool image_meta_has_zst(const struct image_meta *meta, const struct image_part *part)
{
	const char *key = key_of_part(meta, part);
	const char *word = meta->compressed_lists;
	size_t key_len = strlen(key), len;

	for (; *word; word += len + (word[len] == ' ')) {
		len = strcspn(word, " ");
		if (len == key_len && memcmp(word, key, len) == 0)
			return true;
	}
	return false;
}

void image_meta_add_zst(struct image_meta *meta, const struct image_part *part)
{
	size_t len = strlen(meta->compressed_lists), room = sizeof(meta->compressed_lists) - len;
	int n = snprintf(meta->compressed_lists + len, room, "%s%s", len ? " " : "",
		key_of_part(meta, part));

	/* All keys of the table have fewer bytes together. */
	assert(n > 0 && (size_t)n < room);
	(void)n;
}

void image_part_zst_name(const struct image_part *part, char ret_name[IMAGE_META_ZST_NAME_MAX])
{
	snprintf(ret_name, IMAGE_META_ZST_NAME_MAX, "%s.zst", part->name);
}

const struct list_patch *image_meta_list_patch(
	const struct image_meta *meta, const struct image_part *part, const struct digest *old)
{
	return list_patches_find(&meta->list_patches, key_of_part(meta, part), old);
}

void image_meta_add_list_patch(
	struct image_meta *meta, const struct image_part *part, const struct list_patch *patch)
{
	struct list_patch p = *patch;

	p.key = key_of_part(meta, part);
	list_patches_add(&meta->list_patches, &p);
}

/* ---- writing ---- */

static int put_patches(const struct entry *e, const struct list_patches *patches, struct buf *out)
{
	AUTO_BUF struct buf words = {0};
	int r = list_patches_write(patches, &words);

	if (r == 0)
		r = buf_printf(out, "{\"%s\": ", e->key);
	if (r == 0)
		r = json_put_string(out, buf_str(&words), words.len_bytes);
	return r < 0 ? r : buf_puts(out, "}");
}

static int put_entry(const struct entry *e, const struct image_meta *meta, struct buf *out)
{
	const void *field = (const char *)meta + e->offset;
	const char *name =
		field; /* a part begins with its name too, and a text is as long at most */
	char hex[DIGEST_HEX_MAX];
	int r;

	if (e->kind == ENTRY_VERSION)
		return buf_printf(out, "{\"%s\": %d}", e->key, FORMAT_VERSION);
	if (e->kind == ENTRY_SIZE)
		return buf_printf(
			out, "{\"%s\": \"%" PRIu64 "\"}", e->key, *(const uint64_t *)field);
	if (e->kind == ENTRY_PATCHES)
		return put_patches(e, field, out);
	r = buf_printf(out, "{\"%s\": ", e->key);
	if (r == 0)
		r = json_put_string(out, name, strnlen(name, IMAGE_META_NAME_MAX));
	if (r == 0 && e->kind == ENTRY_PART) {
		digest_to_hex(&((const struct image_part *)field)->digest, hex);
		r = buf_printf(out, ", \"hash\": \"%s\"", hex);
	}
	return r < 0 ? r : buf_puts(out, "}");
}

static bool has_entry(const struct entry *e, const struct image_meta *meta)
{
	const char *field = (const char *)meta + e->offset;

	if (e->kind == ENTRY_SIZE)
		return *(const uint64_t *)(const void *)field != 0;
	if (e->kind == ENTRY_PATCHES)
		return meta->list_patches.n > 0;
	return e->required || field[0] != '\0';
}

static int put_payload(const struct image_meta *meta, struct buf *out)
{
	int r = buf_puts(out, "[");

	for (size_t i = 0; i < ARRAY_SIZE(entries) && r == 0; i++) {
		if (!has_entry(&entries[i], meta))
			continue;
		if (i > 0)
			r = buf_puts(out, ", ");
		if (r == 0)
			r = put_entry(&entries[i], meta, out);
	}
	return r < 0 ? r : buf_puts(out, "]");
}

int image_meta_write(const struct image_meta *meta, const struct sign_key *key, struct buf *ret_jwt,
	struct ota_err *err)
{
	AUTO_BUF struct buf payload = {0};
	AUTO_BUF struct buf jwt = {0};
	AUTO_FREE unsigned char *signature = NULL;
	struct image_meta again;
	size_t signature_len = 0;
	int r = put_payload(meta, &payload);

	if (r == -EBADMSG)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot write metadata.jwt: one of its names is not UTF-8");
	if (r == 0)
		r = base64url_encode(header_json, strlen(header_json), &jwt);
	if (r == 0)
		r = buf_puts(&jwt, ".");
	if (r == 0)
		r = base64url_encode(buf_str(&payload), payload.len_bytes, &jwt);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot write metadata.jwt");
	r = sign_key_sign(key, jwt.data, jwt.len_bytes, &signature, &signature_len, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot sign metadata.jwt");
	r = buf_puts(&jwt, ".");
	if (r == 0)
		r = base64url_encode(signature, signature_len, &jwt);
	/* Whatever we could not read back, no machine could: names with a slash, for example. */
	if (r == 0)
		r = image_meta_parse(jwt.data, jwt.len_bytes, &again, err);
	if (r == 0)
		r = buf_append(ret_jwt, jwt.data, jwt.len_bytes);
	return r < 0 ? ota_err_wrap(err, r, "Cannot write metadata.jwt") : 0;
}
