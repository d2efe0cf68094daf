/*
 * flight_record: records of the flight recorder as bytes and as fields. Contract: flight_record.h.
 *
 * A cell, numbers little-endian: magic, CRC of all behind it, kind, code, number, wall clock, time
 * since the start, boot id, slot, failed, lengths of subject and text, these two, zeros. There is one
 * way to write each record, and anything else is refused.
 */
#include "otaclient/flight/flight_record.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/crc32.h"
#include "otaclient/status/text.h"

static const char magic[8] = {'O', 'T', 'A', 'F', 'L', 'T', '1', '\n'};

enum {
	AT_CRC = 8,
	AT_KIND = 12,
	AT_CODE = 14,
	AT_NUMBER = 16,
	AT_UNIX = 24,
	AT_BOOT_MS = 32,
	AT_BOOT_ID = 40,
	AT_SLOT = 56,
	AT_FAILED = 88,
	AT_SUBJECT_LEN = 90,
	AT_TEXT_LEN = 92,
	AT_STRINGS = 94,
};

_Static_assert(AT_STRINGS + FLIGHT_SUBJECT_MAX + FLIGHT_TEXT_MAX <= FLIGHT_CELL_BYTES,
	"a full record fits");
_Static_assert(AT_SLOT + FLIGHT_SLOT_MAX == AT_FAILED, "the slot fits");

static const char *const kind_names[] = {
	[FLIGHT_UPDATE_BEGINS] = "update begins",
	[FLIGHT_ROLLBACK_BEGINS] = "rollback begins",
	[FLIGHT_STEP] = "step",
	[FLIGHT_FLIP] = "flip",
	[FLIGHT_START] = "start",
	[FLIGHT_CHECK] = "check",
	[FLIGHT_COMMIT] = "commit",
	[FLIGHT_REVERT] = "revert",
	[FLIGHT_FAILURE] = "failure",
	[FLIGHT_KERNEL] = "kernel",
};

const char *flight_kind_name(unsigned kind)
{
	return kind < ARRAY_SIZE(kind_names) && kind_names[kind] ? kind_names[kind] : "?";
}

/* ---- strings ---- */

static bool is_control(char c)
{
	return ((unsigned char)c < ' ' && c != '\n') || c == 0x7f;
}

/* Where the field ends @text may be cut inside a character, but not inside a long row of broken ones. */
static void put(char *field, size_t size_bytes, const char *text)
{
	size_t len = strnlen(text, size_bytes);

	if (len == size_bytes) {
		len--;
		for (int back = 0; back < 3 && ((unsigned char)text[len] & 0xc0) == 0x80; back++)
			len--;
	}
	memset(field, 0, size_bytes);
	memcpy(field, text, len);
	for (size_t i = 0; i < len; i++)
		if (is_control(field[i]))
			field[i] = ' ';
	text_repair(field);
}

void flight_record_put_subject(struct flight_record *r, const char *subject)
{
	put(r->subject, sizeof(r->subject), subject);
	for (char *at = r->subject; (at = strchr(at, '\n'));)
		*at = ' ';
}

void flight_record_put_text(struct flight_record *r, const char *text)
{
	put(r->text, sizeof(r->text), text);
}

/* ---- numbers ---- */

static void put16(char *at, size_t v)
{
	uint16_t le = htole16((uint16_t)v);

	memcpy(at, &le, sizeof(le));
}

static void put32(char *at, uint32_t v)
{
	uint32_t le = htole32(v);

	memcpy(at, &le, sizeof(le));
}

static void put64(char *at, uint64_t v)
{
	uint64_t le = htole64(v);

	memcpy(at, &le, sizeof(le));
}

static uint16_t get16(const char *at)
{
	uint16_t le;

	memcpy(&le, at, sizeof(le));
	return le16toh(le);
}

static uint32_t get32(const char *at)
{
	uint32_t le;

	memcpy(&le, at, sizeof(le));
	return le32toh(le);
}

static uint64_t get64(const char *at)
{
	uint64_t le;

	memcpy(&le, at, sizeof(le));
	return le64toh(le);
}

/* ---- cells ---- */

static uint32_t sum_of(const char cell[FLIGHT_CELL_BYTES])
{
	return crc32_of(cell + AT_KIND, FLIGHT_CELL_BYTES - AT_KIND);
}

