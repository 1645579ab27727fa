/* ui_thread.js -- the open chat: its head, its messages, the way back to the latest, the composer.
 *
 * The messages are drawn from rows (ui_rows.js); an element lives as long as its row's key. Whoever
 * reads the end stays at the end; whoever reads further up stays where they are, whatever is added
 * above or below. */

import { isDirect, listNames, peerOf } from './ids.js';
import { Composer } from './ui_composer.js';
import { arrange, avatar, h, icon, iconButton, setText } from './ui_dom.js';
import { messageElement } from './ui_message.js';
import { rowsOf } from './ui_rows.js';
import { dayName, lastSeen } from './ui_time.js';

const NEAR_END_PX = 60;
const NEAR_START_PX = 400;
const UNREAD_LINE_PX = 60; // The line "New messages" starts this far from the top.

export class ThreadView {
    constructor(app) {
        this.app = app;
        this.one = null;
        this.changed = true; // The rows are to be drawn again.
        this.today = ''; // The day they were drawn on.
        this.atEnd = true;
        this.unreadFrom = 0; // First seq under the line "New messages".
        this.seenTo = 0; // Last seq that was on the screen's end.
        this.elements = new Map(); // key -> {element, text of its row}
        this.seqs = new WeakMap(); // element -> seq
        this.makeHead();
        this.rows = h('div.rows');
        this.note = h('div.thread-note');
        this.scroll = h(
            'div.messages',
            {
                role: 'log',
                'aria-live': 'off',
                'aria-label': 'Messages',
                tabindex: '0',
                onscroll: () => this.scrolled(),
            },
            this.note,
            this.rows,
        );
        this.count = h('span.badge');
        this.jump = h(
            'button.jump',
            {
                type: 'button',
                'aria-label': 'Jump to latest',
                title: 'Jump to latest',
                hidden: true,
                onclick: () => this.toEnd(),
            },
            icon('down'),
            this.count,
        );
        this.typing = h('div.typing-line', { 'aria-live': 'polite' });
        this.composer = new Composer(app);
        this.pane = h(
            'div.thread-pane',
            { hidden: true },
            this.head,
            h('div.messages-box', {}, this.scroll, this.jump),
            this.typing,
            this.composer.root,
        );
        this.empty = h(
            'div.nothing',
            {},
            icon('bubble'),
            h('p', {}, 'Choose a chat, or start a new one.'),
        );
        this.root = h('main.thread', {}, this.pane, this.empty);
        new ResizeObserver(() => this.resized()).observe(this.scroll);
    }

    makeHead() {
        const { app } = this;
        this.face = h('span.face');
        this.title = h('h1.bar-title');
        this.sub = h('div.bar-sub');
        this.infoButton = iconButton('people', 'Members', () => app.toggleDetails());
        this.head = h(
            'header.bar',
            {},
            iconButton('back', 'Back to the chats', () => app.back(), 'back'),
            this.face,
            h('div.bar-text', {}, this.title, this.sub),
            this.infoButton,
        );
    }

    show(one) {
        this.one = one;
        this.elements.clear();
        this.rows.replaceChildren();
        this.named = undefined;
        this.changed = true;
        this.atEnd = true;
        this.seenTo = 0;
        const row = one ? this.app.client.inbox.rows.get(one.c) : null;
        this.unreadFrom = row?.unread > 0 ? (row.read ?? 0) + 1 : 0;
        this.toUnread = this.unreadFrom > 0;
        this.composer.show(one);
    }

    focus() {
        this.composer.focus();
    }

    draw() {
        this.pane.hidden = this.one === null;
        this.empty.hidden = this.one !== null;
        if (!this.one) return;
        this.drawHead();
        if (this.changed || this.today !== this.dayNow()) this.drawRows();
        this.drawEnd();
        this.drawTyping();
        this.composer.draw();
        if (!this.toUnread && this.scroll.scrollTop < NEAR_START_PX) this.one.older();
    }

    /* The last seq on the screen: what may be marked as read. */
    get seen() {
        if (this.atEnd) return this.one.chat.last;
        const bottom = this.scroll.scrollTop + this.scroll.clientHeight;
        return this.seqs.get(this.rowAt(bottom)?.previousSibling) ?? 0;
    }

    drawHead() {
        const { name, group } = this.app.face(this.one.c);
        if (this.named !== name) {
            this.named = name;
            this.face.replaceChildren(avatar(name ?? '\u2026', group));
            setText(this.title, name ?? '\u2026');
        }
        this.infoButton.hidden = !group;
        const text = this.subtitle();
        setText(this.sub, text);
        this.sub.classList.toggle('is-online', text === 'online');
    }

    subtitle() {
        const { client } = this.app;
        const { state } = client.session;
        if (state === 'connecting') return 'connecting\u2026';
        if (state !== 'online') return 'no connection; what you write is sent later';
        if (isDirect(this.one.c)) {
            const peer = peerOf(this.one.c, client.me);
            const presence = client.presence.get(peer);
            if (peer === client.me || !presence) return '';
            if (presence.on) return 'online';
            return presence.last ? lastSeen(presence.last, client.now()) : 'offline';
        }
        const { members } = this.one;
        if (!members) return '';
        const online = members.filter(({ u }) => client.presence.get(u)?.on && u !== client.me);
        const count = `${members.length} ${members.length === 1 ? 'member' : 'members'}`;
        return online.length > 0 ? `${count}, ${online.length} online` : count;
    }

