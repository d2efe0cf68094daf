/*
 * tmp_dir: a folder of a test's own, gone at its end.
 */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct tmp_dir {
	char path[64];
	int fd;
};

static inline int tmp_dir_remove_one(
	const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline int tmp_dir_setup(void **state)
{
	struct tmp_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -1;
	snprintf(d->path, sizeof(d->path), "/tmp/ota-test-XXXXXX");
	if (!mkdtemp(d->path))
		return -1;
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = d;
	return d->fd < 0 ? -1 : 0;
}

static inline int tmp_dir_teardown(void **state)
{
	struct tmp_dir *d = *state;

	close(d->fd);
	nftw(d->path, tmp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(d);
	return 0;
}

#define tmp_dir_test(f) cmocka_unit_test_setup_teardown(f, tmp_dir_setup, tmp_dir_teardown)
