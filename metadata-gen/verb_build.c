/*
 * verb_build: a signed image from a root file system, in one step.
 *
 * The order: read what signs and what rules, lock the output, believe the image to reuse, read the tree (from a
 * folder: names first, then the contents of what is listed; from a tar stream: both at once), write lists, place plain
 * files, make patches, sign, publish.
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
#include "common/base/path.h"
#include "common/image/patch_list.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_folder.h"
#include "metadata-gen/image_list_patches.h"
#include "metadata-gen/image_lists.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/image_patches.h"
#include "metadata-gen/old_image.h"
#include "metadata-gen/options.h"
#include "metadata-gen/rootfs_contents.h"
#include "metadata-gen/rootfs_select.h"
#include "metadata-gen/rootfs_tar.h"
#include "metadata-gen/rootfs_walk.h"

/* Contents on their way to their names; gone before the image is published. */
#define PLAIN_STORE ".plain"

enum {
	PERSISTENTS_MAX_BYTES = 16 << 20,
	JOBS_MAX = 64,
};

struct build_options {
	const char *rootfs, *tar; /* exactly one */
	const char *output, *sign_key, *cert;
	const char *ignore_file, *persistents; /* NULL = none */
	const char *kernel;                    /* "newest", or NULL for all */
	const char *prefix;
	const char *reuse, *certs; /* NULL = none */
	bool no_compress, plain_all;
	uint64_t level, jobs;
	struct option_texts xattrs, patch_from;
};

/* Everything a build holds. */
struct build {
	const struct build_options *opt;
	struct rootfs_xattr_rule xattrs;
	enum kernel_choice kernels;
	struct image_signer signer;
	struct buf persistents;
	struct ignore_rules *rules;
	struct image_folder folder;
	int plain_fd, zst_fd, store_fd, old_zst_fd, patch_fd;
	struct blob_store *store;
	struct old_image old; /* to reuse */
	char settings[BLOB_SETTINGS_MAX];
	struct rootfs_tree *tree;
	struct select_report report;
	struct image_lists lists;
	struct patches_result patches;
	struct image_list_patches_result list_patches;
	struct image_meta meta;
};

static void build_done(struct build *b)
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
#define AUTO_BUILD CLEANUP(build_done)

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

static int make_dir(int dir_fd, const char *name, int *ret_fd, struct ota_err *err)
{
	if (mkdirat(dir_fd, name, 0755) == 0)
		*ret_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? ota_err_wrap(err, -errno, "Cannot make %s in the image", name) : 0;
}

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
	int r = make_dir(b->folder.fd, IMAGE_PLAIN_DIR, &b->plain_fd, err);

	if (r == 0)
		r = make_dir(b->folder.fd, PLAIN_STORE, &b->store_fd, err);
	if (r == 0 && !opt->no_compress)
		r = make_dir(b->folder.fd, IMAGE_ZST_DIR, &b->zst_fd, err);
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

/* ---- writing ---- */

static bool is_plain_needed(const struct build *b, const struct rootfs_entry *e)
{
	if (e->node->kind != ROOTFS_FILE)
		return false;
	if (e->fate == FATE_LISTED && (b->opt->plain_all || !e->node->blob->has_zst))
		return true;
	return rootfs_is_served_by_name(e);
}

static int place_plain(struct build *b, struct ota_err *err)
{
	AUTO_BLOB_HAND struct blob_hand *hand = blob_hand_new(b->store);
	int r;

	if (!hand)
		return ota_err_no_memory(err, "hashing");
	for (size_t i = 0; i < b->tree->n_entries; i++) {
		struct rootfs_entry *e = b->tree->entries[i];

		if (e->node->kind == ROOTFS_FILE && e->fate == FATE_LISTED)
			e->node->blob->wanted = true;
		if (!is_plain_needed(b, e))
			continue;
		r = blob_place(hand, e->node->blob, b->plain_fd, e->image_path + 1, err);
		if (r < 0)
			return r;
	}
	r = blob_store_sweep(b->store, err);
	if (r < 0)
		return r;
	r = image_folder_remove(b->folder.fd, PLAIN_STORE);
	return r < 0 ? ota_err_wrap(err, r, "Cannot remove the working folder of the image") : 0;
}

static int write_part(struct build *b, const char *name, const struct buf *text,
	struct image_part *ret_part, struct ota_err *err)
{
	return image_part_make(b->folder.fd, name, buf_str(text), text->len_bytes, ret_part, err);
}

/* With its compressed form, if it has one of use. */
static int write_list(struct build *b, const char *name, const struct buf *text,
	struct image_part *ret_part, struct ota_err *err)
{
	AUTO_BUF struct buf zst = {0};
	char zst_name[IMAGE_META_ZST_NAME_MAX];
	int r = write_part(b, name, text, ret_part, err);

