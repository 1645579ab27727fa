/* admin/status.c -- parley status, parley partitions: every node is asked at once, and what they
 * say is put together.
 *
 * Healthy: all nodes answer, every partition has one leader that a majority follows, nothing
 * stopped, no disk is full. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/cli.h"

enum { ASK_MS = 1500, NAME_BYTES = 96, LIST_BYTES = 1400 };

struct said {
    struct client_status request;
    struct survey *survey;
    int err;
    json_t *tree; /* NULL: no answer. Owned. */
};

struct survey {
    struct cli *cli;
    struct said nodes[NODES_MAX];
    unsigned pending_count, answers_count;
    bool done;
};

/* A partition, put together from its replicas. */
struct part_view {
    bool known;
    unsigned leader, replicas, up, stopped;
    uint64_t term, commit, applied_min, applied_max;
    char words[64]; /* What is wrong; empty: nothing. */
};

static uint64_t number_of(const json_t *tree, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(tree, key));
    return value < 0 ? 0 : (uint64_t)value;
}

/* ---- asking ---- */

static void said_done(struct client_status *request, int err, struct slice text)
{
    struct said *said = CONTAINER_OF(request, struct said, request);
    said->err = err;
    if (err == 0) said->tree = json_loadb(text.data, text.len, 0, NULL);
    if (said->tree != NULL) said->survey->answers_count++;
    said->survey->done = --said->survey->pending_count == 0;
}

static void survey_free(struct survey *survey)
{
    for (unsigned i = 0; i < NODES_MAX; i++)
        json_decref(survey->nodes[i].tree);
}

static int survey_ask(struct cli *cli, struct survey *survey)
{
    struct cli_link link;
    *survey = (struct survey){.cli = cli};
    int rv = cli_open(cli, &link, false);
    if (rv != 0) return rv;
    survey->pending_count = cli->nodes_count;
    for (unsigned i = 0; i < cli->nodes_count; i++) {
        survey->nodes[i].survey = survey;
        survey->nodes[i].request =
            (struct client_status){.node = i, .deadline_ms = ASK_MS, .done = said_done};
        client_status(link.client, &survey->nodes[i].request);
    }
    CHECK(cli_run(&link, &survey->done, 10 * ASK_MS));
    cli_close(&link);
    return 0;
}

/* The nodes of the map that somebody told, in place of those asked; false: they are the same. */
static bool survey_learn(struct survey *survey)
{
    const json_t *map = NULL;
    struct cli *cli = survey->cli;
    for (unsigned i = 0; i < cli->nodes_count && map == NULL; i++)
        map = json_object_get(survey->nodes[i].tree, "nodes");
    size_t count = json_array_size(map);
    if (count == 0 || count > NODES_MAX) return false;
    struct env_address nodes[NODES_MAX];
    bool same = count == cli->nodes_count;
    for (size_t i = 0; i < count; i++) {
        const char *why,
            *text = json_string_value(json_object_get(json_array_get(map, i), "client"));
        if (text == NULL || option_address(text, &nodes[i], &why) != 0) return false;
        same = same && i < cli->nodes_count && nodes[i].port == cli->nodes[i].port &&
               strcmp(nodes[i].host, cli->nodes[i].host) == 0;
    }
    memcpy(cli->nodes, nodes, count * sizeof(nodes[0]));
    cli->nodes_count = (unsigned)count;
    return !same;
}

/* 0, or an exit code after its message. */
static int survey_make(struct cli *cli, struct survey *survey)
{
    int rv = survey_ask(cli, survey);
    if (rv == 0 && survey_learn(survey)) {
        survey_free(survey);
        rv = survey_ask(cli, survey);
    }
    if (rv != 0) return rv;
    if (survey->answers_count > 0) return 0;
    survey_free(survey);
    return cli_fail(EXIT_NO_NODE, "no node answers at %s:%u%s", cli->nodes[0].host,
                    cli->nodes[0].port, cli->nodes_count > 1 ? " and the others" : "");
}

/* ---- putting together ---- */

static void part_add(struct part_view *view, const json_t *part)
{
    uint64_t applied = number_of(part, "applied"), term = number_of(part, "term");
    if (!view->known || applied < view->applied_min) view->applied_min = applied;
    if (applied > view->applied_max) view->applied_max = applied;
    if (number_of(part, "commit") > view->commit) view->commit = number_of(part, "commit");
    size_t voters = json_array_size(json_object_get(part, "voters"));
    if (voters > view->replicas) view->replicas = (unsigned)voters;
    view->up++;
    view->known = true;
    if (!json_is_null(json_object_get(part, "stopped"))) view->stopped++;
    if (term < view->term) return;
    if (term > view->term) view->leader = 0;
    view->term = term;
    if (json_is_true(json_object_get(part, "leads")))
        view->leader = (unsigned)number_of(part, "leader");
}

