/* chatd/lists.h -- put a chat into users' lists, or take it out: attribute c/<chat> of u/<user>.
 *
 * A chat and its members' lists are different streams, so this follows the chat's own transaction.
 * It is idempotent: whoever created or changed the chat asks again until it is answered, and so
 * ends what a front-end that died left half done.
 * Thread: the worker's. Errors: the first one met; the others are tried all the same. */
#ifndef CHATD_LISTS_H_
#define CHATD_LISTS_H_

#include "chatd/chat.h"

struct worker;

/* For each of users (copied, as chat is). done runs once, on a later turn. */
void lists_write(struct worker *worker, struct slice chat, const struct slice users[], size_t count,
                 bool listed, void (*done)(void *arg, int err), void *arg);

#endif /* CHATD_LISTS_H_ */
