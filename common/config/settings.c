/*
 * settings: the one table of otaclient.yaml's keys, and what is printed from it. Contract:
 * settings.h.
 */
#include "common/config/settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"

#define FIELD(f) \
	.offset = offsetof(struct settings, f), .size_bytes = sizeof(((struct settings *)0)->f)

/* clang-format off */
static const char *const log_level_words[] = {"error", "warning", "info", "debug", NULL};

static const struct conf_key settings_keys[] = {
	{"tls_ca", CONF_TYPE_PATH, FIELD(tls_ca), .fallback = "",
		.text = "File of certificates that https servers must lead to; "
			"empty: the system's store"},
	{"certs_dir", CONF_TYPE_PATH, FIELD(certs_dir), .fallback = "/opt/ota/client/certs",
		.required = true,
		.text = "Folder of the certificates that an image's signature must lead to"},
	{"run_dir", CONF_TYPE_PATH, FIELD(run_dir), .fallback = "/run/otaclient", .required = true,
		.text = "Folder for mount points and sockets while the daemon runs"},
	{"scratch_dir", CONF_TYPE_PATH, FIELD(scratch_dir), .fallback = "/var/tmp",
		.required = true,
		.text = "Folder for the lists of an image while an update runs"},
	{"proxy_program", CONF_TYPE_PATH, FIELD(proxy_program), .fallback = "/usr/bin/otaproxy",
		.required = true,
		.text = "Program of the local proxy, if proxy_info.yaml wants one"},
	{"proxy_user", CONF_TYPE_TEXT, FIELD(proxy_user), .fallback = "otaproxy",
		.text = "User that the local proxy runs as, a name or uid:gid; "
			"empty: that of the daemon"},
	{"proxy_cache_dir", CONF_TYPE_PATH, FIELD(proxy_cache_dir), .fallback = "/ota-cache",
		.required = true,
		.text = "Folder for what the local proxy keeps"},
	{"listen_port", CONF_TYPE_UINT, FIELD(listen_port), .min = 1, .max = 65535,
		.fallback = "50051",
		.text = "Port of the API; the address is ip_addr of ecu_info.yaml"},
	{"download_connections", CONF_TYPE_UINT, FIELD(download_connections), .min = 1, .max = 64,
		.fallback = "8",
		.text = "Connections to the server or proxy at a time"},
	{"inactivity_timeout_s", CONF_TYPE_UINT, FIELD(inactivity_timeout_s), .min = 10,
		.max = 86400, .fallback = "600", .unit = "s",
		.text = "A download in which nothing arrives for this long fails the update"},
	{"update_cooldown_s", CONF_TYPE_UINT, FIELD(update_cooldown_s), .min = 0, .max = 3600,
		.fallback = "16", .unit = "s",
		.text = "After an accepted update request others are refused for this long"},
	{"log_level", CONF_TYPE_CHOICE, FIELD(log_level), .words = log_level_words,
		.fallback = "info",
		.text = "Least important lines that are logged"},
};
/* clang-format on */

static void finish(const struct conf_tree *tree, const struct ota_err *err,
	struct conf_notes *notes, struct settings *ret_settings)
{
	const struct conf_node *root = tree ? conf_tree_root(tree) : NULL;

	*ret_settings = (struct settings){0};
	conf_table_defaults(settings_keys, ARRAY_SIZE(settings_keys), ret_settings);
	if (!root) {
		if (err->errnum == -ENOENT)
			return;
		notes->n_wrong++;
		if (notes->note)
			notes->note(notes->ctx, CONF_WRONG, err->msg);
	} else if (root->kind == CONF_MAP) {
		conf_table_read(
			settings_keys, ARRAY_SIZE(settings_keys), root, "", ret_settings, notes);
	} else if (root->kind != CONF_NULL) {
		conf_note(
			notes, CONF_WRONG, root->line, "the file must be a map of keys and values");
	}
}

int settings_load(const char *path, conf_note_fn *note, void *ctx, struct settings *ret_settings)
{
	struct conf_notes notes = {.file = path, .note = note, .ctx = ctx};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	conf_tree_read(path, &tree, &err);
	finish(tree, &err, &notes, ret_settings);
	return notes.n_wrong > 0 ? -EBADMSG : 0;
}

int settings_parse(const char *text, size_t len_bytes, const char *name, conf_note_fn *note,
	void *ctx, struct settings *ret_settings)
{
	struct conf_notes notes = {.file = name, .note = note, .ctx = ctx};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	conf_tree_parse(text, len_bytes, name, &tree, &err);
	finish(tree, &err, &notes, ret_settings);
	return notes.n_wrong > 0 ? -EBADMSG : 0;
}

/* What a value may be: "1 to 64", "10 to 86400 s", "error, warning, info, debug"; nothing for
 * paths. */
static int print_range(const struct conf_key *key, struct buf *out)
{
	int r = 0;

	if (key->type == CONF_TYPE_UINT)
		return buf_printf(out, "%u to %u%s%s; ", key->min, key->max, key->unit ? " " : "",
			key->unit ? key->unit : "");
	if (key->type != CONF_TYPE_CHOICE)
		return 0;
	for (size_t i = 0; key->words[i] && r == 0; i++)
		r = buf_printf(out, "%s%s", i ? ", " : "", key->words[i]);
	return r < 0 ? r : buf_puts(out, "; ");
}

int settings_print_help(struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(settings_keys) && r == 0; i++) {
		const struct conf_key *key = &settings_keys[i];

		r = buf_printf(out, "  %s\n      %s (", key->name, key->text);
		if (r == 0)
			r = print_range(key, out);
		if (r == 0)
			r = buf_printf(
				out, "default %s)\n", key->fallback[0] ? key->fallback : "empty");
	}
	return r;
}

int settings_print_example(struct buf *out)
{
	int r = buf_puts(out,
		"# " SETTINGS_PATH ": settings of otaclient.\n"
		"# Every key may be left out; what is shown here are the defaults.\n");

	for (size_t i = 0; i < ARRAY_SIZE(settings_keys) && r == 0; i++) {
		const struct conf_key *key = &settings_keys[i];

		r = buf_printf(out, "\n# %s (", key->text);
		if (r == 0)
			r = print_range(key, out);
		if (r == 0)
			r = buf_printf(out, "default %s).\n#%s: %s\n",
				key->fallback[0] ? key->fallback : "empty", key->name,
				key->fallback[0] ? key->fallback : "\"\"");
	}
	return r;
}
