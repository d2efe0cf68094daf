/*
 * fuzz_config: the configuration readers on any bytes. What they accept must keep its own promises.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/config/ecu_info.h"
#include "common/config/proxy_info.h"
#include "common/config/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(void *ctx, enum conf_note_kind kind, const char *sentence)
{
	assert(sentence[0] && strlen(sentence) < OTA_ERR_MSG_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ecu_info ecu;
	static struct proxy_info proxy;
	static struct settings settings;
	char url[CONF_URL_MAX];

	ecu_info_parse((const char *)data, size, "f", note, NULL, &ecu);
	assert(ecu.ecu_id[0] && ecu.ip_addr[0] && ecu.bootloader);
	assert(ecu.n_available >= 1 && ecu.n_available <= ECU_IDS_MAX);
	assert(ecu.n_secondaries <= ECU_SECONDARIES_MAX);
	assert(ecu.loaded || (strcmp(ecu.ecu_id, "autoware") == 0 && ecu.n_secondaries == 0));
	for (uint32_t i = 0; i < ecu.n_secondaries; i++)
		assert(ecu.secondaries[i].port >= 1 && ecu.secondaries[i].port <= 65535);

	proxy_info_parse((const char *)data, size, "f", note, NULL, &proxy);
	assert(proxy.loaded || proxy.enable_local_ota_proxy);
	proxy_info_client_proxy(&proxy, url);
	assert(!proxy.enable_local_ota_proxy || url[0]);

	settings_parse((const char *)data, size, "f", note, NULL, &settings);
	assert(settings.download_connections >= 1 && settings.download_connections <= 64);
	assert(settings.certs_dir[0] == '/' && settings.log_level);
	return 0;
}
