/*
 * options: the one table of otaproxy's options, and what is printed from it. Contract: options.h.
 */
#include "otaproxy/options.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "otaproxy/authority.h"

/* Field type in brackets. */
enum option_kind {
	OPTION_TEXT,   /* (const char *) */
	OPTION_DIRS,   /* (const char *[]) one each time; up to CHECKER_EXTERNALS_MAX */
	OPTION_FLAG,   /* (bool) takes no argument */
	OPTION_NUMBER, /* (uint32_t) min … max */
	OPTION_LEVEL,  /* (uint32_t) enum log_level */
};

struct option_row {
	const char *name;
	const char *argument; /* what texts call it; NULL for a flag */
	enum option_kind kind;
	size_t offset;        /* of the field */
	uint32_t min, max;    /* OPTION_NUMBER */
	const char *wrong;    /* what is said in front of a value that will not do */
	const char *fallback; /* the default as it would be given; NULL = none */
	const char *text;     /* for people; '\n' breaks the line in the help */
	const char *more;     /* what the manual adds to it; NULL = nothing */
};

#define FIELD(f)   offsetof(struct options, f)
#define WRONG_MARK "a mark is a percentage from 2 to 100, not"

/* name, argument, kind, field, min, max, what is wrong, default, text, more for the manual */
/* clang-format off */
static const struct option_row rows[] = {
	{"listen", "ADDR", OPTION_TEXT, FIELD(listen_addr), 0, 0, NULL, "0.0.0.0",
		"address to serve on", ", in digits, IPv4 or IPv6"},
	{"port", "N", OPTION_NUMBER, FIELD(port), 0, UINT16_MAX, "there is no port", "8082",
		"port to serve on, 0 for any that is free", NULL},
	{"cache-dir", "DIR", OPTION_TEXT, FIELD(cache_dir), 0, 0, NULL, "/ota-cache",
		"where files are kept", NULL},
	{"no-cache", NULL, OPTION_FLAG, FIELD(no_cache), 0, 0, NULL, NULL,
		"keep nothing", NULL},
	{"upper-proxy", "URL", OPTION_TEXT, FIELD(upper_proxy), 0, 0, NULL, NULL,
		"ask this proxy instead of the servers, http://host:port", NULL},
	{"https", NULL, OPTION_FLAG, FIELD(https), 0, 0, NULL, NULL,
		"ask the servers by https", ", whatever the request says"},
	{"tls-ca", "FILE", OPTION_TEXT, FIELD(tls_ca), 0, 0, NULL, NULL,
		"certificates that https servers must lead to (default: the system's)", NULL},
	{"origins", "FILE", OPTION_TEXT, FIELD(origins), 0, 0, NULL, NULL,
		"only these servers may be asked: one scheme://host[:port] a line;\n"
		"without a file there yet, none", ". It may change at any time; see ORIGINS."},
	{"external", "DIR", OPTION_DIRS, FIELD(externals), 0, 0,
		"there is one --external too many,", NULL,
		"folder with data/<sha256>[.zst] to take files from; may be two",
		". They are hashed before they are served."},
	{"soft-mark", "PCT", OPTION_NUMBER, FIELD(marks.soft_pct), RECLAIM_GAP_PCT, 100,
		WRONG_MARK, "75",
		"used space, or inodes, above which old files go", ", from 2 to 100"},
	{"hard-mark", "PCT", OPTION_NUMBER, FIELD(marks.hard_pct), RECLAIM_GAP_PCT, 100,
		WRONG_MARK, "80",
		"used space, or inodes, above which nothing is written", ", from 2 to 100"},
	{"user", "NAME", OPTION_TEXT, FIELD(user), 0, 0, NULL, NULL,
		"whom to become, started as root",
		"; a name, its number or uid:gid. The cache becomes that user's, what others have left in it goes."},
	{"wipe", NULL, OPTION_FLAG, FIELD(wipe), 0, 0, NULL, NULL,
		"remove what the cache folder holds, and end", NULL},
	{"log-level", "L", OPTION_LEVEL, FIELD(log_level), 0, 0, "there is no log level", "info",
		"error, warning, info or debug", NULL},
};
/* clang-format on */

