/* chatd/args.h -- the fields of an operation, read and checked by kind.
 *
 * Works like struct reader of log/codec.h: the first field that is not as it must be sets the
 * fault, naming the field and what is allowed; later reads give zeroes. So an operation reads all
 * its fields, then asks args_failed once. A null counts as absent.
 * Borrows: the op, until the last read; what the reads return is borrowed from the op as well.
 * Thread: any, one at a time. */
#ifndef CHATD_ARGS_H_
#define CHATD_ARGS_H_

#include "chatd/frame.h"
#include "log/base.h"

#define INT_MAX_53                                                                \
    ((int64_t)1 << 53) /* Integers stay below it: a JavaScript number holds them. \
                        */

enum presence {
    ARG_REQUIRED,
    ARG_OPTIONAL, /* Absent reads as zero, an empty slice, false. */
};

struct args {
    json_t *object;     /* Private. */
    struct slice text;  /* Private: object as sent. */
    bool failed;        /* Private: see args_failed. */
    struct fault fault; /* What to answer when args_failed. */
};

/* A chat and a position in it. */
struct chat_pos {
    struct slice chat;
    uint64_t seq;
};

/* The arguments of op, none read yet and none wrong. Borrows op's line, as all slices below do. */
struct args args_of(const struct op *op);
static inline bool args_failed(const struct args *a)
{
    return a->failed;
}

/* Refuse a name of the request's "must" that is not among fields[0 .. count). */
void args_must(struct args *a, const struct op *op, const char *const fields[], size_t count);

/* Refuse field with a text that says what is allowed: "c must be the id of a chat". */
void args_refuse(struct args *a, const char *field, const char *allowed);

/* An id by the alphabet of chatd/ids.h, or a chat's. */
struct slice arg_user(struct args *a, const char *field, enum presence presence);
struct slice arg_device(struct args *a, const char *field, enum presence presence);
struct slice arg_chat(struct args *a, const char *field, enum presence presence);

/* A string of at most bytes_max bytes of UTF-8, without \u0000. Required ones are not empty. */
struct slice arg_string(struct args *a, const char *field, enum presence presence,
                        size_t bytes_max);

/* An integer in min .. max, which stay within +-2^53; absent when optional: absent. */
int64_t arg_int(struct args *a, const char *field, int64_t min, int64_t max);
int64_t arg_int_or(struct args *a, const char *field, int64_t min, int64_t max, int64_t absent);
bool arg_bool(struct args *a, const char *field, enum presence presence);

/* One of words[0 .. count): its place; 0 when absent. */
size_t arg_word(struct args *a, const char *field, enum presence presence,
                const char *const words[], size_t count);

/* An array of some of words (count <= 32), as a set of bits; absent_bits when absent. */
uint32_t arg_words(struct args *a, const char *field, const char *const words[], size_t count,
                   uint32_t absent_bits);

/* An array of 1 .. max user ids into out, each once; returns how many. 0 when absent. */
size_t arg_users(struct args *a, const char *field, enum presence presence, struct slice out[],
                 size_t max);

/* An object of chat -> seq with at most max members into out; returns how many. Optional. */
size_t arg_positions(struct args *a, const char *field, struct chat_pos out[], size_t max);

/* An object as it was sent, byte for byte. Larger than bytes_max: fault BIG. */
struct slice arg_raw(struct args *a, const char *field, enum presence presence, size_t bytes_max);

#endif /* CHATD_ARGS_H_ */
