/* chatd/ids.h -- what a user, a device and a chat may be called, and the names that we make.
 *
 * Format: user and device ids are 1-64 of A-Za-z0-9._@+=|:~- and begin with a letter or digit;
 *         case counts, nothing is normalised. Chats: c/<id> (group), d/<a>/<b> (direct, the two
 *         users in byte order; d/a/a are notes to oneself). A chat's id is its stream's name.
 * Thread: any; no state. */
#ifndef CHATD_IDS_H_
#define CHATD_IDS_H_

#include "chatd/limits.h"
#include "log/base.h"

enum chat_kind {
    CHAT_INVALID,
    CHAT_GROUP,
    CHAT_DIRECT,
};

/* True when id is a user's or a device's. */
bool id_valid(struct slice id);

/* What chat is. For CHAT_DIRECT *a and *b are the two users, borrowed from chat; a and b may be
 * NULL, and are untouched otherwise. */
enum chat_kind chat_parse(struct slice chat, struct slice *a, struct slice *b);

/* Write d/<a>/<b>, the users in byte order, both valid; returns it, borrowed from out. */
struct slice chat_direct(struct slice user_a, struct slice user_b, char out[CHAT_BYTES_MAX]);

/* Write c/ and the first 128 bits, in hex, of SHA-256(user, 0, key): the same key from the same
 * user is the same group. Returns it, borrowed from out. */
struct slice chat_group(struct slice user, struct slice key, char out[GROUP_BYTES]);

#endif /* CHATD_IDS_H_ */
