/*
 * grpc_door: what the server and the client of the API share of gRPC's core library. Contract: grpc_door.h.
 */
#include "otaclient/api/grpc_door.h"

#include <errno.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/log.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"

/* What goes wrong is in the statuses that we get; the library's lines would only say it twice. */
static void log_quietly(gpr_log_func_args *args)
{
	log_debug("grpc: %s", args->message);
}

void grpc_door_open(void)
{
	gpr_set_log_function(log_quietly);
	grpc_init();
}

void grpc_door_close(void)
{
	grpc_shutdown();
}

int grpc_door_bytes(grpc_byte_buffer *message, struct buf *ret_bytes)
{
	grpc_byte_buffer_reader reader;
	grpc_slice slice;
	int r = 0;

	if (!grpc_byte_buffer_reader_init(&reader, message))
		return -EBADMSG;
	while (r == 0 && grpc_byte_buffer_reader_next(&reader, &slice)) {
		r = buf_append(ret_bytes, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
		grpc_slice_unref(slice);
	}
	grpc_byte_buffer_reader_destroy(&reader);
	return r;
}

grpc_byte_buffer *grpc_door_message(const struct buf *bytes)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(buf_str(bytes), bytes->len_bytes);
	grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return message;
}

void grpc_door_address(const char *host, uint16_t port, char *ret_address, size_t size_bytes)
{
	snprintf(ret_address, size_bytes, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		(unsigned)port);
}
