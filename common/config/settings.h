/*
 * settings: everything else that an operator may change (/etc/otaclient/otaclient.yaml, optional).
 *
 * One table in settings.c describes every key; the parser, the messages, --help, the manual page and
 * otaclient.yaml.example come from it. docs/formats.md, "otaclient.yaml".
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/config/conf_table.h"

#define SETTINGS_PATH       "/etc/otaclient/otaclient.yaml"
#define SETTINGS_ENV_PREFIX "OTACLIENT_"

enum {
	CONF_USER_MAX = 64,    /* beyond useradd's 32 bytes, and two ids in decimal */
	CONF_UNIT_MAX = 256,   /* of systemd's names, with the NUL */
	CONF_UNITS_MAX = 1024, /* some dozens of them */
};

struct settings {
	char tls_ca[PATH_MAX];    /* file of trusted CAs for https; "" = the system's store */
	char certs_dir[PATH_MAX]; /* certificates that image signatures must lead to */
	char run_dir[PATH_MAX];
	char scratch_dir[PATH_MAX];
	char proxy_program[PATH_MAX];   /* the local proxy */
	char proxy_user[CONF_USER_MAX]; /* whom it becomes; "" = it stays as we are */
	char proxy_cache_dir[PATH_MAX];
	bool proxy_external_disk; /* it may use one */
	uint32_t download_connections;
	uint32_t inactivity_timeout_s;
	uint32_t max_download_mib; /* of one update; 0 = any */
	uint32_t listen_port;
	uint32_t update_cooldown_s;
	uint32_t children_wait_limit_s; /* 0 = none */
	uint32_t hook_timeout_s;
	bool health_check; /* before a new system is committed */
	uint32_t health_timeout_s;
	char health_target[CONF_UNIT_MAX]; /* "" = none */
	char health_units[CONF_UNITS_MAX]; /* names with white space between them; "" = none */
	uint32_t boot_attempts;      /* of a flipped slot */
	uint32_t committed_attempts; /* of a committed slot; 0 = as many as it likes */
	const char *log_level; /* a word that log_level_from_text() knows */
};

/*
 * Always gives usable settings: a key that is missing or wrong has its default. Returns 0, also if
 * there is no such file, or -EBADMSG if anything was reported to @note (may be NULL) as wrong. -ENOMEM: that they are
 * the usual ones says nothing about the file.
 */
int settings_load(const char *path, conf_note_fn *note, void *ctx, struct settings *ret_settings);
int settings_parse(const char *text, size_t len_bytes, const char *name, conf_note_fn *note,
	void *ctx, struct settings *ret_settings);

/*
 * Variables of @env ("NAME=value", NULL at the end) override what settings_load() gave; those of other clients that
 * mean nothing here are noticed. A wrong one leaves the setting alone: -EBADMSG, else 0.
 */
int settings_apply_env(
	const char *const *env, conf_note_fn *note, void *ctx, struct settings *settings);

/* The table for people: lines for --help, and the texts of otaclient.yaml.example and of the manual page
 * otaclient.yaml.5. 0 or -ENOMEM. */
int settings_print_help(struct buf *out);
int settings_print_man(struct buf *out);
int settings_print_example(struct buf *out);
