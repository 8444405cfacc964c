import words from 'words.js';

/* Limits. A bucket is one number: when it will be full again (the generic cell rate algorithm). */

function limited(r, path, limits) {
    const v = r.variables, shared = ngx.shared.gateway_limits, now = Date.now();
    for (let at = 0; at < limits.length; at++) {
        const limit = limits[at];
        if (limit.paths.length && !words.under(path, limit.paths)) continue;
        const who = limit.by == 'all' ? '' : limit.by == 'client' ? v.gw_client : v.gw_consumer;
        if (who === '' && limit.by == 'consumer') continue;
        const key = limit.name + ' ' + who, step = limit.per * 1000 / limit.requests, window = step * limit.most;
        const full = Math.max(shared.get(key) || 0, now) + step;
        if (full - now > window + 0.001) {
            return over(r, limit.most, Math.ceil((full - window - now) / 1000), 'rate limit', limit.name);
        }
        shared.set(key, full, Math.ceil(full - now) + 1000);
        left(v, limit.most, Math.floor((window - (full - now)) / step + 0.001), Math.ceil((full - now) / 1000));
    }
}

/* A quota is for an interval by the clock: from midnight on, by the UTC, when it is a day. */
function quota(r) {
    const v = r.variables, plan = policies.keys && policies.keys.plans[v.gw_known];
    if (!plan) return;
    const now = Date.now() / 1000, number = Math.floor(now / plan.per), ends = Math.ceil((number + 1) * plan.per - now);
    const used = ngx.shared.gateway_limits.incr('quota ' + v.gw_known + ' ' + number, 1, 0, ends * 1000);
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
