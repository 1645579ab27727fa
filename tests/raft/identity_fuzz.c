/* tests/raft/identity_fuzz.c -- any bytes in the map of a cluster that is being made.
 *
 * The first two bytes tell where a good map is cut open and how much of it goes; the rest goes in.
 */
#include "raft/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char good[] =
    "{\"cluster\":\"00000000000000aa\",\"partitions\":16,\"nodes\":["
    "{\"node\":1,\"client\":\"127.0.0.1:7001\",\"peer\":\"127.0.0.1:7101\"},"
    "{\"node\":3,\"client\":\"[::1]:7003\",\"peer\":\"[::1]:7103\"}]}";

static void map_check(struct slice map)
{
    struct identity identity;
    char why[256] = "";
    int err = identity_parse_map(map, &identity, why, sizeof(why));
    if (err != 0) {
        CHECK(why[0] != '\0');
        return;
    }
    CHECK(identity.cluster != 0);
    CHECK(identity.parts_count >= 1 && identity.parts_count <= PARTITIONS_MAX);
    CHECK(identity.nodes_count >= 1 && identity.nodes_count <= NODES_MAX);
    for (unsigned i = 0; i < identity.nodes_count; i++)
        CHECK(identity.nodes[i].client.port != 0 && identity.nodes[i].peer.port != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2) return 0;
    size_t at = data[0] % sizeof(good), gone = data[1] % (sizeof(good) - at);
    struct buf map = {0};
    buf_put(&map, good, at);
    buf_put(&map, data + 2, bytes - 2);
    buf_put(&map, good + at + gone, sizeof(good) - 1 - at - gone);
    map_check(buf_bytes(&map));
    buf_free(&map);
    return 0;
}
