/*
 * image_folder: the folder that a build writes. It is made beside its place and moved there whole, in one step, so
 * that whoever looks finds the image of before or the new one, and nothing if there was none before.
 *
 * IMAGE_DIR.partial is the folder in the making. Its lock, and the old image's, keep a second build away; they
 * go with the process. What a killed build left behind is recognised by a marker in it, and removed.
 */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"

struct image_folder {
	char *path;    /* of the image, without '/' at its end */
	char *real;    /* the same, absolute and without links */
	char *partial; /* path + ".partial" */
	int parent_fd;
	int fd;     /* the folder in the making, locked */
	int old_fd; /* the image that is there, locked; -1: none */
	bool published;
};

/* Note where the image is to be. Changes nothing. 0, or a sentence if that place cannot have an image. */
int image_folder_name(struct image_folder *f, const char *path, struct ota_err *err);

/*
 * The whole folder is replaced at the end, so nothing that the operator needs may lie in it. @path is one such
 * thing, @what its name for the sentence; NULL is fine. With @is_source the image may not lie in it either. -EINVAL.
 */
int image_folder_check_apart(const struct image_folder *f, const char *what, const char *path,
	bool is_source, struct ota_err *err);

/*
 * An older image may be the very one that is replaced, since it goes last; but it may neither lie in it nor be what an
 * earlier build left beside it. -EINVAL.
 */
int image_folder_check_old(
	const struct image_folder *f, const char *what, const char *path, struct ota_err *err);

/*
 * Lock the place and make an empty folder beside it. 0, or
 *   -EBUSY     another build is writing this image
 *   -ENOTEMPTY what is there, or in the place of the folder in the making, is not ours, so it is not replaced
 */
int image_folder_open(struct image_folder *f, struct ota_err *err);

/* A new folder in the one in the making, open. */
int image_folder_make_dir(
	struct image_folder *f, const char *name, int *ret_fd, struct ota_err *err);

/* Make all that was written durable, put it in its place, remove the image of before. */
int image_folder_publish(struct image_folder *f, struct ota_err *err);

/* Without a publish, the unfinished folder goes. */
void image_folder_close(struct image_folder *f);
#define AUTO_IMAGE_FOLDER CLEANUP(image_folder_close)
#define IMAGE_FOLDER_NONE                               \
	{                                               \
		.parent_fd = -1, .fd = -1, .old_fd = -1 \
	}

/* Remove a folder and all below it, links not followed. -ENOENT is fine. */
int image_folder_remove(int dir_fd, const char *name);
