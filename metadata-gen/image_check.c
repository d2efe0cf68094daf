/*
 * image_check: signature, lists and contents of an image. Contract: image_check.h.
 *
 * A step that finds a problem reports it and goes on with whatever still makes sense: a list with a wrong digest is
 * still parsed, and each line for itself, so that one bad line does not hide the next.
 */
#include "metadata-gen/image_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/image/image_meta.h"
#include "common/image/list_text.h"
#include "common/image/patch_list.h"
#include "common/image/utf8.h"
#include "metadata-gen/hand_rack.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/progress.h"

/* A content to look at: a blob, or a plain file. */
struct item {
	struct text path; /* of a plain file; at == NULL: the blob */
	struct digest digest;
	uint64_t size_bytes; /* CONTENT_SIZE_UNKNOWN */
	bool may_lack;       /* a plain file beside a blob need not be there */
};

struct check {
	const struct image_check_options *opt;
	struct image_check_result result;
	pthread_mutex_t lock; /* of result and the callbacks */
	int dir_fd;
	struct image_meta meta;
	struct buf jwt, cert;
	struct buf notes;    /* of the certificates' folder, each with its NUL */
	struct buf lists[5]; /* in the order of list_rows; the table borrows them */
	struct file_table *table;
	struct patch_list *patches; /* NULL = none, or they cannot be read */
	struct item *items;
	size_t n_items;
	int plain_fd, zst_fd;
	struct hand_rack rack;
	struct progress progress;
};

static void problem(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct check *c, const char *fmt, ...)
{
	char sentence[2 * OTA_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&c->lock);
	c->result.n_problems++;
	c->opt->problem(c->opt->ctx, sentence);
	pthread_mutex_unlock(&c->lock);
}

/* ---- signature ---- */

