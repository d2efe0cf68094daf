/* Any bytes as nv_tegra_release, and as a release in short. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>

#include "boot-controllers/cboot/tegra_release.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tegra_release r;
	char text[64];
	struct ota_err err = {0};

	if (tegra_release_parse((const char *)data, size, &r, &err) < 0)
		assert(err.msg[0]);
	else
		assert(!tegra_release_before(&r, r.major, r.minor, r.patch) &&
			tegra_release_before(&r, r.major, r.minor, r.patch + 1));
	snprintf(text, sizeof(text), "%.*s", (int)(size < sizeof(text) ? size : sizeof(text)),
		(const char *)data);
	if (tegra_release_parse_short(text, &r) == 0)
		assert(text[0] == 'R' && !tegra_release_before(&r, r.major, r.minor, r.patch));
	return 0;
}
