/*
 * history_view: what the flight recorder of a machine holds, for people and for scripts.
 *
 * Pure: from records to a stream. What they say comes from a file that anybody may have made: no control character
 * reaches the terminal.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "otaclient/flight/flight_record.h"

/* A line for each record, with a head above each start of the machine. */
void history_view(FILE *out, const struct flight_record *records, size_t n);

/* One object, {"records": […]}; otactl(1) lists the keys. They only ever grow. */
void history_view_json(FILE *out, const struct flight_record *records, size_t n);
