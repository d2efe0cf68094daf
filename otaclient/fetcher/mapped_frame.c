/*
 * mapped_frame: mapped memory and what may go wrong with it. Contract: mapped_frame.h.
 *
 * A fault jumps out of libzstd, which holds no lock and whose memory can still be freed, or out of hashing, which has
 * neither; that decoder and that digest are not used again.
 */
#include "otaclient/fetcher/mapped_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_patch.h"

enum {
	KEEP_BYTES = 8 << 20, /* of a content; most windows are smaller */
};

struct mapped_frame {
	void *old, *made; /* MAP_FAILED = not mapped */
	size_t old_bytes, made_bytes, hashed_bytes;
	size_t kept_from; /* what was made before is not in our memory; whole pages */
	struct zstd_patch_decoder *decoder;
};

static sigjmp_buf fault_exit;
static volatile sig_atomic_t fault_expected;

static void on_fault(int signo)
{
	if (fault_expected)
		siglongjmp(fault_exit, 1);
	signal(signo, SIG_DFL); /* the instruction is tried again, and ends the process */
}

void mapped_frame_catch_faults(void)
{
	struct sigaction action = {.sa_handler = on_fault};

	sigaction(SIGBUS, &action, NULL);
}

void mapped_frame_end(struct mapped_frame *m)
{
	if (!m)
		return;
	if (m->old != MAP_FAILED)
		munmap(m->old, m->old_bytes);
	if (m->made != MAP_FAILED)
		munmap(m->made, m->made_bytes);
	zstd_patch_decoder_free(m->decoder);
	free(m);
}

static void mapped_frame_endp(struct mapped_frame **m)
{
	mapped_frame_end(*m);
}

static int map_old(struct mapped_frame *m, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != m->old_bytes)
		return -ESTALE;
	m->old = mmap(NULL, m->old_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	return m->old == MAP_FAILED ? -errno : 0;
}

/* With its blocks, so that a full disk is an error here and no fault later. */
static int map_made(struct mapped_frame *m, int fd)
{
	if (fallocate(fd, 0, 0, (off_t)m->made_bytes) < 0)
		return -errno;
	m->made = mmap(NULL, m->made_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return m->made == MAP_FAILED ? -errno : 0;
}

int mapped_frame_start(int base_fd, uint64_t base_bytes, int fd, uint64_t made_bytes,
	struct mapped_frame **ret_frame)
{
	CLEANUP(mapped_frame_endp) struct mapped_frame *m = calloc(1, sizeof(*m));
	bool is_patch = base_fd >= 0;
	int r;

	if (!m)
		return -ENOMEM;
	m->old = m->made = MAP_FAILED;
	m->old_bytes = base_bytes;
	m->made_bytes = made_bytes;
	m->decoder = zstd_patch_decoder_new();
	r = m->decoder ? 0 : -ENOMEM;
	if (r == 0 && is_patch)
		r = map_old(m, base_fd);
	if (r == 0)
		r = map_made(m, fd);
	if (r == 0)
		r = zstd_patch_decoder_start(m->decoder, is_patch ? m->old : NULL,
			is_patch ? m->old_bytes : 0, m->made, m->made_bytes);
	if (r < 0)
		return r;
	*ret_frame = TAKE_PTR(m);
	return 0;
}

/*
 * What was made goes on its way to the disk and is this process's no more, or it would seem to be as large as its
 * contents. What the frame looks back to comes again.
 */
static void let_go(struct mapped_frame *m)
{
	size_t made = zstd_patch_decoder_made(m->decoder);

	for (; made - m->kept_from >= KEEP_BYTES; m->kept_from += KEEP_BYTES / 2)
		madvise((char *)m->made + m->kept_from, KEEP_BYTES / 2, MADV_DONTNEED);
}

static void hash_new(struct mapped_frame *m, struct digest_ctx *digest)
{
	size_t made = zstd_patch_decoder_made(m->decoder);

	digest_add(digest, (const char *)m->made + m->hashed_bytes, made - m->hashed_bytes);
	m->hashed_bytes = made;
}

int mapped_frame_feed(
	struct mapped_frame *m, const void *data, size_t len_bytes, struct digest_ctx *digest)
{
	int r;

	if (sigsetjmp(fault_exit, 1) != 0) {
		fault_expected = 0;
		return -EIO;
	}
	fault_expected = 1;
	r = zstd_patch_decoder_feed(m->decoder, data, len_bytes);
	if (r == 0 && digest)
		hash_new(m, digest);
	fault_expected = 0;
	let_go(m);
	return r;
}

int mapped_frame_finish(const struct mapped_frame *m)
{
	return zstd_patch_decoder_finish(m->decoder);
}
