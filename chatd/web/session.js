/* session.js -- staying connected: which front-end, hello, resume, coming back after a loss.
 *
 * States: 'connecting' -> 'online' -> 'waiting' (for the next attempt) -> 'connecting' ...
 * and 'over', which only a person ends: why is 'token', 'banned', 'version' or 'replaced'.
 * Front-ends known: the page's own, the `alt` of every hello, and those of earlier visits. */

import { Refusal, Wire } from './wire.js';

const HELLO_MS = 8000; // A server gives a client 10 s for its hello; we give it about as long.
const PAUSE_LAST_MS = 30000;
const ADDRESSES_MAX = 12;
const ENDS = { 4501: 'token', 4503: 'banned', 4505: 'version', 4510: 'replaced' };

export class Session {
    /* identity: {user, tok, dev}; own: the address of the page's own front-end; store keeps the
     * addresses. on: {state(session), resume() -> {epoch, pos, iv}, hello(reply), push(object)}. */
    constructor(identity, own, store, on) {
        this.identity = identity;
        this.own = own;
        this.store = store;
        this.on = on;
        this.state = 'waiting';
        this.why = '';
        this.retryAt = 0; // When the next attempt is due, while waiting.
        this.tries = 0; // Attempts since we were last online.
        this.backMs = 500; // Until a hello tells.
        this.url = own;
        this.wire = null;
        this.timer = 0;
    }

    start() {
        this.connect();
    }

    stop() {
        clearTimeout(this.timer);
        this.leave();
    }

    /* Try at once: a person asked, or the network is back. */
    hurry() {
        if (this.state === 'waiting') this.connect();
    }

    get online() {
        return this.state === 'online';
    }

    request(op, fields) {
        if (!this.online) return Promise.reject(new Refusal({ msg: 'not connected' }));
        return this.wire.request(op, fields);
    }

    tell(op, fields) {
        if (this.online) this.wire.tell(op, fields);
    }

    /* A newer token of the same user. */
    renew(tok) {
        this.identity.tok = tok;
        if (this.online) this.wire.request('auth', { tok }).catch(() => {});
        else if (this.state === 'over' && this.why === 'token') this.connect();
    }

    addresses() {
        const kept = this.store.get('addresses', []);
        return [...new Set([this.own, ...kept])];
    }

    remember(alt) {
        const fresh = alt.filter((url) => this.usable(url));
        const all = [...new Set([this.url, ...fresh, ...this.store.get('addresses', [])])];
        this.store.set('addresses', all.slice(0, ADDRESSES_MAX));
    }

    /* A page loaded over TLS may not open a socket without; a bad address may not end us. */
    usable(url) {
        try {
            const { protocol } = new URL(url);
            return protocol === 'wss:' || (protocol === 'ws:' && this.own.startsWith('ws:'));
        } catch {
            return false;
        }
    }

    connect() {
        clearTimeout(this.timer);
        this.leave();
        this.change('connecting');
        const wire = new Wire(this.url, {
            open: () => this.hello(wire),
            push: (object) => this.push(object),
            close: ({ code }) => this.lost(wire, code),
        });
        this.wire = wire;
        this.timer = setTimeout(() => wire.end(4009, 'no hello'), HELLO_MS);
    }

    async hello(wire) {
        const { tok, dev } = this.identity;
        const resume = this.on.resume();
        let reply;
        try {
            reply = await wire.request('hello', { v: [1, 1], tok, dev, ua: 'web/1', ...resume });
        } catch (refusal) {
            if (refusal.lost) return;
            wire.end(
                refusal.code === 401 ? 4501 : refusal.code === 403 ? 4503 : 4000,
                refusal.message,
            );
            return;
        }
        if (wire !== this.wire) return;
        clearTimeout(this.timer);
        this.tries = 0;
        this.backMs = reply.back_ms ?? this.backMs;
        this.remember(reply.alt ?? []);
        this.change('online', () => this.on.hello(reply));
    }

    push(object) {
        if (object.drain) this.drain(object.drain);
        else this.on.push(object);
    }

    /* The server asks us to move; nothing is wrong, so nobody needs to see it. */
    drain({ spread_ms: spreadMs = 0 }) {
        const wire = this.wire;
        setTimeout(() => {
            if (wire !== this.wire || wire.closed) return;
            this.turn();
            this.connect();
        }, Math.random() * spreadMs);
    }

    lost(wire, code) {
        if (wire !== this.wire) return;
        clearTimeout(this.timer);
        this.wire = null;
        if (code >= 4500 && code <= 4999) {
            this.why = ENDS[code] ?? 'banned';
            this.change('over');
            return;
        }
        const pause = this.pause();
        this.turn();
        this.tries++;
        this.retryAt = Date.now() + pause;
        this.timer = setTimeout(() => this.connect(), pause);
        this.change('waiting');
    }

    /* After a loss anywhere within back_ms; then, each time round all addresses, twice as long. */
    pause() {
        if (this.tries === 0) return Math.random() * this.backMs;
        const round = Math.floor(this.tries / this.addresses().length);
        const most = Math.min(PAUSE_LAST_MS, 500 * 2 ** Math.min(round, 10));
        return most * (0.5 + Math.random() / 2);
    }

    /* The next address. */
    turn() {
        const all = this.addresses();
        this.url = all[(all.indexOf(this.url) + 1) % all.length];
    }

    leave() {
        const wire = this.wire;
        this.wire = null;
        wire?.close();
    }

    /* before: what must be done ahead of anybody's hearing of the new state. */
    change(state, before = () => {}) {
        this.state = state;
        before();
        this.on.state(this);
    }
}
