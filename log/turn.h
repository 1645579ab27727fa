/* log/turn.h -- the tasks that env_defer queued, run phase by phase at the end of a loop's turn.
 *
 * Both implementations of env run their tasks here, so that the order is the same in both.
 * Borrows: the tasks, until they run. Thread: the loop's. */
#ifndef LOG_TURN_H_
#define LOG_TURN_H_

#include "log/env.h"

/* All zeroes is an empty turn. */
struct turn {
    struct env_task *first[ENV_PHASES]; /* Private. */
    struct env_task *last[ENV_PHASES];  /* Private: meaningful when first is set. */
    size_t count;                       /* Tasks queued. */
};

void turn_defer(struct turn *turn, struct env_task *task);   /* Nothing when it is queued. */
void turn_undefer(struct turn *turn, struct env_task *task); /* It is queued. */

/* Run the oldest task of the earliest phase that has one. False when nothing is queued. */
bool turn_run_one(struct turn *turn);

#endif /* LOG_TURN_H_ */
