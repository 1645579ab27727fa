/* raft/report.c -- see report.h.
 *
 * Whoever asks waits for texts that are made after his question; the loop looks four times a second
 * whether somebody asked. Nobody asks: nothing is made. */
#include "raft/report.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "raft/ops.h"

struct report {
    struct env *env;
    struct ops *ops;
    struct env_timer poll;
    report_cb make;
    void *arg;
    pthread_mutex_t mutex; /* Guards what follows. */
    pthread_cond_t made;
    bool asked;
    uint64_t number; /* How many times the texts were made. */
    struct buf metrics, reason;
};

static void report_poll(struct env_timer *timer)
{
    struct report *report = CONTAINER_OF(timer, struct report, poll);
    env_timer_start(report->env, timer, REPORT_POLL_MS);
    pthread_mutex_lock(&report->mutex);
    bool asked = report->asked;
    pthread_mutex_unlock(&report->mutex);
    if (!asked) return;
    struct buf metrics = {0}, reason = {0};
    report->make(report->arg, &metrics, &reason);
    pthread_mutex_lock(&report->mutex);
    buf_free(&report->metrics);
    buf_free(&report->reason);
    report->metrics = metrics;
    report->reason = reason;
    report->asked = false;
    report->number++;
    pthread_cond_broadcast(&report->made);
    pthread_mutex_unlock(&report->mutex);
}

/* On the port's thread, with the mutex held: wait for texts made after now. */
static bool texts_wait(struct report *report)
{
    uint64_t number = report->number;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += REPORT_WAIT_S;
    report->asked = true;
    int err = 0;
    while (report->number == number && err == 0)
        err = pthread_cond_timedwait(&report->made, &report->mutex, &until);
    return report->number != number;
}

static void report_metrics(void *arg, struct buf *text)
{
    struct report *report = arg;
    pthread_mutex_lock(&report->mutex);
    if (texts_wait(report)) buf_put(text, report->metrics.data, report->metrics.len);
    pthread_mutex_unlock(&report->mutex);
}

static int report_health(void *arg, struct buf *text)
{
    static const char stuck[] = "the daemon's loop does not answer\n";
    struct report *report = arg;
    pthread_mutex_lock(&report->mutex);
    bool fresh = texts_wait(report);
    bool healthy = fresh && report->reason.len == 0;
    if (!fresh)
        buf_put(text, stuck, strlen(stuck));
    else
        buf_put(text, report->reason.data, report->reason.len);
    pthread_mutex_unlock(&report->mutex);
    return healthy ? 0 : ERR_BUSY;
}

int report_create(struct env *env, const struct env_address *address, report_cb make, void *arg,
                  struct report **out)
{
    struct report *report = mem_zero(sizeof(*report));
    report->env = env;
    report->make = make;
    report->arg = arg;
    pthread_mutex_init(&report->mutex, NULL);
    pthread_cond_init(&report->made, NULL);
    env_timer_init(&report->poll, report_poll);
    struct ops_handlers handlers = {
        .metrics = report_metrics, .health = report_health, .arg = report};
    int err = ops_create(address, &handlers, &report->ops);
    if (err != 0) {
        pthread_cond_destroy(&report->made);
        pthread_mutex_destroy(&report->mutex);
        free(report);
        return err;
    }
    env_timer_start(env, &report->poll, REPORT_POLL_MS);
    *out = report;
    return 0;
}

void report_destroy(struct report *report)
{
    env_timer_stop(report->env, &report->poll);
    ops_destroy(report->ops);
    pthread_cond_destroy(&report->made);
    pthread_mutex_destroy(&report->mutex);
    buf_free(&report->metrics);
    buf_free(&report->reason);
    free(report);
}
