/* chatd/limits.h -- the limits of the chat, each with its unit and its reason.
 *
 * What a client can notice is written in PROTOCOL.md; what bounds memory is related to what
 * bounds the log store below (log/limits.h). */
#ifndef CHATD_LIMITS_H_
#define CHATD_LIMITS_H_

#include "log/limits.h"

enum {
    /* ---- names ---- */
    ID_BYTES_MAX = 64,                         /* A user's or a device's id. */
    CHAT_BYTES_MAX = 2 + 2 * ID_BYTES_MAX + 1, /* d/<a>/<b>, the longest chat id. */
    GROUP_BYTES = 2 + 32,                      /* c/ and 128 bits in hex: an id that we made. */

    /* ---- text ---- */
    CLIENT_FRAME_BYTES_MAX = 64 * 1024,   /* From a client, one WebSocket message. */
    SERVER_FRAME_BYTES_MAX = 1024 * 1024, /* To a client. */
    FRAME_LINES_MAX = 256,                /* Objects in one frame. */
    BODY_BYTES_MAX = 32 * 1024,           /* b, as sent. */
    JSON_DEPTH_MAX = 32,                  /* Objects and arrays within each other. */
    TOKEN_BYTES_MAX = 8 * 1024,           /* A JWT; ours are 200 bytes, others carry more claims. */

    /* ---- connections ---- */
    CONN_QUEUE_BYTES_MAX = 1024 * 1024, /* What waits for one socket: one largest frame. */
    CONN_QUEUE_BYTES_HIGH = 512 * 1024, /* From here on a connection is blocked ... */
    CONN_QUEUE_BYTES_LOW = 128 * 1024,  /* ... until it is down to this. */
    TRANSPORT_QUEUE_BYTES_MAX = 256 * 1024 * 1024, /* What waits for all sockets of a worker. */
    TRANSPORT_RX_BYTES_MAX = 64 * 1024 * 1024,     /* Unfinished messages of all its clients. */
    CONN_WRITE_BYTES = 16 * 1024, /* Frames gathered into one write: one TLS record. */
};

_Static_assert((int)CHAT_BYTES_MAX <= (int)STREAM_NAME_BYTES_MAX,
               "a chat id is the name of its stream");
_Static_assert((int)BODY_BYTES_MAX <= (int)PAYLOAD_BYTES_MAX, "a body is the payload of a record");
_Static_assert((int)ID_BYTES_MAX <= (int)TAG_BYTES_MAX, "a mention is a tag");
_Static_assert((int)(2 * ID_BYTES_MAX + 1) <= (int)PRODUCER_BYTES_MAX, "a device is a producer");

#endif /* CHATD_LIMITS_H_ */
