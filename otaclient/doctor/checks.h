/*
 * checks: every look that is taken at a machine, one function each. The table of them, with their ids and their order,
 * is in doctor.c.
 *
 * A check changes nothing, and puts at least one sentence into @ret, which comes empty.
 */
#pragma once

#include "otaclient/doctor/machine.h"

typedef void check_fn(struct machine *m, struct finding *ret);

/* config_checks.c: the files that say who this ECU is */
check_fn check_ecu_info, check_bootloader, check_own_id, check_secondaries, check_proxy_info,
	check_settings;

/* boot_checks.c: the boot loader's controller */
check_fn check_controller;

/* network_checks.c: addresses and ports */
check_fn check_address, check_api_port, check_proxy_port;

/* slots_checks.c: the two slots, and above all the one that is written */
check_fn check_slot_sizes, check_slot_ids, check_standby_fs, check_standby_state, check_standby_use,
	check_standby_room;

/* trust_checks.c: certificates and clock */
check_fn check_certificates, check_cert_dates, check_cert_chains, check_tls_cas, check_clock,
	check_time_service;

/* watchdog_checks.c */
check_fn check_watchdog, check_watchdog_use;

/* service_checks.c: programs, the unit, who runs */
check_fn check_tools, check_proxy_program, check_fetcher, check_unit, check_guard,
	check_health_units, check_clients;

/* folder_checks.c: where an update works, and what an integrator has put there */
check_fn check_scratch, check_cache, check_hooks, check_health, check_persistents;

/* status_checks.c: what the last update has left */
check_fn check_last_status, check_way_back;
