/* raft/history.c -- see history.h. */
#include "raft/history.h"

static void peer_compare(struct history_peer *peer, index_t index, uint64_t ours, uint64_t theirs)
{
    if (ours != theirs && !peer->differs) peer->differs_at = index;
    peer->compared = true;
    peer->differs = ours != theirs;
}

void history_applied(struct history *h, index_t index, uint64_t hash)
{
    CHECK(index > 0);
    h->own[index % HISTORY_INDEXES].index = index;
    h->own[index % HISTORY_INDEXES].hash = hash;
    for (size_t i = 0; i < ARRAY_COUNT(h->peers); i++) {
        struct history_peer *peer = &h->peers[i];
        if (peer->index == 0 || peer->index > index) continue;
        if (peer->index == index) peer_compare(peer, index, hash, peer->hash);
        peer->index = 0;
    }
}

void history_reset(struct history *h)
{
    *h = (struct history){0};
}

static struct history_peer *peer_of(struct history *h, uint64_t id)
{
    struct history_peer *free_one = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(h->peers); i++) {
        if (h->peers[i].id == id) return &h->peers[i];
        if (h->peers[i].id == 0 && free_one == NULL) free_one = &h->peers[i];
    }
    if (free_one != NULL) free_one->id = id;
    return free_one;
}

void history_heard(struct history *h, uint64_t from, index_t index, uint64_t hash)
{
    CHECK(from != 0);
    struct history_peer *peer = peer_of(h, from);
    if (peer == NULL || index == 0) return;
    if (h->own[index % HISTORY_INDEXES].index == index) {
        peer_compare(peer, index, h->own[index % HISTORY_INDEXES].hash, hash);
        return;
    }
    /* One ahead of us waits until we are there; one that we left behind tells nothing. */
    bool ahead = true;
    for (size_t i = 0; i < HISTORY_INDEXES; i++)
        if (h->own[i].index > index) ahead = false;
    if (!ahead || peer->index != 0) return;
    peer->index = index;
    peer->hash = hash;
}

bool history_diverged(const struct history *h, const uint64_t *voters, unsigned count, index_t *at)
{
    unsigned differ = 0;
    index_t first = 0;
    for (unsigned v = 0; v < count; v++)
        for (size_t i = 0; i < ARRAY_COUNT(h->peers); i++) {
            const struct history_peer *peer = &h->peers[i];
            if (peer->id != voters[v] || !peer->compared || !peer->differs) continue;
            differ++;
            if (first == 0 || peer->differs_at < first) first = peer->differs_at;
        }
    unsigned majority = count / 2 + 1;
    if (count == 0 || count - differ >= majority) return false;
    *at = first;
    return true;
}
