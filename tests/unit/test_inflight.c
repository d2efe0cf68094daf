/*
 * test_inflight: one fetch and its readers: who joins, what is handed out when, and how it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "otaproxy/inflight.h"
#include "tests/unit/cache_room.h"
#include "tests/unit/sentence.h"

enum {
	BODY_BYTES = 3 * INFLIGHT_HOLD_BYTES,
	READERS = 6,
};

/* A connection that can sleep. */
struct sleeper {
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool sleeps;
	unsigned n_sleeps;
};

static void on_sleep(void *ctx)
{
	struct sleeper *s = ctx;

	pthread_mutex_lock(&s->lock);
	assert_false(s->sleeps);
	s->sleeps = true;
	s->n_sleeps++;
	pthread_mutex_unlock(&s->lock);
}

static void on_wake(void *ctx)
{
	struct sleeper *s = ctx;

	pthread_mutex_lock(&s->lock);
	assert_true(s->sleeps);
	s->sleeps = false;
	pthread_cond_signal(&s->woken);
	pthread_mutex_unlock(&s->lock);
}

#define SLEEPER_INIT                                                                 \
	{                                                                            \
		.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER \
	}

static struct flight_sleeper sleeper_of(struct sleeper *s)
{
	return (struct flight_sleeper){.sleep = on_sleep, .wake = on_wake, .ctx = s};
}

static void wait_until_woken(struct sleeper *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->sleeps)
		pthread_cond_wait(&s->woken, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

struct room {
	struct tmp_dir *dir;
	struct cache_store *store;
	struct counters counters;
	struct inflight *table;
	uint8_t body[BODY_BYTES];
	struct cache_key key; /* of the body */
};

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof(*room));
	struct digest digest;

	if (!room || tmp_dir_setup((void **)&room->dir) < 0)
		return -1;
	room->store = cache_room_open(room->dir, BOOT_1);
	room->table = inflight_new(room->store, &room->counters);
	for (size_t i = 0; i < sizeof(room->body); i++)
		room->body[i] = (uint8_t)(i * 7 + i / 251);
	digest_of(room->body, sizeof(room->body), &digest);
	room->key = cache_key_of_content(&digest, CACHE_PLAIN);
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;

	inflight_free(room->table);
	cache_store_free(room->store);
	tmp_dir_teardown((void **)&room->dir);
	free(room);
	return 0;
}

static struct flight_order order_for(
	const struct cache_key *key, const char *url, enum flight_keep keep)
{
	return (struct flight_order){.url = strdup(url), .key = *key, .keep = keep};
}

static struct flight_reader *join_at(struct room *room, const char *url, enum flight_keep keep,
	struct sleeper *s, struct flight **ret_new)
{
	struct flight_order order = order_for(&room->key, url, keep);
	struct flight_sleeper sleeper = sleeper_of(s);
	struct flight_reader *reader = NULL;

	if (inflight_join(room->table, inflight_epoch(room->table), &order, &sleeper, &reader,
		    ret_new) < 0)
		fail();
	flight_order_done(&order);
	return reader;
}

#define URL "http://origin/data/x"

static struct flight_reader *join(struct room *room, struct sleeper *s, struct flight **ret_new)
{
	return join_at(room, URL, FLIGHT_PUBLISH, s, ret_new);
}

static void begin(struct flight *f, uint64_t total)
{
	struct flight_answer answer = {.total_bytes = total, .form = CACHE_PLAIN};

	assert_int_equal(flight_begin(f, &answer, NULL), 0);
}

static void add(struct room *room, struct flight *f, size_t from, size_t to)
{
	struct ota_err err = {0};

	if (flight_add(f, room->body + from, to - from, &err) < 0)
		fail_msg("%s", err.msg);
}

/* As much as there is from @pos on. */
static uint64_t readable(struct flight_reader *r, uint64_t pos)
{
	static char piece[BODY_BYTES];
	ssize_t n;

	while ((n = flight_reader_read(r, pos, piece, sizeof(piece))) > 0)
		pos += (uint64_t)n;
	return pos;
}

static void land(struct flight *f)
{
	struct ota_err err = {0};

	if (flight_complete(f, &err) < 0)
		fail_msg("%s", err.msg);
	flight_publish(f, NULL);
	flight_end(f, 0, 200, NULL);
}

/* ---- who joins ---- */

