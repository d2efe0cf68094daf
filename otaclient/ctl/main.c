/*
 * otactl: an operator's or a fleet agent's hand on one ECU: status, update, abort, rollback.
 *
 * Reads its arguments, asks the ECU's API (api/peer.h) and shows the answer (view.h); an update can be followed
 * to its end (follow.h). Exit codes: 0 done, 1 failed with one sentence on stderr, 2 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/decimal.h"
#include "common/codec/json.h"
#include "otaclient/api/peer.h"
#include "otaclient/ctl/follow.h"
#include "otaclient/ctl/screen.h"
#include "otaclient/ctl/view.h"

enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,

	CALL_TIMEOUT_MS = 15 * 1000, /* an ECU may ask its children first, which have 6 s each */
	LOOK_MS = 1000,
	WAIT_TIMEOUT_S = 3600,
	COOKIES_MAX_BYTES = 1 << 20,
	WATCH_RATES_MAX = 8, /* ECUs whose rate is shown */
};

struct options {
	char *url, *version, *cookies;
	const char *ecu_ids[WIRE_ECUS_MAX];
	size_t n_ecu_ids;
	uint32_t timeout_s;
	bool json, watch, wait;
};

struct ctl {
	struct options opt;
	struct peer_address address;
	struct ota_err err; /* the sentence to end with */
};

static const char usage_text[] =
	"Usage: otactl [--ecu HOST[:PORT]] [--json] COMMAND [OPTION]...\n"
	"Ask the otaclient of an ECU what it is doing, and have it do something.\n"
	"\n"
	"Commands:\n"
	"  status               show this ECU and those below it\n"
	"      --watch          again every second, until interrupted\n"
	"  update               install an image into the standby slot and start it\n"
	"      --url URL        where the image is\n"
	"      --version V      name of the new version, shown by status afterwards\n"
	"      --ecu-id ID      update this ECU; may be repeated (default: the ECU that is asked)\n"
	"      --cookies JSON   cookies for the server, as an object: '{\"name\": \"value\"}'\n"
	"      --wait           until the new version runs, reboot included\n"
	"      --timeout S      with --wait: give up when an ECU is silent for S seconds (default "
	"3600)\n"
	"  abort                stop a running update on this ECU and those below it\n"
	"  rollback             go back to the other slot\n"
	"      --ecu-id ID      as for update\n"
	"\n"
	"  --ecu HOST[:PORT]    the ECU to ask (default: 127.0.0.1:50051)\n"
	"  --json               answers as JSON, one object a line\n"
	"  -h, --help           show this, and end\n"
	"  --version            (in front of the command) show the version, and end\n"
	"\n"
	"Exit status: 0 done, 1 failed (one sentence on stderr says why), 2 wrong usage.\n";

/* --- asking --- */

static int ask_status(struct ctl *c, struct wire_status *ret_status)
{
	return peer_status(&c->address, CALL_TIMEOUT_MS, ret_status, &c->err);
}

static void show_status(const struct ctl *c, FILE *out, const struct wire_status *status)
{
	if (c->opt.json)
		view_status_json(out, status);
	else
		view_status(out, status);
}

/*
 * Without --ecu-id, the ECU that is asked: its own entry is the first of ecu_v2. The list of those it
 * speaks for may have any order, and need not name it. @status must stay.
 */
static int default_ecu_id(struct ctl *c, const struct wire_status *status)
{
	if (c->opt.n_ecu_ids > 0)
		return 0;
	if (status->n_ecus == 0)
		return ota_err_set(&c->err, -ENODATA, OTA_E_UNSPECIFIC,
			"%s does not say which ECU it is; --ecu-id is needed", c->address.host);
	c->opt.ecu_ids[c->opt.n_ecu_ids++] = status->ecus[0].ecu_id;
	return 0;
}

static const struct wire_answer_ecu *find_answer(const struct wire_answer *answer, const char *ecu_id)
{
	for (size_t i = 0; i < answer->n_ecus; i++)
		if (strcmp(answer->ecus[i].ecu_id, ecu_id) == 0)
			return &answer->ecus[i];
	return NULL;
}

