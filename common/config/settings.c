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

enum {
	VARIABLE_NAME_MAX = 128, /* of what a sentence shows, with the NUL */
};

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
		.text = "User that the local proxy runs as, a name, its number or uid:gid; "
			"empty: that of the daemon"},
	{"proxy_cache_dir", CONF_TYPE_PATH, FIELD(proxy_cache_dir), .fallback = "/ota-cache",
		.required = true,
		.text = "Folder for what the local proxy keeps"},
	{"proxy_external_disk", CONF_TYPE_BOOL, FIELD(proxy_external_disk), .fallback = "true",
		.env = SETTINGS_ENV_PREFIX "OTAPROXY_ENABLE_EXTERNAL_CACHE",
		.text = "May the local proxy use a disk with the label ota_cache_src"},
	{"listen_port", CONF_TYPE_UINT, FIELD(listen_port), .min = 1, .max = 65535,
		.fallback = "50051",
		.text = "Port of the API; the address is ip_addr of ecu_info.yaml"},
	{"download_connections", CONF_TYPE_UINT, FIELD(download_connections), .min = 1, .max = 64,
		.fallback = "8",
		.text = "Connections to the server or proxy at a time"},
	{"inactivity_timeout_s", CONF_TYPE_UINT, FIELD(inactivity_timeout_s), .min = 10,
		.max = 86400, .fallback = "600", .unit = "s",
		.env = SETTINGS_ENV_PREFIX "DOWNLOAD_INACTIVE_TIMEOUT",
		.text = "A download in which nothing arrives for this long fails the update"},
	/* 1 TiB is more than any slot has. */
	{"max_download_mib", CONF_TYPE_UINT, FIELD(max_download_mib), .min = 0, .max = 1048576,
		.fallback = "0", .unit = "MiB", .env = SETTINGS_ENV_PREFIX "MAX_DOWNLOAD_MIB",
		.text = "An update that would download more is refused before its first file; "
			"0: without limit"},
	{"update_cooldown_s", CONF_TYPE_UINT, FIELD(update_cooldown_s), .min = 0, .max = 3600,
		.fallback = "16", .unit = "s",
		.text = "After an accepted update request others are refused for this long"},
	/* Six ECUs that fetch 5 GB each over 20 Mbit/s need 3.5 hours. The other client has no such limit. */
	{"children_wait_limit_s", CONF_TYPE_UINT, FIELD(children_wait_limit_s), .min = 0,
		.max = 604800, .fallback = "21600", .unit = "s",
		.text = "A restart waits this long for ECUs below that are in an update; "
			"0: without limit"},
	{"hook_timeout_s", CONF_TYPE_UINT, FIELD(hook_timeout_s), .min = 1, .max = 3600,
		.fallback = "60", .unit = "s",
		.text = "A program in /etc/otaclient/hooks.d that takes longer is ended, and has failed"},
	{"health_check", CONF_TYPE_BOOL, FIELD(health_check), .fallback = "true",
		.text = "Is a new system checked before it is committed; "
			"false: it is committed as soon as the daemon serves"},
	{"health_timeout_s", CONF_TYPE_UINT, FIELD(health_timeout_s), .min = 10, .max = 900,
		.fallback = "300", .unit = "s",
		.text = "A new system that is not committed after this time is left again"},
	{"health_target", CONF_TYPE_TEXT, FIELD(health_target), .fallback = "multi-user.target",
		.text = "Target that systemd must have reached by then; empty: none"},
	{"health_units", CONF_TYPE_TEXT, FIELD(health_units), .fallback = "",
		.text = "Units of systemd that must not have failed then, with spaces between them"},
	{"boot_attempts", CONF_TYPE_UINT, FIELD(boot_attempts), .min = 1, .max = 9,
		.fallback = "1",
		.text = "Starts that a new system gets to come up before the machine is back on the old one "
			"(with GRUB)"},
	{"committed_attempts", CONF_TYPE_UINT, FIELD(committed_attempts), .min = 0, .max = 9,
		.fallback = "5",
		.text = "Starts in a row in which the present system does not come up before the other slot has "
			"its turn, if that is complete; 0: it never has (with GRUB)"},
	{"log_level", CONF_TYPE_CHOICE, FIELD(log_level), .words = log_level_words,
		.fallback = "info", .env = SETTINGS_ENV_PREFIX "DEFAULT_LOG_LEVEL",
		.text = "Least important lines that are logged"},
};

