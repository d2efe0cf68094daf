/*
 * doctor: look at a machine and say what would make an update of it fail, before one is tried.
 *
 * Nothing is changed. The checks run in a process of their own; one that hangs (a network file system whose server is
 * gone, a tool) or crashes costs its time limit, and the others go on.
 */
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/finding.h"

enum {
	DOCTOR_ID_MAX = 48,
	DOCTOR_LIMIT_MS = 45 * 1000, /* NVIDIA's tools are given 30 s */
};

struct doctor_options {
	const char *root;       /* "" = this machine */
	const char *tools_path; /* NULL = the default */
	uint32_t limit_ms;      /* for each check */
};

struct doctor_counts {
	unsigned n[VERDICT_FAILURE + 1]; /* by verdict */
};

/* One check is done. Ids and groups are plain words that never change; the texts are valid UTF-8. */
typedef void doctor_report_fn(
	void *ctx, const char *group, const char *id, const struct finding *f);

/* Run every check in order. An error only if no process can be made. */
int doctor_run(const struct doctor_options *o, doctor_report_fn *report, void *ctx,
	struct doctor_counts *ret_counts, struct ota_err *err);

/* "ok", "warning", "failure", "not looked at" */
const char *doctor_verdict_word(enum verdict v);