    /* The rows name days by what today is. */
    dayNow() {
        return new Date(this.app.client.now()).toDateString();
    }

    drawRows() {
        this.changed = false;
        this.today = this.dayNow();
        const { client } = this.app;
        const rows = rowsOf(this.one, {
            me: client.me,
            dev: client.dev,
            unreadFrom: this.unreadFrom,
        });
        const { scroll } = this;
        const anchor = this.atEnd ? null : this.rowAt(this.scroll.scrollTop);
        const anchorTop = anchor?.offsetTop;
        const nodes = rows.map((row) => this.element(row));
        arrange(this.rows, nodes);
        const keys = new Set(rows.map((row) => row.key));
        for (const key of this.elements.keys()) if (!keys.has(key)) this.elements.delete(key);
        this.drawNote(rows.length);
        if (this.toUnread && this.settled) this.startAtUnread();
        const mine = rows.at(-1);
        if (mine?.state === 'sending' && mine.key !== this.lastMine) {
            this.lastMine = mine.key;
            this.atEnd = true; // Whoever writes wants to see it, and has seen the rest.
            this.unreadFrom = 0;
            this.changed = true;
            this.app.schedule();
        }
        if (this.atEnd) this.stick();
        else if (anchor?.isConnected) scroll.scrollTop += anchor.offsetTop - anchorTop;
    }

    /* An opened chat with news begins at the first of it, when that is loaded. */
    startAtUnread() {
        this.toUnread = false;
        const line = this.rows.querySelector('.unread-line');
        if (!line) return;
        const room = this.scroll.scrollHeight - line.offsetTop;
        if (room <= this.scroll.clientHeight) return; // All of it fits below the line.
        this.atEnd = false;
        this.seenTo = this.unreadFrom - 1;
        this.scroll.scrollTop = line.offsetTop - UNREAD_LINE_PX;
    }

    /* The row that reaches below height top: the first on the screen, or after it. */
    rowAt(top) {
        const rows = this.rows.children;
        let low = 0;
        for (let high = rows.length; low < high;) {
            const middle = (low + high) >> 1;
            const { offsetTop, offsetHeight } = rows[middle];
            if (offsetTop + offsetHeight <= top) low = middle + 1;
            else high = middle;
        }
        return rows[low] ?? null;
    }

    element(row) {
        const now = this.app.client.now();
        const text = row.kind === 'day' ? dayName(row.ts, now) : JSON.stringify(row);
        const had = this.elements.get(row.key);
        if (had?.text === text) return had.element;
        const element = this.make(row, text);
        if (had && had.element.isConnected) had.element.replaceWith(element);
        else if (row.kind === 'msg' && this.settled) element.classList.add('fresh');
        this.elements.set(row.key, { element, text });
        if (row.s) this.seqs.set(element, row.s);
        return element;
    }

    make(row, text) {
        if (row.kind === 'day') return h('div.row.day', {}, h('span', {}, text));
        if (row.kind === 'unread')
            return h('div.row.unread-line', { role: 'separator' }, h('span', {}, 'New messages'));
        if (row.kind === 'system') return h('div.row.system', { dir: 'auto' }, row.text);
        return messageElement(row, {
            group: !isDirect(this.one.c),
            retry: () => this.one.retry(row.id),
            forget: () => this.one.forget(row.id),
        });
    }

    drawNote(count) {
        const { phase, loading, chat } = this.one;
        let text = '';
        if (loading) text = 'Loading\u2026';
        else if (phase === 'gone' && count === 0) text = 'You are not a member of this chat.';
        else if (count === 0 && (phase === 'absent' || (phase === 'open' && chat.whole)))
            text = 'No messages yet. Say hello.';
        else if (count === 0) text = 'Loading\u2026';
        setText(this.note, text);
        this.note.classList.toggle('alone', count === 0);
        this.settled = phase === 'open' && !loading && chat.events.length > 0;
    }

    drawEnd() {
        const { chat } = this.one;
        this.seenTo = Math.max(this.seenTo, this.seen);
        const { me } = this.app.client;
        const below = this.atEnd
            ? 0
            : chat.events.filter((ev) => ev.s > this.seenTo && ev.k === 'msg' && ev.u !== me)
                  .length;
        this.jump.hidden = this.atEnd;
        setText(this.count, below > 99 ? '99+' : String(below));
        this.count.hidden = below === 0;
    }

    drawTyping() {
        const typists = this.one.chat.typists(Date.now());
        const many = typists.length > 1 ? 'are' : 'is';
        const text =
            typists.length === 0
                ? ''
                : isDirect(this.one.c)
                  ? 'typing'
                  : `${listNames(typists, 3)} ${many} typing`;
        if (this.typingText === text) return;
        this.typingText = text;
        const dots = text
            ? h('span.dots', { 'aria-hidden': 'true' }, h('i'), h('i'), h('i'))
            : null;
        this.typing.replaceChildren(...(text ? [dots, h('span', {}, text)] : []));
    }

    scrolled() {
        const { scroll } = this;
        this.atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END_PX;
        this.app.schedule();
        if (scroll.scrollTop < NEAR_START_PX) this.one?.older();
    }

    resized() {
        this.composer.grow();
        if (this.atEnd) this.stick();
    }

    stick() {
        this.scroll.scrollTop = this.scroll.scrollHeight;
    }

    toEnd() {
        this.atEnd = true;
        const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
        this.scroll.scrollTo({ top: this.scroll.scrollHeight, behavior: calm ? 'auto' : 'smooth' });
        this.app.schedule();
    }
}
