/* raft/deadline.h -- many deadlines on one timer: a wheel of lists.
 *
 * Adding and removing cost the same however many there are. A deadline passes up to one tick late,
 * never early. The timer runs only while a deadline waits.
 *
 * Owns:   its timer. Borrows: env; deadlines, from add to remove or passed.
 * Thread: the loop's. Errors: none. */
#ifndef RAFT_DEADLINE_H_
#define RAFT_DEADLINE_H_

#include "log/env.h"

enum {
    DEADLINE_TICK_MS = 20, /* Finer than anybody who waits for seconds can tell. */
    DEADLINE_SLOTS = 1024, /* 20 s in one turn of the wheel; what is later waits for more turns. */
};

/* Embedded in what has a deadline. All zeroes: waits for nothing. */
struct deadline {
    uint64_t due_tick; /* Private. */
    struct deadline *next, **at;
};

struct deadlines {
    void (*passed)(struct deadlines *all, struct deadline *one); /* Removed before the call. */
    struct env *env;
    struct env_timer timer; /* Private, as all below. */
    uint64_t tick;          /* All slots up to this one were looked at. */
    size_t count;
    struct deadline *slots[DEADLINE_SLOTS];
};

void deadlines_init(struct deadlines *all, struct env *env,
                    void (*passed)(struct deadlines *all, struct deadline *one));
void deadlines_close(struct deadlines *all); /* Those that still wait are let be. */
void deadline_add(struct deadlines *all, struct deadline *one, uint64_t delay_ms);
void deadline_remove(struct deadlines *all, struct deadline *one); /* Not waiting: nothing. */

#endif /* RAFT_DEADLINE_H_ */