static void second_reader_of_the_same_body_joins(void **state)
{
	struct room *room = *state;
	struct sleeper a = SLEEPER_INIT, b = SLEEPER_INIT;
	struct flight *first = NULL, *second = NULL;
	struct flight_reader *ra = join(room, &a, &first), *rb = join(room, &b, &second);

	assert_non_null(first);
	assert_null(second);
	assert_int_equal(counters_get(&room->counters, COUNTER_JOINED), 1);
	begin(first, BODY_BYTES);
	add(room, first, 0, BODY_BYTES);
	land(first);
	assert_int_equal(readable(ra, 0), BODY_BYTES);
	assert_int_equal(readable(rb, 0), BODY_BYTES);
	flight_reader_leave(ra);
	flight_reader_leave(rb);
}

static void same_digest_at_another_url_is_another_flight(void **state)
{
	struct room *room = *state;
	struct sleeper a = SLEEPER_INIT, b = SLEEPER_INIT;
	struct flight *first = NULL, *second = NULL;
	struct flight_reader *ra = join(room, &a, &first);
	struct flight_reader *rb = join_at(room, "http://liar/data/x", FLIGHT_PUBLISH, &b, &second);

	assert_non_null(second);
	flight_end(first, -EIO, 0, NULL);
	flight_end(second, -EIO, 0, NULL);
	flight_reader_leave(ra);
	flight_reader_leave(rb);
}

static void who_missed_the_end_of_a_flight_looks_into_the_cache_again(void **state)
{
	struct room *room = *state;
	uint64_t before = inflight_epoch(room->table);
	struct sleeper a = SLEEPER_INIT;
	struct flight_sleeper sleeper = sleeper_of(&a);
	struct flight *f = NULL, *none = NULL;
	struct flight_reader *r = join(room, &a, &f), *late = NULL;
	struct flight_order order = order_for(&room->key, URL, FLIGHT_PUBLISH);

	begin(f, BODY_BYTES);
	add(room, f, 0, BODY_BYTES);
	land(f);
	flight_reader_leave(r);
	assert_int_equal(
		inflight_join(room->table, before, &order, &sleeper, &late, &none), -EAGAIN);
	assert_string_equal(order.url, URL); /* still the caller's */
	flight_order_done(&order);
	assert_true(cache_room_has(room->store, &room->key));
}

static void body_by_url_that_has_come_is_asked_for_anew(void **state)
{
	struct room *room = *state;
	struct sleeper a = SLEEPER_INIT, b = SLEEPER_INIT, c = SLEEPER_INIT;
	struct flight *f = NULL, *second = NULL, *third = NULL;
	struct flight_reader *ra, *rb, *rc;

	room->key = cache_key_of_url(URL);
	ra = join(room, &a, &f);
	begin(f, BODY_BYTES);
	add(room, f, 0, BODY_BYTES / 2);
	rb = join(room, &b, &second);
	assert_null(second);
	add(room, f, BODY_BYTES / 2, BODY_BYTES);
	rc = join(room, &c, &third);
	assert_non_null(third);
	land(f);
	flight_end(third, -EIO, 0, NULL);
	flight_reader_leave(ra);
	flight_reader_leave(rb);
	flight_reader_leave(rc);
}

/* ---- what is handed out ---- */

static void end_of_a_body_is_held_back_until_the_digest_agrees(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	struct flight_answer answer;

	begin(f, BODY_BYTES);
	add(room, f, 0, INFLIGHT_HOLD_BYTES);
	assert_int_equal(readable(r, 0), 0);
	assert_true(s.sleeps);
	add(room, f, INFLIGHT_HOLD_BYTES, BODY_BYTES);
	assert_false(s.sleeps);
	assert_int_equal(readable(r, 0), BODY_BYTES - INFLIGHT_HOLD_BYTES);
	assert_int_equal(flight_reader_look(r, false, &answer), FLIGHT_ANSWERED);
	assert_int_equal(flight_reader_look(r, true, &answer), FLIGHT_WAITING);
	land(f);
	assert_int_equal(flight_reader_look(r, true, &answer), FLIGHT_ANSWERED);
	assert_int_equal(readable(r, 0), BODY_BYTES);
	assert_int_equal(flight_reader_read(r, BODY_BYTES, (char[1]){0}, 1), -ENODATA);
	flight_reader_leave(r);
}

