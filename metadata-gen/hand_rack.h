/*
 * hand_rack: blob_hands for workers_run(), whose threads have no state of their own: each item takes one from the
 * rack and puts it back.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>

#include "metadata-gen/blob_store.h"

enum {
	HAND_RACK_MAX = 128, /* more than there can be threads */
};

struct hand_rack {
	struct blob_store *store; /* NULL: for verifying only */
	pthread_mutex_t lock;
	struct blob_hand *hands[HAND_RACK_MAX];
	size_t n_hands;
};

void hand_rack_init(struct hand_rack *rack, struct blob_store *store);
void hand_rack_done(struct hand_rack *rack);
struct blob_hand *hand_rack_take(struct hand_rack *rack); /* NULL: no memory */
void hand_rack_put(struct hand_rack *rack, struct blob_hand *hand);
