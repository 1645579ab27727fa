/* conversation.js -- one chat as this client takes part in it: following, history, sending, marks.
 *
 * Joins the pure parts (chat.js, outbox.js) to the session. phase:
 *   'closed'   not followed now; open() follows      'opening'  asked, no answer yet
 *   'open'     followed: events, marks, typing come   'absent'   nobody has written here yet
 *   'gone'     I am no member (any more), or it never was */

import { Chat, PAGE } from './chat.js';
import { isDirect, peerOf } from './ids.js';
import { Outbox } from './outbox.js';

const FOLLOWED = ['ev', 'mark', 'note'];
const CATCH_UP_MAX = 1000; // Further behind than this, start again at the present.
const HIST_LIMIT = 200;
const LOADED_MAX = 300; // Events kept, up to twice as many, while nobody reads further up.
const TYPING_EVERY_MS = 3100; // The server passes on one in 3 s.
const AGAIN_MS = 1000;
const MARKS_MEMBERS_MAX = 256; // The server pushes marks in groups up to this size.
const MEMBERS_PAGE = 200;
const MEMBERS_MAX = 1000; // Shown; a larger group's list ends there.
const TOLD = new Set(['join', 'leave', 'kick', 'ban', 'role', 'owner', 'title', 'settings']);

export class Conversation {
    /* client: {me, dev, session, limits, changed(c), marked(c), watch(c, users), now()};
     * box: the Store of outboxes. */
    constructor(client, c, box) {
        this.client = client;
        this.c = c;
        this.box = box;
        this.chat = new Chat(c);
        this.outbox = new Outbox(box.get(c), { inflightMax: client.limits.inflight });
        this.phase = 'closed';
        this.fresh = true; // The window was never begun: opening starts at the present.
        this.asking = false; // A question for a hole is on its way.
        this.reading = false; // Somebody reads further up: nothing is forgotten.
        this.loading = false; // A question for older events is on its way.
        this.pauseTimer = 0;
        this.typedAt = 0; // When typing was last said.
        this.typingTimer = 0;
        this.info = null; // {title, role}
        this.members = null; // [{u, role}]
        this.infoTimer = 0;
    }

    get direct() {
        return isDirect(this.c);
    }

    get mine() {
        return this.chat.marks.get(this.client.me) ?? { recv: 0, read: 0 };
    }

    /* The members whose marks decide my ticks. */
    others() {
        const { me } = this.client;
        if (this.direct) return [peerOf(this.c, me)].filter((user) => user !== me);
        const users = (this.members ?? []).map((member) => member.u).filter((user) => user !== me);
        return users.length < MARKS_MEMBERS_MAX ? users : [];
    }

    // ---- Following -------------------------------------------------------------------------

    async open() {
        const { session } = this.client;
        if (!session.online || this.phase === 'opening' || this.phase === 'open') return;
        this.phase = 'opening';
        this.client.changed(this.c);
        try {
            const from = this.fresh ? -1 : this.chat.last;
            this.opened(await session.request('open', { c: this.c, from, what: FOLLOWED }));
        } catch (refusal) {
            if (this.phase !== 'opening') return;
            if (refusal.code === 404) this.phase = this.direct && this.fresh ? 'absent' : 'gone';
            else this.phase = 'closed';
            if (!refusal.lost && refusal.code !== 404) this.later(() => this.open(), refusal);
            this.client.changed(this.c);
        }
    }

    opened(reply) {
        if (this.phase !== 'opening') return;
        this.phase = 'open';
        if (this.fresh) this.chat.begin(reply);
        this.fresh = false;
        if (this.chat.hole()) this.fillHole();
        this.chat.head = Math.max(this.chat.head, reply.head ?? 0);
        this.outbox.floor(reply.n ?? 0);
        this.takeMarks(reply);
        this.learned();
        if (this.chat.events.length < PAGE) this.older();
        this.refreshInfo();
        this.pump();
    }

    takeMarks({ marks = [], mine }) {
        for (const { u, ...mark } of asList(marks)) this.chat.mark(u, mark);
        if (mine) this.chat.mark(this.client.me, mine);
    }

    /* After hello: what was followed is followed again, from where we are. */
    resumed() {
        if (this.phase === 'open') this.askMarks();
        if (this.phase === 'open' && this.chat.events.length === 0) this.older();
        this.pump();
    }

