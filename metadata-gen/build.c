/*
 * build: the order of a build. Contract: build.h.
 *
 * Read what signs and what rules, lock the output, believe the image to reuse, read the tree (from a folder: names
 * first, then the contents of what is listed; from a tar stream: both at once), write lists, place plain files, make
 * patches, sign, publish.
 */
#include "metadata-gen/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metadata-gen/rootfs_contents.h"
#include "metadata-gen/rootfs_tar.h"
#include "metadata-gen/verbs.h"

enum {
	PERSISTENTS_MAX_BYTES = 16 << 20,
};

void build_init(struct build *b, const struct build_options *opt)
{
	*b = (struct build){
		.opt = opt,
		.xattrs = {.more = opt->xattrs.at, .n_more = opt->xattrs.n},
		.kernels = opt->kernel ? KERNEL_NEWEST : KERNEL_ALL,
		.folder = IMAGE_FOLDER_NONE,
		.plain_fd = -1,
		.zst_fd = -1,
		.store_fd = -1,
		.old_zst_fd = -1,
		.old = OLD_IMAGE_NONE,
		.patch_fd = -1,
	};
}

void build_done(struct build *b)
{
	image_signer_done(&b->signer);
	buf_done(&b->persistents);
	ignore_rules_free(b->rules);
	rootfs_tree_free(b->tree);
	blob_store_free(b->store);
	image_lists_done(&b->lists);
	patches_result_done(&b->patches);
	old_image_done(&b->old);
	closep(&b->plain_fd);
	closep(&b->zst_fd);
	closep(&b->store_fd);
	closep(&b->old_zst_fd);
	closep(&b->patch_fd);
	image_folder_close(&b->folder);
}

/* ---- inputs ---- */

static void warn(const char *sentence)
{
	fprintf(stderr, "metadata_gen: warning: %s\n", sentence);
}

static int load_inputs(struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	const char *persistents = opt->persistents ? opt->persistents : "persistents.txt";
	AUTO_BUF struct buf rules = {0};
	int r = image_signer_load(&b->signer, opt->sign_key, opt->cert, err);

	if (r == 0 && opt->persistents)
		r = verb_read_file(opt->persistents, PERSISTENTS_MAX_BYTES, &b->persistents, err);
	if (r == 0)
		r = image_persistents_check(
			buf_str(&b->persistents), b->persistents.len_bytes, persistents, err);
	if (r == 0)
		image_persistents_warn(
			buf_str(&b->persistents), b->persistents.len_bytes, persistents, warn);
	if (r == 0 && opt->ignore_file)
		r = verb_read_file(opt->ignore_file, IGNORE_FILE_MAX_BYTES, &rules, err);
	if (r < 0)
		return r;
	return ignore_rules_parse(buf_str(&rules), rules.len_bytes, &b->rules, err);
}

static int check_all_apart(const struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	const struct image_folder *f = &b->folder;
	bool is_file = opt->tar && strcmp(opt->tar, "-") != 0;
	int r = image_folder_check_apart(f, "The root file system", opt->rootfs, true, err);

	if (r == 0)
		r = image_folder_check_apart(f, "The signing key", opt->sign_key, false, err);
	if (r == 0)
		r = image_folder_check_apart(f, "The ignore file", opt->ignore_file, false, err);
	if (r == 0 && is_file)
		r = image_folder_check_apart(f, "The tar file", opt->tar, false, err);
	if (r == 0)
		r = image_folder_check_old(f, "The image to reuse", opt->reuse, err);
	return r;
}

/* ---- the output folder ---- */

