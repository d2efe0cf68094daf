/*
 * verb_gen: the lists of a root file system, and its compressed contents, without a signature: the first of the two
 * steps of pipelines that publish the tree itself as the image's plain folder. The tree is only read.
 */
#include "metadata-gen/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/io.h"
#include "common/base/path.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_lists.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/options.h"
#include "metadata-gen/rootfs_contents.h"
#include "metadata-gen/rootfs_select.h"
#include "metadata-gen/rootfs_walk.h"

struct gen_options {
	const char *target_dir, *compressed_dir; /* compressed_dir NULL = none */
	double ratio;
	uint64_t min_bytes;
	const char *prefix, *output_dir;
	const char *dirs, *symlinks, *regulars, *total_size;
	const char *ignore_file;
};

static int open_dir(const char *path, int *ret_fd, struct ota_err *err)
{
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? ota_err_wrap(err, -errno, "Cannot open the folder %s", path) : 0;
}

static int open_compressed(const char *path, int *ret_fd, struct ota_err *err)
{
	if (!path)
		return 0;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return ota_err_wrap(err, -errno, "Cannot make the folder %s", path);
	return open_dir(path, ret_fd, err);
}

static int load_rules(const char *path, struct ignore_rules **ret_rules, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = verb_read_file(path, IGNORE_FILE_MAX_BYTES, &text, err);

	return r < 0 ? ota_err_wrap(err, r, "The ignore file is missing")
		     : ignore_rules_parse(buf_str(&text), text.len_bytes, ret_rules, err);
}

static int read_tree(const struct gen_options *o, struct rootfs_tree *tree,
	struct blob_store *store, struct select_report *ret_report, struct ota_err *err)
{
	static const struct rootfs_xattr_rule no_xattrs = {.none = true};
	AUTO_IGNORE_RULES struct ignore_rules *rules = NULL;
	AUTO_CLOSE int fd = -1;
	int r = load_rules(o->ignore_file, &rules, err);

	if (r == 0)
		r = open_dir(o->target_dir, &fd, err);
	if (r == 0)
		r = rootfs_walk(tree, fd, o->target_dir, &no_xattrs, err);
	if (r < 0)
		return r;
	rootfs_tree_sort(tree);
	r = rootfs_select(tree, rules, KERNEL_NEWEST_IF_ANY, ret_report, err);
	if (r == 0)
		r = rootfs_contents_read(tree, fd,
			&(struct rootfs_reading){
				.store = store,
				.n_jobs = verb_default_jobs(),
			},
			err);
	return r;
}

static int write_file(int dir_fd, const char *name, const struct buf *text, struct ota_err *err)
{
	int r = path_is_component(name, strlen(name)) ? 0 : -EINVAL;

	if (r == 0)
		r = io_replace_file("gen.list", dir_fd, name, buf_str(text), text->len_bytes, 0644);
	return r < 0 ? ota_err_wrap(err, r, "Cannot write %s", name) : 0;
}

static int write_lists(const struct gen_options *o, int dir_fd, const struct image_lists *lists,
	struct ota_err *err)
{
	AUTO_BUF struct buf size = {0};
	int r;

	if (buf_printf(&size, "%" PRIu64, lists->total_size_bytes) < 0)
		return ota_err_no_memory(err, "a number");
	r = write_file(dir_fd, o->dirs, &lists->dirs, err);
	if (r == 0)
		r = write_file(dir_fd, o->symlinks, &lists->symlinks, err);
	if (r == 0)
		r = write_file(dir_fd, o->regulars, &lists->regulars, err);
	if (r == 0)
		r = write_file(dir_fd, o->total_size, &size, err);
	return r;
}

static int gen(const struct gen_options *o, struct select_report *ret_report,
	struct rootfs_tree *tree, struct ota_err *err)
{
	AUTO_CLOSE int out_fd = -1, zst_fd = -1;
	AUTO_BLOB_STORE struct blob_store *store = NULL;
	AUTO_IMAGE_LISTS struct image_lists lists = {0};
	int r = open_dir(o->output_dir, &out_fd, err);

