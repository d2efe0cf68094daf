/*
 * proxy_info: the table of proxy_info.yaml's keys. Contract: proxy_info.h.
 */
#include "common/config/proxy_info.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"

#define FIELD(f) \
	.offset = offsetof(struct proxy_info, f), .size_bytes = sizeof(((struct proxy_info *)0)->f)

/* The defaults are those of a file that lacks the key; without a file see no_file(). */
/* clang-format off */
static const struct conf_key proxy_keys[] = {
	{"format_version", CONF_TYPE_OTHER},
	{"enable_local_ota_proxy", CONF_TYPE_BOOL, FIELD(enable_local_ota_proxy),
		.fallback = "false", .old_name = "enable_ota_proxy"},
	{"enable_local_ota_proxy_cache", CONF_TYPE_BOOL, FIELD(enable_local_ota_proxy_cache),
		.fallback = "true"},
	{"local_ota_proxy_listen_addr", CONF_TYPE_IP, FIELD(local_ota_proxy_listen_addr),
		.fallback = "0.0.0.0"},
	{"local_ota_proxy_listen_port", CONF_TYPE_UINT, FIELD(local_ota_proxy_listen_port),
		.min = 1, .max = 65535, .fallback = "8082"},
	{"upper_ota_proxy", CONF_TYPE_PROXY, FIELD(upper_ota_proxy), .fallback = ""},
	{"logging_server", CONF_TYPE_URL, FIELD(logging_server),
		.fallback = "http://127.0.0.1:8083"},
	{"logging_server_grpc", CONF_TYPE_URL, FIELD(logging_server_grpc),
		.fallback = "http://127.0.0.1:8084"},
	{"external_nfs_cache_mnt_point", CONF_TYPE_PATH, FIELD(external_nfs_cache_mnt_point),
		.fallback = ""},
	{"gateway", CONF_TYPE_UNUSED,
		.text = "an ECU without upper_ota_proxy asks the origin itself, with https"},
};
/* clang-format on */

/* Without a usable file a single ECU with its own way to the network is assumed. */
static void no_file(struct proxy_info *ret_info)
{
	*ret_info = (struct proxy_info){0};
	conf_table_defaults(proxy_keys, ARRAY_SIZE(proxy_keys), ret_info);
	ret_info->enable_local_ota_proxy = true;
}

static void finish(const struct conf_tree *tree, const struct ota_err *err,
	struct conf_notes *notes, struct proxy_info *ret_info)
{
	const struct conf_node *root = tree ? conf_tree_root(tree) : NULL;

	no_file(ret_info);
	if (!root) {
		if (notes->note)
			notes->note(notes->ctx, err->errnum == -ENOENT ? CONF_NOTICE : CONF_WRONG,
				err->msg);
		return;
	}
	if (root->kind != CONF_MAP) {
		conf_note(
			notes, CONF_WRONG, root->line, "the file must be a map of keys and values");
		return;
	}
	conf_table_defaults(proxy_keys, ARRAY_SIZE(proxy_keys), ret_info);
	conf_table_read(proxy_keys, ARRAY_SIZE(proxy_keys), root, "", ret_info, notes);
	if (notes->n_wrong > 0)
		no_file(ret_info);
	else
		ret_info->loaded = true;
}

int proxy_info_load(const char *path, conf_note_fn *note, void *ctx, struct proxy_info *ret_info)
{
	struct conf_notes notes = {.file = path, .note = note, .ctx = ctx};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	conf_tree_read(path, &tree, &err);
	finish(tree, &err, &notes, ret_info);
	return err.errnum == -ENOMEM ? -ENOMEM : 0;
}

int proxy_info_parse(const char *text, size_t len_bytes, const char *name, conf_note_fn *note,
	void *ctx, struct proxy_info *ret_info)
{
	struct conf_notes notes = {.file = name, .note = note, .ctx = ctx};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	conf_tree_parse(text, len_bytes, name, &tree, &err);
	finish(tree, &err, &notes, ret_info);
	return err.errnum == -ENOMEM ? -ENOMEM : 0;
}

const struct conf_key *proxy_info_keys(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(proxy_keys);
	return proxy_keys;
}

void proxy_info_client_proxy(const struct proxy_info *info, char ret_url[CONF_URL_MAX])
{
	const char *addr = info->local_ota_proxy_listen_addr;

	if (!info->enable_local_ota_proxy) {
		memcpy(ret_url, info->upper_ota_proxy, CONF_URL_MAX);
		return;
	}
	/* "any address" is one to listen on, not one to connect to. */
	if (strcmp(addr, "0.0.0.0") == 0)
		addr = "127.0.0.1";
	else if (strcmp(addr, "::") == 0)
		addr = "::1";
	snprintf(ret_url, CONF_URL_MAX, strchr(addr, ':') ? "http://[%s]:%u" : "http://%s:%u", addr,
		info->local_ota_proxy_listen_port);
}

bool proxy_info_use_cache(const struct proxy_info *info)
{
	return info->enable_local_ota_proxy_cache && !info->upper_ota_proxy[0];
}
