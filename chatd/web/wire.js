/* wire.js -- one WebSocket to one front-end: frames, requests with their replies, and silence.
 *
 * A Wire lives as long as its socket. The owner (session.js) opens another one after it.
 * request() resolves with the `ok` of the reply, or rejects with a Refusal: the `err` of the reply,
 * or code 0 when the connection was lost before the reply came. */

const SILENT_MS = 60000; // A server says something every 25 s.
const ANSWER_MS = 15000; // It answers within 10 s; one that was asked and says nothing is gone.
const CHECK_MS = 5000;

export class Refusal extends Error {
    constructor(err) {
        super(err.msg || err.t || 'refused');
        Object.assign(this, { code: 0, t: '', ...err });
        this.err = { code: this.code, ...err };
    }

    get lost() {
        return this.code === 0;
    }
}

export class Wire {
    /* on: {open(), push(object), close({code, reason})}; close comes once and last. */
    constructor(url, on) {
        this.on = on;
        this.next = 1;
        this.waiting = new Map(); // i -> {resolve, reject, asked}
        this.closed = false;
        this.heard = Date.now();
        this.socket = new WebSocket(url, 'parley.v1');
        this.socket.onopen = () => on.open();
        this.socket.onmessage = (event) => this.frame(event.data);
        this.socket.onclose = (event) => this.end(event.code, event.reason);
        this.check = setInterval(() => this.checkSilence(), CHECK_MS);
    }

    /* Ask for one operation. */
    request(op, fields) {
        const i = this.next++;
        return new Promise((resolve, reject) => {
            if (!this.write({ i, [op]: fields })) {
                reject(new Refusal({ msg: 'not connected' }));
                return;
            }
            this.waiting.set(i, { resolve, reject, asked: Date.now() });
        });
    }

    /* Say something that is not answered (mark, note). */
    tell(op, fields) {
        this.write({ [op]: fields });
    }

    close() {
        this.end(1000, 'closed here');
    }

    write(object) {
        if (this.closed || this.socket.readyState !== WebSocket.OPEN) return false;
        this.socket.send(JSON.stringify(object));
        return true;
    }

    frame(text) {
        this.heard = Date.now();
        for (const line of text.split('\n')) {
            if (this.closed) return;
            let object;
            try {
                object = JSON.parse(line);
            } catch {
                continue; // Blank, or not ours to judge: the next line may be fine.
            }
            if (object && typeof object === 'object') this.object(object);
        }
    }

    object(object) {
        if (object.i === undefined) {
            this.on.push(object);
            return;
        }
        const waiter = this.waiting.get(object.i);
        this.waiting.delete(object.i);
        if (!waiter) return;
        if (object.err) waiter.reject(new Refusal(object.err));
        else waiter.resolve(object.ok ?? {});
    }

    checkSilence() {
        const now = Date.now();
        const [oldest] = this.waiting.values();
        const unanswered = oldest && now - Math.max(oldest.asked, this.heard) > ANSWER_MS;
        if (unanswered || now - this.heard > SILENT_MS) this.end(4009, 'silent');
    }

    end(code, reason) {
        if (this.closed) return;
        this.closed = true;
        clearInterval(this.check);
        this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
        this.socket.close();
        for (const waiter of this.waiting.values()) waiter.reject(new Refusal({ msg: 'lost' }));
        this.waiting.clear();
        this.on.close({ code, reason });
    }
}
