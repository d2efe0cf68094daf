/*
 * proxy_info: how this ECU reaches the image server, and the proxy that it runs
 * (/boot/ota/proxy_info.yaml).
 *
 * Format: docs/formats.md, "proxy_info.yaml"; proxy_info.yaml.example shows every key.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/config/conf_table.h"

struct proxy_info {
	/* false: the file is missing or wrong and the rest are the defaults for that case */
	bool loaded;
	bool enable_local_ota_proxy;
	bool enable_local_ota_proxy_cache; /* as written; proxy_info_use_cache() is what counts */
	char local_ota_proxy_listen_addr[CONF_IP_MAX];
	uint32_t local_ota_proxy_listen_port;
	char upper_ota_proxy[CONF_URL_MAX];          /* "" = none: the origin is asked directly */
	char logging_server[CONF_URL_MAX];           /* "" = no remote logging */
	char logging_server_grpc[CONF_URL_MAX];      /* only its port counts; "" = HTTP only */
	char external_nfs_cache_mnt_point[PATH_MAX]; /* "" = none */
};

/*
 * Always gives a usable description. If the file is missing or any rule is broken, that is the
 * default one (the local proxy runs, there is no upper one, loaded false), after every broken rule
 * was reported to @note. 0, or -ENOMEM: that it is the default one says nothing about the file.
 */
int proxy_info_load(const char *path, conf_note_fn *note, void *ctx, struct proxy_info *ret_info);
int proxy_info_parse(const char *text, size_t len_bytes, const char *name, conf_note_fn *note,
	void *ctx, struct proxy_info *ret_info);

/* The table of the file's keys, for whoever explains them. */
const struct conf_key *proxy_info_keys(size_t *ret_n);

/* The proxy for this ECU's own downloads: the local one if it runs, else the upper one, else "". */
void proxy_info_client_proxy(const struct proxy_info *info, char ret_url[CONF_URL_MAX]);

/* Does the local proxy keep what passes? Not below another proxy, which keeps it already. */
bool proxy_info_use_cache(const struct proxy_info *info);
