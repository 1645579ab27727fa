/* chatd/chat.h -- how a chat lies in its stream: keys of attributes and cursors, kinds of records.
 *
 * A chat's stream has the chat's id as its name. Attributes: "kind" group or direct, "title",
 * "settings" (JSON text), "m/<user>" for each member: the role, stamped with where they joined.
 * Cursors: "d/<user>" delivered, "r/<user>" read. Everything that happens is one record.
 * A user's own stream is u/<user>: attributes "c/<chat>" for each chat of theirs, "seen": when
 * they were last online, decimal milliseconds; sessions on it say who is online.
 * Thread: any; no state. */
#ifndef CHATD_CHAT_H_
#define CHATD_CHAT_H_

#include "chatd/ids.h"
#include "log/store.h"

/* X(number of the record's kind, name on the wire). Numbers are on disk: never change them. */
#define EVENT_TABLE(X)    \
    X(1, MSG, "msg")      \
    X(10, JOIN, "join")   \
    X(11, LEAVE, "leave") \
    X(12, KICK, "kick")

enum event_kind {
#define X(number, name, text) EVENT_##name = number,
    EVENT_TABLE(X)
#undef X
};
/* The name of a record's kind, or NULL for one that this build does not know. */
const char *event_name(uint16_t kind);

enum role { ROLE_NONE, ROLE_READER, ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER, ROLES };
const char *role_name(enum role role); /* "owner" ... ; "" for ROLE_NONE. Static storage. */
enum role role_of(struct slice name);  /* ROLE_NONE when it is none. */

/* A member as the attribute m/<user> holds them. */
struct member_value {
    enum role role;
    seq_t joined;            /* The seq of their join; earlier events are not theirs to see. */
    uint64_t joined_ordinal; /* Counted events up to it. */
};
/* ERR_CORRUPT: not the value of a member. */
MUST_CHECK int member_decode(struct slice value, struct member_value *out);

/* Whether settings (JSON text, or NULL) let members see what was before they joined:
 * {"history":"all"}. */
bool settings_history_all(const char *settings);

/* A key: letter, slash, name. Borrowed from out. letter: m, d, r or c. */
enum { CHAT_KEY_BYTES = 2 + CHAT_BYTES_MAX };
struct slice chat_key(char out[CHAT_KEY_BYTES], char letter, struct slice name);
/* True when key is letter/..., *name then is what follows, borrowed from key. */
bool chat_key_is(struct slice key, char letter, struct slice *name);

/* Write u/<user>; borrowed from out. */
enum { USER_STREAM_BYTES = 2 + ID_BYTES_MAX };
struct slice user_stream(char out[USER_STREAM_BYTES], struct slice user);

/* The two halves of a producer's name <user>/<device>; both empty when it has no slash. */
struct slice producer_user(struct slice producer);
struct slice producer_device(struct slice producer);

/* The payload of an event that is no message: who did it, then the body. What a client sends is
 * stored as sent. */
void notice_encode(struct buf *out, struct slice actor, struct slice body);
MUST_CHECK int notice_decode(struct slice payload, struct slice *actor, struct slice *body);

/* Append {"c":..,"s":..,...} of a record, as section Events of PROTOCOL.md says; with the device
 * when own is true: for the author's own connections. False, and nothing is appended, for a kind
 * this build does not know. */
bool event_write(struct buf *out, struct slice chat, const struct record_view *record, bool own);
/* Who did it, and the body as JSON: borrowed from record; empty when it is damaged. */
struct slice event_user(const struct record_view *record);
struct slice event_body(const struct record_view *record);

/* The first 16 hex digits of a chain: h, opaque to clients. */
enum { CHAIN_TEXT_BYTES = 16 };
void chain_text(const uint8_t chain[32], char out[CHAIN_TEXT_BYTES]);

#endif /* CHATD_CHAT_H_ */
