/*
 * service: the gRPC server that fleet agents, otactl and parent ECUs ask. docs/api.md describes the API.
 *
 * Status is answered at once, from memory. The other calls may wait for the ECUs below; they are done one after the
 * other, updates in one lane and all else in another: so of two requests that come at once the same one is first
 * everywhere, and an abort does not wait behind an update. What is asked is decided in answers.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/api/wire.h"
#include "otaclient/status/status.h"
#include "otaclient/update/request.h"

enum {
	API_PORT = 50051, /* the port of every ECU of a fleet; only tests use others */
	API_TICK_MS = 1000,
};

/*
 * The ECUs below this one. Each function adds what they say to the answer, in their order; an ECU that cannot be
 * asked gets an entry that says so. forward() may wait for the network, status() may not. Both are called from several
 * threads. After stop() (may be NULL) nothing is waited for any more.
 */
struct api_tree {
	int (*forward)(void *ctx, enum api_method m, const struct wire_request *request,
		struct wire_answer *answer);
	int (*status)(void *ctx, struct wire_status *status);
	void (*stop)(void *ctx);
	void *ctx;
};

/* Everything is borrowed and must outlive the service. */
struct api_config {
	const char *listen_ip;
	uint16_t port; /* 0 = any free one */
	const char *ecu_id;
	const char *const *available_ecu_ids; /* empty = this ECU only */
	size_t n_available;
	bool ecu_info_loaded;        /* false: no update is taken, for nobody knows which ECU this is */
	bool ecu_info_wrong;         /* why it is not loaded: it could be read, but breaks a rule */
	const struct api_tree *tree; /* NULL = no ECUs below */
	/* Called by whoever runs the service, at least every API_TICK_MS; must not wait. NULL is fine. */
	void (*tick)(void *ctx);
	void *tick_ctx;
};

struct api_service;

/*
 * Listen. The port belongs to this server alone; if another program has it, the error says so (-EADDRINUSE).
 *
 * Functions of @handler may be NULL, which refuses the wish; they are called from both lanes' threads. When abort()
 * returns 0 it may leave a sentence in err->msg, which becomes the answer's message.
 */
int api_service_start(const struct api_config *config, struct status *status,
	const struct request_handler *handler, struct api_service **ret_service, struct ota_err *err);

uint16_t api_service_port(const struct api_service *s);

/* Answer until api_service_stop(). 0, or -errno: it could not begin (OTA_E_STARTUP_FAILED), or no memory is left. */
int api_service_run(struct api_service *s, struct ota_err *err);

/* From any thread, or from a signal handler. Calls under way are answered first. */
void api_service_stop(struct api_service *s);

void api_service_free(struct api_service *s); /* not while it runs */
void api_service_freep(struct api_service **s);
#define AUTO_API_SERVICE CLEANUP(api_service_freep)
