/*
 * hand_rack: blob_hands shared between items. Contract: hand_rack.h.
 */
#include "metadata-gen/hand_rack.h"

#include <assert.h>

void hand_rack_init(struct hand_rack *rack, struct blob_store *store)
{
	*rack = (struct hand_rack){.store = store};
	pthread_mutex_init(&rack->lock, NULL);
}

void hand_rack_done(struct hand_rack *rack)
{
	while (rack->n_hands > 0)
		blob_hand_free(rack->hands[--rack->n_hands]);
	pthread_mutex_destroy(&rack->lock);
}

struct blob_hand *hand_rack_take(struct hand_rack *rack)
{
	struct blob_hand *hand = NULL;

	pthread_mutex_lock(&rack->lock);
	if (rack->n_hands > 0)
		hand = rack->hands[--rack->n_hands];
	pthread_mutex_unlock(&rack->lock);
	return hand ? hand : blob_hand_new(rack->store);
}

void hand_rack_put(struct hand_rack *rack, struct blob_hand *hand)
{
	pthread_mutex_lock(&rack->lock);
	assert(rack->n_hands < HAND_RACK_MAX);
	rack->hands[rack->n_hands++] = hand;
	pthread_mutex_unlock(&rack->lock);
}
