/*
 * command_line: what the daemon was started with. Its strings are those of argv.
 */
#pragma once

struct command_line {
	const char *config_dir;    /* never NULL */
	const char *certs_dir;     /* NULL = the settings' */
	const char *settings_path; /* NULL = SETTINGS_PATH, if it is there */
	const char *log_level;     /* NULL = the settings' */
};

/* 0: go on; 1: all was said that was asked for; -EINVAL: wrong usage, and it was said what. */
int command_line_read(int argc, char **argv, struct command_line *ret);
