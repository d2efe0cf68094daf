/*
 * system_conf: one setting from systemd's own configuration files (system.conf), and the times in them. Pure.
 *
 * Format: systemd.syntax(7), systemd.time(7).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	SYSTEM_CONF_MAX_BYTES = 256 * 1024, /* Debian's has 3 kB */
};

/*
 * The last value of @key in section @section ("Manager"), without white space around it; "" takes earlier ones back.
 * -ENOENT: it is not set. -ENAMETOOLONG: it is longer than @size.
 */
int system_conf_value(const char *text, size_t len_bytes, const char *section, const char *key,
	char *ret_value, size_t size);

/*
 * "90", "1min 30s", "500ms", "infinity" in milliseconds; UINT64_MAX for "infinity" and what is longer. "off" and "no"
 * are 0. -EINVAL: it is no time.
 */
int system_conf_time(const char *text, uint64_t *ret_ms);