static void wrong_body_breaks_every_reader_and_is_not_kept(void **state)
{
	struct room *room = *state;
	struct sleeper a = SLEEPER_INIT, b = SLEEPER_INIT;
	struct flight *f = NULL, *none = NULL;
	struct flight_reader *ra = join(room, &a, &f), *rb = join(room, &b, &none);
	struct ota_err err = {0};
	char piece[16], hex[DIGEST_HEX_MAX], sentence[OTA_ERR_MSG_MAX];

	begin(f, BODY_BYTES);
	room->body[BODY_BYTES - 1] ^= 1;
	add(room, f, 0, BODY_BYTES);
	assert_int_equal(readable(rb, 0), BODY_BYTES - INFLIGHT_HOLD_BYTES);
	assert_int_equal(flight_complete(f, &err), -EBADMSG);
	digest_to_hex(&room->key.digest, hex);
	snprintf(sentence, sizeof(sentence), "The body is not what its digest %s says: %s", hex,
		URL);
	assert_string_equal(err.msg, sentence);
	flight_end(f, -EBADMSG, 200, &err);
	assert_int_equal(flight_reader_read(ra, 0, piece, sizeof(piece)), -EPIPE);
	assert_int_equal(flight_reader_read(rb, 0, piece, sizeof(piece)), -EPIPE);
	assert_int_equal(counters_get(&room->counters, COUNTER_REJECTED), 1);
	assert_false(cache_room_has(room->store, &room->key));
	flight_reader_leave(ra);
	flight_reader_leave(rb);
}

static void body_that_begins_anew_must_repeat_itself(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	struct ota_err err = {0};

	begin(f, BODY_BYTES);
	add(room, f, 0, 2 * INFLIGHT_HOLD_BYTES);
	begin(f, BODY_BYTES);
	add(room, f, 0, INFLIGHT_HOLD_BYTES);
	assert_int_equal(readable(r, 0), INFLIGHT_HOLD_BYTES);
	add(room, f, INFLIGHT_HOLD_BYTES, BODY_BYTES);
	land(f);
	assert_int_equal(readable(r, 0), BODY_BYTES);
	flight_reader_leave(r);

	cache_store_drop(room->store, &room->key, NULL);
	r = join(room, &s, &f);
	begin(f, BODY_BYTES);
	add(room, f, 0, 2 * INFLIGHT_HOLD_BYTES);
	begin(f, BODY_BYTES);
	room->body[100] ^= 1;
	assert_int_equal(flight_add(f, room->body, 1000, &err), -EBADMSG);
	assert_string_equal(err.msg, "The body began anew, with other bytes than were passed on");
	flight_end(f, -EBADMSG, 200, &err);
	flight_reader_leave(r);
}

/* Readers may have told their clients of it already. */
static void body_that_begins_anew_must_be_the_same_version(void **state)
{
	/* clang-format off */
	static const struct flight_answer others[] = {
		{.total_bytes = BODY_BYTES, .form = CACHE_ZST},
		{.total_bytes = BODY_BYTES - 1, .form = CACHE_PLAIN},
		{.total_bytes = UINT64_MAX, .form = CACHE_PLAIN},
		{.total_bytes = BODY_BYTES, .form = CACHE_PLAIN, .etag = "\"2\""},
		{.total_bytes = BODY_BYTES, .form = CACHE_PLAIN, .content_encoding = "gzip"},
	};
	/* clang-format on */
	struct room *room = *state;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct sleeper s = SLEEPER_INIT;
		struct flight *f = NULL;
		struct flight_reader *r = join(room, &s, &f);
		struct ota_err err = {0};

		begin(f, BODY_BYTES);
		add(room, f, 0, 2 * INFLIGHT_HOLD_BYTES);
		assert_int_equal(flight_begin(f, &others[i], &err), -EBADMSG);
		assert_sentence(
			&err, "The server sends another form or version of the body than before");
		flight_end(f, -EBADMSG, 200, &err);
		flight_reader_leave(r);
	}
}

static void body_that_begins_anew_must_not_be_shorter(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r;
	struct ota_err err = {0};

	room->key = cache_key_of_url(URL);
	r = join(room, &s, &f);
	begin(f, UINT64_MAX);
	add(room, f, 0, 1000);
	begin(f, UINT64_MAX);
	add(room, f, 0, 999);
	assert_int_equal(flight_complete(f, &err), -EBADMSG);
	assert_sentence(&err, "The body began anew, and is shorter than before");
	flight_end(f, -EBADMSG, 200, &err);
	flight_reader_leave(r);
}

