/*
 * flight_recorder: the ring file of an update's story. Contract: flight_recorder.h; format: docs/formats.md.
 *
 * One lock guards the records in memory, which are what the file has; the file is written outside of it,
 * each thread its own cell. The records are what decides what is worth room, so that a daemon that dies
 * again and again, or a check that never succeeds, does not wear out the disk and push the story out.
 */
#include "otaclient/flight/flight_recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/hex.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "otaclient/flight/kernel_tail.h"
#include "otaclient/status/text.h"

#define WHAT "flight recorder"

enum {
	FILE_MODE = 0600,     /* the kernel's log is for root */
	FORMATTED_MAX = 2048, /* cut to FLIGHT_TEXT_MAX afterwards */
	KERNEL_LOG_MAX_BYTES = 6 * (FLIGHT_TEXT_MAX - 1),
	STAT_BLOCK_BYTES = 512,
	/* Nothing that may be in the file's place is to hang the open. */
	OPEN_FLAGS = O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
};

/* How often a kind may be recorded in one boot of one update; what is not here, as often as it is told. */
static const struct room_rule {
	enum flight_kind kind;
	bool once; /* the same words once more take no room */
	unsigned most;
} room_rules[] = {
	{FLIGHT_START,   false, 8 },
	{FLIGHT_CHECK,   true,  48},
	{FLIGHT_FAILURE, true,  8 },
	{FLIGHT_REVERT,  true,  8 },
	{FLIGHT_KERNEL,  false, 24},
};

struct flight_recorder {
	int fd; /* -1 = in memory alone */
	char slot[FLIGHT_SLOT_MAX];
	uint8_t boot_id[FLIGHT_BOOT_ID_BYTES];

	pthread_mutex_t lock;
	bool warned;                                /* under lock, as are the next two */
	uint64_t next;                              /* number of the next record */
	struct flight_record records[FLIGHT_CELLS]; /* each in its cell; number 0 = empty */
};

/* ---- the file ---- */

/* In random UUID form; a kernel that does not say it is not known. */
static void read_boot_id(uint8_t ret_id[FLIGHT_BOOT_ID_BYTES])
{
	AUTO_BUF struct buf text = {0};
	char digits[2 * FLIGHT_BOOT_ID_BYTES];
	size_t n = 0;

	file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text);
	for (const char *at = buf_str(&text); *at && n < sizeof(digits); at++)
		if (*at != '-')
			digits[n++] = *at;
	if (n < sizeof(digits) || hex_decode(digits, n, ret_id) < 0)
		memset(ret_id, 0, FLIGHT_BOOT_ID_BYTES);
}

static bool is_empty(const struct buf *ring)
{
	for (size_t i = 0; i < ring->len_bytes; i++)
		if (ring->data[i])
			return false;
	return true;
}

/*
 * The records of the file @name and its bytes. -EBADMSG: it is no ring, and nothing is known of its
 * content. @ret_whole: it has all its room, and no holes, as a copy may have.
 */
static int read_ring(int dir_fd, const char *name, int flags, struct buf *ret_ring,
	struct flight_record *ret_records, size_t *ret_n, bool *ret_whole)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | OPEN_FLAGS | flags);
	struct stat st;
	size_t n;
	int r;

	if (fd < 0)
		return errno == ELOOP ? -EBADMSG : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != FLIGHT_RING_BYTES)
		return -EBADMSG;
	r = file_read_fd(fd, FLIGHT_RING_BYTES, ret_ring);
	if (r < 0)
		return r;
	n = flight_ring_read(ret_ring->data, ret_ring->len_bytes, ret_records);
	if (n == 0 && (ret_ring->len_bytes != FLIGHT_RING_BYTES || !is_empty(ret_ring)))
		return -EBADMSG;
	/* There is no number behind it. */
	if (n > 0 && ret_records[n - 1].number == INT64_MAX)
		return -EBADMSG;
	*ret_n = n;
	*ret_whole = st.st_blocks >= FLIGHT_RING_BYTES / STAT_BLOCK_BYTES;
	return 0;
}

