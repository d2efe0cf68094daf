/*
 * corpus_main: run a fuzz target over the files of its corpus, as a plain test.
 *
 * Linked with one tests/fuzz/fuzz_<parser>.c. Arguments: folders or files. Fails if there is nothing to run;
 * otherwise what fails is an assertion or a sanitizer.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	INPUT_MAX_BYTES = 1 << 20,
};

static int run_file(int dir_fd, const char *name)
{
	AUTO_BUF struct buf b = {0};

	if (file_read(dir_fd, name, INPUT_MAX_BYTES, &b) < 0) {
		fprintf(stderr, "cannot read %s\n", name);
		return -1;
	}
	LLVMFuzzerTestOneInput((const uint8_t *)buf_str(&b), b.len_bytes);
	return 0;
}

static int run_path(const char *path, unsigned *n_runs)
{
	AUTO_CLOSEDIR DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir) {
		++*n_runs;
		return run_file(AT_FDCWD, path);
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		if (run_file(dirfd(dir), e->d_name) < 0)
			return -1;
		++*n_runs;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned n_runs = 0;

	for (int i = 1; i < argc; i++)
		if (run_path(argv[i], &n_runs) < 0)
			return 1;
	printf("%u inputs\n", n_runs);
	return n_runs > 0 ? 0 : 1;
}
