/* log/turn.c -- see turn.h. */
#include "log/turn.h"

void turn_defer(struct turn *turn, struct env_task *task)
{
    CHECK(task->run != NULL);
    CHECK(task->phase < ENV_PHASES);
    if (task->queued) return;
    task->queued = true;
    task->next = NULL;
    if (turn->first[task->phase] == NULL)
        turn->first[task->phase] = task;
    else
        turn->last[task->phase]->next = task;
    turn->last[task->phase] = task;
    turn->count++;
}

bool turn_run_one(struct turn *turn)
{
    for (int phase = 0; phase < ENV_PHASES; phase++) {
        struct env_task *task = turn->first[phase];
        if (task == NULL) continue;
        turn->first[phase] = task->next;
        turn->count--;
        task->queued = false;
        task->run(task); /* Last: it may queue the task again, or free it. */
        return true;
    }
    CHECK(turn->count == 0);
    return false;
}
