/*
 * err: why something failed, for both readers: the program gets a code, the person a sentence.
 *
 * common/base returns -errno and is silent. Domain modules also fill struct ota_err and are silent
 * too. Only main, the updater and the servers log. The innermost code wins; outer words go in
 * front.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>

enum {
	OTA_ERR_MSG_MAX = 512, /* bytes with the NUL; a sentence with one long path fits */
};

/* The numbers are the "E<nnn>" of the API's failure_reason; docs/api.md lists them. */
enum ota_code {
	OTA_E_UNSPECIFIC = 0,
	OTA_E_NETWORK = 100,
	OTA_E_OTAMETA_DOWNLOAD_FAILED = 101,
	OTA_E_RECOVERABLE = 200,
	OTA_E_OTA_BUSY = 201,
	OTA_E_INVALID_STATUS_FOR_ROLLBACK = 202,
	OTA_E_OTA_IMAGE_INVALID = 203,
	OTA_E_COOKIE_INVALID = 204,
	OTA_E_ABORTED = 207,
	OTA_E_BSP_MISMATCH = 208,
	OTA_E_NOT_HEALTHY = 209,
	OTA_E_HOOK = 210,
	OTA_E_UNRECOVERABLE = 300,
	OTA_E_BOOTCONTROL_UNSUPPORTED = 301,
	OTA_E_BOOTCONTROL_STARTUP = 302,
	OTA_E_BOOTCONTROL_PREUPDATE = 303,
	OTA_E_BOOTCONTROL_POSTUPDATE = 304,
	OTA_E_BOOTCONTROL_PREROLLBACK = 305,
	OTA_E_BOOTCONTROL_POSTROLLBACK = 306,
	OTA_E_STANDBY_SLOT_SPACE = 307,
	OTA_E_INVALID_REQUEST = 308,
	OTA_E_METADATAJWT_CERT_INVALID = 309,
	OTA_E_METADATAJWT_INVALID = 310,
	OTA_E_OTAPROXY_FAILED = 311,
	OTA_E_UPDATEDELTA_FAILED = 312,
	OTA_E_APPLY_OTAUPDATE_FAILED = 313,
	OTA_E_STARTUP_FAILED = 314,
};

struct ota_err {
	int errnum;                /* negative errno; 0 = no error */
	enum ota_code code;        /* OTA_E_UNSPECIFIC: nobody has blamed anything yet */
	char msg[OTA_ERR_MSG_MAX]; /* one sentence without a final dot, outermost context first */
};

/*
 * Both return the code they are given (which must be negative), so that a failure is one line.
 * @err may be NULL. ota_err_wrap() puts words in front of the callee's sentence ("words:
 * sentence"); if the callee was silent (common/base), the sentence is strerror's.
 */
int ota_err_set(struct ota_err *err, int errnum, enum ota_code code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int ota_err_wrap(struct ota_err *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "No memory for @what": -ENOMEM. */
int ota_err_no_memory(struct ota_err *err, const char *what);

/* The same three, so that compilers and analysers know that what they return is negative. */
#define ota_err_set(err, errnum, ...)                      \
	__extension__({                                    \
		int ota_r_ = (errnum);                     \
		(ota_err_set)((err), ota_r_, __VA_ARGS__); \
		if (ota_r_ >= 0)                           \
			__builtin_unreachable();           \
		ota_r_;                                    \
	})
#define ota_err_wrap(err, r, ...)                           \
	__extension__({                                     \
		int ota_r_ = (r);                           \
		(ota_err_wrap)((err), ota_r_, __VA_ARGS__); \
		if (ota_r_ >= 0)                            \
			__builtin_unreachable();            \
		ota_r_;                                     \
	})
#define ota_err_no_memory(err, what)                \
	__extension__({                             \
		int ota_r_ = -ENOMEM;               \
		(ota_err_no_memory)((err), (what)); \
		ota_r_;                             \
	})

/* Blame @code if nobody has yet; for the caller that knows which part of the work this was. */
void ota_err_blame(struct ota_err *err, enum ota_code code);

/* May the same request succeed when it is repeated? The API's RECOVERABLE / UNRECOVERABLE. */
bool ota_code_is_recoverable(enum ota_code code);

/* A short general description of the code, for lists; never NULL. */
const char *ota_code_text(enum ota_code code);
