/* jepsen/sim/disk.c -- the simulated disk as a whole: files known, faults planned, crashes.
 *
 * Time: the world sets now_us when a node's callback begins. On a worker each call moves at_us
 * ahead of it; a sync is complete at the at_us when it returned. A crash at T forgets what was
 * made after T and counts a sync that completes after T as not done. */
#include "jepsen/sim/disk.h"

#include <stdlib.h>

#include "jepsen/sim/disk_impl.h"
#include "log/pack.h"

enum {
    SYNC_US = 100, /* A sync takes that long, */
    SYNC_JITTER_US = 100,
    SYNC_FLUSH_BYTES_PER_US = 500, /* and writes pending bytes at that speed. */
};

static const uint64_t capacity_first_bytes = UINT64_MAX / 2;

/* ---- inodes ---- */

struct inode *inode_create(struct disk *disk, bool is_dir)
{
    struct inode *inode = mem_zero(sizeof(*inode));
    inode->is_dir = is_dir;
    inode->link = disk->inodes_end;
    *disk->inodes_end = inode;
    disk->inodes_end = &inode->next;
    return inode;
}

static void inode_free(struct disk *disk, struct inode *inode)
{
    CHECK(inode->refs_count == 0);
    CHECK(inode->alive_count == 0);
    *inode->link = inode->next;
    if (inode->next != NULL)
        inode->next->link = inode->link;
    else
        disk->inodes_end = inode->link;
    while (inode->syncings != NULL) {
        struct syncing *next = inode->syncings->next;
        free(inode->syncings);
        inode->syncings = next;
    }
    if (inode->is_dir)
        folder_free(disk, inode);
    else
        file_free(inode);
    free(inode);
}

void inode_unref(struct disk *disk, struct inode *inode)
{
    CHECK(inode->refs_count > 0);
    if (--inode->refs_count == 0) inode_free(disk, inode);
}

void inode_alive(struct disk *disk, struct inode *inode, int by)
{
    unsigned before = inode->alive_count;
    inode->alive_count = (unsigned)((int)before + by);
    uint64_t bytes = file_pages(inode->size) * PAGE_BYTES;
    if (before == 0) disk->used_bytes += bytes;
    if (inode->alive_count == 0) disk->used_bytes -= bytes;
}

static uint64_t pending_bytes(const struct inode *inode)
{
    uint64_t sum = 0;
    for (const struct change *c = inode->changes; c != NULL; c = c->next)
        sum += c->bytes;
    return sum;
}

void inode_syncing(struct disk *disk, struct inode *inode)
{
    disk_spend(disk, SYNC_US + splitmix_below(&disk->chance, SYNC_JITTER_US) +
                         pending_bytes(inode) / SYNC_FLUSH_BYTES_PER_US);
    struct syncing *s = mem_alloc(sizeof(*s));
    *s = (struct syncing){inode->syncings, disk->numbers_count, disk->at_us};
    inode->syncings = s;
}

uint64_t inode_synced(struct inode *inode, uint64_t now_us)
{
    uint64_t number = 0;
    for (struct syncing **link = &inode->syncings; *link != NULL;) {
        struct syncing *s = *link;
        if (s->done_us > now_us) {
            link = &s->next;
            continue;
        }
        if (s->until_number > number) number = s->until_number;
        *link = s->next;
        free(s);
    }
    return number;
}

/* ---- calls and time ---- */

bool disk_may_change(struct disk *disk)
{
    disk->changes_count++;
    if (disk->frozen) return false;
    if (disk->cut_left == 0 || --disk->cut_left > 0) return true;
    disk->has_cut = true;
    disk->cut_us = disk->at_us;
    disk->frozen = true;
    return false;
}

void disk_spend(struct disk *disk, uint64_t us)
{
    if (!disk->timed) return;
    if (disk->at_us < disk->stalled_until_us) disk->at_us = disk->stalled_until_us;
    disk->at_us += us;
}

void disk_enter(struct disk *disk, uint64_t now_us, bool timed)
{
    CHECK(now_us >= disk->now_us);
    disk->now_us = now_us;
    disk->at_us = now_us;
    disk->timed = timed;
}

void disk_freeze(struct disk *disk)
{
    disk->frozen = true;
}

/* ---- crashes ---- */

/* How a power cut treats one file's pending sectors. */
struct die {
    struct disk *disk;
    uint64_t kept_of_8; /* Of eight sectors so many survive. */
    uint64_t asked_count;
};

static bool die_throw(void *arg)
{
    struct die *die = arg;
    struct disk *disk = die->disk;
    if (disk->keep != NULL) return disk->keep(disk->keep_arg, die->asked_count++);
    return splitmix_below(&disk->chance, 8) < die->kept_of_8;
}

/* Of count pending changes the first so many survive. */
static uint64_t die_prefix(struct disk *disk, uint64_t count)
{
    return disk->keep != NULL ? count : splitmix_below(&disk->chance, count + 1);
}

static void inode_crash(struct disk *disk, struct inode *inode, uint64_t at_us, struct die *die)
{
    if (inode->is_dir) {
        folder_fold(disk, inode, at_us);
        folder_rewind(disk, inode, at_us);
        if (die != NULL) folder_cut(disk, inode, die_prefix(disk, folder_changes_count(inode)));
    } else {
        file_fold(inode, at_us);
        file_rewind(inode, at_us);
        if (die != NULL)
            file_cut(inode, die_prefix(disk, file_changes_count(inode)), die_throw, die);
    }
    inode_synced(inode, UINT64_MAX); /* Syncs under way are forgotten. */
}

