/*
 * otaproxy: the caching forward proxy of one ECU. A child of otaclient while the ECUs below need the network, or a
 * program of its own.
 *
 * Threads: the HTTP server's two (proxy_server), one that fetches (fetcher), one that hashes (checker), and this one,
 * which waits for signals and makes room (reclaim). Privileges: none after the folder is there.
 */
#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/sandbox.h"
#include "otaproxy/proxy_server.h"
#include "otaproxy/reclaim.h"

enum {
	EXIT_USAGE = 2,
	ROOM_CHECK_S =
		2, /* a disk that fills at 100 MB/s gains half a percent of 32 GB meanwhile */
	PORT_DEFAULT = 8082,
	OPEN_FILES = 8192, /* two for each connection, and the flights' */
};

struct options {
	const char *listen_addr, *cache_dir, *upper_proxy, *tls_ca, *origins, *user, *external;
	uint16_t port;
	bool https, no_cache, wipe;
	struct reclaim_marks marks;
};

struct program {
	struct options options;
	struct counters counters;
	struct proxy proxy;
	struct proxy_server *server;
	char pseudonym[32];
	_Atomic uint16_t port; /* known only once the server runs */
};

static void print_help(void)
{
	printf("otaproxy " OTA_VERSION " - the caching proxy for over-the-air updates\n"
	       "\n"
	       "usage: otaproxy [OPTION]...\n"
	       "  --listen ADDR        address to serve on (default 0.0.0.0)\n"
	       "  --port N             port to serve on, 0 for any that is free (default 8082)\n"
	       "  --cache-dir DIR      where files are kept (default /ota-cache)\n"
	       "  --no-cache           keep nothing\n"
	       "  --upper-proxy URL    ask this proxy instead of the servers, http://host:port\n"
	       "  --https              ask the servers by https\n"
	       "  --tls-ca FILE        certificates that https servers must lead to (default: the "
	       "system's)\n"
	       "  --origins FILE       only these servers may be asked: one scheme://host[:port] a "
	       "line;\n"
	       "                       without a file there yet, none\n"
	       "  --external DIR       folder with data/<sha256>[.zst] to take files from\n"
	       "  --soft-mark PCT      used space above which old files go (default 75)\n"
	       "  --hard-mark PCT      used space above which nothing is written (default 80)\n"
	       "  --user NAME          whom to become, started as root\n"
	       "  --wipe               remove what the cache folder holds, and end\n"
	       "  --log-level L        error, warning, info or debug\n"
	       "  -h, --help  --version\n"
	       "\n"
	       "GET / on it shows what it has done; for monitoring as OpenMetrics.\n"
	       "Exit status: 0 ended as told, 1 failed, 2 wrong usage.\n");
}

/* ---- options ---- */

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "otaproxy: %s \"%s\"; see otaproxy --help\n", what, value);
	return -EINVAL;
}

static int parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int check_options(const struct options *o)
{
	if (o->marks.hard_pct < o->marks.soft_pct) {
		fprintf(stderr, "otaproxy: the hard mark must not be below the soft mark; see "
				"otaproxy --help\n");
		return -EINVAL;
	}
	if (o->wipe && o->no_cache) {
		fprintf(stderr, "otaproxy: --wipe and --no-cache exclude each other; see otaproxy "
				"--help\n");
		return -EINVAL;
	}
	if (o->upper_proxy && strncmp(o->upper_proxy, "http://", 7) != 0)
		return usage_error("the upper proxy must be http://host:port, not", o->upper_proxy);
	return 0;
}

