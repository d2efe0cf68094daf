/*
 * fetcher: the real program, what it may do and what it fetches; and a program that lies, which the test plays. As root
 * it changes its user too. Loopback only.
 */
#include "otaclient/fetcher/fetcher.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/run.h"
#include "otaclient/fetcher/packet.h"
#include "otaclient/fetcher/rights.h"
#include "tests/support/origin.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

/* ---- what it may do ---- */

static int try_to_open(void *ctx)
{
	struct ota_err err = {0};
	int pair[2], before = open("/dev/null", O_WRONLY);

	CHECK(before >= 0);
	CHECK(rights_give_up(&err) == 0);
	CHECK(open("/etc/passwd", O_RDONLY) < 0);
	CHECK(open("/tmp/ota-fetcher", O_WRONLY | O_CREAT, 0600) < 0);
	CHECK(open("/proc/self/mem", O_RDWR) < 0);
	CHECK(open("/", O_PATH) < 0);
	CHECK(mkdir("/tmp/ota-fetcher", 0700) < 0 && unlink("/etc/passwd") < 0);
	CHECK(memfd_create("x", 0) < 0 && errno == EPERM);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 && errno == EPERM);
	CHECK(execl("/bin/true", "true", (char *)NULL) < 0 && errno == EPERM);
	CHECK(kill(getppid(), 0) < 0 || geteuid() != 65534);
	CHECK(geteuid() != 0);
	CHECK(write(before, "x", 1) == 1);
	return 0;
}

static void it_can_open_neither_files_nor_sockets(void **state)
{
	assert_int_equal(in_child(try_to_open, NULL), 0);
}

/* A call that is refused, and what is said then. */
struct refused {
	int call;
	const char *sentence;
};

static int give_up_without(void *ctx)
{
	const struct refused *refused = ctx;
	struct ota_err err = {0};

	CHECK(refusal_call(refused->call, EPERM) == 0);
	CHECK(rights_give_up(&err) == -EPERM);
	CHECK(sentence_is(&err, "%s", refused->sentence));
	return 0;
}

