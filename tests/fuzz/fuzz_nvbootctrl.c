/* Any bytes as the answer of nvbootctrl get-current-slot. */
#include <assert.h>
#include <stdint.h>

#include "boot-controllers/cboot/nvbootctrl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned slot = NVBOOTCTRL_N_SLOTS;

	if (nvbootctrl_parse_slot((const char *)data, size, &slot, NULL) == 0)
		assert(slot < NVBOOTCTRL_N_SLOTS && data[0] == '0' + slot);
	else
		assert(slot == NVBOOTCTRL_N_SLOTS);
	return 0;
}
