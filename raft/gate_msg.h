/* raft/gate_msg.h -- libraft's messages and configurations as bytes, and back. Private to gate*.c.
 *
 * Thread: any. Errors: ERR_CORRUPT: not such bytes; nothing was allocated.
 * Format: gate_msg.c. */
#ifndef RAFT_GATE_MSG_H_
#define RAFT_GATE_MSG_H_

#include <raft.h>

#include "log/codec.h"
#include "raft/gate.h"

/* What every message carries around libraft's own fields. */
struct gate_envelope {
    part_t part;
    uint64_t from, to; /* Raft ids. */
    bool installing;   /* The sender is fetching or installing a snapshot (rule 17). */
};

/* Append the message to out. All pointers borrowed until return. */
void gate_msg_encode(struct buf *out, const struct gate_envelope *envelope,
                     const struct raft_message *message);

/* Read a message; what it points to is raft_malloc'd as libraft wants it: it goes to recv, or to
 * gate_msg_free. server_address is left NULL, server_id is the sender. */
MUST_CHECK int gate_msg_decode(struct slice bytes, struct gate_envelope *envelope,
                               struct raft_message *message);

/* Free what a decoded message points to, when libraft did not get it. */
void gate_msg_free(struct raft_message *message);

/* The bytes of an entry that mean something: libraft pads configurations and fills barriers with
 * whatever was in its memory. */
struct slice gate_entry_bytes(const struct raft_entry *entry);

/* A raft id as libraft's address, which it wants to be unique text. */
enum { GATE_ADDRESS_BYTES = 24 };
void gate_address(uint64_t id, char out[GATE_ADDRESS_BYTES]);

/* Append members as a configuration. */
void gate_configuration_encode(struct buf *out, const struct gate_member *members, size_t count);

/* Fill *out, which is not initialised before, and closed by raft_configuration_close. */
MUST_CHECK int gate_configuration_decode(struct slice bytes, struct raft_configuration *out);

/* raft_malloc that never returns NULL, one byte at least. */
void *gate_alloc(size_t bytes);
void *gate_copy(const void *data, size_t bytes); /* data copied. */

#endif /* RAFT_GATE_MSG_H_ */
