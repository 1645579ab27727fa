/* jepsen/sim/disk_impl.h -- what disk.c, disk_file.c and disk_name.c share, and how world.c drives
 * a disk.
 *
 * disk.c: the disk as a whole, its faults and crashes. disk_file.c: contents. disk_name.c: names.
 */
#ifndef JEPSEN_SIM_DISK_IMPL_H_
#define JEPSEN_SIM_DISK_IMPL_H_

#include "jepsen/sim/disk.h"
#include "jepsen/sim/splitmix.h"

enum { PAGE_BYTES = 4096 };

/* What a page holds now and after a power cut. NULL stands for zeroes. */
struct page {
    uint8_t *now;
    uint8_t *durable;       /* Meaningful while pending > 0 or split; else it equals now. */
    uint32_t pending_count; /* Changes of this page that are pending. */
    bool split;             /* A failed sync lost a change: now and durable stay apart. */
};

/* A write or a truncate that is not durable yet. */
struct change {
    struct change *next;
    uint64_t number; /* Of this disk; grows. */
    uint64_t at_us;  /* When it was made. */
    uint64_t offset; /* Where it begins; a truncate: also the size it makes. */
    size_t bytes;    /* How many it changes; a truncate wipes them and has no data. */
    bool truncate;
    bool lost; /* By a sync that failed: never becomes durable. */
    uint8_t data[];
};

/* A change of a folder's names that is not durable yet: from goes, to becomes inode. */
struct name_change {
    struct name_change *next;
    uint64_t number;
    uint64_t at_us;
    char *from; /* NULL: nothing goes. */
    char *to;   /* NULL: nothing comes. */
    struct inode *inode;
};

/* A sync that is under way: what was made until then is durable from done_us on. */
struct syncing {
    struct syncing *next;
    uint64_t until_number;
    uint64_t done_us;
};

struct name {
    char *text;
    struct inode *inode;
};

struct names {
    struct name *rows; /* Sorted by text. */
    size_t count, capacity;
};

struct inode {
    struct inode *next, **link; /* disk->inodes, oldest first. */
    bool is_dir;
    bool locked;          /* A folder that env_dir_lock gave away. */
    unsigned refs_count;  /* Names of both kinds, name changes, open files. */
    unsigned alive_count; /* Present names and open files: at 0 its space is free. */
    struct syncing *syncings;

    /* A file. */
    struct page *pages;
    size_t pages_count;
    uint64_t size, durable_size;
    struct change *changes, *changes_last;

    /* A folder. */
    struct names present, durable;
    struct name_change *name_changes, *name_changes_last;
};

struct env_file {
    struct inode *inode;
    int flags;
    bool lock;
    struct env_file *next, **link; /* disk->files. */
};

struct disk {
    struct splitmix chance;
    uint64_t now_us; /* Of the world. */
    uint64_t at_us;  /* Of the caller: on a worker ahead of now_us by what its calls took. */
    bool timed;      /* Calls take time. */
    bool frozen;     /* Calls change nothing: the node is dead or dying. */
    bool has_cut;    /* disk_cut_before came true, at cut_us. */
    uint64_t cut_us;
    uint64_t cut_left; /* Changing calls until then; 0: none is planned. */
    uint64_t changes_count;
    uint64_t numbers_count;

    struct inode *root;
    struct inode *inodes, **inodes_end;
    struct env_file *files;
    uint64_t capacity_bytes, used_bytes;

    uint64_t fail_syncs, fail_writes;
    uint64_t stalled_until_us;
    bool (*keep)(void *arg, uint64_t n);
    void *keep_arg;
};

/* ---- disk.c, for world.c ---- */
struct disk *disk_create(struct splitmix chance);
void disk_destroy(struct disk *disk);
void disk_enter(struct disk *disk, uint64_t now_us, bool timed); /* A node's callback begins. */
void disk_freeze(struct disk *disk); /* From now on calls change nothing. */
/* The process died; power: and so did the machine. Files are closed, the disk thaws. */
void disk_crash(struct disk *disk, bool power);

/* ---- disk.c, for the other two ---- */
/* A call that changes the disk begins. False: it shall do nothing and say 0. */
bool disk_may_change(struct disk *disk);
void disk_spend(struct disk *disk, uint64_t us); /* The call takes that long. */
struct inode *inode_create(struct disk *disk, bool is_dir);
void inode_unref(struct disk *disk, struct inode *inode);
void inode_alive(struct disk *disk, struct inode *inode, int by); /* alive_count changes. */
void inode_syncing(struct disk *disk, struct inode *inode);       /* A sync begins, takes time. */
/* What is durable by now_us: the number until which all is. */
uint64_t inode_synced(struct inode *inode, uint64_t now_us);

/* ---- disk_file.c ---- */
int disk_file_read(struct disk *disk, struct env_file *file, void *out, size_t bytes,
                   uint64_t offset, size_t *got);
int disk_file_write(struct disk *disk, struct env_file *file, const void *data, size_t bytes,
                    uint64_t offset);
int disk_file_sync(struct disk *disk, struct env_file *file);
int disk_file_truncate(struct disk *disk, struct env_file *file, uint64_t bytes);
void file_fold(struct inode *inode, uint64_t now_us); /* Completed syncs make durable. */
void file_fold_until(struct inode *inode, uint64_t number);
uint64_t file_pending_sectors(const struct inode *inode);
/* Undo what was made after at_us; then, with keep, keep pending sectors as it says and make the
 * result durable, sizes as of the first kept_count changes. */
void file_rewind(struct inode *inode, uint64_t at_us);
void file_cut(struct inode *inode, uint64_t kept_count, bool (*keep)(void *arg), void *arg);
uint64_t file_changes_count(const struct inode *inode);
void file_forget_end(struct disk *disk, struct inode *inode, uint64_t bytes); /* For good. */
void file_free(struct inode *inode);
uint64_t file_pages(uint64_t bytes);
uint8_t *file_byte(struct inode *inode, uint64_t offset, bool durable); /* NULL: outside. */

/* ---- disk_name.c ---- */
int disk_file_open(struct disk *disk, const char *path, int flags, struct env_file **out);
void disk_file_close(struct disk *disk, struct env_file *file);
int disk_rename(struct disk *disk, const char *from, const char *to);
int disk_unlink(struct disk *disk, const char *path);
int disk_dir_make(struct disk *disk, const char *path);
int disk_dir_sync(struct disk *disk, const char *path);
int disk_dir_list(struct disk *disk, const char *path, env_name_cb each, void *arg);
int disk_dir_lock(struct disk *disk, const char *path, struct env_file **lock);
struct inode *disk_find(struct disk *disk, const char *path); /* NULL: there is none. */
void folder_fold(struct disk *disk, struct inode *inode, uint64_t now_us);
void folder_fold_until(struct disk *disk, struct inode *inode, uint64_t number);
void folder_rewind(struct disk *disk, struct inode *inode, uint64_t at_us);
void folder_cut(struct disk *disk, struct inode *inode, uint64_t kept_count);
uint64_t folder_changes_count(const struct inode *inode);
void folder_free(struct disk *disk, struct inode *inode);

#endif /* JEPSEN_SIM_DISK_IMPL_H_ */
