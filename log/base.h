/* log/base.h -- what every file here needs: types with a unit, borrowed bytes, CHECK.
 *
 * Errors: a CHECK that fails is a bug or lost durability; it prints where and aborts. It is
 *         compiled into every build. Memory that cannot be had stops the process the same way:
 *         all that grows is bounded (log/limits.h), so that running out is a bug too. */
#ifndef LOG_BASE_H_
#define LOG_BASE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "log/err.h"

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Stop the process when cond does not hold. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__, __func__))

/* Raft's terms, one type each so that a name tells which is meant. All start at 1; 0 is none. */
typedef uint64_t index_t; /* An entry's place in one partition's log. */
typedef uint64_t term_t;  /* A raft term of one partition. */
typedef uint64_t seq_t;   /* A record's place in its stream. */
typedef uint64_t batch_t; /* A batch's place in one node's write-ahead log. */
typedef uint16_t part_t;  /* A partition's number, from 0. */

/* Bytes that belong to somebody else. */
struct slice {
    const void *data; /* Borrowed; may be NULL when len is 0. */
    size_t len;
};

/* A slice over a string literal or another C string, without its end mark. */
static inline struct slice slice_str(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Order by bytes; a prefix sorts before what it begins. <0, 0 or >0. */
int slice_compare(struct slice a, struct slice b);

/* malloc, calloc, realloc and a copy that never return NULL. The caller frees with free. */
void *mem_alloc(size_t bytes);
void *mem_zero(size_t bytes);
void *mem_resize(void *old, size_t bytes);
void *mem_copy(const void *data, size_t bytes); /* data copied; one byte at least is allocated. */
char *mem_string(struct slice text);            /* A copy with an end mark. */

__attribute__((noreturn)) void check_failed(const char *cond, const char *file, int line,
                                            const char *func);

#endif /* LOG_BASE_H_ */
