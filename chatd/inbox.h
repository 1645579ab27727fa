/* chatd/inbox.h -- the list of a user's chats, with what is unread: told as it changes.
 *
 * After hello a session gets {"inbox":{...}} for each chat of its user that changes, gathered over
 * INBOX_GATHER_MS. Rows come from rooms in memory; only mentions are asked from the store, once.
 * Thread: the worker's. */
#ifndef CHATD_INBOX_H_
#define CHATD_INBOX_H_

#include "chatd/session.h"

enum { INBOX_GATHER_MS = 200, INBOX_PAGE_MAX = 200, INBOX_PAGE_DEFAULT = 50 };

void inbox_open(struct session *session); /* The session begins. */
void inbox_dirty(struct seat *seat);      /* Something of this chat changed. */
void inbox_mention(struct seat *seat, const struct room_event *event); /* It may name the user. */
/* The chat came into the user's list, or left it. */
void inbox_listed(struct session *session, struct slice chat, bool listed);
void inbox_known(struct session *session);  /* The user's list of chats was read. */
void inbox_forget(struct seat *seat);       /* The seat goes. */
void inbox_resume(struct session *session); /* The connection is no longer blocked. */
void inbox_close(struct session *session);  /* The session goes. */

#endif /* CHATD_INBOX_H_ */
