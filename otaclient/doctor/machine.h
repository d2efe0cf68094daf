/*
 * machine: the machine that is looked at: where it is, its configuration, its boot loader and its slots, each read
 * when the first check asks for it. Nothing is changed.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/buf.h"
#include "common/base/finding.h"
#include "common/config/ecu_info.h"
#include "common/config/proxy_info.h"
#include "common/config/settings.h"

enum {
	MACHINE_TEXT_MAX_BYTES = 1 << 20, /* of a small file; real ones have some kB */
};

/* What the reader of one configuration file had to say. */
struct machine_notes {
	unsigned n_wrong, n_notices;
	char wrong[FINDING_WHAT_MAX]; /* the first of each */
	char notice[FINDING_WHAT_MAX];
};

struct machine {
	char root[PATH_MAX];    /* prefix of every path; "" = this machine */
	const char *tools_path; /* PATH for external tools; NULL = the default */

	/* filled by machine_configure() */
	bool configured;
	struct ecu_info ecu;
	struct proxy_info proxy;
	struct settings settings;
	struct machine_notes ecu_notes, proxy_notes, settings_notes;

	/* filled by machine_open_boot() */
	bool boot_tried;
	struct boot_ctl *boot; /* NULL = the boot loader or the slots are not known, see boot_err */
	struct ota_err boot_err;
	struct slot_pair slots; /* only with @boot, or as a test says */
	bool slots_known;
};

/* @root is "" or has no final slash. -ENAMETOOLONG. */
int machine_init(struct machine *m, const char *root, const char *tools_path);
void machine_done(struct machine *m);

void machine_configure(struct machine *m);

/* 0, or the error that is in m->boot_err. */
int machine_open_boot(struct machine *m);

/* The same, but it says so in @ret where the slots are not known. */
bool machine_knows_slots(struct machine *m, struct finding *ret);

/* Where @path, absolute, is. */
const char *machine_path(const struct machine *m, const char *path, char ret_path[PATH_MAX]);

/* As file_read(), stat() and lstat(), in the machine; 0 or -errno. */
int machine_read(const struct machine *m, const char *path, size_t max_bytes, struct buf *ret);
int machine_stat(const struct machine *m, const char *path, struct stat *ret);
int machine_lstat(const struct machine *m, const char *path, struct stat *ret);

/* The first line of a small file without its end, cut to @size; "" if there is none. */
void machine_read_line(const struct machine *m, const char *path, char *ret_line, size_t size);
