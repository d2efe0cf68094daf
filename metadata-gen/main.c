/*
 * metadata_gen: build, sign, check and explain OTA images. This file has the table of verbs; each verb's options
 * are in its own file.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "metadata-gen/options.h"
#include "metadata-gen/verbs.h"

/* clang-format off */
static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} verbs[] = {
	{"build", verb_build, "make a signed image from a root file system"},
	{"verify", verb_verify, "check signature, lists and contents of an image"},
	{"inspect", verb_inspect, "say what is in an image and who signed it"},
	{"gen", verb_gen, "write the lists of a root file system (two-step builds)"},
	{"sign", verb_sign, "write metadata.jwt for lists (two-step builds)"},
};
/* clang-format on */

static void show_help(void)
{
	printf("Usage: metadata_gen VERB [OPTIONS]\n\n"
	       "Build, sign, check and explain OTA images.\n\nVerbs:\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
	printf("\nmetadata_gen VERB --help lists the options of a verb. Also: -h or --help, "
	       "--version.\n"
	       "Exit status: 0 done, 1 failed (stderr says what and why), 2 wrong usage.\n");
}

int verb_failed(const struct ota_err *err)
{
	fprintf(stderr, "metadata_gen: %s\n", err->msg);
	return 1;
}

int verb_read_file(const char *path, size_t max_bytes, struct buf *ret_text, struct ota_err *err)
{
	int r = file_read(AT_FDCWD, path, max_bytes, ret_text);

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read %s: %s", path,
			       file_read_why(r))
		     : 0;
}

const char *verb_plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

unsigned verb_default_jobs(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (unsigned)n : 1;
}

/* Output that never arrived is a failure, however well the work went: exit status 0 promises both. */
static int finish(int exit_status)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_status;
	fprintf(stderr, "metadata_gen: Cannot write to standard output: %s\n",
		errno ? strerror(errno) : "what was printed is not complete");
	return exit_status == 0 ? 1 : exit_status;
}

static int usage(const char *before, const char *what, const char *after)
{
	fprintf(stderr, "metadata_gen: %s%s%s; see metadata_gen --help\n", before, what, after);
	return OPTION_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	/* Names are UTF-8 whatever the terminal speaks; an image is readable for the server whatever our umask. */
	setlocale(LC_CTYPE, "C.UTF-8");
	umask(022);
	if (argc < 2)
		return usage("a verb is missing", "", "");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		show_help();
		return finish(0);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("metadata_gen %s\n", OTA_VERSION);
		return finish(0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, argv[1]) == 0)
			return finish(verbs[i].run(argc - 1, argv + 1));
	return usage("there is no verb \"", argv[1], "\"");
}
