/* ui_time.js -- times as people say them, in their language and zone. All times in ms. */

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const weekdayLong = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const shortDate = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const fullDate = new Intl.DateTimeFormat(undefined, {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
});
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

export function clockTime(ts) {
    return clock.format(ts);
}

export function exactTime(ts) {
    return exact.format(ts);
}

/* Days between ts and now, by the calendar: 0 is today. */
function daysAgo(ts, now) {
    const midnight = (time) => new Date(time).setHours(0, 0, 0, 0);
    return Math.round((midnight(now) - midnight(ts)) / (24 * HOUR));
}

export function sameDay(a, b) {
    return daysAgo(a, b) === 0;
}

/* For a list of chats: "now", "5 min", "14:32", "Yesterday", "Mon", "12 Oct". */
export function listTime(ts, now) {
    const ago = now - ts;
    if (ago < MINUTE) return 'now';
    if (ago < HOUR) return `${Math.floor(ago / MINUTE)} min`;
    const days = daysAgo(ts, now);
    if (days <= 0) return clockTime(ts);
    if (days === 1) return 'Yesterday';
    return days < 7 ? weekday.format(ts) : shortDate.format(ts);
}

/* For a line between two days: "Today", "Yesterday", "Monday", "12 October 2026". */
export function dayName(ts, now) {
    const days = daysAgo(ts, now);
    if (days <= 0) return 'Today';
    if (days === 1) return 'Yesterday';
    return days < 7 ? weekdayLong.format(ts) : fullDate.format(ts);
}

export function lastSeen(ts, now) {
    const ago = Math.max(0, now - ts);
    if (ago < MINUTE) return 'last seen just now';
    if (ago < HOUR) return `last seen ${Math.floor(ago / MINUTE)} min ago`;
    const days = daysAgo(ts, now);
    if (days === 0) return `last seen today at ${clockTime(ts)}`;
    if (days === 1) return `last seen yesterday at ${clockTime(ts)}`;
    return `last seen ${shortDate.format(ts)}`;
}
