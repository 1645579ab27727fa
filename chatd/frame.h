/* chatd/frame.h -- a client's text frame taken apart into operations, and answers put together.
 *
 * One frame holds 1-256 objects, one a line. Each line is judged alone: op_parse gives an
 * operation or the fault to answer it with. Strict: no duplicate keys, at most 32 deep, valid
 * UTF-8, no lone surrogates.
 * Owns:   an op owns its JSON tree until op_free. Borrows: the line, until op_free.
 * Thread: any, one at a time. Errors: 0, or -1 with a fault for the client. */
#ifndef CHATD_FRAME_H_
#define CHATD_FRAME_H_

#include <jansson.h>

#include "chatd/error.h"
#include "chatd/limits.h"
#include "log/base.h"
#include "log/codec.h"

/* The number by which a client knows its request. */
struct op_id {
    bool given;
    uint64_t i; /* Below 2^53. */
};

/* One operation. All zeroes is one without a tree; op_free ends it. */
struct op {
    struct op_id id;   /* Set even when op_parse refuses, if it could be read. */
    const char *name;  /* Borrowed from the tree. NULL: an empty object, nothing to do. */
    json_t *args;      /* An object; borrowed from the tree. */
    struct slice text; /* args as sent, byte for byte; borrowed from the line. */
    json_t *must;      /* Names that have to be understood, or NULL; borrowed from the tree. */
    json_t *tree;      /* Owned. */
};

/* Split a frame at its newlines; empty lines are left out. lines[0 .. *count) borrow from text.
 * -1: more than FRAME_LINES_MAX lines; then nothing of the frame is to be done. */
MUST_CHECK int frame_split(struct slice text, struct slice lines[FRAME_LINES_MAX], size_t *count,
                           struct fault *fault);

/* Whether name is an operation; arg as given to op_parse. */
typedef bool (*op_known_cb)(void *arg, const char *name);

/* Parse one line. known tells operations from unknown fields, which are ignored: exactly one known
 * name must be there. 0: *op is the caller's to op_free, also when op->name is NULL.
 * -1: *fault says why, op->id is set as far as it could be read, nothing is to be freed. */
MUST_CHECK int op_parse(struct slice line, op_known_cb known, void *arg, struct op *op,
                        struct fault *fault);
void op_free(struct op *op);

/* Answers, appended to out as one object without the end of its line. */

/* {"i":7,"ok":<ok>}; ok is JSON text of an object. Nothing when id was not given. */
void reply_ok(struct buf *out, struct op_id id, struct slice ok);

/* {"i":7,"err":{"code","t","msg","retry","after_ms",<more>}}; more is empty or further members,
 * like "used":false,"n":7. Without "i" when id was not given. */
void reply_err(struct buf *out, struct op_id id, const struct fault *fault, struct slice more);

#endif /* CHATD_FRAME_H_ */