static void flight_goes_on_when_its_readers_leave(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);

	begin(f, BODY_BYTES);
	add(room, f, 0, INFLIGHT_HOLD_BYTES);
	flight_reader_leave(r);
	add(room, f, INFLIGHT_HOLD_BYTES, BODY_BYTES);
	land(f);
	assert_true(cache_room_has(room->store, &room->key));
}

/* With @total, of what @key says: goes on without a reader? */
static bool goes_on_alone(struct room *room, struct cache_key key, uint64_t total)
{
	struct cache_key before = room->key;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL, *other = NULL;
	struct flight_reader *r;
	int added;

	room->key = key;
	r = join(room, &s, &f);
	begin(f, total);
	add(room, f, 0, 1000);
	flight_reader_leave(r);
	added = flight_add(f, room->body + 1000, 1000, NULL);
	if (added < 0) {
		assert_int_equal(added, -ECANCELED);
		r = join(room, &s, &other); /* nobody joins what is about to end */
		assert_non_null(other);
		flight_reader_leave(r);
		flight_end(other, -ECANCELED, 0, NULL);
	}
	flight_end(f, -ECANCELED, 200, NULL);
	room->key = before;
	return added == 0;
}

static void only_a_content_of_known_length_goes_on_without_readers(void **state)
{
	struct room *room = *state;

	assert_true(goes_on_alone(room, room->key, BODY_BYTES));
	assert_false(goes_on_alone(room, room->key, UINT64_MAX));
	assert_false(goes_on_alone(room, cache_key_of_url(URL), BODY_BYTES));
	assert_false(goes_on_alone(room, cache_key_of_url(URL), UINT64_MAX));
}

static void failure_before_any_answer_has_its_status(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	struct flight_answer answer;
	struct ota_err err = {0};

	assert_int_equal(flight_reader_look(r, false, &answer), FLIGHT_WAITING);
	assert_true(s.sleeps);
	ota_err_set(&err, -ENOENT, OTA_E_OTA_IMAGE_INVALID, "Nobody has it");
	flight_end(f, -ENOENT, 404, &err);
	assert_false(s.sleeps);
	assert_int_equal(flight_reader_look(r, false, &answer), FLIGHT_FAILED);
	assert_int_equal(answer.status, 404);
	assert_string_equal(answer.err.msg, "Nobody has it");
	flight_reader_leave(r);
}

static void a_body_without_room_on_the_disk_is_refused_before_it_begins(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	struct flight_answer answer = {.total_bytes = UINT64_MAX / 4, .form = CACHE_PLAIN};
	struct ota_err err = {0};

	assert_int_equal(flight_begin(f, &answer, &err), -ENOSPC);
	assert_string_equal(
		err.msg, "There is no room in the cache for a body of 4611686018427387903 bytes");
	flight_end(f, -ENOSPC, 200, &err);
	assert_int_equal(flight_reader_look(r, false, &answer), FLIGHT_FAILED);
	assert_int_equal(answer.err.errnum, -ENOSPC);
	flight_reader_leave(r);
}

static void fresh_entry_needs_no_body(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	struct flight_answer answer;

	flight_end(f, 0, 304, NULL);
	assert_int_equal(flight_reader_look(r, false, &answer), FLIGHT_SAME);
	flight_reader_leave(r);
}

