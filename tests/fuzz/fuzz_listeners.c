/* Any bytes as /proc/net/tcp and tcp6. */
#include <assert.h>
#include <stdint.h>

#include "otaclient/doctor/listeners.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const addresses[] = {"0.0.0.0", "127.0.0.1", "::", "fe80::1%eth0"};

	for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct listen_address a;

		assert(listen_address_parse(addresses[i], &a));
		for (unsigned v6 = 0; v6 < 2; v6++)
			if (listeners_find((const char *)data, size, v6, &a, 8080))
				assert(size >= 31); /* ten fields, as short as they can be */
	}
	return 0;
}
