/* chatd/follow.h -- a session follows chats: catching up, going live, and being closed for it.
 *
 * Thread: the worker's. See chatd/room.h for seats. */
#ifndef CHATD_FOLLOW_H_
#define CHATD_FOLLOW_H_

#include "chatd/room.h"

/* Begin: everything above position is sent, then what comes. what: of enum follow_what. */
void follow_begin(struct seat *seat, seq_t position, uint8_t what);
/* Read what lies between the seat's position and the room's ring; live once there is nothing. */
void follow_catch_up(struct seat *seat);
/* Stop following; why "": without a word, otherwise {"closed":{...,"why":why}} is sent. */
void follow_end(struct seat *seat, const char *why);

/* Tell that the chat cannot be followed from the seat's position. */
void follow_refuse(struct seat *seat, const char *why);

/* As the operation open, without an answer: the session follows chat from that seq on. */
void open_resume(struct session *session, struct slice chat, seq_t from);

/* A note that somebody sends to those who follow now: its encoding as a signal. */
void note_encode(struct buf *out, struct slice user, struct slice device, struct slice kind,
                 struct slice body);
/* Pass a signal on to the seat's connection, unless that sent it. Damaged ones are dropped. */
void follow_note(struct seat *seat, struct slice signal);

#endif /* CHATD_FOLLOW_H_ */