/* What the variables of other clients are about that are no settings here, and what takes their place. */
static const struct {
	const char *name; /* without SETTINGS_ENV_PREFIX */
	const char *instead;
} idle_variables[] = {
	{"SESSION_WD_TMPFS_SIZE_IN_MB",           "an image's lists go to the folder scratch_dir of otaclient.yaml"},
	{"OTACLIENT_APP_TMPFS_SIZE_IN_MB",        "nothing needs to be set in its place"},
	{"LOG_LEVEL_TABLE",                       "log_level of otaclient.yaml counts for all lines"},
	{"DOWNLOAD_RETRY_PRE_REQUEST",            "inactivity_timeout_s of otaclient.yaml says when to give up"},
	{"DOWNLOAD_BACKOFF_MAX",                  "inactivity_timeout_s of otaclient.yaml says when to give up"},
	{"DOWNLOAD_BACKOFF_FACTOR",               "inactivity_timeout_s of otaclient.yaml says when to give up"},
	{"MAX_RETRY_ON_ENTRY_COUNT",              "inactivity_timeout_s of otaclient.yaml says when to give up"},
	{"MAX_CONCURRENT_DOWNLOAD_TASKS",         "download_connections of otaclient.yaml limits the connections"},
	{"CLIENT_UPDATE_TIMEOUT",                 "nothing needs to be set in its place"},
	{"MAX_CONCURRENT_PROCESS_FILE_TASKS",     "the number of processors decides"},
	{"MAX_PROCESS_FILE_THREAD",               "the number of processors decides"},
	{"CREATE_STANDBY_RETRY_MAX",              "nothing needs to be set in its place"},
	{"PROCESS_FILES_REPORT_INTERVAL",         "nothing needs to be set in its place"},
	{"CHUNK_SIZE",                            "nothing needs to be set in its place"},
	{"READ_CHUNK_SIZE",                       "nothing needs to be set in its place"},
	{"FSTRIM_AT_OTA",                         "fstrim.timer of the system trims the slots"},
	{"FSTRIM_AT_OTA_TIMEOUT",                 "fstrim.timer of the system trims the slots"},
	{"WAITING_SUBECU_ACK_REQ_TIMEOUT",        "nothing needs to be set in its place"},
	{"QUERYING_SUBECU_STATUS_TIMEOUT",        "nothing needs to be set in its place"},
	{"OVERALL_ECUS_STATUS_UPDATE_INTERVAL",   "nothing needs to be set in its place"},
	{"ECU_UNREACHABLE_TIMEOUT",               "nothing needs to be set in its place"},
	{"OTAPROXY_MINIMUM_SHUTDOWN_INTERVAL",    "nothing needs to be set in its place"},
	{"PAUSED_OVERALL_ECUS_STATUS_CHANGE_ON_UPDATE_REQ_ACKED", "nothing needs to be set in its place"},
	{"EXTERNAL_CACHE_DEV_MOUNTPOINT",         "the disk is mounted below the folder run_dir of otaclient.yaml"},
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
	if (err.errnum == -ENOMEM)
		return -ENOMEM;
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
	if (err.errnum == -ENOMEM)
		return -ENOMEM;
	return notes.n_wrong > 0 ? -EBADMSG : 0;
}

/* ---- the environment ---- */

static const struct conf_key *key_of_variable(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings_keys); i++)
		if (settings_keys[i].env && strcmp(settings_keys[i].env, name) == 0)
			return &settings_keys[i];
	return NULL;
}

static void notice_variable(const char *name, struct conf_notes *notes)
{
	const char *bare = name + strlen(SETTINGS_ENV_PREFIX);

	for (size_t i = 0; i < ARRAY_SIZE(idle_variables); i++) {
		if (strcmp(idle_variables[i].name, bare) == 0) {
			conf_note(notes, CONF_NOTICE, 0, "%s is ignored: %s", name,
				idle_variables[i].instead);
			return;
		}
	}
	conf_note(notes, CONF_NOTICE, 0, "%s is not a known variable and is ignored", name);
}

