/* raft/install_absent.c -- the store cannot make or take deltas yet: all that asks for them fails.
 * Built only while log/install.c is not there; it goes with the commit that brings that. */
#include "log/store.h"
int store_delta_make(struct store *s, index_t from, void (*done)(void *, int, struct store_delta *),
                     void *arg)
{
    (void)s;
    (void)from;
    (void)done;
    (void)arg;
    return ERR_IO;
}
uint64_t store_delta_bytes(const struct store_delta *d)
{
    (void)d;
    return 0;
}
int store_delta_read(struct store_delta *d, uint64_t o, void *out, size_t b, size_t *g)
{
    (void)d;
    (void)o;
    (void)out;
    (void)b;
    (void)g;
    return ERR_IO;
}
void store_delta_release(struct store_delta *d)
{
    (void)d;
}
int store_install_begin(struct store *s, const struct store_facts *f, index_t from,
                        struct store_install **out)
{
    (void)s;
    (void)f;
    (void)from;
    (void)out;
    return ERR_IO;
}
void store_install_put(struct store_install *i, struct slice b)
{
    (void)i;
    (void)b;
}
size_t store_install_backlog(const struct store_install *i)
{
    (void)i;
    return 0;
}
void store_install_finish(struct store_install *i, void (*done)(void *arg, int err), void *arg)
{
    (void)i;
    (void)done;
    (void)arg;
}
void store_install_commit(struct store_install *i, batch_t w, void (*done)(void *arg, int err),
                          void *arg)
{
    (void)i;
    (void)w;
    (void)done;
    (void)arg;
}
void store_install_cancel(struct store_install *i)
{
    (void)i;
}
