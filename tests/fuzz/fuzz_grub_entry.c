/* Any text as grub-mkconfig's output, and as the kernel's arguments where there is no grub-mkconfig. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/grub/grub_entry.h"
#include "common/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct grub_entry_wish wish = {.slot_id = "ota-slot_a",
		.kernel_version = "6.1",
		.root_uuid = "r",
		.boot_uuid = "b"};
	AUTO_BUF struct buf b = {0}, legacy = {0}, cmdline = {0}, plain = {0};
	struct grub_entry_info info;
	const char *text = (const char *)data;

	grub_entry_read(text, size, &info, NULL);
	grub_entry_from_legacy(text, size, "vmlinuz-ota", &wish, &legacy, NULL);
	if (grub_entry_from_mkconfig(text, size, &wish, &b, NULL) == 0) {
		assert(grub_entry_read(b.data, b.len_bytes, &info, NULL) == 0);
		assert(strcmp(info.root_uuid, "r") == 0);
	}
	assert(buf_append(&cmdline, text, size) == 0);
	if (grub_entry_plain(&wish, buf_str(&cmdline), &plain, NULL) == 0) {
		assert(grub_entry_read(plain.data, plain.len_bytes, &info, NULL) == 0);
		assert(strcmp(info.root_uuid, "r") == 0);
	}
	return 0;
}
