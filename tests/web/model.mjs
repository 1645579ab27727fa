/* tests/web/model.mjs -- a server of one chat in memory, and sockets that break, from a seed.
 *
 * It keeps what the protocol promises (one order, one outcome per number, answers to sends in
 * order) and is as unkind as the protocol allows: connections drop at any frame, with or without
 * what was asked having been done; sends are put off or their outcome is unknown; pushes skip
 * events, so that there are holes. Time is the test's: everything happens on setTimeout. */

const STEP_MS = 5;

export class Model {
    constructor(seed) {
        this.state = seed;
        this.kind = false; // True: no more trouble.
        this.events = [];
        this.marks = new Map();
        this.producers = new Map(); // user/dev -> {last, outcomes}
        this.links = new Set();
    }

    random() {
        this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
        return this.state / 2 ** 32;
    }

    trouble(chance) {
        return !this.kind && this.random() < chance;
    }

    /* The trouble is over. Everybody comes back once more: a push that was left out last of all
     * would have nothing behind it to show that it is missing. */
    calm() {
        this.kind = true;
        for (const link of [...this.links]) link.drop();
    }

    /* The WebSocket class for this server. */
    socketClass() {
        const model = this;
        return class {
            static OPEN = 1;

            constructor() {
                this.readyState = 0;
                this.after(() => {
                    if (model.trouble(0.2)) {
                        this.drop();
                        return;
                    }
                    this.readyState = 1;
                    model.links.add(this);
                    this.onopen?.();
                });
            }

            after(what) {
                setTimeout(
                    () => this.readyState !== 3 && what(),
                    STEP_MS * (1 + Math.floor(model.random() * 4)),
                );
            }

            send(text) {
                (this.queue ??= []).push(text);
                this.after(() => model.receive(this, JSON.parse(this.queue.shift())));
            }

            say(object) {
                (this.out ??= []).push(object);
                this.after(() => this.onmessage?.({ data: JSON.stringify(this.out.shift()) }));
            }

            close() {
                this.readyState = 3;
                model.links.delete(this);
            }

            drop() {
                this.close();
                this.onclose?.({ code: 1006, reason: '' });
            }
        };
    }

    receive(link, { i, ...request }) {
        const [[op, fields]] = Object.entries(request);
        if (this.trouble(0.01)) {
            link.drop();
            return;
        }
        let reply;
        try {
            reply = { ok: this[op.replace('.', '_')]?.(link, fields) ?? {} };
        } catch (err) {
            reply = { err };
        }
        if (this.trouble(0.01)) link.drop();
        else if (i !== undefined) link.say({ i, ...reply });
        link.then?.();
        link.then = null;
    }

    hello(link, { tok, dev, pos }) {
        link.user = tok;
        link.dev = dev;
        link.then = () => Object.entries(pos).forEach(([, from]) => this.follow(link, from));
        return {
            v: 1,
            epoch: 1,
            now: Date.now(),
            n: {},
            alt: [],
            back_ms: 100,
            lim: { body: 32768, inflight: 32 },
        };
    }

    inbox(link) {
        const head = this.events.length;
        return {
            iv: 'x',
            chats: head > 0 ? [{ c: this.c, head, unread: 0, recv: head, read: 0 }] : [],
        };
    }

    open(link, { from }) {
        const head = this.events.length;
        link.then = () => this.follow(link, from < 0 ? head : from);
        return {
            head,
            first: 1,
            n: this.producer(link).last,
            marks: [],
            mine: { recv: 0, read: 0 },
        };
    }

    follow(link, from) {
        link.follows = true;
        for (const ev of this.events.slice(from)) this.tell(link, ev);
    }

    /* A push may be left out while a later one shows that it is missing. */
    tell(link, ev) {
        if (this.trouble(0.05)) return;
        link.say({ ev: ev.u === link.user ? ev : { ...ev, d: undefined } });
    }

    hist(link, { from, limit }) {
        const some = Math.max(1, Math.floor(this.random() * limit));
        const ev = this.events.slice(from - 1, from - 1 + some);
        return { ev, next: from + ev.length, first: 1, head: this.events.length };
    }

    producer(link) {
        const name = `${link.user}/${link.dev}`;
        if (!this.producers.has(name)) this.producers.set(name, { last: 0, outcomes: new Map() });
        return this.producers.get(name);
    }

    send(link, { c, n, k, b }) {
        const producer = this.producer(link);
        const content = JSON.stringify([k, b]);
        const refuse = (code, t, used = false) => ({
            code,
            t,
            used,
            n: producer.last,
            retry: true,
        });
        const first = producer.outcomes.get(n);
        if (first) {
            if (first.content !== content) throw refuse(409, 'REUSED', true);
            return { s: first.s, dup: true };
        }
        if (n > producer.last + 1) throw refuse(409, 'GAP');
        if (this.trouble(0.05)) throw refuse(429, 'RATE');
        if (this.trouble(0.05)) throw refuse(504, 'UNKNOWN');
        const ev = {
            c,
            s: this.events.length + 1,
            ts: Date.now(),
            u: link.user,
            d: link.dev,
            n,
            k,
            b,
        };
        this.events.push(ev);
        producer.last = n;
        producer.outcomes.set(n, { content, s: ev.s });
        for (const other of this.links) if (other.follows) this.tell(other, ev);
        if (this.trouble(0.05)) throw refuse(504, 'UNKNOWN');
        return { s: ev.s, ts: ev.ts };
    }
}
