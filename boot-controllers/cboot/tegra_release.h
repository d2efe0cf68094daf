/*
 * tegra_release: the release of NVIDIA's board support package, from /etc/nv_tegra_release.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

enum {
	TEGRA_RELEASE_MAX_BYTES = 4096, /* its first line has some 150 */
};

/* R32.6.1 */
struct tegra_release {
	unsigned major, minor, patch;
};

/* Its first line: "# R32 (release), REVISION: 6.1, GCID: …". -EBADMSG: that is not what it says. */
int tegra_release_parse(
	const char *text, size_t len_bytes, struct tegra_release *ret, struct ota_err *err);

/* "R32.6.1", as a NUL-terminated text. -EBADMSG: that is not what it says. */
int tegra_release_parse_short(const char *text, struct tegra_release *ret);

/* Is @r older than major.minor.patch? */
bool tegra_release_before(
	const struct tegra_release *r, unsigned major, unsigned minor, unsigned patch);
