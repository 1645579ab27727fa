/* jepsen/sim/disk_name.c -- names of simulated files: folders, present and durable, and what is
 * pending between them.
 *
 * A folder has two tables of names. A call changes the present one and appends a name change; a
 * dir_sync that completes folds the changes made before it into the durable one, in their order. */
#include <stdlib.h>

#include "jepsen/sim/disk_impl.h"

enum {
    NAME_US = 10,
    DIR_BYTES_MAX = 512, /* A path's folder part; the product's paths are far shorter. */
};

/* ---- tables of names ---- */

/* The first row whose text is not before text. */
static size_t names_place(const struct names *names, const char *text)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(names->rows[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct inode *names_find(const struct names *names, const char *text)
{
    size_t place = names_place(names, text);
    bool found = place < names->count && strcmp(names->rows[place].text, text) == 0;
    return found ? names->rows[place].inode : NULL;
}

static void names_insert(struct names *names, size_t place, const char *text)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 8 : names->capacity * 2;
        names->rows = mem_resize(names->rows, names->capacity * sizeof(struct name));
    }
    memmove(&names->rows[place + 1], &names->rows[place],
            (names->count - place) * sizeof(struct name));
    names->rows[place] = (struct name){mem_string(slice_str(text)), NULL};
    names->count++;
}

static void names_remove(struct names *names, size_t place)
{
    free(names->rows[place].text);
    names->count--;
    memmove(&names->rows[place], &names->rows[place + 1],
            (names->count - place) * sizeof(struct name));
}

/* text becomes inode, or goes when inode is NULL. alive: the table is the present one. */
static void names_set(struct disk *disk, struct names *names, const char *text, struct inode *inode,
                      bool alive)
{
    size_t place = names_place(names, text);
    bool found = place < names->count && strcmp(names->rows[place].text, text) == 0;
    struct inode *old = found ? names->rows[place].inode : NULL;
    if (inode != NULL) {
        inode->refs_count++;
        if (alive) inode_alive(disk, inode, 1);
        if (!found) names_insert(names, place, text);
        names->rows[place].inode = inode;
    } else if (found) {
        names_remove(names, place);
    }
    if (old == NULL) return;
    if (alive) inode_alive(disk, old, -1);
    inode_unref(disk, old);
}

static void names_clear(struct disk *disk, struct names *names, bool alive)
{
    while (names->count > 0)
        names_set(disk, names, names->rows[names->count - 1].text, NULL, alive);
    free(names->rows);
    *names = (struct names){0};
}

static void names_copy(struct disk *disk, struct names *to, const struct names *from, bool alive)
{
    for (size_t i = 0; i < from->count; i++)
        names_set(disk, to, from->rows[i].text, from->rows[i].inode, alive);
}

/* ---- changes of names ---- */

static char *name_copy(const char *text)
{
    return text == NULL ? NULL : mem_string(slice_str(text));
}

static void change_apply(struct disk *disk, struct names *names, const struct name_change *change,
                         bool alive)
{
    if (change->to != NULL) names_set(disk, names, change->to, change->inode, alive);
    if (change->from != NULL) names_set(disk, names, change->from, NULL, alive);
}

static void changes_append(struct inode *dir, struct name_change *change)
{
    change->next = NULL;
    if (dir->name_changes == NULL)
        dir->name_changes = change;
    else
        dir->name_changes_last->next = change;
    dir->name_changes_last = change;
}

static void change_make(struct disk *disk, struct inode *dir, const char *from, const char *to,
                        struct inode *inode)
{
    struct name_change *change = mem_zero(sizeof(*change));
    change->number = ++disk->numbers_count;
    change->at_us = disk->at_us;
    change->from = name_copy(from);
    change->to = name_copy(to);
    change->inode = inode;
    if (inode != NULL) inode->refs_count++;
    changes_append(dir, change);
    change_apply(disk, &dir->present, change, true);
}

static void change_free(struct disk *disk, struct name_change *change)
{
    if (change->inode != NULL) inode_unref(disk, change->inode);
    free(change->from);
    free(change->to);
    free(change);
}

static struct name_change *change_pop(struct inode *dir)
{
    struct name_change *change = dir->name_changes;
    dir->name_changes = change->next;
    return change;
}