static unsigned parts_make(const struct survey *survey, struct part_view views[PARTITIONS_MAX])
{
    unsigned count = 0;
    memset(views, 0, PARTITIONS_MAX * sizeof(views[0]));
    for (unsigned i = 0; i < survey->cli->nodes_count; i++) {
        const json_t *parts = json_object_get(survey->nodes[i].tree, "partitions");
        size_t k;
        json_t *part;
        json_array_foreach(parts, k, part)
        {
            uint64_t number = number_of(part, "part");
            if (number >= PARTITIONS_MAX) continue;
            if (number >= count) count = (unsigned)number + 1;
            part_add(&views[number], part);
        }
    }
    for (unsigned p = 0; p < count; p++) {
        struct part_view *view = &views[p];
        if (view->leader == 0)
            snprintf(view->words, sizeof(view->words), "no leader");
        else if (view->stopped > 0)
            snprintf(view->words, sizeof(view->words), "%u replicas stopped", view->stopped);
        else if (view->up < view->replicas)
            snprintf(view->words, sizeof(view->words), "%u of %u replicas", view->up,
                     view->replicas);
    }
    return count;
}

static bool parts_healthy(const struct part_view *views, unsigned count)
{
    for (unsigned p = 0; p < count; p++)
        if (views[p].words[0] != '\0') return false;
    return count > 0;
}

/* "0-3,7": the partitions whose words are these. */
static void parts_list(const struct part_view *views, unsigned count, const char *words,
                       char out[LIST_BYTES])
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned p = 0; p < count && used + 16 < LIST_BYTES; p++) {
        if (strcmp(views[p].words, words) != 0) continue;
        unsigned last = p;
        while (last + 1 < count && strcmp(views[last + 1].words, words) == 0)
            last++;
        const char *comma = used == 0 ? "" : ",";
        used += (size_t)(last == p
                             ? snprintf(out + used, LIST_BYTES - used, "%s%u", comma, p)
                             : snprintf(out + used, LIST_BYTES - used, "%s%u-%u", comma, p, last));
        p = last;
    }
}

/* What is wrong with a node; "": nothing. */
static const char *node_words(const struct said *said, char out[NAME_BYTES])
{
    if (said->tree == NULL)
        snprintf(out, NAME_BYTES, "down: %s",
                 said->err == 0 ? "it said nothing sensible" : err_text(said->err));
    else if (json_object_get(said->tree, "partitions") == NULL)
        snprintf(out, NAME_BYTES, "belongs to no cluster");
    else if (json_is_true(json_object_get(said->tree, "disk_low")))
        snprintf(out, NAME_BYTES, "disk full");
    else
        out[0] = '\0';
    return out;
}

/* The number of the node at address, as the map of any node tells; 0: no map does. */
static uint64_t node_number(const struct survey *survey, const char *address)
{
    for (unsigned i = 0; i < survey->cli->nodes_count; i++) {
        size_t k;
        json_t *node;
        json_array_foreach(json_object_get(survey->nodes[i].tree, "nodes"), k, node)
        {
            const char *text = json_string_value(json_object_get(node, "client"));
            if (text != NULL && strcmp(text, address) == 0) return number_of(node, "node");
        }
    }
    return 0;
}

static unsigned node_leads(const json_t *tree)
{
    unsigned leads = 0;
    size_t k;
    json_t *part;
    json_array_foreach(json_object_get(tree, "partitions"), k, part)
    {
        if (json_is_true(json_object_get(part, "leads"))) leads++;
    }
    return leads;
}

static bool nodes_healthy(const struct survey *survey)
{
    char words[NAME_BYTES];
    for (unsigned i = 0; i < survey->cli->nodes_count; i++)
        if (node_words(&survey->nodes[i], words)[0] != '\0') return false;
    return true;
}

/* ---- printing ---- */

static json_t *parts_json(const struct part_view *views, unsigned count)
{
    json_t *array = json_array();
    for (unsigned p = 0; p < count; p++) {
        const struct part_view *v = &views[p];
        json_array_append_new(
            array, json_pack("{s:i, s:i, s:I, s:i, s:i, s:I, s:I, s:I, s:s}", "part", (int)p,
                             "leader", (int)v->leader, "term", (json_int_t)v->term, "replicas",
                             (int)v->replicas, "up", (int)v->up, "commit", (json_int_t)v->commit,
                             "applied_min", (json_int_t)v->applied_min, "applied_max",
                             (json_int_t)v->applied_max, "problem", v->words));
    }
    return array;
}

static void print_json(json_t *tree)
{
    char *text = json_dumps(tree, JSON_COMPACT);
    puts(text);
    free(text);
    json_decref(tree);
}

