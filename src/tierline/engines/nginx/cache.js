/* What proxy_cache doesn't know of RFC 9111. A miss goes through a second server of this nginx, so that `judge`
   sees the origin's answer before the cache does and tells it, in X-Accel-Expires, what to do:

   way      does a request go through the cache at all?
   version  part of the cache key: a purge raises it, so that old copies are never found again
   judge    origin → cache: may it be stored, until when, and how long may it be served stale?
   answer   cache → client: Age, and the origin's own fields again, renewed by the last 304
   signed   may a client that came with this token have it?
   passed   origin → client without the cache: unsafe methods invalidate
   purge    the endpoint of purges, on a Unix socket

   Shared memory: `versions` (purges), `passing` (URLs whose answers aren't stored, and how often that was seen),
   `plain` (those that skip all of this for two seconds), `renewed` (what a 304 said), `policies` (what a 304 may leave
   out), `standby` (until when a copy may stand in for an error), `tagged` (which URLs carry a Surrogate-Key). */

import crypto from 'crypto';

const HEURISTIC = {200: 1, 203: 1, 204: 1, 300: 1, 301: 1, 308: 1, 404: 1, 405: 1, 410: 1, 414: 1, 501: 1};
const SAFE = {GET: 1, HEAD: 1, OPTIONS: 1, TRACE: 1};
const MONTHS = {Jan: 0, Feb: 1, Mar: 2, Apr: 3, May: 4, Jun: 5, Jul: 6, Aug: 7, Sep: 8, Oct: 9, Nov: 10, Dec: 11};
const NOT_RENEWED = /^(connection|keep-alive|transfer-encoding|content-(length|encoding|type|range)|server|etag|vary|x-tierline-.*|x-accel-.*|age)$/i;
const PER_CALLER = [
    'RateLimit', 'RateLimit-Policy', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset',
    'X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset', 'X-Tierline-Policy',
];
const MOST = 2147483647, DAY = 86400;

/* Answers to credentials have copies of their own: only those that say public or s-maxage (RFC 9111, 3.5, and no
   must-revalidate, which frameworks add unasked), and nobody without credentials gets them. */
function url(r) { return r.variables.tl_url + (r.headersIn.Authorization ? ' a' : ''); }

function way(r) {
    const asked = r.headersIn, control = asked['Cache-Control'] || '', safe = r.method == 'GET' || r.method == 'HEAD';
    if (r.method == 'PURGE' || r.method == 'BAN' || r.method == 'PURGEKEY') return 'refused';
    // A body isn't part of the key, and If-Match is the origin's to judge.
    const direct = !safe || asked['If-Match'] || asked['If-Unmodified-Since']
        || asked['Content-Length'] > 0 || asked['Transfer-Encoding'] || ngx.shared.passing.has(url(r))
        || (r.variables.tl_obey == '1' && /(^|,)\s*no-store\s*(,|$)/i.test(control));
    return direct ? (safe && /only-if-cached/i.test(control) ? 'never' : 'direct') : 'cache';
}

function asks(r) {
    const control = r.headersIn['Cache-Control'];
    return r.variables.tl_obey == '1'
        && (control === undefined ? /no-cache/i.test(r.headersIn.Pragma || '') : /no-cache|max-age=0*(\D|$)/i.test(control))
        ? '1' : '';
}

/* Purges. `epoch` begins anew with the process: copies outlive it, what was purged since doesn't come back. */

function version(r) {
    const versions = ngx.shared.versions, path = r.uri;
    let epoch = versions.get('epoch'), newest = versions.get('=' + path) || 0;
    if (epoch === undefined) {
        versions.add('epoch', Date.now());
        epoch = versions.get('epoch');
    }
    if (versions.get('prefixes')) {
        for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
            newest = Math.max(newest, versions.get('^' + path.slice(0, end)) || 0);
        }
        newest = Math.max(newest, versions.get('^/') || 0);
    }
    return epoch + '.' + newest + (r.headersIn.Authorization ? 'a' : '');
}