/* The first @n_bytes of the body, and no more. */
static void assert_reads(struct room *room, struct flight_reader *r, size_t n_bytes)
{
	static uint8_t read_back[BODY_BYTES];

	for (size_t at = 0; at < n_bytes;) {
		ssize_t n = flight_reader_read(r, at, read_back + at, n_bytes - at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	assert_memory_equal(read_back, room->body, n_bytes);
	assert_int_equal(flight_reader_read(r, n_bytes, read_back, 1), -ENODATA);
}

/* System calls of this process that wrote so far; the kernel counts them. */
static uint64_t n_writes(void)
{
	static const char name[] = "syscw: ";
	AUTO_BUF struct buf text = {0};
	const char *at;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/io", 4096, &text), 0);
	at = strstr(buf_str(&text), name);
	assert_non_null(at);
	return strtoull(at + strlen(name), NULL, 10);
}

/* A fetch of the first @n bytes of the body that come in pieces of @piece_bytes. */
static void check_handing_out(struct room *room, size_t n_bytes, size_t piece_bytes)
{
	const size_t hold = INFLIGHT_HOLD_BYTES;
	bool small = n_bytes <= hold; /* never written */
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r;
	struct digest digest;
	uint64_t n_before, n_safe = 0;

	digest_of(room->body, n_bytes, &digest);
	room->key = cache_key_of_content(&digest, CACHE_PLAIN);
	r = join_at(room, URL, FLIGHT_SHARE, &s, &f);
	begin(f, n_bytes);
	n_before = n_writes();
	for (size_t at = 0; at < n_bytes;) {
		size_t end = MIN_OF(at + piece_bytes, n_bytes);

		add(room, f, at, end);
		at = end;
		n_safe = readable(r, n_safe);
		assert_true(n_safe == 0 || n_safe + hold <= at);
		assert_true(n_safe + 2 * hold > at); /* what is gathered is no more than the hold */
	}
	assert_int_equal(n_writes() - n_before, small ? 0 : n_bytes / hold);
	land(f);
	assert_int_equal(n_writes() - n_before, small ? 0 : (n_bytes + hold - 1) / hold);
	assert_reads(room, r, n_bytes);
	flight_reader_leave(r);
}

static void checked_body_is_written_in_few_pieces_and_handed_out_behind_the_hold(void **state)
{
	static const size_t sizes[] = {0, 1, INFLIGHT_HOLD_BYTES - 1, INFLIGHT_HOLD_BYTES,
		INFLIGHT_HOLD_BYTES + 1, 2 * INFLIGHT_HOLD_BYTES - 1, 2 * INFLIGHT_HOLD_BYTES,
		2 * INFLIGHT_HOLD_BYTES + 1, BODY_BYTES};
	static const size_t pieces[] = {1021, 16 * 1024, INFLIGHT_HOLD_BYTES - 1,
		INFLIGHT_HOLD_BYTES, INFLIGHT_HOLD_BYTES + 1, BODY_BYTES};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t k = 0; k < ARRAY_SIZE(pieces); k++)
			check_handing_out(*state, sizes[i], pieces[k]);
}

static void what_was_gathered_of_a_body_that_begins_anew_is_forgotten(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	uint64_t n_before = n_writes();

	/* Breaks off with as much gathered as there may be, then in what was written already. */
	begin(f, BODY_BYTES);
	room->body[INFLIGHT_HOLD_BYTES] ^= 1; /* nobody has seen it: it need not come again */
	add(room, f, 0, 2 * INFLIGHT_HOLD_BYTES - 1);
	room->body[INFLIGHT_HOLD_BYTES] ^= 1;
	begin(f, BODY_BYTES);
	add(room, f, 0, INFLIGHT_HOLD_BYTES / 2);
	begin(f, BODY_BYTES);
	assert_int_equal(readable(r, 0), 0);
	for (size_t at = 0; at < BODY_BYTES; at += 4096)
		add(room, f, at, at + 4096);
	assert_int_equal(n_writes() - n_before, BODY_BYTES / INFLIGHT_HOLD_BYTES);
	land(f);
	assert_reads(room, r, BODY_BYTES);
	flight_reader_leave(r);
}

/* ---- without a file ---- */

static void flight_without_a_file_waits_for_its_reader(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL, *other = NULL;
	struct flight_reader *r = join_at(room, URL, FLIGHT_PASS, &s, &f);
	struct flight_reader *r2 = join_at(room, URL, FLIGHT_PASS, &s, &other);
	static char piece[16 * 1024];
	size_t sent = 0, taken = 0;
	unsigned n_busy = 0;

	assert_non_null(other); /* nobody joins it */
	begin(f, BODY_BYTES * 8);
	while (sent < BODY_BYTES * 8) {
		size_t at = sent % BODY_BYTES;
		int e = flight_add(f, room->body + at, sizeof(piece), NULL);

		if (e == 0) {
			sent += sizeof(piece);
			continue;
		}
		assert_int_equal(e, -EBUSY);
		n_busy++;
		while (!flight_ready(f)) {
			ssize_t n = flight_reader_read(r, taken, piece, sizeof(piece));

			assert_true(n > 0);
			assert_memory_equal(piece, room->body + taken % BODY_BYTES, (size_t)n);
			taken += (size_t)n;
		}
		assert_true(sent - taken <= INFLIGHT_WINDOW_BYTES);
	}
	assert_true(n_busy > 1);
	flight_reader_leave(r);
	assert_int_equal(flight_add(f, room->body, 1, NULL), -ECANCELED);
	assert_int_equal(flight_ready(f), -ECANCELED);
	flight_end(f, -ECANCELED, 0, NULL);
	flight_end(other, -ECANCELED, 0, NULL);
	flight_reader_leave(r2);
}

/* What all bodies in memory take. */
static uint64_t memory_bytes(void)
{
	uint64_t n_bytes = 0;

	for (int fd = 3; fd < 64; fd++) {
		char path[32], target[64] = "";
		struct stat st;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) > 0 &&
			strncmp(target, "/memfd:body", 11) == 0 && fstat(fd, &st) == 0)
			n_bytes += (uint64_t)st.st_blocks * 512;
	}
	return n_bytes;
}

