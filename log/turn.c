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

void turn_undefer(struct turn *turn, struct env_task *task)
{
    struct env_task *before = NULL;
    struct env_task **link = &turn->first[task->phase];
    CHECK(task->queued);
    while (*link != task) {
        before = *link;
        CHECK(before != NULL);
        link = &before->next;
    }
    *link = task->next;
    if (turn->last[task->phase] == task) turn->last[task->phase] = before;
    turn->count--;
    task->queued = false;
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
