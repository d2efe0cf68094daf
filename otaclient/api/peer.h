/*
 * peer: ask another ECU's API; for otactl, and for the ECUs below this one.
 *
 * Each call makes a connection of its own and closes it, so an ECU that reboots in between is asked afresh. The
 * functions block and may be used from several threads.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/api/wire.h"
#include "otaclient/api/wire_forecast.h"

enum {
	PEER_HOST_MAX = 256, /* with the NUL; names of hosts end at 253 */
	PEER_TIMEOUT_MS = 6000, /* what parents give their children for any call */
};

struct peer_address {
	char host[PEER_HOST_MAX]; /* name, IPv4 or IPv6 without brackets */
	uint16_t port;
};

/* "HOST", "HOST:PORT", "[IPV6]:PORT" or "IPV6"; without a port API_PORT. -EINVAL with a sentence. */
int peer_address_parse(const char *text, struct peer_address *ret_address, struct ota_err *err);

/* Around all use of the functions below; not per call. */
void peer_open(void);
void peer_close(void);

/*
 * Ask and wait for the answer. Besides -EBADMSG and -E2BIG for an answer that cannot be read:
 *   -EAGAIN      nobody answers there, or not yet ("status not yet collected")
 *   -ETIMEDOUT   no answer in @timeout_ms
 *   -EINVAL      the request was refused as a whole; the peer's sentence
 *   -EOPNOTSUPP  an older peer that does not know the method
 *   -EIO         anything else
 */
int peer_status(const struct peer_address *address, uint32_t timeout_ms, struct wire_status *ret_status,
	struct ota_err *err);
int peer_ask(const struct peer_address *address, enum api_method m, const struct wire_request *request,
	uint32_t timeout_ms, struct wire_answer *ret_answer, struct ota_err *err);
int peer_forecast(const struct peer_address *address, const struct wire_request *request,
	uint32_t timeout_ms, struct wire_forecast *ret_forecast, struct ota_err *err);

/*
 * The same for whoever may have to end meanwhile: -ECANCELED soon after *@stop has become true. @stop may be NULL.
 */
int peer_status_until(const struct peer_address *address, uint32_t timeout_ms,
	const atomic_bool *stop, struct wire_status *ret_status, struct ota_err *err);
int peer_ask_until(const struct peer_address *address, enum api_method m,
	const struct wire_request *request, uint32_t timeout_ms, const atomic_bool *stop,
	struct wire_answer *ret_answer, struct ota_err *err);
