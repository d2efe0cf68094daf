/*
 * kernel_tail: the last words of a kernel, wherever they were kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/flight/kernel_tail.h"
#include "tests/unit/tmp_dir.h"

/* A device that hands out @n messages and then has none: what is in this socket. */
static int device_of(const char *const *messages, size_t n, int *ret_other)
{
	int ends[2];
	int big = 1 << 22;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(send(ends[1], messages[i], strlen(messages[i]), 0),
			(int)strlen(messages[i]));
	*ret_other = ends[1];
	return ends[0];
}

static void warnings_and_worse_are_taken_each_a_line_with_its_time(void **state)
{
	static const char *const messages[] = {
		"6,1,100,-;an info\n SUBSYSTEM=pci\n",
		"4,2,5140900,-;a warning\n SUBSYSTEM=pci\n DEVICE=+pci:0\n",
		"5,3,200,-;a notice\n",
		"28,4,6000001,-;from a daemon, a warning\n", /* facility 3, level 4 */
		"2,5,12345678901234,-,caller=T1;critical\n",
	};
	AUTO_BUF struct buf lines = {0};
	AUTO_CLOSE int other = -1;
	AUTO_CLOSE int fd = device_of(messages, 5, &other);

	assert_int_equal(kernel_tail_warnings_from(fd, &lines), 0);
	assert_string_equal(buf_str(&lines),
		"[    5.140900] a warning\n[    6.000001] from a daemon, a warning\n"
		"[12345678.901234] critical\n");
}

static void what_is_no_message_is_left_out(void **state)
{
	char line[KERNEL_LINE_MAX] = "as before", longest[3000];
	static const char *const wrong[] = {"", ";", "4", "4,1,1", "4,1;x", "a,b,c,d;x",
		"\n4,1,1,-;x", "4,1,\n1,-;x", "6,1,1,-;info"};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(kernel_tail_take(wrong[i], strlen(wrong[i]), line));
	assert_string_equal(line, "as before");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "3,1,1,-;", 8);
	assert_true(kernel_tail_take(longest, sizeof(longest), line));
	assert_int_equal(strlen(line), KERNEL_LINE_MAX - 1);
	assert_true(kernel_tail_take("3,1,1,-;bad \xff\xc3", 14, line));
	assert_string_equal(line, "[    0.000001] bad ??");
}

static void only_the_last_of_many_warnings_are_kept(void **state)
{
	char texts[300][64];
	const char *messages[300];
	AUTO_BUF struct buf lines = {0};
	AUTO_CLOSE int other = -1, fd = -1;
	const char *last;

	for (unsigned i = 0; i < 300; i++) {
		snprintf(texts[i], sizeof(texts[i]), "4,%u,%u,-;this is the warning number %u\n", i,
			i, i);
		messages[i] = texts[i];
	}
	fd = device_of(messages, 270, &other);
	assert_int_equal(kernel_tail_warnings_from(fd, &lines), 0);
	assert_true(lines.len_bytes <= KERNEL_TAIL_MAX_BYTES);
	assert_true(lines.len_bytes > KERNEL_TAIL_MAX_BYTES - 64);
	assert_int_equal(buf_str(&lines)[0], '[');
	last = "[    0.000269] this is the warning number 269\n";
	assert_string_equal(buf_str(&lines) + lines.len_bytes - strlen(last), last);
}

static void a_device_that_is_missing_is_told(void **state)
{
	AUTO_BUF struct buf lines = {0};

	assert_int_equal(kernel_tail_warnings("/nonexistent/kmsg", &lines), -ENOENT);
	assert_int_equal(lines.len_bytes, 0);
}

static void assert_death(const char *log, const char *want)
{
	char line[KERNEL_LINE_MAX] = "";

	assert_int_equal(kernel_tail_death_line(log, strlen(log), line), want != NULL);
	if (want)
		assert_string_equal(line, want);
}

static void the_line_that_tells_of_what_it_died_is_found(void **state)
{
	assert_death(
		"Panic#1 Part1\n<6>[    1.0] fine\n<0>[    1.234567] Kernel panic - not syncing: "
		"VFS: Unable to mount root fs on unknown-block(0,0)\n<4>[    1.3] CPU: 0\n",
		"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)");
	/* A panic is what an oops leads to. */
	assert_death("Oops#1 Part1\n<1>[   12.5][  T301] BUG: kernel NULL pointer dereference\n"
		     "<0>[ 12.6] Kernel panic - not syncing: Fatal exception",
		"Kernel panic - not syncing: Fatal exception");
	assert_death("<1>[   12.5][  T301] BUG: kernel NULL pointer dereference, address: 0\n",
		"BUG: kernel NULL pointer dereference, address: 0");
	assert_death("[   99.1] INFO: task init:1 blocked for more than 120 seconds.",
		"INFO: task init:1 blocked for more than 120 seconds.");
	assert_death("Kernel panic - not syncing", "Kernel panic - not syncing");
	assert_death("<[<[Oops", "<[<[Oops");
	assert_death("<0>a\x1b[2J Oops \xff", "a [2J Oops ?");
	assert_death("all is well\n", NULL);
	assert_death("", NULL);
}