/* What a cut has left of a ring that was being begun. */
static int remove_leftover(void *ctx, int dir_fd, const char *name)
{
	if (strncmp(name, IO_TMP_PREFIX, strlen(IO_TMP_PREFIX)) == 0)
		io_unlink(WHAT, dir_fd, name, 0);
	return 0;
}

/* Replace whatever is there by @ring, or by an empty one, written out so that it has all its room. */
static int put_ring(int dir_fd, const char *name, const struct buf *ring)
{
	AUTO_FREE char *zeros = calloc(1, FLIGHT_RING_BYTES);

	if (!zeros)
		return -ENOMEM;
	folder_each(dir_fd, remove_leftover, NULL);
	return io_replace_file(
		WHAT, dir_fd, name, ring ? ring->data : zeros, FLIGHT_RING_BYTES, FILE_MODE);
}

/* The file to write to, made or mended if need be. @ret_records and @ret_n are filled also where that fails. */
static int open_ring(const char *path, struct flight_record *ret_records, size_t *ret_n)
{
	const char *slash = strrchr(path, '/'), *name = slash + 1;
	AUTO_FREE char *folder = strndup(path, (size_t)(slash - path));
	AUTO_BUF struct buf ring = {0};
	AUTO_CLOSE int dir_fd = -1;
	bool whole = false;
	int r, fd;

	if (!folder)
		return -ENOMEM;
	dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	r = read_ring(dir_fd, name, O_NOFOLLOW, &ring, ret_records, ret_n, &whole);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && r != -ENOENT)
		log_warning("The flight recorder is begun anew: %s %s", path,
			r == -EBADMSG ? "is none" : strerror(-r));
	/* Where its holes cannot be filled it is used as it is, as long as that goes. */
	if (r == 0 && !whole)
		put_ring(dir_fd, name, &ring);
	if (r < 0)
		r = put_ring(dir_fd, name, NULL);
	if (r < 0)
		return r;
	fd = openat(dir_fd, name, O_WRONLY | O_NOFOLLOW | OPEN_FLAGS);
	return fd < 0 ? -errno : fd;
}

/* Told once: the rest would be the same again. */
static void warn_once(struct flight_recorder *r, const char *why)
{
	bool warned;

	pthread_mutex_lock(&r->lock);
	warned = r->warned;
	r->warned = true;
	pthread_mutex_unlock(&r->lock);
	if (!warned)
		log_warning("The flight recorder cannot be written, so a later start may not know "
			    "why this update ends as it does: %s",
			why);
}

struct flight_recorder *flight_recorder_open(const char *path, const char *slot)
{
	AUTO_FREE struct flight_record *records = calloc(FLIGHT_CELLS, sizeof(*records));
	struct flight_recorder *r = calloc(1, sizeof(*r));
	char why[128];
	size_t n = 0;

