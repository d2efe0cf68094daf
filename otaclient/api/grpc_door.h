/*
 * grpc_door: what the server and the client of the API share of gRPC's core library.
 */
#pragma once

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

#include "common/base/buf.h"
#include "otaclient/api/wire.h"

/* Before and after every use of the library; may be nested. Its own log lines go to our debug log. */
void grpc_door_open(void);
void grpc_door_close(void);

/* A message's bytes appended to @ret_bytes, and the other way round. 0 or -errno; NULL: no memory. */
int grpc_door_bytes(grpc_byte_buffer *message, struct buf *ret_bytes);
grpc_byte_buffer *grpc_door_message(const struct buf *bytes);

/* "127.0.0.1:50051" or "[::1]:50051", for the library and for people. */
void grpc_door_address(const char *host, uint16_t port, char *ret_address, size_t size_bytes);
