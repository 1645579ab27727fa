/* tests/lib/dir.h -- a temporary folder for one test, and hands to damage the files in it.
 *
 * Owns:   the folder with all in it; dir_tear_down deletes it.
 * Errors: what cannot be done aborts the test (CHECK). name: a file inside the folder; copied. */
#ifndef TESTS_LIB_DIR_H_
#define TESTS_LIB_DIR_H_

#include "log/base.h"

struct dir {
    char path[64]; /* Absolute, "/tmp/parley-test-XXXXXX". */
    int fd;        /* The open folder. */
};

/* Make the folder, empty; delete it with all in it. */
void dir_set_up(struct dir *dir);
void dir_tear_down(struct dir *dir);

/* The absolute path of name; the caller frees it. */
char *dir_path(const struct dir *dir, const char *name);

uint64_t dir_size(const struct dir *dir, const char *name);
bool dir_has(const struct dir *dir, const char *name);
size_t dir_count(const struct dir *dir); /* Entries, without "." and "..". */

void dir_cut(const struct dir *dir, const char *name, uint64_t bytes); /* Off the end. */
void dir_cut_to(const struct dir *dir, const char *name, uint64_t bytes);
void dir_flip(const struct dir *dir, const char *name, uint64_t offset, uint8_t mask); /* Xor. */
void dir_put(const struct dir *dir, const char *name, uint64_t offset, struct slice bytes);
void dir_zero(const struct dir *dir, const char *name, uint64_t offset, uint64_t bytes);
void dir_copy(const struct dir *dir, const char *from, const char *to); /* One file. */
void dir_remove(const struct dir *dir, const char *name);

/* The whole file; the caller frees *data. */
void dir_get(const struct dir *dir, const char *name, uint8_t **data, size_t *bytes);

#endif /* TESTS_LIB_DIR_H_ */
