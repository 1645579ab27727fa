/* raft/identity.c -- see identity.h. */
#include "raft/identity.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/pack.h"
#include "raft/options.h"

enum { PATH_BYTES = 4096, FILE_BYTES_MAX = IDENTITY_MAP_BYTES_MAX + 256 };

static const char first_line[] = "parley-identity 1\n";

void identity_address_text(const struct env_address *address, char out[IDENTITY_ADDRESS_BYTES])
{
    bool colons = strchr(address->host, ':') != NULL;
    snprintf(out, IDENTITY_ADDRESS_BYTES, colons ? "[%s]:%u" : "%s:%u", address->host,
             (unsigned)address->port);
}

/* ---- JSON ---- */

static int say(char *why, size_t why_bytes, const char *text)
{
    snprintf(why, why_bytes, "%s", text);
    return ERR_INVAL;
}

static bool parse_integer(const json_t *object, const char *key, json_int_t min, json_int_t max,
                          json_int_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) return false;
    *out = json_integer_value(value);
    return *out >= min && *out <= max;
}

static bool parse_address(const json_t *object, const char *key, struct env_address *out)
{
    const char *text = json_string_value(json_object_get(object, key));
    const char *allowed;
    return text != NULL && option_address(text, out, &allowed) == 0 && out->port != 0;
}

static bool parse_cluster(const json_t *object, uint64_t *out)
{
    const char *text = json_string_value(json_object_get(object, "cluster"));
    if (text == NULL || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) return false;
    *out = strtoull(text, NULL, 16);
    return *out != 0;
}

static int parse_nodes(const json_t *array, struct identity *out, char *why, size_t why_bytes)
{
    size_t count = json_array_size(array);
    if (count < 1 || count > NODES_MAX)
        return say(why, why_bytes, "map: nodes: a list of 1 to 7 nodes");
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(array, i);
        struct identity_node *node = &out->nodes[i];
        json_int_t number;
        if (!parse_integer(object, "node", 1, IDENTITY_NODE_MAX, &number))
            return say(why, why_bytes, "map: node: a number from 1 to 255");
        node->number = (uint8_t)number;
        if (i > 0 && node->number <= out->nodes[i - 1].number)
            return say(why, why_bytes, "map: nodes: their numbers must rise");
        if (!parse_address(object, "client", &node->client) ||
            !parse_address(object, "peer", &node->peer))
            return say(why, why_bytes, "map: client, peer: HOST:PORT each");
    }
    out->nodes_count = (unsigned)count;
    return 0;
}

static int parse_object(const json_t *object, struct identity *out, char *why, size_t why_bytes)
{
    json_int_t parts;
    if (!json_is_object(object)) return say(why, why_bytes, "map: no JSON object");
    if (!parse_cluster(object, &out->cluster))
        return say(why, why_bytes, "map: cluster: 16 hex digits, not all 0");
    if (!parse_integer(object, "partitions", 1, PARTITIONS_MAX, &parts))
        return say(why, why_bytes, "map: partitions: a number from 1 to 256");
    out->parts_count = (unsigned)parts;
    return parse_nodes(json_object_get(object, "nodes"), out, why, why_bytes);
}

int identity_parse_map(struct slice json, struct identity *out, char *why, size_t why_bytes)
{
    struct identity got = {0};
    if (json.len > IDENTITY_MAP_BYTES_MAX) return say(why, why_bytes, "map: too long");
    json_error_t error;
    json_t *object = json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        snprintf(why, why_bytes, "map: %s", error.text);
        return ERR_INVAL;
    }
    int err = parse_object(object, &got, why, why_bytes);
    json_decref(object);
    if (err == 0) *out = got;
    return err;
}

static int parse_own(struct slice json, struct identity *out)
{
    char why[256];
    int err = identity_parse_map(json, out, why, sizeof why);
    if (err != 0) return err;
    json_t *object = json_loadb(json.data, json.len, 0, NULL);
    json_int_t node, incarnation;
    const json_t *formed = json_object_get(object, "formed");
    bool good = parse_integer(object, "node", 1, IDENTITY_NODE_MAX, &node) &&
                parse_integer(object, "incarnation", 1, UINT32_MAX, &incarnation) &&
                json_is_boolean(formed);
    if (good) {
        out->node = (uint8_t)node;
        out->incarnation = (uint32_t)incarnation;
        out->formed = json_is_true(formed);
    }
    json_decref(object);
    return good ? 0 : ERR_INVAL;
}

