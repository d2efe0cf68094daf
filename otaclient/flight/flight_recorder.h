/*
 * flight_recorder: what an update and its first boot did, kept where the other slot finds it, so that
 * a system that comes back can say why (return_reason).
 *
 * A ring file of fixed size on /boot, which is written when it is made and only overwritten in place
 * afterwards: a full /boot does not matter. Each record is synced before the call returns; a cut leaves
 * it out, or torn, which a reader leaves out. Where /boot belongs to each slot (CBoot), the new slot
 * goes on with a copy from when it was staged, and what it adds stays there, where return_reason looks.
 *
 * Nothing here ever fails: what cannot be written (a read-only /boot, a broken disk) is warned of in
 * the log, once, and then kept in memory alone. All functions take NULL for "no recorder". Any thread
 * may call them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "otaclient/flight/flight_record.h"

/* Both clients leave alone what they do not know in /boot/ota. */
#define FLIGHT_RECORDER_PATH "/boot/ota/flight-recorder"

struct flight_recorder;

/*
 * Open the ring at @path, or begin it anew if it is missing or is not one (whatever it is then: of
 * another size, garbage, a link). @slot: the one that runs. NULL only if memory is short.
 */
struct flight_recorder *flight_recorder_open(const char *path, const char *slot);
void flight_recorder_free(struct flight_recorder *r);

/*
 * Record something; not for checks, failures and the kernel's log. @subject may be NULL. Both are cut
 * and cleaned as need be. A start or two of an idle machine in a row are recorded as one, and those of
 * a daemon that dies again and again in one boot only a few times.
 */
void flight_recorder_note(struct flight_recorder *r, enum flight_kind kind, const char *subject,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The subject of FLIGHT_START where nothing was going on. */
#define FLIGHT_START_IDLE "keep"

/*
 * The result of a health check, @name as in a sentence ("10-network", "multi-user.target"); @how:
 * "exit 1: no route", "" if there is nothing to say. May be called again for each try: only a result
 * that differs from the one before takes room.
 */
void flight_recorder_check(struct flight_recorder *r, const char *name, bool ok, const char *how);

/* The end of an update, or what the machine's return says of it. */
void flight_recorder_failure(struct flight_recorder *r, enum ota_code code, const char *sentence);

/* The last lines of a kernel's log, from @where; as many as have room in a few records. */
void flight_recorder_kernel_log(struct flight_recorder *r, const char *where, const char *lines);

/*
 * The running kernel's last warnings, for when the new system gives up: before flight_recorder_note()
 * with FLIGHT_REVERT. Takes some milliseconds.
 */
void flight_recorder_kernel(struct flight_recorder *r);

/*
 * What is recorded so far, in its order: at most FLIGHT_CELLS, for which @ret_records has room. Returns
 * how many.
 */
size_t flight_recorder_copy(struct flight_recorder *r, struct flight_record *ret_records);

/*
 * The same of a file that somebody else may be writing, or has copied. -EBADMSG: it is none. A file
 * that is one may have no record yet.
 */
int flight_recorder_read_file(
	const char *path, struct flight_record *ret_records, size_t *ret_n, struct ota_err *err);

/* The file of another system, whose root is @root_fd. No link of it is followed. */
int flight_recorder_read_of(
	int root_fd, struct flight_record *ret_records, size_t *ret_n, struct ota_err *err);
