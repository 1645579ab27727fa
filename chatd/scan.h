/* chatd/scan.h -- where things stand in JSON text, without changing or copying it.
 *
 * For text that jansson accepted the answers are exact. For any other bytes they are a guess that
 * stays within the slice: good enough to find the number of a request that must be refused.
 * Borrows: every slice, results included. Thread: any; no state. */
#ifndef CHATD_SCAN_H_
#define CHATD_SCAN_H_

#include "log/base.h"

/* The value of the member key of the object that text is, as it stands there. False: none. */
bool scan_member(struct slice text, const char *key, struct slice *value);

/* How many objects and arrays are open at most at once. */
size_t scan_depth(struct slice text);

/* True when text holds nothing but JSON's white space. */
bool scan_blank(struct slice text);

#endif /* CHATD_SCAN_H_ */