_Static_assert(RECLAIM_GAP_PCT == 2, "WRONG_MARK says so");
_Static_assert(sizeof(((struct options *)0)->marks.soft_pct) == sizeof(uint32_t), "a number");

enum {
	N_ROWS = ARRAY_SIZE(rows),
	ROW_FIRST = 256, /* what getopt_long() returns for the first row: no letter */
	SHOW_VERSION = ROW_FIRST + N_ROWS,
	HELP_COLUMN = 21, /* of the texts, behind two blanks */
};

/* ---- what is read ---- */

static int read_number(const struct option_row *row, const char *value, uint32_t *ret_number)
{
	uint64_t n;
	int r = decimal_parse(value, strlen(value), row->min, row->max, &n);

	if (r == 0)
		*ret_number = (uint32_t)n;
	return r;
}

static int read_level(const char *value, uint32_t *ret_level)
{
	enum log_level level;
	int r = log_level_from_text(value, &level);

	if (r == 0)
		*ret_level = level;
	return r;
}

static int add_dir(const char *value, const char **dirs)
{
	size_t n = 0;

	while (dirs[n])
		n++;
	if (n == CHECKER_EXTERNALS_MAX)
		return -E2BIG;
	dirs[n] = value;
	return 0;
}

static int row_read(const struct option_row *row, const char *value, struct options *o)
{
	void *field = (char *)o + row->offset;

	switch (row->kind) {
	case OPTION_TEXT:
		*(const char **)field = value;
		return 0;
	case OPTION_DIRS:
		return add_dir(value, field);
	case OPTION_FLAG:
		*(bool *)field = true;
		return 0;
	case OPTION_NUMBER:
		return read_number(row, value, field);
	case OPTION_LEVEL:
		return read_level(value, field);
	}
	return -EINVAL;
}

static void set_defaults(struct options *o)
{
	*o = (struct options){0};
	for (size_t i = 0; i < N_ROWS; i++) {
		int r = rows[i].fallback ? row_read(&rows[i], rows[i].fallback, o) : 0;

		assert(r == 0);
		(void)r;
	}
}

static int usage_error(struct ota_err *err, const char *what, const char *value)
{
	return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC, "%s \"%s\"", what, value);
}

/* @given: by row */
static bool is_given(const bool *given, const char *name)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return given[i];
	return false;
}

static int check_marks(const struct options *o, const bool *given, struct ota_err *err)
{
	if (o->marks.hard_pct >= o->marks.soft_pct)
		return 0;
	return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
		"the hard mark (%u%s) must not be below the soft mark (%u%s)", o->marks.hard_pct,
		is_given(given, "hard-mark") ? "" : ", the default", o->marks.soft_pct,
		is_given(given, "soft-mark") ? "" : ", the default");
}

/* Host and port, since the library would take another port than ours for granted; a '/' may end it. */
static bool is_proxy_url(const char *url)
{
	struct authority a;
	size_t len;

	if (strncasecmp(url, "http://", 7) != 0)
		return false;
	url += 7;
	len = strcspn(url, "/");
	return (url[len] == '\0' || url[len + 1] == '\0') && authority_parse(url, len, &a) == 0 &&
	       a.port != 0;
}

static int check_readable(const char *path, struct ota_err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"cannot read the certificates in \"%s\": %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return usage_error(err, "the certificates must be in a regular file, not", path);
	return 0;
}

/* What no option is wrong about by itself. */
static int check_together(const struct options *o, const bool *given, struct ota_err *err)
{
	int r = check_marks(o, given, err);

	if (r < 0)
		return r;
	if (o->wipe && o->no_cache)
		return ota_err_set(
			err, -EINVAL, OTA_E_UNSPECIFIC, "--wipe and --no-cache exclude each other");
	if (o->externals[0] && o->no_cache)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"--external and --no-cache exclude each other");
	if (o->upper_proxy && !is_proxy_url(o->upper_proxy))
		return usage_error(
			err, "the upper proxy must be http://host:port, not", o->upper_proxy);
	return o->tls_ca ? check_readable(o->tls_ca, err) : 0;
}

