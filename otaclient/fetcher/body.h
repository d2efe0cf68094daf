/*
 * body: the bytes of one content on their way: HTTP → zstd frame or patch → digest → the file that the daemon has
 * opened.
 *
 * In the fetcher's process. A body that is done says only that its bytes looked right here.
 */
#pragma once

#include "common/net/http.h"
#include "otaclient/fetcher/packet.h"

struct body;

struct body *body_new(void); /* NULL: no memory */
void body_free(struct body *b);

/* From now on it is for the job that @packet asks for. Takes @fds over. 0 or -ENOMEM. */
int body_set(struct body *b, const struct packet *packet, const int fds[PACKET_FDS_MAX]);

/* The job is done: close its files. */
void body_rest(struct body *b);

/* Ask @client for it; @done once, with @ctx. 0 or -errno with the sentence. */
int body_start(struct body *b, struct http_client *client,
	void (*done)(void *ctx, const struct http_result *result), void *ctx, struct ota_err *err);

uint32_t body_id(const struct body *b);
uint64_t body_plain_bytes(const struct body *b);

/* Body bytes that came since the last call. */
uint64_t body_take_wire_bytes(struct body *b);
