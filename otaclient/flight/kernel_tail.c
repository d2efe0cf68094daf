/*
 * kernel_tail: the last words of a kernel. Contract: kernel_tail.h.
 *
 * Everything read here may be cut short, in parts, or made by another program: it is text to show, after it
 * was cleaned, and decides nothing.
 */
#include "otaclient/flight/kernel_tail.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "otaclient/status/text.h"

enum {
	MESSAGE_MAX_BYTES = 8192,  /* the kernel's own limit for one of /dev/kmsg */
	HEAD_MAX = 128,            /* of what stands in front of a message's text */
	MESSAGES_MAX = 200 * 1000, /* more than the largest kernel buffer holds */
	LEVEL_WARNING = 4,         /* as in syslog, whose facility is above these bits */
	LEVEL_BITS = 7,
	PSTORE_FILE_MAX_BYTES = 1 << 20,
	PSTORE_NAMES_MAX = 512, /* of both folders together; what is beyond is not looked at */
	PSTORE_DEPTH_MAX = 3,   /* systemd-pstore makes two levels of folders */
};

/* ---- the running kernel ---- */

bool kernel_tail_take(const char *message, size_t len_bytes, char ret_line[KERNEL_LINE_MAX])
{
	const char *end = memchr(message, ';', len_bytes), *text, *line_end;
	char head[HEAD_MAX] = "";
	unsigned level;
	uint64_t number, time_us;

	if (!end || end - message >= HEAD_MAX)
		return false;
	memcpy(head, message, (size_t)(end - message));
	if (strchr(head, '\n') ||
		sscanf(head, "%u,%" SCNu64 ",%" SCNu64 ",", &level, &number, &time_us) != 3 ||
		(level & LEVEL_BITS) > LEVEL_WARNING)
		return false;
	text = end + 1;
	len_bytes -= (size_t)(text - message);
	line_end = memchr(text, '\n', len_bytes);
	if (line_end)
		len_bytes = (size_t)(line_end - text);
	snprintf(ret_line, KERNEL_LINE_MAX, "[%5" PRIu64 ".%06" PRIu64 "] %.*s", time_us / 1000000,
		time_us % 1000000, (int)MIN_OF(len_bytes, (size_t)KERNEL_LINE_MAX), text);
	text_repair(ret_line);
	return true;
}

/* Forget the first lines, so that at most KERNEL_TAIL_MAX_BYTES are left. */
static void keep_last_lines(struct buf *lines)
{
	size_t drop;
	const char *end;

	if (lines->len_bytes <= KERNEL_TAIL_MAX_BYTES)
		return;
	drop = lines->len_bytes - KERNEL_TAIL_MAX_BYTES;
	end = memchr(lines->data + drop - 1, '\n', lines->len_bytes - drop + 1);
	if (end)
		drop = (size_t)(end + 1 - lines->data);
	memmove(lines->data, lines->data + drop, lines->len_bytes - drop + 1);
	lines->len_bytes -= drop;
}

int kernel_tail_warnings_from(int fd, struct buf *ret_lines)
{
	AUTO_BUF struct buf lines = {0};
	char message[MESSAGE_MAX_BYTES + 1], line[KERNEL_LINE_MAX];
	int r = 0;

	for (unsigned i = 0; r == 0 && i < MESSAGES_MAX; i++) {
		ssize_t n = read(fd, message, MESSAGE_MAX_BYTES);

		/* EPIPE: messages were lost meanwhile, and the next read goes on behind them. */
		if (n < 0 && (errno == EINTR || errno == EPIPE))
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n <= 0)
			break;
		message[n] = '\0';
		if (kernel_tail_take(message, (size_t)n, line))
			r = buf_printf(&lines, "%s\n", line);
		if (lines.len_bytes > 4 * KERNEL_TAIL_MAX_BYTES)
			keep_last_lines(&lines);
	}
	if (r < 0)
		return r;
	keep_last_lines(&lines);
	return buf_append(ret_lines, buf_str(&lines), lines.len_bytes);
}

int kernel_tail_warnings(const char *device, struct buf *ret_lines)
{
	AUTO_CLOSE int fd = open(device, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -errno : kernel_tail_warnings_from(fd, ret_lines);
}

/* ---- one that has died ---- */

/* What a kernel dies of, the surest sign first: a panic is what the others lead to. */
static const char *const death_words[] = {
	"Kernel panic - not syncing",
	"Unable to handle kernel",
	"kernel BUG at",
	"Internal error: ",
	"general protection fault",
	"BUG: ",
	"Oops",
	"blocked for more than",
	"watchdog: ",
};

/* Behind "<0>" and "[   12.345678] ", of which there may be more than one. */
static const char *skip_prefixes(const char *line, const char *end)
{
	for (;;) {
		const char *at = line, *close;

		while (at < end && *at == ' ')
			at++;
		close = at < end && *at == '<'   ? memchr(at, '>', (size_t)(end - at))
			: at < end && *at == '[' ? memchr(at, ']', (size_t)(end - at))
						 : NULL;
		if (!close)
			return at;
		line = close + 1;
	}
}

static void take_line(
	const char *log, const char *end, const char *word, char ret_line[KERNEL_LINE_MAX])
{
	const char *begin = word, *stop = memchr(word, '\n', (size_t)(end - word));
	size_t len;

	while (begin > log && begin[-1] != '\n')
		begin--;
	begin = skip_prefixes(begin, stop ? stop : end);
	begin = MIN_OF(begin, word);
	len = MIN_OF((size_t)((stop ? stop : end) - begin), (size_t)KERNEL_LINE_MAX - 1);
	memcpy(ret_line, begin, len);
	ret_line[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)ret_line[i]))
			ret_line[i] = ' ';
	text_repair(ret_line);
}

