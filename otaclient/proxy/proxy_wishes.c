/*
 * proxy_wishes: who needs the proxy, and for which servers. Contract: proxy_wishes.h.
 *
 * Two locks. @lock guards the wishes and is held for copies only. @file is taken first, by whoever changes the list of
 * servers, until the file is written: its one purpose is that two writers do not leave the older list behind. Whoever
 * drops a wish waits for neither a file nor the proxy.
 */
#include "otaclient/proxy/proxy_wishes.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "otaclient/proxy/proxy_origins.h"

struct wish {
	bool is_on;
	char *origins[PROXY_ORIGINS_MAX]; /* owned */
	size_t n_origins;
};

struct proxy_wishes {
	struct proxy_child *child;
	pthread_mutex_t file;
	pthread_mutex_t lock;
	struct wish wishes[PROXY_WISHER_COUNT];
	bool is_written; /* the file has all that is named */
};

struct proxy_wishes *proxy_wishes_new(struct proxy_child *child)
{
	struct proxy_wishes *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->child = child;
	pthread_mutex_init(&w->file, NULL);
	pthread_mutex_init(&w->lock, NULL);
	return w;
}

static void wish_clear(struct wish *wish)
{
	for (size_t i = 0; i < wish->n_origins; i++)
		free(wish->origins[i]);
	*wish = (struct wish){0};
}

void proxy_wishes_free(struct proxy_wishes *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < PROXY_WISHER_COUNT; i++)
		wish_clear(&w->wishes[i]);
	pthread_mutex_destroy(&w->lock);
	pthread_mutex_destroy(&w->file);
	free(w);
}

void proxy_wishes_freep(struct proxy_wishes **w)
{
	proxy_wishes_free(*w);
}

static bool has(const char *const *list, size_t n, const char *origin)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], origin) == 0)
			return true;
	return false;
}

/* What is new of @origins: how many that are. */
static int wish_extend(
	struct wish *wish, const char *const *origins, size_t n_origins, struct ota_err *err)
{
	int n_new = 0;

	for (size_t i = 0; i < n_origins; i++) {
		if (has((const char *const *)wish->origins, wish->n_origins, origins[i]))
			continue;
		if (wish->n_origins == PROXY_ORIGINS_MAX)
			return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
				"More than %d servers are named, of which the proxy knows no more",
				PROXY_ORIGINS_MAX);
		wish->origins[wish->n_origins] = strdup(origins[i]);
		if (!wish->origins[wish->n_origins])
			return ota_err_no_memory(err, "the list of servers");
		wish->n_origins++;
		n_new++;
	}
	return n_new;
}

/* Everybody's servers, each once. Copies, so that they may be written without the lock. */
static int all_origins(const struct proxy_wishes *w, struct wish *ret_all, struct ota_err *err)
{
	int r = 0;

	for (size_t i = 0; i < PROXY_WISHER_COUNT && r >= 0; i++)
		r = wish_extend(ret_all, (const char *const *)w->wishes[i].origins,
			w->wishes[i].n_origins, err);
	return r;
}

int proxy_wishes_add(struct proxy_wishes *w, enum proxy_wisher who, const char *const *origins,
	size_t n_origins, struct ota_err *err)
{
	CLEANUP(wish_clear) struct wish all = {0};
	bool is_written = false;
	int r;

	pthread_mutex_lock(&w->file);
	pthread_mutex_lock(&w->lock);
	r = wish_extend(&w->wishes[who], origins, n_origins, err);
	if (r > 0)
		w->is_written = false;
	if (r >= 0)
		r = all_origins(w, &all, err);
	w->wishes[who].is_on = true;
	is_written = w->is_written || all.n_origins == 0;
	pthread_mutex_unlock(&w->lock);
	/* A proxy that is told to start finds the list. */
	if (r >= 0 && !is_written)
		r = proxy_child_origins(
			w->child, (const char *const *)all.origins, all.n_origins, err);
	pthread_mutex_lock(&w->lock);
	w->is_written = r >= 0;
	if (w->wishes[who].is_on)
		proxy_child_want(w->child, true);
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_unlock(&w->file);
	return MIN_OF(r, 0);
}

static bool is_needed(const struct proxy_wishes *w)
{
	for (size_t i = 0; i < PROXY_WISHER_COUNT; i++)
		if (w->wishes[i].is_on)
			return true;
	return false;
}

void proxy_wishes_drop(struct proxy_wishes *w, enum proxy_wisher who)
{
	pthread_mutex_lock(&w->lock);
	wish_clear(&w->wishes[who]);
	if (!is_needed(w))
		proxy_child_want(w->child, false);
	pthread_mutex_unlock(&w->lock);
}

void proxy_wishes_finish(struct proxy_wishes *w)
{
	pthread_mutex_lock(&w->lock);
	if (!is_needed(w))
		proxy_child_finish(w->child);
	pthread_mutex_unlock(&w->lock);
}
