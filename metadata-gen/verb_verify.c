/*
 * verb_verify: check an image as it lies on disk, before it is published or where it is.
 */
#include "metadata-gen/verbs.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/cleanup.h"
#include "metadata-gen/image_check.h"
#include "metadata-gen/options.h"

enum {
	JOBS_MAX = 64,
};

static void say(void *ctx, const char *sentence)
{
	fprintf(stderr, "metadata_gen: %s\n", sentence);
}

static int run(const char *image_dir, const struct image_check_options *opt)
{
	struct image_check_result result = {0};
	struct ota_err err = {0};

	if (image_check(image_dir, opt, &result, &err) < 0)
		return verb_failed(&err);
	if (result.n_problems > 0) {
		fprintf(stderr, "metadata_gen: The image %s is not good: %" PRIu64 " problem%s\n",
			image_dir, result.n_problems, verb_plural(result.n_problems));
		return 1;
	}
	printf("%s: good; signature and %" PRIu64 " line%s", image_dir, result.n_lines,
		verb_plural(result.n_lines));
	if (opt->quick)
		printf(" checked, contents not\n");
	else
		printf(", %" PRIu64 " distinct content%s with %" PRIu64 " byte%s checked\n",
			result.n_contents, verb_plural(result.n_contents), result.n_bytes,
			verb_plural(result.n_bytes));
	return 0;
}

int verb_verify(int argc, char **argv)
{
	struct image_check_options o = {.problem = say, .note = say};
	uint64_t jobs = verb_default_jobs();
	/* clang-format off */
	const struct option_row rows[] = {
		{"certs", OPTION_TEXT, &o.certs_dir, "DIR", "the certificates that machines trust", true},
		{"quick", OPTION_FLAG, &o.quick, NULL, "leave the contents out"},
		{"jobs", OPTION_NUMBER, &jobs, "N", "threads (default: one for each processor)", false, 1,
			JOBS_MAX},
	};
	/* clang-format on */
	const struct option_table table = {
		.verb = "verify",
		.operands = "IMAGE_DIR",
		.n_operands = 1,
		.summary = "Check signature, certificate chain, lists and contents of an image, "
			   "and say all that "
			   "is wrong.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	const char *image_dir;
	int exit_status;

	if (!options_parse(&table, argc, argv, &image_dir, &exit_status))
		return exit_status;
	o.n_jobs = (unsigned)jobs;
	return run(image_dir, &o);
}
