/*
 * unary: one call to a gRPC server, waited for until its answer is there. Internal to otaclient/api; in use: peer.c,
 * log_grpc.c.
 */
#pragma once

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct unary_call {
	grpc_channel *channel;
	const char *address; /* in sentences */
	const char *path;    /* "/Package.Service/Method"; a constant */
	const struct buf *request;
	uint32_t timeout_ms;
	bool (*give_up)(void *ctx); /* polled meanwhile; NULL = only the time counts */
	void *ctx;
};

/* Without TLS, and without anything of earlier channels. The connection is made by the first call. */
grpc_channel *unary_channel(const char *address);

/*
 * 0 and the answer's bytes appended, or with a sentence: -EAGAIN nobody answers, -ETIMEDOUT, -EINVAL, -EOPNOTSUPP (no
 * such method), -ECANCELED given up, -EIO anything else.
 */
int unary_ask(const struct unary_call *call, struct buf *ret_answer, struct ota_err *err);
