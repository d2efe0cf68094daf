/* Any bytes as system.conf, and its value as a time. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "otaclient/doctor/system_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char value[64], text[256];
	uint64_t ms = 0;

	if (system_conf_value((const char *)data, size, "Manager", "RuntimeWatchdogSec", value,
		    sizeof(value)) == 0)
		assert(memchr(value, '\0', sizeof(value)));
	if (size < sizeof(text)) {
		memcpy(text, data, size);
		text[size] = '\0';
		if (system_conf_time(text, &ms) == 0)
			assert(ms == UINT64_MAX || ms <= (uint64_t)1 << 40);
	}
	return 0;
}