	if (r == 0 && !b->opt->no_compress)
		r = image_list_compress(
			buf_str(text), text->len_bytes, (int)b->opt->level, &zst, err);
	if (r <= 0)
		return r;
	image_meta_add_zst(&b->meta, ret_part);
	image_part_zst_name(ret_part, zst_name);
	return write_part(b, zst_name, &zst, NULL, err);
}

static int make_patches(struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	AUTO_IMAGE_READER struct image_reader made = IMAGE_READER_NONE;
	int r;

	if (opt->patch_from.n == 0)
		return 0;
	r = make_dir(b->folder.fd, PATCH_DIR, &b->patch_fd, err);
	if (r == 0)
		r = image_reader_open_parts(b->folder.fd, IMAGE_PLAIN_DIR,
			opt->no_compress ? NULL : IMAGE_ZST_DIR, &b->lists.regulars, &made, err);
	if (r < 0)
		return r;
	return image_patches_make(
		&(struct patches_config){
			.made = &made,
			.old_images = opt->patch_from.at,
			.n_old_images = opt->patch_from.n,
			.reuse = b->old.same_settings ? &b->old : NULL,
			.dir_fd = b->patch_fd,
			.level = (int)opt->level,
			.n_jobs = (unsigned)opt->jobs,
		},
		&b->patches, err);
}

/* Behind the lists, whose digests name them. */
static int make_list_patches(struct build *b, struct ota_err *err)
{
	const struct build_options *opt = b->opt;
	const struct image_meta *m = &b->meta;
	/* clang-format off */
	const struct image_list_patches_config config = {
		.lists = {
			{&m->dirs, &b->lists.dirs},
			{&m->symlinks, &b->lists.symlinks},
			{&m->regulars, &b->lists.regulars},
			{&m->persistents, &b->persistents},
			{&m->attributes, &b->lists.attributes},
		},
		.image_fd = b->folder.fd,
		.dir_fd = b->patch_fd,
		.old_images = opt->patch_from.at,
		.n_old_images = opt->patch_from.n,
		.level = (int)opt->level,
	};
	/* clang-format on */

	if (b->patch_fd < 0)
		return 0;
	return image_list_patches_make(&config, &b->meta, &b->list_patches, err);
}

static int write_parts(struct build *b, struct ota_err *err)
{
	struct image_meta *meta = &b->meta;
	AUTO_BUF struct buf size = {0};
	int r;

	if (buf_printf(&size, "%" PRIu64, b->lists.total_size_bytes) < 0)
		return ota_err_no_memory(err, "a number");
	r = write_list(b, "dirs.txt", &b->lists.dirs, &meta->dirs, err);
	if (r == 0)
		r = write_list(b, "symlinks.txt", &b->lists.symlinks, &meta->symlinks, err);
	if (r == 0)
		r = write_list(b, "regulars.txt", &b->lists.regulars, &meta->regulars, err);
	if (r == 0)
		r = write_list(b, "attributes.txt", &b->lists.attributes, &meta->attributes, err);
	if (r == 0)
		r = write_list(b, "persistents.txt", &b->persistents, &meta->persistents, err);
	if (r == 0 && b->patch_fd >= 0)
		r = write_list(b, "patches.txt", &b->patches.list, &meta->patches, err);
	if (r == 0)
		r = write_part(b, b->signer.cert_name, &b->signer.cert, &meta->certificate, err);
	if (r == 0)
		r = write_part(b, IMAGE_TOTAL_SIZE, &size, NULL, err);
	return r;
}

static int write_jwt(struct build *b, struct ota_err *err)
{
	struct image_meta *meta = &b->meta;
	AUTO_BUF struct buf jwt = {0};
	int r;

	meta->total_regular_size_bytes = b->lists.total_size_bytes;
	memcpy(meta->rootfs_dir, IMAGE_PLAIN_DIR, sizeof(IMAGE_PLAIN_DIR));
	if (!b->opt->no_compress)
		memcpy(meta->compressed_dir, IMAGE_ZST_DIR, sizeof(IMAGE_ZST_DIR));
	memcpy(meta->compression, b->settings, sizeof(b->settings));
	r = image_meta_write(meta, b->signer.key, &jwt, err);
	if (r < 0)
		return r;
	digest_of(buf_str(&jwt), jwt.len_bytes, &meta->jwt_digest);
	return image_part_make(b->folder.fd, IMAGE_JWT, buf_str(&jwt), jwt.len_bytes, NULL, err);
}

/* ---- the whole ---- */

