/*
 * layered_conf: one setting of systemd, as its file and the drop-ins that change it say: of system.conf, or of a unit.
 *
 * The first folder that has the file is the one whose file counts; over it come the files in "<file>.d" of all folders,
 * in the order of their names, where again the first folder that has a name counts. Format: systemd.unit(5).
 */
#pragma once

#include <stddef.h>

#include "otaclient/doctor/machine.h"

/*
 * @folders: the most important first, NULL at the end. @ret_value: the last one that is set, "" = none is, or the last
 * one takes the others back. What is longer than @size is as if it were not there. 0 or -ENOMEM.
 */
int layered_conf_find(const struct machine *m, const char *const *folders, const char *file,
	const char *section, const char *key, char *ret_value, size_t size);
