/*
 * build: a signed image from a root file system, in one step. For the parts of it alone:
 *
 *     verb_build     what was asked for
 *     build          the order of it all; inputs, output folder, and the tree
 *     build_write    what the image consists of
 *     build_report   what is told at the end
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/image_folder.h"
#include "metadata-gen/image_list_patches.h"
#include "metadata-gen/image_lists.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/image_patches.h"
#include "metadata-gen/old_image.h"
#include "metadata-gen/options.h"
#include "metadata-gen/rootfs_select.h"
#include "metadata-gen/rootfs_walk.h"

/* Contents on their way to their names; gone before the image is published. */
#define BUILD_PLAIN_STORE ".plain"

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

void build_init(struct build *b, const struct build_options *opt);
void build_done(struct build *b);
#define AUTO_BUILD CLEANUP(build_done)

/* All of it, up to the published image. 0, or -errno with a sentence; then nothing is published. */
int build_image(struct build *b, struct ota_err *err);

/* Plain contents under the names that they are served by, once the lists are known. */
int build_place_plain(struct build *b, struct ota_err *err);

int build_make_patches(struct build *b, struct ota_err *err);

/* Lists, certificate, patches of lists, and metadata.jwt, which names them all. */
int build_write_parts(struct build *b, struct ota_err *err);

/* Warnings on standard error, figures and identity on standard output. */
void build_report(const struct build *b);
