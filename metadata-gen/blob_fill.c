/*
 * blob_fill: contents into the store: from memory, from files, from a spool. Contracts: blob_store.h, blob_parts.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "metadata-gen/blob_parts.h"

int blob_copy_checked(
	struct blob_hand *hand, const struct blob *blob, int fd, int out, struct ota_err *err)
{
	struct digest found;
	uint64_t at = 0;
	size_t n = 1;
	int r = 0;

	digest_start(hand->digest);
	while (r == 0 && n > 0 && at <= blob->size_bytes) {
		r = blob_read_some(fd, hand->chunk, BLOB_CHUNK_BYTES, at, &n);
		if (r < 0)
			break;
		digest_add(hand->digest, hand->chunk, n);
		at += n;
		r = file_write_all(out, hand->chunk, n);
	}
	digest_final(hand->digest, &found);
	if (r < 0)
		return blob_write_failed(r, blob, "", err);
	if (!digest_equal(&found, &blob->digest))
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC, "it changed while it was read");
	return 0;
}

static bool wants_plain(const struct blob_hand *hand, const struct blob *blob)
{
	return hand->store->config.plain_fd >= 0 &&
	       (!blob->has_zst || hand->store->config.all_plain);
}

static int plain_from_memory(
	struct blob_hand *hand, struct blob *blob, const void *data, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int fd = -1;
	int r;

	if (blob_link_plain(hand, blob, data)) {
		blob->has_plain = true;
		return 0;
	}
	digest_to_hex(&blob->digest, hex);
	fd = openat(
		hand->store->config.plain_fd, hex, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	r = fd < 0 ? -errno : file_write_all(fd, data, blob->size_bytes);
	if (r < 0)
		return blob_write_failed(r, blob, "", err);
	blob->has_plain = true;
	return 0;
}

static int plain_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int out = -1;
	int r;

	if (blob_link_plain(hand, blob, NULL)) {
		blob->has_plain = true;
		return 0;
	}
	digest_to_hex(&blob->digest, hex);
	out = openat(
		hand->store->config.plain_fd, hex, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (out < 0)
		return blob_write_failed(-errno, blob, "", err);
	r = blob_copy_checked(hand, blob, fd, out, err);
	if (r == 0)
		blob->has_plain = true;
	return r;
}

static int drop_plain(struct blob_hand *hand, struct blob *blob, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&blob->digest, hex);
	if (unlinkat(hand->store->config.plain_fd, hex, 0) < 0)
		return ota_err_wrap(err, -errno, "Cannot remove the plain copy of %s", hex);
	blob->has_plain = false;
	return 0;
}

int blob_fill(struct blob_hand *hand, struct blob *blob, const void *data, bool spare,
	struct ota_err *err)
{
	int r;

	if (spare)
		return plain_from_memory(hand, blob, data, err);
	blob->tried = true;
	if (blob_may_compress(hand, blob->size_bytes)) {
		r = blob_take_over(hand, blob, data, err);
		if (r == 0)
			r = blob_zst_from_memory(hand, blob, data, err);
		if (r < 0)
			return r;
	}
	return wants_plain(hand, blob) ? plain_from_memory(hand, blob, data, err) : 0;
}

/* A claimed content that is too large for memory, its digest already known. */
static int fill_from_file(struct blob_hand *hand, struct blob *blob, int fd, struct ota_err *err)
{
	int r;

	blob->tried = true;
	if (blob_may_compress(hand, blob->size_bytes)) {
		r = blob_take_over(hand, blob, NULL, err);
		if (r == 0)
			r = blob_zst_from_file(hand, blob, fd, err);
		if (r < 0)
			return r;
	}
	return wants_plain(hand, blob) ? plain_from_file(hand, blob, fd, err) : 0;
}

static int take_small(
	struct blob_hand *hand, int fd, size_t size, struct blob **ret_blob, struct ota_err *err)
{
	/* One byte more than it should have shows that a file has grown. */
	char *data = blob_hand_memory(hand, size + 1);
	struct digest digest;
	size_t at = 0, n = 1;
	int r;

	if (!data)
		return blob_no_memory(err);
	while (n > 0 && at <= size) {
		r = blob_read_some(fd, data + at, size + 1 - at, at, &n);
		if (r < 0)
			return ota_err_wrap(err, r, "it cannot be read");
		at += n;
	}
	if (at != size)
		return ota_err_set(
			err, -EAGAIN, OTA_E_UNSPECIFIC, "its size changed while it was read");
	digest_start(hand->digest);
	digest_add(hand->digest, data, size);
	digest_final(hand->digest, &digest);
	r = blob_claim(hand->store, &digest, size, ret_blob, err);
	return r == 1 ? blob_fill(hand, *ret_blob, data, false, err) : r;
}

/* Hash and compress in one pass; the digest shows only afterwards whether that was needed. */
static int take_in_one_pass(struct blob_hand *hand, int fd, uint64_t size_bytes,
	struct blob **ret_blob, struct ota_err *err)
{
	struct blob_pass pass;
	int r = blob_pass_compress(hand, fd, size_bytes, &pass, err);

	if (r < 0)
		return r;
	r = blob_claim(hand->store, &pass.digest, size_bytes, ret_blob, err);
	if (r <= 0) {
		if (pass.pays)
			unlinkat(hand->store->config.zst_fd, pass.tmp, 0);
		return r;
	}
	(*ret_blob)->tried = true;
	r = pass.pays ? blob_zst_settle(hand, *ret_blob, pass.tmp, pass.zst_bytes, err) : 0;
	if (r == 0 && wants_plain(hand, *ret_blob))
		r = plain_from_file(hand, *ret_blob, fd, err);
	return r;
}

int blob_take_file(struct blob_hand *hand, int fd, uint64_t size_bytes, bool hash_first,
	struct blob **ret_blob, struct ota_err *err)
{
	struct blob_pass pass;
	int r;

	if (size_bytes <= BLOB_MEMORY_MAX)
		return take_small(hand, fd, (size_t)size_bytes, ret_blob, err);
	if (blob_may_compress(hand, size_bytes) && !hash_first &&
		!blob_may_be_old(hand->store, size_bytes))
		return take_in_one_pass(hand, fd, size_bytes, ret_blob, err);
	r = blob_pass_hash(hand, fd, size_bytes, &pass, err);
	if (r < 0)
		return r;
	r = blob_claim(hand->store, &pass.digest, size_bytes, ret_blob, err);
	return r == 1 ? fill_from_file(hand, *ret_blob, fd, err) : r;
}
int blob_settle(struct blob_hand *hand, struct blob *blob, struct ota_err *err)
{
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int fd = -1;
	int r;

	if (blob->tried || !blob->has_plain)
		return 0;
	blob->tried = true;
	if (!blob_may_compress(hand, blob->size_bytes))
		return 0;
	digest_to_hex(&blob->digest, hex);
	fd = openat(hand->store->config.plain_fd, hex, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ota_err_wrap(err, -errno, "Cannot open the plain copy of %s", hex);
	r = blob_take_over(hand, blob, NULL, err);
	if (r == 0)
		r = blob_zst_from_file(hand, blob, fd, err);
	if (r < 0)
		return r;
	return wants_plain(hand, blob) ? 0 : drop_plain(hand, blob, err);
}
