/*
 * fetch_driver: fetch whole images as the daemon does, lists and contents, without a slot: for tests of what the network
 * does to it. Each line of stdin, "URL TAB FOLDER", is one image and the empty folder for its contents; each is answered
 * by a line, "ok N" (contents) or "E<code> <errno>: <sentence>".
 *
 *     fetch_driver --certs DIR [--tls-ca FILE] [--proxy URL] [--cookies TEXT] [--stall-ms N] [--inactivity-ms N]
 *                  [--retry-ms N] [--threads N] [--connections N]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaclient/source/fetch_pool.h"
#include "otaclient/source/image_source.h"

enum {
	LINE_MAX_BYTES = 8192,
};

static struct driver {
	const char *certs;
	struct http_config http;
	uint32_t inactivity_ms;
	unsigned threads;
} arg;

static int fetch_contents(const struct image *image, int store_fd, struct ota_err *err)
{
	const struct fetch_config config = {
		.http = arg.http,
		.base_url = image->base_url,
		.rootfs_dir = image->meta.rootfs_dir,
		.compressed_dir = image->meta.compressed_dir,
		.store_dir_fd = store_fd,
		.n_threads = arg.threads,
		.inactivity_ms = arg.inactivity_ms,
	};
	uint32_t n = image->table->n_contents;
	AUTO_FREE uint32_t *all = calloc(n + 1, sizeof(*all));

	if (!all)
		return ota_err_set(err, -ENOMEM, OTA_E_UNSPECIFIC, "No memory");
	for (uint32_t i = 0; i < n; i++)
		all[i] = i;
	return fetch_pool_run(&config, image->table, all, n, NULL, NULL, NULL, err);
}

static int fetch(const struct cert_store *certs, const char *url, int store_fd,
	unsigned *ret_contents, struct ota_err *err)
{
	const struct image_source_config config = {
		.http = arg.http,
		.url = url,
		.certs = certs,
		.scratch_dir_fd = store_fd,
		.inactivity_ms = arg.inactivity_ms,
	};
	AUTO_IMAGE struct image image = {0};
	int r = image_source_open(&config, &image, err);

	if (r == 0)
		r = fetch_contents(&image, store_fd, err);
	if (r == 0)
		*ret_contents = image.table->n_contents;
	return r;
}

static void serve_line(const struct cert_store *certs, char *line)
{
	char *folder = line, *url = strsep(&folder, "\t");
	AUTO_CLOSE int store_fd = -1;
	struct ota_err err = {0};
	unsigned n = 0;
	int r;

	folder[strcspn(folder, "\n")] = '\0';
	store_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store_fd < 0) {
		perror(folder);
		exit(2);
	}
	r = fetch(certs, url, store_fd, &n, &err);
	closep(&store_fd);
	store_fd = -1; /* whoever reads the answer may count our descriptors */
	if (r == 0)
		printf("ok %u\n", n);
	else
		printf("E%03d %d: %s\n", (int)err.code, err.errnum, err.msg);
	fflush(stdout);
}

static uint32_t number(void)
{
	return (uint32_t)strtoul(optarg, NULL, 10);
}

static void parse(int argc, char **argv)
{
	/* clang-format off */
	static const struct option longs[] = {
		{"certs",         required_argument, NULL, 'k'},
		{"tls-ca",        required_argument, NULL, 't'},
		{"proxy",         required_argument, NULL, 'p'},
		{"cookies",       required_argument, NULL, 'c'},
		{"stall-ms",      required_argument, NULL, 's'},
		{"inactivity-ms", required_argument, NULL, 'i'},
		{"retry-ms",      required_argument, NULL, 'r'},
		{"threads",       required_argument, NULL, 'T'},
		{"connections",   required_argument, NULL, 'C'},
		{0},
	};
	/* clang-format on */
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (c) {
		case 'k':
			arg.certs = optarg;
			break;
		case 't':
			arg.http.tls_ca = optarg;
			break;
		case 'p':
			arg.http.proxy = optarg;
			break;
		case 'c':
			arg.http.cookies = optarg;
			break;
		case 's':
			arg.http.stall_timeout_ms = number();
			break;
		case 'i':
			arg.inactivity_ms = number();
			break;
		case 'r':
			arg.http.retry_base_ms = number();
			break;
		case 'T':
			arg.threads = number();
			break;
		case 'C':
			arg.http.max_connections = number();
			break;
		default:
			exit(2);
		}
	}
	if (!arg.certs || optind != argc) {
		fprintf(stderr, "fetch_driver: see the top of its source for its options\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	AUTO_CERT_STORE struct cert_store *certs = NULL;
	struct ota_err err = {0};
	char line[LINE_MAX_BYTES];

	parse(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (cert_store_open(arg.certs, NULL, NULL, &certs, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	while (fgets(line, sizeof(line), stdin))
		serve_line(certs, line);
	return 0;
}
