/* client.js -- one user's client: the session, the inbox, the conversations, who is online.
 *
 * Owns the protocol side of the page; the views (ui_*) read it and are told by subscribe() that
 * something changed. Nothing here touches the page. */

import { Conversation, asList } from './conversation.js';
import { directId, isDirect, peerOf, randomId } from './ids.js';
import { Inbox } from './inbox.js';
import { Session } from './session.js';

const FOLLOWED_MAX = 30; // Chats kept open; the inbox tells of all others.
const INBOX_PAGE = 100;
const INBOX_PAGES_MAX = 50;
const MARK_MS = 200; // Marks are gathered this long.
const TITLES_AT_ONCE = 4;
const WATCHED_MAX = 400; // Of the server's 500 a connection.

export class Client {
    /* identity: {user, tok, dev}; own: this page's front-end; store: this user's Store. */
    constructor(identity, own, store) {
        this.me = identity.user;
        this.dev = identity.dev;
        this.store = store;
        this.box = store.under('out').under(identity.dev);
        this.limits = { body: 32768, inflight: 32 };
        this.clockOff = 0; // The server's clock minus ours.
        this.inbox = new Inbox();
        this.inboxLoaded = false;
        this.conversations = new Map(); // In order of use, the latest last.
        this.presence = new Map(); // user -> {on, last}
        this.watched = new Map(); // user -> chat it is watched through
        this.marking = new Map(); // c -> {recv, read} not yet told
        this.markTimer = 0;
        this.titleQueue = new Set();
        this.titles = new Map(); // c -> {title, role} of groups that are not open
        this.titlesOpen = 0;
        this.titlesAsked = new Set();
        this.listeners = new Set();
        this.retired = false;
        this.session = new Session(identity, own, store, {
            state: () => this.stateChanged(),
            resume: () => this.resume(),
            hello: (reply) => this.hello(reply),
            push: (object) => this.push(object),
        });
        for (const c of this.box.keys()) {
            const saved = this.box.get(c);
            if (saved?.items?.length || saved?.refused?.length) this.conversation(c);
        }
    }

    /* fn(what, detail): 'state', 'inbox', 'chat' c, 'event' ev, 'presence'. */
    subscribe(fn) {
        this.listeners.add(fn);
    }

    emit(what, detail) {
        for (const fn of this.listeners) fn(what, detail);
    }

    now() {
        return Date.now() + this.clockOff;
    }

    start() {
        this.session.start();
    }

    /* Another tab has taken this user's device over. */
    retire() {
        this.retired = true;
        this.session.stop();
        this.session.why = 'replaced';
        this.session.change('over');
    }

    // ---- Connecting ------------------------------------------------------------------------

    stateChanged() {
        if (this.session.why === 'replaced') this.retired = true;
        if (!this.session.online) {
            for (const one of this.conversations.values()) one.disconnected();
            this.presence.clear();
        }
        this.emit('state');
    }

    resume() {
        const pos = {};
        for (const [c, one] of this.conversations) if (one.phase === 'open') pos[c] = one.chat.last;
        const epoch = this.store.get('epoch');
        const { iv } = this.inbox;
        return { pos, ...(epoch === null ? {} : { epoch }), ...(iv === undefined ? {} : { iv }) };
    }

    hello(reply) {
        this.clockOff = (reply.now ?? Date.now()) - Date.now();
        Object.assign(this.limits, reply.lim);
        const epoch = this.store.get('epoch');
        const reborn = epoch !== null && reply.epoch !== undefined && epoch !== reply.epoch;
        if (reply.epoch !== undefined) this.store.set('epoch', reply.epoch);
        const numbers = reply.n ?? {};
        if (reborn) this.inbox = new Inbox();
        for (const [c, one] of this.conversations) {
            if (reborn) one.reset(numbers[c] ?? 0);
            else one.outbox.floor(numbers[c] ?? 0);
        }
        queueMicrotask(() => this.goOn());
    }

