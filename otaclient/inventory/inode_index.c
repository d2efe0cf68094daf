/*
 * inode_index: rows of inode, time and digest, sorted by inode. Contract: inode_index.h.
 *
 * In memory a digest is the number of the content in the image that is being installed; what this image has not is
 * worth knowing too, for it need not be read.
 */
#include "otaclient/inventory/inode_index.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/path.h"
#include "common/crypto/digest.h"
#include "otaclient/slot/slot_folders.h"

static const char index_name[] = "inodes";
static const char magic[8] = "OTAINO1\n";

enum {
	HEAD_BYTES = sizeof(magic) + 4,
	ROW_BYTES = 3 * 4 + DIGEST_BYTES,
	ROWS_AT_ONCE = 1024,
};
#define PLAIN_BIT (UINT32_C(1) << 31) /* in the field of the nanoseconds, which leave it free */

struct row {
	struct inode_note note;
	uint32_t content;
};

struct inode_index {
	struct row *rows;
	uint32_t n_rows;
};

struct inode_note inode_note_of(const struct stat *st, bool is_plain)
{
	return (struct inode_note){
		.ino = (uint32_t)st->st_ino,
		.ctime_s = (uint32_t)st->st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st->st_ctim.tv_nsec & INT32_MAX,
		.is_plain = is_plain,
	};
}

