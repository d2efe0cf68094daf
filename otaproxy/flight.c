/*
 * flight: the fetcher's side of a flight, from its begin to its end. Contract: inflight.h, "the fetcher's side".
 *
 * All of it runs in one thread, the fetcher's. What readers see of it is changed under the table's lock (inflight.c).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/net/http_url.h"
#include "otaproxy/inflight_parts.h"

const struct flight_order *flight_order(const struct flight *f)
{
	return &f->order;
}

/*
 * Under the lock: what is asked for by URL may be another body by now, so nobody may join one that has come whole; nor,
 * where no old one will do or its end cannot be seen coming, one that has begun.
 */
static void close_to_late_ones(struct flight *f)
{
	if (f->order.key.kind == CACHE_BY_URL &&
		(f->order.keep == FLIGHT_SHARE || f->answer.total_bytes == UINT64_MAX ||
			f->n_bytes >= f->answer.total_bytes))
		flight_unlist(f);
}

/* Does @new keep what readers may have told their clients of @told? */
static bool is_same_version(const struct flight_answer *told, const struct flight_answer *new)
{
	return new->form == told->form &&strcmp(new->content_encoding, told->content_encoding) ==
		       0 &&
	       strcmp(new->etag, told->etag) == 0 &&
	       (told->total_bytes == UINT64_MAX || new->total_bytes == told->total_bytes);
}

int flight_begin(struct flight *f, const struct flight_answer *answer, struct ota_err *err)
{
	int r = f->begun ? 0 : flight_body_reserve(f->body, answer->total_bytes, err);

	if (r < 0)
		return r;
	r = f->check ? body_check_start(
			       f->check, &f->order.key.digest, answer->form, BODY_CONTENT_MAX_BYTES)
		     : 0;
	if (r < 0)
		return ota_err_no_memory(err, "the check of a body");
	f->at = 0;
	flight_body_rewind(f->body);
	pthread_mutex_lock(&f->table->lock);
	if (!f->begun) {
		f->begun = true;
		f->answer = *answer;
		close_to_late_ones(f);
		/* Readers of what is checked would only find that nothing may be read yet. */
		if (!f->check) {
			f->state = FLIGHT_ANSWERED;
			flight_wake_readers(f);
		}
	} else if (!is_same_version(&f->answer, answer)) {
		r = -EBADMSG;
	}
	pthread_mutex_unlock(&f->table->lock);
	return r < 0 ? ota_err_set(err, r, OTA_E_NETWORK,
			       "The server sends another form or version of the body than before")
		     : 0;
}

/* Bytes that readers may have already: they must come again as they were. */
static int compare(struct flight *f, const void *data, size_t len, struct ota_err *err)
{
	if (len == 0 || (!f->paced && flight_body_has(f->body, f->at, data, len)))
		return 0;
	return ota_err_set(err, -EBADMSG, OTA_E_NETWORK,
		"The body began anew, with other bytes than were passed on");
}

/* All before @n_bytes can be read now. */
static void hand_out(struct flight *f, uint64_t n_bytes)
{
	pthread_mutex_lock(&f->table->lock);
	if (n_bytes > f->n_bytes) {
		uint64_t safe = flight_safe_bytes(f);

		f->n_bytes = n_bytes;
		close_to_late_ones(f);
		if (flight_safe_bytes(f) > safe) {
			f->state = FLIGHT_ANSWERED;
			flight_wake_readers(f);
		}
	}
	pthread_mutex_unlock(&f->table->lock);
}

/* From now on its only reader sets the pace, and nobody joins. False: none can. */
static bool be_paced(struct flight *f)
{
	bool is_one;

	pthread_mutex_lock(&f->table->lock);
	is_one = !f->paced && f->readers && !f->readers->next && !f->readers->wants_whole;
	if (is_one) {
		flight_unlist(f);
		f->paced = true;
		f->consumed = f->readers->at / HOLE_BYTES * HOLE_BYTES;
	}
	pthread_mutex_unlock(&f->table->lock);
	return is_one;
}

/*
 * The disk may become full under a body whose length nobody knew. What its reader has not taken yet is still there, so
 * it is passed through from here on. Of several readers the slowest would hold up the others, so these see it break.
 */
static int after_full_disk(struct flight *f, int r, struct ota_err *err)
{
	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	inflight_set_room(f->table, ROOM_NONE);
	if (!be_paced(f) || flight_body_leave_disk(f->body, err) < 0)
		return r;
	if (err)
		*err = (struct ota_err){0};
	return 0;
}

/* Put @len bytes at the end of what is there. */
static int store_piece(struct flight *f, const uint8_t *data, size_t len, struct ota_err *err)
{
	uint64_t before = flight_body_size(f->body), readable;
	int r = flight_body_add(f->body, data, len, &readable, err);

	if (r < 0) {
		size_t taken = (size_t)(flight_body_size(f->body) - before);

		r = after_full_disk(f, r, err);
		if (r == 0)
			r = flight_body_add(f->body, data + taken, len - taken, &readable, err);
	}
	if (r < 0)
		return r;
	f->at += len;
	hand_out(f, readable);
	return 0;
}

/*
 * Under the lock: is the rest worth its way without a reader? A content is, which others will want. What nobody can
 * check may be of any length, and will be asked for anew.
 */
static bool is_worth_its_end(const struct flight *f)
{
	return !f->paced && f->order.key.kind == CACHE_BY_DIGEST &&
	       f->answer.total_bytes != UINT64_MAX;
}

