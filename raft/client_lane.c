/* raft/client_lane.c -- one (producer, stream) with open transactions, in order of n.
 *
 * A node answers a gap when a transaction reached it and the one before did not. That one may be
 * open here still, waiting to be sent again: then so does this one, behind it. Or it has its
 * outcome by now, from another node, and the answer is old news. Otherwise the gap is the caller's.
 *
 * A lane is found by its hash alone. Two that share one would only have some gaps sent again that
 * need not be, until their calls end. */
#include <stdlib.h>

#include "log/pack.h"
#include "raft/client_impl.h"

struct lane {
    struct table_link link;
    struct lane *next_free;
    struct call *first, *last; /* Open calls, by n, then by order. */
    uint64_t used_n;           /* The largest n known to have its outcome. */
};

static struct lane *lane_get(struct client *client, uint64_t hash)
{
    struct table_link *link = table_find(&client->lanes, hash);
    if (link != NULL) return CONTAINER_OF(link, struct lane, link);
    struct lane *lane = client->free_lanes;
    if (lane != NULL)
        client->free_lanes = lane->next_free;
    else
        lane = mem_alloc(sizeof(*lane));
    *lane = (struct lane){0};
    table_add(&client->lanes, &lane->link, hash);
    return lane;
}

void lane_join(struct call *call, struct slice stream, struct slice producer)
{
    struct lane *lane = lane_get(call->client, hash64_pair(stream, producer));
    struct call *after = lane->last;
    while (after != NULL && after->n > call->n)
        after = after->lane_prev;
    call->lane = lane;
    call->lane_prev = after;
    call->lane_next = after == NULL ? lane->first : after->lane_next;
    *(call->lane_prev == NULL ? &lane->first : &call->lane_prev->lane_next) = call;
    *(call->lane_next == NULL ? &lane->last : &call->lane_next->lane_prev) = call;
}

void lane_leave(struct call *call)
{
    struct lane *lane = call->lane;
    if (lane == NULL) return;
    *(call->lane_prev == NULL ? &lane->first : &call->lane_prev->lane_next) = call->lane_next;
    *(call->lane_next == NULL ? &lane->last : &call->lane_next->lane_prev) = call->lane_prev;
    call->lane = NULL;
    if (lane->first != NULL) return;
    table_remove(&call->client->lanes, &lane->link);
    lane->next_free = call->client->free_lanes;
    call->client->free_lanes = lane;
}

void lane_used(struct call *call)
{
    if (call->lane != NULL && call->lane->used_n < call->n) call->lane->used_n = call->n;
}

bool lane_closes_gap(const struct call *call, uint64_t last_n)
{
    const struct lane *lane = call->lane;
    return lane != NULL && (lane->first->n < call->n || lane->used_n > last_n);
}

void lanes_free(struct client *client)
{
    CHECK(client->lanes.count == 0);
    table_free(&client->lanes);
    while (client->free_lanes != NULL) {
        struct lane *next = client->free_lanes->next_free;
        free(client->free_lanes);
        client->free_lanes = next;
    }
}
