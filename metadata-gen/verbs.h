/*
 * verbs: what metadata_gen can do; main.c has the table. Each gets its own argv (argv[0] is the verb) and returns
 * the exit status: 0 done, 1 failed after a sentence on stderr, 2 wrong usage.
 */
#pragma once

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

int verb_build(int argc, char **argv);
int verb_verify(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_gen(int argc, char **argv);
int verb_sign(int argc, char **argv);

/* Print the sentence of a failure; returns exit status 1. */
int verb_failed(const struct ota_err *err);

/* Read a small file that the operator names. */
int verb_read_file(const char *path, size_t max_bytes, struct buf *ret_text, struct ota_err *err);

/* What a noun gets behind its number: "" or "s". */
const char *verb_plural(uint64_t n);

/* Processors to use when nothing is said. */
unsigned verb_default_jobs(void);