/* The image to reuse, and the one that is replaced, if they were made with the same settings. */
static int add_sources(struct build *b, struct blob_config *config, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	const struct old_image_trust trust = {
		.key = b->signer.key,
		.cert_path = opt->cert,
		.certs_dir = opt->certs,
	};
	int r = 0;

	blob_settings(config, b->settings);
	if (opt->reuse)
		r = old_image_open(opt->reuse, &trust, b->settings, &b->old, err);
	if (r < 0)
		return r;
	if (opt->reuse)
		config->sources[config->n_sources++] = (struct blob_source){
			.zst_fd = b->old.same_settings ? b->old.reader.zst_fd : -1,
			.plain_fd = b->old.reader.plain_fd,
			.table = b->old.reader.table,
		};
	if (b->folder.old_fd >= 0 && !opt->no_compress &&
		old_image_has_settings(b->folder.old_fd, b->settings))
		b->old_zst_fd = openat(b->folder.old_fd, IMAGE_ZST_DIR,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (b->old_zst_fd >= 0)
		config->sources[config->n_sources++] =
			(struct blob_source){.zst_fd = b->old_zst_fd, .plain_fd = -1};
	return 0;
}

static int open_store(struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	struct blob_config config = {
		.all_plain = opt->plain_all,
		.min_bytes = BLOB_MIN_BYTES,
		.min_ratio = BLOB_MIN_RATIO,
		.level = (int)opt->level,
		.n_jobs = (unsigned)opt->jobs,
	};
	int r = image_folder_make_dir(&b->folder, IMAGE_PLAIN_DIR, &b->plain_fd, err);

	if (r == 0)
		r = image_folder_make_dir(&b->folder, BUILD_PLAIN_STORE, &b->store_fd, err);
	if (r == 0 && !opt->no_compress)
		r = image_folder_make_dir(&b->folder, IMAGE_ZST_DIR, &b->zst_fd, err);
	if (r < 0)
		return r;
	config.zst_fd = b->zst_fd;
	config.plain_fd = b->store_fd;
	r = add_sources(b, &config, err);
	return r == 0 ? blob_store_new(&config, &b->store, err) : r;
}

/* ---- the tree ---- */

static int select_entries(struct build *b, struct ota_err *err)
{
	rootfs_tree_sort(b->tree);
	return rootfs_select(b->tree, b->rules, b->kernels, &b->report, err);
}

static int read_folder(struct build *b, struct ota_err *err)
{
	const char *rootfs = b->opt->rootfs;
	AUTO_CLOSE int fd = open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return ota_err_wrap(err, -errno, "Cannot open the root file system %s", rootfs);
	r = rootfs_walk(b->tree, fd, rootfs, &b->xattrs, err);
	if (r == 0)
		r = select_entries(b, err);
	if (r == 0)
		r = rootfs_contents_read(b->tree, fd,
			&(struct rootfs_reading){
				.store = b->store,
				.served_by_name = true,
				.n_jobs = (unsigned)b->opt->jobs,
			},
			err);
	return r;
}

static int read_tar(struct build *b, struct ota_err *err)
{
	const char *tar = b->opt->tar;
	bool is_stdin = strcmp(tar, "-") == 0;
	AUTO_CLOSE int fd = is_stdin ? dup(STDIN_FILENO) : open(tar, O_RDONLY | O_CLOEXEC);
	const char *where = is_stdin ? "on standard input" : tar;
	unsigned n_jobs = (unsigned)b->opt->jobs;
	struct stat st;
	int r;

	if (fd < 0)
		return ota_err_wrap(err, -errno, "Cannot open the tar file %s", tar);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return ota_err_set(err, -EISDIR, OTA_E_UNSPECIFIC,
			"Cannot read the tar file %s: it is a folder", where);
	r = rootfs_tar_read(b->tree, fd, where, b->store, b->rules, &b->xattrs, n_jobs, err);
	if (r == 0)
		r = select_entries(b, err);
	return r == 0 ? rootfs_tar_settle(b->tree, b->store, n_jobs, err) : r;
}

/* ---- the whole ---- */

int build_image(struct build *b, struct ota_err *err)
{
	int r = load_inputs(b, err);

	if (r == 0)
		r = image_folder_name(&b->folder, b->opt->output, err);
	if (r == 0)
		r = check_all_apart(b, err);
	if (r == 0)
		r = image_folder_open(&b->folder, err);
	if (r == 0)
		r = open_store(b, err);
	if (r < 0)
		return r;
	b->tree = rootfs_tree_new(b->opt->prefix);
	if (!b->tree)
		return ota_err_no_memory(err, "the names of the tree");
	r = b->opt->tar ? read_tar(b, err) : read_folder(b, err);
	if (r == 0)
		r = image_lists_write(b->tree, &b->lists, err);
	if (r == 0)
		r = image_lists_check(&b->lists, err);
	if (r == 0)
		r = build_place_plain(b, err);
	if (r == 0)
		r = build_make_patches(b, err);
	if (r == 0)
		r = build_write_parts(b, err);
	return r == 0 ? image_folder_publish(&b->folder, err) : r;
}
