/*
 * own_proxy: from proxy_info.yaml and the settings to a proxy_child. Contract: own_proxy.h.
 */
#include "otaclient/own_proxy.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/sandbox.h"
#include "common/net/http_url.h"

static void log_note(void *ctx, bool trouble, const char *sentence)
{
	if (trouble)
		log_warning("%s", sentence);
	else
		log_info("%s", sentence);
}

/* Could the program be started as things are? It is a package of its own, and an ECU without it still updates. */
static int check_program(const struct settings *s, struct ota_err *err)
{
	struct stat st;
	uid_t uid;
	gid_t gid;
	int r = stat(s->proxy_program, &st) < 0 ? -errno : 0;

	if (r == 0 && !S_ISREG(st.st_mode))
		r = -EACCES;
	if (r == 0 && access(s->proxy_program, X_OK) < 0)
		r = -errno;
	if (r < 0)
		return ota_err_set(err, r, OTA_E_OTAPROXY_FAILED, "%s cannot be executed: %s",
			s->proxy_program, strerror(-r));
	r = s->proxy_user[0] ? sandbox_find_user(s->proxy_user, &uid, &gid) : 0;
	if (r < 0)
		return ota_err_set(err, r, OTA_E_OTAPROXY_FAILED,
			"It cannot run as the user \"%s\": %s", s->proxy_user,
			r == -ENOENT ? "there is none" : strerror(-r));
	return 0;
}

static int make(struct own_proxy *p, const struct proxy_info *info, const struct settings *s,
	const char *log_level, struct ota_err *err)
{
	const bool use_cache = proxy_info_use_cache(info);
	const struct proxy_child_config config = {
		.program = s->proxy_program,
		.listen_addr = info->local_ota_proxy_listen_addr,
		.port = (uint16_t)info->local_ota_proxy_listen_port,
		.cache_dir = s->proxy_cache_dir,
		.upper_proxy = conf_text_or_null(info->upper_ota_proxy),
		.tls_ca = conf_text_or_null(s->tls_ca),
		/* The one above knows what may be asked for. */
		.use_origins = !info->upper_ota_proxy[0],
		.no_cache = !use_cache,
		/* Files are copied from there into the cache before they are served. */
		.external_disk = use_cache && s->proxy_external_disk,
		.external_folder =
			use_cache ? conf_text_or_null(info->external_nfs_cache_mnt_point) : NULL,
		.user = conf_text_or_null(s->proxy_user),
		.run_dir = s->run_dir,
		.log_level = log_level,
		.note = log_note,
	};
	int r = check_program(s, err);

	if (r == 0)
		r = proxy_child_new(&config, &p->child, err);
	if (r < 0)
		return r;
	p->wishes = proxy_wishes_new(p->child);
	if (p->wishes)
		return 0;
	proxy_child_free(TAKE_PTR(p->child));
	return ota_err_no_memory(err, "the wishes for a proxy");
}

void own_proxy_choose(struct own_proxy *p, struct proxy_info *info, const struct settings *settings,
	const char *log_level)
{
	struct ota_err err = {0};

	p->cache_dir = settings->proxy_cache_dir;
	if (info->enable_local_ota_proxy && make(p, info, settings, log_level, &err) < 0) {
		log_warning("This ECU runs no proxy, downloads go %s: %s",
			info->upper_ota_proxy[0] ? "through the upper one"
						 : "straight to the server",
			err.msg);
		info->enable_local_ota_proxy = false;
	}
	proxy_info_client_proxy(info, p->url);
}

void own_proxy_done(struct own_proxy *p)
{
	proxy_wishes_free(p->wishes);
	proxy_child_free(p->child);
}

void own_proxy_finish(struct own_proxy *p)
{
	if (p->child && access(p->cache_dir, F_OK) == 0)
		proxy_wishes_finish(p->wishes);
}

/* What is no URL is refused by the ECU that it is for. */
void own_proxy_allow(struct own_proxy *p, const struct wire_request *request)
{
	for (size_t i = 0; i < request->n_ecus && p->child; i++) {
		const char *url = request->ecus[i].update.url;
		AUTO_FREE char *origin =
			http_url_check(url, NULL) == 0 ? http_url_origin(url) : NULL;
		const char *const origins[] = {origin};
		struct ota_err err = {0};

		if (origin && proxy_wishes_add(p->wishes, PROXY_FOR_CHILDREN, origins, 1, &err) < 0)
			log_warning("ECUs below may not reach %s: %s", origin, err.msg);
	}
}

void own_proxy_follow(struct own_proxy *p, const struct summary *now)
{
	struct ota_err err = {0};

	if (!p->child)
		return;
	if (now->child_needs_network)
		proxy_wishes_add(p->wishes, PROXY_FOR_CHILDREN, NULL, 0, &err);
	else
		proxy_wishes_drop(p->wishes, PROXY_FOR_CHILDREN);
	if (now->all_success)
		own_proxy_finish(p);
}