/* Did every ECU that was named accept? */
static int check_answer(struct ctl *c, enum api_method m, const struct wire_answer *answer)
{
	const char *wish = strrchr(api_method_path(m), '/') + 1;

	for (size_t i = 0; i < c->opt.n_ecu_ids; i++) {
		const struct wire_answer_ecu *e = find_answer(answer, c->opt.ecu_ids[i]);

		if (!e)
			return ota_err_set(&c->err, -ENODEV, OTA_E_UNSPECIFIC,
				"%s does not know an ECU '%s'", c->address.host,
				c->opt.ecu_ids[i]);
	}
	for (size_t i = 0; i < answer->n_ecus; i++) {
		const struct wire_answer_ecu *e = &answer->ecus[i];

		if (e->result != API_NO_FAILURE)
			return ota_err_set(&c->err, -EREMOTEIO, OTA_E_UNSPECIFIC, "%s of %s refused: %s",
				wish, e->ecu_id,
				e->message[0] ? e->message : view_result_name(m, e->result));
	}
	return 0;
}

/* Ask @m of the ECUs in the options, and show the answer unless @quiet_if_ok. */
static int ask(struct ctl *c, enum api_method m, bool quiet_if_ok)
{
	AUTO_FREE struct wire_request_ecu *ecus = calloc(c->opt.n_ecu_ids + 1, sizeof(*ecus));
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	struct wire_request request = {.ecus = ecus, .n_ecus = c->opt.n_ecu_ids};
	int r;

	if (!ecus)
		return ota_err_set(&c->err, -ENOMEM, OTA_E_UNSPECIFIC, "Out of memory");
	for (size_t i = 0; i < request.n_ecus; i++) {
		ecus[i].ecu_id = c->opt.ecu_ids[i];
		ecus[i].update.version = c->opt.version;
		ecus[i].update.url = c->opt.url;
		ecus[i].update.cookies = c->opt.cookies;
	}
	r = peer_ask(&c->address, m, &request, CALL_TIMEOUT_MS, &answer, &c->err);
	if (r < 0)
		return r;
	r = check_answer(c, m, &answer);
	if (r == 0 && quiet_if_ok)
		return 0;
	if (c->opt.json)
		view_answer_json(stdout, m, &answer);
	else
		view_answer(stdout, m, &answer);
	return r;
}

/* --- commands --- */

/* What was printed may still be in memory, or failed to be written while more was printed. */
static int finish_output(struct ctl *c)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return ota_err_set(&c->err, -EIO, OTA_E_UNSPECIFIC, "Cannot write the answer");
}

/* What an ECU does, as a number that changes when a log should have a line. */
static unsigned long stage_of(const struct wire_status_ecu *e)
{
	return (unsigned long)e->ota_status * PHASE_COUNT + e->update.phase + 1;
}

/* One look of a watch: blocks and bars on a terminal, lines elsewhere. */
static void show_watch(struct screen *screen, const struct wire_status *status, const char *reason,
	struct view_rate rates[WATCH_RATES_MAX])
{
	uint64_t now_ms = clock_monotonic_ms();
	FILE *page = screen_begin(screen);
	unsigned long stage = 0;

	if (!page)
		return;
	if (reason)
		fprintf(page, "%s\n", reason);
	else if (screen->on_terminal)
		view_status(page, status);
	for (size_t i = 0; i < status->n_ecus; i++) {
		const struct wire_status_ecu *e = &status->ecus[i];
		struct view_rate *rate = i < WATCH_RATES_MAX ? &rates[i] : NULL;

		stage = stage * 31 + stage_of(e);
		if (rate)
			view_rate_look(rate, e->update.downloaded_bytes, now_ms);
		if (screen->on_terminal && e->ota_status != STATUS_UPDATING)
			continue;
		if (screen->on_terminal)
			fputc('\n', page);
		view_progress(page, e, rate, screen_width(screen));
		fputc('\n', page);
	}
	screen_end(screen, stage, now_ms);
}

/* Until interrupted. The first answer must come; later ones may be missing for a while. */
static int watch(struct ctl *c)
{
	struct view_rate rates[WATCH_RATES_MAX] = {0};
	struct screen screen;

	screen_init(&screen, stdout);
	for (bool first = true;; first = false) {
		AUTO_WIRE_STATUS struct wire_status status = {0};
		int r = ask_status(c, &status);

		if (r < 0 && first)
			return r;
		if (!c->opt.json)
			show_watch(&screen, &status, r < 0 ? c->err.msg : NULL, rates);
		else if (r == 0)
			view_status_json(stdout, &status);
		r = finish_output(c);
		if (r < 0)
			return r;
		clock_sleep_ms(LOOK_MS);
	}
}

