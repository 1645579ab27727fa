/* tests/chatd/people.h -- people with a connection to a front-end, for tests that speak the
 * protocol.
 *
 * What they say and hear is text, as on the wire. Owns: nothing but sockets. What a test cannot go
 * on without fails it. */
#ifndef TESTS_CHATD_PEOPLE_H_
#define TESTS_CHATD_PEOPLE_H_

#include <jansson.h>

#include "tests/lib/cluster.h"
#include "tests/lib/ws.h"

struct talker {
    struct ws ws;
    const char *user;
};

/* Connect to front-end j and say hello; what answers is awaited. */
void connect_as(struct talker *p, const struct cluster *cluster, const char *user,
                const char *device, unsigned front);
void say(struct talker *p, const char *format, ...) PRINTF_LIKE(2, 3);

/* The next object that has member key; others are skipped. The caller decrefs. */
json_t *hear(struct talker *p, const char *key);
/* The answer to request i: its ok or err; the caller decrefs the tree. */
json_t *answer(struct talker *p, int i);
void expect_ok(struct talker *p, int i);
void expect_err(struct talker *p, int i, int code, const char *name);

/* Member inner of member outer, as an integer. */
json_int_t member(json_t *tree, const char *outer, const char *inner);

#endif /* TESTS_CHATD_PEOPLE_H_ */
