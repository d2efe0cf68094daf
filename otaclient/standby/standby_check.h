/*
 * standby_check: does the disk give back what the standby slot was made of?
 *
 * What was written went through memory, and what was kept may not have been read at all; a disk
 * that has lost or mixed up bytes says so only when it is asked. So the slot is read once more,
 * from the disk, before it is set up to boot.
 *
 *     note     once the slot is the image, with the writable mount's descriptor
 *     save     for the next update of this slot (inode_index)
 *     settle   when nobody will write to it any more
 *     read     once it was closed and mounted anew
 *
 * Files that were changed between note and settle (by persistent files, hooks, the boot controller) are no
 * longer the image's, and passed over, but their names must still be there.
 */
#pragma once

#include "common/base/err.h"
#include "common/image/file_table.h"
#include "otaclient/inventory/inventory.h"

struct standby_check;

/*
 * @table is borrowed. What @inv keeps whole is noted as it was before. @made: notes that were taken already
 * (standby_writer_take_notes), now the check's; NULL: none. 0, or -errno with a sentence;
 * -ECANCELED: stop() said so.
 */
int standby_check_note(const struct file_table *table, const struct inventory *inv,
	struct inode_note *made, int standby_fd, inventory_stop_fn *stop, void *stop_ctx,
	struct standby_check **ret_check, struct ota_err *err);

/* Write the index beside the image's lists on the slot; where there is no room for it, there is none. */
int standby_check_save(const struct standby_check *c, int standby_fd, struct ota_err *err);

/*
 * @device holds the file system, which is still mounted to be written to. 0; -EBADMSG (E313) for one whose note was
 * only believed, and is not true; -ECANCELED.
 */
int standby_check_settle(struct standby_check *c, int standby_fd, const char *device,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err);

/*
 * @device holds the file system, which is mounted read-only. 0; -EBADMSG (E313) for a file or folder that has
 * become another, in its bytes or its attributes; what the disk said; -ECANCELED.
 */
int standby_check_read(const struct standby_check *c, int standby_fd, const char *device,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err);

void standby_check_free(struct standby_check *c);