static void it_does_not_begin_with_rights_that_it_could_not_give_up(void **state)
{
	struct refused rows[] = {
		{SYS_capset,                  "The fetcher cannot become a user without rights: "
			     "Operation not permitted"                        },
		{SYS_landlock_create_ruleset, "The fetcher cannot give up its rights: Operation "
					      "not permitted"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(in_child(give_up_without, &rows[i]), 0);
}

static void assert_status_says(pid_t pid, const char *line)
{
	AUTO_BUF struct buf text = {0};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	assert_int_equal(file_read(AT_FDCWD, path, 64 * 1024, &text), 0);
	if (!strstr(buf_str(&text), line))
		fail_msg("no line %s in %s", line, buf_str(&text));
}

static void the_program_has_no_rights_before_it_gets_a_job(void **state)
{
	AUTO_FETCHER struct fetcher *f = NULL;
	struct ota_err err = {0};

	assert_int_equal(fetcher_new(&(struct http_config){0}, &f, &err), 0);
	assert_status_says(fetcher_pid(f), "\nNoNewPrivs:\t1\n");
	assert_status_says(fetcher_pid(f), "\nSeccomp:\t2\n");
	assert_status_says(fetcher_pid(f), "\nCapPrm:\t0000000000000000\n");
	assert_status_says(fetcher_pid(f), "\nCapEff:\t0000000000000000\n");
	assert_status_says(fetcher_pid(f), "\nThreads:\t1\n");
}

/* ---- what it fetches ---- */

struct got {
	struct fetcher_result result;
	bool done;
};

static void note(void *ctx, const struct fetcher_result *result)
{
	struct got *got = ctx;

	assert_false(got->done);
	got->result = *result;
	got->done = true;
}

static int open_file(void)
{
	char path[] = "/tmp/ota-fetcher-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	return fd;
}

static void fetch(struct fetcher *f, const char *url, int fd, struct got *ret_got)
{
	struct ota_err err = {0};

	*ret_got = (struct got){0};
	assert_int_equal(fetcher_add(f,
				 &(struct fetcher_job){.url = url,
					 .name = "part",
					 .fd = fd,
					 .plain_bytes = 1000,
					 .max_wire_bytes = 1000,
					 .tries_max = 2,
					 .done = note,
					 .ctx = ret_got},
				 &err),
		0);
	while (!ret_got->done)
		if (fetcher_run(f, 1000, &err) < 0)
			fail_msg("%s", err.msg);
}

static void a_name_is_looked_up_for_it(void **state)
{
	const struct http_config http = {.retry_base_ms = 1};
	AUTO_FETCHER struct fetcher *f = NULL;
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	struct origin origin = {0};
	struct ota_err err = {0};
	struct digest is, wanted;
	AUTO_CLOSE int fd = open_file();
	char url[128];
	struct got got;
	uint64_t size;

	origin_start(
		&origin, &(struct origin_options){.script = "{\"/a\": [{\"body\": \"hello\"}]}"});
	snprintf(url, sizeof(url), "http://localhost:%u/a", origin.port);
	assert_int_equal(fetcher_new(&http, &f, &err), 0);
	fetch(f, url, fd, &got);
	if (got.result.r != 0)
		fail_msg("%s", got.result.err.msg);
	assert_int_equal(got.result.status, 200);
	assert_int_equal(fetcher_take(&fd, 1000, ctx, &is, &size), 0);
	digest_of("hello", 5, &wanted);
	assert_true(digest_equal(&is, &wanted));
	assert_int_equal(size, 5);
	assert_int_equal(fetcher_take_wire_bytes(f), 5);
	origin_stop(&origin);
}

static void a_name_that_leads_nowhere_is_an_outage(void **state)
{
	const struct http_config http = {.retry_base_ms = 1};
	AUTO_FETCHER struct fetcher *f = NULL;
	struct ota_err err = {0};
	AUTO_CLOSE int fd = open_file();
	struct got got;

	assert_int_equal(fetcher_new(&http, &f, &err), 0);
	fetch(f, "http://no-such-host.invalid/a", fd, &got);
	assert_int_equal(got.result.r, -EIO);
	assert_int_equal(got.result.err.code, OTA_E_NETWORK);
	assert_string_equal(got.result.err.msg,
		"Cannot fetch http://no-such-host.invalid/a: the name of its host leads nowhere");
}

static void authorities_that_cannot_be_read_are_said_at_the_start(void **state)
{
	const struct http_config http = {.tls_ca = "/nowhere/ca.pem"};
	struct fetcher *f = NULL;
	struct ota_err err = {0};

	assert_int_equal(fetcher_new(&http, &f, &err), -ENOENT);
	assert_null(f);
	assert_string_equal(
		err.msg, "Cannot read the CAs in /nowhere/ca.pem: No such file or directory");
}

/*
 * Of what the program allocates for its start, itself or by the C library, each fails once. It never starts with less than
 * it needs, as without the system's CAs, and is never silent about why.
 */
static void memory_that_ends_at_the_start_is_said(void **state)
{
	const struct http_config http = {0};
	char dir[] = "/tmp/ota-test-XXXXXX", mark[64], request[96];
	AUTO_BUF struct buf said = {0};
	bool reached = true;

	assert_non_null(mkdtemp(dir));
	snprintf(mark, sizeof(mark), "%s/reached", dir);
	assert_int_equal(setenv("LD_PRELOAD", getenv("FAILING_ALLOC_LIBRARY"), 1), 0);
	for (unsigned n = 1; reached; n++) {
		AUTO_FETCHER struct fetcher *f = NULL;
		struct ota_err err = {0};
		int r;

		snprintf(request, sizeof(request), "%u %s", n, mark);
		assert_int_equal(setenv("FAILING_ALLOC", request, 1), 0);
		r = fetcher_new(&http, &f, &err);
		reached = unlink(mark) == 0;
		assert_true(reached || r == 0);
		assert_int_equal(err.errnum, r);
		assert_true(r == 0 || err.msg[0]);
		assert_int_equal(buf_printf(&said, "%s\n", err.msg), 0);
	}
	unsetenv("LD_PRELOAD");
	rmdir(dir);
	assert_non_null(strstr(buf_str(&said), "No memory for the system's CAs"));
	assert_non_null(strstr(buf_str(&said), "No memory for an HTTP client"));
}

/* Run it until its program is another than @before, or it fails. */
static int run_until_another(struct fetcher *f, pid_t before, struct ota_err *err)
{
	int r = 0;

	while (r == 0 && fetcher_pid(f) == before)
		r = fetcher_run(f, 1000, err);
	return r;
}

static void a_program_that_is_killed_is_started_again_once(void **state)
{
	const struct http_config http = {0};
	AUTO_FETCHER struct fetcher *f = NULL;
	struct ota_err err = {0};

	assert_int_equal(fetcher_new(&http, &f, &err), 0);
	assert_int_equal(kill(fetcher_pid(f), SIGTERM), 0);
	assert_int_equal(run_until_another(f, fetcher_pid(f), &err), 0);
	assert_true(fetcher_pid(f) > 0);
	err = fetcher_trouble(f);
	assert_string_equal(
		err.msg, "The program that fetches, otaclient-fetcher, was ended by signal 15");
	assert_status_says(fetcher_pid(f), "\nSeccomp:\t2\n");
	assert_int_equal(kill(fetcher_pid(f), SIGTERM), 0);
	assert_int_equal(run_until_another(f, fetcher_pid(f), &err), -EIO);
	assert_string_equal(
		err.msg, "The program that fetches, otaclient-fetcher, was ended by signal 15");
	assert_int_equal(fetcher_run(f, 0, &err), -EIO);
	assert_string_equal(err.msg, "The program that fetches, otaclient-fetcher, is gone");
}

/* What the first one has written of it is not part of what the second one writes. */
static void a_job_begins_anew_with_the_second_program(void **state)
{
	const struct http_config http = {.retry_base_ms = 1};
	AUTO_FETCHER struct fetcher *f = NULL;
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	struct origin origin = {0};
	struct ota_err err = {0};
	struct digest is, wanted;
	AUTO_CLOSE int fd = open_file();
	struct got got = {0};
	struct stat st;
	uint64_t size;

	origin_start(
		&origin, &(struct origin_options){
				 .script = "{\"/a\": [{\"body\": \"first\", \"stall_after\": 3},"
					   " {\"body\": \"hello\"}]}"});
	assert_int_equal(fetcher_new(&http, &f, &err), 0);
	assert_int_equal(fetcher_add(f,
				 &(struct fetcher_job){.url = origin_url(&origin, "/a"),
					 .name = "part",
					 .fd = fd,
					 .plain_bytes = 1000,
					 .max_wire_bytes = 1000,
					 .done = note,
					 .ctx = &got},
				 &err),
		0);
	do {
		assert_int_equal(fetcher_run(f, 1000, &err), 0);
		assert_int_equal(fstat(fd, &st), 0);
	} while (st.st_size < 3);
	assert_int_equal(kill(fetcher_pid(f), SIGKILL), 0);
	while (!got.done)
		if (fetcher_run(f, 1000, &err) < 0)
			fail_msg("%s", err.msg);
	assert_int_equal(got.result.r, 0);
	assert_int_equal(got.result.retries, 1);
	assert_int_equal(fetcher_take(&fd, 1000, ctx, &is, &size), 0);
	digest_of("hello", 5, &wanted);
	assert_true(digest_equal(&is, &wanted));
	assert_int_equal(size, 5);
	origin_stop(&origin);
}

/* ---- a program that is none: this test, started anew beside it ---- */

enum {
	START_AS_IS,
	START_DEAF,  /* nothing can be sent to it: it is dead already */
	START_HASTY, /* with a clock that is ahead each time it is looked at */
};

static uint64_t hasty_ms(void)
{
	static uint64_t now_ms;

	return now_ms += 3600 * 1000;
}

static const struct clock_ops hasty = {.monotonic_ms = hasty_ms};

static int start_and_say(const char *way)
{
	struct fetcher *f = NULL;
	struct ota_err err = {0};

	if (atoi(way) == START_DEAF && refusal_call(SYS_sendmsg, EPIPE) < 0)
		return 1;
	if (atoi(way) == START_HASTY)
		clock_set_ops(&hasty);
	if (fetcher_new(&(struct http_config){0}, &f, &err) == 0)
		return 2;
	return printf("%s", err.msg) < 0;
}

static void copy_file(const char *from, int dir_fd, const char *to, mode_t mode)
{
	AUTO_BUF struct buf data = {0};
	AUTO_CLOSE int fd = openat(dir_fd, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	assert_int_equal(file_read(AT_FDCWD, from, 64 << 20, &data), 0);
	assert_int_equal(file_write_all(fd, data.data, data.len_bytes), 0);
}

/* With @program in the place of otaclient-fetcher; NULL = none. */
static void assert_start_says(void **state, int way, const char *program, const char *sentence)
{
	AUTO_BUF struct buf out = {0};
	char test[128], way_text[8];
	const char *const argv[] = {test, "--start", way_text, NULL};
	const struct tmp_dir *d;
	struct ota_err err = {0};

	assert_int_equal(tmp_dir_setup(state), 0);
	d = *state;
	snprintf(test, sizeof(test), "%s/test", d->path);
	snprintf(way_text, sizeof(way_text), "%d", way);
	copy_file("/proc/self/exe", d->fd, "test", 0700);
	if (program) {
		AUTO_CLOSE int fd = openat(
			d->fd, "otaclient-fetcher", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

		assert_int_equal(file_write_all(fd, program, strlen(program)), 0);
	}
	if (run_tool(&(struct run_args){.argv = argv, .out = &out}, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(buf_str(&out), sentence);
	tmp_dir_teardown(state);
}

static void a_program_that_does_not_start_is_told_apart(void **state)
{
	assert_start_says(state, START_AS_IS, NULL,
		"The program that fetches, otaclient-fetcher, is not installed: No such file or "
		"directory");
	assert_start_says(state, START_AS_IS, "This is no program.\n",
		"The program that fetches, otaclient-fetcher, cannot be run");
	assert_start_says(state, START_AS_IS, "#!/bin/sh\nexit 0\n",
		"The program that fetches, otaclient-fetcher, has ended");
	assert_start_says(state, START_AS_IS, "#!/bin/sh\nkill -TERM $$\n",
		"The program that fetches, otaclient-fetcher, was ended by signal 15");
}

/* As when it has ended before it could be told what to do. */
static void a_program_that_is_dead_before_it_is_told_anything_has_ended(void **state)
{
	assert_start_says(state, START_DEAF, "#!/bin/sh\nexec sleep 60\n",
		"The program that fetches, otaclient-fetcher, has ended");
}

static void a_program_that_does_not_get_ready_is_not_waited_for(void **state)
{
	assert_start_says(state, START_HASTY, "#!/bin/sh\nexec sleep 60\n",
		"The program that fetches, otaclient-fetcher, does not get ready within 30 s");
}

static void more_than_it_can_be_told_is_refused(void **state)
{
	static char cookies[PACKET_MAX_BYTES + 1];
	struct fetcher *f = NULL;
	struct ota_err err = {0};
	char folder[4096] = {0};

	memset(cookies, 'c', sizeof(cookies) - 1);
	assert_true(readlink("/proc/self/exe", folder, sizeof(folder) - 1) > 0);
	*strrchr(folder, '/') = '\0';
	assert_int_equal(
		fetcher_new(&(struct http_config){.cookies = cookies}, &f, &err), -EMSGSIZE);
	assert_sentence(
		&err, "Cannot tell %s/otaclient-fetcher what to do: Message too long", folder);
}

/* ---- what is believed ---- */

static void a_file_that_somebody_can_write_to_is_not_taken(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_CLOSE int fd = open_file();
	AUTO_CLOSE int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct digest digest;
	uint64_t size;

	assert_true(fetcher_can_take(fd));
	assert_int_equal(fetcher_take(&fd, 1000, ctx, &digest, &size), -EBUSY);
	closep(&other);
	other = -1;
	assert_int_equal(fetcher_take(&fd, 1000, ctx, &digest, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(write(fd, "x", 1), -1);
}

static void a_file_that_is_too_long_is_not_even_read(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_CLOSE int fd = open_file();
	struct digest digest;
	uint64_t size;

	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0); /* all holes */
	assert_int_equal(fetcher_take(&fd, ((uint64_t)1 << 40) - 1, ctx, &digest, &size), -EFBIG);
}

/* The test is the program. */
struct liar {
	struct fetcher *fetcher;
	int jobs_fd, needs_fd;
	struct got got;
	struct packet packet;
	struct ota_err err;
};

static int liar_setup(void **state)
{
	struct liar *l = calloc(1, sizeof(*l));
	int jobs[2], needs[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, jobs), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, needs), 0);
	l->jobs_fd = jobs[1];
	l->needs_fd = needs[1];
	l->fetcher = fetcher_new_for_test(jobs[0], needs[0]);
	assert_non_null(l->fetcher);
	assert_int_equal(
		fetcher_add(l->fetcher,
			&(struct fetcher_job){
				.url = "http://h/", .fd = -1, .done = note, .ctx = &l->got},
			&l->err),
		0);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), 0);
	*state = l;
	return 0;
}

static int liar_teardown(void **state)
{
	struct liar *l = *state;

	fetcher_free(l->fetcher);
	close(l->jobs_fd);
	close(l->needs_fd);
	free(l);
	return 0;
}

static void say(struct liar *l, struct packet_head head, const char *text, int fd)
{
	const char *const texts[PACKET_TEXTS] = {text};

	assert_int_equal(packet_send(l->jobs_fd, &head, texts, fd, true), 0);
}

static void a_result_of_no_job_is_the_end(void **state)
{
	struct liar *l = *state;

	say(l, (struct packet_head){.type = PACKET_RESULT, .id = 7}, NULL, -1);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), -EIO);
	assert_string_equal(l->err.msg,
		"The program that fetches, otaclient-fetcher, does not keep to what was agreed");
	assert_false(l->got.done);
}

static void a_second_result_is_the_end(void **state)
{
	struct liar *l = *state;

	say(l, (struct packet_head){.type = PACKET_RESULT}, NULL, -1);
	say(l, (struct packet_head){.type = PACKET_RESULT}, NULL, -1);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), -EIO);
	assert_true(l->got.done);
}