    /* hello resumes the events; what others read meanwhile only the answer to open tells. */
    async askMarks() {
        try {
            const open = { c: this.c, from: this.chat.last, what: FOLLOWED };
            this.takeMarks(await this.client.session.request('open', open));
            this.client.changed(this.c);
        } catch {
            // What ended the following says so itself.
        }
    }

    disconnected() {
        clearTimeout(this.pauseTimer);
        this.outbox.lost();
        this.asking = this.loading = false;
        if (this.phase === 'opening') this.phase = 'closed';
    }

    /* Everything known of the chat is void: the cluster is another one. */
    reset(n) {
        this.phase = 'closed';
        this.chat = new Chat(this.c);
        this.fresh = true;
        this.outbox.renumber(n);
        this.save();
    }

    pushed(ev) {
        const outcome = this.chat.push(ev);
        if (!this.reading) this.trim();
        if (outcome === 'hole' && !this.fresh) this.fillHole();
        if (outcome === 'new') this.learned();
    }

    /* Events joined the window: mine leave the outbox, those about the group make us look again. */
    learned() {
        const { me, dev } = this.client;
        let ours = false;
        for (const ev of this.chat.takeNews()) {
            if (ev.u === me && ev.d === dev) ours = this.outbox.saw(ev.n, ev.k, ev.b) || ours;
            if (TOLD.has(ev.k) && this.info) this.refreshInfo();
        }
        this.outbox.covered(this.chat.last);
        if (ours) this.save();
        this.client.changed(this.c);
        this.client.marked(this.c);
    }

    async fillHole() {
        if (this.asking) return;
        this.asking = true;
        try {
            for (let hole; (hole = this.chat.hole()) && this.asking;) {
                const limit = Math.min(hole.to - hole.from, HIST_LIMIT);
                const { events, next } = await this.hist(hole.from, limit);
                if (next <= hole.from) throw new Error('history does not go on');
                this.chat.fill(hole.from, events, next);
                this.learned();
            }
            this.asking = false;
        } catch (refusal) {
            this.asking = false;
            if (!refusal.lost) this.later(() => this.fillHole(), refusal);
        }
    }

    async hist(from, limit) {
        const reply = await this.client.session.request('hist', { c: this.c, from, limit });
        if (reply.first) this.chat.first = Math.max(this.chat.first, reply.first);
        return { events: reply.ev ?? [], next: reply.next ?? from };
    }

    /* One page further back. */
    async older() {
        const { chat } = this;
        if (this.loading || chat.whole || this.fresh || !this.client.session.online) return;
        this.loading = true;
        this.client.changed(this.c);
        const to = chat.lo;
        const start = Math.max(chat.first, to - this.pageSize());
        try {
            const gathered = [];
            for (let from = start; from < to;) {
                const { events, next } = await this.hist(from, to - from);
                if (next <= from) break;
                gathered.push(...events);
                from = next;
            }
            chat.fill(start, gathered, to);
            this.loading = false;
            this.learned();
        } catch (refusal) {
            this.loading = false;
            if (refusal.code === 410) chat.first = chat.lo;
            else if (!refusal.lost) this.later(() => this.older(), refusal);
            this.client.changed(this.c);
        }
    }

    /* The first page reaches back to where I stopped reading, if that is near. */
    pageSize() {
        const { chat } = this;
        if (chat.events.length > 0) return PAGE;
        const unread = chat.head - (this.client.inbox.rows.get(this.c)?.read ?? this.mine.read);
        return unread > 0 && unread < HIST_LIMIT - PAGE ? unread + PAGE : PAGE;
    }

    /* The server stopped following for us, and says why. */
    async closed({ why, head = 0, first = 1 }) {
        this.phase = why === 'gone' ? 'gone' : 'closed';
        this.client.changed(this.c);
        if (why === 'gone') return;
        const { chat } = this;
        if (head - chat.last > CATCH_UP_MAX || first > chat.last + 1) {
            this.chat.held.clear();
            this.fresh = true;
        } else {
            try {
                while (chat.last < head) {
                    const from = chat.last + 1;
                    const { events, next } = await this.hist(from, HIST_LIMIT);
                    if (!chat.fill(from, events, next)) break;
                    this.learned();
                }
            } catch (refusal) {
                if (!refusal.lost) this.later(() => this.open(), refusal);
                return;
            }
        }
        this.open();
    }

    later(again, { after_ms: afterMs = AGAIN_MS }) {
        setTimeout(() => this.client.session.online && again(), afterMs * (0.5 + Math.random()));
    }