static char *identity_json(const struct identity *identity)
{
    char cluster[17];
    snprintf(cluster, sizeof cluster, "%016llx", (unsigned long long)identity->cluster);
    json_t *nodes = json_array();
    for (unsigned i = 0; i < identity->nodes_count; i++) {
        char client[IDENTITY_ADDRESS_BYTES], peer[IDENTITY_ADDRESS_BYTES];
        identity_address_text(&identity->nodes[i].client, client);
        identity_address_text(&identity->nodes[i].peer, peer);
        json_array_append_new(
            nodes, json_pack("{s:i, s:s, s:s}", "node", (int)identity->nodes[i].number, "client",
                             client, "peer", peer));
    }
    json_t *object = json_pack("{s:s, s:i, s:o, s:i, s:I, s:b}", "cluster", cluster, "partitions",
                               (int)identity->parts_count, "nodes", nodes, "node",
                               (int)identity->node, "incarnation",
                               (json_int_t)identity->incarnation, "formed", (int)identity->formed);
    CHECK(object != NULL);
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

/* ---- the file ---- */

static void path_of(char out[PATH_BYTES], const char *dir, const char *name)
{
    int len = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    CHECK(len > 0);
    CHECK(len < PATH_BYTES);
}

int identity_save(struct env *env, const char *dir, const struct identity *identity)
{
    char path[PATH_BYTES], aside[PATH_BYTES], sum[32];
    path_of(path, dir, "identity");
    path_of(aside, dir, "identity.new");
    char *json = identity_json(identity);
    struct buf text = {0};
    buf_put(&text, first_line, strlen(first_line));
    buf_put(&text, json, strlen(json));
    int len = snprintf(sum, sizeof sum, "\n%016llx\n", (unsigned long long)hash64(slice_str(json)));
    buf_put(&text, sum, (size_t)len);
    free(json);
    struct env_file *file;
    int err = env_file_open(env, aside, ENV_WRITE | ENV_CREATE, &file);
    if (err == 0) {
        err = env_file_truncate(env, file, 0);
        if (err == 0) err = env_file_write(env, file, text.data, text.len, 0);
        if (err == 0) err = env_file_sync(env, file);
        env_file_close(env, file);
        if (err == 0) err = env_rename(env, aside, path);
        if (err == 0) err = env_dir_sync(env, dir);
    }
    buf_free(&text);
    return err;
}

static int text_parse(struct slice text, struct identity *out)
{
    size_t head = strlen(first_line);
    const char *at = text.data;
    if (text.len < head || memcmp(at, first_line, head) != 0) return ERR_VERSION;
    const char *json = at + head;
    const char *end = memchr(json, '\n', text.len - head);
    if (end == NULL) return ERR_CORRUPT;
    struct slice line = {json, (size_t)(end - json)};
    char sum[32];
    int len = snprintf(sum, sizeof sum, "\n%016llx\n", (unsigned long long)hash64(line));
    if (!slice_equal((struct slice){end, text.len - head - line.len},
                     (struct slice){sum, (size_t)len}))
        return ERR_CORRUPT;
    return parse_own(line, out) == 0 ? 0 : ERR_CORRUPT;
}

static int file_read(struct env *env, const char *path, struct buf *out)
{
    struct env_file *file;
    int err = env_file_open(env, path, ENV_READ, &file);
    if (err != 0) return err;
    size_t got;
    err = env_file_read(env, file, buf_grow(out, FILE_BYTES_MAX), FILE_BYTES_MAX, 0, &got);
    if (err == 0) out->len = got;
    env_file_close(env, file);
    return err;
}

/* What a folder may hold before it is formed: the lock, and a file that was never renamed. */
static void name_seen(void *arg, const char *name)
{
    bool *holds = arg;
    if (strcmp(name, "LOCK") != 0 && strcmp(name, "identity.new") != 0) *holds = true;
}

int identity_load(struct env *env, const char *dir, uint8_t node, struct identity *out, char *why,
                  size_t why_bytes)
{
    char path[PATH_BYTES];
    path_of(path, dir, "identity");
    int err = env_dir_make(env, dir);
    if (err != 0) {
        snprintf(why, why_bytes, "%s: %s", dir, err_text(err));
        return err;
    }
    struct buf text = {0};
    err = file_read(env, path, &text);
    if (err == ERR_NOT_FOUND) {
        bool holds = false;
        err = env_dir_list(env, dir, name_seen, &holds);
        if (err == 0) err = holds ? ERR_FOREIGN : ERR_NOT_FOUND;
        snprintf(why, why_bytes, "%s: %s", dir,
                 holds ? "holds files, but no identity: not a folder of logd, or a damaged one"
                       : err_text(err));
    } else if (err == 0) {
        struct identity got;
        err = text_parse(buf_bytes(&text), &got);
        snprintf(why, why_bytes, "%s: %s", path, err_text(err));
        if (err == 0 && node != 0 && node != got.node) {
            err = ERR_FOREIGN;
            snprintf(why, why_bytes, "%s: belongs to node %u, not to node %u", path,
                     (unsigned)got.node, (unsigned)node);
        }
        if (err == 0) *out = got;
    } else {
        snprintf(why, why_bytes, "%s: %s", path, err_text(err));
    }
    buf_free(&text);
    return err;
}
