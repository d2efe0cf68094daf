/*
 * fake_tree: the ECUs below a scripted server (api_server), as its Status shows them.
 *
 * Orders begin with the number of the child, from 1, in the order in which they were added:
 *
 *     N status NAME VERSION        an entry from now on, with this ota_status
 *     N phase NUMBER               UPDATING, in this phase
 *     N progress DONE TOTAL BYTES  sizes processed, in all, and downloaded
 *     N fail SENTENCE              FAILURE
 *     N gone                       no entry any more
 *     N refuse SENTENCE            what Update is answered
 */
#pragma once

#include <stddef.h>

#include "otaclient/api/service.h"

void fake_tree_add(const char *ecu_id);

/* NULL without children, and then @ret_ids and @ret_n stay; else "main" and the children are available. */
const struct api_tree *fake_tree(const char *const **ret_ids, size_t *ret_n);

void fake_tree_obey(const char *order);
