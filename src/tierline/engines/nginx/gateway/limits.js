/* Limits. A bucket is one number: when it will be full again (the generic cell rate algorithm).

   Shared memory: `gateway_clients` and `gateway_persons` (limit and who → when the bucket is full again), which
   strangers and callers fill, each its own; `gateway_totals`: limits for everybody together, quotas, and what is
   needed when one of the others is full, all of which the stack bounds. Nothing that still counts is ever thrown out:
   who was counted stays counted, and who comes when a table is full shares one of a few buckets with others. */

import words from 'words.js';

const TABLES = {all: 'gateway_totals', client: 'gateway_clients', consumer: 'gateway_persons'};
const SHARED = 64;  // buckets of a limit for those who found no room
const PAUSE = 250;  // ms until room is looked for again: nginx logs each time that it finds none
const SAID = 10000;  // ms between two words about it

function limited(r, path, limits) {
    const v = r.variables, now = Date.now();
    for (let at = 0; at < limits.length; at++) {
        const limit = limits[at];
        if (limit.paths.length && !words.under(path, limit.paths)) continue;
        const who = limit.by == 'all' ? '' : limit.by == 'client' ? v.gw_client : v.gw_consumer;
        if (who === '' && limit.by == 'consumer') continue;
        const refused = taken(r, v, limit, who, now);
        if (refused) return refused;
    }
}

function taken(r, v, limit, who, now) {
    const step = limit.per * 1000 / limit.requests, window = step * limit.most;
    let table = ngx.shared[TABLES[limit.by]], key = limit.name + ' ' + who, since = table.get(key);
    if (since === undefined && limit.by != 'all' && ngx.shared.gateway_totals.get('full ' + limit.by)) {
        table = ngx.shared.gateway_totals;
        key = crowd(limit, who);
        since = table.get(key);
    }
    for (;;) {
        const full = Math.max(since || 0, now) + step;
        if (full - now > window + 0.001) {
            return over(r, limit.most, Math.ceil((full - window - now) / 1000), 'rate limit', limit.name);
        }
        try {
            table.set(key, full, Math.ceil(full - now) + 1000);
            left(v, limit.most, Math.floor((window - (full - now)) / step + 0.001), Math.ceil((full - now) / 1000));
            return;
        } catch (none) {
            if (table === ngx.shared.gateway_totals) throw none;
            crowded(r, limit);
            table = ngx.shared.gateway_totals;
            key = crowd(limit, who);
            since = table.get(key);
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

function crowded(r, limit) {
    const totals = ngx.shared.gateway_totals;
    totals.set('full ' + limit.by, 1, PAUSE);
    if (totals.add('said ' + limit.by, 1, SAID)) {
        r.error(`${limit.name}: the table of ${limit.by}s is full (${ngx.shared[TABLES[limit.by]].size()} counted); ` +
            `newcomers share ${SHARED} buckets until there is room`);
    }
}

/* A quota is for an interval by the clock: from midnight on, by the UTC, when it is a day. */
function quota(r) {
    const v = r.variables, plan = policies.keys && policies.keys.plans[v.gw_known];
    if (!plan) return;
    const now = Date.now() / 1000, number = Math.floor(now / plan.per), ends = Math.ceil((number + 1) * plan.per - now);
    const used = ngx.shared.gateway_totals.incr('quota ' + v.gw_known + ' ' + number, 1, 0, ends * 1000);
    if (used > plan.requests) return over(r, plan.requests, ends, 'rate limit', 'quota:' + plan.name);
    left(v, plan.requests, plan.requests - used, ends);
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

export default {limited, quota};