	if (r == 0)
		r = open_compressed(o->compressed_dir, &zst_fd, err);
	if (r < 0)
		return r;
	r = blob_store_new(
		&(struct blob_config){
			.zst_fd = zst_fd,
			.plain_fd = -1,
			.sources = {{.zst_fd = zst_fd, .plain_fd = -1, .in_place = true}},
			.n_sources = zst_fd >= 0 ? 1 : 0,
			.min_bytes = o->min_bytes,
			.min_ratio = o->ratio,
			.level = BLOB_LEVEL,
			.n_jobs = verb_default_jobs(),
		},
		&store, err);
	if (r == 0)
		r = read_tree(o, tree, store, ret_report, err);
	if (r == 0)
		r = image_lists_write(tree, &lists, err);
	if (r == 0)
		r = image_lists_check(&lists, err);
	/* Contents first: a list never speaks of a content that a power cut could take away. */
	if (r == 0 && zst_fd >= 0) {
		r = io_sync_fs("gen.contents", zst_fd);
		if (r < 0)
			return ota_err_wrap(err, r, "Cannot make %s durable", o->compressed_dir);
	}
	return r == 0 ? write_lists(o, out_fd, &lists, err) : r;
}

static int run(const struct gen_options *o)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = rootfs_tree_new(o->prefix);
	uint64_t start_ms = clock_monotonic_ms();
	struct select_report report = {0};
	struct ota_err err = {0};

	if (!tree) {
		ota_err_no_memory(&err, "the names of the tree");
		return verb_failed(&err);
	}
	if (gen(o, &report, tree, &err) < 0)
		return verb_failed(&err);
	select_report_show(&report);
	printf("It took %.1f seconds!\n", (double)(clock_monotonic_ms() - start_ms) / 1000);
	return 0;
}

int verb_gen(int argc, char **argv)
{
	struct gen_options o = {
		.ratio = BLOB_MIN_RATIO,
		.min_bytes = BLOB_MIN_BYTES,
		.prefix = "/",
		.output_dir = ".",
		.dirs = "dirs.txt",
		.symlinks = "symlinks.txt",
		.regulars = "regulars.txt",
		.total_size = IMAGE_TOTAL_SIZE,
		.ignore_file = "ignore.txt",
	};
	/* clang-format off */
	const struct option_row rows[] = {
		{"target-dir", OPTION_TEXT, &o.target_dir, "DIR", "the root file system", true},
		{"compressed-dir", OPTION_TEXT, &o.compressed_dir, "DIR",
			"put compressed contents there (default: make none)"},
		{"compress-ratio", OPTION_REAL, &o.ratio, "R", "compress what shrinks so much (default 1.25)"},
		{"compress-filesize", OPTION_NUMBER, &o.min_bytes, "N",
			"compress files from this size on (default 16384)", false, 0, UINT64_MAX},
		{"prefix", OPTION_TEXT, &o.prefix, "P", "put the tree below P in the image (default /)"},
		{"output-dir", OPTION_TEXT, &o.output_dir, "DIR", "where the lists go (default .)"},
		{"directory-file", OPTION_TEXT, &o.dirs, "NAME", "(default dirs.txt)"},
		{"symlink-file", OPTION_TEXT, &o.symlinks, "NAME", "(default symlinks.txt)"},
		{"regular-file", OPTION_TEXT, &o.regulars, "NAME", "(default regulars.txt)"},
		{"total-regular-size-file", OPTION_TEXT, &o.total_size, "NAME",
			"(default total_regular_size.txt)"},
		{"ignore-file", OPTION_TEXT, &o.ignore_file, "F", "rules of what to leave out (default ignore.txt)"},
	};
	/* clang-format on */
	const struct option_table table = {
		.verb = "gen",
		.summary =
			"Write the lists of a root file system; \"sign\" makes an image of them.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	int exit_status;

	if (!options_parse(&table, argc, argv, NULL, &exit_status))
		return exit_status;
	if (strcmp(o.prefix, "/") != 0 && !path_is_canonical(o.prefix, strlen(o.prefix))) {
		fprintf(stderr,
			"metadata_gen gen: --prefix wants an absolute path without \"..\"\n");
		return OPTION_EXIT_USAGE;
	}
	return run(&o);
}
