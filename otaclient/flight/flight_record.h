/*
 * flight_record: one record of the flight recorder, and the ring of them, as bytes and as fields. Pure.
 *
 * A ring is FLIGHT_CELLS cells of FLIGHT_CELL_BYTES; the record with the number n is in the cell
 * n % FLIGHT_CELLS. There is no header, so no single damage makes the rest unreadable: each cell
 * vouches for itself, or counts as empty.
 * Format: docs/formats.md, "The flight recorder".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FLIGHT_CELL_BYTES = 1024, /* holds a whole sentence of struct ota_err */
	FLIGHT_CELLS = 128, /* some four updates with all their checks and a kernel's last words */
	FLIGHT_RING_BYTES = FLIGHT_CELL_BYTES * FLIGHT_CELLS,
	FLIGHT_BOOT_ID_BYTES = 16,
	FLIGHT_SLOT_MAX = 32, /* with the NUL, as are the next two */
	FLIGHT_SUBJECT_MAX = 256,
	FLIGHT_TEXT_MAX = 641,
};

/* Numbers are on disk: never changed, never used for something else. A later version may know more. */
enum flight_kind {
	FLIGHT_UPDATE_BEGINS = 1,   /* subject: version; text: session */
	FLIGHT_ROLLBACK_BEGINS = 2, /* 〃 of the system that is gone back to */
	FLIGHT_STEP = 3,            /* subject: phase; text: name of the step that begins */
	FLIGHT_FLIP = 4,            /* subject: the slot that the next boot tries */
	FLIGHT_START = 5,   /* the daemon starts; subject: what it found to do; text: more of it */
	FLIGHT_CHECK = 6,   /* subject: name of a health check; failed; text: how it ended */
	FLIGHT_COMMIT = 7,  /* subject: version */
	FLIGHT_REVERT = 8,  /* the new system gives up; text: why */
	FLIGHT_FAILURE = 9, /* code and text as in the status */
	FLIGHT_KERNEL = 10, /* text: lines of the kernel's log; subject: where they were found */
};
const char *flight_kind_name(unsigned kind); /* "update begins"; "?" for one that is not known */

struct flight_record {
	uint64_t number;                       /* from 1; one more for each record */
	unsigned kind;                         /* enum flight_kind, or one of a later version */
	bool failed;                           /* of a check */
	unsigned code;                         /* of a failure: E<code>; else 0 */
	int64_t unix_s;                        /* as far as the clock is right */
	uint64_t boot_ms;                      /* since the machine's start */
	uint8_t boot_id[FLIGHT_BOOT_ID_BYTES]; /* the kernel's, zeros = not known */
	char slot[FLIGHT_SLOT_MAX];            /* that ran; "" = not known */
	char subject[FLIGHT_SUBJECT_MAX];      /* "" = none, as is text */
	char text[FLIGHT_TEXT_MAX];            /* valid UTF-8; of control characters only '\n' */
};

/*
 * Subject and text from any string: what is no UTF-8 becomes '?', control characters become spaces,
 * and what is too long is cut.
 */
void flight_record_put_subject(struct flight_record *r, const char *subject);
void flight_record_put_text(struct flight_record *r, const char *text);

/* @r's strings have passed the two above. */
void flight_record_encode(const struct flight_record *r, char ret_cell[FLIGHT_CELL_BYTES]);

/* -EBADMSG: torn, empty or not ours. */
int flight_record_decode(const char cell[FLIGHT_CELL_BYTES], struct flight_record *ret_record);

/*
 * The records of a ring of @len_bytes in their order, oldest first, at most FLIGHT_CELLS. Returns how
 * many; 0 also if the length is not FLIGHT_RING_BYTES. A cell that holds what belongs into another one
 * counts as empty.
 */
size_t flight_ring_read(const char *ring, size_t len_bytes, struct flight_record *ret_records);
