/* chatd/error.h -- how a client is refused: the protocol's errors and close codes.
 *
 * A fault is a client's or a cluster's, never ours to crash on. Its kind gives the code, the
 * stable name t, and whether the same request may be sent again unchanged; msg is for people.
 * Format: PROTOCOL.md. Kinds may be added; names and codes never change. */
#ifndef CHATD_ERROR_H_
#define CHATD_ERROR_H_

#include "log/base.h"

/* X(code, name, retry, text used when nothing better is known). */
#define FAULT_TABLE(X)                                                                             \
    X(400, FRAME, false, "this is not a request")                                                  \
    X(401, AUTH, false, "the token is not accepted")                                               \
    X(403, DENIED, false, "your role does not allow this")                                         \
    X(404, NOCHAT, false, "no such chat, or you are not a member of it")                           \
    X(405, OP, false, "unknown operation")                                                         \
    X(409, GAP, false, "n is beyond the last number + 1")                                          \
    X(409, REUSED, false, "n was used before with other content")                                  \
    X(409, HEAD, false, "the chat has moved on")                                                   \
    X(409, VER, false, "the version has changed")                                                  \
    X(409, GONE, false, "the message is deleted")                                                  \
    X(409, DEVS, false, "the list of devices has changed")                                         \
    X(410, TRIM, false, "no longer kept")                                                          \
    X(413, BIG, false, "larger than the limit")                                                    \
    X(422, FIELD, false, "a field is not as it must be")                                           \
    X(423, MUTED, false, "you are muted here")                                                     \
    X(429, RATE, true, "too many requests, wait a little")                                         \
    X(500, BUG, true, "the server failed")                                                         \
    X(503, NOLEADER, true, "nothing was done: the cluster has no leader for this chat, try again") \
    X(504, UNKNOWN, true, "it may be done or not: send the same again, unchanged")                 \
    X(507, FULL, true, "nothing was done: the disks of the cluster are full")

enum fault_kind {
#define X(code, name, retry, text) FAULT_##name,
    FAULT_TABLE(X)
#undef X
        FAULT_KINDS
};

enum {
    FAULT_MSG_BYTES = 240,
    FAULT_AFTER_MS = 800, /* When to try again, if who refuses knows no better. */
};

/* One refusal. */
struct fault {
    enum fault_kind kind;
    uint32_t after_ms;         /* When to try again; 0: not said. */
    char msg[FAULT_MSG_BYTES]; /* Empty: the kind's own text. May hold the client's bytes. */
};

/* Make *fault of kind with a text of its own; always returns -1, so that callers may return it. */
int fault_set(struct fault *fault, enum fault_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);

/* The refusal that err (negative) of the log store stands for; ours when a client did nothing to
 * cause it. ERR_UNKNOWN -> UNKNOWN, ERR_NO_LEADER -> NOLEADER, ERR_BUSY -> RATE, ... */
struct fault fault_from_err(int err);

int fault_code(enum fault_kind kind);              /* 400 ... 507. */
const char *fault_name(enum fault_kind kind);      /* t. Static storage. */
const char *fault_text(const struct fault *fault); /* msg, or the kind's. Borrowed from fault. */
bool fault_retry(enum fault_kind kind);

/* Close codes. Up to 4499 and unknown ones: the client comes back. 4500 on: it does not. */
enum close_code {
    CLOSE_AWAY = 1001,
    CLOSE_UNSUPPORTED = 1003, /* A binary frame. */
    CLOSE_POLICY = 1008,
    CLOSE_TOO_BIG = 1009,
    CLOSE_DRAIN = 4001,
    CLOSE_SILENT = 4009,
    CLOSE_FULL = 4013,
    CLOSE_TOKEN = 4501,
    CLOSE_BANNED = 4503,
    CLOSE_VERSION = 4505,
    CLOSE_REPLACED = 4510,
};

#endif /* CHATD_ERROR_H_ */
