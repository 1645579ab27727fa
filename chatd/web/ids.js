/* ids.js -- names of users and chats, and how to say them to people. */

const USER = /^[A-Za-z0-9][A-Za-z0-9._@+=|:~-]{0,63}$/;

export function isUser(text) {
    return USER.test(text);
}

export function isChat(text) {
    return (
        /^c\/[^/\s]{1,200}$/.test(text) ||
        (isDirect(text) && text.split('/').slice(1).every(isUser))
    );
}

/* The direct chat of two users: ids are ASCII, so string order is byte order. */
export function directId(a, b) {
    return a <= b ? `d/${a}/${b}` : `d/${b}/${a}`;
}

export function isDirect(c) {
    return /^d\/[^/]+\/[^/]+$/.test(c);
}

/* The other one of my direct chat; me, for notes to myself. */
export function peerOf(c, me) {
    const [, a, b] = c.split('/');
    return a === me ? b : a;
}

/* Random text of the given bytes' strength; works on pages that are not a secure context. */
export function randomId(bytes = 16) {
    const raw = crypto.getRandomValues(new Uint8Array(bytes));
    return Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/* The user a token names; null when it is no token. The server verifies it, we only read it. */
export function userOfToken(tok) {
    try {
        const part = tok.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
        const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0));
        const { sub } = JSON.parse(new TextDecoder().decode(bytes));
        return isUser(sub) ? sub : null;
    } catch {
        return null;
    }
}

/* What a link's fragment says: {tok, user, chat}; null when it holds no token. */
export function readFragment(hash) {
    const fields = new URLSearchParams(hash.replace(/^#/, ''));
    const tok = fields.get('token');
    const user = tok ? userOfToken(tok) : null;
    const chat = fields.get('chat');
    return tok ? { tok, user, chat: chat && isChat(chat) ? chat : null } : null;
}

/* Text as the protocol takes it: no lone surrogates. */
export function cleanText(text) {
    return text.replace(
        /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g,
        '\uFFFD',
    );
}

export function bytesOf(value) {
    return new TextEncoder().encode(JSON.stringify(value)).length;
}

/* "alice", "alice and bob", "alice, bob and 3 others". */
export function listNames(users, most = 3) {
    if (users.length <= 1) return users[0] ?? '';
    if (users.length <= most) return `${users.slice(0, -1).join(', ')} and ${users.at(-1)}`;
    const rest = users.length - (most - 1);
    return `${users.slice(0, most - 1).join(', ')} and ${rest} others`;
}
