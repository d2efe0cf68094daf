/*
 * flight_record: each record comes back as it was written, or not at all.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/flight/flight_record.h"

static struct flight_record sample(uint64_t number)
{
	struct flight_record r = {
		.number = number,
		.kind = FLIGHT_CHECK,
		.failed = true,
		.code = 304,
		.unix_s = -5,
		.boot_ms = 123456789012,
		.boot_id = {1, 2, 3, 255},
		.slot = "ota-slot_b",
	};

	flight_record_put_subject(&r, "10-network");
	flight_record_put_text(&r, "exit 1: kein Weg dahin, schön");
	return r;
}

static void assert_same(const struct flight_record *a, const struct flight_record *b)
{
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->failed, b->failed);
	assert_int_equal(a->code, b->code);
	assert_int_equal(a->unix_s, b->unix_s);
	assert_int_equal(a->boot_ms, b->boot_ms);
	assert_memory_equal(a->boot_id, b->boot_id, sizeof(a->boot_id));
	assert_string_equal(a->slot, b->slot);
	assert_string_equal(a->subject, b->subject);
	assert_string_equal(a->text, b->text);
}

static void a_record_comes_back_as_it_was(void **state)
{
	struct flight_record r = sample(7), back;
	char cell[FLIGHT_CELL_BYTES];

	flight_record_encode(&r, cell);
	assert_int_equal(flight_record_decode(cell, &back), 0);
	assert_same(&r, &back);
}

static void the_longest_record_fits_and_comes_back(void **state)
{
	struct flight_record r = sample(INT64_MAX), back;
	char cell[FLIGHT_CELL_BYTES], longest[2000];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	flight_record_put_subject(&r, longest);
	flight_record_put_text(&r, longest);
	memset(r.slot, 's', sizeof(r.slot) - 1);
	flight_record_encode(&r, cell);
	assert_int_equal(flight_record_decode(cell, &back), 0);
	assert_same(&r, &back);
	assert_int_equal(strlen(back.subject), FLIGHT_SUBJECT_MAX - 1);
	assert_int_equal(strlen(back.text), FLIGHT_TEXT_MAX - 1);
}

static void a_flipped_bit_anywhere_makes_it_no_record(void **state)
{
	struct flight_record r = sample(7), back;
	char cell[FLIGHT_CELL_BYTES];

	flight_record_encode(&r, cell);
	for (size_t bit = 0; bit < sizeof(cell) * 8; bit++) {
		cell[bit / 8] ^= (char)(1 << bit % 8);
		assert_int_equal(flight_record_decode(cell, &back), -EBADMSG);
		cell[bit / 8] ^= (char)(1 << bit % 8);
	}
	assert_int_equal(flight_record_decode(cell, &back), 0);
}

static void any_other_byte_anywhere_makes_it_no_record(void **state)
{
	struct flight_record r = sample(7), back;
	char cell[FLIGHT_CELL_BYTES];

	flight_record_encode(&r, cell);
	for (size_t i = 0; i < 256; i++) {
		for (int add = 1; add < 256; add++) {
			cell[i] = (char)(cell[i] + 1);
			assert_int_equal(flight_record_decode(cell, &back), -EBADMSG);
		}
		cell[i] = (char)(cell[i] + 1);
	}
	assert_int_equal(flight_record_decode(cell, &back), 0);
}

/* What a cut leaves: the first bytes of the new record over an old one, over zeros, or its last ones. */
static void a_record_that_is_torn_anywhere_is_the_old_the_new_or_none(void **state)
{
	struct flight_record old = sample(7), new = sample(7 + FLIGHT_CELLS), back;
	char from[FLIGHT_CELL_BYTES], to[FLIGHT_CELL_BYTES], cell[FLIGHT_CELL_BYTES];

	flight_record_put_text(&new, "ok");
	flight_record_encode(&old, from);
	flight_record_encode(&new, to);
	for (size_t n = 0; n <= sizeof(cell); n++) {
		memcpy(cell, from, sizeof(cell));
		memcpy(cell, to, n);
		if (flight_record_decode(cell, &back) == 0)
			assert_same(&back, memcmp(cell, to, sizeof(cell)) == 0 ? &new : &old);
		memcpy(cell, from, sizeof(cell));
		memcpy(cell + n, to + n, sizeof(cell) - n);
		if (flight_record_decode(cell, &back) == 0)
			assert_same(&back, memcmp(cell, to, sizeof(cell)) == 0 ? &new : &old);
		memset(cell, 0, sizeof(cell));
		memcpy(cell, to, n);
		if (flight_record_decode(cell, &back) == 0)
			assert_same(&back, &new);
	}
}

