/*
 * boot_inspect: what a boot loader's controller can say of a machine before an update of it is tried.
 *
 * Each controller has a table of checks in its ops; all take the open controller and change nothing. Ids are plain
 * words that never change, and the same thing has the same id with every boot loader.
 */
#pragma once

#include "common/base/finding.h"

struct boot_ctl;

struct boot_check {
	const char *id; /* NULL ends the table */
	void (*run)(const struct boot_ctl *ctl, struct finding *ret);
};