    /* Online again: the list, what is watched, what is followed, what was not answered. */
    goOn() {
        this.loadInbox();
        const watched = [...this.watched];
        this.watched.clear();
        for (const [user, c] of watched) this.watch(c, [user]);
        for (const one of this.conversations.values()) {
            one.resumed();
            if (one.phase === 'closed') one.open();
        }
    }

    async loadInbox() {
        try {
            let page = this.inbox.iv === undefined ? {} : { iv: this.inbox.iv };
            for (let pages = 0; page && pages < INBOX_PAGES_MAX; pages++) {
                const reply = await this.session.request('inbox', { ...page, limit: INBOX_PAGE });
                if (page.before !== undefined) delete reply.iv; // The first page's is the oldest.
                this.takeInbox(reply);
                if (!reply.more) break;
                page = page.iv === undefined ? { before: reply.before } : { iv: reply.iv };
            }
            this.inboxLoaded = true;
            this.emit('inbox');
        } catch (refusal) {
            if (!refusal.lost) setTimeout(() => this.session.online && this.loadInbox(), 2000);
        }
    }

    // ---- What the server says --------------------------------------------------------------

    push(object) {
        if (object.ev) this.event(object.ev);
        else if (object.inbox) this.takeInbox(object.inbox);
        else if (object.mark) this.markPushed(object.mark);
        else if (object.note) this.notePushed(object.note);
        else if (object.pres) this.presPushed(object.pres);
        else if (object.closed) this.conversations.get(object.closed.c)?.closed(object.closed);
        else if (object.exp) this.emit('expiring');
    }

    event(ev) {
        const one = this.conversations.get(ev.c);
        if (!one) return;
        const fresh = ev.s > one.chat.head;
        one.pushed(ev);
        if (this.inbox.event(ev, ev.u === this.me)) this.emit('inbox');
        if (ev.u !== this.me) this.mark(ev.c, { recv: one.chat.last });
        if (fresh) this.emit('event', ev);
    }

    takeInbox(rows) {
        const changed = this.inbox.take(rows);
        for (const c of changed) {
            const row = this.inbox.rows.get(c);
            const one = this.conversations.get(c);
            if (!row) {
                if (one && one.phase !== 'absent') one.phase = 'gone';
                continue;
            }
            if (one) one.chat.mark(this.me, { recv: row.recv, read: row.read });
            if (one && (one.phase === 'absent' || one.phase === 'gone')) {
                one.phase = 'closed';
                one.open();
            }
            if ((row.recv ?? 0) < row.head) this.mark(c, { recv: row.head });
            this.watchRow(row);
        }
        this.emit('inbox');
        for (const c of changed) this.changed(c);
    }

    markPushed({ c, u, ...mark }) {
        const one = this.conversations.get(c);
        if (!one || !one.chat.mark(u, mark)) return;
        if (u === this.me) this.inbox.read(c, mark.read ?? 0);
        this.changed(c);
        if (u === this.me) this.emit('inbox');
    }

    notePushed({ c, u, k }) {
        const one = this.conversations.get(c);
        if (!one || k !== 'typing' || u === this.me) return;
        one.chat.typed(u, Date.now());
        this.changed(c);
    }

    presPushed({ u, on, last }) {
        this.presence.set(u, { on: Boolean(on), last });
        this.emit('presence', u);
    }

    // ---- Conversations ---------------------------------------------------------------------

    /* The conversation c, made when it is new here; it becomes the one used last. */
    conversation(c) {
        const one = this.conversations.get(c) ?? new Conversation(this, c, this.box);
        this.conversations.delete(c);
        this.conversations.set(c, one);
        return one;
    }

    /* Follow c now; stop following what was not used for long. */
    open(c) {
        const one = this.conversation(c);
        one.open();
        for (const [id, old] of this.conversations) {
            if (this.conversations.size <= FOLLOWED_MAX) break;
            if (old === one || old.outbox.items.length > 0 || old.outbox.refused.length > 0)
                continue;
            if (old.phase === 'open') this.session.tell('close', { c: id });
            this.conversations.delete(id);
        }
        if (isDirect(c)) this.watch(c, [peerOf(c, this.me)]);
        return one;
    }

