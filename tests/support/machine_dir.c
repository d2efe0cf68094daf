/*
 * machine_dir: a machine's temporary folder. Contract: machine_dir.h.
 */
#include "tests/support/machine_dir.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/run.h"

void machine_tool(const char *a, const char *b, const char *c, const char *d, struct buf *out)
{
	const char *const argv[] = {a, b, c, d, NULL};
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = out}, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

void machine_dir_path(const char *dir, const char *path, char ret[PATH_MAX])
{
	int n = snprintf(ret, PATH_MAX, "%s/%s", dir, path);

	assert(n > 0 && n < PATH_MAX);
}

void machine_dir_new(const char *name, char ret_dir[PATH_MAX])
{
	/* Memory where there is some: publishing is a syncfs of all that the folder lies on. */
	snprintf(ret_dir, PATH_MAX, "%s/%s.XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", name);
	if (!mkdtemp(ret_dir))
		abort();
}

void machine_dir_copy(const char *from, const char *name, char ret_dir[PATH_MAX])
{
	char all[PATH_MAX];

	machine_dir_new(name, ret_dir);
	machine_dir_path(from, ".", all);
	machine_tool("cp", "-a", all, ret_dir, NULL);
}

void machine_dir_done(const char *dir)
{
	machine_tool("rm", "-rf", dir, NULL, NULL);
}

void machine_dir_make(const char *dir, const char *path)
{
	char full[PATH_MAX];

	machine_dir_path(dir, path, full);
	machine_tool("mkdir", "-p", full, NULL, NULL);
}

void machine_dir_write(const char *dir, const char *path, const char *text)
{
	AUTO_FCLOSE FILE *f = NULL;
	char full[PATH_MAX];

	machine_dir_path(dir, path, full);
	f = fopen(full, "we");
	if (!f || fputs(text, f) < 0) {
		perror(full);
		abort();
	}
}

void machine_dir_put(const char *dir, const char *path, const char *from)
{
	char full[PATH_MAX];

	machine_dir_path(dir, path, full);
	machine_tool("cp", "-r", from, full, NULL);
}

void machine_dir_read(const char *dir, const char *path, struct buf *ret)
{
	char full[PATH_MAX];

	machine_dir_path(dir, path, full);
	if (file_read(AT_FDCWD, full, 1 << 20, ret) < 0) {
		fprintf(stderr, "cannot read %s\n", full);
		abort();
	}
}

void machine_dir_remove(const char *dir, const char *path)
{
	char full[PATH_MAX];

	machine_dir_path(dir, path, full);
	machine_tool("rm", "-rf", full, NULL, NULL);
}

bool machine_dir_exists(const char *dir, const char *path)
{
	char full[PATH_MAX];
	struct stat st;

	machine_dir_path(dir, path, full);
	return lstat(full, &st) == 0;
}