static int do_status(struct ctl *c)
{
	AUTO_WIRE_STATUS struct wire_status status = {0};
	int r;

	if (c->opt.watch)
		return watch(c);
	r = ask_status(c, &status);
	if (r == 0)
		show_status(c, stdout, &status);
	return r;
}

/* One line per ECU that is followed; @reason says why nothing is known about them just now. */
static void show_follow(struct screen *screen, const struct follow *f, struct view_rate *rates,
	const struct wire_status *status, const char *reason)
{
	uint64_t now_ms = clock_monotonic_ms();
	FILE *page = screen_begin(screen);
	unsigned long stage = 0;

	if (!page)
		return;
	for (size_t i = 0; i < f->n_ecus; i++) {
		const struct wire_status_ecu *e =
			status ? wire_status_find(status, f->ecus[i].ecu_id) : NULL;

		if (e) {
			view_rate_look(&rates[i], e->update.downloaded_bytes, now_ms);
			view_progress(page, e, &rates[i], screen_width(screen));
			stage = stage * 31 + stage_of(e);
		} else {
			view_text(page, f->ecus[i].ecu_id);
			fputs(": waiting, ", page);
			view_text(page, reason);
			stage = stage * 31;
		}
		fputc('\n', page);
	}
	screen_end(screen, stage, now_ms);
}

static int wait_for_end(struct ctl *c, struct follow *f)
{
	AUTO_FREE struct view_rate *rates = calloc(f->n_ecus, sizeof(*rates));
	struct screen screen;

	if (!rates)
		return ota_err_set(&c->err, -ENOMEM, OTA_E_UNSPECIFIC, "Out of memory");
	screen_init(&screen, stdout);
	for (;;) {
		AUTO_WIRE_STATUS struct wire_status status = {0};
		struct ota_err err = {0};
		int r = peer_status(&c->address, CALL_TIMEOUT_MS, &status, &err);

		follow_see(f, r == 0 ? &status : NULL, clock_monotonic_ms());
		if (!c->opt.json)
			show_follow(&screen, f, rates, r == 0 ? &status : NULL,
				r == 0 ? "it has not reported" : err.msg);
		if (follow_state(f) != FOLLOW_RUNNING) {
			if (c->opt.json)
				view_status_json(stdout, &status);
			break;
		}
		clock_sleep_ms(LOOK_MS);
	}
	for (size_t i = 0; i < f->n_ecus; i++)
		if (f->ecus[i].state == FOLLOW_FAILED)
			return ota_err_set(&c->err, -EREMOTEIO, OTA_E_UNSPECIFIC, "%s",
				f->ecus[i].sentence);
	return 0;
}

static int do_update(struct ctl *c)
{
	AUTO_WIRE_STATUS struct wire_status before = {0};
	AUTO_FREE struct follow_ecu *ecus = NULL;
	struct follow follow;
	int r = 0;

	if (c->opt.n_ecu_ids == 0 || c->opt.wait)
		r = ask_status(c, &before);
	if (r == 0)
		r = default_ecu_id(c, &before);
	if (r == 0)
		r = ask(c, API_UPDATE, c->opt.wait);
	if (r < 0 || !c->opt.wait)
		return r;
	ecus = calloc(c->opt.n_ecu_ids, sizeof(*ecus));
	if (!ecus)
		return ota_err_set(&c->err, -ENOMEM, OTA_E_UNSPECIFIC, "Out of memory");
	for (size_t i = 0; i < c->opt.n_ecu_ids; i++)
		ecus[i].ecu_id = c->opt.ecu_ids[i];
	follow = (struct follow){
		.version = c->opt.version,
		.timeout_ms = (uint64_t)c->opt.timeout_s * 1000,
		.ecus = ecus,
		.n_ecus = c->opt.n_ecu_ids,
	};
	follow_start(&follow, &before, clock_monotonic_ms());
	return wait_for_end(c, &follow);
}

static int do_abort(struct ctl *c)
{
	return ask(c, API_ABORT, false);
}

static int do_rollback(struct ctl *c)
{
	AUTO_WIRE_STATUS struct wire_status status = {0};
	int r = c->opt.n_ecu_ids == 0 ? ask_status(c, &status) : 0;

	if (r == 0)
		r = default_ecu_id(c, &status);
	return r < 0 ? r : ask(c, API_ROLLBACK, false);
}

/* --- arguments --- */