void folder_fold_until(struct disk *disk, struct inode *dir, uint64_t number)
{
    while (dir->name_changes != NULL && dir->name_changes->number <= number) {
        struct name_change *change = change_pop(dir);
        change_apply(disk, &dir->durable, change, false);
        change_free(disk, change);
    }
}

void folder_fold(struct disk *disk, struct inode *dir, uint64_t now_us)
{
    folder_fold_until(disk, dir, inode_synced(dir, now_us));
}

uint64_t folder_changes_count(const struct inode *dir)
{
    uint64_t count = 0;
    for (const struct name_change *c = dir->name_changes; c != NULL; c = c->next)
        count++;
    return count;
}

/* The present table anew: what is durable, and the pending changes. The old one goes last, so
 * that no inode dies in between. */
static void dir_replay(struct disk *disk, struct inode *dir)
{
    struct names old = dir->present;
    dir->present = (struct names){0};
    names_copy(disk, &dir->present, &dir->durable, true);
    for (struct name_change *c = dir->name_changes; c != NULL; c = c->next)
        change_apply(disk, &dir->present, c, true);
    names_clear(disk, &old, true);
}

void folder_rewind(struct disk *disk, struct inode *dir, uint64_t at_us)
{
    struct name_change *c = dir->name_changes, *dropped = NULL;
    dir->name_changes = NULL;
    while (c != NULL) {
        struct name_change *next = c->next;
        if (c->at_us > at_us) {
            c->next = dropped;
            dropped = c;
        } else {
            changes_append(dir, c);
        }
        c = next;
    }
    if (dropped == NULL) return;
    dir_replay(disk, dir);
    while (dropped != NULL) {
        struct name_change *next = dropped->next;
        change_free(disk, dropped);
        dropped = next;
    }
}

void folder_cut(struct disk *disk, struct inode *dir, uint64_t kept_count)
{
    for (uint64_t nth = 0; dir->name_changes != NULL; nth++) {
        struct name_change *change = change_pop(dir);
        if (nth < kept_count) change_apply(disk, &dir->durable, change, false);
        change_free(disk, change);
    }
    dir_replay(disk, dir);
}

void folder_free(struct disk *disk, struct inode *dir)
{
    while (dir->name_changes != NULL)
        change_free(disk, change_pop(dir));
    names_clear(disk, &dir->present, true);
    names_clear(disk, &dir->durable, false);
}

/* ---- paths ---- */

/* The folder that path's last name is in, and that name in *leaf; NULL: there is no such folder. */
static struct inode *path_walk(struct disk *disk, const char *path, const char **leaf)
{
    CHECK(path[0] == '/');
    struct inode *dir = disk->root;
    for (;;) {
        while (*path == '/')
            path++;
        const char *end = strchr(path, '/');
        if (end == NULL) break;
        char name[DIR_BYTES_MAX];
        size_t bytes = (size_t)(end - path);
        CHECK(bytes < sizeof(name));
        memcpy(name, path, bytes);
        name[bytes] = '\0';
        dir = names_find(&dir->present, name);
        if (dir == NULL || !dir->is_dir) return NULL;
        path = end;
    }
    *leaf = path;
    return dir;
}

struct inode *disk_find(struct disk *disk, const char *path)
{
    const char *leaf;
    struct inode *dir = path_walk(disk, path, &leaf);
    if (dir == NULL) return NULL;
    return *leaf == '\0' ? dir : names_find(&dir->present, leaf);
}

/* ---- calls ---- */

static struct env_file *file_create(struct disk *disk, struct inode *inode, int flags, bool lock)
{
    struct env_file *file = mem_zero(sizeof(*file));
    file->inode = inode;
    file->flags = flags;
    file->lock = lock;
    inode->refs_count++;
    inode_alive(disk, inode, 1);
    file->next = disk->files;
    file->link = &disk->files;
    if (file->next != NULL) file->next->link = &file->next;
    disk->files = file;
    return file;
}

void disk_file_close(struct disk *disk, struct env_file *file)
{
    if (file->lock) file->inode->locked = false;
    *file->link = file->next;
    if (file->next != NULL) file->next->link = file->link;
    inode_alive(disk, file->inode, -1);
    inode_unref(disk, file->inode);
    free(file);
}

