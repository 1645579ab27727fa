/* log/pack.h -- checksums, hashes and compression: the one place that knows xxHash and LZ4.
 *
 * Thread: any; nothing here keeps state.
 * Format: XXH3 with 64 bits as xxHash 0.8 defines it, LZ4 blocks without a frame. What was packed
 *         does not tell its own length: who stores it stores both lengths beside it. */
#ifndef LOG_PACK_H_
#define LOG_PACK_H_

#include "log/codec.h"

/* XXH3-64 of the bytes; they are borrowed until return, here and below. */
uint64_t hash64(struct slice bytes);
uint64_t hash64_seed(struct slice bytes, uint64_t seed);

/* One hash over two pieces, without copying them together; where one ends and the other begins
 * counts. For more pieces go on with hash64_seed(next, hash so far). */
static inline uint64_t hash64_pair(struct slice first, struct slice second)
{
    return hash64_seed(second, hash64(first));
}

/* The partition that a stream lives in: 0 for names that begin "sys/", otherwise
 * XXH3-64(name) mod parts_count, which is 1 .. PARTITIONS_MAX. */
part_t partition_of(struct slice name, unsigned parts_count);

/* Append src, packed, to out; the bytes appended. They may be more than src (by 0.4 % and 16
 * bytes): the caller who keeps the shorter form compares. src: at most 1 GiB. */
size_t lz4_pack(struct slice src, struct buf *out);

/* Append the `bytes` bytes that src was packed from to out. bytes comes from outside, so the
 * caller has compared it with a limit of its own. ERR_CORRUPT: src is damaged or unpacks to
 * another length. */
MUST_CHECK int lz4_unpack(struct slice src, size_t bytes, struct buf *out);

#endif /* LOG_PACK_H_ */
