/*
 * refusal: what the kernel no longer grants, as on a machine that has come to an end of something.
 *
 * A limit can be raised again. A call stays refused, so that belongs into a child (in_child.h).
 */
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* @what: RLIMIT_…, as far as it can be raised. Past RLIMIT_FSIZE a write fails with EFBIG, past RLIMIT_NOFILE an open. */
static inline int refusal_limit(int what, rlim_t value)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	if (getrlimit((__rlimit_resource_t)what, &limit) < 0)
		return -1;
	limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &limit);
}

static inline int refusal_install(struct sock_filter *code, size_t n)
{
	const struct sock_fprog program = {(unsigned short)n, code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Each call @number (SYS_…) of this thread, and of those that it starts, fails with @errnum. */
static inline int refusal_call(int number, int errnum)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)errnum),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return refusal_install(code, sizeof(code) / sizeof(code[0]));
}

/* Only those whose argument @at, the first being 0, is @value. */
static inline int refusal_call_with(int number, unsigned at, uint32_t value, int errnum)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			(uint32_t)(offsetof(struct seccomp_data, args) + at * sizeof(uint64_t))),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)errnum),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return refusal_install(code, sizeof(code) / sizeof(code[0]));
}