/* 0: go on; 1: all said; negative: wrong usage. */
static int parse_options(int argc, char **argv, struct options *o)
{
	enum {
		OPT_LISTEN = 256,
		OPT_PORT,
		OPT_DIR,
		OPT_NO_CACHE,
		OPT_UPPER,
		OPT_HTTPS,
		OPT_CA,
		OPT_ORIGINS,
		OPT_EXTERNAL,
		OPT_SOFT,
		OPT_HARD,
		OPT_USER,
		OPT_WIPE,
		OPT_LOG,
		OPT_VERSION
	};
	static const struct option longs[] = {
		{"listen",      required_argument, NULL, OPT_LISTEN  },
		{"port",        required_argument, NULL, OPT_PORT    },
		{"cache-dir",   required_argument, NULL, OPT_DIR     },
		{"no-cache",    no_argument,       NULL, OPT_NO_CACHE},
		{"upper-proxy", required_argument, NULL, OPT_UPPER   },
		{"https",       no_argument,       NULL, OPT_HTTPS   },
		{"tls-ca",      required_argument, NULL, OPT_CA      },
		{"origins",     required_argument, NULL, OPT_ORIGINS },
		{"external",    required_argument, NULL, OPT_EXTERNAL},
		{"soft-mark",   required_argument, NULL, OPT_SOFT    },
		{"hard-mark",   required_argument, NULL, OPT_HARD    },
		{"user",        required_argument, NULL, OPT_USER    },
		{"wipe",        no_argument,       NULL, OPT_WIPE    },
		{"log-level",   required_argument, NULL, OPT_LOG     },
		{"help",        no_argument,       NULL, 'h'         },
		{"version",     no_argument,       NULL, OPT_VERSION },
		{NULL,          0,                 NULL, 0           },
	};
	enum log_level level;
	unsigned long n;
	int c;

	*o = (struct options){.listen_addr = "0.0.0.0",
		.port = PORT_DEFAULT,
		.cache_dir = "/ota-cache",
		.marks = RECLAIM_MARKS_DEFAULT};
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		switch (c) {
		case OPT_LISTEN:
			o->listen_addr = optarg;
			break;
		case OPT_DIR:
			o->cache_dir = optarg;
			break;
		case OPT_NO_CACHE:
			o->no_cache = true;
			break;
		case OPT_UPPER:
			o->upper_proxy = optarg;
			break;
		case OPT_HTTPS:
			o->https = true;
			break;
		case OPT_CA:
			o->tls_ca = optarg;
			break;
		case OPT_ORIGINS:
			o->origins = optarg;
			break;
		case OPT_EXTERNAL:
			o->external = optarg;
			break;
		case OPT_USER:
			o->user = optarg;
			break;
		case OPT_WIPE:
			o->wipe = true;
			break;
		case OPT_PORT:
			if (parse_number(optarg, 0, UINT16_MAX, &n) < 0)
				return usage_error("there is no port", optarg);
			o->port = (uint16_t)n;
			break;
		case OPT_SOFT:
		case OPT_HARD:
			if (parse_number(optarg, RECLAIM_GAP_PCT, 100, &n) < 0)
				return usage_error(
					"a mark is a percentage from 2 to 100, not", optarg);
			*(c == OPT_SOFT ? &o->marks.soft_pct : &o->marks.hard_pct) = (unsigned)n;
			break;
		case OPT_LOG:
			if (log_level_from_text(optarg, &level) < 0)
				return usage_error("there is no log level", optarg);
			log_set_level(level);
			break;
		case 'h':
			print_help();
			return 1;
		case OPT_VERSION:
			printf("otaproxy " OTA_VERSION "\n");
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (optind < argc)
		return usage_error("unexpected argument", argv[optind]);
	return check_options(o);
}

/* ---- who we are ---- */

static void freeifaddrsp(struct ifaddrs **list)
{
	if (*list)
		freeifaddrs(*list);
}

static bool is_address(const struct sockaddr *address, const char *host)
{
	socklen_t len = sizeof(struct sockaddr_in);
	char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];

	if (!address || (address->sa_family != AF_INET && address->sa_family != AF_INET6))
		return false;
	if (address->sa_family == AF_INET6)
		len = sizeof(struct sockaddr_in6);
	return getnameinfo(address, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0 &&
	       strcmp(text, host) == 0;
}

static bool is_local_host(const char *host)
{
	struct ifaddrs *list CLEANUP(freeifaddrsp) = NULL;

	if (strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
		strcmp(host, "::1") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
		return true;
	if (getifaddrs(&list) < 0)
		return false;
	for (const struct ifaddrs *i = list; i; i = i->ifa_next)
		if (is_address(i->ifa_addr, host))
			return true;
	return false;
}

static bool is_self(void *ctx, const char *host, uint16_t port)
{
	const struct program *p = ctx;

	return port == p->port && is_local_host(host);
}

/* ---- start and stop ---- */

static int open_store(struct program *p, struct ota_err *err)
{
	char boot_id[CACHE_BOOT_ID_MAX];
	int r;

	if (p->options.no_cache)
		return 0;
	r = cache_boot_id_read(CACHE_BOOT_ID_PATH, boot_id, err);
	return r < 0 ? r : cache_store_open(p->options.cache_dir, boot_id, &p->proxy.store, err);
}

/* The folder, made and given away while we still can. */
static int prepare_folder(const struct options *o, struct ota_err *err)
{
	uid_t uid;
	gid_t gid;

	if (o->no_cache)
		return 0;
	if (mkdir(o->cache_dir, 0700) < 0 && errno != EEXIST)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot make the folder %s: %s",
			o->cache_dir, strerror(errno));
	if (!o->user)
		return 0;
	if (sandbox_find_user(o->user, &uid, &gid) < 0)
		return ota_err_set(
			err, -ENOENT, OTA_E_UNSPECIFIC, "There is no user %s to become", o->user);
	if (lchown(o->cache_dir, uid, gid) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot give %s to the user %s: %s", o->cache_dir, o->user,
			strerror(errno));
	return 0;
}

/* What is still in reach: the cache, and what names and certificates are looked up in. */
static int restrict_paths(const struct options *o)
{
	AUTO_FREE char *copy = o->origins ? strdup(o->origins) : NULL;
	const char *origins =
		copy ? dirname(copy) : "/etc"; /* its folder: the file itself comes and goes */
	/* path, writable, may be missing */
	/* clang-format off */
	const struct sandbox_path paths[] = {
		{"/etc",         false, true},
		{"/usr",         false, true},
		{"/lib",         false, true},
		{"/proc",        false, true},
		{"/run",         false, true},
		{"/dev/urandom", false, true},
		{o->tls_ca ? o->tls_ca : "/etc",             false,        true},
		{o->external ? o->external : "/etc",         false,        true},
		{origins,                                    false,        true},
		{o->no_cache ? "/etc" : o->cache_dir,        !o->no_cache, false},
	};
	/* clang-format on */

	return sandbox_restrict_paths(paths, ARRAY_SIZE(paths));
}

/*
 * Before any thread: become nobody in particular, with what is needed in sight and nothing else. Started as root
 * without a user to become, that is a choice for tests and for looking into it.
 */
static int give_up_privileges(const struct options *o, struct ota_err *err)
{
	int r = prepare_folder(o, err);

	if (r < 0)
		return r;
	r = sandbox_drop_user(o->user);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot become the user %s: %s",
			o->user ? o->user : "nobody", strerror(-r));
	r = restrict_paths(o);
	if (r == -ENOSYS || r == -EOPNOTSUPP)
		log_info("This kernel has no Landlock: the files in reach are those of the user");
	else if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot give up the access to files: %s", strerror(-r));
	r = sandbox_restrict_calls();
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot give up system calls: %s",
			       strerror(-r))
		     : 0;
}

