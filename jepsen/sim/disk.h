/* jepsen/sim/disk.h -- a simulated disk: what was written, and what a power cut leaves of it.
 *
 * A file has its present content and a durable one. A write changes the present at once and is
 * pending until a sync of the file completes, which takes virtual time. A power cut throws a die
 * for each pending sector of 512 bytes: it survives or not, whatever the order of writing, so
 * writes come out torn, lost and reordered. Sizes are kept as of some moment between the last
 * sync and the cut. Names (create, rename, unlink, mkdir) are pending until env_dir_sync of their
 * folder; a cut keeps the oldest few of a folder's pending changes (a journal keeps their order).
 * A rename is kept whole or not at all. A sync under way at the cut counts as not done.
 *
 * Owns:   all its files. Thread: one. Units: virtual us; sectors of DISK_SECTOR_BYTES.
 * Errors: ERR_* as log/env.h has it. path: absolute, copied. rename: inside one folder only. */
#ifndef JEPSEN_SIM_DISK_H_
#define JEPSEN_SIM_DISK_H_

#include "log/env.h"

enum { DISK_SECTOR_BYTES = 512 };

struct disk; /* Opaque. Made with its node by jepsen/sim/world.h. */

/* ---- faults, for tests and schedules ---- */

/* Let the power fail just before the count-th call from now that changes the disk (1: the very
 * next): that call and all later ones of the node say 0 and do nothing, and the node crashes when
 * the callback that made it returns, or with the next sim_node_crash. 0 takes it back.
 * Calls that change the disk: write, sync, truncate, create, rename, unlink, mkdir, dir_sync. */
void disk_cut_before(struct disk *disk, uint64_t count);
uint64_t disk_changes(
    const struct disk *disk); /* Such calls made so far, those refused included. */

/* Decide yourself what the next power cuts leave, instead of the seed: keep(arg, n) for the n-th
 * pending sector, from 0, in the order of writing (files in the order of their creation); all
 * pending sizes and names are kept. NULL: the seed again. */
void disk_keep(struct disk *disk, bool (*keep)(void *arg, uint64_t n), void *arg);
uint64_t disk_pending_sectors(const struct disk *disk); /* How many keep would be asked for now. */

void disk_fail_syncs(struct disk *disk, uint64_t count);   /* The next count file syncs: ERR_IO, and
                                                              what they should have saved is lost. */
void disk_fail_writes(struct disk *disk, uint64_t count);  /* The next count writes: ERR_IO, with a
                                                              part of the bytes written. */
void disk_set_capacity(struct disk *disk, uint64_t bytes); /* Full: ERR_NO_SPACE. */
void disk_stall(struct disk *disk, uint64_t for_us); /* Calls on workers wait until that is over. */

/* Damage that a checksum must find: xor one byte of a file, durable or not. ERR_NOT_FOUND. */
MUST_CHECK int disk_flip(struct disk *disk, const char *path, uint64_t offset, uint8_t mask);
/* The medium forgot the file's end. ERR_NOT_FOUND; ERR_INVAL: it is no longer than bytes. */
MUST_CHECK int disk_cut_file(struct disk *disk, const char *path, uint64_t bytes);
/* All files and names are gone, as with a new disk. The node must be down. */
void disk_wipe(struct disk *disk);

/* A hash over all names and contents as the node sees them: equal disks, equal hashes. */
uint64_t disk_hash(const struct disk *disk);

#endif /* JEPSEN_SIM_DISK_H_ */
