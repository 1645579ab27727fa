/* ui_composer.js -- where one writes: grows with the text, Enter sends, Shift+Enter breaks a line.
 *
 * What is written but not sent is kept per chat as long as the page lives. */

import { bytesOf, cleanText, randomId } from './ids.js';
import { toast } from './ui_dialogs.js';
import { h, iconButton } from './ui_dom.js';

const HEIGHT_MAX_PX = 180;
const REFUSALS = {
    full: 'Too many messages are waiting. Wait for the connection.',
    storage: 'This browser has no room to keep the message until it is sent.',
    elsewhere: 'Parley is open in another tab.',
};

export class Composer {
    constructor(app) {
        this.app = app;
        this.one = null;
        this.drafts = new Map();
        this.area = h('textarea', {
            rows: '1',
            placeholder: 'Message',
            'aria-label': 'Message',
            enterkeyhint: 'send',
            dir: 'auto',
            oninput: () => this.changed(),
            onkeydown: (event) => this.key(event),
        });
        this.button = iconButton('send', 'Send', null, 'send');
        this.closed = h(
            'div.composer-closed',
            { hidden: true },
            'You are no longer a member of this chat.',
        );
        this.form = h(
            'form.composer',
            { onsubmit: (event) => this.submit(event) },
            this.area,
            this.button,
        );
        this.root = h('div.composer-box', {}, this.form, this.closed);
    }

    show(one) {
        if (this.one) this.drafts.set(this.one.c, this.area.value);
        this.one = one;
        this.area.value = one ? (this.drafts.get(one.c) ?? '') : '';
        this.grow();
    }

    /* On a phone the keyboard would cover the chat before it was seen. */
    focus() {
        if (matchMedia('(hover: hover)').matches) this.area.focus({ preventScroll: true });
    }

    draw() {
        const gone = this.one?.phase === 'gone';
        this.form.hidden = gone;
        this.closed.hidden = !gone;
        this.button.disabled = this.area.value.trim() === '';
    }

    changed() {
        this.grow();
        this.draw();
        if (this.area.value.trim() !== '') this.one?.typing();
    }

    grow() {
        this.area.style.height = '';
        if (this.area.value === '') return;
        this.area.style.height = `${Math.min(HEIGHT_MAX_PX, this.area.scrollHeight)}px`;
    }

    key(event) {
        if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
        this.submit(event);
    }

    submit(event) {
        event.preventDefault();
        const text = cleanText(this.area.value.trim());
        if (!this.one || text === '') return;
        const b = { text };
        if (bytesOf(b) > this.app.client.limits.body) {
            toast('This message is too long. Please send it in parts.');
            return;
        }
        const why = this.one.send(b, randomId(8));
        if (why !== null) {
            toast(REFUSALS[why]);
            return;
        }
        this.area.value = '';
        this.changed();
        this.app.schedule();
    }
}