/* The table as getopt_long() wants it. */
static void list_longs(struct option longs[N_ROWS + 3])
{
	for (int i = 0; i < N_ROWS; i++)
		longs[i] = (struct option){.name = rows[i].name,
			.has_arg = rows[i].argument ? required_argument : no_argument,
			.val = ROW_FIRST + i};
	longs[N_ROWS] = (struct option){.name = "help", .val = 'h'};
	longs[N_ROWS + 1] = (struct option){.name = "version", .val = SHOW_VERSION};
	longs[N_ROWS + 2] = (struct option){0};
}

int options_parse(int argc, char **argv, struct options *ret_options, struct ota_err *err)
{
	struct option longs[N_ROWS + 3];
	bool given[N_ROWS] = {0};
	struct options o;
	int c;

	set_defaults(&o);
	list_longs(longs);
	while (o.wish == OPTIONS_RUN && (c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		if (c == 'h')
			o.wish = OPTIONS_SHOW_HELP;
		else if (c == SHOW_VERSION)
			o.wish = OPTIONS_SHOW_VERSION;
		else if (c < ROW_FIRST)
			return -EINVAL;
		else if (row_read(&rows[c - ROW_FIRST], optarg, &o) < 0)
			return usage_error(err, rows[c - ROW_FIRST].wrong, optarg);
		else
			given[c - ROW_FIRST] = true;
	}
	if (o.wish == OPTIONS_RUN) {
		int r = optind < argc ? usage_error(err, "unexpected argument", argv[optind])
				      : check_together(&o, given, err);

		if (r < 0)
			return r;
	}
	*ret_options = o;
	return 0;
}

/* ---- what is printed ---- */

/* What an option does, and its default. */
static int print_words(struct buf *out, const struct option_row *row)
{
	int r = buf_puts(out, row->text);

	return r < 0 || !row->fallback ? r : buf_printf(out, " (default %s)", row->fallback);
}

static int print_help_row(struct buf *out, const struct option_row *row)
{
	const char *argument = row->argument ? row->argument : "";
	AUTO_BUF struct buf words = {0};
	int width = HELP_COLUMN - (int)strlen("-- ") - (int)strlen(row->name);
	int r = print_words(&words, row);
	const char *line = buf_str(&words);

	if (r == 0)
		r = buf_printf(out, "  --%s %-*s", row->name, width, argument);
	for (const char *end; r == 0 && (end = strchr(line, '\n')); line = end + 1)
		r = buf_printf(out, "%.*s\n%*s", (int)(end - line), line, 2 + HELP_COLUMN, "");
	return r < 0 ? r : buf_printf(out, "%s\n", line);
}

int options_print_help(struct buf *out)
{
	int r = buf_puts(out,
		"otaproxy " OTA_VERSION " - the caching proxy for over-the-air updates\n"
		"\n"
		"usage: otaproxy [OPTION]...\n");

	for (size_t i = 0; i < N_ROWS && r == 0; i++)
		r = print_help_row(out, &rows[i]);
	return r < 0 ? r
		     : buf_puts(out, "  -h, --help  --version\n"
				     "\n"
				     "GET / on it shows what it has done; for monitoring as "
				     "OpenMetrics.\n"
				     "Exit status: 0 ended as told, 1 failed, 2 wrong usage.\n");
}

/* For the manual a bare '-' would be a hyphen. */
static int print_escaped(struct buf *out, const char *text)
{
	int r = 0;

	for (; *text && r == 0; text++)
		r = *text == '-' ? buf_puts(out, "\\-") : buf_append(out, text, 1);
	return r;
}

static int print_manual_row(struct buf *out, const struct option_row *row)
{
	AUTO_BUF struct buf item = {0};
	int r = buf_printf(&item, ".TP\n.B%s --%s", row->argument ? "I" : "", row->name);

	if (r == 0 && row->argument)
		r = buf_printf(&item, " \" %s\"", row->argument);
	if (r == 0)
		r = buf_puts(&item, "\n");
	if (r == 0)
		r = print_words(&item, row);
	if (r == 0)
		r = buf_printf(&item, "%s\n", row->more ? row->more : "");
	return r < 0 ? r : print_escaped(out, buf_str(&item));
}

int options_print_manual(struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < N_ROWS && r == 0; i++)
		r = print_manual_row(out, &rows[i]);
	return r < 0 ? r : buf_puts(out, ".TP\n.BR \\-\\-help \", \" \\-\\-version\n");
}