static void what_it_says_is_made_fit_to_be_shown(void **state)
{
	struct liar *l = *state;
	const struct packet_head head = {
		.type = PACKET_RESULT, .r = 5, .code = 77777, .retries = UINT32_MAX};

	say(l, head, "a\nb\033[31m", 0);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), 0);
	assert_int_equal(l->got.result.r, -EPROTO);
	assert_int_equal(l->got.result.err.code, OTA_E_UNSPECIFIC);
	assert_string_equal(l->got.result.err.msg, "a?b?[31m");
	assert_int_equal(l->got.result.retries, 1000);
}

static void absurd_counts_are_not_counted(void **state)
{
	struct liar *l = *state;

	say(l, (struct packet_head){.type = PACKET_PROGRESS, .wire_bytes = UINT64_MAX}, NULL, -1);
	say(l, (struct packet_head){.type = PACKET_PROGRESS, .wire_bytes = 3}, NULL, -1);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), 0);
	assert_int_equal(fetcher_take_wire_bytes(l->fetcher), 3);
}

static void packets_with_wrong_lengths_are_the_end(void **state)
{
	struct packet_head head = {.type = PACKET_TROUBLE, .text_bytes = {10}};
	char bytes[sizeof(head) + 10];

	for (int wrong = 0; wrong < 5; wrong++) {
		struct liar *l;
		void *fresh;
		size_t size = sizeof(bytes);

		assert_int_equal(liar_setup(&fresh), 0);
		l = fresh;
		memset(bytes, 'x', sizeof(bytes));
		memcpy(bytes, &head, sizeof(head));
		bytes[sizeof(bytes) - 1] = '\0';
		switch (wrong) {
		case 0:
			size = sizeof(head) - 1;
			break; /* half a head */
		case 1:
			size--;
			break; /* more promised than there is */
		case 2:
			bytes[sizeof(bytes) - 1] = 'x';
			break; /* no end */
		case 3:
			bytes[sizeof(head) + 3] = '\0';
			break; /* two ends */
		case 4:
			((struct packet_head *)(void *)bytes)->text_bytes[0] = 0;
			break; /* more than promised */
		}
		assert_int_equal(send(l->jobs_fd, bytes, size, 0), size);
		assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), -EIO);
		assert_int_equal(liar_teardown(&fresh), 0);
	}
}