enum {
	OPT_ECU = 1,
	OPT_JSON,
	OPT_HELP,
	OPT_PROGRAM_VERSION,
	OPT_WATCH,
	OPT_URL,
	OPT_VERSION,
	OPT_ECU_ID,
	OPT_COOKIES,
	OPT_WAIT,
	OPT_TIMEOUT,
};
#define BIT(opt)   (1u << (opt))
#define ALWAYS     (BIT(OPT_ECU) | BIT(OPT_JSON) | BIT(OPT_HELP))
#define FOR_UPDATE                                                                                 \
	(BIT(OPT_URL) | BIT(OPT_VERSION) | BIT(OPT_ECU_ID) | BIT(OPT_COOKIES) | BIT(OPT_WAIT) |    \
		BIT(OPT_TIMEOUT))

/* In front of the command --version is about otactl, behind it about the image. */
static const struct option options_before[] = {
	{"ecu", required_argument, NULL, OPT_ECU},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_PROGRAM_VERSION},
	{NULL, 0, NULL, 0},
};

static const struct option options_behind[] = {
	{"ecu", required_argument, NULL, OPT_ECU},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP},
	{"watch", no_argument, NULL, OPT_WATCH},
	{"url", required_argument, NULL, OPT_URL},
	{"version", required_argument, NULL, OPT_VERSION},
	{"ecu-id", required_argument, NULL, OPT_ECU_ID},
	{"cookies", required_argument, NULL, OPT_COOKIES},
	{"wait", no_argument, NULL, OPT_WAIT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{NULL, 0, NULL, 0},
};

/* name, options it takes, options it needs, function */
static const struct command {
	const char *name;
	unsigned allowed, needed;
	int (*run)(struct ctl *c);
} commands[] = {
	{"status",   ALWAYS | BIT(OPT_WATCH),  0,                              do_status  },
	{"update",   ALWAYS | FOR_UPDATE,      BIT(OPT_URL) | BIT(OPT_VERSION), do_update  },
	{"abort",    ALWAYS,                   0,                              do_abort   },
	{"rollback", ALWAYS | BIT(OPT_ECU_ID), 0,                              do_rollback},
};

static int usage_error(struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int usage_error(struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->err.msg, sizeof(c->err.msg), fmt, ap);
	va_end(ap);
	return EXIT_USAGE;
}

static const char *option_name(int opt)
{
	for (const struct option *o = options_behind; o->name; o++)
		if (o->val == opt)
			return o->name;
	return opt == OPT_PROGRAM_VERSION ? "version" : "";
}

static int check_cookies(struct ctl *c, const char *text)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;

	if (json_doc_parse(text, strlen(text), COOKIES_MAX_BYTES, &doc, NULL) < 0 ||
		!json_value_is_object(json_doc_root(doc)))
		return usage_error(c, "--cookies must be a JSON object, such as '{\"name\": \"value\"}'");
	return 0;
}

static int parse_seconds(struct ctl *c, const char *text)
{
	uint64_t v;

	if (decimal_parse(text, strlen(text), 0, UINT32_MAX, &v) < 0)
		return usage_error(c, "--timeout must be a number of seconds, not '%s'", text);
	c->opt.timeout_s = (uint32_t)v;
	return 0;
}

static int add_ecu_id(struct ctl *c, const char *id)
{
	if (c->opt.n_ecu_ids == WIRE_ECUS_MAX)
		return usage_error(c, "More than %d times --ecu-id", WIRE_ECUS_MAX);
	if (!id[0])
		return usage_error(c, "--ecu-id is empty");
	c->opt.ecu_ids[c->opt.n_ecu_ids++] = id;
	return 0;
}