bool inode_note_holds(const struct inode_note *note, const struct stat *st)
{
	return S_ISREG(st->st_mode) && note->ino == (uint32_t)st->st_ino &&
	       note->ctime_s == (uint32_t)st->st_ctim.tv_sec &&
	       (st->st_ctim.tv_nsec == 0 || note->ctime_ns == (uint32_t)st->st_ctim.tv_nsec);
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void put_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static bool is_settled(const struct inode_note *n, const struct timespec *now)
{
	if (n->ino == 0 || n->ctime_ns == 0)
		return false;
	return n->ctime_s < (uint32_t)now->tv_sec ||
	       (n->ctime_s == (uint32_t)now->tv_sec && n->ctime_ns < (uint32_t)now->tv_nsec);
}

static int compare_files(const void *a, const void *b, void *notes)
{
	uint32_t x = ((const struct inode_note *)notes)[*(const uint32_t *)a].ino,
		 y = ((const struct inode_note *)notes)[*(const uint32_t *)b].ino;

	return x < y ? -1 : x > y;
}

void inode_notes_sort(const struct inode_note *notes, uint32_t *files, size_t n)
{
	qsort_r(files, n, sizeof(*files), compare_files, (void *)(uintptr_t)notes);
}

/* Buffered, and hashed on its way. */
struct sink {
	int fd;
	struct digest_ctx *hash;
	uint8_t data[ROWS_AT_ONCE * ROW_BYTES];
	size_t len;
};

static int flush(struct sink *s)
{
	int r = file_write_all(s->fd, s->data, s->len);

	digest_add(s->hash, s->data, s->len);
	s->len = 0;
	return r;
}

static int put_row(struct sink *s, const struct inode_note *note, const struct digest *digest)
{
	uint8_t *at;
	int r = s->len + ROW_BYTES > sizeof(s->data) ? flush(s) : 0;

	at = s->data + s->len;
	put_u32(at, note->ino);
	put_u32(at + 4, note->ctime_s);
	put_u32(at + 8, note->ctime_ns | (note->is_plain ? PLAIN_BIT : 0));
	memcpy(at + 12, digest->bytes, DIGEST_BYTES);
	s->len += ROW_BYTES;
	return r;
}

static int write_rows(int fd, const struct file_table *t, const struct inode_note *notes,
	const uint32_t *order, uint32_t n)
{
	AUTO_FREE struct sink *s = malloc(sizeof(*s));
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	struct digest sum;
	int r = 0;

	if (!s || !hash)
		return -ENOMEM;
	digest_start(hash);
	s->fd = fd;
	s->hash = hash;
	memcpy(s->data, magic, sizeof(magic));
	put_u32(s->data + sizeof(magic), n);
	s->len = HEAD_BYTES;
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = put_row(s, &notes[order[i]], &t->contents[t->files[order[i]].content].digest);
	if (r == 0)
		r = flush(s);
	digest_final(hash, &sum);
	return r < 0 ? r : file_write_all(fd, sum.bytes, sizeof(sum.bytes));
}

static int save_at(int fd, const struct file_table *table, const struct inode_note *notes,
	const struct timespec *now)
{
	AUTO_FREE uint32_t *order = malloc(((size_t)table->n_files + 1) * sizeof(*order));
	uint32_t n = 0;

	if (!order)
		return -ENOMEM;
	for (uint32_t i = 0; i < table->n_files; i++)
		if (is_settled(&notes[i], now))
			order[n++] = i;
	inode_notes_sort(notes, order, n);
	return write_rows(fd, table, notes, order, n);
}

int inode_index_save(int meta_fd, const struct file_table *table, const struct inode_note *notes,
	const struct timespec *now)
{
	AUTO_CLOSE int fd = openat(
		meta_fd, index_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = save_at(fd, table, notes, now);
	if (r < 0)
		unlinkat(meta_fd, index_name, 0);
	return r;
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* All of @len, or -EBADMSG. */
static int read_exactly(int fd, void *data, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, (char *)data + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (size_t)n;
	}
	return 0;
}

static struct inode_note note_at(const uint8_t *at)
{
	uint32_t last = get_u32(at + 8);

	return (struct inode_note){
		.ino = get_u32(at),
		.ctime_s = get_u32(at + 4),
		.ctime_ns = last & (PLAIN_BIT - 1),
		.is_plain = (last & PLAIN_BIT) != 0,
	};
}

static int take_rows(
	struct inode_index *x, const uint8_t *at, uint32_t n, const struct file_table *t)
{
	for (; n > 0; n--, at += ROW_BYTES) {
		struct row *row = &x->rows[x->n_rows];
		struct digest digest;

		row->note = note_at(at);
		memcpy(digest.bytes, at + 12, DIGEST_BYTES);
		row->content = file_table_find_content(t, &digest);
		if (row->content == FILE_TABLE_NONE)
			row->content = INODE_INDEX_OTHER;
		if (x->n_rows > 0 && row->note.ino <= row[-1].note.ino)
			return -EBADMSG;
		x->n_rows++;
	}
	return 0;
}

/* The rows and the digest behind them. */
static int read_rows(struct inode_index *x, int fd, uint32_t n, struct digest_ctx *hash,
	const struct file_table *t)
{
	AUTO_FREE uint8_t *data = calloc(ROWS_AT_ONCE, ROW_BYTES);
	struct digest sum, have;
	int r = data ? 0 : -ENOMEM;

	while (r == 0 && x->n_rows < n) {
		uint32_t some = n - x->n_rows < ROWS_AT_ONCE ? n - x->n_rows : ROWS_AT_ONCE;

		r = read_exactly(fd, data, (size_t)some * ROW_BYTES);
		if (r == 0) {
			digest_add(hash, data, (size_t)some * ROW_BYTES);
			r = take_rows(x, data, some, t);
		}
	}
	digest_final(hash, &sum);
	if (r == 0)
		r = read_exactly(fd, have.bytes, sizeof(have.bytes));
	return r < 0 ? r : digest_equal(&sum, &have) ? 0 : -EBADMSG;
}

int inode_index_read(int fd, const struct file_table *table, struct inode_index **ret_index)
{
	AUTO_INODE_INDEX struct inode_index *x = calloc(1, sizeof(*x));
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	uint8_t head[HEAD_BYTES] = {0};
	struct stat st;
	uint32_t n;
	int r;

	if (!x || !hash)
		return -ENOMEM;
	r = read_exactly(fd, head, sizeof(head));
	if (r < 0)
		return r;
	n = get_u32(head + sizeof(magic));
	if (fstat(fd, &st) < 0 || n > FILE_TABLE_ENTRIES_MAX ||
		memcmp(head, magic, sizeof(magic)) != 0 ||
		st.st_size != HEAD_BYTES + (off_t)n * ROW_BYTES + DIGEST_BYTES)
		return -EBADMSG;
	/* The count is true now, but for holes. */
	x->rows = malloc(((size_t)n + 1) * sizeof(*x->rows));
	if (!x->rows)
		return -ENOMEM;
	digest_start(hash);
	digest_add(hash, head, sizeof(head));
	r = read_rows(x, fd, n, hash, table);
	if (r == 0)
		*ret_index = TAKE_PTR(x);
	return r;
}

int inode_index_load(int slot_fd, const struct file_table *table, struct inode_index **ret_index)
{
	AUTO_CLOSE int meta_fd = path_open(slot_fd, SLOT_META_NAME, O_PATH | O_DIRECTORY, 0);
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int r;

	*ret_index = NULL;
	if (meta_fd < 0 || fstatat(meta_fd, SLOT_TRIAL_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		errno != ENOENT)
		return 0;
	fd = path_open(meta_fd, index_name, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	r = inode_index_read(fd, table, ret_index);
	return r == -ENOMEM ? r : 0;
}

static int compare_row(const void *key, const void *row)
{
	uint32_t x = *(const uint32_t *)key, y = ((const struct row *)row)->note.ino;

	return x < y ? -1 : x > y;
}

static const struct row *find_row(const struct inode_index *index, uint64_t inode)
{
	uint32_t ino = (uint32_t)inode;

	return bsearch(&ino, index->rows, index->n_rows, sizeof(*index->rows), compare_row);
}

uint32_t inode_index_count(const struct inode_index *index)
{
	return index->n_rows;
}

uint32_t inode_index_number(const struct inode_index *index, uint64_t ino)
{
	const struct row *row = find_row(index, ino);

	return row ? (uint32_t)(row - index->rows) : FILE_TABLE_NONE;
}

const struct inode_note *inode_index_note(const struct inode_index *index, uint64_t ino)
{
	const struct row *row = find_row(index, ino);

	return row ? &row->note : NULL;
}

uint32_t inode_index_find(const struct inode_index *index, const struct stat *st)
{
	const struct row *row = find_row(index, st->st_ino);

	if (!row || st->st_ctim.tv_nsec == 0 || !inode_note_holds(&row->note, st))
		return FILE_TABLE_NONE;
	return row->content;
}

void inode_index_free(struct inode_index *index)
{
	if (!index)
		return;
	free(index->rows);
	free(index);
}

void inode_index_freep(struct inode_index **index)
{
	inode_index_free(*index);
}
