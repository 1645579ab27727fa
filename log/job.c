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
    job->owner = NULL;
}

static void job_free(struct job *job)
{
    pthread_cond_destroy(&job->finished);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

/* Worker thread. */
static void job_work(struct env_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    pthread_mutex_lock(&job->lock);
    bool wanted = job->state == JOB_QUEUED;
    if (wanted) job->state = JOB_RUNNING;
    pthread_mutex_unlock(&job->lock);
    if (!wanted) return;
    job->kind->run(job);
    pthread_mutex_lock(&job->lock);
    job->state = JOB_FINISHED;
    pthread_cond_signal(&job->finished);
    pthread_mutex_unlock(&job->lock);
}

static void job_work_done(struct env_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    if (job->owner != NULL) {
        CHECK(job->state == JOB_FINISHED);
        list_remove(job);
        job->kind->done(job);
        job->kind->release(job);
    }
    job_free(job);
}

void job_start(struct env *env, struct job_list *owner, const struct job_kind *kind,
               struct job *job)
{
    CHECK(pthread_mutex_init(&job->lock, NULL) == 0);
    CHECK(pthread_cond_init(&job->finished, NULL) == 0);
    job->work = (struct env_work){.work = job_work, .done = job_work_done};
    job->kind = kind;
    job->state = JOB_QUEUED;
    job->owner = owner;
    job->prev = NULL;
    job->next = owner->first;
    if (job->next != NULL) job->next->prev = job;
    owner->first = job;
    env_work_submit(env, NULL, &job->work);
}

static void job_stop(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    if (job->state == JOB_QUEUED) job->state = JOB_TAKEN_BACK;
    while (job->state == JOB_RUNNING)
        pthread_cond_wait(&job->finished, &job->lock);
    pthread_mutex_unlock(&job->lock);
}

void jobs_close(struct job_list *list)
{
    while (list->first != NULL) {
        struct job *job = list->first;
        job_stop(job);
        list_remove(job);
        job->kind->release(job);
    }
}

void jobs_abandon(struct job_list *list)
{
    while (list->first != NULL) {
        struct job *job = list->first;
        list_remove(job);
        job->kind->release(job);
        job_free(job);
    }
}
