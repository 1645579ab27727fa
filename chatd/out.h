/* chatd/out.h -- JSON text being written into a buffer.
 *
 * Commas place themselves: one is put before a key or a value unless what stands before it is
 * the start of the buffer or a line, or one of { [ : and comma.
 * Borrows: every argument until return; all is copied. Errors: none; what is written is valid
 *          UTF-8 whatever bytes were given. Thread: any, one at a time. */
#ifndef CHATD_OUT_H_
#define CHATD_OUT_H_

#include "log/base.h"
#include "log/codec.h"

void out_object(struct buf *out);                    /* { */
void out_object_end(struct buf *out);                /* } */
void out_array(struct buf *out);                     /* [ */
void out_array_end(struct buf *out);                 /* ] */
void out_key(struct buf *out, const char *key);      /* "key": -- key needs no escapes. */
void out_name(struct buf *out, struct slice key);    /* Likewise, key escaped. */
void out_string(struct buf *out, struct slice text); /* Quoted, escaped; bad UTF-8 is replaced. */
void out_uint(struct buf *out, uint64_t value);
void out_bool(struct buf *out, bool value);
void out_raw(struct buf *out, struct slice json); /* A value that is JSON text already. */

/* Key and value at once. */
void out_key_string(struct buf *out, const char *key, struct slice text);
void out_key_uint(struct buf *out, const char *key, uint64_t value);
void out_key_bool(struct buf *out, const char *key, bool value);
void out_key_raw(struct buf *out, const char *key, struct slice json);

/* The first of bytes that do not form valid UTF-8; text.len when all do. */
size_t utf8_valid_bytes(struct slice text);

#endif /* CHATD_OUT_H_ */
