/*
 * verb_build: what was asked for of a build (build.h).
 */
#include "metadata-gen/verbs.h"

#include <stdio.h>
#include <string.h>

#include "common/base/path.h"
#include "common/image/patch_list.h"
#include "metadata-gen/build.h"

enum {
	JOBS_MAX = 64,
};

static int usage(const char *sentence)
{
	fprintf(stderr, "metadata_gen build: %s; see metadata_gen build --help\n", sentence);
	return OPTION_EXIT_USAGE;
}

static int run(const struct build_options *opt)
{
	AUTO_BUILD struct build b;
	struct ota_err err = {0};

	build_init(&b, opt);
	if (build_image(&b, &err) < 0)
		return verb_failed(&err);
	build_report(&b);
	return 0;
}

int verb_build(int argc, char **argv)
{
	struct build_options o = {.prefix = "/", .level = BLOB_LEVEL, .jobs = verb_default_jobs()};
	/* clang-format off */
	const struct option_row rows[] = {
		{"rootfs", OPTION_TEXT, &o.rootfs, "DIR", "the root file system, a folder"},
		{"tar", OPTION_TEXT, &o.tar, "FILE", "or a tar of it; - reads standard input"},
		{"output", OPTION_TEXT, &o.output, "IMAGE_DIR", "the image; an older one is replaced", true},
		{"sign-key", OPTION_TEXT, &o.sign_key, "KEY", "private P-256 key, PEM", true},
		{"cert", OPTION_TEXT, &o.cert, "SIGN.pem", "certificate of that key, PEM", true},
		{"ignore-file", OPTION_TEXT, &o.ignore_file, "F", "rules of what to leave out"},
		{"persistents", OPTION_TEXT, &o.persistents, "F", "list of what machines keep over updates"},
		{"kernel", OPTION_TEXT, &o.kernel, "newest", "leave out all kernels in /boot but the newest"},
		{"prefix", OPTION_TEXT, &o.prefix, "P", "put the tree below P in the image (default /)"},
		{"xattr", OPTION_TEXTS, &o.xattrs, "NAME-PREFIX", "carry these extended attributes, too"},
		{"no-compress", OPTION_FLAG, &o.no_compress, NULL, "make no compressed contents and lists"},
		{"compress-level", OPTION_NUMBER, &o.level, "N", "zstd level (default 10)", false, 1,
			BLOB_LEVEL_MAX},
		{"jobs", OPTION_NUMBER, &o.jobs, "N", "threads (default: one for each processor)", false, 1,
			JOBS_MAX},
		{"plain-all", OPTION_FLAG, &o.plain_all, NULL, "store compressed contents plain as well"},
		{"patch-from", OPTION_TEXTS, &o.patch_from, "OLD_IMAGE", "make patches for those who have this image"},
		{"reuse", OPTION_TEXT, &o.reuse, "OLD_IMAGE", "take over from it what did not change"},
		{"certs", OPTION_TEXT, &o.certs, "DIR", "who may have signed that image (default: KEY)"},
	};
	/* clang-format on */
	const struct option_table table = {
		.verb = "build",
		.summary =
			"Make a signed image from a root file system, given by --rootfs or --tar.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	int exit_status;

	if (!options_parse(&table, argc, argv, NULL, &exit_status))
		return exit_status;
	if (!o.rootfs == !o.tar)
		return usage("either --rootfs or --tar is needed, not both");
	if (o.kernel && strcmp(o.kernel, "newest") != 0)
		return usage("--kernel knows only \"newest\"");
	if (strcmp(o.prefix, "/") != 0 && !path_is_canonical(o.prefix, strlen(o.prefix)))
		return usage("--prefix wants an absolute path without \".\", \"..\", \"//\" and "
			     "'/' at its end");
	if (o.patch_from.n > PATCHES_PER_CONTENT_MAX)
		return usage("--patch-from can be given 16 times at most");
	if (o.certs && !o.reuse)
		return usage("--certs is of use only with --reuse");
	return run(&o);
}
