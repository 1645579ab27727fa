/* tests/raft/gate_rig.c -- see gate_rig.h. */
#include "tests/raft/gate_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void rig_run(struct rig *rig, uint64_t ms)
{
    world_run_for(rig->world, ms * MS);
    cluster_check(rig->c);
}

void rig_open(struct rig *rig, struct rig_options options)
{
    struct cluster_config config = {
        .nodes = options.nodes,
        .voters = options.voters,
        .rules = options.rules,
        .log_bytes = options.log_bytes != 0 ? options.log_bytes : 4 * 1024 * 1024,
        .checkpoint_entries =
            options.checkpoint_entries != 0 ? options.checkpoint_entries : 1U << 30,
        .delay_us = 2 * MS,
    };
    *rig = (struct rig){.world = world_create(1), .nodes = options.nodes};
    rig->c = cluster_create(rig->world, &config);
    for (unsigned i = 0; i < options.nodes; i++) {
        cluster_sleep(rig->c, i, i > 0);
        cluster_start(rig->c, i);
    }
    rig_run(rig, 1);
    CHECK(rig_elect_ready(rig, 0));
    rig_run(rig, 300);
}

void rig_close(struct rig *rig)
{
    cluster_destroy(rig->c);
    world_destroy(rig->world);
}

static bool elect(struct rig *rig, unsigned n, bool ready)
{
    for (unsigned i = 0; i < rig->nodes; i++)
        cluster_sleep(rig->c, i, i != n);
    for (unsigned ms = 0; ms < 10000; ms++) {
        const struct gate *gate = cluster_gate(rig->c, n);
        if (gate_state(gate) == GATE_LEADER && (!ready || gate_ready(gate))) return true;
        rig_run(rig, 1);
    }
    return false;
}

bool rig_elect(struct rig *rig, unsigned n)
{
    return elect(rig, n, false);
}

bool rig_elect_ready(struct rig *rig, unsigned n)
{
    return elect(rig, n, true);
}

void rig_stop(struct rig *rig, unsigned n)
{
    cluster_crash(rig->c, n, SIM_KILL);
}

void rig_start(struct rig *rig, unsigned n)
{
    cluster_sleep(rig->c, n, true);
    cluster_start(rig->c, n);
    while (!cluster_up(rig->c, n))
        world_step(rig->world);
}

void rig_restart(struct rig *rig, unsigned n)
{
    rig_stop(rig, n);
    rig_start(rig, n);
}

unsigned rig_propose(struct rig *rig, unsigned n, unsigned count, size_t bytes)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < count; i++) {
        if (cluster_propose(rig->c, n, bytes) == 0) taken++;
        rig_run(rig, 1);
    }
    return taken;
}

bool rig_await_applied(struct rig *rig, unsigned n, index_t index, uint64_t ms)
{
    for (uint64_t i = 0; i < ms && cluster_applied(rig->c, n) < index; i++)
        rig_run(rig, 1);
    return cluster_applied(rig->c, n) >= index;
}

bool rig_change(struct rig *rig, unsigned n, uint64_t id, enum gate_role role)
{
    struct gate *gate = cluster_gate(rig->c, n);
    struct gate_member members[GATE_MEMBERS_MAX];
    for (unsigned ms = 0; ms < 10000; ms++, rig_run(rig, 1)) {
        if (gate_changing(gate)) continue;
        size_t count = gate_members(gate, members), at = 0;
        while (at < count && members[at].id != id)
            at++;
        if (at < count && members[at].role == role) return true;
        int rv = at == count ? gate_member_add(gate, id) : gate_member_assign(gate, id, role);
        CHECK(rv == 0 || rv == ERR_BUSY);
    }
    return false;
}

bool rig_dies(void (*scenario)(uint32_t rules), uint32_t rules)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(9);
        scenario(rules);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}
