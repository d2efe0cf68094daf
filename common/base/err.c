/*
 * err: the error sentence and the one table of stable codes. Contract: err.h.
 */
#include "common/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"

/* clang-format off */
static const struct code_row {
	enum ota_code code;
	bool recoverable;
	const char *text;
} code_table[] = {
	{OTA_E_UNSPECIFIC,                  true,  "no closer reason is known"},
	{OTA_E_NETWORK,                     true,  "the network or the server failed"},
	{OTA_E_OTAMETA_DOWNLOAD_FAILED,     true,  "the image's metadata could not be fetched"},
	{OTA_E_RECOVERABLE,                 true,  "the last update or rollback was interrupted"},
	{OTA_E_OTA_BUSY,                    true,  "another operation is running"},
	{OTA_E_INVALID_STATUS_FOR_ROLLBACK, true,  "there is no complete slot to go back to"},
	{OTA_E_OTA_IMAGE_INVALID,           true,  "the image on the server is broken"},
	{OTA_E_COOKIE_INVALID,              true,  "the server refused the request's cookies"},
	{OTA_E_ABORTED,                     true,  "the update was aborted"},
	{OTA_E_BSP_MISMATCH,                true,  "the image does not fit the board's firmware"},
	{OTA_E_NOT_HEALTHY,                 true,  "the new system did not come up healthy"},
	{OTA_E_HOOK,                        true,  "a hook of the integrator, or a limit in otaclient.yaml, said no"},
	{OTA_E_UNRECOVERABLE,               false, "an unrecoverable error"},
	{OTA_E_BOOTCONTROL_UNSUPPORTED,     false, "the machine's boot loader is not supported"},
	{OTA_E_BOOTCONTROL_STARTUP,         false, "the boot controller could not start"},
	{OTA_E_BOOTCONTROL_PREUPDATE,       false, "the standby slot could not be prepared"},
	{OTA_E_BOOTCONTROL_POSTUPDATE,      false, "the boot loader could not be set up for the new slot"},
	{OTA_E_BOOTCONTROL_PREROLLBACK,     false, "the rollback could not be prepared"},
	{OTA_E_BOOTCONTROL_POSTROLLBACK,    false, "the rollback could not be finished"},
	{OTA_E_STANDBY_SLOT_SPACE,          false, "the image does not fit the standby slot"},
	{OTA_E_INVALID_REQUEST,             false, "the update request is invalid"},
	{OTA_E_METADATAJWT_CERT_INVALID,    false, "the image's signature could not be trusted"},
	{OTA_E_METADATAJWT_INVALID,         false, "the image's signed metadata is invalid"},
	{OTA_E_OTAPROXY_FAILED,             false, "the caching proxy could not be started, or does not answer"},
	{OTA_E_UPDATEDELTA_FAILED,          false, "what is on the machine could not be compared with the image"},
	{OTA_E_APPLY_OTAUPDATE_FAILED,      false, "the image could not be applied to the standby slot"},
	{OTA_E_STARTUP_FAILED,              false, "the daemon could not start"},
};
/* clang-format on */

static const struct code_row *code_find(enum ota_code code)
{
	for (size_t i = 0; i < ARRAY_SIZE(code_table); i++)
		if (code_table[i].code == code)
			return &code_table[i];
	return &code_table[0];
}

bool ota_code_is_recoverable(enum ota_code code)
{
	return code_find(code)->recoverable;
}

const char *ota_code_text(enum ota_code code)
{
	return code_find(code)->text;
}

int(ota_err_set)(struct ota_err *err, int errnum, enum ota_code code, const char *fmt, ...)
{
	va_list ap;

	assert(errnum < 0);
	if (!err)
		return errnum;
	err->errnum = errnum;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return errnum;
}

int(ota_err_wrap)(struct ota_err *err, int r, const char *fmt, ...)
{
	char inner[OTA_ERR_MSG_MAX];
	va_list ap;
	size_t used, rest;
	int n;

	assert(r < 0);
	if (!err)
		return r;
	if (err->errnum == 0) {
		err->code = OTA_E_UNSPECIFIC;
		snprintf(err->msg, sizeof(err->msg), "%s", strerror(-r));
	}
	err->errnum = r;
	memcpy(inner, err->msg, sizeof(inner));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	used = n < 0 ? 0 : MIN_OF((size_t)n, sizeof(err->msg) - 1);
	if (used + 2 < sizeof(err->msg)) {
		memcpy(err->msg + used, ": ", 2);
		used += 2;
	}
	rest = MIN_OF(strnlen(inner, sizeof(inner) - 1), sizeof(err->msg) - 1 - used);
	memcpy(err->msg + used, inner, rest);
	err->msg[used + rest] = '\0';
	return r;
}

int(ota_err_no_memory)(struct ota_err *err, const char *what)
{
	return ota_err_set(err, -ENOMEM, OTA_E_UNSPECIFIC, "No memory for %s", what);
}

void ota_err_blame(struct ota_err *err, enum ota_code code)
{
	if (err && err->code == OTA_E_UNSPECIFIC)
		err->code = code;
}
