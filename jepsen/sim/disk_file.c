/* jepsen/sim/disk_file.c -- contents of simulated files: present, pending, durable.
 *
 * A write changes `now` and appends a change with a copy of its bytes. The first pending change
 * of a page sets `durable` aside; when the last one is folded into it, now and durable are equal
 * again and one is freed. Pages of zeroes take no memory, so files filled ahead are cheap.
 *
 * A power cut starts over from the durable pages, makes the changes again in their order, and
 * after each copies the sectors that survive: a sector that survives holds all that was written
 * to it up to then, as a sector written from a page cache does. */
#include <stdlib.h>

#include "jepsen/sim/disk_impl.h"

enum {
    WRITE_US = 3,
    READ_US = 5,
    COPY_BYTES_PER_US = 2000, /* Page cache. */
};

uint64_t file_pages(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
}

/* ---- pages ---- */

static bool all_zero(const uint8_t *data, size_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

/* Copy data into one kind of a page; data NULL: zeroes. */
static void page_put(uint8_t **page, size_t at, const uint8_t *data, size_t bytes)
{
    CHECK(at + bytes <= PAGE_BYTES);
    if (*page == NULL) {
        if (data == NULL || all_zero(data, bytes)) return;
        *page = mem_zero(PAGE_BYTES);
    }
    if (data == NULL)
        memset(*page + at, 0, bytes);
    else
        memcpy(*page + at, data, bytes);
}

static void pages_reserve(struct inode *inode, uint64_t bytes)
{
    size_t want = (size_t)file_pages(bytes);
    if (want <= inode->pages_count) return;
    if (want < inode->pages_count * 2) want = inode->pages_count * 2;
    inode->pages = mem_resize(inode->pages, want * sizeof(struct page));
    memset(inode->pages + inode->pages_count, 0, (want - inode->pages_count) * sizeof(struct page));
    inode->pages_count = want;
}

static bool page_apart(const struct page *page)
{
    return page->pending_count > 0 || page->split;
}

static void page_change_begins(struct page *page)
{
    if (!page_apart(page)) {
        page->durable = page->now;
        page->now = page->durable == NULL ? NULL : mem_copy(page->durable, PAGE_BYTES);
    }
    page->pending_count++;
}

static void page_change_ends(struct page *page)
{
    CHECK(page->pending_count > 0);
    page->pending_count--;
    if (page_apart(page)) return;
    free(page->durable);
    page->durable = NULL;
}

enum side { NOW, DURABLE };

/* Each page that a change touches, with the place in it and the place in the change. */
struct span {
    struct page *page;
    size_t at, bytes;
    size_t from;
};

static bool span_first(struct inode *inode, uint64_t offset, uint64_t end, struct span *s)
{
    if (offset >= end) return false;
    size_t n = (size_t)(offset / PAGE_BYTES);
    CHECK(n < inode->pages_count);
    s->page = &inode->pages[n];
    s->at = (size_t)(offset % PAGE_BYTES);
    s->bytes = PAGE_BYTES - s->at;
    if (s->bytes > end - offset) s->bytes = (size_t)(end - offset);
    return true;
}

static void change_apply(struct inode *inode, const struct change *change, enum side side)
{
    uint64_t offset = change->offset, end = offset + change->bytes;
    struct span s;
    while (span_first(inode, offset, end, &s)) {
        uint8_t **page = side == NOW || !page_apart(s.page) ? &s.page->now : &s.page->durable;
        const uint8_t *data =
            change->truncate ? NULL : change->data + (size_t)(offset - change->offset);
        page_put(page, s.at, data, s.bytes);
        offset += s.bytes;
    }
}

/* The truncate that leaves bytes: it wipes all pages behind. */
static void truncate_to(const struct inode *inode, uint64_t bytes, struct change *out)
{
    uint64_t end = (uint64_t)inode->pages_count * PAGE_BYTES;
    size_t wiped = bytes < end ? (size_t)(end - bytes) : 0;
    *out = (struct change){.truncate = true, .offset = bytes, .bytes = wiped};
}

static void change_size(const struct change *change, uint64_t *size)
{
    if (change->truncate)
        *size = change->offset;
    else if (change->offset + change->bytes > *size)
        *size = change->offset + change->bytes;
}

/* ---- changes ---- */

/* A new change of the file, applied to now. */
static void change_make(struct disk *disk, struct inode *inode, struct change *change)
{
    change->number = ++disk->numbers_count;
    change->at_us = disk->at_us;
    change->next = NULL;
    if (change->bytes > 0) pages_reserve(inode, change->offset + change->bytes);
    uint64_t offset = change->offset, end = offset + change->bytes;
    for (struct span s; span_first(inode, offset, end, &s); offset += s.bytes)
        page_change_begins(s.page);
    change_apply(inode, change, NOW);
    uint64_t pages_before = file_pages(inode->size);
    change_size(change, &inode->size);
    disk->used_bytes += (file_pages(inode->size) - pages_before) * PAGE_BYTES;
    if (inode->changes == NULL)
        inode->changes = change;
    else
        inode->changes_last->next = change;
    inode->changes_last = change;
}

/* The oldest change is pending no more. */
static struct change *change_pop(struct inode *inode)
{
    struct change *change = inode->changes;
    inode->changes = change->next;
    return change;
}

static void change_leave_pages(struct inode *inode, const struct change *change)
{
    uint64_t offset = change->offset, end = offset + change->bytes;
    for (struct span s; span_first(inode, offset, end, &s); offset += s.bytes)
        page_change_ends(s.page);
}

/* The oldest change becomes durable, or stays lost for good. */
static void change_fold(struct inode *inode)
{
    struct change *change = change_pop(inode);
    uint64_t offset = change->offset, end = offset + change->bytes;
    for (struct span s; span_first(inode, offset, end, &s); offset += s.bytes) {
        if (change->lost)
            s.page->split = true;
        else if (page_apart(s.page) && (s.page->pending_count > 1 || s.page->split))
            page_put(&s.page->durable, s.at,
                     change->truncate ? NULL : change->data + (size_t)(offset - change->offset),
                     s.bytes);
        page_change_ends(s.page);
    }
    if (!change->lost) change_size(change, &inode->durable_size);
    free(change);
}

void file_fold_until(struct inode *inode, uint64_t number)
{
    while (inode->changes != NULL && inode->changes->number <= number)
        change_fold(inode);
}

void file_fold(struct inode *inode, uint64_t now_us)
{
    file_fold_until(inode, inode_synced(inode, now_us));
}

static uint64_t change_sectors(const struct change *change)
{
    if (change->truncate || change->lost || change->bytes == 0) return 0;
    return (change->offset + change->bytes - 1) / DISK_SECTOR_BYTES -
           change->offset / DISK_SECTOR_BYTES + 1;
}

uint64_t file_pending_sectors(const struct inode *inode)
{
    uint64_t count = 0;
    for (const struct change *c = inode->changes; c != NULL; c = c->next)
        count += change_sectors(c);
    return count;
}

uint64_t file_changes_count(const struct inode *inode)
{
    uint64_t count = 0;
    for (const struct change *c = inode->changes; c != NULL; c = c->next)
        count++;
    return count;
}

/* ---- crashes ---- */

/* Back to the durable state, as if nothing pending had been written; changes stay listed. */
static void file_reset(struct inode *inode)
{
    for (size_t i = 0; i < inode->pages_count; i++) {
        struct page *page = &inode->pages[i];
        if (!page_apart(page)) continue;
        free(page->now);
        page->now = page->durable == NULL ? NULL : mem_copy(page->durable, PAGE_BYTES);
    }
    inode->size = inode->durable_size;
}

void file_rewind(struct inode *inode, uint64_t at_us)
{
    bool future = false;
    for (const struct change *c = inode->changes; c != NULL; c = c->next)
        future |= c->at_us > at_us;
    if (!future) return;
    file_reset(inode);
    struct change *c = inode->changes;
    inode->changes = NULL;
    while (c != NULL) {
        struct change *next = c->next;
        if (c->at_us > at_us) {
            change_leave_pages(inode, c);
            free(c);
        } else {
            change_apply(inode, c, NOW);
            change_size(c, &inode->size);
            c->next = NULL;
            if (inode->changes == NULL)
                inode->changes = c;
            else
                inode->changes_last->next = c;
            inode->changes_last = c;
        }
        c = next;
    }
}

static void sector_keep(struct inode *inode, uint64_t sector)
{
    struct page *page = &inode->pages[sector * DISK_SECTOR_BYTES / PAGE_BYTES];
    CHECK(page_apart(page));
    size_t at = (size_t)(sector * DISK_SECTOR_BYTES % PAGE_BYTES);
    page_put(&page->durable, at, page->now == NULL ? NULL : page->now + at, DISK_SECTOR_BYTES);
}

/* The sectors of one write that survive go from now to durable. */
static void write_keep(struct inode *inode, const struct change *change, bool (*keep)(void *arg),
                       void *arg)
{
    uint64_t sector = change->offset / DISK_SECTOR_BYTES;
    for (uint64_t left = change_sectors(change); left > 0; left--, sector++)
        if (keep(arg)) sector_keep(inode, sector);
}

/* A truncate that survives wipes what is behind. The sector it cuts goes to the disk with it, as
 * it was then: file systems write that block before they commit the new size. */
static void truncate_keep(struct inode *inode, const struct change *change)
{
    change_apply(inode, change, DURABLE);
    if (change->bytes > 0 && change->offset % DISK_SECTOR_BYTES != 0)
        sector_keep(inode, change->offset / DISK_SECTOR_BYTES);
}

/* What lies behind the end of a file reads as zeroes when it grows again. */
static void file_trim(struct inode *inode)
{
    struct change end;
    truncate_to(inode, inode->durable_size, &end);
    change_apply(inode, &end, DURABLE);
}

void file_cut(struct inode *inode, uint64_t kept_count, bool (*keep)(void *arg), void *arg)
{
    file_reset(inode);
    uint64_t nth = 0;
    for (struct change *c = inode->changes; c != NULL; c = c->next, nth++) {
        if (c->lost) continue;
        change_apply(inode, c, NOW);
        write_keep(inode, c, keep, arg);
        if (nth >= kept_count) continue;
        if (c->truncate) truncate_keep(inode, c);
        change_size(c, &inode->durable_size);
    }
    file_trim(inode);
    file_reset(inode);
    while (inode->changes != NULL) {
        struct change *c = change_pop(inode);
        change_leave_pages(inode, c);
        free(c);
    }
    for (size_t i = 0; i < inode->pages_count; i++) {
        struct page *page = &inode->pages[i];
        CHECK(page->pending_count == 0);
        if (page->split) free(page->durable); /* Equal since file_reset. */
        page->durable = NULL;
        page->split = false;
    }
}

static void file_truncate(struct disk *disk, struct inode *inode, uint64_t bytes)
{
    struct change *change = mem_alloc(sizeof(*change));
    truncate_to(inode, bytes, change);
    change_make(disk, inode, change);
}

void file_forget_end(struct disk *disk, struct inode *inode, uint64_t bytes)
{
    file_truncate(disk, inode, bytes);
    file_fold_until(inode, UINT64_MAX);
}

void file_free(struct inode *inode)
{
    while (inode->changes != NULL)
        free(change_pop(inode));
    for (size_t i = 0; i < inode->pages_count; i++) {
        free(inode->pages[i].now);
        if (page_apart(&inode->pages[i])) free(inode->pages[i].durable);
    }
    free(inode->pages);
}

uint8_t *file_byte(struct inode *inode, uint64_t offset, bool durable)
{
    if (offset >= (durable ? inode->durable_size : inode->size)) return NULL;
    pages_reserve(inode, offset + 1);
    struct page *page = &inode->pages[offset / PAGE_BYTES];
    if (durable && !page_apart(page)) return NULL; /* The same byte as now's. */
    uint8_t **bytes = durable ? &page->durable : &page->now;
    if (*bytes == NULL) *bytes = mem_zero(PAGE_BYTES);
    return *bytes + offset % PAGE_BYTES;
}

/* ---- calls ---- */

int disk_file_read(struct disk *disk, struct env_file *file, void *out, size_t bytes,
                   uint64_t offset, size_t *got)
{
    const struct inode *inode = file->inode;
    CHECK(file->flags & ENV_READ);
    disk_spend(disk, READ_US + bytes / COPY_BYTES_PER_US);
    uint64_t left = offset < inode->size ? inode->size - offset : 0;
    size_t sum = bytes < left ? bytes : (size_t)left;
    for (size_t done = 0; done < sum;) {
        uint64_t at = offset + done;
        size_t n = (size_t)(at / PAGE_BYTES), in_page = (size_t)(at % PAGE_BYTES);
        size_t part = PAGE_BYTES - in_page < sum - done ? PAGE_BYTES - in_page : sum - done;
        const uint8_t *page = n < inode->pages_count ? inode->pages[n].now : NULL;
        if (page == NULL)
            memset((uint8_t *)out + done, 0, part);
        else
            memcpy((uint8_t *)out + done, page + in_page, part);
        done += part;
    }
    *got = sum;
    return 0;
}

static bool has_room(const struct disk *disk, const struct inode *inode, uint64_t end)
{
    if (end <= inode->size) return true;
    uint64_t more = (file_pages(end) - file_pages(inode->size)) * PAGE_BYTES;
    return disk->used_bytes + more <= disk->capacity_bytes;
}

int disk_file_write(struct disk *disk, struct env_file *file, const void *data, size_t bytes,
                    uint64_t offset)
{
    CHECK(file->flags & ENV_WRITE);
    if (!disk_may_change(disk) || bytes == 0) return 0;
    disk_spend(disk, WRITE_US + bytes / COPY_BYTES_PER_US);
    if (!has_room(disk, file->inode, offset + bytes)) return ERR_NO_SPACE;
    int err = 0;
    if (disk->fail_writes > 0) {
        disk->fail_writes--;
        bytes = (size_t)splitmix_below(&disk->chance, bytes);
        err = ERR_IO;
        if (bytes == 0) return err;
    }
    file_fold(file->inode, disk->now_us);
    struct change *change = mem_alloc(sizeof(*change) + bytes);
    *change = (struct change){.offset = offset, .bytes = bytes};
    memcpy(change->data, data, bytes);
    change_make(disk, file->inode, change);
    return err;
}

int disk_file_sync(struct disk *disk, struct env_file *file)
{
    if (!disk_may_change(disk)) return 0;
    file_fold(file->inode, disk->now_us);
    if (disk->fail_syncs > 0) {
        disk->fail_syncs--;
        for (struct change *c = file->inode->changes; c != NULL; c = c->next)
            c->lost = true;
        return ERR_IO;
    }
    inode_syncing(disk, file->inode);
    file_fold(file->inode, disk->now_us);
    return 0;
}

int disk_file_truncate(struct disk *disk, struct env_file *file, uint64_t bytes)
{
    CHECK(file->flags & ENV_WRITE);
    if (!disk_may_change(disk)) return 0;
    disk_spend(disk, WRITE_US);
    if (!has_room(disk, file->inode, bytes)) return ERR_NO_SPACE;
    file_fold(file->inode, disk->now_us);
    file_truncate(disk, file->inode, bytes);
    return 0;
}