    trim() {
        if (this.chat.events.length > 2 * LOADED_MAX) this.chat.trim(LOADED_MAX);
    }

    // ---- Sending ---------------------------------------------------------------------------

    /* Queue a message; null when it is on its way, else why not: 'full', 'storage', or 'elsewhere'
     * (another tab has taken over and numbers the messages now). */
    send(b, key) {
        if (this.client.retired) return 'elsewhere';
        const item = this.outbox.add({ key, k: 'msg', b, at: this.client.now() });
        if (!item) return 'full';
        if (!this.save()) {
            this.outbox.undo(item);
            return 'storage';
        }
        clearTimeout(this.typingTimer);
        this.typingTimer = 0;
        this.pump();
        this.client.changed(this.c);
        return null;
    }

    /* A refused message again, with a new number; or never. */
    retry(key) {
        const item = this.outbox.refused.find((one) => one.key === key);
        if (!item || this.send(item.b, item.key) !== null) return;
        this.forget(key);
    }

    forget(key) {
        this.outbox.dropRefused(key);
        this.save();
        this.client.changed(this.c);
    }

    save() {
        return !this.client.retired && this.box.set(this.c, this.outbox);
    }

    pump() {
        if (!this.client.session.online) return;
        for (const item of this.outbox.take()) this.post(item);
    }

    async post(item) {
        const { n, k, b } = item;
        try {
            const send = { c: this.c, n, k, ...(b === undefined ? {} : { b }) };
            const reply = await this.client.session.request('send', send);
            this.outbox.ok(item, reply);
            this.outbox.covered(this.chat.last);
            if (this.phase === 'absent') this.phase = 'closed';
            if (this.phase === 'closed') this.open();
        } catch (refusal) {
            if (refusal.lost) return; // disconnected() has put it back.
            this.outbox.fail(item, refusal.err);
        }
        this.save();
        this.client.changed(this.c);
        const pause = this.outbox.pause(Math.random());
        if (pause === null) {
            this.pump();
        } else {
            clearTimeout(this.pauseTimer);
            this.pauseTimer = setTimeout(() => this.unstall(), pause);
        }
    }

    unstall() {
        this.outbox.resume();
        this.save();
        this.pump();
    }

    /* Somebody types. Said at most once in a while; what comes too soon is said when it may be,
     * unless the message was sent by then. */
    typing() {
        if (this.phase !== 'open' || this.typingTimer) return;
        const wait = this.typedAt + TYPING_EVERY_MS - Date.now();
        if (wait <= 0) this.sayTyping();
        else this.typingTimer = setTimeout(() => this.sayTyping(), wait);
    }

    sayTyping() {
        this.typingTimer = 0;
        this.typedAt = Date.now();
        this.client.session.tell('note', { c: this.c, k: 'typing', b: {} });
    }

    // ---- The group -------------------------------------------------------------------------

    /* Ask for title, role and members, at most once in a while. */
    refreshInfo() {
        if (this.direct || this.infoTimer) return;
        this.infoTimer = setTimeout(async () => {
            this.infoTimer = 0;
            try {
                await this.loadInfo();
                await this.loadMembers();
            } catch {
                // No member any more, or the connection went: the next opening asks again.
            }
        }, 30);
    }

    async loadInfo() {
        const reply = await this.client.session.request('chat.get', { c: this.c });
        this.info = { title: reply.title ?? '', role: reply.role ?? 'member' };
        this.outbox.floor(reply.n ?? 0);
        this.client.changed(this.c);
    }

    async loadMembers() {
        const members = [];
        for (let from = '', more = true; more && members.length < MEMBERS_MAX;) {
            const page = { c: this.c, limit: MEMBERS_PAGE, ...(from ? { from } : {}) };
            const reply = await this.client.session.request('chat.members', page);
            members.push(...asList(reply.members ?? []));
            more = Boolean(reply.more) && reply.members.length > 0;
            from = members.at(-1)?.u;
        }
        const seen = new Set();
        this.members = members.filter(({ u }) => !seen.has(u) && seen.add(u));
        this.client.changed(this.c);
        this.client.watch(this.c, this.others().slice(0, 100));
    }
}

/* Lists of users come as [{u, ...}], ['u', ...] or {u: {...}}: make the first of all. */
export function asList(value) {
    if (!Array.isArray(value)) return Object.entries(value).map(([u, rest]) => ({ u, ...rest }));
    return value.map((one) =>
        typeof one === 'string' ? { u: one } : { ...one, u: one.u ?? one.user },
    );
}
