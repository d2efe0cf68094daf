/*
 * log_record: a log entry as a line of JSON, as log servers take it. Pure. docs/formats.md, "Records of the log
 * server".
 */
#pragma once

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/log.h"

/* What a record is about; the numbers are those of the log server's LogType. */
enum log_kind {
	LOG_KIND_LINE = 0,
	LOG_KIND_METRICS = 1, /* one JSON object about one update */
};

/*
 * Append {"timestamp":…,"level":…,"logger":…,"function":…,"line":…,"message":…} without a line end, in
 * plain ASCII. Bytes of the text that are no UTF-8 become '?'. 0 or -ENOMEM.
 */
int log_record_line(const struct log_entry *entry, int64_t unix_s, struct buf *out);
