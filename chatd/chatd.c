/* chatd/chatd.c -- the front-end daemon: workers that carry chat between clients and the cluster.
 *
 * Happy path: configuration, keys, web client into memory, workers one after another, then wait
 * for SIGTERM; drain; end. Exit codes: 0 fine, 1 failed while running, 2 it cannot start so. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "chatd/metrics.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum {
    FILES_MAX = 20000, /* See transport.h: more costs at each close, for nothing. */
    FILES_OWN = 256,   /* Of them for listeners, loops and connections to the log store. */
};

struct daemon {
    struct front_config config;
    struct env_uv *uv; /* Main's loop: signals. */
    struct auth *auth;
    struct webroot *files;
    struct buf alt;
    struct front front;
    struct worker *workers[CONFIG_WORKERS_MAX];
    unsigned workers_count;
    struct metrics *metrics; /* NULL: no --ops. */
};

static int refuse(const char *why)
{
    fprintf(stderr, "chatd: %s\n", why);
    return 2;
}

static void print_protocol(void)
{
    struct buf text = {0};
    ops_reference(&text);
    (void)fwrite(text.data, 1, text.len, stdout);
    buf_free(&text);
}

/* How many clients each worker may have, from the files that the process may have. */
static unsigned limit_files(uint64_t workers)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t files = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
    struct rlimit wanted = {files, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &wanted) != 0) files = limit.rlim_cur;
    return files <= 2 * FILES_OWN ? FILES_OWN : (unsigned)((files - FILES_OWN) / workers);
}

static int open_front(struct daemon *d)
{
    const struct front_config *config = &d->config;
    char line[OPTIONS_WHY_BYTES];
    const char *why = NULL;
    size_t which = 0;
    struct auth_config keys = {config->keys, config->keys_count, config->issuer, config->audience};
    if (auth_create(&keys, &d->auth, &which, &why) != 0) {
        snprintf(line, sizeof(line), "key %zu: %s", which + 1, why);
        return refuse(line);
    }
    int err = config->web == NULL ? 0 : webroot_load(env_uv_env(d->uv), config->web, &d->files);
    if (err != 0) {
        snprintf(line, sizeof(line), "--web %s: %s", config->web, err_text(err));
        return refuse(line);
    }
    out_array(&d->alt);
    for (size_t i = 0; i < config->alts_count; i++)
        out_string(&d->alt, slice_str(config->alts[i]));
    out_array_end(&d->alt);
    buf_u8(&d->alt, 0);
    d->front = (struct front){.config = config,
                              .auth = d->auth,
                              .files = d->files,
                              .alt = (const char *)d->alt.data,
                              .conns_max = limit_files(config->workers_count)};
    return 0;
}

static int open_workers(struct daemon *d)
{
    const struct env_address *listen = &d->config.listen;
    char line[OPTIONS_WHY_BYTES];
    int err = transport_probe(listen->host, listen->port); /* Workers share it: ask before. */
    for (unsigned i = 0; i < d->config.workers_count && err == 0; i++) {
        err = worker_create(&d->front, &d->workers[i]);
        if (err == 0) d->workers_count++;
    }
    if (err != 0) {
        snprintf(line, sizeof(line), "--listen %s:%u: %s", listen->host, listen->port,
                 err_text(err));
        return refuse(line);
    }
    if (d->config.ops.port == 0) return 0;
    err = metrics_create(&d->config.ops, d->workers, d->workers_count, &d->metrics);
    if (err == 0) return 0;
    snprintf(line, sizeof(line), "--ops %s:%u: %s", d->config.ops.host, d->config.ops.port,
             err_text(err));
    return refuse(line);
}

static void asked_to_stop(void *arg)
{
    env_uv_stop(((struct daemon *)arg)->uv);
}

static void run(struct daemon *d)
{
    for (unsigned i = 0; i < d->workers_count; i++)
        worker_start(d->workers[i]);
    struct diag diag;
    diag_init(&diag, DIAG_INFO, env_uv_env(d->uv), NULL, NULL);
    diag_info(&diag, "chatd", "serving address=%s:%u workers=%u version=" PARLEY_VERSION,
              d->config.listen.host, d->config.listen.port, d->workers_count);
    env_uv_run(d->uv);
    diag_info(&diag, "chatd", "stopping");
}

static void close_all(struct daemon *d)
{
    for (unsigned i = 0; i < d->workers_count; i++)
        worker_ask_stop(d->workers[i]);
    for (unsigned i = 0; i < d->workers_count; i++)
        worker_join(d->workers[i]);
    metrics_destroy(d->metrics);
    for (unsigned i = 0; i < d->workers_count; i++)
        worker_destroy(d->workers[i]);
    webroot_destroy(d->files);
    auth_destroy(d->auth);
    buf_free(&d->alt);
    env_uv_destroy(d->uv);
    front_config_free(&d->config);
}

int main(int argc, char **argv)
{
    struct daemon d = {0};
    char why[OPTIONS_WHY_BYTES];
    if (front_config_read(argc, argv, &d.config, why) != 0) return refuse(why);
    if (d.config.help) return front_config_usage(), 0;
    if (d.config.version) return puts("chatd " PARLEY_VERSION), 0;
    if (d.config.protocol) return print_protocol(), 0;
    if (env_uv_create(NULL, &d.uv) != 0) return refuse("the system gives no event loop");
    int rv = open_front(&d);
    if (rv != 0 || d.config.check) return rv;
    rv = open_workers(&d);
    if (rv != 0) return rv;
    if (env_uv_on_term(d.uv, asked_to_stop, &d) != 0) return refuse("no signals here");
    run(&d);
    close_all(&d);
    return 0;
}
