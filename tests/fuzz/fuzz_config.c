/*
 * fuzz_config: the configuration readers on any bytes. What they accept must keep its own promises.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/config/ecu_info.h"
#include "common/config/proxy_info.h"
#include "common/config/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(void *ctx, enum conf_note_kind kind, const char *sentence)
{
	assert(sentence[0] && strlen(sentence) < OTA_ERR_MSG_MAX);
}

/* The bytes as the value of each variable that counts, and as a variable of any name. */
static void try_environment(const uint8_t *data, size_t size)
{
	static const char *const heads[] = {
		"OTACLIENT_OTAPROXY_ENABLE_EXTERNAL_CACHE=", "OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT=",
		"OTACLIENT_DEFAULT_LOG_LEVEL=", "OTACLIENT_", ""};
	static char text[5][4096];
	static struct settings settings;
	const char *const env[] = {text[0], text[1], text[2], text[3], text[4], NULL};
	enum log_level level;

	for (size_t i = 0; i < 5; i++)
		snprintf(text[i], sizeof(text[i]), "%s%.*s", heads[i],
			(int)MIN_OF(size, (size_t)4000), (const char *)data);
	settings_parse("", 0, "f", note, NULL, &settings);
	settings_apply_env(env, note, NULL, &settings);
	assert(settings.inactivity_timeout_s >= 10 && settings.inactivity_timeout_s <= 86400);
	assert(log_level_from_text(settings.log_level, &level) == 0);
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
	try_environment(data, size);
	return 0;
}
