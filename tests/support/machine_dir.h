/*
 * machine_dir: the temporary folder that a machine of a test lives in, and small files below it. Whatever goes wrong
 * ends the test.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "common/base/buf.h"

/* A new, empty one; @name is part of its name. With copy, as @from is. */
void machine_dir_new(const char *name, char ret_dir[PATH_MAX]);
void machine_dir_copy(const char *from, const char *name, char ret_dir[PATH_MAX]);
void machine_dir_done(const char *dir); /* removes the folder */

void machine_dir_path(const char *dir, const char *path, char ret[PATH_MAX]);
void machine_dir_make(const char *dir, const char *path); /* a folder and those above it */
void machine_dir_write(const char *dir, const char *path, const char *text);
void machine_dir_put(const char *dir, const char *path, const char *from); /* a copy of a tree */
void machine_dir_read(const char *dir, const char *path, struct buf *ret);
void machine_dir_remove(const char *dir, const char *path);
bool machine_dir_exists(const char *dir, const char *path);

/* Run a program to its end; @out may be NULL. The arguments end with the first NULL. */
void machine_tool(const char *a, const char *b, const char *c, const char *d, struct buf *out);
