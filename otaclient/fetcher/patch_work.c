/*
 * patch_work: mapped memory and what may go wrong with it. Contract: patch_work.h.
 *
 * A fault jumps out of libzstd, which holds no lock and whose memory can still be freed; that decoder is not used
 * again.
 */
#include "otaclient/fetcher/patch_work.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_patch.h"

struct patch_work {
	void *old, *made; /* MAP_FAILED = not mapped */
	size_t old_bytes, made_bytes;
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

void patch_work_catch_faults(void)
{
	struct sigaction action = {.sa_handler = on_fault};

	sigaction(SIGBUS, &action, NULL);
}

void patch_work_end(struct patch_work *w)
{
	if (!w)
		return;
	if (w->old != MAP_FAILED)
		munmap(w->old, w->old_bytes);
	if (w->made != MAP_FAILED)
		munmap(w->made, w->made_bytes);
	zstd_patch_decoder_free(w->decoder);
	free(w);
}

static void patch_work_endp(struct patch_work **w)
{
	patch_work_end(*w);
}

static int map_old(struct patch_work *w, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != w->old_bytes)
		return -ESTALE;
	w->old = mmap(NULL, w->old_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	return w->old == MAP_FAILED ? -errno : 0;
}

/* With its blocks, so that a full disk is an error here and no fault later. */
static int map_made(struct patch_work *w, int fd)
{
	if (fallocate(fd, 0, 0, (off_t)w->made_bytes) < 0)
		return -errno;
	w->made = mmap(NULL, w->made_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return w->made == MAP_FAILED ? -errno : 0;
}

int patch_work_start(
	int base_fd, uint64_t base_bytes, int fd, uint64_t made_bytes, struct patch_work **ret_work)
{
	CLEANUP(patch_work_endp) struct patch_work *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->old = w->made = MAP_FAILED;
	w->old_bytes = base_bytes;
	w->made_bytes = made_bytes;
	w->decoder = zstd_patch_decoder_new();
	r = w->decoder ? map_old(w, base_fd) : -ENOMEM;
	if (r == 0)
		r = map_made(w, fd);
	if (r == 0)
		r = zstd_patch_decoder_start(
			w->decoder, w->old, w->old_bytes, w->made, w->made_bytes);
	if (r < 0)
		return r;
	*ret_work = TAKE_PTR(w);
	return 0;
}

int patch_work_feed(struct patch_work *w, const void *data, size_t len_bytes)
{
	int r;

	if (sigsetjmp(fault_exit, 1) != 0) {
		fault_expected = 0;
		return -EIO;
	}
	fault_expected = 1;
	r = zstd_patch_decoder_feed(w->decoder, data, len_bytes);
	fault_expected = 0;
	return r;
}

int patch_work_finish(const struct patch_work *w)
{
	return zstd_patch_decoder_finish(w->decoder);
}
