/* tests/log/wal_scene.h -- a world with one node and a rig on it: the write-ahead log on the
 * simulated disk.
 *
 * Made from nothing and a seed, so that every case of a test begins with the same disk. The rig
 * compares what is replayed after each start with its model; tests that damage what was durable
 * compare for themselves.
 *
 * Owns:   world, node, rig. Thread: one. Errors: what cannot be done aborts (CHECK). */
#ifndef TESTS_LOG_WAL_SCENE_H_
#define TESTS_LOG_WAL_SCENE_H_

#include "jepsen/sim/world.h"
#include "log/wal_format.h"
#include "tests/log/wal_rig.h"

enum { SCENE_FILE_BYTES = 64 * 1024, SCENE_HEAD_BYTES = 4096, SCENE_BATCHES_MAX = 64 };

#define SCENE_DIR "/data/wal"

struct scene {
    struct world *world;
    struct sim_node *node;
    struct disk *disk;
    struct rig *rig;
    uint64_t cut_at; /* With as many changes of the disk the power is gone. */
    uint64_t mask;   /* Which pending sectors survive, from bit 0. */
};

void scene_begin(struct scene *scene, uint64_t seed); /* The node is up, its log open. */
void scene_end(struct scene *scene);

/* Start the node; it is down again at once when the power is cut during that. */
void scene_boot(struct scene *scene);
void scene_crash(struct scene *scene, enum sim_crash how);
/* Crash, start again: all that was durable must be there. */
void scene_crash_and_boot(struct scene *scene, enum sim_crash how);
/* Start on damaged files, stop again. What recovery said. */
int scene_boot_damaged(struct scene *scene);

void scene_run_us(struct scene *scene, uint64_t us);
void scene_wait_durable(struct scene *scene); /* Until all that was appended is. */
bool scene_wait_down(struct scene *scene);    /* Until the power was cut; false: it was not. */

/* The power will fail before the count-th change of the disk from now. */
void scene_cut_before(struct scene *scene, uint64_t count);
/* Of the pending sectors power cuts leave those of mask, and all names. */
void scene_keep(struct scene *scene, uint64_t mask);

/* Append so many entries to part 0, each in a batch of its own. */
void scene_append(struct scene *scene, unsigned count, size_t data_bytes);

/* The files of a node that is down. */
size_t scene_file_get(struct scene *scene, wal_number_t number, uint64_t offset, void *out,
                      size_t bytes);
void scene_file_put(struct scene *scene, wal_number_t number, uint64_t offset, const void *data,
                    size_t bytes);
void scene_file_flip(struct scene *scene, wal_number_t number, uint64_t offset, uint8_t mask);

/* Where the batches of a file lie: offsets[0 .. count), and offsets[count] is their end. */
size_t scene_batches(struct scene *scene, wal_number_t number,
                     uint64_t offsets[SCENE_BATCHES_MAX + 1]);

#endif /* TESTS_LOG_WAL_SCENE_H_ */
