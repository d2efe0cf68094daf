/*
 * needs: what the daemon does for a fetcher that may not do it itself: it looks up names and makes sockets.
 */
#pragma once

#include "otaclient/fetcher/packet.h"

/*
 * The next question on @socket, answered; @packet is used for it. 0, -EAGAIN: there is none; -EPIPE: the fetcher is
 * gone; -EBADMSG: it asks for what it may not have.
 */
int needs_answer(int socket, struct packet *packet);
