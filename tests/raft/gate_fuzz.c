/* tests/raft/gate_fuzz.c -- bytes from a peer: decoded or refused, and what was decoded encodes to
 * the same bytes again. Configurations likewise. */
#include <string.h>

#include "raft/gate_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {data, size};
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count;
    if (gate_members_decode(bytes, members, &count) == 0) {
        struct buf again = {0};
        gate_configuration_encode(&again, members, count);
        CHECK(slice_equal(buf_bytes(&again), bytes));
        buf_free(&again);
    }
    struct gate_envelope envelope;
    struct raft_message message;
    if (gate_msg_decode(bytes, &envelope, &message) != 0) return 0;
    struct buf again = {0};
    message.server_id = envelope.to;
    gate_msg_encode(&again, &envelope, &message);
    struct gate_envelope envelope2;
    struct raft_message message2;
    CHECK(gate_msg_decode(buf_bytes(&again), &envelope2, &message2) == 0);
    /* Barriers lose the data that libraft fills them with; all else is the same. */
    CHECK(again.len <= size);
    CHECK(message2.type == message.type);
    gate_msg_free(&message2);
    gate_msg_free(&message);
    buf_free(&again);
    return 0;
}
