/*
 * ecu_info: who this ECU is and which ECUs are directly below it (/boot/ota/ecu_info.yaml).
 *
 * Format: docs/formats.md, "ecu_info.yaml"; ecu_info.yaml.example shows every key.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/config/conf_table.h"

enum {
	ECU_ID_MAX = 128,         /* bytes with the NUL */
	ECU_IDS_MAX = 128,        /* ECUs of one vehicle */
	ECU_SECONDARIES_MAX = 64, /* direct children of one ECU */
	ECU_API_PORT = 50051,
};

struct ecu_secondary {
	char ecu_id[ECU_ID_MAX];
	char ip_addr[CONF_IP_MAX];
	uint32_t port;
};

struct ecu_info {
	/* false: the file is missing or wrong, the rest are defaults, and updates are refused */
	bool loaded;
	bool wrong; /* not loaded although it could be read: it breaks a rule */
	char ecu_id[ECU_ID_MAX];
	char ip_addr[CONF_IP_MAX]; /* the API server binds here */
	const char *bootloader;    /* as boot_controller_open() takes it; a constant */
	uint32_t n_available;      /* at least 1 */
	/* whose status is shown; [ecu_id] if the file has none */
	char available_ecu_ids[ECU_IDS_MAX][ECU_ID_MAX];
	uint32_t n_secondaries;
	struct ecu_secondary secondaries[ECU_SECONDARIES_MAX];
};

/*
 * Always gives a usable description. If the file is missing or any rule is broken, that is the
 * default one ({ecu_id: autoware}, loaded false), after every broken rule was reported to @note
 * (may be NULL). 0, or -ENOMEM: that it is the default one says nothing about the file.
 */
int ecu_info_load(const char *path, conf_note_fn *note, void *ctx, struct ecu_info *ret_info);

/* The same from text; @name stands for the file in sentences. */
int ecu_info_parse(const char *text, size_t len_bytes, const char *name, conf_note_fn *note,
	void *ctx, struct ecu_info *ret_info);

/* The tables of the file's keys, for whoever explains them. */
const struct conf_key *ecu_info_keys(size_t *ret_n);
const struct conf_key *ecu_info_secondary_keys(size_t *ret_n);
