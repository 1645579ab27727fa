/* log/timer_heap.h -- timers ordered by (due time, order of their start), in a binary heap.
 *
 * Both implementations of env keep their timers here, so that starting and stopping behave the
 * same in both: at once, and a stopped timer's memory may be freed.
 * Owns:   its array of pointers. Borrows: the timers, from start until stop or pop.
 * Thread: one at a time. Units: us, of whatever clock the caller uses. */
#ifndef LOG_TIMER_HEAP_H_
#define LOG_TIMER_HEAP_H_

#include "log/env.h"

/* All zeroes is an empty heap; timer_heap_free ends it. */
struct timer_heap {
    struct env_timer **slots; /* Private: from 1; slots[i]'s children are 2i and 2i + 1. */
    size_t count;             /* Timers started. */
    size_t capacity;          /* Private: slots reserved, the unused slot 0 included. */
    uint64_t order;           /* Timers ever started. */
};

void timer_heap_free(struct timer_heap *heap); /* Timers still started are forgotten. */

/* Have timer pop at due_us; a started timer is moved, and comes after all others of that time. */
void timer_heap_start(struct timer_heap *heap, struct env_timer *timer, uint64_t due_us);

/* Take timer out; does nothing when it is not started. */
void timer_heap_stop(struct timer_heap *heap, struct env_timer *timer);

/* The timer that is due first, or NULL; it stays. */
static inline struct env_timer *timer_heap_first(const struct timer_heap *heap)
{
    return heap->count == 0 ? NULL : heap->slots[1];
}

/* Take out the first timer that is due at now_us and was among the first `order` ever started;
 * NULL: there is none. For a loop that must stop in between; others use timer_heap_fire. */
struct env_timer *timer_heap_pop(struct timer_heap *heap, uint64_t now_us, uint64_t order);

/* Run what is due at now_us, one after the other; what these start is left for the next call.
 * Returns how many ran. */
size_t timer_heap_fire(struct timer_heap *heap, uint64_t now_us);

/* Every parent is due before its children and every timer knows its slot. For tests. */
void timer_heap_check(const struct timer_heap *heap);

#endif /* LOG_TIMER_HEAP_H_ */
