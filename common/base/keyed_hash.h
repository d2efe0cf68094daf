/*
 * keyed_hash: where to look in a hash table for what somebody else has chosen.
 *
 * SipHash-1-3. Whoever does not know the key cannot find things that collide; so a table whose things come from
 * outside takes a key of its own and tells nobody. Not for names of contents: those are SHA-256 (common/crypto).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t k0, k1;
};

/* From clock_random(). */
void hash_key_choose(struct hash_key *ret_key);

/* All 64 bits are equally good. */
uint64_t keyed_hash(const struct hash_key *key, const void *data, size_t len_bytes);
