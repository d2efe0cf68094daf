/*
 * tegra_release: read nv_tegra_release. Contract: tegra_release.h.
 */
#include "boot-controllers/cboot/tegra_release.h"

#include <errno.h>
#include <string.h>

enum {
	NUMBER_MAX = 9999, /* the largest one in use has two digits */
};

/* Not NUL-terminated. */
struct text {
	const char *at, *end;
};

static bool skip(struct text *t, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len) != 0)
		return false;
	t->at += len;
	return true;
}

static bool number(struct text *t, unsigned *ret)
{
	unsigned n = 0;
	const char *begin = t->at;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9' && n <= NUMBER_MAX)
		n = n * 10 + (unsigned)(*t->at++ - '0');
	*ret = n;
	return t->at > begin && n <= NUMBER_MAX;
}

/* Up to the ')' of "(release)". */
static bool skip_kind(struct text *t)
{
	const char *close;

	if (!skip(t, " ("))
		return false;
	close = memchr(t->at, ')', (size_t)(t->end - t->at));
	if (!close)
		return false;
	t->at = close + 1;
	return true;
}

int tegra_release_parse(
	const char *text, size_t len_bytes, struct tegra_release *ret, struct ota_err *err)
{
	const char *nl = len_bytes > 0 ? memchr(text, '\n', len_bytes) : NULL;
	struct text t = {text, nl ? nl : text + len_bytes};
	struct tegra_release found = {0};

	if (len_bytes > TEGRA_RELEASE_MAX_BYTES || !skip(&t, "# R") || !number(&t, &found.major) ||
		!skip_kind(&t) || !skip(&t, ", REVISION: ") || !number(&t, &found.minor) ||
		!skip(&t, ".") || !number(&t, &found.patch))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"It does not begin with \"# R<number> (…), REVISION: <number>.<number>\"");
	*ret = found;
	return 0;
}

int tegra_release_parse_short(const char *text, struct tegra_release *ret)
{
	struct text t = {text, text + strlen(text)};
	struct tegra_release found = {0};

	if (!skip(&t, "R") || !number(&t, &found.major) || !skip(&t, ".") ||
		!number(&t, &found.minor) || !skip(&t, ".") || !number(&t, &found.patch) ||
		t.at < t.end)
		return -EBADMSG;
	*ret = found;
	return 0;
}

bool tegra_release_before(
	const struct tegra_release *r, unsigned major, unsigned minor, unsigned patch)
{
	if (r->major != major)
		return r->major < major;
	return r->minor != minor ? r->minor < minor : r->patch < patch;
}
