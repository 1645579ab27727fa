/* log/err.h -- every error Parley knows: one code, one text.
 *
 * Functions that can fail return int: 0, or a negative ERR_* of this table. errno, UV_*, RAFT_*
 * and LZ4 codes are translated at the edge, by one function per library, and go no further.
 * The numbers travel on the wire (raft/wire.h): add at the end, never renumber. */
#ifndef LOG_ERR_H_
#define LOG_ERR_H_

#define ERR_TABLE(X)                                                                  \
    X(1, ERR_INVAL, "a value is out of its range")                                    \
    X(2, ERR_IO, "input or output failed")                                            \
    X(3, ERR_CORRUPT, "damaged: a checksum or a form that must hold does not")        \
    X(4, ERR_NO_SPACE, "no space left on the disk")                                   \
    X(5, ERR_EXISTS, "exists already")                                                \
    X(6, ERR_NOT_FOUND, "not found")                                                  \
    X(7, ERR_BUSY, "overloaded, try again after the delay given")                     \
    X(8, ERR_TIMEOUT, "took too long")                                                \
    X(9, ERR_CLOSED, "closed")                                                        \
    X(10, ERR_CONNECT, "no connection")                                               \
    X(11, ERR_VERSION, "the other side speaks another version")                       \
    X(12, ERR_FOREIGN, "belongs to another cluster")                                  \
    X(13, ERR_LOCKED, "in use by another process")                                    \
    X(14, ERR_NO_LEADER, "the partition has no leader, nothing was done, try again")  \
    X(15, ERR_NOT_LEADER, "another node leads the partition, nothing was done")       \
    X(16, ERR_UNKNOWN, "the outcome is unknown: it may be done, send the same again") \
    X(17, ERR_REJECTED, "a check did not hold")                                       \
    X(18, ERR_GAP, "the producer's number is beyond its last + 1, nothing was done")  \
    X(19, ERR_REUSED, "the producer's number was used before with other content")     \
    X(20, ERR_NO_STREAM, "the stream does not exist")                                 \
    X(21, ERR_TOO_BIG, "larger than the limit")                                       \
    X(22, ERR_RESET, "the position is too old to continue from, start anew")          \
    X(23, ERR_PERM, "permission denied")                                              \
    X(24, ERR_ADDR_IN_USE, "the address is in use")                                   \
    X(25, ERR_CANCELED, "given up before it was done")                                \
    X(26, ERR_NOT_FORMED, "the node belongs to no cluster yet")                       \
    X(27, ERR_DIVERGED, "the replica's history differs from the majority's, it stopped")

enum {
#define X(number, name, text) name = -(number),
    ERR_TABLE(X)
#undef X
};

/* The text of an ERR_* code, "ok" for 0; never NULL. Static storage. */
const char *err_text(int err);

/* The symbol of an ERR_* code without its prefix ("NO_SPACE"), "OK" for 0; never NULL. */
const char *err_name(int err);

/* Translate a positive errno into an ERR_*. */
int err_from_errno(int number);

#endif /* LOG_ERR_H_ */