void flight_record_encode(const struct flight_record *r, char ret_cell[FLIGHT_CELL_BYTES])
{
	size_t subject_len = strlen(r->subject), text_len = strlen(r->text);

	memset(ret_cell, 0, FLIGHT_CELL_BYTES);
	memcpy(ret_cell, magic, sizeof(magic));
	put16(ret_cell + AT_KIND, r->kind);
	put16(ret_cell + AT_CODE, r->code);
	put64(ret_cell + AT_NUMBER, r->number);
	put64(ret_cell + AT_UNIX, (uint64_t)r->unix_s);
	put64(ret_cell + AT_BOOT_MS, r->boot_ms);
	memcpy(ret_cell + AT_BOOT_ID, r->boot_id, FLIGHT_BOOT_ID_BYTES);
	memcpy(ret_cell + AT_SLOT, r->slot, strlen(r->slot));
	ret_cell[AT_FAILED] = r->failed;
	put16(ret_cell + AT_SUBJECT_LEN, subject_len);
	put16(ret_cell + AT_TEXT_LEN, text_len);
	memcpy(ret_cell + AT_STRINGS, r->subject, subject_len);
	memcpy(ret_cell + AT_STRINGS + subject_len, r->text, text_len);
	put32(ret_cell + AT_CRC, sum_of(ret_cell));
}

static bool is_zero(const char *at, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i++)
		if (at[i])
			return false;
	return true;
}

/* A string of @len bytes as the two above would leave it. */
static bool take(char *field, size_t size_bytes, const char *from, size_t len)
{
	if (len >= size_bytes || !text_is_clean(from, len))
		return false;
	for (size_t i = 0; i < len; i++)
		if (is_control(from[i]))
			return false;
	memcpy(field, from, len);
	return true;
}

static bool take_strings(const char cell[FLIGHT_CELL_BYTES], struct flight_record *r)
{
	const char *slot = cell + AT_SLOT, *subject = cell + AT_STRINGS;
	size_t slot_len = strnlen(slot, FLIGHT_SLOT_MAX);
	size_t subject_len = get16(cell + AT_SUBJECT_LEN), text_len = get16(cell + AT_TEXT_LEN);
	size_t end = AT_STRINGS + subject_len + text_len;

	return take(r->slot, sizeof(r->slot), slot, slot_len) &&
	       is_zero(slot + slot_len, FLIGHT_SLOT_MAX - slot_len) && end <= FLIGHT_CELL_BYTES &&
	       take(r->subject, sizeof(r->subject), subject, subject_len) &&
	       !memchr(subject, '\n', subject_len) &&
	       take(r->text, sizeof(r->text), subject + subject_len, text_len) &&
	       is_zero(cell + end, FLIGHT_CELL_BYTES - end);
}

int flight_record_decode(const char cell[FLIGHT_CELL_BYTES], struct flight_record *ret_record)
{
	struct flight_record r = {0};

	if (memcmp(cell, magic, sizeof(magic)) != 0 || get32(cell + AT_CRC) != sum_of(cell))
		return -EBADMSG;
	r.kind = get16(cell + AT_KIND);
	r.code = get16(cell + AT_CODE);
	r.number = get64(cell + AT_NUMBER);
	r.unix_s = (int64_t)get64(cell + AT_UNIX);
	r.boot_ms = get64(cell + AT_BOOT_MS);
	memcpy(r.boot_id, cell + AT_BOOT_ID, FLIGHT_BOOT_ID_BYTES);
	r.failed = cell[AT_FAILED] == 1;
	/* No recorder lives to write 2^63 of them, and the next number must exist. */
	if (r.number == 0 || r.number > INT64_MAX || (cell[AT_FAILED] & ~1) || cell[AT_FAILED + 1])
		return -EBADMSG;
	if (!take_strings(cell, &r))
		return -EBADMSG;
	*ret_record = r;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct flight_record *l = a, *r = b;

	return (l->number > r->number) - (l->number < r->number);
}

size_t flight_ring_read(const char *ring, size_t len_bytes, struct flight_record *ret_records)
{
	size_t n = 0;

	if (len_bytes != FLIGHT_RING_BYTES)
		return 0;
	for (size_t i = 0; i < FLIGHT_CELLS; i++)
		if (flight_record_decode(ring + i * FLIGHT_CELL_BYTES, &ret_records[n]) == 0 &&
			ret_records[n].number % FLIGHT_CELLS == i)
			n++;
	qsort(ret_records, n, sizeof(*ret_records), by_number);
	return n;
}