	if (!records || !r) {
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	text_put(r->slot, sizeof(r->slot), slot);
	read_boot_id(r->boot_id);
	r->fd = open_ring(path, records, &n);
	for (size_t i = 0; i < n; i++)
		r->records[records[i].number % FLIGHT_CELLS] = records[i];
	r->next = n > 0 ? records[n - 1].number + 1 : 1;
	if (r->fd < 0) {
		snprintf(why, sizeof(why), "%s: %s", path, strerror(-r->fd));
		warn_once(r, why);
		r->fd = -1;
	}
	return r;
}

void flight_recorder_free(struct flight_recorder *r)
{
	if (!r)
		return;
	closep(&r->fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* ---- records ---- */

/* Under the lock: the record @back places before the next one; NULL = there is none. */
static const struct flight_record *look_back(const struct flight_recorder *r, uint64_t back)
{
	const struct flight_record *found = NULL;

	if (back < r->next)
		found = &r->records[(r->next - back) % FLIGHT_CELLS];
	return found && found->number == r->next - back ? found : NULL;
}

static bool begins_session(const struct flight_record *a)
{
	return a->kind == FLIGHT_UPDATE_BEGINS || a->kind == FLIGHT_ROLLBACK_BEGINS;
}

static bool is_same_boot(const struct flight_record *a, const struct flight_record *b)
{
	return strcmp(a->slot, b->slot) == 0 &&
	       memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id)) == 0;
}

static bool is_same_words(const struct flight_record *a, const struct flight_record *b)
{
	return a->failed == b->failed && a->code == b->code &&
	       strcmp(a->subject, b->subject) == 0 && strcmp(a->text, b->text) == 0;
}

/* Started, and nothing has happened since another start that found nothing to do. */
static bool is_idle_again(const struct flight_record *before, const struct flight_record *record)
{
	return before && before->kind == FLIGHT_START && record->kind == FLIGHT_START &&
	       strcmp(record->subject, FLIGHT_START_IDLE) == 0 &&
	       strcmp(before->slot, record->slot) == 0 && is_same_words(before, record);
}

/* Under the lock: how many of its kind are there in this boot of this update, and is the last one the same? */
static unsigned count_like(
	const struct flight_recorder *r, const struct flight_record *record, bool *ret_repeated)
{
	bool newest = true;
	unsigned n = 0;

	*ret_repeated = false;
	for (uint64_t back = 1; back <= FLIGHT_CELLS && back < r->next; back++) {
		const struct flight_record *before = look_back(r, back);

		if (!before)
			continue;
		if (begins_session(before))
			break;
		if (before->kind != record->kind || !is_same_boot(before, record))
			continue;
		n++;
		if (newest && strcmp(before->subject, record->subject) == 0) {
			newest = false;
			*ret_repeated = is_same_words(before, record);
		}
	}
	return n;
}

/* Under the lock. */
static bool is_worth_room(const struct flight_recorder *r, const struct flight_record *record)
{
	const struct room_rule *rule = NULL;
	bool repeated;
	unsigned n;

	for (size_t i = 0; i < ARRAY_SIZE(room_rules); i++)
		if (room_rules[i].kind == record->kind)
			rule = &room_rules[i];
	if (!rule)
		return true;
	if (is_idle_again(look_back(r, 1), record))
		return false;
	n = count_like(r, record, &repeated);
	return n < rule->most && !(rule->once && repeated);
}

static void write_cell(struct flight_recorder *r, const struct flight_record *record)
{
	char cell[FLIGHT_CELL_BYTES];
	int e;

	if (r->fd < 0)
		return;
	flight_record_encode(record, cell);
	e = io_overwrite(WHAT, r->fd, cell, sizeof(cell),
		(off_t)(record->number % FLIGHT_CELLS * FLIGHT_CELL_BYTES));
	if (e < 0)
		warn_once(r, strerror(-e));
}

/* @record has kind, failed, code and strings; the rest is the same for all. */
static void put(struct flight_recorder *r, struct flight_record *record)
{
	bool wanted;

	record->unix_s = clock_unix_s();
	record->boot_ms = clock_monotonic_ms();
	memcpy(record->boot_id, r->boot_id, sizeof(record->boot_id));
	memcpy(record->slot, r->slot, sizeof(record->slot));
	pthread_mutex_lock(&r->lock);
	wanted = is_worth_room(r, record);
	if (wanted) {
		record->number = r->next++;
		r->records[record->number % FLIGHT_CELLS] = *record;
	}
	pthread_mutex_unlock(&r->lock);
	if (wanted)
		write_cell(r, record);
}

void flight_recorder_note(
	struct flight_recorder *r, enum flight_kind kind, const char *subject, const char *fmt, ...)
{
	struct flight_record record = {.kind = kind};
	char text[FORMATTED_MAX];
	va_list ap;

