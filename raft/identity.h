/* raft/identity.h -- who a node is: the file `identity` of its folder, and the map it was given.
 *
 * A folder without it belongs to no cluster: its node serves nothing and votes never. Forming a
 * cluster writes it twice: first as forming, then, once every partition's first entry is durable,
 * as formed; a folder that is formed and has lost its log is refused, for it may have voted.
 *
 * Owns:   nothing. Thread: the loop's, before or beside other work; calls block.
 * Errors: ERR_CORRUPT, ERR_FOREIGN, ERR_VERSION, ERR_IO: why says what is wrong in one line.
 * Format: "parley-identity 1", a line of JSON, and the XXH3-64 of that line in hex. A map, as
 *         `parley cluster init` sends it, is the JSON without the last three fields:
 *         {"cluster": "16 hex digits", "partitions": 16,
 *          "nodes": [{"node": 1, "client": "HOST:PORT", "peer": "HOST:PORT"}, ...],
 *          "node": 1, "incarnation": 1, "formed": true} */
#ifndef RAFT_IDENTITY_H_
#define RAFT_IDENTITY_H_

#include "log/env.h"
#include "log/limits.h"

enum { IDENTITY_MAP_BYTES_MAX = 16 * 1024, IDENTITY_NODE_MAX = 255 };

struct identity {
    uint64_t cluster; /* Drawn by who makes the cluster; not 0. */
    unsigned parts_count;
    struct identity_node {
        uint8_t number; /* 1 .. IDENTITY_NODE_MAX, each once, rising. */
        struct env_address client, peer;
    } nodes[NODES_MAX];
    unsigned nodes_count;
    uint8_t node;         /* Which of them this is. */
    uint32_t incarnation; /* Of this folder, from 1. */
    bool formed;
};

/* Raft ids: a node in one of its lives. */
static inline uint64_t identity_raft_id(uint32_t incarnation, uint8_t node)
{
    return (uint64_t)incarnation * 256 + node;
}
static inline uint8_t identity_node_of(uint64_t raft_id)
{
    return (uint8_t)(raft_id & 0xff);
}

/* Parse a map, of at most IDENTITY_MAP_BYTES_MAX bytes from anywhere; node, incarnation and formed
 * are left 0. ERR_INVAL. */
MUST_CHECK int identity_parse_map(struct slice json, struct identity *out, char *why,
                                  size_t why_bytes);

/* Read the folder dir, made when absent. ERR_NOT_FOUND: it is empty. ERR_FOREIGN: it holds
 * something, but no identity, or that of another node than `node` (0: any). */
MUST_CHECK int identity_load(struct env *env, const char *dir, uint8_t node, struct identity *out,
                             char *why, size_t why_bytes);
/* Write it durably, in place of what was there. ERR_IO, ERR_NO_SPACE. */
MUST_CHECK int identity_save(struct env *env, const char *dir, const struct identity *identity);

/* "HOST:PORT", or "[HOST]:PORT" when HOST has colons, into out. */
enum { IDENTITY_ADDRESS_BYTES = 80 };
void identity_address_text(const struct env_address *address, char out[IDENTITY_ADDRESS_BYTES]);

#endif /* RAFT_IDENTITY_H_ */
