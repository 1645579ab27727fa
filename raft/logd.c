/* raft/logd.c -- the daemon: one node (raft/node.h) on the real env.
 *
 * SIGTERM and SIGINT hand leaderships over, then stop; a second one changes nothing. Exit codes: 0
 * stopped as asked, 2 it could not start, with one line that says why; anything else is a crash. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "log/env_uv.h"
#include "raft/config.h"
#include "raft/node.h"
#include "raft/report.h"
#include "raft/status.h"

enum { EXIT_START = 2 };

/* In the order of construction. */
enum { LOCK_WAIT_MS = 3000, LOCK_POLL_MS = 50 };

struct daemon {
    struct config config;
    struct env_uv *uv;
    struct diag diag;
    struct node *node;
    struct report *report; /* NULL: none asked for. */
    bool stopping;
    char why[OPTIONS_WHY_BYTES];
};

static int fail(const char *why)
{
    fprintf(stderr, "logd: %s\n", why);
    return EXIT_START;
}

static void daemon_stopped(void *arg)
{
    struct daemon *daemon = arg;
    env_uv_stop(daemon->uv);
}

static void daemon_asked(void *arg)
{
    struct daemon *daemon = arg;
    if (daemon->stopping) return;
    daemon->stopping = true;
    if (daemon->report != NULL) report_destroy(daemon->report);
    daemon->report = NULL;
    node_stop(daemon->node, daemon_stopped, daemon);
}

static void daemon_snapshot(void *arg, struct buf *metrics, struct buf *reason)
{
    struct daemon *daemon = arg;
    struct node_view view;
    node_view(daemon->node, &view);
    status_metrics(&view, metrics);
    if (status_healthy(&view)) return;
    const char *text = view.identity == NULL ? "belongs to no cluster\n"
                       : view.low            ? "disk nearly full\n"
                                             : "a partition has no leader, or stopped here\n";
    buf_put(reason, text, strlen(text));
}

static int daemon_start_node(struct daemon *daemon)
{
    struct node_config config = {.dir = daemon->config.dir,
                                 .node = (uint8_t)daemon->config.node,
                                 .client = daemon->config.client,
                                 .peer = daemon->config.peer,
                                 .memory_bytes = daemon->config.memory_bytes,
                                 .wal_file_bytes = WAL_FILE_BYTES};
    /* A process that was killed keeps its lock until the disk let go of its last write. */
    for (int waited_ms = 0;; waited_ms += LOCK_POLL_MS) {
        int err = node_create(env_uv_env(daemon->uv), &config, &daemon->diag, &daemon->node,
                              daemon->why, sizeof(daemon->why));
        if (err != ERR_LOCKED || waited_ms >= LOCK_WAIT_MS) return err;
        (void)nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
    }
}

static int daemon_start_report(struct daemon *daemon)
{
    if (daemon->config.ops.port == 0) return 0;
    int err = report_create(env_uv_env(daemon->uv), &daemon->config.ops, daemon_snapshot, daemon,
                            &daemon->report);
    if (err == 0) return 0;
    char text[IDENTITY_ADDRESS_BYTES];
    identity_address_text(&daemon->config.ops, text);
    snprintf(daemon->why, sizeof(daemon->why), "ops address %s: %s", text, err_text(err));
    return err;
}

static int daemon_run(struct daemon *daemon)
{
    if (env_uv_create(NULL, &daemon->uv) != 0) return fail("the event loop cannot be made");
    diag_init(&daemon->diag, daemon->config.level, env_uv_env(daemon->uv), NULL, NULL);
    int rv = 0;
    if (daemon_start_node(daemon) != 0) {
        rv = fail(daemon->why);
    } else if (daemon_start_report(daemon) != 0 ||
               env_uv_on_term(daemon->uv, daemon_asked, daemon) != 0) {
        rv = fail(daemon->why[0] == '\0' ? "signals cannot be taken" : daemon->why);
        daemon_asked(daemon);
        env_uv_run(daemon->uv);
    } else {
        env_uv_run(daemon->uv);
    }
    env_uv_destroy(daemon->uv);
    return rv;
}

int main(int argc, char **argv)
{
    struct daemon *daemon = mem_zero(sizeof(*daemon));
    int rv = 0;
    if (config_read(argc, argv, &daemon->config, daemon->why) != 0)
        rv = fail(daemon->why);
    else if (daemon->config.help)
        config_usage();
    else if (daemon->config.version)
        printf("logd %s\n", PARLEY_VERSION);
    else if (!daemon->config.check)
        rv = daemon_run(daemon);
    free(daemon);
    return rv;
}
