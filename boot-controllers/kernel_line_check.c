/*
 * kernel_line_check: judge a kernel line. Contract: kernel_line_check.h.
 */
#include "boot-controllers/kernel_line_check.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "boot-controllers/kernel_line.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"

void kernel_line_check(const char *whose, const char *line, size_t len_bytes, const char *advice,
	struct finding *ret)
{
	int s = kernel_line_panic_s(line, len_bytes);

	if (s == 0)
		finding_warning(ret, advice,
			"%s has no panic= on its kernel line, so a kernel that panics stays so",
			whose);
	else if (s < 0)
		finding_ok(ret, "%s restarts at once when its kernel panics", whose);
	else
		finding_ok(ret, "%s restarts %d s after its kernel has panicked", whose, s);
}

void kernel_line_check_running(const char *root, const char *advice, struct finding *ret)
{
	AUTO_BUF struct buf b = {0};
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%.*s/proc/cmdline", PATH_MAX - 256, root);
	r = file_read(AT_FDCWD, path, KERNEL_LINE_MAX_BYTES, &b);
	if (r < 0)
		finding_not_looked(ret, "/proc/cmdline cannot be read: %s", file_read_why(r));
	else
		kernel_line_check("The running system", buf_str(&b), b.len_bytes, advice, ret);
}
