/*
 * verb_inspect: what is in an image. Nothing is trusted or checked but the signature's own arithmetic; "verify" does
 * the rest.
 */
#include "metadata-gen/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/codec/json.h"
#include "common/image/image_meta.h"
#include "common/image/list_text.h"
#include "common/image/patch_list.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/options.h"

struct inspection {
	int dir_fd;
	struct buf jwt, cert, dirs, symlinks, regulars, attributes, persistents, patches;
	struct image_meta meta;
	struct file_table *table;
	struct buf signer; /* "CN=…" */
	bool signature_ok; /* the certificate's key made the signature; says nothing of trust */
	uint64_t n_persistents, n_link_groups, n_compressed, n_patches, patch_bytes;
	uint64_t list_patch_bytes;
	uint64_t content_bytes; /* distinct contents, plain */
	uint64_t served_bytes;  /* to fetch for all of them: blobs, else plain files */
	uint64_t list_bytes, served_list_bytes; /* of all lists, plain and to fetch */
};

static void inspection_done(struct inspection *in)
{
	struct buf *bufs[] = {&in->jwt, &in->cert, &in->dirs, &in->symlinks, &in->regulars,
		&in->attributes, &in->persistents, &in->patches, &in->signer};

	file_table_free(in->table);
	for (size_t i = 0; i < ARRAY_SIZE(bufs); i++)
		buf_done(bufs[i]);
	closep(&in->dir_fd);
}
#define AUTO_INSPECTION CLEANUP(inspection_done)

static int read_part(struct inspection *in, const char *name, size_t max_bytes,
	struct buf *ret_text, struct ota_err *err)
{
	int r = file_read(in->dir_fd, name, max_bytes, ret_text);

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read %s of the image: %s",
			       name, file_read_why(r))
		     : 0;
}

static int read_signer(struct inspection *in, struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	struct ota_err why = {0};
	int r = read_part(in, in->meta.certificate.name, CERT_PEM_MAX_BYTES, &in->cert, err);

	if (r < 0)
		return r;
	/* A signer that is bad is a result; that it cannot be looked at is none. */
	r = signer_cert_parse(buf_str(&in->cert), in->cert.len_bytes, &cert, &why);
	if (r == 0) {
		r = image_meta_verify(buf_str(&in->jwt), in->jwt.len_bytes, &in->meta,
			buf_str(&in->cert), in->cert.len_bytes, NULL, &why);
		in->signature_ok = r == 0;
	}
	if (r == -ENOMEM || buf_puts(&in->signer, cert ? signer_cert_name(cert) : "unknown") < 0)
		return ota_err_no_memory(err, "the signer's certificate");
	return 0;
}

static int count_persistent(void *ctx, const char *path, struct ota_err *err)
{
	struct inspection *in = ctx;

	in->n_persistents++;
	return 0;
}

typedef int read_fn(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);

static int read_list(struct inspection *in, const struct image_part *part, struct buf *text,
	read_fn *read, struct ota_err *err)
{
	int r = read_part(in, part->name, LIST_TEXT_MAX_BYTES, text, err);

	return r < 0 ? r : read(buf_str(text), text->len_bytes, part->name, in->table, err);
}

static int read_patches(struct inspection *in, struct ota_err *err)
{
	const struct image_part *part = &in->meta.patches;
	AUTO_PATCH_LIST struct patch_list *list = NULL;
	int r;

	if (!part->name[0])
		return 0;
	r = read_part(in, part->name, LIST_TEXT_MAX_BYTES, &in->patches, err);
	if (r == 0)
		r = patch_list_read(buf_str(&in->patches), in->patches.len_bytes, part->name,
			in->table, &list, err);
	if (r < 0)
		return r;
	in->n_patches = list->n_patches;
	for (uint32_t i = 0; i < list->n_patches; i++)
		in->patch_bytes += list->patches[i].size_bytes;
	return 0;
}

