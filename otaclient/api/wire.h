/*
 * wire: the API's messages as plain structs, and back to bytes. docs/api.md says what the fields mean.
 *
 * The server, otactl and whoever asks another ECU use these; nobody else sees protobuf. Every string of a
 * decoded message is valid UTF-8 without NUL; every encoded message is one that any client can read. An object
 * owns its memory in its arena; {0} is a valid empty one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "otaclient/status/status.h"
#include "otaclient/update/request.h"

enum {
	WIRE_MESSAGE_MAX_BYTES = 4 << 20, /* what gRPC takes unless told otherwise, here and elsewhere */
	WIRE_ECUS_MAX = 1024,             /* entries in one message; a vehicle has some dozens */
};

enum api_method {
	API_UPDATE,
	API_ABORT,
	API_ROLLBACK,
	API_STATUS,
	API_CLIENT_UPDATE,
	API_FORECAST, /* asked with Update's request; the answer is wire_forecast's */
	API_METHOD_COUNT,
};

/* The HTTP/2 path of a method, "/OtaClientV2.OtaClientService/Update". */
const char *api_method_path(enum api_method m);

/* The numbers are the API's FailureType, and for an abort its AbortFailureType (1 is the only failure). */
enum api_result {
	API_NO_FAILURE = 0,
	API_RECOVERABLE = 1,
	API_UNRECOVERABLE = 2,
	API_ABORT_FAILURE = 1,
};

/* Update, Abort, Rollback, ClientUpdate and Forecast as asked. */
struct wire_request_ecu {
	const char *ecu_id;
	struct update_request update; /* not of Abort and Rollback; request_id is the request's */
};

struct wire_request {
	struct arena arena;
	struct wire_request_ecu *ecus;
	size_t n_ecus;
	char *request_id; /* "" = the first ECU makes one */
};
#define AUTO_WIRE_REQUEST CLEANUP(wire_request_done)
void wire_request_done(struct wire_request *r);

/* … and as answered. */
struct wire_answer_ecu {
	const char *ecu_id;
	int result; /* enum api_result, or a newer peer's number */
	const char *message;
};

struct wire_answer {
	struct arena arena;
	struct wire_answer_ecu *ecus;
	size_t n_ecus;
};
#define AUTO_WIRE_ANSWER CLEANUP(wire_answer_done)
void wire_answer_done(struct wire_answer *a);

/* Append an entry with copies of the strings. 0 or -ENOMEM. */
int wire_answer_add(struct wire_answer *a, const char *ecu_id, int result, const char *message);

/* One ECU in the answer to Status. Enums are plain numbers: a newer peer may know more. */
struct wire_status_ecu {
	const char *ecu_id, *firmware_version, *otaclient_version;
	const char *release_name, *release_id, *image_id;
	int ota_status;   /* enum ota_status */
	int failure_type; /* enum api_result */
	const char *failure_reason, *failure_traceback;
	struct update_stats update; /* zeros unless it is updating */
	struct update_times times;
};

struct wire_status {
	struct arena arena;
	const char **available; /* ids of the ECUs that the asked one speaks for */
	size_t n_available;
	struct wire_status_ecu *ecus;
	size_t n_ecus;
};
#define AUTO_WIRE_STATUS CLEANUP(wire_status_done)
void wire_status_done(struct wire_status *s);

/* Append a copy of @ecu, strings included. 0 or -ENOMEM. */
int wire_status_add(struct wire_status *s, const struct wire_status_ecu *ecu);
int wire_status_add_available(struct wire_status *s, const char *ecu_id);

/* The entry of @ecu_id, or NULL. */
const struct wire_status_ecu *wire_status_find(const struct wire_status *s, const char *ecu_id);

/* What @snapshot says, as an entry that borrows its strings. @now_ms: clock_monotonic_ms(). */
void wire_status_ecu_from(const struct status_snapshot *snapshot, const char *ecu_id, uint64_t now_ms,
	struct wire_status_ecu *ret_ecu);

/*
 * Bytes to structs. On failure @ret_… stays empty:
 *   -EBADMSG  no such message, or a string that is no text; the sentence names the field
 *   -E2BIG    a limit is passed
 *   -ENOMEM
 */
int wire_request_decode(enum api_method m, const void *data, size_t len_bytes,
	struct wire_request *ret_request, struct ota_err *err);
int wire_answer_decode(enum api_method m, const void *data, size_t len_bytes,
	struct wire_answer *ret_answer, struct ota_err *err);
int wire_status_decode(const void *data, size_t len_bytes, struct wire_status *ret_status,
	struct ota_err *err);

/* Structs to bytes, appended to @ret_bytes. 0 or -ENOMEM. NULL is ""; bytes that are no text become "?". */
int wire_request_encode(enum api_method m, const struct wire_request *request, struct buf *ret_bytes);
int wire_answer_encode(enum api_method m, const struct wire_answer *answer, struct buf *ret_bytes);
int wire_status_encode(const struct wire_status *status, struct buf *ret_bytes);
