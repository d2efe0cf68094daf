/*
 * standby_look: which files of a slot are, without a doubt, under their name the inode that was noted, told by folders
 * and by the tables of inodes; no file is opened. For the parts of standby_check alone: once before the slot is closed,
 * once after.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/crypto/digest.h"
#include "otaclient/slot/ext4_inodes.h"
#include "otaclient/standby/standby_notes.h"

struct standby_look {
	const struct standby_check *check;
	int standby_fd;
	inventory_stop_fn *stop;
	void *stop_ctx;

	/* The name of @file leads to @inode, as was noted. Is nothing left to ask of it? In the order of the inodes. */
	bool (*is_clear)(
		struct standby_look *look, uint32_t file, const struct ext4_inode_seen *inode);
	/* A folder of the table, or behind them the root; NULL: it does not open. From several threads; 0 or -errno. */
	int (*folder)(
		struct standby_look *look, size_t dir, const struct stat *st, struct ota_err *err);
	void *ctx; /* of both */

	uint8_t *seen[3]; /* one per entry, by entry_kind: see below */
	uint32_t *order; /* files by their inodes; at the end, those in doubt */
	size_t n_order, n_done;
	size_t n_doubts;
};

/* What a name in a folder has shown of an entry. */
enum {
	/* It is there; a link, with the target of the image's; a file's further name, for the inode that was noted. */
	SEEN_NAME = 1,
	SEEN_NOTED = 2, /* it is a file's first name, and leads to the inode that was noted */
};

/* Done with standby_look_done(), whatever this returns: 0, -ENOMEM, -ECANCELED, or what folder() said. */
int standby_look_run(struct standby_look *l, const char *device, struct ota_err *err);
void standby_look_done(struct standby_look *l);

bool standby_look_stopped(const struct standby_look *l);

/* The bytes of @file, which is open at @fd. 0, -ENOMEM, -ECANCELED, or what the disk said, with a sentence. */
int standby_look_digest(const struct standby_look *l, size_t file, int fd,
	struct digest *ret_digest, struct ota_err *err);

/* Of a file of the table. */
const char *standby_look_path(const struct standby_look *l, size_t file, char buf[PATH_MAX]);
