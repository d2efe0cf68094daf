/*
 * image_reader: files and contents of an image on disk. Contract: image_reader.h.
 */
#include "metadata-gen/image_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "common/codec/zstd_stream.h"
#include "common/image/image_meta.h"
#include "common/image/list_text.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_parts.h"

enum {
	CHUNK_BYTES = 128 * 1024,
};

/* ---- opening ---- */

static int open_folder(int dir_fd, const char *name, int *ret_fd, struct ota_err *err)
{
	*ret_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd < 0 ? ota_err_wrap(err, -errno, "Cannot open its folder %s", name) : 0;
}

static int read_table(struct image_reader *ir, const char *name, struct ota_err *err)
{
	int r;

	ir->table = file_table_new();
	if (!ir->table)
		return ota_err_no_memory(err, "the list of files");
	r = list_text_read_regulars(
		buf_str(&ir->regulars), ir->regulars.len_bytes, name, ir->table, err);
	return r == 0 ? file_table_seal(ir->table, err) : r;
}

static int open_folders(int dir_fd, const char *plain_dir, const char *zst_dir,
	struct image_reader *ir, struct ota_err *err)
{
	int r = open_folder(dir_fd, plain_dir, &ir->plain_fd, err);

	return r == 0 && zst_dir ? open_folder(dir_fd, zst_dir, &ir->zst_fd, err) : r;
}

int image_reader_open_parts(int dir_fd, const char *plain_dir, const char *zst_dir,
	const struct buf *regulars, struct image_reader *ret, struct ota_err *err)
{
	int r = buf_append(&ret->regulars, buf_str(regulars), regulars->len_bytes);

	if (r < 0)
		return ota_err_no_memory(err, "the list of files");
	r = open_folders(dir_fd, plain_dir, zst_dir, ret, err);
	return r == 0 ? read_table(ret, "regulars.txt", err) : r;
}

static int read_part(
	int dir_fd, const char *name, size_t max_bytes, struct buf *ret, struct ota_err *err)
{
	int r = file_read(dir_fd, name, max_bytes, ret);

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Its %s cannot be read: %s", name,
			       file_read_why(r))
		     : 0;
}

static int open_image(const char *image_dir, struct image_reader *ir, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = open(image_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_BUF struct buf jwt = {0};
	struct image_meta meta;
	int r;

	if (dir_fd < 0)
		return ota_err_wrap(err, -errno, "It cannot be opened");
	r = read_part(dir_fd, IMAGE_JWT, IMAGE_META_JWT_MAX_BYTES, &jwt, err);
	if (r == 0)
		r = image_meta_parse(buf_str(&jwt), jwt.len_bytes, &meta, err);
	if (r == 0)
		r = read_part(dir_fd, meta.regulars.name, LIST_TEXT_MAX_BYTES, &ir->regulars, err);
	if (r == 0)
		r = open_folders(dir_fd, meta.rootfs_dir,
			meta.compressed_dir[0] ? meta.compressed_dir : NULL, ir, err);
	return r == 0 ? read_table(ir, meta.regulars.name, err) : r;
}

int image_reader_open(const char *image_dir, struct image_reader *ret, struct ota_err *err)
{
	int r = open_image(image_dir, ret, err);

	return r < 0 ? ota_err_wrap(err, r, "Cannot read the image %s", image_dir) : 0;
}

void image_reader_done(struct image_reader *ir)
{
	closep(&ir->plain_fd);
	closep(&ir->zst_fd);
	file_table_free(ir->table);
	buf_done(&ir->regulars);
	*ir = (struct image_reader)IMAGE_READER_NONE;
}

/* ---- contents ---- */

/* Bytes on their way into memory of a known size. */
struct filling {
	char *data;
	size_t size, len;
};

static int fill(void *ctx, const void *data, size_t len)
{
	struct filling *f = ctx;

	if (len > f->size - f->len)
		return -EBADMSG;
	memcpy(f->data + f->len, data, len);
	f->len += len;
	return 0;
}

static int open_blob(const struct image_reader *ir, const struct content *c)
{
	char name[BLOB_NAME_MAX];
	int fd;

	blob_name(&c->digest, name);
	fd = openat(ir->zst_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int open_plain(const struct image_reader *ir, const struct content *c)
{
	struct text path = ir->table->files[c->first_file].path;
	AUTO_FREE char *copy = strndup(path.at, path.len);

	return copy ? path_open(ir->plain_fd, copy, O_RDONLY | O_NONBLOCK, 0) : -ENOMEM;
}

static int read_all(int fd, zstd_sink_fn *sink, void *ctx)
{
	AUTO_FREE char *chunk = malloc(CHUNK_BYTES);
	ssize_t n;
	int r = chunk ? 0 : -ENOMEM;

	while (r == 0 && (n = read(fd, chunk, CHUNK_BYTES)) != 0) {
		if (n > 0)
			r = sink(ctx, chunk, (size_t)n);
		else if (errno != EINTR)
			r = -errno;
	}
	return r;
}

struct unpacking {
	struct zstd_decoder *decoder;
	struct filling *filling;
};

static int unpack(void *ctx, const void *data, size_t len)
{
	struct unpacking *u = ctx;

	return zstd_decoder_feed(u->decoder, data, len, fill, u->filling);
}

static int read_blob(int fd, struct filling *f)
{
	AUTO_ZSTD_DECODER struct zstd_decoder *decoder = zstd_decoder_new();
	struct unpacking u = {.decoder = decoder, .filling = f};
	int r;

	if (!decoder)
		return -ENOMEM;
	zstd_decoder_start(decoder, f->size);
	r = read_all(fd, unpack, &u);
	return r == 0 ? zstd_decoder_finish(decoder) : r;
}

static bool is_blob(const struct image_reader *ir, const struct content *c)
{
	return c->has_zst && ir->zst_fd >= 0;
}

int image_reader_content(const struct image_reader *ir, uint32_t content, void **ret_data)
{
	const struct content *c = &ir->table->contents[content];
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *data = NULL;
	struct filling f;
	struct digest digest;
	int r;

	if (c->size_bytes == CONTENT_SIZE_UNKNOWN || c->size_bytes > SIZE_MAX / 2)
		return -EBADMSG;
	fd = is_blob(ir, c) ? open_blob(ir, c) : open_plain(ir, c);
	if (fd < 0)
		return fd;
	data = malloc(c->size_bytes + 1);
	if (!data)
		return -ENOMEM;
	f = (struct filling){.data = data, .size = c->size_bytes};
	r = is_blob(ir, c) ? read_blob(fd, &f) : read_all(fd, fill, &f);
	if (r < 0)
		return r;
	digest_of(data, f.len, &digest);
	if (!digest_equal(&digest, &c->digest))
		return -EBADMSG;
	*ret_data = TAKE_PTR(data);
	return 0;
}

uint64_t image_reader_served_bytes(const struct image_reader *ir, uint32_t content)
{
	const struct content *c = &ir->table->contents[content];
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (!is_blob(ir, c))
		return c->size_bytes;
	fd = open_blob(ir, c);
	return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}
