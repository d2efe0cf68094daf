/*
 * options: otactl's command line. Contract: options.h.
 */
#include "otaclient/ctl/options.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/codec/json.h"

enum {
	COOKIES_MAX_BYTES = 1 << 20,
	WAIT_TIMEOUT_S = 3600,
	NAMES_MAX = 32, /* for getopt */
	HELP_INDENT = 28,
};

enum option_id {
	OPT_ECU = 1,
	OPT_JSON,
	OPT_HELP,
	OPT_PROGRAM_VERSION,
	OPT_WATCH,
	OPT_URL,
	OPT_VERSION,
	OPT_ECU_ID,
	OPT_ALL,
	OPT_COOKIES,
	OPT_WAIT,
	OPT_TIMEOUT,
	OPT_FILE,
	OPT_DRY_RUN,
	OPT_MAX_DOWNLOAD,
	OPT_END,
};

struct command {
	const char *name, *help;
};

/* Where an option stands that is no single command's. */
enum {
	ANYWHERE = -1,
	IN_FRONT = -2, /* of the command */
};

struct row {
	int command; /* enum ctl_command, ANYWHERE or IN_FRONT */
	enum option_id id;
	const char *name, *value; /* value NULL = it takes none */
	bool needed;
	const char *help;
};

/* clang-format off */
static const struct command commands[CTL_COMMANDS] = {
	{"status",   "show this ECU and those below it"},
	{"update",   "install an image into the standby slot and start it"},
	{"abort",    "stop a running update on this ECU and those below it"},
	{"rollback", "go back to the other slot, on the ECU that is asked"},
	{"history",  "show what this machine has recorded of its updates"},
	{"doctor",   "look for what would make an update here fail"},
};

/* In front of the command --version is about otactl, behind it about the image. */
static const struct row rows[] = {
	{CTL_STATUS, OPT_WATCH, "watch", NULL, false,
		"all ECUs of the vehicle, again and again"},
	{CTL_UPDATE, OPT_URL, "url", "URL", true,
		"where the image is"},
	{CTL_UPDATE, OPT_VERSION, "version", "V", true,
		"name of the new version, shown by status afterwards"},
	{CTL_UPDATE, OPT_ECU_ID, "ecu-id", "ID", false,
		"this ECU; may be repeated (default: the asked one)"},
	{CTL_UPDATE, OPT_ALL, "all", NULL, false,
		"every ECU that the asked one speaks for"},
	{CTL_UPDATE, OPT_COOKIES, "cookies", "JSON", false,
		"cookies for the server: '{\"name\": \"value\"}'"},
	{CTL_UPDATE, OPT_WAIT, "wait", NULL, false,
		"until each ECU runs the new version, reboot included"},
	{CTL_UPDATE, OPT_TIMEOUT, "timeout", "S", false,
		"with --wait: an ECU silent so long has failed (3600)"},
	{CTL_UPDATE, OPT_DRY_RUN, "dry-run", NULL, false,
		"say what it would download and write; change nothing"},
	{CTL_UPDATE, OPT_MAX_DOWNLOAD, "max-download", "BYTES", false,
		"only if it downloads no more; also 500K, 20M, 2G"},
	{CTL_ROLLBACK, OPT_ECU_ID, "ecu-id", "ID", false,
		"only if it is this ECU that is asked"},
	{CTL_ROLLBACK, OPT_WAIT, "wait", NULL, false,
		"until the other version runs, reboot included"},
	{CTL_ROLLBACK, OPT_TIMEOUT, "timeout", "S", false,
		"as for update"},
	{CTL_HISTORY, OPT_FILE, "file", "F", false,
		"a copy of the flight recorder, from wherever"},
	{ANYWHERE, OPT_ECU, "ecu", "HOST[:PORT]", false,
		"the ECU to ask (default: 127.0.0.1:50051)"},
	{ANYWHERE, OPT_JSON, "json", NULL, false,
		"answers as JSON, one object a line"},
	{ANYWHERE, OPT_HELP, "help", NULL, false,
		"show this, and end"},
	{IN_FRONT, OPT_PROGRAM_VERSION, "version", NULL, false,
		"(in front of the command) show the version, and end"},
};
/* clang-format on */

/* --- the help --- */

static void print_option(const struct row *row, int indent)
{
	char name[64];

	snprintf(name, sizeof(name), "%s--%s%s%s", row->id == OPT_HELP ? "-h, " : "", row->name,
		row->value ? " " : "", row->value ? row->value : "");
	printf("%*s%-*s%s\n", indent, "", HELP_INDENT - indent, name, row->help);
}

