/*
 * fuzz_flight_record: any ring; what is read is written again as the very bytes that it was read from, in order.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32.h"
#include "otaclient/flight/flight_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	AT_CRC = 8, /* docs/formats.md */
	SUMMED_FROM = 12,
};

/* With a sum that is right, else no input but those of the corpus comes past it. */
static void sum_up(char *cell)
{
	uint32_t sum = crc32_of(cell + SUMMED_FROM, FLIGHT_CELL_BYTES - SUMMED_FROM);

	for (int i = 0; i < 4; i++)
		cell[AT_CRC + i] = (char)(sum >> 8 * i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char ring[FLIGHT_RING_BYTES], cell[FLIGHT_CELL_BYTES];
	static struct flight_record records[FLIGHT_CELLS];
	bool mend = size > 0 && data[size - 1] & 1;
	size_t n;

	memset(ring, 0, sizeof(ring));
	memcpy(ring, data, size < sizeof(ring) ? size : sizeof(ring));
	for (size_t i = 0; mend && i < FLIGHT_CELLS && i * FLIGHT_CELL_BYTES < size; i++)
		sum_up(ring + i * FLIGHT_CELL_BYTES);
	n = flight_ring_read(ring, sizeof(ring), records);
	assert(n <= FLIGHT_CELLS);
	for (size_t i = 0; i < n; i++) {
		assert(i == 0 || records[i - 1].number < records[i].number);
		flight_record_encode(&records[i], cell);
		assert(memcmp(cell, ring + records[i].number % FLIGHT_CELLS * FLIGHT_CELL_BYTES,
			       sizeof(cell)) == 0);
		assert(strlen(flight_kind_name(records[i].kind)) > 0);
	}
	assert(flight_ring_read(ring, size < sizeof(ring) ? size : 0, records) == 0);
	return 0;
}
