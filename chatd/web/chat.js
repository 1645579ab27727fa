/* chat.js -- what is known of one chat: a window of its events without a hole, everybody's marks.
 *
 * Pure: no clock, no network. Events are numbered 1, 2, 3 ... by the server. The window covers
 * the seqs [lo, last]; an event is applied when it is last + 1, dropped when it is older, and held
 * when one in between is missing, until the owner has asked for the hole (hole(), then fill()). */

export const HELD_MAX = 500; // Events kept beyond a hole; what is dropped comes with fill().
export const PAGE = 50; // Events asked for at a time.

const TYPING_MS = 6000;

export class Chat {
    constructor(c) {
        this.c = c;
        this.events = []; // Applied, by seq.
        this.lo = 1; // First seq the window covers.
        this.last = 0; // Last seq the window covers.
        this.first = 1; // First seq that can be had at all.
        this.head = 0; // The server's last seq as far as we heard.
        this.held = new Map(); // seq -> event, beyond a hole.
        this.news = []; // Events that joined the window and were not taken by takeNews().
        this.marks = new Map(); // user -> {recv, read}
        this.typing = new Map(); // user -> when it ends, in the owner's clock.
    }

    /* Start at the present: everything from head + 1 is pushed; some of it may be held already,
     * when it came in one frame with the answer that tells the head. */
    begin({ head, first = 1 }) {
        this.events = [];
        this.lo = head + 1;
        this.last = head;
        this.head = Math.max(this.head, head);
        this.first = Math.max(1, first);
        this.release();
    }

    /* True when no event older than the window is to be had. */
    get whole() {
        return this.lo <= this.first;
    }

    /* A pushed event: 'new' (applied, maybe with held ones), 'old' (had it) or 'hole'. */
    push(ev) {
        this.head = Math.max(this.head, ev.s);
        if (ev.s <= this.last) return 'old';
        if (ev.s > this.last + 1) {
            this.hold(ev);
            return 'hole';
        }
        this.apply(ev);
        this.release();
        return 'new';
    }

    /* What is missing before the first held event, as [from, to); null when nothing is. */
    hole() {
        if (this.held.size === 0) return null;
        return { from: this.last + 1, to: Math.min(...this.held.keys()) };
    }

    /* The answer to a question for history: events that cover [from, next). Either continues the
     * window forwards or extends it backwards; anything else changes nothing. True: it did. */
    fill(from, events, next) {
        const sorted = [...events].sort((a, b) => a.s - b.s);
        if (from <= this.last + 1 && next > this.last + 1) {
            for (const ev of sorted) {
                if (ev.s > this.last && ev.s < next) this.apply(ev);
            }
            this.last = Math.max(this.last, next - 1);
            this.head = Math.max(this.head, this.last);
            this.release();
            return true;
        }
        if (from < this.lo && next >= this.lo) {
            const older = sorted.filter((ev) => ev.s >= from && ev.s < this.lo);
            this.events.unshift(...older);
            this.news.push(...older);
            this.lo = from;
            return true;
        }
        return false;
    }

    /* What joined the window since the last call, also what was held until its hole was filled. */
    takeNews() {
        return this.news.splice(0);
    }

    /* A user's marks; they never go back. True: something rose. */
    mark(user, { recv = 0, read = 0 }) {
        const old = this.marks.get(user) ?? { recv: 0, read: 0 };
        const now = { recv: Math.max(old.recv, recv, read), read: Math.max(old.read, read) };
        this.marks.set(user, now);
        return now.recv > old.recv || now.read > old.read;
    }

    /* How far an own message at seq s got: 'read', 'recv' or 'sent', by all of the others; and how
     * many of them have read it. */
    ticks(s, others) {
        if (others.length === 0) return { state: 'sent', read: 0 };
        const of = (user) => this.marks.get(user) ?? { recv: 0, read: 0 };
        const read = others.filter((user) => of(user).read >= s).length;
        const recv = others.filter((user) => of(user).recv >= s).length;
        const state = read === others.length ? 'read' : recv === others.length ? 'recv' : 'sent';
        return { state, read };
    }

    typed(user, now) {
        this.typing.set(user, now + TYPING_MS);
    }

    typists(now) {
        for (const [user, until] of this.typing) if (until <= now) this.typing.delete(user);
        return [...this.typing.keys()];
    }

    /* Forget all but the latest keep events; scrolling back fetches them again. */
    trim(keep) {
        if (this.events.length <= keep) return;
        this.events = this.events.slice(-keep);
        this.lo = this.events[0].s;
    }

    hold(ev) {
        this.held.set(ev.s, ev);
        if (this.held.size > HELD_MAX) this.held.delete(Math.max(...this.held.keys()));
    }

    release() {
        for (const s of this.held.keys()) if (s <= this.last) this.held.delete(s);
        while (this.held.has(this.last + 1)) {
            const ev = this.held.get(this.last + 1);
            this.held.delete(ev.s);
            this.apply(ev);
        }
    }

    apply(ev) {
        this.events.push(ev);
        this.news.push(ev);
        this.last = ev.s;
        this.head = Math.max(this.head, ev.s);
        this.typing.delete(ev.u);
        if (ev.k === 'msg') this.mark(ev.u, { read: ev.s });
        if (ev.k === 'join')
            for (const user of ev.b?.users ?? [ev.u]) this.mark(user, { read: ev.s });
    }
}
