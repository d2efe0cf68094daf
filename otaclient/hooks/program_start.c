/*
 * program_start: the first bytes of a program. Contract: program_start.h.
 *
 * As execve(2) has it: a script begins with "#!", behind it the interpreter, up to white space. A file of text that
 * does not is started by shells alone, and there is none between the daemon and its programs.
 */
#include "otaclient/hooks/program_start.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/image/utf8.h"

enum {
	HEAD_BYTES = 256, /* what the kernel looks at */
};

/* A program in another form than the machine's own, which binfmt_misc may know, has other bytes. */
static bool is_text(const char *head, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (head[i] == 0x7f ||
			((unsigned char)head[i] < ' ' && !strchr("\t\n\r\f", head[i])))
			return false;
	return memchr(head, '\0', len) == NULL;
}

/* They are started in "/". */
static bool is_program(const char *path, size_t len)
{
	char full[HEAD_BYTES + 1];
	struct stat st;

	snprintf(full, sizeof(full), "%s%.*s", path[0] == '/' ? "" : "/", (int)len, path);
	return stat(full, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

/* @line: behind "#!", and a NUL behind @len. */
static bool script_fails(const char *line, size_t len, char ret_why[PROGRAM_START_WHY_MAX])
{
	const char *end = memchr(line, '\n', len), *name = line + strspn(line, " \t");
	char shown[UTF8_SHOW_MAX];
	size_t name_len = strcspn(name, " \t\n");

	/* Longer than what is looked at: the kernel knows better. */
	if (!end && len >= HEAD_BYTES - 2)
		return false;
	if (end && end > line && end[-1] == '\r' && name_len > 0) {
		snprintf(ret_why, PROGRAM_START_WHY_MAX,
			"its lines end with CR LF, as on Windows; a script's must end with LF");
		return true;
	}
	if (name_len > 0 && is_program(name, name_len))
		return false;
	if (name_len == 0)
		snprintf(ret_why, PROGRAM_START_WHY_MAX, "it names no interpreter behind #!");
	else
		snprintf(ret_why, PROGRAM_START_WHY_MAX, "its interpreter \"%s\" is not there",
			utf8_show(name, name_len, shown));
	return true;
}

bool program_start_fails(int dir_fd, const char *name, char ret_why[PROGRAM_START_WHY_MAX])
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char head[HEAD_BYTES + 1];
	ssize_t n = fd < 0 ? -1 : pread(fd, head, HEAD_BYTES, 0);

	if (n < 0)
		return false;
	head[n] = '\0';
	if (n == 0) {
		snprintf(ret_why, PROGRAM_START_WHY_MAX, "it is empty");
		return true;
	}
	if (n >= 2 && head[0] == '#' && head[1] == '!')
		return script_fails(head + 2, (size_t)n - 2, ret_why);
	if (!is_text(head, (size_t)n))
		return false;
	snprintf(ret_why, PROGRAM_START_WHY_MAX, "it is a script without a #! line");
	return true;
}
