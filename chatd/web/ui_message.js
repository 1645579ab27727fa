/* ui_message.js -- one message: bubble, author, text with its links, time and tick. */

import { avatar, h, hueOf, icon } from './ui_dom.js';
import { clockTime, exactTime } from './ui_time.js';

const LINK = /\bhttps?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}]/g;
const TICKS = {
    sending: ['clock', 'Sending'],
    sent: ['one', 'Sent'],
    recv: ['two', 'Delivered'],
    read: ['two', 'Read'],
    failed: ['failed', 'Not sent'],
};
const REASONS = {
    NOCHAT: 'you are not a member of this chat',
    DENIED: 'you may not write here',
    MUTED: 'you are muted here',
    BIG: 'it is too long',
    FIELD: 'the server does not take it',
};

/* row: of kind 'msg' (ui_rows.js); group: show who wrote it; retry, forget: for failed ones. */
export function messageElement(row, { group, retry, forget }) {
    const side = row.mine ? 'mine' : 'theirs';
    const element = h(`div.row.msg.${side}.${row.state || 'plain'}`, {});
    if (row.first) element.classList.add('first');
    if (row.last) element.classList.add('last');
    if (row.erased) element.classList.add('erased');
    if (bigEmoji(row.text)) element.classList.add('emoji');
    if (group && !row.mine) element.append(row.last ? avatar(row.user) : h('span.avatar-room'));
    element.append(bubble(row, group));
    if (row.state === 'failed') element.append(failure(row, retry, forget));
    return element;
}

function bubble(row, group) {
    const author = group && !row.mine && row.first ? h('span.author', {}, row.user) : null;
    author?.style.setProperty('--hue', String(hueOf(row.user)));
    const text = h('span.text', { dir: 'auto' }, ...withLinks(row.text));
    const meta = h(
        'span.meta',
        {},
        h(
            'time',
            { datetime: new Date(row.ts).toISOString(), title: exactTime(row.ts) },
            clockTime(row.ts),
        ),
    );
    if (row.mine) meta.append(tick(row));
    return h('div.bubble', {}, author, text, meta);
}

function tick({ state, readBy }) {
    const [name, label] = TICKS[state];
    const said =
        readBy && state !== 'sending' && state !== 'failed'
            ? `${label} \u00b7 read by ${readBy}`
            : label;
    return h(`span.tick.${state}`, { title: said, role: 'img', 'aria-label': said }, icon(name));
}

function failure(row, retry, forget) {
    const why = REASONS[row.why?.t] ?? row.why?.msg ?? 'the server refused it';
    return h(
        'div.failure',
        { role: 'alert' },
        h('span', {}, `Not sent: ${why}.`),
        h('button.link', { type: 'button', onclick: retry }, 'Try again'),
        h('button.link', { type: 'button', onclick: forget }, 'Delete'),
    );
}

/* Text with its web addresses as links; everything stays text. */
function withLinks(text) {
    const parts = [];
    let at = 0;
    for (const match of text.matchAll(LINK)) {
        parts.push(text.slice(at, match.index));
        parts.push(
            h('a', { href: match[0], target: '_blank', rel: 'noopener noreferrer' }, match[0]),
        );
        at = match.index + match[0].length;
    }
    parts.push(text.slice(at));
    return parts.filter((part) => part !== '');
}

/* One to three emoji and nothing else. */
const EMOJI =
    /^(\p{Extended_Pictographic}(\u200d\p{Extended_Pictographic}|\ufe0f|\p{Emoji_Modifier})*){1,3}$/u;

function bigEmoji(text) {
    return EMOJI.test(text);
}