function raise(key) {
    const versions = ngx.shared.versions;
    try {
        versions.set(key, versions.incr('number', 1, 0));
    } catch (full) {
        versions.clear();  // rather everything than nothing
        versions.set('epoch', Date.now());
    }
}

function invalidate(target) {
    const path = target.split('?')[0];
    try {
        raise('=' + decodeURIComponent(path));
    } catch (malformed) {
        raise('=' + path);
    }
}

function learn(path, tags, since) {
    tags.split(/[\s,]+/).filter((tag) => tag).forEach((tag) => {
        try {
            ngx.shared.tagged.set(tag + '\n' + path, 1);
        } catch (full) {
            ngx.shared.versions.set('forgot', 1);
        }
        // Purged while it was on its way: it may be the old one.
        if (since <= ngx.shared.versions.get('#' + tag)) raise('=' + path);
    });
}

function purge(r) {
    let order;
    try {
        order = JSON.parse(r.requestText);
    } catch (malformed) {
        return r.return(400, '{"error":"not JSON"}\n');
    }
    const versions = ngx.shared.versions;
    function beginning(prefix) {
        raise('^' + (prefix.length > 1 ? prefix.replace(/\/$/, '') : prefix));
        versions.incr('prefixes', 1, 0);
    }
    (order.paths || []).forEach((path) => raise('=' + path.split('?')[0]));
    (order.prefixes || []).forEach(beginning);
    const tags = order.tags || [];
    if (tags.length) {
        tags.forEach((tag) => versions.set('#' + tag, Date.now() / 1000));
        if (versions.get('forgot')) beginning('/');
        ngx.shared.tagged.keys(1000000).forEach((each) => {
            const parts = each.split('\n');
            if (tags.includes(parts[0])) {
                raise('=' + parts[1]);
                ngx.shared.tagged.delete(each);
            }
        });
    }
    r.return(200);
}

/* Freshness. */