/* May @len more bytes come? Only a flight with one reader waits for it. */
static int has_room(struct flight *f, size_t len)
{
	int r = 0;

	pthread_mutex_lock(&f->table->lock);
	if (!f->readers && !is_worth_its_end(f)) {
		flight_unlist(f);
		r = -ECANCELED;
	} else if (f->paced && f->n_bytes > f->consumed &&
		   flight_body_size(f->body) - f->consumed + len > INFLIGHT_WINDOW_BYTES) {
		r = -EBUSY;
	}
	pthread_mutex_unlock(&f->table->lock);
	return r;
}

/* The only reader has taken what is below @consumed, or will not: whole pieces of it at a time. */
static void forget_consumed(struct flight *f)
{
	uint64_t consumed;

	if (!f->paced)
		return;
	pthread_mutex_lock(&f->table->lock);
	consumed = MIN_OF(f->consumed, f->n_bytes / HOLE_BYTES * HOLE_BYTES);
	pthread_mutex_unlock(&f->table->lock);
	if (consumed <= f->forgotten)
		return;
	flight_body_forget(f->body, f->forgotten, consumed);
	f->forgotten = consumed;
}

int flight_ready(struct flight *f)
{
	int r = has_room(f, INFLIGHT_WINDOW_BYTES / 2);

	forget_consumed(f);

	return r == 0 ? 1 : r == -EBUSY ? 0 : r;
}

static int wrong_body(struct flight *f, struct ota_err *err)
{
	char text[HTTP_URL_TEXT_MAX], hex[DIGEST_HEX_MAX];

	counters_add(f->table->counters, COUNTER_REJECTED, 1);
	digest_to_hex(&f->order.key.digest, hex);
	return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"The body is not what its digest %s says: %s", hex,
		http_url_text(f->order.url, text));
}

int flight_add(struct flight *f, const void *data, size_t len_bytes, struct ota_err *err)
{
	size_t again =
		f->at < f->n_bytes ? (size_t)MIN_OF(f->n_bytes - f->at, (uint64_t)len_bytes) : 0;
	int r = has_room(f, len_bytes);

	if (r == 0)
		r = compare(f, data, again, err);
	if (r == 0 && f->check && body_check_feed(f->check, data, len_bytes) < 0)
		r = wrong_body(f, err);
	f->at += r == 0 ? again : 0;
	if (r == 0)
		r = store_piece(f, (const uint8_t *)data + again, len_bytes - again, err);
	if (r < 0)
		return r;
	forget_consumed(f);
	counters_add(f->table->counters, COUNTER_ORIGIN_BYTES, len_bytes);
	return 0;
}

/* What is kept by URL is named by the URL; these are the bytes that a power cut may spoil. */
static int note_body(const struct flight *f, int fd, struct cache_meta *meta)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();

	if (!ctx)
		return -ENOMEM;
	meta->size_bytes = f->n_bytes;
	if (lseek(fd, (off_t)cache_key_body_offset(&f->order.key), SEEK_SET) < 0)
		return -errno;
	return digest_of_fd(ctx, fd, &meta->digest, NULL);
}

static int publish(struct flight *f, struct cache_meta *meta, struct ota_err *err)
{
	struct cache_key key = f->order.key;
	struct cache_temp *temp;
	int r;

	if (f->order.keep != FLIGHT_PUBLISH || f->paced || (!f->check && !meta))
		return 0;
	key.form = f->answer.form;
	r = flight_body_file(f->body, &temp, err);
	if (r == -ENOSPC || r == -EDQUOT)
		inflight_set_room(f->table, ROOM_NONE);
	if (r == 0 && meta)
		r = note_body(f, cache_temp_fd(temp), meta);
	return r < 0 ? r : cache_temp_publish(temp, &key, meta, err);
}

/* The body has ended and is right: readers may have all of it. */
static int hand_out_all(struct flight *f, struct ota_err *err)
{
	uint64_t n_bytes;
	int r = flight_body_end(f->body, &n_bytes, err);

	if (r < 0) {
		r = after_full_disk(f, r, err);
		if (r == 0)
			r = flight_body_end(f->body, &n_bytes, err);
	}
	if (r < 0)
		return r;
	pthread_mutex_lock(&f->table->lock);
	f->n_bytes = n_bytes;
	f->complete = true;
	f->state = FLIGHT_ANSWERED;
	f->answer.total_bytes = n_bytes;
	flight_wake_readers(f);
	pthread_mutex_unlock(&f->table->lock);
	return 0;
}

int flight_complete(struct flight *f, struct ota_err *err)
{
	if (f->order.head)
		return 0;
	if (f->at < f->n_bytes)
		return ota_err_set(err, -EBADMSG, OTA_E_NETWORK,
			"The body began anew, and is shorter than before");
	if (f->check && body_check_finish(f->check) < 0)
		return wrong_body(f, err);
	return hand_out_all(f, err);
}

void flight_publish(struct flight *f, struct cache_meta *meta)
{
	struct ota_err trouble = {0};

	/* What cannot be kept can be read all the same. */
	if (f->complete && publish(f, meta, &trouble) < 0)
		log_warning("%s", trouble.msg);
}

void flight_end(struct flight *f, int r, unsigned status, const struct ota_err *err)
{
	pthread_mutex_lock(&f->table->lock);
	if (r < 0 && !f->complete) {
		f->state = FLIGHT_FAILED;
		f->answer.status = status;
		if (err)
			f->answer.err = *err;
	} else if (f->state == FLIGHT_WAITING) {
		f->state = FLIGHT_SAME;
	}
	flight_unlist(f);
	flight_wake_readers(f);
	pthread_mutex_unlock(&f->table->lock);
	body_check_free(TAKE_PTR(f->check));
	flight_unref(f);
}