static void status_json(const struct survey *survey, const struct part_view *views, unsigned count,
                        bool healthy)
{
    json_t *nodes = json_array();
    for (unsigned i = 0; i < survey->cli->nodes_count; i++) {
        const struct said *said = &survey->nodes[i];
        char words[NAME_BYTES], address[NAME_BYTES];
        snprintf(address, sizeof(address), "%s:%u", survey->cli->nodes[i].host,
                 survey->cli->nodes[i].port);
        json_t *node = json_pack("{s:s, s:b, s:s}", "address", address, "up", said->tree != NULL,
                                 "problem", node_words(said, words));
        if (said->tree != NULL) json_object_set(node, "status", said->tree);
        json_array_append_new(nodes, node);
    }
    print_json(json_pack("{s:b, s:o, s:o}", "healthy", (int)healthy, "nodes", nodes, "partitions",
                         parts_json(views, count)));
}

static void node_row(const struct said *said, const char *address, const char *words)
{
    char up[24], room[24];
    snprintf(up, sizeof(up), "%llu s",
             (unsigned long long)number_of(said->tree, "uptime_ms") / 1000);
    snprintf(room, sizeof(room), "%.1f GiB",
             (double)number_of(said->tree, "disk_free_bytes") / (1024.0 * 1024 * 1024));
    printf("%-5llu %-22s %-6u %-9s %-11s %s\n", (unsigned long long)number_of(said->tree, "node"),
           address, node_leads(said->tree), up, room, words[0] == '\0' ? "ok" : words);
}

static void status_table(const struct survey *survey, const struct part_view *views, unsigned count,
                         bool healthy)
{
    char list[LIST_BYTES];
    unsigned led = 0;
    printf("%-5s %-22s %-6s %-9s %-11s %s\n", "NODE", "ADDRESS", "LEADS", "UP", "DISK FREE",
           "STATE");
    for (unsigned i = 0; i < survey->cli->nodes_count; i++) {
        const struct said *said = &survey->nodes[i];
        char words[NAME_BYTES], address[NAME_BYTES];
        snprintf(address, sizeof(address), "%s:%u", survey->cli->nodes[i].host,
                 survey->cli->nodes[i].port);
        node_words(said, words);
        unsigned long long number = node_number(survey, address);
        if (said->tree == NULL)
            printf("%-5llu %-22s %-6s %-9s %-11s %s\n", number, address, "-", "-", "-", words);
        else
            node_row(said, address, words);
    }
    for (unsigned p = 0; p < count; p++)
        led += views[p].leader != 0;
    printf("partitions: %u, %u with a leader\n", count, led);
    for (unsigned p = 0; p < count; p++) {
        bool first = views[p].words[0] != '\0';
        for (unsigned q = 0; q < p && first; q++)
            first = strcmp(views[q].words, views[p].words) != 0;
        if (!first) continue;
        parts_list(views, count, views[p].words, list);
        printf("  %s: %s\n", views[p].words, list);
    }
    printf("%s\n", healthy ? "healthy" : "UNHEALTHY");
}

int command_status(struct cli *cli)
{
    struct survey survey;
    struct part_view views[PARTITIONS_MAX];
    int rv = survey_make(cli, &survey);
    if (rv != 0) return rv;
    unsigned count = parts_make(&survey, views);
    bool healthy = nodes_healthy(&survey) && parts_healthy(views, count);
    if (cli->json)
        status_json(&survey, views, count, healthy);
    else
        status_table(&survey, views, count, healthy);
    survey_free(&survey);
    return healthy ? EXIT_FINE : EXIT_UNHEALTHY;
}

int command_partitions(struct cli *cli)
{
    struct survey survey;
    struct part_view views[PARTITIONS_MAX];
    int rv = survey_make(cli, &survey);
    if (rv != 0) return rv;
    unsigned count = parts_make(&survey, views);
    bool healthy = parts_healthy(views, count);
    survey_free(&survey);
    if (cli->json) {
        print_json(parts_json(views, count));
        return healthy ? EXIT_FINE : EXIT_UNHEALTHY;
    }
    printf("%-5s %-7s %-6s %-10s %-10s %-6s %s\n", "PART", "LEADER", "TERM", "COMMIT", "REPLICAS",
           "LAG", "STATE");
    for (unsigned p = 0; p < count; p++) {
        const struct part_view *v = &views[p];
        char leader[16], replicas[24];
        snprintf(leader, sizeof(leader), v->leader == 0 ? "-" : "%u", v->leader);
        snprintf(replicas, sizeof(replicas), "%u/%u", v->up, v->replicas);
        printf("%-5u %-7s %-6llu %-10llu %-10s %-6llu %s\n", p, leader, (unsigned long long)v->term,
               (unsigned long long)v->commit, replicas,
               (unsigned long long)(v->applied_max - v->applied_min),
               v->words[0] == '\0' ? "ok" : v->words);
    }
    return healthy ? EXIT_FINE : EXIT_UNHEALTHY;
}
