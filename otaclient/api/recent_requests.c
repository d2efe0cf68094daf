/*
 * recent_requests: which requests were handed on a short while ago. Contract: recent_requests.h.
 *
 * A table of fixed size; the oldest that has ended gives up its place. The lock guards all of it.
 */
#include "otaclient/api/recent_requests.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct recent {
	bool used;
	bool under_way;
	enum api_method method;
	char id[RECENT_REQUESTS_ID_MAX]; /* cut to this, without a NUL at the end then */
	size_t id_len_bytes;             /* of the whole id */
	uint64_t begun_ms;
};

struct recent_requests {
	pthread_mutex_t lock;
	struct recent places[RECENT_REQUESTS_MAX];
};

struct recent_requests *recent_requests_new(void)
{
	struct recent_requests *list = calloc(1, sizeof(*list));

	if (list)
		pthread_mutex_init(&list->lock, NULL);
	return list;
}

void recent_requests_free(struct recent_requests *list)
{
	if (!list)
		return;
	pthread_mutex_destroy(&list->lock);
	free(list);
}

/* An abort does no harm when it is done again, and somebody may want it again soon. */
static bool is_over(const struct recent *r, uint64_t now_ms)
{
	return !r->under_way &&
	       (r->method == API_ABORT || now_ms - r->begun_ms >= RECENT_REQUESTS_MS);
}

static struct recent *find(struct recent_requests *list, enum api_method m, const char *request_id)
{
	size_t len = strlen(request_id);

	for (size_t i = 0; i < RECENT_REQUESTS_MAX; i++) {
		struct recent *r = &list->places[i];

		if (r->used && r->method == m && r->id_len_bytes == len &&
			strncmp(r->id, request_id, sizeof(r->id)) == 0)
			return r;
	}
	return NULL;
}

/* NULL: all are under way. */
static struct recent *place(struct recent_requests *list)
{
	struct recent *oldest = NULL;

	for (size_t i = 0; i < RECENT_REQUESTS_MAX; i++) {
		struct recent *r = &list->places[i];

		if (!r->used)
			return r;
		if (!r->under_way && (!oldest || r->begun_ms < oldest->begun_ms))
			oldest = r;
	}
	return oldest;
}

static void remember(struct recent *r, enum api_method m, const char *request_id, uint64_t now_ms)
{
	*r = (struct recent){
		.used = true,
		.under_way = true,
		.method = m,
		.id_len_bytes = strlen(request_id),
		.begun_ms = now_ms,
	};
	memcpy(r->id, request_id, MIN_OF(r->id_len_bytes, sizeof(r->id)));
}

bool recent_requests_has(
	struct recent_requests *list, enum api_method m, const char *request_id, uint64_t now_ms)
{
	const struct recent *r;
	bool has;

	if (!list)
		return false;
	pthread_mutex_lock(&list->lock);
	r = find(list, m, request_id);
	has = r && !is_over(r, now_ms);
	pthread_mutex_unlock(&list->lock);
	return has;
}

bool recent_requests_begin(
	struct recent_requests *list, enum api_method m, const char *request_id, uint64_t now_ms)
{
	struct recent *r;
	bool is_new;

	if (!list)
		return true;
	pthread_mutex_lock(&list->lock);
	r = find(list, m, request_id);
	is_new = !r || is_over(r, now_ms);
	if (is_new && !r)
		r = place(list);
	if (is_new && r)
		remember(r, m, request_id, now_ms);
	pthread_mutex_unlock(&list->lock);
	return is_new;
}

void recent_requests_end(struct recent_requests *list, enum api_method m, const char *request_id)
{
	struct recent *r;

	if (!list)
		return;
	pthread_mutex_lock(&list->lock);
	r = find(list, m, request_id);
	if (r)
		r->under_way = false;
	pthread_mutex_unlock(&list->lock);
}
