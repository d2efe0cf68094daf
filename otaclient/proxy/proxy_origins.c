/*
 * proxy_origins: check and write. Contract: proxy_origins.h.
 */
#include "otaclient/proxy/proxy_origins.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/net/http_url.h"

static int check_origin(const char *origin, struct ota_err *err)
{
	char text[HTTP_URL_TEXT_MAX];
	int r = http_url_check(origin, err);

	if (r < 0)
		return r;
	if (strpbrk(strstr(origin, "://") + 3, "/?#@"))
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The origin %s has more than scheme, host and port",
			http_url_text(origin, text));
	return 0;
}

static int origins_text(
	const char *const *origins, size_t n_origins, struct buf *text, struct ota_err *err)
{
	int r = 0;

	if (n_origins > PROXY_ORIGINS_MAX)
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"There are %zu origins, and %d may be", n_origins, PROXY_ORIGINS_MAX);
	for (size_t i = 0; i < n_origins && r == 0; i++) {
		r = check_origin(origins[i], err);
		if (r < 0)
			return r;
		r = buf_printf(text, "%s\n", origins[i]);
	}
	return r < 0 ? ota_err_no_memory(err, "the list of servers") : 0;
}

/* The folder may be older than the wish for a proxy; what is for nobody else has folders of its own in it. */
static int open_to_others(int dir_fd)
{
	struct stat st;

	if (fstat(dir_fd, &st) < 0)
		return -1;
	return (st.st_mode & S_IXOTH) ? 0 : fchmod(dir_fd, 0755);
}

int proxy_origins_write(
	const char *run_dir, const char *const *origins, size_t n_origins, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	AUTO_CLOSE int dir_fd = -1;
	int r = origins_text(origins, n_origins, &text, err);

	if (r < 0)
		return r;
	/* The proxy reads it as another user. */
	if (mkdir(run_dir, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		dir_fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && (dir_fd < 0 || open_to_others(dir_fd) < 0))
		r = -errno;
	if (r == 0)
		r = io_replace_file("origins file", dir_fd, PROXY_ORIGINS_NAME, buf_str(&text),
			text.len_bytes, 0644);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_OTAPROXY_FAILED, "Cannot write %s/%s: %s", run_dir,
			PROXY_ORIGINS_NAME, strerror(-r));
	return 0;
}
