/* What a browser keeps for us: encrypted cookies (AES-GCM), so that every zone's gateway can read what another one has
   written, and nobody else can. */

const LARGEST = 3800;  // bytes of a cookie's value; browsers refuse 4096 with its name
const MOST = 6;  // pieces of one value

async function key() {
    return crypto.subtle.importKey('raw', Buffer.from(oidc.cookies, 'base64url'), {name: 'AES-GCM'}, false,
        ['encrypt', 'decrypt']);
}

/* use: what it is for; sealed for one use, it opens for no other. */
function how(use, iv) { return {name: 'AES-GCM', iv, additionalData: Buffer.from(use)}; }

async function sealed(use, told) {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const text = await crypto.subtle.encrypt(how(use, iv), await key(), Buffer.from(JSON.stringify(told)));
    return Buffer.concat([Buffer.from(iv), Buffer.from(text)]).toString('base64url');
}

/* What was sealed, or nothing when it wasn't us. */
async function opened(use, text) {
    try {
        const all = Buffer.from(text, 'base64url');
        const found = await crypto.subtle.decrypt(how(use, all.slice(0, 12)), await key(), all.slice(12));
        return JSON.parse(Buffer.from(found));
    } catch (forged) {
        return undefined;
    }
}

/* By https a browser takes a name that begins so from this very host alone (RFC 6265bis, section 4.1.3.2): a sibling's
   domain can't plant its own session. By plain http it would take none. */
function prefix(r) { return r.variables.gw_scheme == 'http' ? '' : '__Host-'; }

/* By our names, without the prefix. */
function cookies(r) {
    const found = {}, before = prefix(r);
    (r.headersIn.Cookie || '').split(';').forEach((each) => {
        const at = each.indexOf('='), name = each.slice(0, Math.max(0, at)).trim();
        if (name && name.startsWith(before)) found[name.slice(before.length)] = each.slice(at + 1).trim();
    });
    return found;
}

/* For the answer; gateway.answer puts them into it. age: seconds; without, until the browser is closed. */
function put(r, name, value, age) {
    const v = r.variables, lives = age === undefined ? '' : `; Max-Age=${age}`;
    const line = `${prefix(r)}${name}=${value}; Path=/${lives}; Secure; HttpOnly; SameSite=Lax`;
    v.gw_cookies = v.gw_cookies ? v.gw_cookies + '\n' + line : line;
}

function drop(r, name) { put(r, name, '', 0); }

/* A value that may be too long for one cookie: the first says how many there are. */
function keep(r, name, value) {
    const count = Math.ceil(value.length / LARGEST);
    if (count > MOST) throw new Error('the provider\'s tokens are too large for cookies');
    for (let at = 0; at < count; at++) {
        const piece = value.slice(at * LARGEST, (at + 1) * LARGEST);
        put(r, at ? `${name}-${at}` : name, at ? piece : `${count}.${piece}`);
    }
}

function kept(r, name) {
    const all = cookies(r), first = /^([1-9])\.(.*)$/.exec(all[name] || '');
    if (!first) return '';
    let value = first[2];
    for (let at = 1; at < +first[1]; at++) value += all[`${name}-${at}`] || '';
    return value;
}

/* Every cookie of a name, and those whose names go on with a hyphen. */
function forget(r, name) {
    Object.keys(cookies(r)).forEach((each) => {
        if (each == name || each.startsWith(name + '-')) drop(r, each);
    });
}

export default {sealed, opened, cookies, put, drop, keep, kept, forget};
