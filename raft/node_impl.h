/* raft/node_impl.h -- the inside of a node, shared by node*.c alone.
 *
 * node.c: start, forming, stop. node_turn.c: the tick, the links' items, what partitions and the
 * write-ahead log ask of their node. */
#ifndef RAFT_NODE_IMPL_H_
#define RAFT_NODE_IMPL_H_

#include "raft/balance.h"
#include "raft/confirm.h"
#include "raft/node.h"

/* Items on the message links. On the bulk link: enum install_item. */
enum node_item {
    NODE_ITEM_RAFT = 1, /* u16 part, then the gate's message. */
    NODE_ITEM_ASK,      /* A question of confirm. */
    NODE_ITEM_ANSWER,   /* An answer of confirm. */
    NODE_ITEM_TELL,     /* u16 part, u64 index, u64 history hash. */
};

enum node_state {
    NODE_ALONE,   /* Belongs to no cluster. */
    NODE_CHOSEN,  /* Has an identity, opens with the next tick. */
    NODE_BROKEN,  /* Forming failed: it says so, until it is started again. */
    NODE_FORMING, /* Waits until its first entries are durable. */
    NODE_RUNNING, /* Takes part. */
    NODE_LEAVING, /* Asked to stop: hands over leaderships. */
    NODE_ENDING,  /* Requests end. */
    NODE_CLOSING, /* Connections close. */
};

struct node {
    struct env *env;
    struct diag *diag;
    struct node_config config;
    char *dir; /* Owned; config.dir points to it. */
    enum node_state state;
    struct env_file *lock;
    struct identity identity;
    uint64_t raft_id;
    struct store_budget budget;
    struct wal *wal;
    struct part **parts; /* identity.parts_count of them, NULL before they are open. */
    struct confirm *confirm;
    struct install *install;
    struct links *links;
    struct serve *serve;
    struct balance balance;
    struct env_timer tick;
    uint64_t started_ms, stopping_ms;
    batch_t formed_with; /* NODE_FORMING: durable up to here means formed. */
    bool wal_low;        /* The log says that the disk is nearly full. */
    bool low;            /* It, or a checkpoint, does. */
    bool pressed;        /* The log is longer than checkpoints can follow. */
    bool stalled;        /* The disk does not answer: leaderships were handed over. */
    int replay_err;      /* What part_replayed said first. */
    part_t replay_part;
    unsigned closing_count; /* NODE_CLOSING: links and install. */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* node.c */
void node_form_tick(struct node *node); /* Forming goes on. */
void node_stop_tick(struct node *node); /* Stopping goes on; it may free the node. */

/* node_turn.c */
void node_tick(struct env_timer *timer);
struct part_host node_part_host(struct node *node);
struct confirm_host node_confirm_host(struct node *node);
struct install_host node_install_host(struct node *node);
struct links_handlers node_links_handlers(struct node *node);
struct wal_handlers node_wal_handlers(struct node *node);

#endif /* RAFT_NODE_IMPL_H_ */
