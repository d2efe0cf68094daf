/*
 * fuzz_proxy_counts: any status page; what is taken for one has sums that hold.
 */
#include <assert.h>
#include <stdint.h>

#include "otaclient/proxy/proxy_counts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_counts c;

	if (proxy_counts_parse((const char *)data, size, &c) == 0)
		assert(c.total_requests < UINT64_MAX / 4 && c.local_hits < UINT64_MAX / 4);
	return 0;
}
