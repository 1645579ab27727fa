/* ui_app.js -- the layout: list of chats, the open chat, its details; which chat is shown.
 *
 * Views draw themselves from the client when told to; changes are gathered and drawn once a frame.
 * The open chat is in the browser's history, so that Back on a phone leads to the list. */

import { isDirect } from './ids.js';
import { newChatDialog, toast } from './ui_dialogs.js';
import { DetailsView } from './ui_details.js';
import { arrange, h } from './ui_dom.js';
import { ListView } from './ui_list.js';
import { overView } from './ui_signin.js';
import { ThreadView } from './ui_thread.js';

const TICK_MS = 1000; // Countdowns, typing that ends, relative times.

export class App {
    /* options: {chat: to show first, signOut()}. */
    constructor(client, { chat, signOut }) {
        this.client = client;
        this.signOut = signOut;
        this.active = null; // The conversation shown.
        this.detailsShown = false;
        this.scheduled = false;
        this.list = new ListView(this);
        this.thread = new ThreadView(this);
        this.details = new DetailsView(this);
        this.live = h('div.unseen', { 'aria-live': 'polite' });
        this.over = h('div');
        this.root = h('div.app', {}, this.list.root, this.thread.root, this.details.root);
        document.body.append(this.root, this.live, this.over);

        client.subscribe((what, detail) => this.told(what, detail));
        document.addEventListener('visibilitychange', () => this.draw());
        window.addEventListener('focus', () => this.draw());
        window.addEventListener('popstate', (event) => this.show(event.state?.chat ?? null));
        document.addEventListener('keydown', (event) => this.key(event));
        setInterval(() => this.schedule(), TICK_MS);

        if (chat) this.go(chat);
        else this.show(history.state?.chat ?? null); // The page was loaded again.
    }

    told(what, detail) {
        if (what === 'event') this.announce(detail);
        if (what === 'chat' && detail === this.active?.c) this.thread.changed = true;
        if (what === 'show') this.go(detail);
        if (what === 'expiring') toast('Your log-in ends soon. Open a new link to stay.');
        this.schedule();
    }

    /* Say a new message of somebody else to those who listen to the page. */
    announce(ev) {
        if (ev.u === this.client.me || ev.k !== 'msg' || ev.c !== this.active?.c) return;
        this.live.textContent = `${ev.u}: ${ev.b?.text ?? 'a message'}`;
    }

    schedule() {
        if (this.scheduled) return;
        this.scheduled = true;
        const draw = () => {
            this.scheduled = false;
            this.draw();
        };
        if (document.visibilityState === 'visible') requestAnimationFrame(draw);
        else setTimeout(draw, 100); // A hidden page gets no frames, but has a title.
    }

    draw() {
        const { session } = this.client;
        this.root.classList.toggle('has-chat', this.active !== null);
        this.root.classList.toggle('has-details', this.detailsShown && this.active !== null);
        this.thread.draw();
        this.readWhatIsSeen();
        this.list.draw();
        this.details.draw();
        const unread = this.client.inbox.unread();
        document.title = unread > 0 ? `(${unread > 99 ? '99+' : unread}) Parley` : 'Parley';
        this.root.inert = session.state === 'over';
        arrange(this.over, session.state === 'over' ? [this.overNow(session.why)] : []);
    }

    overNow(why) {
        if (this.overWhy !== why) {
            this.overWhy = why;
            this.overElement = overView(why, this.signOut);
        }
        return this.overElement;
    }

    readWhatIsSeen() {
        if (this.active) this.active.reading = !this.thread.atEnd;
        const seen = document.visibilityState === 'visible' && document.hasFocus();
        if (this.active && seen && this.thread.settled)
            this.client.read(this.active.c, this.thread.seen);
    }

    /* Open chat c, with a place in the history. */
    go(c) {
        if (this.active?.c === c) {
            this.thread.focus();
            return;
        }
        if (history.state?.chat) history.replaceState({ chat: c }, '');
        else history.pushState({ chat: c }, '');
        this.show(c);
    }

    back() {
        if (this.detailsShown) this.toggleDetails();
        else if (history.state?.chat) history.back();
        else this.show(null);
    }

    show(c) {
        this.detailsShown = false;
        if (this.active) this.active.reading = false;
        this.active = c === null ? null : this.client.open(c);
        this.thread.show(this.active);
        this.draw();
        if (this.active) this.thread.focus();
    }

    toggleDetails() {
        this.detailsShown = !this.detailsShown;
        this.active?.refreshInfo();
        this.draw();
        if (this.detailsShown) this.details.focus();
        else this.thread.focus();
    }

    newChat() {
        newChatDialog(this.client, (c) => this.go(c));
    }

    key(event) {
        if (event.key !== 'Escape' || event.defaultPrevented || event.isComposing) return;
        if (
            document.querySelector('dialog[open]') ||
            (event.target.type === 'search' && event.target.value)
        )
            return;
        event.preventDefault();
        this.back();
    }

    /* The chat's name, and whether it is a group, for its avatar. */
    face(c) {
        return { name: this.client.title(c), group: !isDirect(c) };
    }
}
