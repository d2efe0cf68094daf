/*
 * configuration: the files that say how this ECU is to run, with the environment and the command line over them.
 */
#pragma once

#include "common/base/err.h"
#include "common/config/ecu_info.h"
#include "common/config/proxy_info.h"
#include "common/config/settings.h"
#include "otaclient/command_line.h"

struct configuration {
	struct settings settings;
	struct ecu_info ecu;
	struct proxy_info proxy;
	/* Of the command line, else of the settings. */
	const char *certs_dir, *log_level;
};

/*
 * Read all of it. @ret_c keeps its place and borrows from @options. What is wrong in a file is logged, and counts as if
 * it were not there; without a right ecu_info.yaml, @ret_c->ecu.loaded is false. The log's level is set on the way. 0,
 * -ENOMEM, or -errno: the settings that @options names cannot be read.
 */
int configuration_read(
	const struct command_line *options, struct configuration *ret_c, struct ota_err *err);

/* Log what will be missed, by those who ask this ECU or by its next download. */
void configuration_warn(const struct configuration *c, const struct command_line *options);
