/* Limits and quotas of the whole line: the line's counter (engines/counter) has the truth, for the gateways of all zones.

   A request asks it when the limit is a quota, when this gateway has let in a sixteenth of what is left without asking,
   or when nobody has asked for ten milliseconds; all others are let in by what was told last, and are reported by who
   asks next. What is known to be used up is refused without asking. Without an answer a gateway counts alone, in the
   same tables (limits.js), and tells what it let in once the counter is back.

   `counter` is an object that is read once: where it is, and its token.
   Shared memory: `gateway_spent` (limit and who → let in and not reported yet; asked just now). */

import limits from 'limits.js';
import words from 'words.js';

const SLICE = 16, EVERY = 10, PAUSE = 500;  // a part, and milliseconds
const QUITE = 0.999;  // a token, but for what floats lose

/* What a request is counted by. Those of quotas begin with the first request, and come back whole. */
function counted(v, path, list, plan) {
    const found = [];
    for (let at = 0; at < list.length; at++) {
        const limit = list[at], who = limits.who(v, path, limit);
        if (who === undefined) continue;
        const small = limit.by == 'all';
        found.push({limit, who, key: limit.name + ' ' + who, window: false, step: limit.per * 1000 / limit.requests,
            table: limits.table(limit), memo: small ? ngx.shared.gateway_totals : ngx.shared.gateway_spent});
    }
    if (plan) {
        const limit = {name: 'quota:' + plan.name, requests: plan.requests, per: plan.per, most: plan.requests};
        const totals = ngx.shared.gateway_totals;
        found.push({limit, who: v.gw_known, key: 'window ' + limit.name + ' ' + v.gw_known, window: true, table: totals, memo: totals});
    }
    return found;
}

function look(item, now) {
    const known = item.table.get(item.key), most = item.limit.most;
    if (item.window) {
        item.left = most - (known || 0);
        item.ends = ngx.shared.gateway_totals.get('ends ' + item.key) || now + item.limit.per * 1000;
    } else {
        item.left = known > now ? most - (known - now) / item.step : most;
    }
    item.spent = item.memo.get('spent ' + item.key) || 0;
}

/* '' to go on, the name of a refusal, or `asks`, the name of the location that asks the counter. */
function taken(r, path, list, plan, asks) {
    const v = r.variables, all = counted(v, path, list, plan), now = Date.now();
    let must = false;
    for (let at = 0; at < all.length; at++) {
        const item = all[at];
        look(item, now);
        if (item.left < QUITE) return refused(r, item, now);
        must = must || item.window || (item.spent + 1) * SLICE > item.left + item.spent
            || item.memo.get('asked ' + item.key) === undefined;
    }
    if (!all.length) return '';
    return must && !ngx.shared.gateway_totals.get('away') ? asks : alone(r, all, now);
}

function refused(r, item, now) {
    const wait = item.window ? item.ends - now : (1 - item.left) * item.step;
    return limits.over(r, item.limit.most, Math.ceil(wait / 1000), 'rate limit', item.limit.name);
}

function told(v, item, now) {
    const back = item.window ? item.ends - now : (item.limit.most - item.left) * item.step;
    limits.left(v, item.limit.most, Math.max(0, Math.floor(item.left + 0.001)), Math.max(0, Math.ceil(back / 1000)));
}

/* Let in by what is known here, and reported later. */
function alone(r, all, now) {
    for (let at = 0; at < all.length; at++) {
        const item = all[at];
        if (item.window) {
            keep(item, item.left - 1, now);
            told(r.variables, item, now);
        } else {
            const no = limits.taken(r, r.variables, item.limit, item.who, now);
            if (no) return no;
        }
        memory(() => {
            item.memo.incr('spent ' + item.key, 1, 0, item.limit.per * 2000 + 60000);
            item.memo.set('last ' + item.key, now, item.limit.per * 2000 + 60000);
        });
    }
    return '';
}

/* Whoever finds no room is asked for each time. */
function memory(action) {
    try {
        action();
    } catch (full) {
        return false;
    }
    return true;
}

function keep(item, left, now) {
    item.left = left;
    if (item.window) {
        const lives = Math.max(1, Math.ceil(item.ends - now));
        item.table.set(item.key, item.limit.most - left, lives);
        item.table.set('ends ' + item.key, item.ends, lives);
        return;
    }
    const full = Math.max(0, item.limit.most - left) * item.step;
    if (limits.full(item.limit) && item.table.get(item.key) === undefined) return;
    if (!memory(() => item.table.set(item.key, now + full, Math.ceil(full) + 1000))) limits.fills(item.limit);
}

/* A line for each key, as engines/counter/counts.py reads it. */
function line(item, now) {
    const limit = item.limit, age = item.spent ? Math.max(0, now - (item.memo.get('last ' + item.key) || now)) : 0;
    const who = item.who.replace(/[\x00-\x1f\x7f]/g, encodeURIComponent);
    return [limit.name, item.window ? 'window' : 'bucket', limit.requests, limit.per, limit.most, who, item.spent, age, 1].join('\t');
}

/* After `taken` has answered with `asks`. */
async function ask(r, path, list, plan) {
    const v = r.variables, all = counted(v, path, list, plan), begun = Date.now(), totals = ngx.shared.gateway_totals;
    all.forEach((item) => look(item, begun));
    let text;
    ngx.shared.gateway_counts.incr('tierline_gateway_counter_asked_total', 1, 0);
    // What is reported here is reported by nobody else meanwhile.
    all.forEach((item) => memory(() => {
        if (item.spent) item.memo.incr('spent ' + item.key, -item.spent);
        item.memo.set('asked ' + item.key, 1, EVERY);
    }));
    try {
        // A connection that fails at once has a handler of the access phase run again, without end.
        await new Promise((done) => setTimeout(done, 0));
        const answer = await ngx.fetch(counter.url, {
            method: 'POST', body: all.map((item) => line(item, begun)).join('\n'), headers: {Authorization: counter.token},
        });
        text = await answer.text();
        if (answer.status != 200 || !/^[+-]/.test(text)) throw new Error('it answered ' + answer.status);
    } catch (error) {
        if (totals.add('away said', 1, 86400000)) r.error(`the counter is away (${error.message}), this gateway counts alone`);
        ngx.shared.gateway_counts.incr('tierline_gateway_counter_away_total', 1, 0);
        totals.set('away', 1, PAUSE);
        all.forEach((item) => memory(() => {
            if (item.spent) item.memo.incr('spent ' + item.key, item.spent, 0, item.limit.per * 2000 + 60000);
        }));
        return alone(r, all, Date.now());
    }
    if (totals.delete('away said')) r.error('the counter is back');
    const now = Date.now(), lines = text.slice(1).split('\n');
    let least;
    all.forEach((item, at) => {
        const pair = lines[at].split(' ');
        if (item.window) item.ends = now + +pair[1];
        keep(item, +pair[0] - (item.memo.get('spent ' + item.key) || 0), now);
        if (!least || item.left / item.limit.most < least.left / least.limit.most) least = item;
    });
    if (text.charAt(0) == '-') return refused(r, least, now);
    all.forEach((item) => told(v, item, now));
    return '';
}

export default {taken, ask};