/* Feed the flight until it is @n_bytes long; its reader @r begins at @taken. Returns where that has come to. */
static uint64_t feed(struct room *room, struct flight *f, struct flight_reader *r, size_t n_bytes,
	uint64_t taken)
{
	static uint8_t piece[16 * 1024];

	for (size_t sent = 0; sent < n_bytes;) {
		int e = flight_add(f, room->body + sent % BODY_BYTES, sizeof(piece), NULL);
		ssize_t n;

		assert_true(memory_bytes() <= INFLIGHT_WINDOW_BYTES + sizeof(piece));
		if (e == 0) {
			sent += sizeof(piece);
			continue;
		}
		assert_int_equal(e, -EBUSY);
		n = flight_reader_read(r, taken, piece, sizeof(piece));
		/* nothing yet, and it says from where on it reads: then what is before need not wait for it */
		if (n == 0)
			assert_true(flight_ready(f));
		assert_memory_equal(piece, room->body + taken % BODY_BYTES, (size_t)n);
		taken += (uint64_t)n;
	}
	return taken;
}

static void reader_of_a_late_part_is_not_waited_for_at_the_first(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join_at(room, URL, FLIGHT_PASS, &s, &f);
	const uint64_t from = 10 * BODY_BYTES;

	begin(f, 20 * BODY_BYTES);
	assert_true(feed(room, f, r, 20 * BODY_BYTES, from) > from);
	flight_reader_leave(r);
	flight_end(f, -ECANCELED, 0, NULL);
}

/* ---- when the disk becomes full ---- */

/* What is told to have no room any more: a folder that is gone. */
static void take_disk_away(struct room *room)
{
	assert_int_equal(folder_remove(room->dir->fd, "v1"), 0);
}

static void only_reader_of_a_body_without_room_gets_it_all(void **state)
{
	struct room *room = *state;
	struct sleeper a = SLEEPER_INIT, b = SLEEPER_INIT;
	struct flight *f = NULL, *other = NULL;
	struct flight_reader *r = join(room, &a, &f), *late;

	take_disk_away(room);
	begin(f, UINT64_MAX);
	add(room, f, 0, BODY_BYTES / 2);
	assert_int_equal(inflight_room(room->table), ROOM_NONE);
	late = join(room, &b, &other);
	assert_non_null(other); /* there is nothing to join any more */
	add(room, f, BODY_BYTES / 2, BODY_BYTES);
	land(f);
	assert_reads(room, r, BODY_BYTES);
	assert_false(cache_room_has(room->store, &room->key));
	flight_reader_leave(r);
	flight_reader_leave(late);
	flight_end(other, -ECANCELED, 0, NULL);
}

static void body_without_room_does_not_run_ahead_of_its_reader(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r;

	room->key = cache_key_of_url(URL);
	r = join(room, &s, &f);
	take_disk_away(room);
	begin(f, UINT64_MAX);
	assert_true(feed(room, f, r, 8 * BODY_BYTES, 0) >= 8 * BODY_BYTES - INFLIGHT_WINDOW_BYTES);
	flight_reader_leave(r);
	flight_end(f, -ECANCELED, 0, NULL);
}

