/* chatd/config.c -- see config.h. */
#include "chatd/config.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEY_FILE_BYTES_MAX = 16 * 1024, WORKERS_DEFAULT = 2 };

static int text_set(char **text, const char *value)
{
    free(*text);
    *text = mem_string(slice_str(value));
    return 0;
}

static int list_add(char **list, size_t *count, const char *value, const char **why)
{
    *why = "at most 16 of these";
    if (*count == CONFIG_LIST_MAX) return -1;
    list[(*count)++] = mem_string(slice_str(value));
    return 0;
}

static int set_listen(void *arg, const char *value, const char **why)
{
    return option_address(value, &((struct front_config *)arg)->listen, why);
}

static int set_ops(void *arg, const char *value, const char **why)
{
    return option_address(value, &((struct front_config *)arg)->ops, why);
}

static int set_nodes(void *arg, const char *value, const char **why)
{
    struct front_config *config = arg;
    return option_addresses(value, config->nodes, CONFIG_NODES_MAX, &config->nodes_count, why);
}

static int set_workers(void *arg, const char *value, const char **why)
{
    return option_number(value, 1, CONFIG_WORKERS_MAX, &((struct front_config *)arg)->workers_count,
                         why);
}

/* The file's bytes, the end of its last line left out; NULL: it cannot be read. */
static char *key_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return NULL;
    char *key = mem_alloc(KEY_FILE_BYTES_MAX);
    size_t got = fread(key, 1, KEY_FILE_BYTES_MAX, file);
    fclose(file);
    while (got > 0 && (key[got - 1] == '\n' || key[got - 1] == '\r'))
        got--;
    *bytes = got;
    return key;
}

/* ALG:KID:FILE; KID may be empty. */
static int set_key(void *arg, const char *value, const char **why)
{
    struct front_config *config = arg;
    const char *kid = strchr(value, ':');
    const char *path = kid == NULL ? NULL : strchr(kid + 1, ':');
    *why = "a key is ALG:KID:FILE, ALG one of HS256 RS256 ES256, KID may be empty";
    if (path == NULL || path[1] == '\0') return -1;
    *why = "at most 16 keys";
    if (config->keys_count == AUTH_KEYS_MAX) return -1;
    *why = "the key's file cannot be read";
    size_t bytes = 0;
    char *key = key_file(path + 1, &bytes);
    if (key == NULL) return -1;
    struct slice kid_text = {kid + 1, (size_t)(path - kid - 1)};
    config->keys[config->keys_count++] = (struct auth_key){
        .alg = mem_string((struct slice){value, (size_t)(kid - value)}),
        .kid = kid_text.len == 0 ? NULL : mem_string(kid_text),
        .key = {key, bytes},
    };
    return 0;
}

static int set_issuer(void *arg, const char *value, const char **why)
{
    (void)why;
    return text_set(&((struct front_config *)arg)->issuer, value);
}

static int set_audience(void *arg, const char *value, const char **why)
{
    (void)why;
    return text_set(&((struct front_config *)arg)->audience, value);
}

static int set_origin(void *arg, const char *value, const char **why)
{
    struct front_config *config = arg;
    return list_add(config->origins, &config->origins_count, value, why);
}

static int set_alt(void *arg, const char *value, const char **why)
{
    struct front_config *config = arg;
    *why = "another front-end is ws://HOST:PORT/ws or wss://...";
    if (strncmp(value, "ws://", 5) != 0 && strncmp(value, "wss://", 6) != 0) return -1;
    return list_add(config->alts, &config->alts_count, value, why);
}

static int set_web(void *arg, const char *value, const char **why)
{
    *why = "the folder is an absolute path";
    if (value[0] != '/') return -1;
    return text_set(&((struct front_config *)arg)->web, value);
}

static int set_nothing(void *arg, const char *value, const char **why)
{
    (void)arg; /* --config was read before the others. */
    (void)value;
    (void)why;
    return 0;
}

static int set_check(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct front_config *)arg)->check = true;
    return 0;
}

static int set_help(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct front_config *)arg)->help = true;
    return 0;
}

static int set_version(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct front_config *)arg)->version = true;
    return 0;
}

static int set_protocol(void *arg, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct front_config *)arg)->protocol = true;
    return 0;
}

static const struct option OPTIONS[] = {
    {"config", "FILE", "read these options from FILE, section [chatd]; flags win", set_nothing},
    {"listen", "HOST:PORT", "serve clients here: WebSocket and HTTP", set_listen},
    {"ops", "HOST:PORT", "serve /metrics and /healthz to operators here", set_ops},
    {"nodes", "HOST:PORT,...", "client addresses of the log store; one that answers is enough",
     set_nodes},
    {"workers", "1-64", "threads, each with a part of the connections (2)", set_workers},
    {"key", "ALG:KID:FILE", "a key that tokens are verified with; several may be given", set_key},
    {"issuer", "TEXT", "refuse tokens whose iss is another", set_issuer},
    {"audience", "TEXT", "refuse tokens whose aud is another", set_audience},
    {"origin", "ORIGIN", "a page that may connect; several (none: this server's own)", set_origin},
    {"alt", "WS-ADDRESS", "another front-end, told to clients; several may be given", set_alt},
    {"web", "FOLDER", "serve the web client in FOLDER", set_web},
    {"check", NULL, "only check the configuration", set_check},
    {"help", NULL, "print this", set_help},
    {"version", NULL, "print the version", set_version},
    {"protocol", NULL, "print the reference of the operations", set_protocol},
};

void front_config_usage(void)
{
    printf("usage: chatd --listen HOST:PORT --nodes HOST:PORT,... --key ALG:KID:FILE [options]\n");
    options_usage(OPTIONS, ARRAY_COUNT(OPTIONS));
}

int front_config_read(int argc, char **argv, struct front_config *config,
                      char why[OPTIONS_WHY_BYTES])
{
    const char *file = options_peek(argc, argv, "config"), *missing = NULL;
    *config = (struct front_config){.workers_count = WORKERS_DEFAULT};
    if (file != NULL &&
        options_file(file, "chatd", OPTIONS, ARRAY_COUNT(OPTIONS), config, why) != 0)
        return -1;
    if (options_flags(argc, argv, OPTIONS, ARRAY_COUNT(OPTIONS), config, why) != 0) return -1;
    if (config->help || config->version || config->protocol) return 0;
    if (config->listen.port == 0) missing = "--listen HOST:PORT";
    if (config->nodes_count == 0) missing = "--nodes HOST:PORT,...";
    if (config->keys_count == 0) missing = "--key ALG:KID:FILE";
    if (missing == NULL) return 0;
    snprintf(why, OPTIONS_WHY_BYTES, "%s is needed, as a flag or in the file", missing);
    return -1;
}

void front_config_free(struct front_config *config)
{
    for (size_t i = 0; i < config->keys_count; i++) {
        free((void *)(uintptr_t)config->keys[i].alg);
        free((void *)(uintptr_t)config->keys[i].kid);
        free((void *)(uintptr_t)config->keys[i].key.data);
    }
    for (size_t i = 0; i < config->origins_count; i++)
        free(config->origins[i]);
    for (size_t i = 0; i < config->alts_count; i++)
        free(config->alts[i]);
    free(config->issuer);
    free(config->audience);
    free(config->web);
    *config = (struct front_config){0};
}