static void print_help(void)
{
	puts("Usage: otactl [--ecu HOST[:PORT]] [--json] COMMAND [OPTION]...\n"
	     "Ask the otaclient of an ECU what it is doing, and have it do something.\n"
	     "\n"
	     "Commands:");
	for (int c = 0; c < CTL_COMMANDS; c++) {
		printf("  %-*s%s\n", HELP_INDENT - 2, commands[c].name, commands[c].help);
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			if (rows[i].command == c)
				print_option(&rows[i], 6);
	}
	putchar('\n');
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].command < 0)
			print_option(&rows[i], 2);
	puts("\nExit status: 0 done, 1 failed (one sentence on stderr says why), 2 wrong usage.");
}

/* --- values --- */

static enum options_result wrong(struct ota_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static enum options_result wrong(struct ota_err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return OPTIONS_WRONG;
}

static enum options_result take_cookies(struct options *o, char *text, struct ota_err *err)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;

	if (json_doc_parse(text, strlen(text), COOKIES_MAX_BYTES, &doc, NULL) < 0 ||
		!json_value_is_object(json_doc_root(doc)))
		return wrong(
			err, "--cookies must be a JSON object, such as '{\"name\": \"value\"}'");
	o->cookies = text;
	return OPTIONS_OK;
}

static enum options_result take_seconds(struct options *o, const char *text, struct ota_err *err)
{
	uint64_t v;

	if (decimal_parse(text, strlen(text), 0, UINT32_MAX, &v) < 0)
		return wrong(err, "--timeout must be a number of seconds, not '%s'", text);
	o->timeout_s = (uint32_t)v;
	return OPTIONS_OK;
}

/* "500000", "500K", "20M", "2G" */
static enum options_result take_limit(struct options *o, const char *text, struct ota_err *err)
{
	static const char units[] = "KMG";
	size_t len = strlen(text);
	const char *unit = len > 0 ? strchr(units, text[len - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	uint64_t v;

	if (decimal_parse(text, len - (unit ? 1 : 0), 0, UINT64_MAX >> shift, &v) < 0)
		return wrong(err,
			"--max-download must be a number of bytes, or one with K, M or G behind "
			"it, not '%s'",
			text);
	o->max_download_bytes = v << shift;
	o->limited = true;
	return OPTIONS_OK;
}

static enum options_result take_ecu_id(struct options *o, const char *id, struct ota_err *err)
{
	if (!id[0])
		return wrong(err, "--ecu-id is empty");
	for (size_t i = 0; i < o->n_ecu_ids; i++)
		if (strcmp(o->ecu_ids[i], id) == 0)
			return OPTIONS_OK; /* once is enough */
	if (o->n_ecu_ids == WIRE_ECUS_MAX)
		return wrong(err, "More than %d times --ecu-id", WIRE_ECUS_MAX);
	o->ecu_ids[o->n_ecu_ids++] = id;
	return OPTIONS_OK;
}

static enum options_result take(struct options *o, int id, char *value, struct ota_err *err)
{
	switch (id) {
	case OPT_ECU:
		return peer_address_parse(value, &o->address, err) < 0 ? OPTIONS_WRONG : OPTIONS_OK;
	case OPT_JSON:
		o->json = true;
		return OPTIONS_OK;
	case 'h':
	case OPT_HELP:
		print_help();
		return OPTIONS_SHOWN;
	case OPT_PROGRAM_VERSION:
		puts("otactl " OTA_VERSION);
		return OPTIONS_SHOWN;
	case OPT_WATCH:
		o->watch = true;
		return OPTIONS_OK;
	case OPT_URL:
		o->url = value;
		return OPTIONS_OK;
	case OPT_VERSION:
		o->version = value;
		return OPTIONS_OK;
	case OPT_ECU_ID:
		return take_ecu_id(o, value, err);
	case OPT_ALL:
		o->all = true;
		return OPTIONS_OK;
	case OPT_COOKIES:
		return take_cookies(o, value, err);
	case OPT_WAIT:
		o->wait = true;
		return OPTIONS_OK;
	case OPT_TIMEOUT:
		return take_seconds(o, value, err);
	case OPT_FILE:
		o->file = value;
		return OPTIONS_OK;
	case OPT_DRY_RUN:
		o->dry_run = true;
		return OPTIONS_OK;
	case OPT_MAX_DOWNLOAD:
		return take_limit(o, value, err);
	default:
		return OPTIONS_WRONG;
	}
}

/* --- the line --- */

static const char *option_name(int id)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if ((int)rows[i].id == id)
			return rows[i].name;
	return "";
}

/* What getopt may meet in front of the command, or behind it; there all options, to say who takes them not. */
static void fill_names(bool in_front, struct option ret_names[NAMES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		bool known = false;

		for (size_t k = 0; k < n; k++)
			known = known || ret_names[k].val == (int)r->id;
		if (known || (in_front ? r->command >= 0 : r->command == IN_FRONT))
			continue;
		assert(n + 1 < NAMES_MAX);
		ret_names[n++] = (struct option){
			r->name, r->value ? required_argument : no_argument, NULL, (int)r->id};
	}
	ret_names[n] = (struct option){0};
}

/* getopt says '?': a short option that is unknown, a long one, or one with a value that it does not take. */
static void unknown_option(char **argv, struct ota_err *err)
{
	const char letter[] = {'-', (char)optopt, '\0'};
	bool is_letter = optopt > ' ' && optopt <= '~';

	if (optopt == 0 || is_letter)
		wrong(err, "There is no option '%s'", is_letter ? letter : argv[optind - 1]);
	else if (optopt > 0 && optopt < OPT_END)
		wrong(err, "--%s takes no value", option_name(optopt));
	else
		wrong(err, "There is no option of one byte, \\x%02x", (unsigned char)optopt);
}

/* All options up to the next word. getopt's own complaints name no reason; ':' tells them apart. */
static enum options_result take_all(struct options *o, int argc, char **argv, bool in_front,
	unsigned *ret_given, struct ota_err *err)
{
	enum options_result r = OPTIONS_OK;
	struct option names[NAMES_MAX] = {0};

	fill_names(in_front, names);
	while (r == OPTIONS_OK) {
		int id = getopt_long(argc, argv, in_front ? "+:h" : ":h", names, NULL);

		if (id == -1)
			break;
		if (id == ':')
			wrong(err, "%s needs a value", argv[optind - 1]);
		else if (id == '?')
			unknown_option(argv, err);
		r = take(o, id, optarg, err);
		assert(r != OPTIONS_OK || (id >= OPT_ECU && id < OPT_END)); /* never 'h' */
		if (r == OPTIONS_OK)
			*ret_given |= 1u << id;
	}
	return r;
}

static const struct row *find_row(enum ctl_command command, int id)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if ((int)rows[i].id == id &&
			(rows[i].command == (int)command || rows[i].command == ANYWHERE))
			return &rows[i];
	return NULL;
}

