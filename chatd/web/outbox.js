/* outbox.js -- what this device has sent to one chat and has no final answer to yet.
 *
 * Pure: no clock, no network, no storage; the owner (client.js) feeds it and saves toJSON().
 * Every message gets this device's next number n in the chat, and keeps it until it is answered,
 * across reconnects and reloads. That number is what makes a message arrive exactly once: sent
 * again unchanged, it gets its first outcome again.
 *
 * The rules, from the errors of a send (each says `used`, and `n`, the last number used up):
 *   ok                    the number has its outcome: done.
 *   used:true             so has this one: the message is refused, the next number goes on.
 *   409 REUSED            somebody else took the number: the message moves to the end of the queue.
 *   used:false, for ever  the number is still open. The message is refused; the number is dropped
 *                         if it is the last, else a void takes it, so that no other number changes.
 *   used:false, retry     stop, hear the rest out, then send all again from the first, unchanged.
 *   504                   the same: the outcome is unknown, and the same number will tell.
 * Only when the server's last number is lower than all we hold (a cluster restored from a backup,
 * a void refused) are messages numbered anew. */

export const INFLIGHT_MAX = 32; // Unanswered sends of one chat that a server accepts.
export const QUEUE_MAX = 500; // Beyond this add() refuses: a person waits, a program stops.

const PAUSE_FIRST_MS = 150;
const PAUSE_LAST_MS = 10000;
const RETRIED = new Set([401, 409, 429, 500, 503, 504, 507]);

export class Outbox {
    /* saved: what toJSON() gave before, or nothing. */
    constructor(saved = null, { inflightMax = INFLIGHT_MAX, queueMax = QUEUE_MAX } = {}) {
        this.inflightMax = inflightMax;
        this.queueMax = queueMax;
        this.used = saved?.used ?? 0; // The last number known to have an outcome.
        this.items = []; // Waiting for their outcome, in order of n.
        this.refused = saved?.refused ?? []; // Refused for good; the person decides.
        this.sent = []; // Stored, but not yet seen among the chat's events.
        this.inflight = 0; // Sends of this connection without an answer.
        this.stalled = false; // An answer said stop.
        this.stalls = 0; // In a row, for growing pauses.
        this.afterMs = 0; // The longest pause an answer of this stall asked for.
        this.exact = null; // The server's last number as a GAP told it; others may be behind.
        for (const item of saved?.items ?? [])
            this.items.push({ ...item, out: false, maybe: true });
    }

    toJSON() {
        const plain = ({ key, n, k, b, at }) => ({ key, n, k, b, at });
        const refused = this.refused.map((item) => ({ ...plain(item), why: item.why }));
        return { used: this.used, items: this.items.map(plain), refused };
    }

    /* The number of the last message, or the last number used. */
    get last() {
        return Math.max(this.used, this.items.at(-1)?.n ?? 0);
    }

    get waiting() {
        return this.items.filter((item) => item.k !== 'void').length;
    }

    /* Number a message; null when the queue is full. key names it on this device, at: its time. */
    add({ key, k, b, at }) {
        if (this.items.length >= this.queueMax) return null;
        const item = { key, n: this.last + 1, k, b, at, out: false, maybe: false };
        this.items.push(item);
        return item;
    }

    /* Take back what add() just numbered, because it could not be saved. */
    undo(item) {
        if (this.items.at(-1) === item && !item.out && !item.maybe) this.items.pop();
    }

    /* The server's lower bound of the last number used (hello, open, chat.get, chat.new). */
    floor(n) {
        this.used = Math.max(this.used, n);
    }

    /* What may be sent now, in order. Each is answered by ok() or fail(), or lost with lost(). */
    take() {
        const out = [];
        if (this.stalled) return out;
        for (const item of this.items) {
            if (this.inflight >= this.inflightMax) break;
            if (item.out) continue;
            item.out = item.maybe = true;
            this.inflight++;
            out.push(item);
        }
        return out;
    }

    /* The connection is gone, with all answers: everything is to be sent again. */
    lost() {
        for (const item of this.items) item.out = false;
        this.inflight = 0;
        this.stalled = false;
        this.stalls = this.afterMs = 0;
        this.exact = null;
    }

    /* The message is stored; s is its seq, or nothing when the number is too old to tell. */
    ok(item, reply) {
        this.inflight--;
        this.stalls = 0;
        this.done(item, reply.s ?? 0, reply.ts ?? item.at);
    }

