/* inbox.js -- my chats, as the server's inbox tells them, and where to go on from (iv).
 *
 * Pure. A row is {c, head, last, unread, ment, recv, read, mute, pin, hide}; last is the latest
 * event. For a chat seen twice the larger head wins; with equal heads, the larger marks. */

export class Inbox {
    constructor() {
        this.rows = new Map();
        this.iv = undefined;
    }

    /* Take in a push or an answer; returns the ids of the chats that are now another. */
    take({ iv, chats = [], gone = [] }) {
        if (iv !== undefined) this.iv = iv;
        const changed = [];
        for (const row of chats) {
            const old = this.rows.get(row.c);
            if (old && !newer(row, old)) continue;
            this.rows.set(row.c, { ...old, ...row });
            changed.push(row.c);
        }
        for (const c of gone) if (this.rows.delete(c)) changed.push(c);
        return changed;
    }

    /* An event that came by itself, before the inbox tells of it. True: the list is another. */
    event(ev, mine) {
        const row = this.rows.get(ev.c);
        if (!row || ev.s <= row.head) return false;
        row.head = ev.s;
        if (ev.k === 'msg') {
            row.last = ev;
            if (mine) row.unread = 0;
            else row.unread = (row.unread ?? 0) + 1;
        }
        return true;
    }

    /* I have read a chat up to seq s. */
    read(c, s) {
        const row = this.rows.get(c);
        if (!row || (row.read ?? 0) >= s) return;
        row.read = s;
        row.recv = Math.max(row.recv ?? 0, s);
        if (s >= row.head) row.unread = row.ment = 0;
    }

    /* What to show: pinned first, then the latest. */
    list() {
        const time = (row) => row.last?.ts ?? 0;
        return [...this.rows.values()]
            .filter((row) => !row.hide || row.unread > 0)
            .sort(
                (a, b) =>
                    Boolean(b.pin) - Boolean(a.pin) || time(b) - time(a) || (a.c < b.c ? -1 : 1),
            );
    }

    /* Unread messages of all chats that are not muted. */
    unread() {
        let sum = 0;
        for (const row of this.rows.values()) if (!row.mute) sum += row.unread ?? 0;
        return sum;
    }
}

function newer(row, old) {
    if (row.head !== old.head) return row.head > old.head;
    return (row.read ?? 0) >= (old.read ?? 0);
}