/* @variable: "NAME=value" with our prefix. */
static void apply_variable(
	const char *variable, struct settings *settings, struct conf_notes *notes)
{
	char name[VARIABLE_NAME_MAX];
	size_t len = strcspn(variable, "=");
	const struct conf_key *key;

	snprintf(name, sizeof(name), "%.*s", (int)MIN_OF(len, sizeof(name) - 1), variable);
	key = variable[len] == '=' ? key_of_variable(name) : NULL;
	if (key)
		conf_table_read_env(key, variable + len + 1, settings, notes);
	else
		notice_variable(name, notes);
}

int settings_apply_env(
	const char *const *env, conf_note_fn *note, void *ctx, struct settings *settings)
{
	struct conf_notes notes = {.file = "The environment", .note = note, .ctx = ctx};

	for (; *env; env++)
		if (strncmp(*env, SETTINGS_ENV_PREFIX, strlen(SETTINGS_ENV_PREFIX)) == 0)
			apply_variable(*env, settings, &notes);
	return notes.n_wrong > 0 ? -EBADMSG : 0;
}

/* ---- the table for people ---- */

/* What a value may be: "1 to 64", "10 to 86400 s", "error, warning, info, debug"; nothing for
 * paths. Then the default. */
static int print_range(const struct conf_key *key, struct buf *out)
{
	int r = 0;

	if (key->type == CONF_TYPE_UINT)
		r = buf_printf(out, "%u to %u%s%s; ", key->min, key->max, key->unit ? " " : "",
			key->unit ? key->unit : "");
	for (size_t i = 0; key->type == CONF_TYPE_CHOICE && key->words[i] && r == 0; i++)
		r = buf_printf(out, "%s%s", key->words[i], key->words[i + 1] ? ", " : "; ");
	if (r == 0)
		r = buf_printf(out, "default %s", key->fallback[0] ? key->fallback : "empty");
	return r;
}

/* "OTACLIENT_… in the environment overrides it" behind @before, if there is such a variable. */
static int print_variable(
	const struct conf_key *key, const char *before, const char *after, struct buf *out)
{
	if (!key->env)
		return 0;
	return buf_printf(out, "%s%s in the environment overrides it%s", before, key->env, after);
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
			r = buf_puts(out, ")\n");
		if (r == 0)
			r = print_variable(key, "      ", "\n", out);
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
			r = buf_puts(out, ").\n");
		if (r == 0)
			r = print_variable(key, "# ", ".\n", out);
		if (r == 0)
			r = buf_printf(out, "#%s: %s\n", key->name,
				key->fallback[0] ? key->fallback : "\"\"");
	}
	return r;
}

/* roff takes "-" for a hyphen, "\\" for the begin of a command, and a line that begins with "." or "'" for one. */
static int put_roff(struct buf *out, const char *text)
{
	int r = 0;

	for (const char *p = text; *p && r == 0; p++)
		r = *p == '-' ? buf_puts(out, "\\-") : buf_append(out, p, 1);
	return r;
}

static int print_man_key(const struct conf_key *key, struct buf *out)
{
	AUTO_BUF struct buf range = {0};
	int r = buf_printf(out, ".TP\n.B %s\n", key->name);

	if (r == 0)
		r = put_roff(out, key->text);
	if (r == 0)
		r = print_range(key, &range);
	if (r == 0)
		r = buf_puts(out, " (");
	if (r == 0)
		r = put_roff(out, buf_str(&range));
	if (r == 0)
		r = buf_puts(out, ").\n");
	return r < 0 ? r : print_variable(key, "", ".\n", out);
}

int settings_print_man(struct buf *out)
{
	/* clang-format off */
	int r = buf_puts(out,
		".TH OTACLIENT.YAML 5 \"\" \"otaclient\" \"File formats\"\n"
		".SH NAME\n"
		"otaclient.yaml \\- settings of the update daemon\n"
		".SH DESCRIPTION\n"
		".I " SETTINGS_PATH "\n"
		"is a YAML map; the file and each of its keys may be missing. A value that is wrong is named in the "
		"log, and the\ndefault counts. A variable of the environment goes before the file, the option "
		"\\-\\-log\\-level before both.\n"
		".SH KEYS\n");
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(settings_keys) && r == 0; i++)
		r = print_man_key(&settings_keys[i], out);
	return r < 0 ? r : buf_puts(out, ".SH SEE ALSO\n.BR otaclient (8)\n");
}
