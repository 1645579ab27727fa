/* chatd/metrics.c -- see metrics.h. */
#include "chatd/metrics.h"

#include <stdlib.h>

struct metrics {
    struct ops *ops;
    struct worker *const *workers;
    unsigned workers_count;
};

/* One row per metric: where it lies in struct worker_stats. */
struct row {
    const char *name, *type, *help;
    size_t offset;
};

#define ROW(name, type, field, help)                                    \
    {                                                                   \
        "chatd_" name, type, help, offsetof(struct worker_stats, field) \
    }
static const struct row ROWS[] = {
    ROW("sessions", "gauge", sessions, "Open WebSockets."),
    ROW("rooms", "gauge", rooms, "Chats followed for somebody here."),
    ROW("people", "gauge", people, "Users here or watched from here."),
    ROW("hellos_total", "counter", hellos, "Connections that said who they are."),
    ROW("refusals_total", "counter", refusals, "Requests and tokens refused."),
    ROW("frames_total", "counter", frames, "Frames received."),
    ROW("sends_total", "counter", sends, "Messages sent by clients."),
    ROW("pushes_total", "counter", pushes, "Pushes to clients."),
    ROW("lagged_total", "counter", lagged, "Followings ended because a client read too slowly."),
    ROW("accepted_total", "counter", transport.accepted, "Sockets accepted."),
    ROW("refused_total", "counter", transport.refused, "Sockets and handshakes refused."),
    ROW("stalled_total", "counter", transport.stalled, "Sockets killed for taking no byte."),
    ROW("silent_total", "counter", transport.silent, "Connections closed for being silent."),
    ROW("writes_total", "counter", transport.writes, "Writes to sockets."),
};

static void metrics_write(void *arg, struct buf *text)
{
    struct metrics *metrics = arg;
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < metrics->workers_count; w++) {
            struct worker_stats stats = worker_published(metrics->workers[w]);
            uint64_t value;
            memcpy(&value, (const char *)&stats + ROWS[i].offset, sizeof(value));
            sum += value;
        }
        ops_metric(text, ROWS[i].name, ROWS[i].type, ROWS[i].help);
        ops_value(text, ROWS[i].name, NULL, sum);
    }
}

static int metrics_health(void *arg, struct buf *text)
{
    (void)arg; /* Alive is all it says; /readyz on the clients' port says more. */
    (void)text;
    return 0;
}

int metrics_create(const struct env_address *address, struct worker *const workers[],
                   unsigned workers_count, struct metrics **out)
{
    struct metrics *metrics = mem_zero(sizeof(*metrics));
    metrics->workers = workers;
    metrics->workers_count = workers_count;
    struct ops_handlers handlers = {metrics_write, metrics_health, metrics};
    int err = ops_create(address, &handlers, &metrics->ops);
    if (err != 0) {
        free(metrics);
        return err;
    }
    *out = metrics;
    return 0;
}

void metrics_destroy(struct metrics *metrics)
{
    if (metrics == NULL) return;
    ops_destroy(metrics->ops);
    free(metrics);
}
