/*
 * build_write: what an image consists of. Contract: build.h.
 */
#include "metadata-gen/build.h"

#include <inttypes.h>
#include <string.h>

#include "common/image/patch_list.h"

static bool is_plain_needed(const struct build *b, const struct rootfs_entry *e)
{
	if (e->node->kind != ROOTFS_FILE)
		return false;
	if (e->fate == FATE_LISTED && (b->opt->plain_all || !e->node->blob->has_zst))
		return true;
	return rootfs_is_served_by_name(e);
}

int build_place_plain(struct build *b, struct ota_err *err)
{
	AUTO_BLOB_HAND struct blob_hand *hand = blob_hand_new(b->store);
	int r;

	if (!hand)
		return ota_err_no_memory(err, "hashing");
	for (size_t i = 0; i < b->tree->n_entries; i++) {
		struct rootfs_entry *e = b->tree->entries[i];

		if (e->node->kind == ROOTFS_FILE && e->fate == FATE_LISTED)
			e->node->blob->wanted = true;
		if (!is_plain_needed(b, e))
			continue;
		r = blob_place(hand, e->node->blob, b->plain_fd, e->image_path + 1, err);
		if (r < 0)
			return r;
	}
	r = blob_store_sweep(b->store, err);
	if (r < 0)
		return r;
	r = image_folder_remove(b->folder.fd, BUILD_PLAIN_STORE);
	return r < 0 ? ota_err_wrap(err, r, "Cannot remove the working folder of the image") : 0;
}

static int write_part(struct build *b, const char *name, const struct buf *text,
	struct image_part *ret_part, struct ota_err *err)
{
	return image_part_make(b->folder.fd, name, buf_str(text), text->len_bytes, ret_part, err);
}

/* With its compressed form, if it has one of use. */
static int write_list(struct build *b, const char *name, const struct buf *text,
	struct image_part *ret_part, struct ota_err *err)
{
	AUTO_BUF struct buf zst = {0};
	char zst_name[IMAGE_META_ZST_NAME_MAX];
	int r = write_part(b, name, text, ret_part, err);

	if (r == 0 && !b->opt->no_compress)
		r = image_list_compress(
			buf_str(text), text->len_bytes, (int)b->opt->level, &zst, err);
	if (r <= 0)
		return r;
	image_meta_add_zst(&b->meta, ret_part);
	image_part_zst_name(ret_part, zst_name);
	return write_part(b, zst_name, &zst, NULL, err);
}

int build_make_patches(struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	AUTO_IMAGE_READER struct image_reader made = IMAGE_READER_NONE;
	int r;

	if (opt->patch_from.n == 0)
		return 0;
	r = image_folder_make_dir(&b->folder, PATCH_DIR, &b->patch_fd, err);
	if (r == 0)
		r = image_reader_open_parts(b->folder.fd, IMAGE_PLAIN_DIR,
			opt->no_compress ? NULL : IMAGE_ZST_DIR, &b->lists.regulars, &made, err);
	if (r < 0)
		return r;
	return image_patches_make(
		&(struct patches_config){
			.made = &made,
			.old_images = opt->patch_from.at,
			.n_old_images = opt->patch_from.n,
			.reuse = b->old.same_settings ? &b->old : NULL,
			.dir_fd = b->patch_fd,
			.level = (int)opt->level,
			.n_jobs = (unsigned)opt->jobs,
		},
		&b->patches, err);
}

/* Behind the lists, whose digests name them. */
static int make_list_patches(struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	const struct image_meta *m = &b->meta;
	/* clang-format off */
	const struct image_list_patches_config config = {
		.lists = {
			{&m->dirs, &b->lists.dirs},
			{&m->symlinks, &b->lists.symlinks},
			{&m->regulars, &b->lists.regulars},
			{&m->persistents, &b->persistents},
			{&m->attributes, &b->lists.attributes},
		},
		.image_fd = b->folder.fd,
		.dir_fd = b->patch_fd,
		.old_images = opt->patch_from.at,
		.n_old_images = opt->patch_from.n,
		.level = (int)opt->level,
	};
	/* clang-format on */

	if (b->patch_fd < 0)
		return 0;
	return image_list_patches_make(&config, &b->meta, &b->list_patches, err);
}

static int write_lists(struct build *b, struct ota_err *err)
{
	struct image_meta *meta = &b->meta;
	AUTO_BUF struct buf size = {0};
	int r;

	if (buf_printf(&size, "%" PRIu64, b->lists.total_size_bytes) < 0)
		return ota_err_no_memory(err, "a number");
	r = write_list(b, "dirs.txt", &b->lists.dirs, &meta->dirs, err);
	if (r == 0)
		r = write_list(b, "symlinks.txt", &b->lists.symlinks, &meta->symlinks, err);
	if (r == 0)
		r = write_list(b, "regulars.txt", &b->lists.regulars, &meta->regulars, err);
	if (r == 0)
		r = write_list(b, "attributes.txt", &b->lists.attributes, &meta->attributes, err);
	if (r == 0)
		r = write_list(b, "persistents.txt", &b->persistents, &meta->persistents, err);
	if (r == 0 && b->patch_fd >= 0)
		r = write_list(b, "patches.txt", &b->patches.list, &meta->patches, err);
	if (r == 0)
		r = write_part(b, b->signer.cert_name, &b->signer.cert, &meta->certificate, err);
	if (r == 0)
		r = write_part(b, IMAGE_TOTAL_SIZE, &size, NULL, err);
	return r;
}

static int write_jwt(struct build *b, struct ota_err *err)
{
	struct image_meta *meta = &b->meta;
	AUTO_BUF struct buf jwt = {0};
	int r;

	meta->total_regular_size_bytes = b->lists.total_size_bytes;
	memcpy(meta->rootfs_dir, IMAGE_PLAIN_DIR, sizeof(IMAGE_PLAIN_DIR));
	if (!b->opt->no_compress)
		memcpy(meta->compressed_dir, IMAGE_ZST_DIR, sizeof(IMAGE_ZST_DIR));
	memcpy(meta->compression, b->settings, sizeof(b->settings));
	r = image_meta_write(meta, b->signer.key, &jwt, err);
	if (r < 0)
		return r;
	digest_of(buf_str(&jwt), jwt.len_bytes, &meta->jwt_digest);
	return image_part_make(b->folder.fd, IMAGE_JWT, buf_str(&jwt), jwt.len_bytes, NULL, err);
}

int build_write_parts(struct build *b, struct ota_err *err)
{
	int r = write_lists(b, err);

	if (r == 0)
		r = make_list_patches(b, err);
	return r == 0 ? write_jwt(b, err) : r;
}
