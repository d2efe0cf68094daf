/*
 * configuration: reading, and what is said of it. Contract: configuration.h.
 */
#include "otaclient/configuration.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/log.h"

static void log_note(void *ctx, enum conf_note_kind kind, const char *sentence)
{
	if (kind == CONF_WRONG)
		log_error("%s", sentence);
	else
		log_warning("%s", sentence);
}

/* The usual file may be missing; one that was named on purpose may not. */
static int read_settings(
	const struct command_line *options, struct settings *ret_settings, struct ota_err *err)
{
	const char *path = options->settings_path ? options->settings_path : SETTINGS_PATH;

	if (options->settings_path && access(path, R_OK) < 0)
		return ota_err_set(err, -errno, OTA_E_STARTUP_FAILED,
			"Cannot read the settings in %s: %s", path, strerror(errno));
	if (settings_load(path, log_note, NULL, ret_settings) == -ENOMEM)
		return ota_err_no_memory(err, path);
	settings_apply_env((const char *const *)environ, log_note, NULL, ret_settings);
	return 0;
}

int configuration_read(
	const struct command_line *options, struct configuration *ret_c, struct ota_err *err)
{
	char path[PATH_MAX];
	enum log_level level;
	int r = read_settings(options, &ret_c->settings, err);

	if (r < 0)
		return r;
	ret_c->certs_dir = options->certs_dir ? options->certs_dir : ret_c->settings.certs_dir;
	ret_c->log_level = options->log_level ? options->log_level : ret_c->settings.log_level;
	if (log_level_from_text(ret_c->log_level, &level) == 0)
		log_set_level(level);
	snprintf(path, sizeof(path), "%s/ecu_info.yaml", options->config_dir);
	if (ecu_info_load(path, log_note, NULL, &ret_c->ecu) == -ENOMEM)
		return ota_err_no_memory(err, path);
	snprintf(path, sizeof(path), "%s/proxy_info.yaml", options->config_dir);
	if (proxy_info_load(path, log_note, NULL, &ret_c->proxy) == -ENOMEM)
		return ota_err_no_memory(err, path);
	return 0;
}

/* ---- what will be missed ---- */

/* An ECU that does not list itself is invisible to those who ask it. */
static void warn_if_not_listed(const struct ecu_info *ecu)
{
	for (uint32_t i = 0; i < ecu->n_available; i++)
		if (strcmp(ecu->available_ecu_ids[i], ecu->ecu_id) == 0)
			return;
	log_warning("available_ecu_ids in ecu_info.yaml does not list this ECU, %s", ecu->ecu_id);
}

/* What is guessed may be guessed otherwise by a later version. */
static void warn_if_detected(const struct ecu_info *ecu)
{
	if (ecu->loaded && strcmp(ecu->bootloader, "auto_detect") == 0)
		log_warning(
			"bootloader in ecu_info.yaml is auto_detect: better name the boot loader");
}

/* Each download would say so, but the next one may be long from now. */
static void warn_of_tls_ca(const char *path)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int r = 0;

	if (path[0] == '\0')
		return;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	if (r < 0)
		log_error("No https server will be trusted: cannot read %s (tls_ca): %s", path,
			file_read_why(r));
}

void configuration_warn(const struct configuration *c, const struct command_line *options)
{
	if (!c->ecu.loaded)
		log_error(
			"Updates are refused until %s/ecu_info.yaml is right", options->config_dir);
	warn_if_not_listed(&c->ecu);
	warn_if_detected(&c->ecu);
	warn_of_tls_ca(c->settings.tls_ca);
}
