/*
 * origin: the scripted server as a child of a test. Contract: origin.h.
 */
#include "tests/support/origin.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"

extern char **environ;

enum {
	LOG_MAX_BYTES = 64 << 20,
	PORTS_MAX = 4096,
};

static void read_port(struct origin *o, int fd)
{
	AUTO_FCLOSE FILE *f = fdopen(fd, "r");

	assert_non_null(f);
	if (fscanf(f, "%u", &o->port) != 1)
		fail_msg("http_origin.py did not say its port");
}

void origin_start(struct origin *o, const struct origin_options *options)
{
	const char *program = getenv("HTTP_ORIGIN");
	const char *argv[16] = {"python3"};
	posix_spawn_file_actions_t actions;
	char log[96];
	int in[2], out[2], n = 1;

	*o = (struct origin){.stdin_fd = -1, .tls = options->cert != NULL};
	if (!program)
		fail_msg("HTTP_ORIGIN is not set: run this test through meson");
	snprintf(o->dir, sizeof(o->dir), "/tmp/ota-origin-XXXXXX");
	assert_non_null(mkdtemp(o->dir));
	snprintf(log, sizeof(log), "%s/log", o->dir);
	argv[n++] = program;
	argv[n++] = "--log";
	argv[n++] = log;
	const struct {
		const char *option, *value;
	} pairs[] = {
		{"--script", options->script},
		{"--root",   options->root  },
		{"--cert",   options->cert  },
		{"--key",    options->key   },
	};
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		if (!pairs[i].value)
			continue;
		argv[n++] = pairs[i].option;
		argv[n++] = pairs[i].value;
	}
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	assert_int_equal(
		posix_spawnp(&o->pid, "python3", &actions, NULL, (char **)(uintptr_t)argv, environ),
		0);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	o->stdin_fd = in[1];
	read_port(o, out[0]);
}

void origin_stop(struct origin *o)
{
	char log[96];

	if (o->pid <= 0)
		return;
	close(o->stdin_fd);
	waitpid(o->pid, NULL, 0);
	snprintf(log, sizeof(log), "%s/log", o->dir);
	unlink(log);
	rmdir(o->dir);
	o->pid = 0;
}

const char *origin_url(const struct origin *o, const char *path)
{
	static char urls[5][512];
	static unsigned next;
	char *url = urls[next++ % ARRAY_SIZE(urls)];

	snprintf(url, sizeof(urls[0]), "%s://127.0.0.1:%u%s", o->tls ? "https" : "http", o->port,
		path);
	return url;
}

static void read_log(const struct origin *o, struct buf *ret_log)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/log", o->dir);
	assert_int_equal(file_read(AT_FDCWD, path, LOG_MAX_BYTES, ret_log), 0);
}

/* Call once per line, until it returns false. */
typedef bool line_fn(void *ctx, unsigned n, char *line);

static void each_line(const struct origin *o, line_fn *fn, void *ctx)
{
	AUTO_BUF struct buf log = {0};
	char *rest, *line;
	unsigned n = 0;

	read_log(o, &log);
	rest = log.data;
	while (rest && (line = strsep(&rest, "\n")) && *line)
		if (!fn(ctx, n++, line))
			return;
}

struct search {
	const char *text;
	int only_n; /* -1 = in any line */
	unsigned found;
};

static bool search_line(void *ctx, unsigned n, char *line)
{
	struct search *s = ctx;

	if ((s->only_n < 0 || n == (unsigned)s->only_n) && strstr(line, s->text))
		s->found++;
	return true;
}

unsigned origin_hits(const struct origin *o, const char *text)
{
	struct search s = {.text = text, .only_n = -1};

	each_line(o, search_line, &s);
	return s.found;
}

bool origin_saw(const struct origin *o, unsigned n, const char *text)
{
	struct search s = {.text = text, .only_n = (int)n};

	each_line(o, search_line, &s);
	return s.found > 0;
}

struct ports {
	unsigned seen[PORTS_MAX];
	unsigned n;
};

static bool count_port(void *ctx, unsigned n, char *line)
{
	struct ports *p = ctx;
	const char *at = strstr(line, "\"client_port\": ");
	unsigned port;

	assert_non_null(at);
	port = (unsigned)atoi(at + strlen("\"client_port\": "));
	for (unsigned i = 0; i < p->n; i++)
		if (p->seen[i] == port)
			return true;
	assert_true(p->n < PORTS_MAX);
	p->seen[p->n++] = port;
	return true;
}

unsigned origin_connections(const struct origin *o)
{
	struct ports p = {0};

	each_line(o, count_port, &p);
	return p.n;
}