static void put(const struct tmp_dir *d, const char *path, const char *text, int64_t unix_s)
{
	char whole[256];
	struct timespec times[2] = {{.tv_sec = unix_s}, {.tv_sec = unix_s}};
	FILE *f;

	snprintf(whole, sizeof(whole), "%s/%s", d->path, path);
	for (char *at = whole + strlen(d->path) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(whole, 0755);
		*at = '/';
	}
	f = fopen(whole, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(utimensat(AT_FDCWD, whole, times, 0), 0);
}

static void only_logs_from_behind_the_flip_count(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_KERNEL_DEATH struct kernel_death death = {0};

	kernel_tail_find_death(d->path, 0, &death);
	assert_string_equal(death.line, "");
	put(d, "sys/fs/pstore/dmesg-ramoops-0", "<0>[1.0] Kernel panic - not syncing: old", 999);
	kernel_tail_find_death(d->path, 1000, &death);
	assert_string_equal(death.line, "");
	put(d, "sys/fs/pstore/dmesg-ramoops-1", "x\n<0>[1.0] Kernel panic - not syncing: new\n",
		1000);
	put(d, "sys/fs/pstore/console-ramoops-0", "<0>[1.0] Kernel panic - not syncing: console",
		1001);
	put(d, "sys/fs/pstore/dmesg-erst-1.enc.z", "<0>[1.0] Kernel panic - not syncing: packed",
		1001);
	kernel_tail_find_death(d->path, 1000, &death);
	assert_string_equal(death.line, "Kernel panic - not syncing: new");
	assert_string_equal(death.where, "/sys/fs/pstore/dmesg-ramoops-1");
	assert_string_equal(buf_str(&death.tail), "x\n<0>[1.0] Kernel panic - not syncing: new\n");
}

static void what_the_service_manager_has_put_away_is_found_too(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_KERNEL_DEATH struct kernel_death death = {0};

	put(d, "var/lib/systemd/pstore/166/000/dmesg-erst-1661",
		"<0>[1.0] Kernel panic - not syncing: kept", 5000);
	put(d, "var/lib/systemd/pstore/1/2/3/4/dmesg-efi-1",
		"<0>[1.0] Kernel panic - not syncing: deep", 5000);
	put(d, "sys/fs/pstore/dmesg-efi-1", "<1>[1.0] BUG: something less", 5000);
	kernel_tail_find_death(d->path, 1000, &death);
	assert_string_equal(death.line, "Kernel panic - not syncing: kept");
	assert_string_equal(death.where, "/var/lib/systemd/pstore/166/000/dmesg-erst-1661");
}

/* What it makes of the parts of an old death at a later start is new, but not the death. */
static void a_text_that_the_service_manager_has_made_later_does_not_count(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_KERNEL_DEATH struct kernel_death death = {0};

	put(d, "var/lib/systemd/pstore/166/dmesg-erst-1661",
		"<0>[1.0] Kernel panic - not syncing: old", 999);
	put(d, "var/lib/systemd/pstore/166/dmesg.txt", "<0>[1.0] Kernel panic - not syncing: old",
		5000);
	kernel_tail_find_death(d->path, 1000, &death);
	assert_string_equal(death.line, "");
}

static void links_fifos_and_endless_folders_do_no_harm(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_KERNEL_DEATH struct kernel_death death = {0};
	char path[256];

	put(d, "sys/fs/pstore/x", "", 1);
	for (unsigned i = 0; i < 700; i++) {
		snprintf(path, sizeof(path), "%s/sys/fs/pstore/n%u", d->path, i);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	snprintf(path, sizeof(path), "%s/sys/fs/pstore/dmesg-fifo", d->path);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/sys/fs/pstore/dmesg-link", d->path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	kernel_tail_find_death(d->path, 0, &death);
	assert_string_equal(death.line, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warnings_and_worse_are_taken_each_a_line_with_its_time),
		cmocka_unit_test(what_is_no_message_is_left_out),
		cmocka_unit_test(only_the_last_of_many_warnings_are_kept),
		cmocka_unit_test(a_device_that_is_missing_is_told),
		cmocka_unit_test(the_line_that_tells_of_what_it_died_is_found),
		tmp_dir_test(only_logs_from_behind_the_flip_count),
		tmp_dir_test(what_the_service_manager_has_put_away_is_found_too),
		tmp_dir_test(a_text_that_the_service_manager_has_made_later_does_not_count),
		tmp_dir_test(links_fifos_and_endless_folders_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