function directives(text) {
    const found = {};
    const each = /([^\s,;="]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?/g;
    for (let match = each.exec(text); match; match = each.exec(text)) {
        const name = match[1].toLowerCase();
        if (!(name in found)) found[name] = match[2] !== undefined ? match[2] : match[3] || '';
    }
    return found;
}

function seconds(text) { return /^\d+$/.test(text) ? Math.min(+text, MOST) : 0; }

/* Seconds since the epoch of any of the three forms of an HTTP date; NaN for what is none. */
function moment(text) {
    const part = /^\w+, (\d\d)[ -](\w{3})[ -](\d{2,4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(text || '');
    if (part) {
        const year = part[3].length == 4 ? +part[3] : +part[3] + (part[3] < 70 ? 2000 : 1900);
        return Date.UTC(year, MONTHS[part[2]], +part[1], +part[4], +part[5], +part[6]) / 1000;
    }
    const old = /^\w{3} (\w{3}) +(\d+) (\d\d):(\d\d):(\d\d) (\d{4})$/.exec(text || '');
    return old ? Date.UTC(+old[6], MONTHS[old[1]], +old[2], +old[3], +old[4], +old[5]) / 1000 : NaN;
}

/* Whether it says neither how long it is nor anything of caching: a stream, perhaps one without an end. */
function endless(said) {
    return said['content-length'] === undefined && said.etag === undefined && said['last-modified'] === undefined;
}

/* A targeted field (RFC 9213, 2.1): a dictionary of structured fields (RFC 8941, 3.2); undefined when it is none. njs
   runs the top of this file for each request, so its expressions are compiled here, where one comes. */
function targeted(text) {
    if (text === undefined) return undefined;
    const key = '[a-z*][a-z0-9_.*-]*', string = '"(?:[ !#-\\[\\]-~]|\\\\["\\\\])*"';
    const parameters = `(?:; *${key}(?:=(?:"[^"]*"|[^\\s,;"]+))?)*`;
    const item = string + '|-?\\d{1,12}\\.\\d{1,3}|-?\\d{1,15}|\\?[01]|[A-Za-z*][^\\s,;"()=]*';
    const member = `(${key})(?:=(${item}))?${parameters}`;
    if (!new RegExp(`^ *${member}(?:[ \\t]*,[ \\t]*${member})* *$`).test(text)) return undefined;
    const found = {}, each = new RegExp(`${member}(?= *(?:,|$)|[ \\t]*,)`, 'g');
    for (let match = each.exec(text); match; match = each.exec(text)) {
        const value = match[2] || '?1';
        delete found[match[1]];  // of two the last counts
        if (value == '?1') found[match[1]] = '';
        else if (/^-?\d+$/.test(value)) found[match[1]] = value;  // no directive has an argument of another kind
    }
    return found;
}

/* How a response may be kept: {store, born, fresh, revalidate, error}; `fresh` is a number of seconds after `born`. */
function policy(r, said, status) {
    const now = Date.now() / 1000, date = moment(said.date);
    const target = r.variables.tl_targeted == '1' ? targeted(said['cdn-cache-control']) : undefined;
    const control = target || directives(said['cache-control'] || '');
    const apparent = isNaN(date) ? 0 : Math.max(0, Math.floor(now) - date);
    const born = now - Math.max(apparent, seconds(said.age) + Number(r.variables.request_time));
    let fresh = 0, explicit = true;
    if ('s-maxage' in control) fresh = seconds(control['s-maxage']);
    else if ('max-age' in control) fresh = seconds(control['max-age']);
    else if (said.expires !== undefined && !target) fresh = (moment(said.expires) || 0) - (isNaN(date) ? now : date);
    else {
        explicit = false;
        const modified = moment(said['last-modified']);
        if (HEURISTIC[status] && !isNaN(modified)) fresh = Math.min(((isNaN(date) ? now : date) - modified) / 10, DAY);
    }
    const ttl = r.variables.tl_ttl;
    if (ttl !== undefined && ttl !== '' && status < 400) { fresh = +ttl; explicit = true; }
    const strict = 'no-cache' in control || 'must-revalidate' in control || 'proxy-revalidate' in control;
    if ('no-cache' in control) fresh = 0;
    const shared = 'public' in control || 's-maxage' in control;
    function stale(name, usual) {
        if (strict) return 0;
        return name in control ? seconds(control[name]) : 's-maxage' in control ? 0 : Number(usual || 0);
    }
    return {
        born: born,
        fresh: Math.max(0, fresh),
        revalidate: stale('stale-while-revalidate', r.variables.tl_stale_while_revalidate),
        error: stale('stale-if-error', r.variables.tl_stale_if_error),
        store: status >= 200 && status != 206 && status != 304 && !('private' in control)
            && (!('no-store' in control) || ('must-understand' in control && status in HEURISTIC))
            && (explicit || 'public' in control || (status in HEURISTIC && !endless(said)))
            && ((said['set-cookie'] === undefined && !r.headersIn.Authorization) || shared) && !/(^|,)\s*\*\s*(,|$)/.test(said.vary || ''),
    };
}

function fields(r) {
    const said = {};
    r.rawHeadersOut.forEach((each) => {
        const name = each[0].toLowerCase();
        if (name == 'age' && name in said) return;  // of several the first counts (RFC 9111, 5.1)
        said[name] = name in said && name != 'expires' ? said[name] + ', ' + each[1] : each[1];
    });
    return said;
}

function named(r) {
    const names = r.variables.upstream_http_connection;
    return names ? names.split(/[\s,]+/).filter((name) => name && !/^(close|keep-alive)$/i.test(name)) : [];
}

function unhop(r) { named(r).forEach((name) => { delete r.headersOut[name]; }); }

/* When an answer without Date was received (RFC 9110, 6.6.1). */
function dated(r, said) {
    if (said.date === undefined) r.headersOut.Date = said.date = new Date().toUTCString();
}

function judge(r) {
    const out = r.headersOut, said = fields(r), key = url(r);
    unhop(r);
    dated(r, said);
    if (r.status == 304) return renew(r, said);
    const kept = policy(r, said, r.status), valid = said.etag || said['last-modified'];
    const lasts = kept.born + kept.fresh + Math.max(kept.revalidate, kept.error) > Date.now() / 1000;
    if (!kept.store || (!lasts && !valid)) {
        // The next ones needn't wait for each other. An error may be over soon, and a stale copy may stand in. An answer
        // to HEAD says nothing of GET's.
        if (r.status < 500 && r.method != 'HEAD') ngx.shared.passing.set(key, 1);
        out['X-Accel-Expires'] = '0';
        out['X-Accel-Buffering'] = 'no';  // it goes on as it comes
        return;
    }
    if (valid) {
        ngx.shared.policies.set(key + ' ' + valid, JSON.stringify({
            'cache-control': said['cache-control'], expires: said.expires, 'last-modified': said['last-modified'],
            'cdn-cache-control': said['cdn-cache-control'],
        }));
        ngx.shared.renewed.delete(key + ' ' + valid);
    }
    if (kept.error) ngx.shared.standby.set(key, kept.born + kept.fresh + kept.error);
    keep(out, said['cache-control'], kept);
}

/* Whether a stale copy may stand in for the origin's error: then the error ends here, and nginx finds it. */
function standby(r) { return ngx.shared.standby.get(url(r)) > Date.now() / 1000 ? '1' : ''; }

/* Tell the cache: until when, and how long beyond that. */
function keep(out, control, kept) {
    out['X-Accel-Expires'] = '@' + Math.max(1, Math.floor(kept.born + kept.fresh) - 1);
    out['X-Tierline-Control'] = control === undefined ? '-' : control;
    out['X-Tierline-Born'] = kept.born.toFixed(2);
    out['Cache-Control'] = `stale-while-revalidate=${kept.revalidate}, stale-if-error=${kept.error}`;
}

function renew(r, said) {
    const key = url(r) + ' ' + (r.headersIn['If-None-Match'] || r.headersIn['If-Modified-Since']);
    const now = Object.assign(JSON.parse(ngx.shared.policies.get(key) || '{}'), said);
    const kept = policy(r, now, 200), news = {};
    for (const name in said) {
        if (!NOT_RENEWED.test(name)) news[name] = said[name];
    }
    ngx.shared.policies.set(key, JSON.stringify({
        'cache-control': now['cache-control'], expires: now.expires, 'last-modified': now['last-modified'],
        'cdn-cache-control': now['cdn-cache-control'],
    }));
    const before = JSON.parse(ngx.shared.renewed.get(key) || '{"news":{}}');
    ngx.shared.renewed.set(key, JSON.stringify({born: kept.born, news: Object.assign(before.news, news)}));
    keep(r.headersOut, now['cache-control'], kept);
}

function answer(r) {
    const out = r.headersOut, status = r.variables.upstream_cache_status, control = out['X-Tierline-Control'];
    const fetched = status == 'MISS' || status == 'EXPIRED' || status == 'BYPASS';
    let born = out['X-Tierline-Born'];
    if (born !== undefined) {
        delete out['X-Tierline-Born'];
        delete out['X-Tierline-Control'];
        if (control == '-') delete out['Cache-Control'];
        else out['Cache-Control'] = control;
        const valid = fetched ? undefined : out.ETag || out['Last-Modified'];
        const renewed = valid && ngx.shared.renewed.get(url(r) + ' ' + valid);
        if (renewed) {
            const since = JSON.parse(renewed);
            if (since.born > born) {
                born = since.born;
                for (const name in since.news) out[name] = since.news[name];
            }
        }
        if (!fetched || out.Age !== undefined) out.Age = String(Math.floor(Date.now() / 1000 - born));
    }
    if (!fetched) unsay(r);
    const told = control !== undefined ? control : out['Cache-Control'];
    if ((fetched && out['Content-Length'] === undefined) || /no-transform/i.test(told || '')) {
        unpack(out, r.variables.tl_compressed);
    }
    surrogate(r, fetched);
}

/* nginx's gzip holds back what it has until its buffer is full, but for what isn't kept. It compresses media types
   without parameters alone once they are set here; an empty one changes nothing (RFC 9110, 5.6.6). Types that it
   doesn't compress stay as they are. */
function unpack(out, types) {
    const type = out['Content-Type'];
    if (!type || !types || !types.split(' ').includes(type.split(';')[0].trim().toLowerCase())) return;
    // nginx appends the charset that it has read from the answer, again where the type still has it.
    out['Content-Type'] = type.includes(';') ? type.replace(/\s*;\s*charset=[^;]*/i, ' ') : type + ';';
}

/* What an answer says of who asked for it isn't for the next one: see engines/percaller.py. */
function unsay(r) {
    // By name: to go through all fields costs a hit more than everything else here.
    const out = r.headersOut;
    for (let i = 0; i < PER_CALLER.length; i++) delete out[PER_CALLER[i]];
    if (r.status < 300) delete out['Retry-After'];
}

function surrogate(r, fetched) {
    const tags = r.headersOut['Surrogate-Key'];
    if (tags === undefined) return;
    if (fetched) learn(r.uri, tags, Date.now() / 1000 - Number(r.variables.request_time));
    if (r.variables.tl_entry == '1') delete r.headersOut['Surrogate-Key'];
}

/* A token is EXPIRES.PREFIX.SIGNATURE, as tiers/cdn/tier.py signs it; it comes in the query or in a cookie. */
function signed(r) {
    const parts = (r.args.token || r.variables.cookie_cdn_token || '').split('.');
    if (parts.length != 3 || !/^\d+$/.test(parts[0]) || +parts[0] < Date.now() / 1000) return '';
    const right = crypto.createHmac('sha256', r.variables.tl_secret).update(parts[0] + '.' + parts[1]).digest('base64url');
    if (right.length != parts[2].length) return '';
    let differ = 0;  // in the same time wherever they differ
    for (let at = 0; at < right.length; at++) differ |= right.charCodeAt(at) ^ parts[2].charCodeAt(at);
    const prefix = Buffer.from(parts[1], 'base64url').toString();
    return !differ && (r.uri == prefix || (prefix.endsWith('/') && r.uri.startsWith(prefix))) ? '1' : '';
}

function passed(r) {
    const out = r.headersOut, asked = r.headersIn;
    if (r.status == 101) return;
    unhop(r);
    dated(r, {date: r.headersOut.Date});
    delete out['X-Tierline-Born'];
    delete out['X-Tierline-Control'];
    if (!(r.method in SAFE)) {
        if (r.status < 400) {
            raise('=' + r.uri);
            ['Location', 'Content-Location'].forEach((name) => {
                const there = /^(?:https?:\/\/([^\/]+))?(\/[^\/].*|\/)$/i.exec(out[name] || '');
                if (there && (!there[1] || there[1].toLowerCase() == (asked.Host || '').toLowerCase())) invalidate(there[2]);
            });
        }
    } else if (r.method != 'HEAD' && ngx.shared.passing.has(url(r))) {
        if (policy(r, fields(r), r.status).store) ngx.shared.passing.delete(url(r));
        // Again not to be stored: for a while nobody looks, unless something of it must be taken out each time. Who is
        // refused (401, 403, 429) says nothing of what others get.
        else if (r.variables.tl_skips == '1' && r.status < 400 && !named(r).length
            && ngx.shared.passing.incr(url(r), 1) > 3) r.variables.tl_plain = '1';
    }
    if (r.variables.tl_entry == '1') delete out['Surrogate-Key'];
}

export default {way, asks, standby, signed, version, judge, answer, passed, purge};
