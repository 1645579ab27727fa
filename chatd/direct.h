/* chatd/direct.h -- direct chats come into being with their first send.
 *
 * A send may not fail because nobody made the chat, and must not use its number up for that. So the
 * first send of this worker to d/<a>/<b> makes sure that the chat is there and stands in both
 * users' lists; later ones know. Sends that come meanwhile wait in their order.
 * Thread: the worker's. Bounds: DIRECTS_MAX are remembered, the oldest are forgotten first. */
#ifndef CHATD_DIRECT_H_
#define CHATD_DIRECT_H_

#include <uthash.h>

#include "chatd/chat.h"

struct worker;

enum { DIRECTS_MAX = 10000 };

struct direct_waiter {
    void (*ready)(struct direct_waiter *waiter, int err);
    struct direct_waiter *next; /* Private. */
};

struct direct {
    UT_hash_handle hh; /* The worker's, by chat, in the order of making. */
    struct worker *worker;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    bool there; /* Made, or found. */
    struct direct_waiter *waiters, **waiters_end;
};

/* chat is a CHAT_DIRECT. True: it is there, ready is not called. */
MUST_CHECK bool direct_ensure(struct worker *worker, struct slice chat,
                              struct direct_waiter *waiter);
void directs_destroy(struct worker *worker); /* Nothing may wait any more. */

#endif /* CHATD_DIRECT_H_ */
