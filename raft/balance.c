/* raft/balance.c -- see balance.h. */
#include "raft/balance.h"

#include "raft/node_impl.h"

/* Where partition p belongs: a raft id, 0 while that node is not heard or its disk is full. */
static uint64_t home_of(const struct node *node, unsigned p)
{
    uint8_t number = node->identity.nodes[p % node->identity.nodes_count].number;
    if (number == node->identity.node) return node->raft_id;
    uint64_t id = links_peer_id(node->links, number);
    int64_t wall_ms;
    uint8_t flags = 0;
    bool heard = id != 0 && links_heard(node->links, id, &wall_ms, &flags);
    return heard && !(flags & LINK_STATE_LOW) ? id : 0;
}

void balance_tick(struct node *node)
{
    struct balance *balance = &node->balance;
    uint64_t now_ms = env_now_ms(node->env);
    if (node->state != NODE_RUNNING || now_ms < balance->next_ms) return;
    balance->next_ms = now_ms + BALANCE_EVERY_MS;
    for (unsigned i = 0; i < node->identity.parts_count; i++) {
        unsigned p = balance->cursor++ % node->identity.parts_count;
        uint64_t home = home_of(node, p);
        if (home == 0 || home == node->raft_id || now_ms < balance->again_ms[p]) continue;
        if (!part_hand_to(node->parts[p], home, BALANCE_CALM_MS, BALANCE_LAG_MAX)) continue;
        balance->again_ms[p] = now_ms + BALANCE_AGAIN_MS;
        return;
    }
}
