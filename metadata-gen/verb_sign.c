/*
 * verb_sign: write metadata.jwt for lists that are there, for pipelines that make lists and signature in two
 * steps. Only base names go into metadata.jwt: all files must end up side by side in the image. So lists are compressed
 * only if that is asked for: a pipeline that does not know of the new files would leave them behind.
 */
#include "metadata-gen/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/path.h"
#include "common/image/image_meta.h"
#include "common/image/list_text.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/options.h"

enum {
	SIZE_FILE_MAX_BYTES = 64,
};

struct sign_options {
	const char *sign_key, *cert, *persistents;
	const char *dirs, *symlinks, *regulars, *total_size;
	const char *rootfs_dir, *compressed_dir; /* compressed_dir NULL = none */
	const char *output;
	bool compress_lists;
};

static int describe(
	const char *path, struct image_part *ret_part, struct buf *ret_text, struct ota_err *err)
{
	int r = verb_read_file(path, LIST_TEXT_MAX_BYTES, ret_text, err);

	return r < 0 ? r
		     : image_part_describe(image_base_name(path), buf_str(ret_text),
			       ret_text->len_bytes, ret_part, err);
}

/* A file with one number; without the file nothing is said of the size. */
static int read_total_size(const char *path, uint64_t *ret_size, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	unsigned long long size;
	char *end;
	int r;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = verb_read_file(path, SIZE_FILE_MAX_BYTES, &text, err);
	if (r < 0)
		return r;
	errno = 0;
	size = strtoull(buf_str(&text), &end, 10);
	if (errno != 0 || buf_str(&text)[0] < '0' || buf_str(&text)[0] > '9' ||
		end[strspn(end, " \t\r\n")] != '\0')
		return ota_err_set(
			err, -EBADMSG, OTA_E_UNSPECIFIC, "%s does not hold one number", path);
	*ret_size = size;
	return 0;
}

static int set_dir(const char *option, const char *name, char ret_name[IMAGE_META_NAME_MAX],
	struct ota_err *err)
{
	size_t len = strlen(name);

	while (len > 0 && name[len - 1] == '/')
		len--;
	if (!path_is_component(name, len) || len >= IMAGE_META_NAME_MAX)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"--%s wants the name of a folder in the image, not \"%.100s\"", option,
			name);
	memcpy(ret_name, name, len);
	ret_name[len] = '\0';
	return 0;
}

static int write_file(const char *path, const struct buf *data, struct ota_err *err)
{
	const char *name = image_base_name(path);
	AUTO_FREE char *parent = name == path ? strdup(".") : strndup(path, (size_t)(name - path));
	AUTO_CLOSE int dir_fd = -1;
	int r;

	if (!parent)
		return ota_err_no_memory(err, "a path");
	dir_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir_fd < 0 ? -errno
		       : io_replace_file(
				 "sign.output", dir_fd, name, buf_str(data), data->len_bytes, 0644);
	return r < 0 ? ota_err_wrap(err, r, "Cannot write %s", path) : 0;
}

/* Beside the list, if that is of use. */
static int compress(const char *path, const struct buf *text, struct image_meta *meta,
	const struct image_part *part, struct ota_err *err)
{
	AUTO_BUF struct buf zst = {0}, zst_path = {0};
	int r = image_list_compress(buf_str(text), text->len_bytes, BLOB_LEVEL, &zst, err);

	if (r <= 0)
		return r;
	if (buf_printf(&zst_path, "%s.zst", path) < 0)
		return ota_err_no_memory(err, "a path");
	image_meta_add_zst(meta, part);
	return write_file(buf_str(&zst_path), &zst, err);
}

static int describe_list(const struct sign_options *o, const char *path, struct image_meta *meta,
	struct image_part *part, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = describe(path, part, &text, err);

	return r == 0 && o->compress_lists ? compress(path, &text, meta, part, err) : r;
}

static int describe_all(const struct sign_options *o, struct image_meta *meta, struct ota_err *err)
{
	AUTO_BUF struct buf cert = {0};
	int r = describe_list(o, o->dirs, meta, &meta->dirs, err);

	if (r == 0)
		r = describe_list(o, o->symlinks, meta, &meta->symlinks, err);
	if (r == 0)
		r = describe_list(o, o->regulars, meta, &meta->regulars, err);
	if (r == 0)
		r = describe_list(o, o->persistents, meta, &meta->persistents, err);
	if (r == 0)
		r = describe(o->cert, &meta->certificate, &cert, err);
	if (r == 0)
		r = read_total_size(o->total_size, &meta->total_regular_size_bytes, err);
	if (r == 0)
		r = set_dir("rootfs-directory", o->rootfs_dir, meta->rootfs_dir, err);
	if (r == 0 && o->compressed_dir)
		r = set_dir("compressed-rootfs-directory", o->compressed_dir, meta->compressed_dir,
			err);
	return r;
}

static int sign(const struct sign_options *o, struct ota_err *err)
{
	AUTO_IMAGE_SIGNER struct image_signer signer = {0};
	AUTO_BUF struct buf jwt = {0};
	struct image_meta meta = {0};
	int r = image_signer_load(&signer, o->sign_key, o->cert, err);

	if (r == 0)
		r = describe_all(o, &meta, err);
	if (r == 0)
		r = image_meta_write(&meta, signer.key, &jwt, err);
	return r == 0 ? write_file(o->output, &jwt, err) : r;
}

int verb_sign(int argc, char **argv)
{
	struct sign_options o = {
		.dirs = "dirs.txt",
		.symlinks = "symlinks.txt",
		.regulars = "regulars.txt",
		.total_size = IMAGE_TOTAL_SIZE,
		.rootfs_dir = "rootfs",
		.output = IMAGE_JWT,
	};
	/* clang-format off */
	const struct option_row rows[] = {
		{"sign-key", OPTION_TEXT, &o.sign_key, "KEY", "private P-256 key, PEM", true},
		{"cert-file", OPTION_TEXT, &o.cert, "SIGN.pem", "certificate of that key, PEM", true},
		{"persistent-file", OPTION_TEXT, &o.persistents, "F", "list of what machines keep over updates",
			true},
		{"directory-file", OPTION_TEXT, &o.dirs, "F", "(default dirs.txt)"},
		{"symlink-file", OPTION_TEXT, &o.symlinks, "F", "(default symlinks.txt)"},
		{"regular-file", OPTION_TEXT, &o.regulars, "F", "(default regulars.txt)"},
		{"total-regular-size-file", OPTION_TEXT, &o.total_size, "F",
			"used if it is there (default total_regular_size.txt)"},
		{"rootfs-directory", OPTION_TEXT, &o.rootfs_dir, "NAME",
			"the image's folder of plain files (default rootfs)"},
		{"compressed-rootfs-directory", OPTION_TEXT, &o.compressed_dir, "NAME",
			"the image's folder of compressed contents (default: none)"},
		{"compress-lists", OPTION_FLAG, &o.compress_lists, NULL,
			"write FILE.zst beside each list that it makes smaller; they belong to the image"},
		{"output", OPTION_TEXT, &o.output, "F", "(default metadata.jwt)"},
	};
	/* clang-format on */
	const struct option_table table = {
		.verb = "sign",
		.summary = "Write metadata.jwt for lists that \"gen\" has made.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	struct ota_err err = {0};
	int exit_status;

	if (!options_parse(&table, argc, argv, NULL, &exit_status))
		return exit_status;
	return sign(&o, &err) < 0 ? verb_failed(&err) : 0;
}
