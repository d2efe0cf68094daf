/*
 * command_line: options, and the answers to --help and --version. Contract: command_line.h.
 */
#include "otaclient/command_line.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/config/settings.h"

/* Wrong usage: one sentence without its full stop. */
static int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int usage_error(const char *fmt, ...)
{
	char sentence[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	fprintf(stderr, "otaclient: %s; see otaclient --help\n", sentence);
	return -EINVAL;
}

static void print_help(void)
{
	AUTO_BUF struct buf settings = {0};

	settings_print_help(&settings);
	printf("otaclient " OTA_VERSION " - the over-the-air update daemon of one ECU\n"
	       "\n"
	       "usage: otaclient [OPTION]...\n"
	       "  --config-dir DIR   ecu_info.yaml and proxy_info.yaml are here (/boot/ota)\n"
	       "  --certs DIR        certificates that images must be signed under\n"
	       "  --settings FILE    further settings (" SETTINGS_PATH ")\n"
	       "  --log-level L      error, warning, info or debug\n"
	       "  --help  --version\n"
	       "\n"
	       "Settings:\n%s\n"
	       "Exit status: 0 ended as told, 1 failed, 2 wrong usage.\n",
		buf_str(&settings));
}

/* getopt says '?': a short option that is unknown, a long one, or one with a value that it does not take. */
static int unknown_option(const struct option *longs, char **argv)
{
	const char letter[] = {'-', (char)optopt, '\0'};
	bool is_letter = optopt > ' ' && optopt <= '~';

	for (const struct option *o = longs; o->name; o++)
		if (o->val == optopt && strncmp(argv[optind - 1], "--", 2) == 0)
			return usage_error("--%s takes no value", o->name);
	if (optopt == 0 || is_letter)
		return usage_error(
			"There is no option '%s'", is_letter ? letter : argv[optind - 1]);
	return usage_error("There is no option of one byte, \\x%02x", (unsigned char)optopt);
}

int command_line_read(int argc, char **argv, struct command_line *ret)
{
	static const struct option longs[] = {
		{"config-dir",       required_argument, NULL, 'c'},
		{"certs",              required_argument, NULL, 'k'},
		{"settings",                  required_argument, NULL, 's'},
		{"log-level",required_argument, NULL, 'l'},
		{"help",               no_argument, NULL, 'h'},
		{"version",         no_argument, NULL, 'V'},
		{0             },
	};
	enum log_level level;
	int c;

	*ret = (struct command_line){.config_dir = "/boot/ota", .settings_path = NULL};
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", longs, NULL)) >= 0) {
		switch (c) {
		case 'c':
			ret->config_dir = optarg;
			break;
		case 'k':
			ret->certs_dir = optarg;
			break;
		case 's':
			ret->settings_path = optarg;
			break;
		case 'l':
			ret->log_level = optarg;
			if (log_level_from_text(optarg, &level) < 0)
				return usage_error("There is no log level '%s'", optarg);
			break;
		case 'h':
			print_help();
			return 1;
		case 'V':
			printf("otaclient " OTA_VERSION "\n");
			return 1;
		case ':':
			return usage_error("%s needs a value", argv[optind - 1]);
		default:
			return unknown_option(longs, argv);
		}
	}
	if (optind < argc)
		return usage_error("There is no argument '%s'", argv[optind]);
	return 0;
}
