/* raft/gate_rules.h -- the rules that fence libraft 0.15 in: number, name, what happens without.
 *
 * Debian's libraft, taken as it is, loses acknowledged writes, votes twice, crashes and stalls.
 * Each row is one such defect and the bit that switches its rule; the code of a rule carries its
 * name (GATE_F1) beside the reason. The product has all of them on; tests switch one off and show
 * the bug. Rules that are a form of the code and not a branch have no bit: 16 (a write-ahead log
 * error stops the process: log/wal.h), 19 (follows from never failing synchronously), 20
 * (arguments are checked by the gate). */
#ifndef RAFT_GATE_RULES_H_
#define RAFT_GATE_RULES_H_

#define GATE_RULES(X)                                                                          \
    X(0, GATE_F1, "an entry of an older term is committed by counting, then overwritten")      \
    X(1, GATE_F2, "a follower acknowledges a tail that no leader of this term compared")       \
    X(2, GATE_F3, "a second vote in one term, for the target of a transfer")                   \
    X(3, GATE_F4, "an election or an install starts over appends that are still in flight")    \
    X(4, GATE_F5, "steady pipelining never commits: only the leader's last index is tested")   \
    X(5, GATE_F6, "a diverged log is walked back one entry per heartbeat")                     \
    X(6, GATE_F7, "a failed send makes a leader forget how far its follower was")              \
    X(7, GATE_F8, "a sole voter leads again in a term it led before")                          \
    X(8, GATE_F9, "a leader probes for ever below what its follower compacted")                \
    X(9, GATE_F10, "taking back a configuration reads an entry that was compacted")            \
    X(10, GATE_F11, "a voter that its own unfinished configuration dropped never votes again") \
    X(11, GATE_F12, "a refused pre-vote hides the higher term that caused it")                 \
    X(12, GATE_F13, "a node that cannot stand for election believes in a dead leader")         \
    X(13, GATE_F14, "a configuration change starts over one that may be uncommitted")          \
    X(14, GATE_F15, "a message that contradicts committed entries disables the instance")      \
    X(15, GATE_F17, "an install that gets lost blocks its follower until a long timeout")      \
    X(16, GATE_F18, "one message carries the whole log")                                       \
    X(17, GATE_VOTE, "a promise is sent before the term and vote behind it are durable")

enum gate_rule {
#define X(bit, name, without) name = 1 << (bit),
    GATE_RULES(X)
#undef X
        GATE_RULES_ALL = (1 << 18) - 1,
};

#endif /* RAFT_GATE_RULES_H_ */
