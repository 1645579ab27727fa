/* jepsen/sim/splitmix.h -- the chance of the simulator: splitmix64, many streams from one seed.
 *
 * Each node, disk and link draws from a stream of its own, named by what it is and its number, so
 * that one more of them leaves the chance of the others as it was. */
#ifndef JEPSEN_SIM_SPLITMIX_H_
#define JEPSEN_SIM_SPLITMIX_H_

#include "log/base.h"

struct splitmix {
    uint64_t state;
};

static inline uint64_t splitmix_next(struct splitmix *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15u; /* Steele, Lea, Flood: SplittableRandom, 2014. */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in 0 .. below - 1; below is at least 1. */
static inline uint64_t splitmix_below(struct splitmix *s, uint64_t below)
{
    return splitmix_next(s) % below;
}

/* The stream of seed for the thing of that kind and number. */
static inline struct splitmix splitmix_stream(uint64_t seed, uint64_t kind, uint64_t number)
{
    struct splitmix s = {seed};
    s.state = splitmix_next(&s) ^ (kind << 56) ^ number;
    s.state = splitmix_next(&s);
    return s;
}

#endif /* JEPSEN_SIM_SPLITMIX_H_ */