    changed(c) {
        this.emit('chat', c);
    }

    marked(c) {
        const one = this.conversations.get(c);
        const { recv } = one.mine;
        if (one.phase === 'open' && one.chat.last > recv) this.mark(c, { recv: one.chat.last });
    }

    /* I have read conversation c up to seq s. */
    read(c, s) {
        const one = this.conversations.get(c);
        if (!one || one.phase !== 'open' || !this.session.online) return;
        if (s > one.mine.read && s > (this.marking.get(c)?.read ?? 0)) this.mark(c, { read: s });
        if (s >= one.chat.head && (this.inbox.rows.get(c)?.unread ?? 0) > 0) {
            this.inbox.read(c, s);
            this.emit('inbox');
        }
    }

    /* Gather my marks and tell them together. */
    mark(c, mark) {
        this.marking.set(c, { ...this.marking.get(c), ...mark });
        this.markTimer ||= setTimeout(() => {
            this.markTimer = 0;
            for (const [id, marks] of this.marking) {
                if (!this.session.online) break;
                this.session.tell('mark', { c: id, ...marks });
                this.conversations.get(id)?.chat.mark(this.me, marks);
                this.marking.delete(id);
            }
        }, MARK_MS);
    }

    // ---- People ----------------------------------------------------------------------------

    watchRow(row) {
        if (isDirect(row.c)) this.watch(row.c, [peerOf(row.c, this.me)]);
    }

    async watch(c, users) {
        const fresh = users.filter((user) => user !== this.me && !this.watched.has(user));
        const room = fresh.slice(0, WATCHED_MAX - this.watched.size);
        if (room.length === 0) return;
        for (const user of room) this.watched.set(user, c);
        try {
            const reply = await this.session.request('pres.watch', { c, users: room });
            for (const state of asList(reply.states ?? [])) this.presPushed(state);
        } catch (refusal) {
            if (!refusal.lost) for (const user of room) this.watched.delete(user);
        }
    }

    // ---- Titles ----------------------------------------------------------------------------

    /* The name of a chat; null while it is being asked for. */
    title(c) {
        if (isDirect(c)) {
            const peer = peerOf(c, this.me);
            return peer === this.me ? 'Notes to yourself' : peer;
        }
        const info = this.infoOf(c);
        if (!info && !this.titlesAsked.has(c)) {
            this.titlesAsked.add(c);
            this.titleQueue.add(c);
            this.askTitles();
        }
        return info ? info.title || 'Group' : null;
    }

    infoOf(c) {
        return this.conversations.get(c)?.info ?? this.titles.get(c) ?? null;
    }

    async askTitles() {
        if (this.titlesOpen >= TITLES_AT_ONCE || !this.session.online) return;
        const [c] = this.titleQueue;
        if (c === undefined) return;
        this.titleQueue.delete(c);
        this.titlesOpen++;
        try {
            const reply = await this.session.request('chat.get', { c });
            this.titles.set(c, { title: reply.title ?? '', role: reply.role });
            this.emit('inbox');
        } catch {
            this.titlesAsked.delete(c);
        }
        this.titlesOpen--;
        this.askTitles();
    }

    // ---- Making and changing chats ---------------------------------------------------------

    direct(user) {
        return directId(this.me, user);
    }

    /* key makes asking twice make one group. */
    async newGroup(key, title, users) {
        const { c, n } = await this.session.request('chat.new', { key, title, users });
        this.conversation(c).outbox.floor(n ?? 0);
        return c;
    }

    async addMembers(c, users) {
        await this.session.request('chat.add', { c, users });
        this.conversation(c).refreshInfo();
    }

    async removeMember(c, user) {
        await this.session.request('chat.kick', { c, users: [user] });
        this.conversation(c).refreshInfo();
    }

    async leave(c) {
        await this.session.request('chat.leave', { c });
    }

    newKey() {
        return randomId();
    }
}