static void nothing_is_no_record(void **state)
{
	char cell[FLIGHT_CELL_BYTES] = {0};
	struct flight_record r = {0}, back;

	assert_int_equal(flight_record_decode(cell, &back), -EBADMSG);
	flight_record_encode(&r, cell); /* without a number */
	assert_int_equal(flight_record_decode(cell, &back), -EBADMSG);
	r.number = (uint64_t)INT64_MAX + 1;
	flight_record_encode(&r, cell);
	assert_int_equal(flight_record_decode(cell, &back), -EBADMSG);
}

static void texts_are_cleaned_and_cut_at_a_character(void **state)
{
	struct flight_record r = {.number = 1}, back;
	char cell[FLIGHT_CELL_BYTES], many[3 * FLIGHT_TEXT_MAX];

	flight_record_put_subject(&r, "a\nb\tc\x1b[0m\xff");
	assert_string_equal(r.subject, "a b c [0m?");
	flight_record_put_text(&r, "a\nb\r\x7f\xc3");
	assert_string_equal(r.text, "a\nb  ?");
	for (size_t lead = 0; lead < 4; lead++) {
		memset(many, 'x', lead);
		for (size_t i = lead; i + 3 < sizeof(many); i += 3)
			memcpy(many + i, "\xe2\x82\xac", 4);
		flight_record_put_text(&r, many);
		assert_null(strchr(r.text, '?'));
		assert_true(strlen(r.text) >= FLIGHT_TEXT_MAX - 3);
		flight_record_encode(&r, cell);
		assert_int_equal(flight_record_decode(cell, &back), 0);
	}
	memset(many, 0x80, sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	flight_record_put_text(&r, many);
	assert_int_equal(strspn(r.text, "?"), FLIGHT_TEXT_MAX - 4);
}

static void a_ring_is_read_in_order_wherever_it_begins(void **state)
{
	static char ring[FLIGHT_RING_BYTES];
	static struct flight_record records[FLIGHT_CELLS];

	assert_int_equal(flight_ring_read(ring, sizeof(ring), records), 0);
	for (uint64_t number = 1; number <= 3 * FLIGHT_CELLS; number++) {
		struct flight_record r = sample(number);
		size_t n, want = number < FLIGHT_CELLS ? (size_t)number : FLIGHT_CELLS;

		flight_record_encode(&r, ring + number % FLIGHT_CELLS * FLIGHT_CELL_BYTES);
		n = flight_ring_read(ring, sizeof(ring), records);
		assert_int_equal(n, want);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(records[i].number, number - n + 1 + i);
	}
}

static void a_record_in_another_cell_does_not_count(void **state)
{
	static char ring[FLIGHT_RING_BYTES];
	static struct flight_record records[FLIGHT_CELLS];
	struct flight_record r = sample(5);

	memset(ring, 0, sizeof(ring));
	flight_record_encode(&r, ring + 6 * FLIGHT_CELL_BYTES);
	assert_int_equal(flight_ring_read(ring, sizeof(ring), records), 0);
	flight_record_encode(&r, ring + 5 * FLIGHT_CELL_BYTES);
	assert_int_equal(flight_ring_read(ring, sizeof(ring), records), 1);
	for (size_t len = 0; len < sizeof(ring); len += FLIGHT_CELL_BYTES)
		assert_int_equal(flight_ring_read(ring, len, records), 0);
}

static void every_kind_has_a_name(void **state)
{
	for (unsigned k = FLIGHT_UPDATE_BEGINS; k <= FLIGHT_KERNEL; k++)
		assert_string_not_equal(flight_kind_name(k), "?");
	assert_string_equal(flight_kind_name(0), "?");
	assert_string_equal(flight_kind_name(FLIGHT_KERNEL + 1), "?");
	assert_string_equal(flight_kind_name(65535), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was),
		cmocka_unit_test(the_longest_record_fits_and_comes_back),
		cmocka_unit_test(a_flipped_bit_anywhere_makes_it_no_record),
		cmocka_unit_test(any_other_byte_anywhere_makes_it_no_record),
		cmocka_unit_test(a_record_that_is_torn_anywhere_is_the_old_the_new_or_none),
		cmocka_unit_test(nothing_is_no_record),
		cmocka_unit_test(texts_are_cleaned_and_cut_at_a_character),
		cmocka_unit_test(a_ring_is_read_in_order_wherever_it_begins),
		cmocka_unit_test(a_record_in_another_cell_does_not_count),
		cmocka_unit_test(every_kind_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
