/*
 * keyed_hash: SipHash-1-3 as others compute it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/keyed_hash.h"

/* As Python 3.11 has them for bytes, with PYTHONHASHSEED=0. */
static void hashes_are_those_of_others(void **state)
{
	static const struct hash_key none;

	assert_int_equal(keyed_hash(&none, "a", 1), 0x407448d2b89b1813);
	assert_int_equal(keyed_hash(&none, "1234567", 7), 0xa33d651594fdae81);
	assert_int_equal(keyed_hash(&none, "12345678", 8), 0x3489982430560a87);
	assert_int_equal(keyed_hash(&none, "/usr/lib/x86_64-linux-gnu", 25), 0xc8a8f0d6b4d76111);
}

static void each_key_gives_other_hashes(void **state)
{
	struct hash_key a, b;

	hash_key_choose(&a);
	hash_key_choose(&b);
	assert_int_not_equal(keyed_hash(&a, "x", 1), keyed_hash(&b, "x", 1));
	assert_int_equal(keyed_hash(&a, "x", 1), keyed_hash(&a, "x", 1));
	assert_int_not_equal(keyed_hash(&a, "", 0), keyed_hash(&a, "\0", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_those_of_others),
		cmocka_unit_test(each_key_gives_other_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
