/* ui_dom.js -- making elements. Data enters the page as text and attributes, never as HTML. */

const SVG = 'http://www.w3.org/2000/svg';

/* h('button.primary', {onclick, 'aria-label': 'Send', hidden: true}, 'text', element, ...).
 * Functions become listeners, booleans properties of presence, all else attributes. */
export function h(spec, attributes = {}, ...children) {
    const [tag, ...classes] = spec.split('.');
    const element = document.createElement(tag);
    if (classes.length > 0) element.className = classes.join(' ');
    for (const [name, value] of Object.entries(attributes)) {
        if (typeof value === 'function') element.addEventListener(name.slice(2), value);
        else if (typeof value === 'boolean') element.toggleAttribute(name, value);
        else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
}

/* Change an element's text only if it is another, so that nothing is laid out in vain. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

const ICONS = {
    plus: 'M12 5v14M5 12h14',
    back: 'M15 5l-7 7 7 7',
    send: 'M4 12l16-8-5.5 16-3-6.5z',
    down: 'M6 9l6 6 6-6',
    close: 'M6 6l12 12M18 6L6 18',
    info: 'M12 11v6M12 7.5v.5M21 12a9 9 0 11-18 0 9 9 0 0118 0z',
    search: 'M16 16l4.5 4.5M18 11a7 7 0 11-14 0 7 7 0 0114 0z',
    out: 'M14 4h4a2 2 0 012 2v12a2 2 0 01-2 2h-4M10 8l-4 4 4 4M6 12h9',
    people:
        'M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6' +
        'M16 4.5a3.5 3.5 0 010 6.5M17.5 14.3c2.3.7 3.7 2.6 4 5.7',
    bubble: 'M4 6a2 2 0 012-2h12a2 2 0 012 2v9a2 2 0 01-2 2h-7l-4.5 4v-4H6a2 2 0 01-2-2z',
    clock: 'M12 7v5l3 2M20 12a8 8 0 11-16 0 8 8 0 0116 0z',
    one: 'M6 12.5l4 4 8.5-9',
    two: 'M2 12.5l4 4 8.5-9M11.5 15.5l1 1 8.5-9',
    failed: 'M12 7v6M12 16.5v.5M20 12a8 8 0 11-16 0 8 8 0 0116 0z',
};

export function icon(name) {
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    svg.setAttribute('class', `icon icon-${name}`);
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
}

/* A round button with an icon; without onclick it submits its form. */
export function iconButton(name, label, onclick = null, more = '') {
    const classes = more ? `round.${more}` : 'round';
    const attributes = { type: onclick ? 'button' : 'submit', 'aria-label': label, title: label };
    if (onclick) attributes.onclick = onclick;
    return h(`button.${classes}`, attributes, icon(name));
}

/* A round picture of initials, its colour always the same for the same name. */
export function avatar(name, isGroup = false) {
    const letters = isGroup ? name.replace(/[^\p{L}\p{N} ]/gu, '') : name;
    const words = letters.split(/[\s._@+=|:~-]+/).filter(Boolean);
    const initials = words.length > 1 ? words[0][0] + words[1][0] : (words[0] ?? '?').slice(0, 1);
    const element = h('span.avatar', { 'aria-hidden': 'true' }, initials.toUpperCase());
    element.style.setProperty('--hue', String(hueOf(name)));
    return element;
}

/* FNV-1a over the name, spread over twelve hues that are easily told apart. */
export function hueOf(name) {
    let hash = 2166136261;
    for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 16777619) >>> 0;
    return (hash % 12) * 30 + 8;
}

/* Make parent's children exactly nodes, moving as little as possible. */
export function arrange(parent, nodes) {
    let at = parent.firstChild;
    for (const node of nodes) {
        if (node === at) at = at.nextSibling;
        else parent.insertBefore(node, at);
    }
    while (at) {
        const next = at.nextSibling;
        at.remove();
        at = next;
    }
}
