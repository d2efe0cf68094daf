/*
 * source_lists: one list of an image, in whatever form costs least.
 *
 * For image_source alone. Nothing here is believed but what has the digest that was signed.
 */
#pragma once

#include "otaclient/source/source_part.h"

/*
 * Fetch the list @signed_part, one of @image's meta, and map it. @tries_max: 0 = as many as for all. @ret_text stays as
 * it is on failure; source_text_done() ends it.
 */
int source_text_fetch(struct source *s, const struct image *image,
	const struct image_part *signed_part, unsigned tries_max, struct image_text *text,
	struct ota_err *err);
void source_text_done(struct image_text *text);
