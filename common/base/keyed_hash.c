/*
 * keyed_hash: SipHash with one round for each word and three at the end, by Aumasson and Bernstein.
 * Contract: keyed_hash.h.
 */
#include "common/base/keyed_hash.h"

#include <endian.h>
#include <string.h>

#include "common/base/clock.h"

enum {
	ROUNDS_AT_END = 3,
};

struct state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void round_once(struct state *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static void add_word(struct state *s, uint64_t word)
{
	s->v3 ^= word;
	round_once(s);
	s->v0 ^= word;
}

void hash_key_choose(struct hash_key *ret_key)
{
	clock_random(ret_key, sizeof(*ret_key));
}

uint64_t keyed_hash(const struct hash_key *key, const void *data, size_t len_bytes)
{
	struct state s = {
		.v0 = key->k0 ^ 0x736f6d6570736575,
		.v1 = key->k1 ^ 0x646f72616e646f6d,
		.v2 = key->k0 ^ 0x6c7967656e657261,
		.v3 = key->k1 ^ 0x7465646279746573,
	};
	const char *at = data;
	size_t left = len_bytes;
	uint64_t word;

	for (; left >= sizeof(word); at += sizeof(word), left -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		add_word(&s, le64toh(word));
	}
	word = 0;
	if (left > 0)
		memcpy(&word, at, left);
	add_word(&s, le64toh(word) | (uint64_t)len_bytes << 56);
	s.v2 ^= 0xff;
	for (int i = 0; i < ROUNDS_AT_END; i++)
		round_once(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
