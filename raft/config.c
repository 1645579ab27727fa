/* raft/config.c -- see config.h. */
#include "raft/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "raft/identity.h"
#include "raft/node.h"

static int set_config(void *arg, const char *value, const char **why)
{
    (void)arg; /* Read before the others, by config_read. */
    (void)value;
    (void)why;
    return 0;
}

static int set_dir(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    char here[256] = "";
    if (value[0] != '/' && getcwd(here, sizeof(here)) == NULL) here[0] = '\0';
    int len = snprintf(config->dir, sizeof(config->dir), "%s%s%s", here, value[0] == '/' ? "" : "/",
                       value);
    *why = "a folder is a path of 1 to 255 bytes";
    bool good =
        value[0] != '\0' && strlen(value) < 256 && len > 0 && (size_t)len < sizeof(config->dir);
    return good ? 0 : -1;
}

static int set_node(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    int rv = option_number(value, 1, IDENTITY_NODE_MAX, &config->node, why);
    *why = "a node's number is 1 to 255";
    return rv;
}

static int set_client(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    return option_address(value, &config->client, why);
}

static int set_peer(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    return option_address(value, &config->peer, why);
}

static int set_ops(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    return option_address(value, &config->ops, why);
}

static int set_memory(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    int rv =
        option_number(value, NODE_MEMORY_BYTES_MIN, (uint64_t)1 << 40, &config->memory_bytes, why);
    *why = "memory is a number of bytes, at least 33554432";
    return rv;
}

static int set_level(void *arg, const char *value, const char **why)
{
    struct config *config = arg;
    *why = "a level is error, warn, info or debug";
    return diag_level_parse(value, &config->level) == 0 ? 0 : -1;
}

static int set_check(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct config *)arg)->check = true;
    return 0;
}

static int set_help(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct config *)arg)->help = true;
    return 0;
}

static int set_version(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct config *)arg)->version = true;
    return 0;
}

static const struct option rows[] = {
    {"config", "FILE", "read these options from section [logd] of FILE first", set_config},
    {"node", "NUMBER", "this node's number in its cluster, 1 to 255", set_node},
    {"dir", "DIR", "folder of its data, made when absent", set_dir},
    {"client", "HOST:PORT", "where clients reach it; listens there", set_client},
    {"peer", "HOST:PORT", "where other nodes reach it; listens there", set_peer},
    {"ops", "HOST:PORT", "where /metrics and /healthz are served; none without", set_ops},
    {"memory", "BYTES", "for logs, rows and caches; default 268435456", set_memory},
    {"log-level", "LEVEL", "error, warn, info or debug; default info", set_level},
    {"check", NULL, "only check the configuration", set_check},
    {"help", NULL, "say this", set_help},
    {"version", NULL, "say the version", set_version},
};

static int config_whole(const struct config *config, char why[OPTIONS_WHY_BYTES])
{
    const char *missing = NULL;
    if (config->node == 0) missing = "--node NUMBER";
    if (config->dir[0] == '\0') missing = "--dir DIR";
    if (config->client.port == 0) missing = "--client HOST:PORT";
    if (config->peer.port == 0) missing = "--peer HOST:PORT";
    if (missing == NULL) return 0;
    snprintf(why, OPTIONS_WHY_BYTES, "%s is needed (or its line in the file; see --help)", missing);
    return -1;
}

int config_read(int argc, char **argv, struct config *out, char why[OPTIONS_WHY_BYTES])
{
    *out = (struct config){.memory_bytes = NODE_MEMORY_BYTES, .level = DIAG_INFO};
    const char *path = options_peek(argc, argv, "config");
    if (path != NULL && options_file(path, "logd", rows, ARRAY_COUNT(rows), out, why) != 0)
        return -1;
    if (options_flags(argc, argv, rows, ARRAY_COUNT(rows), out, why) != 0) return -1;
    return out->help || out->version ? 0 : config_whole(out, why);
}

void config_usage(void)
{
    printf(
        "usage: logd [--config FILE] --node NUMBER --dir DIR --client HOST:PORT "
        "--peer HOST:PORT ...\nOne node of a cluster that keeps streams.\n\n");
    options_usage(rows, ARRAY_COUNT(rows));
}