	if (!r)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	flight_record_put_subject(&record, subject ? subject : "");
	flight_record_put_text(&record, text);
	put(r, &record);
}

void flight_recorder_check(struct flight_recorder *r, const char *name, bool ok, const char *how)
{
	struct flight_record record = {.kind = FLIGHT_CHECK, .failed = !ok};

	if (!r)
		return;
	flight_record_put_subject(&record, name);
	flight_record_put_text(&record, how);
	put(r, &record);
}

void flight_recorder_failure(struct flight_recorder *r, enum ota_code code, const char *sentence)
{
	struct flight_record record = {.kind = FLIGHT_FAILURE, .code = code};

	if (!r)
		return;
	flight_record_put_text(&record, sentence);
	put(r, &record);
}

/* Where to go on in @text so that at most @max_bytes follow, whole lines if there are any. */
static const char *last_lines(const char *text, size_t max_bytes)
{
	size_t len = strlen(text);
	const char *at, *line;

	if (len <= max_bytes)
		return text;
	at = text + len - max_bytes;
	line = at[-1] == '\n' ? at : strchr(at, '\n');
	if (line && line != at && line[1])
		return line + 1;
	return at;
}

/* The length of the next record's text: whole lines, unless one alone is too long. */
static size_t next_part(const char *lines)
{
	size_t len = strlen(lines), n = FLIGHT_TEXT_MAX - 1;

	if (len <= n)
		return len;
	while (n > 0 && lines[n - 1] != '\n')
		n--;
	if (n > 0)
		return n;
	n = FLIGHT_TEXT_MAX - 1;
	while (n > FLIGHT_TEXT_MAX - 4 && ((unsigned char)lines[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void flight_recorder_kernel_log(struct flight_recorder *r, const char *where, const char *lines)
{
	const char *at = last_lines(lines, KERNEL_LOG_MAX_BYTES);

	while (r && *at) {
		struct flight_record record = {.kind = FLIGHT_KERNEL};
		size_t n = next_part(at);
		char part[FLIGHT_TEXT_MAX];

		memcpy(part, at, n);
		part[n > 0 && part[n - 1] == '\n' ? n - 1 : n] = '\0';
		flight_record_put_subject(&record, where);
		flight_record_put_text(&record, part);
		put(r, &record);
		at += n;
	}
}

void flight_recorder_kernel(struct flight_recorder *r)
{
	AUTO_BUF struct buf lines = {0};
	int e;

	if (!r)
		return;
	e = kernel_tail_warnings(KERNEL_TAIL_DEVICE, &lines);
	if (e < 0)
		log_info("The kernel's log cannot be read, so nothing of it is recorded: %s",
			strerror(-e));
	flight_recorder_kernel_log(r, KERNEL_TAIL_DEVICE, buf_str(&lines));
}

size_t flight_recorder_copy(struct flight_recorder *r, struct flight_record *ret_records)
{
	size_t n = 0;

	if (!r)
		return 0;
	pthread_mutex_lock(&r->lock);
	for (uint64_t back = FLIGHT_CELLS; back > 0; back--) {
		const struct flight_record *record = look_back(r, back);

		if (record)
			ret_records[n++] = *record;
	}
	pthread_mutex_unlock(&r->lock);
	return n;
}

static int explain_read(int r, const char *path, struct ota_err *err)
{
	if (r == -EBADMSG)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "%s is no flight recorder of otaclient", path);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot read %s: %s", path, strerror(-r));
	return 0;
}

int flight_recorder_read_file(
	const char *path, struct flight_record *ret_records, size_t *ret_n, struct ota_err *err)
{
	AUTO_BUF struct buf ring = {0};
	bool whole;

	return explain_read(
		read_ring(AT_FDCWD, path, 0, &ring, ret_records, ret_n, &whole), path, err);
}

int flight_recorder_read_of(
	int root_fd, struct flight_record *ret_records, size_t *ret_n, struct ota_err *err)
{
	AUTO_BUF struct buf ring = {0};
	const char *name = NULL;
	AUTO_CLOSE int dir_fd = path_open_parent(root_fd, FLIGHT_RECORDER_PATH, &name);
	bool whole;
	int r = dir_fd;

	if (r >= 0)
		r = read_ring(dir_fd, name, O_NOFOLLOW, &ring, ret_records, ret_n, &whole);
	return explain_read(r, FLIGHT_RECORDER_PATH, err);
}
