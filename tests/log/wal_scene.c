/* tests/log/wal_scene.c -- see wal_scene.h. */
#include "tests/log/wal_scene.h"

#include <stdlib.h>

static bool power_gone(void *arg)
{
    const struct scene *scene = arg;
    return disk_changes(scene->disk) >= scene->cut_at;
}

static void node_boot(void *arg, struct env *env)
{
    struct scene *scene = arg;
    scene->rig->env = env;
    rig_open(scene->rig);
}

static void node_died(void *arg)
{
    struct scene *scene = arg;
    scene->cut_at = 0; /* Whatever wal_close does is void. */
    rig_close(scene->rig, true);
    scene->cut_at = UINT64_MAX;
}

static const struct sim_program program = {node_boot, node_died};

void scene_begin(struct scene *scene, uint64_t seed)
{
    *scene = (struct scene){.cut_at = UINT64_MAX};
    scene->world = world_create(seed);
    scene->rig = mem_zero(sizeof *scene->rig);
    scene->node = sim_node_create(scene->world, "a", &program, scene);
    scene->disk = sim_node_disk(scene->node);
    rig_init(scene->rig, sim_node_env(scene->node), SCENE_DIR, SCENE_FILE_BYTES);
    scene->rig->void_now = power_gone;
    scene->rig->void_arg = scene;
    scene_boot(scene);
    CHECK(scene->rig->err == 0);
}

void scene_end(struct scene *scene)
{
    world_destroy(scene->world);
    rig_free(scene->rig);
    free(scene->rig);
}

void scene_boot(struct scene *scene)
{
    sim_node_start(scene->node);
    world_step(scene->world);
}

void scene_crash(struct scene *scene, enum sim_crash how)
{
    sim_node_crash(scene->node, how);
    CHECK(!sim_node_up(scene->node));
}

void scene_crash_and_boot(struct scene *scene, enum sim_crash how)
{
    scene_crash(scene, how);
    scene_boot(scene);
    CHECK(scene->rig->err == 0);
}

int scene_boot_damaged(struct scene *scene)
{
    scene->rig->damaged = true;
    scene_boot(scene);
    int err = scene->rig->err;
    scene_crash(scene, SIM_KILL);
    return err;
}

void scene_run_us(struct scene *scene, uint64_t us)
{
    world_run_for(scene->world, us);
}

static bool all_durable(void *arg)
{
    const struct scene *scene = arg;
    return rig_durable(scene->rig);
}

void scene_wait_durable(struct scene *scene)
{
    CHECK(world_run_until(scene->world, all_durable, scene, 10 * 1000 * 1000));
}

static bool node_down(void *arg)
{
    const struct scene *scene = arg;
    return !sim_node_up(scene->node);
}

bool scene_wait_down(struct scene *scene)
{
    return world_run_until(scene->world, node_down, scene, 1000 * 1000);
}

void scene_cut_before(struct scene *scene, uint64_t count)
{
    scene->cut_at = disk_changes(scene->disk) + count;
    disk_cut_before(scene->disk, count);
}

static bool keep_mask(void *arg, uint64_t n)
{
    const struct scene *scene = arg;
    return n < 64 && (scene->mask >> n & 1) != 0;
}

void scene_keep(struct scene *scene, uint64_t mask)
{
    scene->mask = mask;
    disk_keep(scene->disk, keep_mask, scene);
}

void scene_append(struct scene *scene, unsigned count, size_t data_bytes)
{
    for (unsigned i = 0; i < count; i++) {
        rig_entry(scene->rig, 0, data_bytes + i % 3);
        scene_wait_durable(scene);
    }
}

size_t scene_file_get(struct scene *scene, wal_number_t number, uint64_t offset, void *out,
                      size_t bytes)
{
    char path[WAL_PATH_BYTES];
    struct env_file *file;
    size_t got = 0;
    wal_path(path, SCENE_DIR, number);
    CHECK(env_file_open(scene->rig->env, path, ENV_READ, &file) == 0);
    CHECK(env_file_read(scene->rig->env, file, out, bytes, offset, &got) == 0);
    env_file_close(scene->rig->env, file);
    return got;
}

void scene_file_put(struct scene *scene, wal_number_t number, uint64_t offset, const void *data,
                    size_t bytes)
{
    char path[WAL_PATH_BYTES];
    struct env_file *file;
    wal_path(path, SCENE_DIR, number);
    CHECK(env_file_open(scene->rig->env, path, ENV_WRITE, &file) == 0);
    CHECK(env_file_write(scene->rig->env, file, data, bytes, offset) == 0);
    CHECK(env_file_sync(scene->rig->env, file) == 0);
    env_file_close(scene->rig->env, file);
}

void scene_file_flip(struct scene *scene, wal_number_t number, uint64_t offset, uint8_t mask)
{
    char path[WAL_PATH_BYTES];
    wal_path(path, SCENE_DIR, number);
    CHECK(disk_flip(scene->disk, path, offset, mask) == 0);
}

size_t scene_batches(struct scene *scene, wal_number_t number,
                     uint64_t offsets[SCENE_BATCHES_MAX + 1])
{
    uint8_t at[WAL_BATCH_HEAD_BYTES];
    uint64_t offset = SCENE_HEAD_BYTES;
    for (size_t count = 0;; count++) {
        CHECK(count <= SCENE_BATCHES_MAX);
        offsets[count] = offset;
        if (scene_file_get(scene, number, offset, at, sizeof at) < sizeof at) return count;
        if (memcmp(at + 8, "PLWb", 4) != 0) return count;
        offset += get_u32(at + 12);
    }
}
