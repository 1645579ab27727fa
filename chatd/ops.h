/* chatd/ops.h -- the operations that clients may ask for: one row each.
 *
 * The row says the fields it knows (for "must"), what it does and an example; PROTOCOL.md's
 * reference is written from these rows (chatd --protocol), and a test runs each example. */
#ifndef CHATD_OPS_H_
#define CHATD_OPS_H_

#include "chatd/args.h"
#include "chatd/session.h"

/* Reads its fields from args, answers by a call now or later. op and args end with the call. */
typedef void (*op_run)(struct session *session, struct op *op, struct args *args);

struct op_row {
    const char *name;
    op_run run;
    const char *const *fields;
    size_t fields_count;
    const char *does;    /* One sentence. */
    const char *example; /* A request's object, as sent. */
    const char *answer;  /* The fields of its ok. */
};

/* The row of name, or NULL. */
const struct op_row *op_row_find(const char *name);
/* All rows, in the order of the reference. */
const struct op_row *op_rows(size_t *count);
/* Append the reference of the operations: the last chapter of PROTOCOL.md. */
void ops_reference(struct buf *out);

/* One per row, each as its `does` says: answers op at once or later, exactly once. args: borrowed
 * until return. */
void op_hello(struct session *session, struct op *op, struct args *args);
void op_auth(struct session *session, struct op *op, struct args *args);
void op_send(struct session *session, struct op *op, struct args *args);
void op_open(struct session *session, struct op *op, struct args *args);
void op_close(struct session *session, struct op *op, struct args *args);
void op_hist(struct session *session, struct op *op, struct args *args);
void op_mark(struct session *session, struct op *op, struct args *args);
void op_note(struct session *session, struct op *op, struct args *args);
void op_pres_watch(struct session *session, struct op *op, struct args *args);
void op_pres_unwatch(struct session *session, struct op *op, struct args *args);
void op_chat_new(struct session *session, struct op *op, struct args *args);
void op_chat_get(struct session *session, struct op *op, struct args *args);
void op_chat_members(struct session *session, struct op *op, struct args *args);
void op_chat_add(struct session *session, struct op *op, struct args *args);
void op_chat_kick(struct session *session, struct op *op, struct args *args);
void op_chat_leave(struct session *session, struct op *op, struct args *args);
void op_inbox(struct session *session, struct op *op, struct args *args);

/* The seat goes: its sends end without an answer. */
struct seat;
void sends_forget(struct seat *seat);

#endif /* CHATD_OPS_H_ */
