/* chatd/lists.c -- see lists.h. */
#include "chatd/lists.h"

#include <stdlib.h>

#include "chatd/worker.h"

struct lists;

struct list_write {
    struct client_txn request;
    struct lists *lists;
};

struct lists {
    void (*done)(void *arg, int err);
    void *arg;
    size_t pending_count;
    int err;
    struct list_write writes[];
};

static void list_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct lists *lists = CONTAINER_OF(request, struct list_write, request)->lists;
    (void)outcome; /* Rejected: it stands there, or is gone, already. */
    (void)after_ms;
    if (lists->err == 0) lists->err = err;
    if (--lists->pending_count > 0) return;
    lists->done(lists->arg, lists->err);
    free(lists);
}

void lists_write(struct worker *worker, struct slice chat, const struct slice users[], size_t count,
                 bool listed, void (*done)(void *arg, int err), void *arg)
{
    CHECK(count > 0);
    struct lists *lists = mem_zero(sizeof(*lists) + count * sizeof(lists->writes[0]));
    lists->done = done;
    lists->arg = arg;
    lists->pending_count = count;
    for (size_t i = 0; i < count; i++) {
        char name[USER_STREAM_BYTES], key[CHAT_KEY_BYTES];
        struct slice attribute = chat_key(key, 'c', chat);
        struct txn_check check = {.kind = listed ? TXN_IF_ABSENT : TXN_IF_PRESENT,
                                  .key = attribute};
        struct txn_set set = {.key = attribute, .flags = listed ? 0 : TXN_SET_DROP};
        struct txn txn = {.stream = user_stream(name, users[i]),
                          .checks = &check,
                          .checks_count = 1,
                          .sets = &set,
                          .sets_count = 1};
        lists->writes[i] =
            (struct list_write){.request = {.txn = &txn, .done = list_done}, .lists = lists};
        client_txn(worker->client, &lists->writes[i].request);
    }
}