static void settle_in(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = MIN_OF(files.rlim_max, (rlim_t)OPEN_FILES);
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int start(struct program *p, struct ota_err *err)
{
	const struct options *o = &p->options;
	const struct proxy_server_config server = {.listen_addr = o->listen_addr, .port = o->port};
	const struct fetcher_config fetcher = {.upper_proxy = o->upper_proxy, .tls_ca = o->tls_ca};
	struct checker_config checker = {.counters = &p->counters, .externals = {o->external}};
	int r = 0;

	snprintf(p->pseudonym, sizeof(p->pseudonym), "otaproxy-%08x",
		(unsigned)clock_random_below(UINT32_MAX));
	p->proxy.counters = &p->counters;
	p->proxy.rules = (struct proxy_rules){.has_upper = o->upper_proxy,
		.https = o->https,
		.pseudonym = p->pseudonym,
		.is_self = is_self,
		.is_self_ctx = p};
	if (o->origins && origins_file_new(o->origins, &p->proxy.origins_file) < 0)
		return -ENOMEM;
	p->proxy.inflight = inflight_new(p->proxy.store, &p->counters);
	if (!p->proxy.inflight)
		return -ENOMEM;
	checker.store = p->proxy.store;
	if (p->proxy.store)
		r = checker_start(&checker, &p->proxy.checker, err);
	if (r == 0)
		r = fetcher_start(&fetcher, &p->proxy.fetcher, err);
	if (r == 0)
		r = proxy_server_start(&server, &p->proxy, &p->server, err);
	if (r == 0)
		p->port = proxy_server_port(p->server);
	return r;
}

/* In this order: nobody sleeps any more when the server goes. */
static void stop(struct program *p)
{
	atomic_store(&p->proxy.stopping, true);
	if (p->server)
		proxy_server_close_door(p->server);
	checker_stop(p->proxy.checker);
	fetcher_stop(p->proxy.fetcher);
	proxy_server_stop(p->server);
	checker_free(p->proxy.checker);
	fetcher_free(p->proxy.fetcher);
	inflight_free(p->proxy.inflight);
	origins_file_free(p->proxy.origins_file);
	cache_store_free(p->proxy.store);
}

static void make_room(struct program *p)
{
	enum cache_room room;
	struct ota_err err = {0};

	if (!p->proxy.store)
		return;
	if (reclaim_run(p->proxy.store, &p->options.marks, &reclaim_real_disk, &room, &err) < 0) {
		log_error("%s", err.msg);
		return;
	}
	if (room != inflight_room(p->proxy.inflight))
		log_info("The cache's disk %s", room == ROOM_FREE ? "has room"
						: room == ROOM_TIGHT
							? "is nearly full: nothing new is kept"
							: "is full: nothing is written to it");
	inflight_set_room(p->proxy.inflight, room);
}

static void run_until_signal(struct program *p, const sigset_t *signals)
{
	const struct timespec wait = {.tv_sec = ROOM_CHECK_S};

	do
		make_room(p);
	while (sigtimedwait(signals, NULL, &wait) < 0 && (errno == EAGAIN || errno == EINTR));
}

static int wipe(struct program *p, struct ota_err *err)
{
	return cache_store_wipe(p->proxy.store, err);
}

int main(int argc, char **argv)
{
	static struct program p;
	struct ota_err err = {0};
	sigset_t signals;
	int r = parse_options(argc, argv, &p.options);

	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0;
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL); /* threads inherit it */
	settle_in();
	r = give_up_privileges(&p.options, &err);
	if (r == 0)
		r = open_store(&p, &err);
	if (r == 0 && p.options.wipe)
		r = wipe(&p, &err);
	else if (r == 0)
		r = start(&p, &err);
	if (r == 0 && !p.options.wipe) {
		log_info("otaproxy " OTA_VERSION " serves on %s:%u, %s", p.options.listen_addr,
			p.port, p.proxy.store ? "with a cache" : "without a cache");
		run_until_signal(&p, &signals);
	}
	if (r < 0)
		log_error("%s", err.errnum ? err.msg : strerror(-r));
	stop(&p);
	return r < 0 ? 1 : 0;
}