/* Returns false if there is nothing more to look at. */
static bool check_meta(struct check *c)
{
	struct ota_err err = {0};
	int r = file_read(c->dir_fd, IMAGE_JWT, IMAGE_META_JWT_MAX_BYTES, &c->jwt);

	if (r < 0) {
		problem(c, "%s: it cannot be read: %s", IMAGE_JWT, file_read_why(r));
		return false;
	}
	if (image_meta_parse(buf_str(&c->jwt), c->jwt.len_bytes, &c->meta, &err) < 0) {
		problem(c, "%s: %s", IMAGE_JWT, err.msg);
		return false;
	}
	if (c->meta.list_patches.unusable)
		problem(c, "%s: its patches of lists are of no use: %s", IMAGE_JWT,
			c->meta.list_patches.unusable);
	if (faccessat(c->dir_fd, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		problem(c, "oci-layout: it must not be there, clients take the image for another "
			   "kind");
	return true;
}

static void keep_note(void *ctx, const char *sentence)
{
	(void)buf_append(ctx, sentence, strlen(sentence) + 1);
}

static void tell_notes(const struct check *c)
{
	const char *end = buf_str(&c->notes) + c->notes.len_bytes;

	for (const char *at = buf_str(&c->notes); at < end; at += strlen(at) + 1)
		c->opt->note(c->opt->ctx, at);
}

/* Files that are skipped only matter where a certificate is missed: they may be the one. */
static void check_chain(
	struct check *c, const struct signer_cert *cert, const struct cert_store *store)
{
	struct ota_err err = {0};
	int r = cert_store_verify(store, cert, &err);

	if (r < 0)
		problem(c, "%s: %s", c->meta.certificate.name, err.msg);
	if (r == -ENOKEY)
		tell_notes(c);
}

static void check_signature(struct check *c)
{
	struct image_meta meta = c->meta;
	struct ota_err err = {0};

	/* That the certificate file has a wrong digest is reported already; the signature is another matter. */
	digest_of(buf_str(&c->cert), c->cert.len_bytes, &meta.certificate.digest);
	if (image_meta_verify(buf_str(&c->jwt), c->jwt.len_bytes, &meta, buf_str(&c->cert),
		    c->cert.len_bytes, NULL, &err) < 0)
		problem(c, "%s: %s", IMAGE_JWT, err.msg);
}

static void check_signer(struct check *c, const struct cert_store *store)
{
	const struct image_part *part = &c->meta.certificate;
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	struct ota_err err = {0};
	struct digest digest;
	int r = file_read(c->dir_fd, part->name, CERT_PEM_MAX_BYTES, &c->cert);

	if (r < 0) {
		problem(c, "%s: it cannot be read: %s", part->name, file_read_why(r));
		return;
	}
	digest_of(buf_str(&c->cert), c->cert.len_bytes, &digest);
	if (!digest_equal(&digest, &part->digest))
		problem(c, "%s: its digest is not the one in %s", part->name, IMAGE_JWT);
	if (signer_cert_parse(buf_str(&c->cert), c->cert.len_bytes, &cert, &err) < 0) {
		problem(c, "%s: %s", part->name, err.msg);
		return;
	}
	check_chain(c, cert, store);
	check_signature(c);
}

/* ---- lists ---- */

static int any_path(void *ctx, const char *path, struct ota_err *err)
{
	return 0;
}

static int read_persistents(
	const char *text, size_t len, const char *name, struct file_table *t, struct ota_err *err)
{
	return list_text_read_persistents(text, len, name, any_path, NULL, err);
}

typedef int read_fn(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);

/* clang-format off */
static const struct list_row {
	size_t part; /* offset in struct image_meta */
	read_fn *read;
	bool by_line; /* each line can be read for itself */
} list_rows[] = {
	{offsetof(struct image_meta, dirs), list_text_read_dirs, true},
	{offsetof(struct image_meta, symlinks), list_text_read_symlinks, true},
	{offsetof(struct image_meta, regulars), list_text_read_regulars, true},
	{offsetof(struct image_meta, persistents), read_persistents, true},
	{offsetof(struct image_meta, attributes), list_text_read_attributes, false},
};
/* clang-format on */

static const struct image_part *part_of(const struct check *c, size_t row)
{
	return (const void *)((const char *)&c->meta + list_rows[row].part);
}

/* The reader sees one line and calls it the first; here it gets its number. */
static void line_problem(
	struct check *c, const char *name, uint64_t line_no, const struct ota_err *err)
{
	const char *colon =
		strncmp(err->msg, "Line 1 of ", 10) == 0 ? strstr(err->msg, ": ") : NULL;

	problem(c, "%s, line %" PRIu64 ": %s", name, line_no, colon ? colon + 2 : err->msg);
}

static void read_lines(struct check *c, size_t row)
{
	const char *name = part_of(c, row)->name;
	const char *at = buf_str(&c->lists[row]);
	const char *end = at + c->lists[row].len_bytes;

	for (uint64_t line_no = 1; at < end; line_no++) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		const char *line_end =
			lf ? lf + 1 : end; /* with its LF: "" would be a list without lines */
		struct ota_err err = {0};

		if (list_rows[row].read(at, (size_t)(line_end - at), name, c->table, &err) < 0)
			line_problem(c, name, line_no, &err);
		c->result.n_lines++;
		at = line_end;
	}
}

/* A client does without, but it was signed that there is one. */
static void check_zst(struct check *c, const struct image_part *part, const struct buf *text)
{
	AUTO_BLOB_HAND struct blob_hand *hand = blob_hand_new(NULL);
	char name[IMAGE_META_ZST_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct ota_err err = {0};

	if (!image_meta_has_zst(&c->meta, part))
		return;
	image_part_zst_name(part, name);
	fd = openat(c->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		problem(c, "%s: %s names it, but it cannot be opened: %s", name, IMAGE_JWT,
			strerror(errno));
	else if (!hand || blob_verify(hand, fd, &part->digest, text->len_bytes, -1, &err) < 0)
		problem(c, "%s: %s", name, hand ? err.msg : strerror(ENOMEM));
}

/* What the words say of the list that patches make. */
static void check_words(struct check *c, const struct image_part *part, const struct buf *text)
{
	for (unsigned i = 0; i < c->meta.list_patches.n; i++) {
		const struct list_patch *p = &c->meta.list_patches.at[i];

		if (image_meta_list_patch(&c->meta, part, &p->old) == p &&
			p->list_bytes != text->len_bytes)
			problem(c, "%s: patches to %s make %" PRIu64 " bytes, but it has %zu",
				IMAGE_JWT, part->name, p->list_bytes, text->len_bytes);
	}
}

static void check_list(struct check *c, size_t row)
{
	const struct image_part *part = part_of(c, row);
	struct digest digest;
	int r;

	if (part->name[0] == '\0')
		return;
	r = file_read(c->dir_fd, part->name, LIST_TEXT_MAX_BYTES, &c->lists[row]);
	if (r < 0) {
		problem(c, "%s: it cannot be read: %s", part->name, file_read_why(r));
		return;
	}
	digest_of(buf_str(&c->lists[row]), c->lists[row].len_bytes, &digest);
	if (!digest_equal(&digest, &part->digest))
		problem(c, "%s: its digest is not the one in %s", part->name, IMAGE_JWT);
	check_zst(c, part, &c->lists[row]);
	check_words(c, part, &c->lists[row]);
	if (list_rows[row].read == list_text_read_regulars)
		file_table_expect_files(c->table,
			list_text_count_lines(buf_str(&c->lists[row]), c->lists[row].len_bytes));
	if (list_rows[row].by_line)
		read_lines(c, row);
}

static void check_total(struct check *c)
{
	if (c->meta.total_regular_size_bytes != 0 &&
		c->meta.total_regular_size_bytes != c->table->total_size_bytes)
		problem(c,
			"%s: it says that the files have %" PRIu64
			" bytes together, but the lists say "
			"%" PRIu64,
			IMAGE_JWT, c->meta.total_regular_size_bytes, c->table->total_size_bytes);
}

/* What holds for the lists together. The table is of no use afterwards if it fails. */
static void check_table(struct check *c)
{
	const size_t attributes = ARRAY_SIZE(list_rows) - 1;
	const struct image_part *part = part_of(c, attributes);
	struct ota_err err = {0};

	check_total(c);
	if (file_table_seal(c->table, &err) < 0) {
		problem(c, "The lists: %s", err.msg);
		return;
	}
	if (part->name[0] != '\0' && c->lists[attributes].data &&
		list_text_read_attributes(buf_str(&c->lists[attributes]),
			c->lists[attributes].len_bytes, part->name, c->table, &err) < 0)
		problem(c, "%s: %s", part->name, err.msg);
}

/* ---- patches ---- */

static int open_dir(struct check *c, const char *name, const char *why)
{
	int fd = openat(c->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		problem(c, "%s: %s, but it cannot be opened: %s", name, why, strerror(errno));
	return fd;
}

static void check_patch(struct check *c, int dir_fd, const struct digest *made,
	const struct digest *old, uint64_t patch_bytes, const struct digest *patch,
	struct digest_ctx *ctx)
{
	char name[PATCH_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct digest digest = {0};
	uint64_t size = 0;
	int r;

	patch_name(made, old, name);
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	r = fd < 0 ? -errno : digest_of_fd(ctx, fd, &digest, &size);
	if (r < 0)
		problem(c, PATCH_DIR "/%s: it cannot be read: %s", name, strerror(-r));
	else if (size != patch_bytes)
		problem(c, PATCH_DIR "/%s: it has %" PRIu64 " bytes instead of %" PRIu64, name,
			size, patch_bytes);
	else if (!digest_equal(&digest, patch))
		problem(c, PATCH_DIR "/%s: it has another digest than the list says", name);
}

static void check_patches_of_contents(struct check *c, int dir_fd, struct digest_ctx *ctx)
{
	for (uint32_t i = 0; c->patches && i < c->patches->n_patches; i++) {
		const struct patch *p = &c->patches->patches[i];

		check_patch(c, dir_fd, &c->table->contents[p->content].digest,
			&c->patches->bases[p->base].digest, p->size_bytes, &p->digest, ctx);
	}
}

static void check_patches_of_lists(struct check *c, int dir_fd, struct digest_ctx *ctx)
{
	for (size_t row = 0; row < ARRAY_SIZE(list_rows); row++)
		for (unsigned i = 0; i < c->meta.list_patches.n; i++) {
			const struct list_patch *p = &c->meta.list_patches.at[i];
			const struct image_part *part = part_of(c, row);

			if (image_meta_list_patch(&c->meta, part, &p->old) == p)
				check_patch(c, dir_fd, &part->digest, &p->old, p->patch_bytes,
					&p->patch, ctx);
		}
}

/* What a patch makes cannot be seen here, since that takes the older image. */
static int check_patches(struct check *c, struct ota_err *err)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = NULL;
	AUTO_CLOSE int dir_fd = -1;

	if (((!c->patches || c->patches->n_patches == 0) && c->meta.list_patches.n == 0) ||
		c->opt->quick)
		return 0;
	ctx = digest_ctx_new();
	if (!ctx)
		return ota_err_no_memory(err, "the check of patches");
	dir_fd = open_dir(c, PATCH_DIR, "patches are listed");
	if (dir_fd < 0)
		return 0;
	check_patches_of_contents(c, dir_fd, ctx);
	check_patches_of_lists(c, dir_fd, ctx);
	return 0;
}

static void read_patches(struct check *c)
{
	const struct image_part *part = &c->meta.patches;
	AUTO_BUF struct buf text = {0};
	struct ota_err err = {0};
	struct digest digest;
	int r;

	if (part->name[0] == '\0')
		return;
	r = file_read(c->dir_fd, part->name, LIST_TEXT_MAX_BYTES, &text);
	if (r < 0) {
		problem(c, "%s: it cannot be read: %s", part->name, file_read_why(r));
		return;
	}
	digest_of(buf_str(&text), text.len_bytes, &digest);
	if (!digest_equal(&digest, &part->digest))
		problem(c, "%s: its digest is not the one in %s", part->name, IMAGE_JWT);
	check_zst(c, part, &text);
	if (patch_list_read(
		    buf_str(&text), text.len_bytes, part->name, c->table, &c->patches, &err) < 0)
		problem(c, "%s: %s", part->name, err.msg);
}

/* ---- contents ---- */

/* As inspect counts: one blob or file stands for each content, however many were looked at. */
static void count_contents(struct check *c)
{
	const struct file_table *t = c->table;

	c->result.n_contents = t->n_contents;
	for (uint32_t i = 0; i < t->n_contents; i++)
		if (t->contents[i].size_bytes != CONTENT_SIZE_UNKNOWN)
			c->result.n_bytes += t->contents[i].size_bytes;
}

/* Before the seal, so that a table that breaks a rule does not hide its broken contents. */
static int collect_items(struct check *c, struct ota_err *err)
{
	const struct file_table *t = c->table;

	c->items = calloc((size_t)t->n_contents + t->n_files + 1, sizeof(*c->items));
	if (!c->items)
		return ota_err_no_memory(err, "the image's contents");
	for (uint32_t i = 0; i < t->n_contents; i++)
		if (t->contents[i].has_zst)
			c->items[c->n_items++] = (struct item){
				.digest = t->contents[i].digest,
				.size_bytes = t->contents[i].size_bytes,
			};
	for (uint32_t i = 0; i < t->n_files; i++) {
		const struct content *content = &t->contents[t->files[i].content];

		c->items[c->n_items++] = (struct item){
			.path = t->files[i].path,
			.digest = content->digest,
			.size_bytes = content->size_bytes,
			.may_lack = content->has_zst,
		};
	}
	return 0;
}

static void check_blob(struct check *c, const struct item *item, struct blob_hand *hand)
{
	char name[BLOB_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct ota_err err = {0};

	blob_name(&item->digest, name);
	fd = openat(c->zst_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		problem(c, "%s/%s: it cannot be opened: %s", c->meta.compressed_dir, name,
			strerror(errno));
	else if (blob_verify(hand, fd, &item->digest, item->size_bytes, -1, &err) < 0)
		problem(c, "%s/%s: %s", c->meta.compressed_dir, name, err.msg);
}

/* "data/etc/hosts" for sentences. */
static const char *show_plain(const struct check *c, struct text path, char ret_shown[512])
{
	char shown[UTF8_SHOW_MAX];

	snprintf(ret_shown, 512, "%s%s", c->meta.rootfs_dir, utf8_show(path.at, path.len, shown));
	return ret_shown;
}

static void check_plain(struct check *c, const struct item *item, struct blob_hand *hand)
{
	AUTO_FREE char *path = strndup(item->path.at, item->path.len);
	AUTO_CLOSE int fd = -1;
	char shown[512];
	struct digest digest;
	struct stat st;
	uint64_t size;
	int r;

	fd = path ? path_open(c->plain_fd, path, O_RDONLY | O_NONBLOCK, 0) : -ENOMEM;
	if (item->may_lack && (fd == -ENOENT || fd == -ENOTDIR))
		return;
	show_plain(c, item->path, shown);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		problem(c, "%s: it cannot be opened: %s", shown,
			fd < 0 ? strerror(-fd) : "it is not a regular file");
		return;
	}
	r = digest_of_fd(blob_hand_digest(hand), fd, &digest, &size);
	if (r < 0)
		problem(c, "%s: it cannot be read: %s", shown, strerror(-r));
	else if (item->size_bytes != CONTENT_SIZE_UNKNOWN && size != item->size_bytes)
		problem(c, "%s: it has %" PRIu64 " bytes instead of %" PRIu64, shown, size,
			item->size_bytes);
	else if (!digest_equal(&digest, &item->digest))
		problem(c, "%s: its content has another digest than the list says", shown);
}

static int check_item(void *ctx, size_t index, struct ota_err *err)
{
	struct check *c = ctx;
	const struct item *item = &c->items[index];
	struct blob_hand *hand = hand_rack_take(&c->rack);

	if (!hand)
		return ota_err_no_memory(err, "hashing");
	if (item->path.at)
		check_plain(c, item, hand);
	else if (c->zst_fd >= 0)
		check_blob(c, item, hand);
	hand_rack_put(&c->rack, hand);
	progress_add(&c->progress, 1,
		item->size_bytes == CONTENT_SIZE_UNKNOWN || item->may_lack ? 0 : item->size_bytes);
	return 0;
}

static int check_contents(struct check *c, struct ota_err *err)
{
	bool has_zst = c->n_items > 0 && !c->items[0].path.at;
	bool has_plain = c->n_items > 0 && c->items[c->n_items - 1].path.at;
	int r;

	if (has_zst && c->meta.compressed_dir[0] == '\0')
		problem(c, "%s: it names no folder for the compressed contents of the lists",
			IMAGE_JWT);
	else if (has_zst)
		c->zst_fd = open_dir(c, c->meta.compressed_dir, "compressed contents are listed");
	if (has_plain)
		c->plain_fd = open_dir(c, c->meta.rootfs_dir, "files are listed");
	if (has_plain && c->plain_fd < 0)
		return 0;
	progress_start(&c->progress, "Checking", c->n_items, c->table->total_size_bytes);
	hand_rack_init(&c->rack, NULL);
	r = workers_run(c->n_items, 8, c->opt->n_jobs, check_item, c, err);
	hand_rack_done(&c->rack);
	progress_end(&c->progress);
	return r;
}

static int check_image(struct check *c, const struct cert_store *store, struct ota_err *err)
{
	int r = 0;

	if (!check_meta(c))
		return 0;
	check_signer(c, store);
	for (size_t i = 0; i < ARRAY_SIZE(list_rows); i++)
		check_list(c, i);
	count_contents(c);
	if (!c->opt->quick)
		r = collect_items(c, err);
	if (r == 0 && !c->opt->quick)
		r = check_contents(c, err);
	if (r == 0)
		check_table(c);
	if (r == 0)
		read_patches(c);
	return r == 0 ? check_patches(c, err) : r;
}

static void check_done(struct check *c)
{
	buf_done(&c->jwt);
	buf_done(&c->cert);
	buf_done(&c->notes);
	file_table_free(c->table);
	patch_list_free(c->patches);
	for (size_t i = 0; i < ARRAY_SIZE(c->lists); i++)
		buf_done(&c->lists[i]);
	free(c->items);
	closep(&c->plain_fd);
	closep(&c->zst_fd);
	closep(&c->dir_fd);
	pthread_mutex_destroy(&c->lock);
}

int image_check(const char *image_dir, const struct image_check_options *options,
	struct image_check_result *ret_result, struct ota_err *err)
{
	AUTO_CERT_STORE struct cert_store *store = NULL;
	struct check c = {
		.opt = options,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.dir_fd = open(image_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.plain_fd = -1,
		.zst_fd = -1,
		.table = file_table_new(),
	};
	int r;

	if (c.dir_fd < 0)
		r = ota_err_wrap(err, -errno, "Cannot open the image %s", image_dir);
	else if (!c.table)
		r = ota_err_no_memory(err, "the image's lists");
	else
		r = cert_store_open(options->certs_dir, keep_note, &c.notes, &store, err);
	if (r == 0)
		r = check_image(&c, store, err);
	if (r == 0)
		*ret_result = c.result;
	check_done(&c);
	return r;
}
