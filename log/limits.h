/* log/limits.h -- the limits of the log store, each with its unit and its reason.
 *
 * A value that comes from outside is compared with these before anything is allocated. */
#ifndef LOG_LIMITS_H_
#define LOG_LIMITS_H_

enum {
    /* One byte holds the length in every key. */
    STREAM_NAME_BYTES_MAX = 255,
    KEY_BYTES_MAX = 255,      /* Attribute and cursor keys, likewise. */
    TAG_BYTES_MAX = 64,       /* A tag names a user; user ids are at most 64 bytes. */
    PRODUCER_BYTES_MAX = 129, /* <user>/<device>, 64 bytes each and the slash. */

    VALUE_BYTES_MAX = 16 * 1024,   /* One attribute's value. */
    PAYLOAD_BYTES_MAX = 64 * 1024, /* One record's payload: a chat body is at most 32 KiB. */
    TXN_BYTES_MAX = 256 * 1024,    /* One encoded transaction. */
    TXN_PARTS_MAX = 2048,          /* Checks + sets + advances + erases + records of one
                                              transaction: 500 users added, each with a check, a set
                                       and two cursors. */
    RECORD_TAGS_MAX = 64,          /* Tags on one record. */
    ENTRY_BYTES_MAX = 1024 * 1024, /* One raft entry, a batch of transactions. */
    ENTRY_TXNS_MAX = 4096,         /* Transactions in one raft entry. */
    TAG_SEQS_MAX = 99,             /* Last seqs kept per tag: mention counts show "99+". */
    PRODUCER_OUTCOMES_MAX = 32,    /* Outcomes kept per producer: what it may pipeline. */
    ERASE_DEPENDENTS_MAX = 1000,   /* Records erased along with the one they are about. */
    HEAD_BYTES_MAX = 256,          /* One encoded head row. */

    PARTITIONS_DEFAULT = 16,
    PARTITIONS_MAX = 256,
    NODES_MAX = 7, /* Raft groups larger than 7 gain nothing and cost every write. */

    WAL_FILE_BYTES = 64 * 1024 * 1024,     /* One write-ahead log file, zero-filled ahead. */
    WAL_BATCH_BYTES_MAX = 8 * 1024 * 1024, /* One write: bounds what recovery has to hold. */
    WAL_LIVE_BYTES_MAX = 128 * 1024 * 1024,

    RUN_BLOCK_BYTES = 32 * 1024,            /* Target of an uncompressed run block. */
    RUN_ROWS_BYTES_MAX = 256 * 1024,        /* One block of rows: the last may be a large record. */
    RUN_FOOTER_BYTES_MAX = 4 * 1024 * 1024, /* Its index of index blocks: 60 bytes a MiB or two. */
    RUNS_MAX = 4096,                        /* Named by one manifest. */
    STORE_CONFIGURATION_BYTES_MAX = 64 * 1024, /* A raft configuration, as the gate writes it. */
    STORE_TABLES_MAX = 8, /* Memtables of one store in memory; then checkpoints wait for reads. */

    FRAME_BYTES_MAX = 4 * 1024 * 1024, /* One frame on any link. */
};

#endif /* LOG_LIMITS_H_ */