static uint64_t used_bytes(const struct disk *disk)
{
    uint64_t sum = 0;
    for (const struct inode *i = disk->inodes; i != NULL; i = i->next)
        if (i->alive_count > 0) sum += file_pages(i->size) * PAGE_BYTES;
    return sum;
}

void disk_crash(struct disk *disk, bool power)
{
    while (disk->files != NULL)
        disk_file_close(disk, disk->files);
    static const uint64_t odds[] = {0, 1, 4, 7, 8}; /* All lost, few, half, most, all kept. */
    struct die die = {disk, odds[splitmix_below(&disk->chance, ARRAY_COUNT(odds))], 0};
    uint64_t at_us = disk->has_cut ? disk->cut_us : disk->now_us;
    for (struct inode *i = disk->inodes; i != NULL; i = i->next)
        i->refs_count++; /* None dies while the list is walked. */
    for (struct inode *i = disk->inodes; i != NULL; i = i->next)
        inode_crash(disk, i, at_us, power ? &die : NULL);
    for (struct inode *i = disk->inodes, *next; i != NULL; i = next) {
        /* A folder that goes takes the names in it along, but never the next inode: that one
         * still has the reference from above. */
        next = i->next;
        inode_unref(disk, i);
    }
    disk->used_bytes = used_bytes(disk);
    disk->frozen = false;
    disk->has_cut = false;
    disk->cut_left = 0;
    disk->stalled_until_us = 0;
}

/* ---- create, destroy ---- */

static void disk_format(struct disk *disk)
{
    disk->inodes_end = &disk->inodes;
    disk->root = inode_create(disk, true);
    disk->root->refs_count = 1;
    CHECK(disk_dir_make(disk, "/data") == 0);
    CHECK(disk_dir_sync(disk, "/") == 0);
}

struct disk *disk_create(struct splitmix chance)
{
    struct disk *disk = mem_zero(sizeof(*disk));
    disk->chance = chance;
    disk->capacity_bytes = capacity_first_bytes;
    disk_format(disk);
    return disk;
}

static void disk_empty(struct disk *disk)
{
    while (disk->files != NULL)
        disk_file_close(disk, disk->files);
    inode_unref(disk, disk->root);
    CHECK(disk->inodes == NULL);
    CHECK(disk->used_bytes == 0);
}

void disk_destroy(struct disk *disk)
{
    disk_empty(disk);
    free(disk);
}

/* ---- faults ---- */

void disk_wipe(struct disk *disk)
{
    disk_empty(disk);
    disk->timed = false;
    disk_format(disk);
}

void disk_cut_before(struct disk *disk, uint64_t count)
{
    disk->cut_left = count;
}

uint64_t disk_changes(const struct disk *disk)
{
    return disk->changes_count;
}

void disk_keep(struct disk *disk, bool (*keep)(void *arg, uint64_t n), void *arg)
{
    disk->keep = keep;
    disk->keep_arg = arg;
}

uint64_t disk_pending_sectors(const struct disk *disk)
{
    uint64_t sum = 0;
    for (struct inode *i = disk->inodes; i != NULL; i = i->next) {
        if (i->is_dir) continue;
        file_fold(i, disk->now_us);
        sum += file_pending_sectors(i);
    }
    return sum;
}

void disk_fail_syncs(struct disk *disk, uint64_t count)
{
    disk->fail_syncs = count;
}

void disk_fail_writes(struct disk *disk, uint64_t count)
{
    disk->fail_writes = count;
}

void disk_set_capacity(struct disk *disk, uint64_t bytes)
{
    disk->capacity_bytes = bytes;
}

void disk_stall(struct disk *disk, uint64_t for_us)
{
    disk->stalled_until_us = disk->now_us + for_us;
}

int disk_flip(struct disk *disk, const char *path, uint64_t offset, uint8_t mask)
{
    struct inode *inode = disk_find(disk, path);
    if (inode == NULL || inode->is_dir) return ERR_NOT_FOUND;
    uint8_t *now = file_byte(inode, offset, false);
    uint8_t *durable = file_byte(inode, offset, true);
    if (now != NULL) *now ^= mask;
    if (durable != NULL) *durable ^= mask;
    return now != NULL ? 0 : ERR_INVAL;
}

int disk_cut_file(struct disk *disk, const char *path, uint64_t bytes)
{
    struct inode *inode = disk_find(disk, path);
    if (inode == NULL || inode->is_dir) return ERR_NOT_FOUND;
    if (bytes >= inode->size) return ERR_INVAL;
    file_forget_end(disk, inode, bytes);
    return 0;
}

/* hash goes on over what the inode is now: what was written, durable or not. */
static uint64_t hash_inode(uint64_t hash, const struct inode *inode)
{
    if (!inode->is_dir) {
        static const uint8_t zeroes[PAGE_BYTES];
        hash = hash64_seed((struct slice){&inode->size, sizeof(inode->size)}, hash);
        for (size_t i = 0; i < file_pages(inode->size); i++) {
            const uint8_t *page = i < inode->pages_count ? inode->pages[i].now : NULL;
            hash = hash64_seed((struct slice){page == NULL ? zeroes : page, PAGE_BYTES}, hash);
        }
        return hash;
    }
    for (size_t i = 0; i < inode->present.count; i++) {
        const struct name *name = &inode->present.rows[i];
        hash = hash64_seed((struct slice){name->text, strlen(name->text) + 1}, hash);
        hash = hash_inode(hash, name->inode);
    }
    return hash;
}

uint64_t disk_hash(const struct disk *disk)
{
    return hash_inode(0, disk->root);
}
