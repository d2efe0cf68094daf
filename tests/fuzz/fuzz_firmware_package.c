/* Any bytes as firmware_update.yaml, firmware_manifest.yaml and nv_boot_control.conf. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "boot-controllers/cboot/firmware_package.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char board[] = "TNSPEC 2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\n";
	const char *text = (const char *)data;
	const struct firmware_payload *payload = NULL;
	struct firmware_manifest m = {.hardware = "nvidia_jetson", .bsp_version = "R32.6.1"};
	struct firmware_request request;
	struct ota_err err = {0};

	/* A board that nothing is asked of is any that there is. */
	if (firmware_check_board(&m, text, size, &err) < 0)
		assert(err.msg[0]);
	if (firmware_request_parse(text, size, &request, NULL) == 0)
		assert(request.n_names >= 1 && request.n_names <= FIRMWARE_PAYLOADS_MAX);
	if (firmware_manifest_parse(text, size, &m, NULL) < 0)
		return 0;
	assert(m.n_payloads >= 1 && m.n_payloads <= FIRMWARE_PAYLOADS_MAX);
	(void)firmware_check_board(&m, board, strlen(board), &err);
	request = (struct firmware_request){.n_names = 1};
	memcpy(request.names[0], m.payloads[0].name, FIRMWARE_TEXT_MAX);
	if (firmware_choose(&m, &request, &payload, &err) == 0)
		assert(payload->path[0] == '/' && strcmp(payload->type, "BUP") == 0);
	return 0;
}
