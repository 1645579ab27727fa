/* chatd/error.c -- see error.h. */
#include "chatd/error.h"

#include <stdarg.h>
#include <stdio.h>

struct fault_row {
    int code;
    bool retry;
    const char *name;
    const char *text;
};

static const struct fault_row rows[] = {
#define X(code, name, retry, text) {code, retry, #name, text},
    FAULT_TABLE(X)
#undef X
};

static const struct fault_row *row_of(enum fault_kind kind)
{
    CHECK((size_t)kind < ARRAY_COUNT(rows));
    return &rows[kind];
}

int fault_set(struct fault *fault, enum fault_kind kind, const char *format, ...)
{
    *fault = (struct fault){.kind = kind};
    if (fault_retry(kind)) fault->after_ms = FAULT_AFTER_MS;
    va_list list;
    va_start(list, format);
    vsnprintf(fault->msg, sizeof(fault->msg), format, list);
    va_end(list);
    return -1;
}

struct fault fault_from_err(int err)
{
    struct fault fault = {.kind = FAULT_BUG};
    CHECK(err < 0);
    switch (err) {
        case ERR_UNKNOWN:
        case ERR_TIMEOUT:
        case ERR_CLOSED:
        case ERR_CANCELED:
            fault.kind = FAULT_UNKNOWN;
            break;
        case ERR_NO_LEADER:
        case ERR_NOT_LEADER:
        case ERR_CONNECT:
        case ERR_NOT_FORMED:
            fault.kind = FAULT_NOLEADER;
            break;
        case ERR_BUSY:
            fault.kind = FAULT_RATE;
            break;
        case ERR_NO_SPACE:
            fault.kind = FAULT_FULL;
            break;
        case ERR_GAP:
            fault.kind = FAULT_GAP;
            break;
        case ERR_REUSED:
            fault.kind = FAULT_REUSED;
            break;
        case ERR_NO_STREAM:
            fault.kind = FAULT_NOCHAT;
            break;
        case ERR_TOO_BIG:
            fault.kind = FAULT_BIG;
            break;
        case ERR_RESET:
            fault.kind = FAULT_TRIM;
            break;
        default:
            break;
    }
    if (fault_retry(fault.kind)) fault.after_ms = FAULT_AFTER_MS;
    return fault;
}

int fault_code(enum fault_kind kind)
{
    return row_of(kind)->code;
}

const char *fault_name(enum fault_kind kind)
{
    return row_of(kind)->name;
}

const char *fault_text(const struct fault *fault)
{
    return fault->msg[0] != '\0' ? fault->msg : row_of(fault->kind)->text;
}

bool fault_retry(enum fault_kind kind)
{
    return row_of(kind)->retry;
}
