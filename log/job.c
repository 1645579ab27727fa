/* log/job.c -- see job.h. */
#include "log/job.h"

#include <stdlib.h>

static void list_remove(struct job *job)
{
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        job->owner->first = job->next;
    if (job->next != NULL) job->next->prev = job->prev;
}

static void job_work(struct env_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->kind->run(job);
}

static void job_work_done(struct env_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    list_remove(job); /* First: done may close the owner. */
    job->kind->done(job);
    job->kind->release(job);
    free(job);
}

void job_start(struct env *env, struct job_list *owner, const struct job_kind *kind,
               struct job *job)
{
    job->work = (struct env_work){.work = job_work, .done = job_work_done};
    job->kind = kind;
    job->owner = owner;
    job->prev = NULL;
    job->next = owner->first;
    if (job->next != NULL) job->next->prev = job;
    owner->first = job;
    env_work_submit(env, NULL, &job->work);
}

void jobs_close(struct env *env, struct job_list *list)
{
    for (struct job *job = list->first; job != NULL; job = job->next)
        env_work_forget(env, &job->work);
    jobs_abandon(list);
}

void jobs_abandon(struct job_list *list)
{
    while (list->first != NULL) {
        struct job *job = list->first;
        list_remove(job);
        job->kind->release(job);
        free(job);
    }
}