/* The place in death_words of what the log tells, which is its first line of the kind; their number: nothing. */
static size_t find_death(const char *log, size_t len_bytes, char ret_line[KERNEL_LINE_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(death_words); i++) {
		const char *word = memmem(log, len_bytes, death_words[i], strlen(death_words[i]));

		if (!word)
			continue;
		take_line(log, log + len_bytes, word, ret_line);
		return i;
	}
	return ARRAY_SIZE(death_words);
}

bool kernel_tail_death_line(const char *log, size_t len_bytes, char ret_line[KERNEL_LINE_MAX])
{
	return len_bytes > 0 && find_death(log, len_bytes, ret_line) < ARRAY_SIZE(death_words);
}

void kernel_death_done(struct kernel_death *d)
{
	buf_done(&d->tail);
}

struct search {
	int64_t since_unix_s;
	unsigned names_left;
	unsigned depth;
	char folder[192];           /* for kernel_death.where */
	size_t best;                /* place in death_words */
	struct kernel_death *death; /* so far */
};

/*
 * "dmesg-ramoops-0", "dmesg-efi-1234"; not what the kernel could not unpack. The service manager makes a dmesg.txt of
 * the parts of one, but its time is that of the start; the parts keep that of the death.
 */
static bool is_log_name(const char *name)
{
	size_t len = strlen(name);

	return strncmp(name, "dmesg-", 6) == 0 && (len < 2 || strcmp(name + len - 2, ".z") != 0);
}

static void look_at_log(struct search *s, int dir_fd, const char *name)
{
	AUTO_BUF struct buf log = {0};
	char line[KERNEL_LINE_MAX] = "";
	size_t place;

	if (file_read(dir_fd, name, PSTORE_FILE_MAX_BYTES, &log) < 0 || log.len_bytes == 0)
		return;
	for (size_t i = 0; i < log.len_bytes; i++)
		if (log.data[i] == '\0')
			log.data[i] = ' ';
	place = find_death(log.data, log.len_bytes, line);
	if (place >= s->best)
		return;
	s->best = place;
	memcpy(s->death->line, line, sizeof(line));
	snprintf(s->death->where, sizeof(s->death->where), "%s/%s", s->folder, name);
	text_repair(s->death->where);
	keep_last_lines(&log);
	buf_done(&s->death->tail);
	s->death->tail = log;
	log = (struct buf){0};
}

static int visit(void *ctx, int dir_fd, const char *name)
{
	struct search *s = ctx;
	struct stat st;
	size_t len = strlen(s->folder);
	int r = 0;

	if (s->names_left == 0)
		return 1;
	s->names_left--;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (S_ISREG(st.st_mode) && is_log_name(name) && st.st_mtim.tv_sec >= s->since_unix_s)
		look_at_log(s, dir_fd, name);
	if (S_ISDIR(st.st_mode) && s->depth < PSTORE_DEPTH_MAX &&
		len + 1 + strlen(name) < sizeof(s->folder)) {
		AUTO_CLOSE int fd =
			openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		snprintf(s->folder + len, sizeof(s->folder) - len, "/%s", name);
		s->depth++;
		r = fd < 0 ? 0 : folder_each(fd, visit, s);
		s->depth--;
		s->folder[len] = '\0';
	}
	return r < 0 ? 0 : r;
}

void kernel_tail_find_death(const char *root, int64_t since_unix_s, struct kernel_death *ret_death)
{
	static const char *const folders[] = {"/sys/fs/pstore", "/var/lib/systemd/pstore"};
	struct kernel_death death = {0};
	struct search s = {
		.since_unix_s = since_unix_s,
		.names_left = PSTORE_NAMES_MAX,
		.best = ARRAY_SIZE(death_words),
		.death = &death,
	};

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		char path[PATH_MAX];
		AUTO_CLOSE int fd = -1;

		snprintf(path, sizeof(path), "%s%s", root, folders[i]);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		snprintf(s.folder, sizeof(s.folder), "%s", folders[i]);
		folder_each(fd, visit, &s);
	}
	kernel_death_done(ret_death);
	*ret_death = death;
}
