/* admin/cli.c -- see cli.h. */
#include "admin/cli.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { READY_MS = 5000, SECRET_BYTES_MAX = 1024, DEV_NODES_SEEDS = 3 };

int cli_fail(int exit_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("parley: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return exit_code;
}

/* ---- options ---- */

int cli_set_dir(void *arg, const char *value, const char **why)
{
    struct cli *cli = arg;
    char here[CLI_PATH_BYTES / 2] = "";
    *why = "this path is too long";
    bool absolute = value[0] == '/';
    if (!absolute && getcwd(here, sizeof(here)) == NULL) return -1;
    int length = snprintf(cli->dir, sizeof(cli->dir), "%s%s%s", here, absolute ? "" : "/", value);
    while (length > 1 && length < CLI_PATH_BYTES && cli->dir[length - 1] == '/')
        cli->dir[--length] = '\0';
    return length < CLI_PATH_BYTES - 64 ? 0 : -1; /* Names of files follow it. */
}

int cli_set_port(void *arg, const char *value, const char **why)
{
    int rv = option_number(value, 1, UINT16_MAX - CLI_FRONT_OPS_OFFSET - CLI_FRONTS_MAX,
                           &((struct cli *)arg)->port, why);
    *why = "a port from 1 to 64400: those up to P+1100 are used";
    return rv;
}

int cli_set_nodes(void *arg, const char *value, const char **why)
{
    struct cli *cli = arg;
    return option_addresses(value, cli->nodes, NODES_MAX, &cli->nodes_count, why);
}

int cli_set_json(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct cli *)arg)->json = true;
    return 0;
}

/* ---- finding the cluster ---- */

static bool json_uint(const json_t *tree, const char *key, uint64_t max, uint64_t *out)
{
    json_int_t value = json_integer_value(json_object_get(tree, key));
    if (value < 1 || (uint64_t)value > max) return false;
    *out = (uint64_t)value;
    return true;
}

int cli_cluster_read(const char *dir, struct cli_cluster *out)
{
    char path[CLI_PATH_BYTES + 16];
    struct cli_cluster found = {0};
    snprintf(path, sizeof(path), "%s/dev.json", dir);
    if (access(path, F_OK) != 0) return ERR_NOT_FOUND;
    json_t *tree = json_load_file(path, 0, NULL);
    bool good = json_uint(tree, "port", UINT16_MAX, &found.port) &&
                json_uint(tree, "nodes", NODES_MAX, &found.nodes_count) &&
                json_uint(tree, "fronts", CLI_FRONTS_MAX, &found.fronts_count);
    json_decref(tree);
    if (!good) return ERR_CORRUPT;
    *out = found;
    return 0;
}

static void address_local(struct env_address *address, uint64_t port)
{
    *address = (struct env_address){.host = "127.0.0.1", .port = (uint16_t)port};
}

/* The cluster of --dir, or what --port lets guess: one of its first nodes is there. */
static int cluster_of(struct cli *cli, struct cli_cluster *cluster)
{
    *cluster = (struct cli_cluster){.port = cli->port == 0 ? CLI_PORT_DEFAULT : cli->port,
                                    .nodes_count = DEV_NODES_SEEDS,
                                    .fronts_count = 1};
    if (cli->dir[0] == '\0') return 0;
    int err = cli_cluster_read(cli->dir, cluster);
    if (err == 0) return 0;
    return cli_fail(
        EXIT_USAGE, "%s: %s", cli->dir,
        err == ERR_NOT_FOUND ? "no cluster of `parley dev` is here" : "dev.json is damaged");
}

int cli_find_nodes(struct cli *cli)
{
    struct cli_cluster cluster;
    if (cli->nodes_count > 0) return 0;
    int rv = cluster_of(cli, &cluster);
    if (rv != 0) return rv;
    for (uint64_t i = 1; i <= cluster.nodes_count; i++)
        address_local(&cli->nodes[cli->nodes_count++], cluster.port + i);
    return 0;
}

int cli_find_fronts(struct cli *cli)
{
    struct cli_cluster cluster;
    if (cli->fronts_count > 0) return 0;
    int rv = cluster_of(cli, &cluster);
    if (rv != 0) return rv;
    for (uint64_t j = 1; j <= cluster.fronts_count; j++)
        address_local(&cli->fronts[cli->fronts_count++], cluster.port + CLI_FRONT_OFFSET + j);
    return 0;
}

int cli_find_secret(struct cli *cli, char **secret)
{
    char path[CLI_PATH_BYTES + 16];
    char text[SECRET_BYTES_MAX];
    if (cli->secret[0] == '\0' && cli->dir[0] == '\0')
        return cli_fail(EXIT_USAGE, "--secret FILE or --dir D is needed to sign a token");
    if (cli->secret[0] != '\0')
        snprintf(path, sizeof(path), "%s", cli->secret);
    else
        snprintf(path, sizeof(path), "%s/secret", cli->dir);
    FILE *file = fopen(path, "re");
    if (file == NULL) return cli_fail(EXIT_FAILED, "%s: cannot be read", path);
    size_t got = fread(text, 1, sizeof(text), file);
    fclose(file);
    while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == '\r'))
        got--;
    *secret = mem_string((struct slice){text, got});
    return 0;
}

/* ---- the loop ---- */

struct wait {
    struct env_timer timer;
    struct cli_link *link;
    const bool *done;
    struct env_task look;
    bool late;
};

static void wait_late(struct env_timer *timer)
{
    struct wait *wait = CONTAINER_OF(timer, struct wait, timer);
    wait->late = true;
    env_uv_stop(wait->link->uv);
}

bool cli_run(struct cli_link *link, const bool *done, uint64_t ms)
{
    struct wait wait = {.link = link, .done = done};
    env_timer_init(&wait.timer, wait_late);
    env_timer_start(link->env, &wait.timer, ms);
    while (!*done && !wait.late)
        uv_run(env_uv_loop(link->uv), UV_RUN_ONCE);
    env_timer_stop(link->env, &wait.timer);
    return *done;
}

struct ready {
    bool done;
    int err;
};

static void link_ready(void *arg, int err)
{
    struct ready *ready = arg;
    ready->done = true;
    ready->err = err;
}

int cli_open(struct cli *cli, struct cli_link *link, bool wait)
{
    struct ready ready = {0};
    *link = (struct cli_link){0};
    int rv = cli_find_nodes(cli);
    if (rv != 0) return rv;
    if (env_uv_create(NULL, &link->uv) != 0)
        return cli_fail(EXIT_FAILED, "the system gives no event loop");
    link->env = env_uv_env(link->uv);
    struct client_config config = {cli->nodes, cli->nodes_count};
    int err = client_create(link->env, &config, &link->client);
    if (err != 0) {
        env_uv_destroy(link->uv);
        return cli_fail(EXIT_FAILED, "client: %s", err_text(err));
    }
    if (!wait) return 0;
    client_when_ready(link->client, READY_MS, link_ready, &ready);
    if (cli_run(link, &ready.done, 2 * READY_MS) && ready.err == 0) return 0;
    cli_close(link);
    return cli_fail(EXIT_NO_NODE, "no node of a cluster answers at %s:%u%s", cli->nodes[0].host,
                    cli->nodes[0].port, cli->nodes_count > 1 ? " and the others" : "");
}

static void link_closed(void *arg)
{
    ((struct cli_link *)arg)->closed = true;
}

void cli_close(struct cli_link *link)
{
    client_destroy(link->client, link_closed, link);
    (void)cli_run(link, &link->closed, READY_MS);
    env_uv_destroy(link->uv);
}