static void those_who_share_a_body_without_room_see_it_break(void **state)
{
	struct room *room = *state;
	struct sleeper a = SLEEPER_INIT, b = SLEEPER_INIT;
	struct flight *f = NULL, *none = NULL;
	struct flight_reader *ra = join(room, &a, &f), *rb = join(room, &b, &none);
	struct ota_err err = {0};

	take_disk_away(room);
	begin(f, UINT64_MAX);
	assert_int_equal(flight_add(f, room->body, BODY_BYTES, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "No such file or directory"));
	flight_end(f, -ENOSPC, 200, &err);
	flight_reader_leave(ra);
	flight_reader_leave(rb);
}

static void who_waits_for_all_of_a_body_without_room_is_told(void **state)
{
	struct room *room = *state;
	struct sleeper s = SLEEPER_INIT;
	struct flight *f = NULL;
	struct flight_reader *r = join(room, &s, &f);
	struct flight_answer answer;

	take_disk_away(room);
	begin(f, UINT64_MAX);
	assert_int_equal(flight_reader_look(r, true, &answer), FLIGHT_WAITING);
	assert_int_equal(flight_add(f, room->body, BODY_BYTES, NULL), -ENOSPC);
	flight_end(f, -ENOSPC, 200, NULL);
	wait_until_woken(&s);
	flight_reader_leave(r);
}

/* ---- many threads ---- */

struct reading {
	struct room *room;
	struct sleeper sleeper;
	struct flight_reader *reader;
	uint64_t n_bytes;
	ssize_t end;
	bool equal;
};

static void *read_all(void *arg)
{
	struct reading *g = arg;
	char piece[5000];
	ssize_t n;

	g->equal = true;
	while ((n = flight_reader_read(g->reader, g->n_bytes, piece, sizeof(piece))) >= 0) {
		if (n == 0) {
			wait_until_woken(&g->sleeper);
			continue;
		}
		g->equal &= memcmp(piece, g->room->body + g->n_bytes, (size_t)n) == 0;
		g->n_bytes += (uint64_t)n;
	}
	g->end = n;
	flight_reader_leave(g->reader);
	return NULL;
}

static void many_readers_read_one_growing_body(void **state)
{
	struct room *room = *state;
	static struct reading readings[READERS];
	pthread_t threads[READERS];
	struct flight *f = NULL, *none = NULL;

	for (int i = 0; i < READERS; i++) {
		readings[i] = (struct reading){.room = room, .sleeper = SLEEPER_INIT};
		readings[i].reader = join(room, &readings[i].sleeper, i == 0 ? &f : &none);
	}
	begin(f, BODY_BYTES);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readings[i]), 0);
	for (size_t at = 0; at < BODY_BYTES; at += 1024)
		add(room, f, at, at + 1024);
	land(f);
	for (int i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(readings[i].end, -ENODATA);
		assert_int_equal(readings[i].n_bytes, BODY_BYTES);
		assert_true(readings[i].equal);
	}
}

#define room_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(second_reader_of_the_same_body_joins),
		room_test(same_digest_at_another_url_is_another_flight),
		room_test(who_missed_the_end_of_a_flight_looks_into_the_cache_again),
		room_test(body_by_url_that_has_come_is_asked_for_anew),
		room_test(end_of_a_body_is_held_back_until_the_digest_agrees),
		room_test(checked_body_is_written_in_few_pieces_and_handed_out_behind_the_hold),
		room_test(what_was_gathered_of_a_body_that_begins_anew_is_forgotten),
		room_test(wrong_body_breaks_every_reader_and_is_not_kept),
		room_test(body_that_begins_anew_must_repeat_itself),
		room_test(body_that_begins_anew_must_be_the_same_version),
		room_test(body_that_begins_anew_must_not_be_shorter),
		room_test(flight_goes_on_when_its_readers_leave),
		room_test(only_a_content_of_known_length_goes_on_without_readers),
		room_test(failure_before_any_answer_has_its_status),
		room_test(a_body_without_room_on_the_disk_is_refused_before_it_begins),
		room_test(fresh_entry_needs_no_body),
		room_test(flight_without_a_file_waits_for_its_reader),
		room_test(reader_of_a_late_part_is_not_waited_for_at_the_first),
		room_test(only_reader_of_a_body_without_room_gets_it_all),
		room_test(body_without_room_does_not_run_ahead_of_its_reader),
		room_test(those_who_share_a_body_without_room_see_it_break),
		room_test(who_waits_for_all_of_a_body_without_room_is_told),
		room_test(many_readers_read_one_growing_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