/* Options that the command takes not, or needs and has not. */
static enum options_result check(
	const struct options *o, unsigned given, unsigned anywhere, struct ota_err *err)
{
	const char *name = commands[o->command].name;

	for (int id = 1; id < OPT_END; id++) {
		const struct row *row = find_row(o->command, id);

		if (!row && (given & 1u << id))
			return wrong(err, "%s takes no --%s", name, option_name(id));
		if (row && row->needed && !(given & 1u << id))
			return wrong(err, "%s needs --%s", name, row->name);
	}
	if ((o->command == CTL_HISTORY || o->command == CTL_DOCTOR) && (anywhere & 1u << OPT_ECU))
		return wrong(err, "%s looks at this machine only, so it takes no --ecu", name);
	if (o->url && !o->url[0])
		return wrong(err, "--url is empty");
	if (o->version && !o->version[0])
		return wrong(err, "--version is empty");
	if (o->all && o->n_ecu_ids > 0)
		return wrong(err, "--all and --ecu-id exclude each other");
	if (o->all && (o->dry_run || o->limited))
		return wrong(err, "--%s is for the ECU that is asked alone, so it excludes --all",
			o->dry_run ? "dry-run" : "max-download");
	if (o->dry_run && o->wait)
		return wrong(err, "--dry-run and --wait exclude each other");
	if ((given & 1u << OPT_TIMEOUT) && !o->wait)
		return wrong(err, "--timeout is only for --wait");
	return OPTIONS_OK;
}

static bool find_command(const char *name, enum ctl_command *ret_command)
{
	for (int c = 0; c < CTL_COMMANDS; c++) {
		if (strcmp(commands[c].name, name) != 0)
			continue;
		*ret_command = (enum ctl_command)c;
		return true;
	}
	return false;
}

enum options_result options_parse(struct options *o, int argc, char **argv, struct ota_err *err)
{
	unsigned given = 0, in_front = 0;
	enum options_result r;

	*o = (struct options){.timeout_s = WAIT_TIMEOUT_S};
	peer_address_parse("127.0.0.1", &o->address, NULL);
	opterr = 0;
	r = take_all(o, argc, argv, true, &in_front, err);
	if (r != OPTIONS_OK)
		return r;
	if (optind == argc)
		return wrong(
			err, "A command is needed: status, update, abort, rollback, history or doctor");
	if (!find_command(argv[optind], &o->command))
		return wrong(err, "There is no command '%s'", argv[optind]);
	argc -= optind;
	argv += optind;
	optind = 0; /* start anew behind the command */
	r = take_all(o, argc, argv, false, &given, err);
	if (r != OPTIONS_OK)
		return r;
	if (optind < argc)
		return wrong(err, "%s takes no argument '%s'", argv[0], argv[optind]);
	return check(o, given, given | in_front, err);
}
