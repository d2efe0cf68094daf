/*
 * note_list: catches what the configuration readers report, for the tests of common/config.
 */
#pragma once

#include <stdio.h>
#include <string.h>

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