static int build_image(struct build *b, struct ota_err *err)
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
		r = place_plain(b, err);
	if (r == 0)
		r = make_patches(b, err);
	if (r == 0)
		r = write_parts(b, err);
	if (r == 0)
		r = make_list_patches(b, err);
	if (r == 0)
		r = write_jwt(b, err);
	return r == 0 ? image_folder_publish(&b->folder, err) : r;
}

static void show_damaged(uint64_t n, const char *what)
{
	if (n > 0)
		fprintf(stderr,
			"metadata_gen: warning: %" PRIu64
			" compressed content%s of the image %s %s damaged and made anew\n",
			n, verb_plural(n), what, n == 1 ? "was" : "were");
}

static void show_warnings(const struct build *b, const struct blob_counts *counts)
{
	uint64_t n_lost = b->patches.n_unreadable, n_lists = b->list_patches.n_unreadable;

	if (b->opt->reuse && !b->old.same_settings)
		fprintf(stderr,
			"metadata_gen: warning: compressed contents of the image to reuse, %s, are "
			"made anew: its compression is \"%s\", not \"%s\"\n",
			b->opt->reuse, b->old.settings, b->settings);
	if (b->opt->reuse)
		show_damaged(counts->n_refused[0], "to reuse");
	show_damaged(counts->n_refused[b->opt->reuse ? 1 : 0], "of before");
	if (n_lost > 0)
		fprintf(stderr,
			"metadata_gen: warning: %" PRIu64
			" content%s of the images to patch from %s missing or damaged, so no patch "
			"starts there\n",
			n_lost, verb_plural(n_lost), n_lost == 1 ? "is" : "are");
	if (n_lists > 0)
		fprintf(stderr,
			"metadata_gen: warning: %" PRIu64
			" list%s of the images to patch from %s missing or damaged, so no patch "
			"starts there\n",
			n_lists, verb_plural(n_lists), n_lists == 1 ? "is" : "are");
}

/* How many there are, and by which way their older contents were found. */
static void show_patches(const struct patches_result *p)
{
	static const char *const ways[PATCH_WAYS] = {
		[PATCH_WAY_PATH] = "the same path",
		[PATCH_WAY_VERSIONED] = "the same path but for version numbers",
		[PATCH_WAY_NAME] = "the same name in another folder",
		[PATCH_WAY_CONTENT] = "what has much in common",
	};

	printf("%" PRIu64 " patch%s with %" PRIu64 " byte%s, %" PRIu64 " taken over\n", p->n_patches,
		p->n_patches == 1 ? "" : "es", p->patch_bytes, verb_plural(p->patch_bytes),
		p->n_reused);
	for (unsigned i = 0; i < PATCH_WAYS; i++)
		if (p->by_way[i].n > 0)
			printf("  %" PRIu64 " from %s: %" PRIu64 " bytes in place of %" PRIu64 "\n",
				p->by_way[i].n, ways[i], p->by_way[i].patch_bytes,
				p->by_way[i].whole_bytes);
}

static void show_list_patches(const struct patch_sums *sums)
{
	if (sums->n > 0)
		printf("%" PRIu64 " patch%s of lists: %" PRIu64 " bytes in place of %" PRIu64 "\n",
			sums->n, sums->n == 1 ? "" : "es", sums->patch_bytes, sums->whole_bytes);
}

static void show_result(const struct build *b)
{
	const struct image_lists *l = &b->lists;
	struct blob_counts counts;
	char hex[DIGEST_HEX_MAX];

	select_report_show(&b->report);
	blob_store_counts(b->store, &counts);
	show_warnings(b, &counts);
	digest_to_hex(&b->meta.jwt_digest, hex);
	printf("%s: %" PRIu64 " director%s, %" PRIu64 " link%s, %" PRIu64 " file%s with %" PRIu64
	       " byte%s; %" PRIu64 " content%s compressed, %" PRIu64 " taken over\n",
		b->folder.path, l->n_dirs, l->n_dirs == 1 ? "y" : "ies", l->n_symlinks,
		verb_plural(l->n_symlinks), l->n_files, verb_plural(l->n_files),
		l->total_size_bytes, verb_plural(l->total_size_bytes), counts.n_compressed,
		verb_plural(counts.n_compressed), counts.n_reused);
	if (b->patch_fd >= 0)
		show_patches(&b->patches);
	show_list_patches(&b->list_patches.sums);
	printf("identity %s\n", hex);
}

static int usage(const char *sentence)
{
	fprintf(stderr, "metadata_gen build: %s; see metadata_gen build --help\n", sentence);
	return OPTION_EXIT_USAGE;
}

static int run(const struct build_options *opt)
{
	AUTO_BUILD struct build b = {
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
	struct ota_err err = {0};

	if (build_image(&b, &err) < 0)
		return verb_failed(&err);
	show_result(&b);
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
