/* log/pack.c -- see pack.h.
 *
 * xxHash is compiled into this file (XXH_INLINE_ALL), which spares short inputs, nearly all of
 * ours, a call through the linker's table. */
#include "log/pack.h"

#include <lz4.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "log/limits.h"

/* Below LZ4_MAX_INPUT_SIZE, and every length derived from it fits an int. */
enum { PACK_BYTES_MAX = 1024 * 1024 * 1024 };

uint64_t hash64(struct slice bytes)
{
    return XXH3_64bits(bytes.data, bytes.len);
}

uint64_t hash64_seed(struct slice bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.len, seed);
}

part_t partition_of(struct slice name, unsigned parts_count)
{
    static const char system[] = {'s', 'y', 's', '/'};
    CHECK(parts_count >= 1);
    CHECK(parts_count <= PARTITIONS_MAX);
    if (name.len >= sizeof system && memcmp(name.data, system, sizeof system) == 0) return 0;
    return (part_t)(hash64(name) % parts_count);
}

size_t lz4_pack(struct slice src, struct buf *out)
{
    CHECK(src.len <= PACK_BYTES_MAX);
    const char *from = src.len > 0 ? src.data : "";
    int room = LZ4_compressBound((int)src.len);
    buf_reserve(out, (size_t)room);
    int packed = LZ4_compress_default(from, (char *)out->data + out->len, (int)src.len, room);
    CHECK(packed > 0); /* It fails for want of room alone. */
    out->len += (size_t)packed;
    return (size_t)packed;
}

int lz4_unpack(struct slice src, size_t bytes, struct buf *out)
{
    CHECK(bytes <= PACK_BYTES_MAX);
    if (src.len == 0 || src.len > PACK_BYTES_MAX) return ERR_CORRUPT;
    buf_reserve(out, bytes + 1); /* One more, so that there is a place to point at for 0 bytes. */
    char *to = (char *)out->data + out->len;
    int unpacked = LZ4_decompress_safe(src.data, to, (int)src.len, (int)bytes);
    if (unpacked < 0 || (size_t)unpacked != bytes) return ERR_CORRUPT;
    out->len += bytes;
    return 0;
}