static void a_job_that_is_longer_than_a_packet_is_the_end(void **state)
{
	static char url[PACKET_MAX_BYTES + 1];
	struct liar *l = *state;
	struct got got = {0};
	struct ota_err err = {0};

	memset(url, 'u', sizeof(url) - 1);
	assert_int_equal(
		fetcher_add(l->fetcher,
			&(struct fetcher_job){.url = url, .fd = -1, .done = note, .ctx = &got},
			&err),
		0);
	assert_int_equal(fetcher_run(l->fetcher, 0, &err), -EMSGSIZE);
	assert_sentence(&err,
		"Cannot speak to the program that fetches, otaclient-fetcher: Message too long");
}

static void it_gets_sockets_of_the_internet_only(void **state)
{
	struct liar *l = *state;
	struct packet_head head = {.type = PACKET_SOCKET, .flags = AF_INET};
	AUTO_CLOSE int fd = -1;
	int type = 0;
	socklen_t len = sizeof(type);

	assert_int_equal(packet_send(l->needs_fd, &head, NULL, -1, true), 0);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), 0);
	assert_int_equal(packet_receive(l->needs_fd, false, &l->packet, &fd), 0);
	assert_int_equal(l->packet.head.r, 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len), 0);
	assert_int_equal(type, SOCK_STREAM);
	head.flags = AF_UNIX;
	assert_int_equal(packet_send(l->needs_fd, &head, NULL, -1, true), 0);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), -EIO);
}

