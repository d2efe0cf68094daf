/*
 * fuzz_inode_index: any bytes as /.ota-meta/inodes, and any bytes as its rows under a digest that is right. What is read
 * is found; nothing else than "no whole index" is ever answered.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/crypto/digest.h"
#include "common/image/list_text.h"
#include "otaclient/inventory/inode_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	ROW = 44,
};

static struct file_table *make_table(void)
{
	static const char files[] =
		"0644,0,0,1,6161616161616161616161616161616161616161616161616161616161616161,'/"
		"b',2000,,";
	struct file_table *t = file_table_new();

	assert(t && list_text_read_regulars(files, strlen(files), "files", t, NULL) == 0);
	assert(file_table_seal(t, NULL) == 0);
	return t;
}

static int read_index(
	const struct file_table *t, const struct buf *b, struct inode_index **ret_index)
{
	AUTO_CLOSE int fd = memfd_create("index", MFD_CLOEXEC);
	int r;

	assert(fd >= 0 && file_write_all(fd, b->data, b->len_bytes) == 0);
	assert(lseek(fd, 0, SEEK_SET) == 0);
	r = inode_index_read(fd, t, ret_index);
	assert(r == -EBADMSG || (r == 0 && *ret_index));
	return r;
}

static void check_first_row(const struct inode_index *x, const uint8_t *row)
{
	struct stat st = {.st_mode = S_IFREG | 0644};
	uint32_t v[3], ns;

	memcpy(v, row, sizeof(v));
	ns = le32toh(v[2]) & INT32_MAX; /* the bit beside them says something else */
	st.st_ino = le32toh(v[0]);
	st.st_ctim = (struct timespec){.tv_sec = le32toh(v[1]), .tv_nsec = ns};
	assert((inode_index_find(x, &st) == FILE_TABLE_NONE) == (ns == 0));
	assert(inode_index_note(x, st.st_ino)->is_plain == le32toh(v[2]) >> 31);
	st.st_ctim.tv_sec ^= 1;
	assert(inode_index_find(x, &st) == FILE_TABLE_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_INODE_INDEX struct inode_index *raw = NULL, *index = NULL;
	AUTO_BUF struct buf b = {0};
	uint32_t n = htole32((uint32_t)(size / ROW));
	struct digest sum;

	assert(buf_append(&b, data, size) == 0);
	read_index(t, &b, &raw);
	b.len_bytes = 0;
	assert(buf_append(&b, "OTAINO1\n", 8) == 0 && buf_append(&b, &n, sizeof(n)) == 0);
	assert(buf_append(&b, data, size / ROW * ROW) == 0);
	digest_of(b.data, b.len_bytes, &sum);
	assert(buf_append(&b, sum.bytes, sizeof(sum.bytes)) == 0);
	if (read_index(t, &b, &index) == 0 && n > 0)
		check_first_row(index, data);
	return 0;
}
