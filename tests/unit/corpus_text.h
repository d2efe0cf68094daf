/*
 * corpus_text: a file of the fuzz targets' corpus, for tests in which memory ends (no_memory.h). There before it does.
 *
 * The program's one argument is the folder tests/fuzz/corpus.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>

#include "common/base/file.h"
#include "tests/unit/no_memory.h"

static const char *corpus_dir;
static struct buf text; /* what the run reads */

static inline bool corpus_given(int argc, char **argv)
{
	corpus_dir = argc == 2 ? argv[1] : NULL;
	return corpus_dir;
}

/* @path: below the corpus. */
static inline void read_text(const char *path)
{
	char full[4200];

	snprintf(full, sizeof(full), "%s/%s", corpus_dir, path);
	buf_done(&text);
	assert_int_equal(file_read(AT_FDCWD, full, 1 << 20, &text), 0);
}

/* For the end of the group. */
static inline int corpus_teardown(void **state)
{
	buf_done(&text);
	buf_done(&no_memory_said);
	return 0;
}
