/*
 * journal: writes the log to systemd's journal with fields, so that programs can follow updates without reading
 * sentences. docs/install.md, "What the journal says", is the list for their authors.
 *
 * Who logs says what happens (common/base/log.h, log_event()); the identifiers of it stand here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "common/base/log.h"

/* Never changed, never used for something else: they are in other people's scripts. */
#define JOURNAL_UPDATE_BEGINS "a1cc271d0fcc4e10bd7252694a8f8576"
#define JOURNAL_PHASE_BEGINS  "a91f821ff5ff4f878c605f30ec02b3ad"
#define JOURNAL_UPDATE_FAILED "a08929a63ce247fea21d5811dd740e64"
#define JOURNAL_FLIPPED       "9b0101d56aa548b6a1224bb3de88e34d"
#define JOURNAL_COMMITTED     "f1831e9d7fea45cd953e4c7eb34b897d"
#define JOURNAL_ROLLED_BACK   "4b447b475e204d6685a76323ecda15d7"
#define JOURNAL_TRIAL_FAILED  "323283ddff80413bbd8b81f07baf04c2"
#define JOURNAL_FORECAST      "e7e912fb6fe34628786bbe038f0ca5ce"

enum {
	JOURNAL_FIELDS_MAX = 13,
	JOURNAL_FIELD_MAX =
		LOG_TEXT_MAX + 16, /* bytes of one, with its name and the NUL; more is cut off */
};

/* NAME=value, as the journal takes them. @fields point into @text. */
struct journal_entry {
	size_t n;
	struct iovec fields[JOURNAL_FIELDS_MAX];
	char text[JOURNAL_FIELDS_MAX][JOURNAL_FIELD_MAX];
};
void journal_entry_make(const struct log_entry *from, struct journal_entry *ret_entry);

/* Is stderr what JOURNAL_STREAM says? Somebody may have inherited that, and sent stderr elsewhere. */
bool journal_is_stderr(void);

/* If stderr is the journal, the log goes there with fields from now on. Before other threads log. */
void journal_use(void);
