/*
 * otaproxy: the caching forward proxy of one ECU. A child of otaclient while the ECUs below need the network, or a
 * program of its own.
 *
 * Threads: two that serve and fetch (proxy_server), one that hashes (checker), and this one,
 * which waits for signals and makes room (reclaim). Privileges: none after the folder is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/sandbox.h"
#include "otaproxy/options.h"
#include "otaproxy/proxy_server.h"
#include "otaproxy/reclaim.h"

enum {
	EXIT_USAGE = 2,
	ROOM_CHECK_S =
		2, /* a disk that fills at 100 MB/s gains half a percent of 32 GB meanwhile */
	OPEN_FILES = 8192, /* two for each connection, and the flights' */
};

struct program {
	struct options options;
	char external_paths[CHECKER_EXTERNALS_MAX][32]; /* by their descriptors */
	struct counters counters;
	struct proxy proxy;
	struct proxy_server *server;
	char pseudonym[32];
	_Atomic uint16_t port; /* known only once the server runs */
};

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
	struct ota_err why = {0};
	unsigned n_gone = 0;
	uid_t uid;
	gid_t gid;
	int r;

	if (o->no_cache)
		return 0;
	if (mkdir(o->cache_dir, 0700) < 0 && errno != EEXIST)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot make the folder %s: %s",
			o->cache_dir, strerror(errno));
	if (!o->user)
		return 0;
	r = sandbox_find_user(o->user, &uid, &gid);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			r == -EINVAL ? "The user to become must be a name, its number or uid:gid, "
				       "and not root: %s"
				     : "There is no user %s to become",
			o->user);
	r = cache_store_claim(o->cache_dir, uid, &n_gone, &why);
	if (r == -EWOULDBLOCK)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "%s", why.msg);
	/* What cannot go is in nobody's way, or the store will say so when it is opened. */
	if (r < 0)
		log_warning("%s", why.msg);
	if (lchown(o->cache_dir, uid, gid) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot give %s to the user %s: %s", o->cache_dir, o->user,
			strerror(errno));
	if (n_gone > 0)
		log_info("Of the cache %s, %u name%s another user's %s been removed", o->cache_dir,
			n_gone, n_gone == 1 ? " that was" : "s that were",
			n_gone == 1 ? "has" : "have");
	return 0;
}

/*
 * An external cache may lie where only root finds the way. By its descriptor there is no way to go; it stays open until
 * the end. One that cannot be opened is done without.
 */
static void open_externals(struct program *p)
{
	const char **dirs = p->options.externals;

	for (size_t i = 0; dirs[i]; i++) {
		int fd = open(dirs[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0) {
			log_warning(
				"Cannot open the external cache %s: %s", dirs[i], strerror(errno));
			continue;
		}
		snprintf(
			p->external_paths[i], sizeof(p->external_paths[i]), "/proc/self/fd/%d", fd);
		dirs[i] = p->external_paths[i];
	}
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
		{o->externals[0] ? o->externals[0] : "/etc", false,        true},
		{o->externals[0] && o->externals[1] ? o->externals[1] : "/etc", false, true},
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
static int give_up_privileges(struct program *p, struct ota_err *err)
{
	const struct options *o = &p->options;
	int r = prepare_folder(o, err);

	if (r < 0)
		return r;
	open_externals(p);
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
	const struct proxy_server_config server = {
		.listen_addr = o->listen_addr,
		.port = (uint16_t)o->port,
		.fetcher = {.upper_proxy = o->upper_proxy, .tls_ca = o->tls_ca}
        };
	struct checker_config checker = {.counters = &p->counters};
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
	checker.inflight = p->proxy.inflight;
	checker.marks = o->marks;
	memcpy(checker.externals, o->externals, sizeof(checker.externals));
	if (p->proxy.store)
		r = checker_start(&checker, &p->proxy.checker, err);
	if (r == 0)
		r = proxy_server_start(&server, &p->proxy, &p->server, err);
	if (r == 0)
		p->port = proxy_server_port(p->server);
	return r;
}

/*
 * In this order: nobody sleeps any more when the server goes. What does not answer to the checker holds up nobody: what
 * is not done by then is nothing that would be missed.
 */
static void stop(struct program *p, int exit_code)
{
	atomic_store(&p->proxy.stopping, true);
	proxy_server_stop(p->server);
	if (checker_stop(p->proxy.checker) < 0) {
		log_warning("A file in an external cache cannot be read to its end: it is not "
			    "waited for");
		_exit(exit_code);
	}
	proxy_server_free(p->server);
	checker_free(p->proxy.checker);
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

	/* A disk that fails does so for each file. */
	log_set_limit(true);
	do {
		make_room(p);
		checker_watch(p->proxy.checker);
		log_tell_left_out();
	} while (sigtimedwait(signals, NULL, &wait) < 0 && (errno == EAGAIN || errno == EINTR));
	log_set_limit(false);
}

/* As options_parse() left it: 0: go on; 1: it was only to be told. */
static int tell(const struct options *o)
{
	AUTO_BUF struct buf help = {0};

	if (o->wish == OPTIONS_SHOW_HELP && options_print_help(&help) == 0)
		fputs(buf_str(&help), stdout);
	if (o->wish == OPTIONS_SHOW_VERSION)
		puts("otaproxy " OTA_VERSION);
	return o->wish != OPTIONS_RUN;
}

int main(int argc, char **argv)
{
	static struct program p;
	struct ota_err err = {0};
	sigset_t signals;
	int r = options_parse(argc, argv, &p.options, &err);

	if (r < 0) {
		if (err.errnum)
			fprintf(stderr, "otaproxy: %s; see otaproxy --help\n", err.msg);
		return EXIT_USAGE;
	}
	if (tell(&p.options))
		return 0;
	log_set_level(p.options.log_level);
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL); /* threads inherit it */
	settle_in();
	r = give_up_privileges(&p, &err);
	if (r == 0)
		r = open_store(&p, &err);
	if (r == 0 && p.options.wipe)
		r = cache_store_wipe(p.proxy.store, &err);
	else if (r == 0)
		r = start(&p, &err);
	if (r == 0 && !p.options.wipe) {
		log_info(strchr(p.options.listen_addr, ':')
				 ? "otaproxy " OTA_VERSION " serves on [%s]:%u, %s"
				 : "otaproxy " OTA_VERSION " serves on %s:%u, %s",
			p.options.listen_addr, p.port,
			p.proxy.store ? "with a cache" : "without a cache");
		run_until_signal(&p, &signals);
	}
	if (r < 0)
		log_error("%s", err.errnum ? err.msg : strerror(-r));
	r = r < 0 ? 1 : 0;
	stop(&p, r);
	return r;
}
