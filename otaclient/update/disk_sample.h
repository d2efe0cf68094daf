/*
 * disk_sample: how fast a slot is read and hashed, where the plan had to read too little to tell.
 */
#pragma once

#include <stdbool.h>

#include "common/image/file_table.h"
#include "otaclient/inventory/inventory.h"
#include "otaclient/status/estimate.h"

/*
 * Read some of the image's files that are there already, for a third of a second at most; past what
 * the kernel remembers where that can be done. What cannot be read is left out: it is only a
 * measurement. {0} in @ret_sample: there was nothing.
 */
void disk_sample_take(const struct file_table *table, const struct inventory *inv, int standby_fd,
	int active_fd, bool (*stop)(void *ctx), void *stop_ctx, struct sample *ret_sample);
