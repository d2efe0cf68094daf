/*
 * tar_acl: text ACLs into the kernel's form. Contract: tar_acl.h.
 *
 * The form is that of linux/posix_acl_xattr.h: version 2, then entries in the order of kind and id, all of it
 * little-endian.
 */
#include "metadata-gen/tar_acl.h"

#include <archive.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/cleanup.h"

enum {
	ACL_ENTRIES_MAX = 4096, /* an extended attribute holds 8191 at most */
	ACL_VERSION = 2,
};

struct acl_item {
	uint16_t tag, perm;
	uint32_t id;
};

static void put_le(uint8_t *at, uint32_t v, int n_bytes)
{
	for (int i = 0; i < n_bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static int acl_item_cmp(const void *a, const void *b)
{
	const struct acl_item *x = a, *y = b;

	if (x->tag != y->tag)
		return x->tag < y->tag ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* The kernel's number of an ACL entry's kind, or 0. */
static uint16_t acl_tag(int archive_tag)
{
	switch (archive_tag) {
	case ARCHIVE_ENTRY_ACL_USER_OBJ:
		return 0x01;
	case ARCHIVE_ENTRY_ACL_USER:
		return 0x02;
	case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
		return 0x04;
	case ARCHIVE_ENTRY_ACL_GROUP:
		return 0x08;
	case ARCHIVE_ENTRY_ACL_MASK:
		return 0x10;
	case ARCHIVE_ENTRY_ACL_OTHER:
		return 0x20;
	default:
		return 0;
	}
}

/* One entry of the stream's ACL; -EINVAL if it names somebody without a number. */
static int next_acl_item(struct archive_entry *e, int want_type, struct acl_item *ret_item)
{
	int type, permset, tag, qual;
	const char *who;
	int r = archive_entry_acl_next(e, want_type, &type, &permset, &tag, &qual, &who);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK || acl_tag(tag) == 0)
		return -EINVAL;
	*ret_item = (struct acl_item){
		.tag = acl_tag(tag),
		.perm = (uint16_t)(permset & 7),
		.id = UINT32_MAX,
	};
	if (tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP) {
		if (qual < 0)
			return -EINVAL;
		ret_item->id = (uint32_t)qual;
	}
	return 1;
}

static int put_items(const struct acl_item *items, size_t n, struct buf *ret_value)
{
	uint8_t bytes[8];
	int r;

	put_le(bytes, ACL_VERSION, 4);
	r = buf_append(ret_value, bytes, 4);
	for (size_t i = 0; i < n && r == 0; i++) {
		put_le(bytes, items[i].tag, 2);
		put_le(bytes + 2, items[i].perm, 2);
		put_le(bytes + 4, items[i].id, 4);
		r = buf_append(ret_value, bytes, sizeof(bytes));
	}
	return r;
}

int tar_acl_to_xattr(struct archive_entry *e, int type, struct buf *ret_value)
{
	int n_max = archive_entry_acl_reset(e, type);
	AUTO_FREE struct acl_item *items = NULL;
	size_t n = 0;
	int r;

	if (n_max <= 0)
		return 0;
	if (n_max > ACL_ENTRIES_MAX)
		return -EINVAL;
	items = calloc((size_t)n_max, sizeof(*items));
	if (!items)
		return -ENOMEM;
	while (n < (size_t)n_max && (r = next_acl_item(e, type, &items[n])) != 0) {
		if (r < 0)
			return r;
		n++;
	}
	qsort(items, n, sizeof(*items), acl_item_cmp);
	return put_items(items, n, ret_value);
}
