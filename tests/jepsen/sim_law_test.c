/* tests/jepsen/sim_law_test.c -- the simulated env answers file calls as the real one does.
 *
 * Method: the same random calls go to both, one with its files in a temporary folder and one on a
 * simulated disk; every answer and every byte must agree. Whoever runs in the simulator meets no
 * other law there than in production. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/world.h"
#include "log/env_uv.h"
#include "tests/lib/dir.h"

enum { FILES = 5, OPS = 20000, BYTES_MAX = 20000, REAL = 0, SIM = 1 };

static struct dir dir;
static struct env_uv *uv;
static struct world *world;
static struct sim_node *node;
static struct env *envs[2];
static const char *roots[2];
static struct env_file *files[2][FILES];
static uint8_t out[2][BYTES_MAX], data[BYTES_MAX];

static void set_up(void)
{
    dir_set_up(&dir);
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    world = world_create(11);
    envs[REAL] = env_uv_env(uv);
    node = sim_node_create(world, "n1", NULL, NULL);
    envs[SIM] = sim_node_env(node);
    roots[REAL] = dir.path;
    roots[SIM] = "/data";
}
static void close_all(void)
{
    for (int i = 0; i < FILES; i++)
        for (int e = 0; e < 2; e++) {
            if (files[e][i] != NULL) env_file_close(envs[e], files[e][i]);
            files[e][i] = NULL;
        }
}
static void tear_down(void)
{
    close_all();
    world_destroy(world);
    env_uv_destroy(uv);
    dir_tear_down(&dir);
}
TestSuite(sim_law, .init = set_up, .fini = tear_down, .timeout = 60);

static uint64_t chance(uint64_t below)
{
    return world_random(world) % below;
}

static char *path_of(int e, uint64_t name)
{
    static char paths[2][2][128];
    static int turn;
    char *path = paths[e][turn++ % 2];
    snprintf(path, sizeof(paths[0][0]), "%s/file%u", roots[e], (unsigned)name);
    return path;
}

static void open_one(size_t i)
{
    static const int flags[] = {ENV_READ | ENV_WRITE, ENV_READ | ENV_WRITE | ENV_CREATE,
                                ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE};
    int how = flags[chance(ARRAY_COUNT(flags))], errs[2];
    uint64_t name = chance(FILES);
    for (int e = 0; e < 2; e++) {
        if (files[e][i] != NULL) env_file_close(envs[e], files[e][i]);
        files[e][i] = NULL;
        errs[e] = env_file_open(envs[e], path_of(e, name), how, &files[e][i]);
    }
    cr_assert_eq(errs[REAL], errs[SIM]);
}

static void write_one(size_t i, size_t bytes, uint64_t offset)
{
    int errs[2];
    memset(data, (int)chance(4), bytes);
    for (int e = 0; e < 2; e++)
        errs[e] = env_file_write(envs[e], files[e][i], data, bytes, offset);
    cr_assert_eq(errs[REAL], errs[SIM]);
}

static void read_one(size_t i, size_t bytes, uint64_t offset)
{
    size_t got[2];
    uint64_t sizes[2];
    for (int e = 0; e < 2; e++) {
        cr_assert_eq(env_file_read(envs[e], files[e][i], out[e], bytes, offset, &got[e]), 0);
        cr_assert_eq(env_file_size(envs[e], files[e][i], &sizes[e]), 0);
    }
    cr_assert_eq(sizes[REAL], sizes[SIM]);
    cr_assert_eq(got[REAL], got[SIM]);
    cr_assert_eq(memcmp(out[REAL], out[SIM], got[REAL]), 0);
}

static void each(void *arg, const char *name)
{
    ++*(unsigned *)arg;
    cr_assert_eq(strncmp(name, "file", 4), 0);
}

static void names_one(uint64_t kind)
{
    int errs[2];
    unsigned counts[2] = {0, 0};
    uint64_t from = chance(FILES), to = chance(FILES);
    for (int e = 0; e < 2; e++)
        switch (kind) {
            case 0:
                errs[e] = env_rename(envs[e], path_of(e, from), path_of(e, to));
                break;
            case 1:
                errs[e] = env_unlink(envs[e], path_of(e, from));
                break;
            default:
                errs[e] = env_dir_list(envs[e], roots[e], each, &counts[e]);
        }
    cr_assert_eq(errs[REAL], errs[SIM], "kind %u: %d, %d", (unsigned)kind, errs[REAL], errs[SIM]);
    cr_assert_eq(counts[REAL], counts[SIM]);
}

Test(sim_law, random_file_calls_answer_alike)
{
    for (int op = 0; op < OPS; op++) {
        size_t i = chance(FILES), bytes = chance(BYTES_MAX);
        uint64_t kind = chance(10), offset = chance(2 * BYTES_MAX);
        if (files[REAL][i] == NULL || kind == 0) {
            open_one(i);
        } else if (kind < 4) {
            write_one(i, bytes, offset);
        } else if (kind < 6) {
            read_one(i, bytes, offset);
        } else if (kind == 6) {
            for (int e = 0; e < 2; e++)
                cr_assert_eq(env_file_truncate(envs[e], files[e][i], offset), 0);
        } else if (kind == 7) {
            cr_assert_eq(env_file_sync(envs[SIM], files[SIM][i]), 0); /* No byte may move. */
        } else {
            static const uint64_t kinds[] = {0, 0, 1, 2};
            names_one(kinds[chance(ARRAY_COUNT(kinds))]);
        }
        if (op % 500 == 499) {
            close_all();
            sim_node_crash(node, SIM_KILL); /* Nothing may be missing either. */
        }
    }
}