static int read_lists(struct inspection *in, struct ota_err *err)
{
	const struct image_meta *m = &in->meta;
	int r = read_list(in, &m->dirs, &in->dirs, list_text_read_dirs, err);

	if (r == 0)
		r = read_list(in, &m->symlinks, &in->symlinks, list_text_read_symlinks, err);
	if (r == 0)
		r = read_list(in, &m->regulars, &in->regulars, list_text_read_regulars, err);
	if (r == 0)
		r = file_table_seal(in->table, err);
	if (r == 0 && m->attributes.name[0])
		r = read_list(in, &m->attributes, &in->attributes, list_text_read_attributes, err);
	if (r == 0)
		r = read_part(in, m->persistents.name, LIST_TEXT_MAX_BYTES, &in->persistents, err);
	if (r == 0)
		r = list_text_read_persistents(buf_str(&in->persistents), in->persistents.len_bytes,
			m->persistents.name, count_persistent, in, err);
	return r == 0 ? read_patches(in, err) : r;
}

/* What a client fetches for a content; the plain size where nothing better is known. */
static uint64_t served_size(const struct content *c, int zst_fd)
{
	char name[BLOB_NAME_MAX];
	struct stat st;

	blob_name(&c->digest, name);
	if (c->has_zst && zst_fd >= 0 && fstatat(zst_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return (uint64_t)st.st_size;
	return c->size_bytes;
}

/* Files whose first name is another file's; each first name once. */
static int count_groups(struct inspection *in, struct ota_err *err)
{
	const struct file_table *t = in->table;
	AUTO_FREE bool *seen = calloc((size_t)t->n_files + 1, sizeof(*seen));

	if (!seen)
		return ota_err_no_memory(err, "the hard link groups");
	for (uint32_t i = 0; i < t->n_files; i++) {
		uint32_t group = t->files[i].group;

		if (group == i)
			continue;
		in->n_link_groups += !seen[group];
		seen[group] = true;
	}
	return 0;
}

static void count_list_patches(struct inspection *in)
{
	const struct list_patches *patches = &in->meta.list_patches;

	for (unsigned i = 0; i < patches->n; i++)
		in->list_patch_bytes += patches->at[i].patch_bytes;
}

static void count_lists(struct inspection *in)
{
	const struct image_meta *m = &in->meta;
	/* clang-format off */
	const struct {
		const struct image_part *part;
		const struct buf *text;
	} lists[] = {
		{&m->dirs, &in->dirs}, {&m->symlinks, &in->symlinks}, {&m->regulars, &in->regulars},
		{&m->persistents, &in->persistents}, {&m->attributes, &in->attributes},
		{&m->patches, &in->patches},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		char name[IMAGE_META_ZST_NAME_MAX];
		struct stat st = {.st_size = (off_t)lists[i].text->len_bytes};

		image_part_zst_name(lists[i].part, name);
		if (image_meta_has_zst(m, lists[i].part))
			(void)fstatat(in->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
		in->list_bytes += lists[i].text->len_bytes;
		in->served_list_bytes += (uint64_t)st.st_size;
	}
}

static int sum_up(struct inspection *in, struct ota_err *err)
{
	const struct file_table *t = in->table;
	AUTO_CLOSE int zst_fd = -1;

	if (in->meta.compressed_dir[0])
		zst_fd = openat(
			in->dir_fd, in->meta.compressed_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (uint32_t i = 0; i < t->n_contents; i++) {
		const struct content *c = &t->contents[i];

		in->n_compressed += c->has_zst;
		if (c->size_bytes == CONTENT_SIZE_UNKNOWN)
			continue;
		in->content_bytes += c->size_bytes;
		in->served_bytes += served_size(c, zst_fd);
	}
	count_lists(in);
	count_list_patches(in);
	return count_groups(in, err);
}

static int inspect(struct inspection *in, const char *image_dir, struct ota_err *err)
{
	int r;

	in->dir_fd = open(image_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (in->dir_fd < 0)
		return ota_err_wrap(err, -errno, "Cannot open the image %s", image_dir);
	in->table = file_table_new();
	if (!in->table)
		return ota_err_no_memory(err, "the image's lists");
	r = read_part(in, IMAGE_JWT, IMAGE_META_JWT_MAX_BYTES, &in->jwt, err);
	if (r == 0)
		r = image_meta_parse(buf_str(&in->jwt), in->jwt.len_bytes, &in->meta, err);
	if (r == 0)
		r = read_signer(in, err);
	if (r == 0)
		r = read_lists(in, err);
	return r == 0 ? sum_up(in, err) : r;
}

/* One figure of the result: its name in JSON, its words for people. */
struct figure {
	const char *key, *words;
	uint64_t value;
};

static void show_text(
	const struct inspection *in, const char *identity, const struct figure *figures, size_t n)
{
	printf("identity:               %s\n", identity);
	printf("signed by:              %s (%s)\n", buf_str(&in->signer),
		in->signature_ok ? "the signature is this certificate's"
				 : "the signature is WRONG");
	for (size_t i = 0; i < n; i++)
		printf("%-23s %" PRIu64 "\n", figures[i].words, figures[i].value);
	printf("carries attributes:     %s\n", in->table->has_attributes ? "yes" : "no");
}

static int show_json(
	const struct inspection *in, const char *identity, const struct figure *figures, size_t n)
{
	AUTO_BUF struct buf out = {0};
	int r = buf_printf(&out, "{\"identity\": \"%s\", \"signed_by\": ", identity);

	if (r == 0)
		r = json_put_string(&out, buf_str(&in->signer), in->signer.len_bytes);
	if (r == 0)
		r = buf_printf(&out, ", \"signature_ok\": %s, \"attributes\": %s",
			in->signature_ok ? "true" : "false",
			in->table->has_attributes ? "true" : "false");
	for (size_t i = 0; i < n && r == 0; i++)
		r = buf_printf(&out, ", \"%s\": %" PRIu64, figures[i].key, figures[i].value);
	if (r == 0)
		printf("%s}\n", buf_str(&out));
	return r;
}

static int show(const struct inspection *in, bool json)
{
	const struct file_table *t = in->table;
	uint32_t n_dirs = 0;
	char identity[DIGEST_HEX_MAX];

	for (uint32_t i = 0; i < t->n_dirs; i++)
		n_dirs += !t->dirs[i].implied;
	digest_to_hex(&in->meta.jwt_digest, identity);
	/* clang-format off */
	const struct figure figures[] = {
		{"directories", "directories:", n_dirs},
		{"symlinks", "symbolic links:", t->n_symlinks},
		{"files", "files:", t->n_files},
		{"hard_link_groups", "hard link groups:", in->n_link_groups},
		{"contents", "distinct contents:", t->n_contents},
		{"compressed_contents", "of these compressed:", in->n_compressed},
		{"total_bytes", "bytes of all files:", t->total_size_bytes},
		{"content_bytes", "bytes of contents:", in->content_bytes},
		{"served_bytes", "bytes to fetch for all:", in->served_bytes},
		{"xattrs", "extended attributes:", t->n_xattrs},
		{"persistents", "persistent paths:", in->n_persistents},
		{"patches", "patches:", in->n_patches},
		{"patch_bytes", "bytes of patches:", in->patch_bytes},
		{"list_bytes", "bytes of lists:", in->list_bytes},
		{"served_list_bytes", "bytes to fetch of them:", in->served_list_bytes},
		{"list_patches", "patches of lists:", in->meta.list_patches.n},
		{"list_patch_bytes", "bytes of these:", in->list_patch_bytes},
	};
	/* clang-format on */

	if (json)
		return show_json(in, identity, figures, ARRAY_SIZE(figures));
	show_text(in, identity, figures, ARRAY_SIZE(figures));
	return 0;
}

int verb_inspect(int argc, char **argv)
{
	AUTO_INSPECTION struct inspection in = {.dir_fd = -1};
	bool json = false;
	/* clang-format off */
	const struct option_row rows[] = {
		{"json", OPTION_FLAG, &json, NULL, "one JSON object instead of text"},
	};
	/* clang-format on */
	const struct option_table table = {
		.verb = "inspect",
		.operands = "IMAGE_DIR",
		.n_operands = 1,
		.summary = "Say what is in an image and who signed it. Trusts and checks nothing; "
			   "see verify.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	const char *image_dir;
	struct ota_err err = {0};
	int exit_status;

	if (!options_parse(&table, argc, argv, &image_dir, &exit_status))
		return exit_status;
	if (inspect(&in, image_dir, &err) < 0)
		return verb_failed(&err);
	if (show(&in, json) < 0) {
		ota_err_no_memory(&err, "the figures");
		return verb_failed(&err);
	}
	return 0;
}
