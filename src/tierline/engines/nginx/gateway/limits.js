/* Limits. A bucket is one number: when it will be full again (the generic cell rate algorithm).

   Shared memory: `gateway_clients` and `gateway_persons` (limit and who → when the bucket is full again), which
   strangers and callers fill, each its own; `gateway_totals`: limits for everybody together, quotas, and what is
   needed when one of the others is full, all of which the stack bounds. Nothing that still counts is ever thrown out:
   who was counted stays counted, and who comes when a table is full shares one of a few buckets with others. */

import crypto from 'crypto';
import words from 'words.js';

const TABLES = {all: 'gateway_totals', client: 'gateway_clients', consumer: 'gateway_persons'};
const SHARED = 64;  // buckets of a limit for those who found no room
const PAUSE = 250;  // ms until room is looked for again: nginx logs each time that it finds none
const SAID = 10000;  // ms between two words about it

/* Whom a limit counts this request for, or undefined when it is none of its own. */
function who(v, path, limit) {
    if (limit.paths.length && !words.under(path, limit.paths)) return;
    if (limit.by == 'all') return '';
    return limit.by == 'client' ? v.gw_client : v.gw_known || short(v.gw_subject) || undefined;
}

/* Of a long name its beginning and a digest: tables have room for so much, and who begin alike are still two. */
function short(name) {
    if (!name || name.length <= 80) return name;
    return name.slice(0, 47) + '~' + crypto.createHash('sha256').update(name).digest('hex').slice(0, 32);
}

function table(limit) { return ngx.shared[TABLES[limit.by]]; }

function limited(r, path, limits) {
    const v = r.variables, now = Date.now();
    for (let at = 0; at < limits.length; at++) {
        const found = who(v, path, limits[at]);
        const refused = found !== undefined && taken(r, v, limits[at], found, now);
        if (refused) return refused;
    }
}

/* By what is known here alone. */
function taken(r, v, limit, who, now) {
    const step = limit.per * 1000 / limit.requests, window = step * limit.most;
    let place = table(limit), key = limit.name + ' ' + who, since = place.get(key);
    if (since === undefined && full(limit)) {
        place = ngx.shared.gateway_totals;
        key = crowd(limit, who);
        since = place.get(key);
    }
    for (;;) {
        const until = Math.max(since || 0, now) + step;
        if (until - now > window + 0.001) {
            return over(r, limit.most, Math.ceil((until - window - now) / 1000), 'rate limit', limit.name);
        }
        try {
            place.set(key, until, Math.ceil(until - now) + 1000);
            left(v, limit.most, Math.floor((window - (until - now)) / step + 0.001), Math.ceil((until - now) / 1000));
            return;
        } catch (none) {
            if (place === ngx.shared.gateway_totals) throw none;
            crowded(r, limit);
            place = ngx.shared.gateway_totals;
            key = crowd(limit, who);
            since = place.get(key);
        }
    }
}

/* Which of the shared buckets somebody has, as long as there is no room. */
function crowd(limit, who) {
    let sum = 0;
    for (let at = 0; at < who.length; at++) sum = (sum * 31 + who.charCodeAt(at)) % 65521;
    ngx.shared.gateway_counts.incr(`tierline_gateway_limit_crowded_total{policy="${limit.name}"}`, 1, 0);
    return 'crowd ' + limit.name + ' ' + sum % SHARED;
}

/* Whether there was no room a moment ago. */
function full(limit) { return limit.by != 'all' && ngx.shared.gateway_totals.get('full ' + limit.by) !== undefined; }

function fills(limit) { ngx.shared.gateway_totals.set('full ' + limit.by, 1, PAUSE); }

function crowded(r, limit) {
    const totals = ngx.shared.gateway_totals;
    fills(limit);
    if (totals.add('said ' + limit.by, 1, SAID)) {
        r.error(`${limit.name}: the table of ${limit.by}s is full (${table(limit).size()} counted); ` +
            `newcomers share ${SHARED} buckets until there is room`);
    }
}

/* The plan that a consumer is on, if that bounds what they may. */
function plan(v) { return policies.keys && policies.keys.plans[v.gw_known]; }

/* A quota is for an interval by the clock: from midnight on, by the UTC, when it is a day. */
function quota(r) {
    const v = r.variables, own = plan(v);
    if (!own) return;
    const now = Date.now() / 1000, number = Math.floor(now / own.per), ends = Math.ceil((number + 1) * own.per - now);
    const used = ngx.shared.gateway_totals.incr('quota ' + v.gw_known + ' ' + number, 1, 0, ends * 1000);
    if (used > own.requests) return over(r, own.requests, ends, 'rate limit', 'quota:' + own.name);
    left(v, own.requests, own.requests - used, ends);
}

function over(r, most, wait, why, policy) {
    const v = r.variables;
    v.gw_most = String(most);
    v.gw_left = '0';
    v.gw_reset = v.gw_retry = String(Math.max(1, wait));
    return words.refuse(r, 429, why, policy);
}

/* Of several limits, the one that is nearest to its end is told. */
function left(v, most, remaining, reset) {
    if (v.gw_left !== '' && +v.gw_left <= remaining) return;
    v.gw_most = String(most);
    v.gw_left = String(remaining);
    v.gw_reset = String(reset);
}

export default {limited, quota, plan, who, table, taken, full, fills, over, left};
