/*
 * note_list: catches what the configuration readers report, for the tests of common/config.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/config/conf_table.h"

struct note_list {
	unsigned n_wrong, n_notices;
	char wrong[32][OTA_ERR_MSG_MAX];
	char notices[32][OTA_ERR_MSG_MAX];
};

static inline void note_list_add(void *ctx, enum conf_note_kind kind, const char *sentence)
{
	struct note_list *l = ctx;
	char *slot =
		kind == CONF_WRONG ? l->wrong[l->n_wrong++ % 32] : l->notices[l->n_notices++ % 32];

	snprintf(slot, OTA_ERR_MSG_MAX, "%s", sentence);
}

/* Every key that has an effect stands in the example file @path, in force or behind "# ". */
static inline void note_list_assert_explained(
	const char *path, const struct conf_key *keys, size_t n_keys)
{
	AUTO_BUF struct buf text = {0};
	char word[64];

	assert_int_equal(file_read(AT_FDCWD, path, 1 << 16, &text), 0);
	for (size_t i = 0; i < n_keys; i++) {
		snprintf(word, sizeof(word), "%s:", keys[i].name);
		if (keys[i].type != CONF_TYPE_UNUSED && !strstr(buf_str(&text), word))
			fail_msg("%s does not explain %s", path, keys[i].name);
	}
}