    /* The send was refused; see the rules above. */
    fail(item, err) {
        this.inflight--;
        item.out = false;
        const told = Number.isInteger(err.n);
        if (told) this.floor(err.n);
        if (!this.items.includes(item)) return;
        if (err.t === 'REUSED') {
            this.requeue(item, err.n ?? item.n);
        } else if (err.used) {
            this.stalls = 0;
            this.refuse(item, err);
        } else if (
            err.retry ||
            (RETRIED.has(err.code) && !['HEAD', 'GONE', 'DEVS'].includes(err.t))
        ) {
            this.stall(err);
        } else if (told && err.n >= item.n) {
            this.done(item, 0, item.at); // An earlier copy got there: its event will show it.
        } else {
            this.refuseOpen(item, err);
            this.stall(err);
        }
    }

    stall(err) {
        this.stalled = true;
        this.afterMs = Math.max(this.afterMs, err.after_ms ?? 0);
        if (err.t === 'GAP' && Number.isInteger(err.n)) this.exact = err.n;
    }

    /* After a stall, once every answer is in: how long to pause before resume(). Null: not now.
     * random is in [0, 1). */
    pause(random) {
        if (!this.stalled || this.inflight > 0) return null;
        const grown = Math.min(PAUSE_LAST_MS, PAUSE_FIRST_MS * 2 ** Math.min(this.stalls, 10));
        return Math.max(this.afterMs, grown * (0.5 + random / 2));
    }

    resume() {
        if (!this.stalled || this.inflight > 0) return;
        if (this.exact !== null && this.items.length > 0 && this.items[0].n > this.exact + 1) {
            this.renumber(this.exact);
        }
        this.stalled = false;
        this.stalls++;
        this.afterMs = 0;
        this.exact = null;
    }

    /* Number everything anew, in order, from n + 1. */
    renumber(n) {
        this.used = n;
        for (const item of this.items) item.n = ++n;
    }

    /* An event of this very device came with the chat. True: it is one of ours. */
    saw(n, k, b) {
        const match = (item) => item.n === n && item.k === k && same(item.b, b);
        const item = this.items.find(match);
        if (item) {
            this.items.splice(this.items.indexOf(item), 1);
            this.settle(n);
            return true;
        }
        for (const list of [this.sent, this.refused]) {
            const at = list.findIndex(match);
            if (at >= 0) return list.splice(at, 1).length > 0;
        }
        return false;
    }

    /* The chat is known up to seq s: what is stored up to there is shown as an event. */
    covered(s) {
        this.sent = this.sent.filter((item) => item.s > s);
    }

    /* Forget a refused message. */
    dropRefused(key) {
        const at = this.refused.findIndex((item) => item.key === key);
        if (at >= 0) this.refused.splice(at, 1);
    }

    /* Number n has its outcome. */
    settle(n) {
        this.used = Math.max(this.used, n);
        if (this.exact !== null) this.exact = Math.max(this.exact, n);
    }

    done(item, s, ts) {
        const at = this.items.indexOf(item);
        if (at < 0) return;
        this.items.splice(at, 1);
        this.settle(item.n);
        if (item.k !== 'void' && s > 0) this.sent.push({ ...item, s, ts });
    }

    refuse(item, err) {
        this.items.splice(this.items.indexOf(item), 1);
        this.settle(item.n);
        this.keepRefused(item, err);
    }

    /* Refused for good while its number is still open. */
    refuseOpen(item, err) {
        const isVoid = item.k === 'void';
        if (!isVoid) this.keepRefused(item, err);
        if (isVoid || this.items.at(-1) === item) {
            this.items.splice(this.items.indexOf(item), 1);
        } else {
            item.k = 'void';
            item.b = undefined;
            item.key = `void ${item.key}`;
        }
    }

    requeue(item, n) {
        this.used = Math.max(this.used, n, item.n);
        this.items.splice(this.items.indexOf(item), 1);
        if (item.k === 'void') return; // The number turned out used: nothing to give up.
        item.n = this.last + 1;
        item.maybe = false;
        this.items.push(item);
    }

    keepRefused(item, err) {
        if (item.k === 'void') return;
        const { key, n, k, b, at } = item;
        this.refused.push({ key, n, k, b, at, why: { code: err.code, t: err.t, msg: err.msg } });
    }
}

function same(a, b) {
    return JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
}