/* An option and its value. 0, EXIT_USAGE, or -1 when the program is done. */
static int take_option(struct ctl *c, int opt, char *value)
{
	switch (opt) {
	case OPT_ECU:
		return peer_address_parse(value, &c->address, &c->err) < 0 ? EXIT_USAGE : 0;
	case OPT_JSON:
		c->opt.json = true;
		return 0;
	case 'h':
	case OPT_HELP:
		fputs(usage_text, stdout);
		return -1;
	case OPT_PROGRAM_VERSION:
		puts("otactl " OTA_VERSION);
		return -1;
	case OPT_WATCH:
		c->opt.watch = true;
		return 0;
	case OPT_URL:
		c->opt.url = value;
		return 0;
	case OPT_VERSION:
		c->opt.version = value;
		return 0;
	case OPT_ECU_ID:
		return add_ecu_id(c, value);
	case OPT_COOKIES:
		c->opt.cookies = value;
		return check_cookies(c, value);
	case OPT_WAIT:
		c->opt.wait = true;
		return 0;
	case OPT_TIMEOUT:
		return parse_seconds(c, value);
	default:
		return EXIT_USAGE;
	}
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Options that the command takes not, or needs and has not. */
static int check_options(struct ctl *c, const struct command *command, unsigned given)
{
	for (int opt = 1; opt <= OPT_TIMEOUT; opt++) {
		if (given & ~command->allowed & BIT(opt))
			return usage_error(c, "%s takes no --%s", command->name, option_name(opt));
		if (command->needed & ~given & BIT(opt))
			return usage_error(c, "%s needs --%s", command->name, option_name(opt));
	}
	if ((given & BIT(OPT_TIMEOUT)) && !c->opt.wait)
		return usage_error(c, "--timeout is only for --wait");
	return 0;
}

/* getopt says '?': a short option that is unknown, a long one, or one with a value that it does not take. */
static void unknown_option(struct ctl *c, char **argv)
{
	if (optopt > ' ' && optopt <= '~')
		usage_error(c, "There is no option '-%c'", optopt);
	else if (optopt > 0 && optopt <= OPT_TIMEOUT)
		usage_error(c, "--%s takes no value", option_name(optopt));
	else if (optopt == 0)
		usage_error(c, "There is no option '%s'", argv[optind - 1]);
	else
		usage_error(c, "There is no option of one byte, \\x%02x", (unsigned char)optopt);
}

/* The next option, 0 behind the last one. getopt's own complaints name no reason; ':' tells them apart. */
static int next_option(struct ctl *c, int argc, char **argv, const char *mode, const struct option *options)
{
	int opt = getopt_long(argc, argv, mode, options, NULL);

	if (opt == ':')
		usage_error(c, "%s needs a value", argv[optind - 1]);
	else if (opt == '?')
		unknown_option(c, argv);
	return opt == -1 ? 0 : opt;
}

/* 0, EXIT_USAGE with a sentence, or -1 when the program is done. */
static int parse_arguments(struct ctl *c, int argc, char **argv, const struct command **ret_command)
{
	const struct command *command;
	unsigned given = 0;
	int r = 0, opt;

	opterr = 0;
	while (r == 0 && (opt = next_option(c, argc, argv, "+:h", options_before)) != 0)
		r = take_option(c, opt, optarg);
	if (r != 0)
		return r;
	if (optind == argc)
		return usage_error(c, "A command is needed: status, update, abort or rollback");
	command = find_command(argv[optind]);
	if (!command)
		return usage_error(c, "There is no command '%s'", argv[optind]);
	argc -= optind;
	argv += optind;
	optind = 0; /* start anew behind the command */
	while (r == 0 && (opt = next_option(c, argc, argv, ":h", options_behind)) != 0) {
		r = take_option(c, opt, optarg);
		if (r == 0 && opt <= OPT_TIMEOUT)
			given |= BIT(opt);
	}
	if (r != 0)
		return r;
	if (optind < argc)
		return usage_error(c, "%s takes no argument '%s'", command->name, argv[optind]);
	*ret_command = command;
	return check_options(c, command, given);
}

static int fail(const struct ctl *c)
{
	fputs("otactl: ", stderr);
	view_text(stderr, c->err.msg);
	fputc('\n', stderr);
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	AUTO_FREE struct ctl *c = calloc(1, sizeof(*c));
	const struct command *command = NULL;
	int r;

	if (!c)
		return EXIT_FAILED;
	c->opt.timeout_s = WAIT_TIMEOUT_S;
	peer_address_parse("127.0.0.1", &c->address, NULL);
	r = parse_arguments(c, argc, argv, &command);
	if (r == EXIT_USAGE)
		fprintf(stderr, "otactl: %s. Try 'otactl --help'.\n", c->err.msg);
	if (r < 0) /* the help, or the version */
		return finish_output(c) < 0 ? fail(c) : EXIT_DONE;
	if (r != 0 || !command)
		return r;
	peer_open();
	r = command->run(c);
	peer_close();
	if (r == 0)
		r = finish_output(c);
	if (r == 0)
		return EXIT_DONE;
	fflush(stdout);
	return fail(c);
}
