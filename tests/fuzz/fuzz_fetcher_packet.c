/*
 * fuzz_fetcher_packet: whatever the program that fetches says, the daemon calls a job's done() at most once, and gets a
 * failure with a sentence that can be shown. The first byte says on which of the two sockets it is said.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "otaclient/fetcher/fetcher.h"
#include "otaclient/fetcher/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Else no input of the corpus is a packet any more, and nobody would see it. */
static_assert(sizeof(struct packet_head) == 128 && offsetof(struct packet_head, wire_bytes) == 72,
	"The inputs in tests/fuzz/corpus/fetcher_packet begin with this head; mend them, too");

static void count_done(void *ctx, const struct fetcher_result *result)
{
	++*(unsigned *)ctx;
	for (const char *s = result->err.msg; *s; s++)
		assert((unsigned char)*s >= 0x20);
	assert(result->r == 0 || (result->r < 0 && result->err.msg[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int jobs[2], needs[2];
	unsigned n_done = 0;
	struct ota_err err = {0};
	struct fetcher_job job = {.url = "http://h/", .fd = -1, .done = count_done, .ctx = &n_done};

	if (size == 0)
		return 0;
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, jobs) == 0);
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, needs) == 0);
	AUTO_CLOSE int far_jobs = jobs[1];
	AUTO_CLOSE int far_needs = needs[1];
	AUTO_FETCHER struct fetcher *f = fetcher_new_for_test(jobs[0], needs[0]);
	assert(f && fetcher_add(f, &job, &err) == 0);
	assert(fetcher_run(f, 0, &err) == 0);
	/* Longer ones do not fit into the socket. */
	if (send(data[0] & 1 ? far_needs : far_jobs, data + 1, MIN_OF(size - 1, (size_t)60000),
		    0) >= 0)
		fetcher_run(f, 0, &err);
	assert(n_done <= 1);
	return 0;
}
