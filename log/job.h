/* log/job.h -- work on a worker whose owner may end before it does.
 *
 * A job is made by its owner, runs on env's pool, and comes back to the loop. An owner that closes
 * takes back the jobs that have not begun, waits for those that run, and lets go of all.
 *
 * Owns:   its own memory, from job_start on; the kind's struct has a struct job as first member.
 * Thread: the loop's, except run. */
#ifndef LOG_JOB_H_
#define LOG_JOB_H_

#include "log/env.h"

struct job;
struct job_kind {
    void (*run)(struct job *job);     /* On a worker. */
    void (*done)(struct job *job);    /* On the loop; not when the owner closed. */
    void (*release)(struct job *job); /* On the loop, last: frees all but the struct itself. */
};

struct job_list { /* All zeroes: empty. */
    struct job *first;
};

struct job {
    struct env_work work; /* Private, as all of it. */
    const struct job_kind *kind;
    struct job_list *owner;
    struct job *next, *prev;
};

/* job: on the heap, zeroes but for what is the kind's; taken. */
void job_start(struct env *env, struct job_list *owner, const struct job_kind *kind,
               struct job *job);
/* Afterwards none of the list's jobs runs, and no done follows. */
void jobs_close(struct env *env, struct job_list *list);
/* The same when env is gone and has forgotten them. */
void jobs_abandon(struct job_list *list);

#endif /* LOG_JOB_H_ */