int disk_file_open(struct disk *disk, const char *path, int flags, struct env_file **out)
{
    const char *leaf;
    struct inode *dir = path_walk(disk, path, &leaf);
    if (dir == NULL || *leaf == '\0') return ERR_NOT_FOUND;
    struct inode *inode = names_find(&dir->present, leaf);
    if (inode != NULL && (flags & ENV_EXCLUSIVE)) return ERR_EXISTS;
    if (inode != NULL && inode->is_dir) return ERR_IO;
    if (inode == NULL && !(flags & ENV_CREATE)) return ERR_NOT_FOUND;
    disk_spend(disk, NAME_US);
    if (inode != NULL) {
        *out = file_create(disk, inode, flags, false);
        return 0;
    }
    bool real = disk_may_change(disk); /* Else: a file that has no name and vanishes. */
    inode = inode_create(disk, false);
    *out = file_create(disk, inode, flags, false);
    if (!real) return 0;
    folder_fold(disk, dir, disk->now_us);
    change_make(disk, dir, NULL, leaf, inode);
    return 0;
}

int disk_rename(struct disk *disk, const char *from, const char *to)
{
    const char *from_leaf, *to_leaf;
    struct inode *dir = path_walk(disk, from, &from_leaf);
    struct inode *to_dir = path_walk(disk, to, &to_leaf);
    if (dir == NULL || to_dir == NULL) return ERR_NOT_FOUND;
    if (dir != to_dir) return ERR_INVAL;
    struct inode *inode = names_find(&dir->present, from_leaf);
    if (!disk_may_change(disk)) return 0;
    if (inode == NULL) return ERR_NOT_FOUND;
    disk_spend(disk, NAME_US);
    if (strcmp(from_leaf, to_leaf) == 0) return 0;
    folder_fold(disk, dir, disk->now_us);
    change_make(disk, dir, from_leaf, to_leaf, inode);
    return 0;
}

int disk_unlink(struct disk *disk, const char *path)
{
    const char *leaf;
    struct inode *dir = path_walk(disk, path, &leaf);
    if (!disk_may_change(disk)) return 0;
    struct inode *inode = dir == NULL ? NULL : names_find(&dir->present, leaf);
    if (inode == NULL) return ERR_NOT_FOUND;
    if (inode->is_dir) return ERR_IO;
    disk_spend(disk, NAME_US);
    folder_fold(disk, dir, disk->now_us);
    change_make(disk, dir, leaf, NULL, NULL);
    return 0;
}

int disk_dir_make(struct disk *disk, const char *path)
{
    const char *leaf;
    struct inode *dir = path_walk(disk, path, &leaf);
    if (dir == NULL) return ERR_NOT_FOUND;
    struct inode *inode = *leaf == '\0' ? dir : names_find(&dir->present, leaf);
    if (inode != NULL) return inode->is_dir ? 0 : ERR_EXISTS;
    if (!disk_may_change(disk)) return 0;
    disk_spend(disk, NAME_US);
    folder_fold(disk, dir, disk->now_us);
    change_make(disk, dir, NULL, leaf, inode_create(disk, true));
    return 0;
}

int disk_dir_sync(struct disk *disk, const char *path)
{
    if (!disk_may_change(disk)) return 0;
    struct inode *dir = disk_find(disk, path);
    if (dir == NULL || !dir->is_dir) return ERR_NOT_FOUND;
    folder_fold(disk, dir, disk->now_us);
    inode_syncing(disk, dir);
    folder_fold(disk, dir, disk->now_us);
    return 0;
}

int disk_dir_list(struct disk *disk, const char *path, env_name_cb each, void *arg)
{
    struct inode *dir = disk_find(disk, path);
    if (dir == NULL || !dir->is_dir) return ERR_NOT_FOUND;
    disk_spend(disk, NAME_US);
    struct names copy = {0}; /* each may unlink what it is told of. */
    names_copy(disk, &copy, &dir->present, false);
    for (size_t i = 0; i < copy.count; i++)
        each(arg, copy.rows[i].text);
    names_clear(disk, &copy, false);
    return 0;
}

int disk_dir_lock(struct disk *disk, const char *path, struct env_file **lock)
{
    struct inode *dir = disk_find(disk, path);
    if (dir == NULL || !dir->is_dir) return ERR_NOT_FOUND;
    if (dir->locked) return ERR_LOCKED;
    dir->locked = true;
    *lock = file_create(disk, dir, ENV_READ, true);
    return 0;
}