static void a_name_that_no_host_has_is_the_end(void **state)
{
	struct liar *l = *state;
	char host[300];
	const char *const text[PACKET_TEXTS] = {host};

	memset(host, 'a', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	assert_int_equal(packet_send(l->needs_fd, &(struct packet_head){.type = PACKET_NAME}, text,
				 -1, true),
		0);
	assert_int_equal(fetcher_run(l->fetcher, 0, &l->err), -EIO);
}

int main(int argc, char **argv)
{
#define LIAR(f) cmocka_unit_test_setup_teardown(f, liar_setup, liar_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_can_open_neither_files_nor_sockets),
		cmocka_unit_test(it_does_not_begin_with_rights_that_it_could_not_give_up),
		cmocka_unit_test(the_program_has_no_rights_before_it_gets_a_job),
		cmocka_unit_test(a_name_is_looked_up_for_it),
		cmocka_unit_test(a_name_that_leads_nowhere_is_an_outage),
		cmocka_unit_test(authorities_that_cannot_be_read_are_said_at_the_start),
		cmocka_unit_test(memory_that_ends_at_the_start_is_said),
		cmocka_unit_test(a_program_that_is_killed_is_started_again_once),
		cmocka_unit_test(a_job_begins_anew_with_the_second_program),
		cmocka_unit_test(a_program_that_does_not_start_is_told_apart),
		cmocka_unit_test(a_program_that_is_dead_before_it_is_told_anything_has_ended),
		cmocka_unit_test(a_program_that_does_not_get_ready_is_not_waited_for),
		cmocka_unit_test(more_than_it_can_be_told_is_refused),
		cmocka_unit_test(a_file_that_somebody_can_write_to_is_not_taken),
		cmocka_unit_test(a_file_that_is_too_long_is_not_even_read),
		LIAR(a_result_of_no_job_is_the_end),
		LIAR(a_second_result_is_the_end),
		LIAR(what_it_says_is_made_fit_to_be_shown),
		LIAR(absurd_counts_are_not_counted),
		cmocka_unit_test(packets_with_wrong_lengths_are_the_end),
		LIAR(a_job_that_is_longer_than_a_packet_is_the_end),
		LIAR(it_gets_sockets_of_the_internet_only),
		LIAR(a_name_that_no_host_has_is_the_end),
	};

	if (argc == 3 && strcmp(argv[1], "--start") == 0)
		return start_and_say(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
