/* tests/chatd/transport_fixture.h -- one transport on a thread of its own, with handlers that do
 * as the client says, for tests that talk to it over real sockets.
 *
 * Text frames that are commands: "close" closes with 4510; "flood" sends numbered 32 KiB texts
 * until one is refused; any other text is echoed.
 * Paths: /healthz is answered at once, /later when fixture_reply is called, others with 404.
 * Thread: the functions here are the test's; what they hand over runs on the transport's. */
#ifndef TESTS_CHATD_TRANSPORT_FIXTURE_H_
#define TESTS_CHATD_TRANSPORT_FIXTURE_H_

#include <pthread.h>
#include <semaphore.h>

#include "chatd/transport.h"

enum { FLOOD_TEXT_BYTES = 32 * 1024 };

struct fixture {
    struct transport_config config; /* The test may change it before fixture_start. */
    struct transport *t;
    uint16_t port;
    uv_loop_t loop;
    uv_async_t async;
    pthread_t thread;
    sem_t done;
    void (*job)(struct fixture *f);

    /* Read by tests through fixture_run alone. */
    unsigned opened;
    unsigned closed;
    unsigned unblocked;
    unsigned flooded; /* Texts that the last flood could queue. */
    bool blocked;     /* After the last flood. */
    struct request *waiting;
};

void fixture_init(struct fixture *f);  /* Default limits, any port. */
void fixture_start(struct fixture *f); /* Serve. */
void fixture_stop(struct fixture *f);  /* Ends everything, and checks that nothing is left. */

/* Run job on the transport's thread and wait for it. */
void fixture_run(struct fixture *f, void (*job)(struct fixture *f));
struct transport_stats fixture_stats(struct fixture *f);
unsigned fixture_conns(struct fixture *f);
/* Wait until count connections have been closed; false after WS_WAIT_MS. */
bool fixture_closed(struct fixture *f, unsigned count);
/* Wait until a request for /later is there; likewise. */
bool fixture_waiting(struct fixture *f);
void fixture_reply(struct fixture *f); /* Answer it: "late\n". */
/* A job: answer it, if there is one; nobody needs to wait for it. */
void fixture_drop_waiting(struct fixture *f);

/* Let ms go by. For limits that are times: nothing else can be waited for. */
void fixture_pause(unsigned ms);

#endif /* TESTS_CHATD_TRANSPORT_FIXTURE_H_ */
