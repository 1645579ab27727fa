/* log/timer_heap.c -- see timer_heap.h.
 *
 * Invariant: slots[1..count] is a heap by (due_us, order), and slots[t->slot] == t. */
#include "log/timer_heap.h"

#include <stdlib.h>

enum { TIMERS_FIRST = 32 };

static bool timer_before(const struct env_timer *a, const struct env_timer *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void heap_set(struct timer_heap *heap, size_t slot, struct env_timer *timer)
{
    heap->slots[slot] = timer;
    timer->slot = slot;
}

static void heap_rise(struct timer_heap *heap, size_t slot, struct env_timer *timer)
{
    while (slot > 1 && timer_before(timer, heap->slots[slot / 2])) {
        heap_set(heap, slot, heap->slots[slot / 2]);
        slot /= 2;
    }
    heap_set(heap, slot, timer);
}

static void heap_sink(struct timer_heap *heap, size_t slot, struct env_timer *timer)
{
    for (;;) {
        size_t child = 2 * slot;
        if (child > heap->count) break;
        if (child < heap->count && timer_before(heap->slots[child + 1], heap->slots[child]))
            child++;
        if (!timer_before(heap->slots[child], timer)) break;
        heap_set(heap, slot, heap->slots[child]);
        slot = child;
    }
    heap_set(heap, slot, timer);
}

void timer_heap_free(struct timer_heap *heap)
{
    free(heap->slots);
    *heap = (struct timer_heap){0};
}

void timer_heap_start(struct timer_heap *heap, struct env_timer *timer, uint64_t due_us)
{
    timer_heap_stop(heap, timer);
    if (heap->count + 1 >= heap->capacity) {
        heap->capacity = heap->capacity == 0 ? TIMERS_FIRST : heap->capacity * 2;
        heap->slots = mem_resize(heap->slots, heap->capacity * sizeof(struct env_timer *));
    }
    timer->due_us = due_us;
    timer->order = ++heap->order;
    heap->count++;
    heap_rise(heap, heap->count, timer);
}

void timer_heap_stop(struct timer_heap *heap, struct env_timer *timer)
{
    size_t slot = timer->slot;
    if (slot == 0) return;
    CHECK(slot <= heap->count);
    CHECK(heap->slots[slot] == timer);
    struct env_timer *last = heap->slots[heap->count--];
    timer->slot = 0;
    if (last == timer) return;
    if (slot > 1 && timer_before(last, heap->slots[slot / 2]))
        heap_rise(heap, slot, last);
    else
        heap_sink(heap, slot, last);
}

struct env_timer *timer_heap_pop(struct timer_heap *heap, uint64_t now_us, uint64_t order)
{
    struct env_timer *timer = timer_heap_first(heap);
    if (timer == NULL || timer->due_us > now_us || timer->order > order) return NULL;
    timer_heap_stop(heap, timer);
    return timer;
}

size_t timer_heap_fire(struct timer_heap *heap, uint64_t now_us)
{
    uint64_t order = heap->order; /* Started later: not in this round, however early it is due. */
    size_t fired = 0;
    for (struct env_timer *timer; (timer = timer_heap_pop(heap, now_us, order)) != NULL; fired++)
        timer->fired(timer); /* It may free the timer. */
    return fired;
}

void timer_heap_check(const struct timer_heap *heap)
{
    for (size_t slot = 1; slot <= heap->count; slot++) {
        CHECK(heap->slots[slot]->slot == slot);
        if (slot > 1) CHECK(timer_before(heap->slots[slot / 2], heap->slots[slot]));
    }
}
