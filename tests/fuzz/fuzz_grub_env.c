/* Any bytes as an environment block; what is accepted survives being changed and written. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/grub/grub_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct grub_env env, again;
	char block[GRUB_ENV_BYTES], value[GRUB_ENV_VALUE_MAX];

	if (grub_env_parse(data, size, &env, NULL) < 0)
		return 0;
	grub_env_render(&env, block);
	assert(grub_env_parse(block, sizeof(block), &again, NULL) == 0);
	assert(again.len_bytes == env.len_bytes &&
		memcmp(again.body, env.body, env.len_bytes) == 0);
	if (grub_env_set(&env, "saved_entry", "ota\\slot") == 0) {
		assert(grub_env_get(&env, "saved_entry", value, sizeof(value)) == 0);
		assert(strcmp(value, "ota\\slot") == 0);
	}
	grub_env_unset(&env, "saved_entry");
	assert(grub_env_get(&env, "saved_entry", value, sizeof(value)) < 0);
	return 0;
}
