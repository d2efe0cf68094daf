/*
 * packet: what the daemon and its fetcher say to each other, over a socket that keeps the borders of packets.
 *
 * Both ends come from one build, so the head is a struct as it is in memory. The daemon nevertheless believes none of
 * it: packet_receive() checks all lengths, and who gets a packet checks what it says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"

enum {
	PACKET_TEXTS = 4,
	PACKET_FDS_MAX = 2,
	PACKET_MAX_BYTES = 24 * 1024, /* a URL of 16 KiB and its company */
};

enum packet_type {
	/* To the fetcher. */
	PACKET_CONFIG = 1, /* first of all: struct http_config */
	PACKET_JOB,        /* with the file to write to, and with a patch the older content */
	PACKET_ANSWER,     /* to PACKET_NAME: addresses; to PACKET_SOCKET: with the socket; r */
	/* To the daemon. */
	PACKET_READY,    /* there is nothing left that it might give up; or r and its sentence */
	PACKET_RESULT,   /* of the job id */
	PACKET_PROGRESS, /* bytes that came since the last one */
	PACKET_TROUBLE,  /* what a try that will be repeated came to */
	PACKET_NAME,     /* addresses of this host, please */
	PACKET_SOCKET,   /* a socket of this family, please */
};

enum job_flag {
	JOB_SIZE_KNOWN = 1 << 0,
	JOB_DIGEST_KNOWN = 1 << 1,
	JOB_IS_ZST = 1 << 2,
	JOB_UNDO_ENCODING = 1 << 3,
	JOB_OUTLAST_OUTAGES = 1 << 4,
	JOB_IS_PATCH = 1 << 5, /* the size is known */
};

/* Which fields count, the type says; the others are 0. */
struct packet_head {
	uint32_t type;
	uint32_t id;               /* of a job */
	uint32_t flags;            /* JOB: enum job_flag; SOCKET: the family */
	int32_t r;                 /* RESULT, ANSWER, READY, TROUBLE: negative errno */
	uint32_t code;             /* 〃 enum ota_code */
	uint32_t status;           /* RESULT: of HTTP */
	uint32_t retries;          /* RESULT */
	uint32_t tries_max;        /* JOB */
	uint32_t total_timeout_ms; /* JOB */
	uint32_t max_connections, stall_timeout_ms, retry_base_ms; /* CONFIG */
	uint64_t max_wire_bytes;                                   /* JOB */
	uint64_t plain_bytes;              /* JOB: the size, or the most; RESULT: what came */
	uint64_t base_bytes;               /* JOB with a patch: the size of the older content */
	uint64_t wire_bytes;               /* PROGRESS, RESULT: not yet told */
	struct digest digest;              /* JOB: of the content; with a patch: of the patch */
	uint32_t text_bytes[PACKET_TEXTS]; /* with their NUL; 0 = no such text */
};

/* Where the texts of a type stand. */
enum {
	CONFIG_PROXY = 0,
	CONFIG_TLS_CA,
	CONFIG_COOKIES,
	CONFIG_USER_AGENT,
	JOB_URL = 0,
	JOB_NAME, /* for sentences; none: it is the content of the digest */
	JOB_CACHE_CONTROL,
	ANY_SENTENCE = 0, /* RESULT, READY, TROUBLE */
	NAME_HOST = 0,
	ANSWER_ADDRESSES = 0,
};

struct packet {
	struct packet_head head;
	const char *text[PACKET_TEXTS]; /* NULL = none; what was received stands in bytes */
	char bytes[PACKET_MAX_BYTES];   /* used by packet_receive() */
};

/* @fds: handed over too. 0, or -EMSGSIZE, -EAGAIN (the socket is full, with @wait false), -EPIPE … */
int packet_send_fds(int socket, const struct packet_head *head,
	const char *const text[PACKET_TEXTS], const int *fds, size_t n_fds, bool wait);
/* @fd: -1 = none. */
int packet_send(int socket, const struct packet_head *head, const char *const text[PACKET_TEXTS],
	int fd, bool wait);

/*
 * The next packet; -EAGAIN: there is none, -EPIPE: the other end is gone, -EBADMSG: it is none of ours. The descriptors
 * that came with it, or -1, are the caller's.
 */
int packet_receive_fds(
	int socket, bool wait, struct packet *ret_packet, int ret_fds[PACKET_FDS_MAX]);
/* Of more than one descriptor none is kept. */
int packet_receive(int socket, bool wait, struct packet *ret_packet, int *ret_fd);
