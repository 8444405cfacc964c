/* A gateway's policies in nginx. What the stack says is in `policies`, an object that is read once, when nginx
   reads its configuration (tiers/gateway/nginx.py writes it). One worker runs all of it, so that what is counted
   here is counted exactly.

   early    before anything else: paths, preflights, addresses, limits, keys; then on to the token, or to the route
   late     once nginx has checked the token's signature: what it claims
   answer   on the way back: headers that policies add
   tell     when it is over: counts
   metrics  the counts, in Prometheus format

   `early` and `late` answer with the name of the location that goes on: a route's, or a refusal's. The order of the
   policies is that of every gateway: what costs least to know first, and limits before signatures.

   Shared memory: `gateway_limits` (key → when a bucket is full again, or requests in an interval), `gateway_counts`. */

import crypto from 'crypto';

const ODD = /\/\.\.?(\/|$)|\/\/|\\|%2e|%2f|%5c|%00/i;  // spellings of a path that could walk around a rule
const RETRIED = {GET: 1, HEAD: 1, OPTIONS: 1, POST: 1, PATCH: 1};  // nginx itself knows when these may be tried again

function early(r) {
    const v = r.variables, asked = r.headersIn, raw = v.request_uri.split('?')[0], path = v.uri;
    v.gw_target = v.request_uri;
    v.gw_key = asked[policies.keys ? policies.keys.header : 'x-api-key'] || '';
    if (ODD.test(raw)) return refuse(r, 400, 'path');
    if (has(policies.cors, asked.Origin)) {
        v.gw_origin = asked.Origin;
        if (r.method == 'OPTIONS' && asked['Access-Control-Request-Method']) {
            v.gw_verdict = 'preflight';
            return 'gw_preflight';
        }
    }
    const bad = access(r, path, policies.early, null) || limited(r, path, policies.limits);
    if (bad) return bad;
    const stranger = policies.mtls && certificate(r, path);
    if (stranger) return stranger;
    if (policies.keys && under(path, policies.keys.paths)) {
        const digest = crypto.createHash('sha256').update(v.gw_key).digest('hex');
        const found = v.gw_key ? policies.keys.digests[digest] : undefined;
        if (!found) return refuse(r, 401, 'key', 'key');
        v.gw_key = '';
        v.gw_private = '1';
        v.gw_consumer = v.gw_known = found;
    }
    if (policies.login && under(path, policies.login)) v.gw_private = '1';
    if (policies.auth && under(path, policies.auth.paths)) v.gw_private = '1';
    const bearer = /^bearer /i.test(asked.Authorization || '');
    if (policies.auth && bearer) return 'gw_token';
    if (policies.auth && under(path, policies.auth.paths)) return refuse(r, 401, 'no token', 'no-token', 'Bearer');
    return admitted(r, path, null);
}

/* nginx has checked the certificate's chain and dates, or let nobody in at all. */
function certificate(r, path) {
    const v = r.variables, needed = under(path, policies.mtls.paths), come = v.ssl_client_verify == 'SUCCESS';
    if (!come) return needed && refuse(r, 401, 'no certificate', 'certificate');
    // The common name, of a subject as RFC 2253 writes it: commas in names have a backslash before them.
    const names = (v.ssl_client_s_dn.match(/(?:\\.|[^,+\\])+/g) || []).filter((part) => part.startsWith('CN='));
    const found = names.length == 1 && policies.mtls.consumers[names[0]];
    if (found) v.gw_consumer = v.gw_known = found;
    else if (needed) return refuse(r, 403, 'certificate', 'certificate');
}

/* After auth_jwt: the signature is good, and what `jwt_claims` says is what was signed. */
function late(r) {
    const v = r.variables;
    v.gw_next = token(r, v) || admitted(r, v.uri, JSON.parse(v.jwt_claims));
    r.return(418);
}

function token(r, v) {
    const claims = JSON.parse(v.jwt_claims), auth = policies.auth, now = Date.now() / 1000;
    const audience = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    const signed = auth.algorithms[v.jwt_header_kid || ''] || auth.algorithms[''];
    const good = signed && has(signed, v.jwt_header_alg) && claims.iss === auth.issuer
        && audience.includes(auth.audience)
        && typeof claims.exp == 'number' && claims.exp > now - auth.skew
        && (claims.nbf === undefined || (typeof claims.nbf == 'number' && claims.nbf <= now + auth.skew));
    if (!good) return refuse(r, 401, 'token', 'token', 'Bearer error=invalid_token');
    v.gw_claims = Buffer.from(v.jwt_claims).toString('base64url');
    if (typeof claims.sub == 'string') {
        v.gw_subject = claims.sub.replace(/[^\x20-\x7e]/g, '?');
        if (!v.gw_consumer) v.gw_consumer = v.gw_subject.slice(0, 80);
    }
}

/* Who it is is known: what they may, what they may still do today, and where it goes. */
function admitted(r, path, claims) {
    const v = r.variables;
    // nginx knows no logins: what needs one, and isn't open to tokens, is closed.
    if (policies.login && under(path, policies.login) && !(policies.auth && under(path, policies.auth.paths))) return refuse(r, 401, 'login', 'login');
    return access(r, path, policies.access, claims) || limited(r, path, policies.persons) || quota(r) || route(r, path);
}

function refuse(r, status, why, policy, challenge) {
    const v = r.variables;
    v.gw_verdict = status == 404 ? why : 'refused: ' + why;
    v.gw_detail = why;
    v.gw_policy = policy || why.replace(/ /g, '-');
    if (challenge) v.gw_challenge = challenge;
    return 'gw_refuse_' + status;
}

/* The arrays of an object that was read once have no methods of their own. */

function all(list, test) {
    for (let at = 0; at < list.length; at++) {
        if (!test(list[at])) return false;
    }
    return true;
}

function has(list, wanted) { return !all(list, (each) => each !== wanted); }

/* Whether a path is one of the prefixes, or below one: by whole segments. */
function under(path, prefixes) {
    for (let at = 0; at < prefixes.length; at++) {
        if (path == prefixes[at] || path.startsWith(prefixes[at] + '/')) return true;
    }
    return false;
}

function access(r, path, rules, claims) {
    for (let at = 0; at < rules.length; at++) {
        const rule = rules[at];
        if ((rule.methods.length && !has(rule.methods, r.method)) || !under(path, rule.paths)) continue;
        r.variables.gw_private = '1';  // a cache in front would give it to those who may not have it
        const scopes = claims && typeof claims.scope == 'string' ? claims.scope.split(' ') : [];
        const allowed = all(rule.claims, (pair) => claims && claim(claims, pair[0]) === pair[1])
            && all(rule.scopes, (scope) => scopes.includes(scope))
            && (!rule.network || r.variables[rule.network] == '1');
        if (!allowed) return refuse(r, 403, 'access', rule.name);
    }
}

function claim(claims, name) {
    const value = Object.prototype.hasOwnProperty.call(claims, name) ? claims[name] : undefined;
    return typeof value == 'object' || value === undefined ? undefined : String(value);
}

/* Limits. A bucket is one number: when it will be full again (the generic cell rate algorithm). */

function limited(r, path, limits) {
    const v = r.variables, shared = ngx.shared.gateway_limits, now = Date.now();
    for (let at = 0; at < limits.length; at++) {
        const limit = limits[at];
        if (limit.paths.length && !under(path, limit.paths)) continue;
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
    return refuse(r, 429, why, policy);
}

/* Of several limits, the one that is nearest to its end is told. */
function left(v, most, remaining, reset) {
    if (v.gw_left !== '' && +v.gw_left <= remaining) return;
    v.gw_most = String(most);
    v.gw_left = String(remaining);
    v.gw_reset = String(reset);
}

/* Routes: exact paths, then templates, then prefixes, the longest first; of the same path the most demanding first. */

function route(r, path) {
    const table = policies.routes;
    let found = first(r, table.exact[path]);
    if (!found) {
        const templates = table.templates[path.split('/').length] || [];
        for (let at = 0; at < templates.length && !found; at++) {
            if (new RegExp(templates[at][0]).test(path)) found = first(r, templates[at][1]);
        }
    }
    for (let end = path.length; end > 0 && !found; end = path.lastIndexOf('/', end - 1)) {
        found = first(r, table.prefixes[path.slice(0, end)]);
    }
    found = found || first(r, table.prefixes['/']);
    return found ? chosen(r, path, found) : refuse(r, 404, 'no route');
}

function first(r, numbers) {
    if (!numbers) return null;
    for (let at = 0; at < numbers.length; at++) {
        const each = policies.routes.all[numbers[at]];
        if ((!each.methods.length || has(each.methods, r.method)) && hosted(r.variables.host, each.hosts)
            && all(each.headers, (pair) => r.headersIn[pair[0]] === pair[1])) return each;
    }
    return null;
}

function hosted(host, names) {
    return !names.length || !all(names, (name) => name.startsWith('*.') ? !host.endsWith(name.slice(1)) : host != name);
}

function chosen(r, path, found) {
    const v = r.variables, canary = found.canary;
    v.gw_route = found.name;
    if (found.document) return 'gw_document';
    v.gw_up = found.up;
    if (canary && ((canary.header && r.headersIn[canary.header] !== undefined) || Math.random() * 100 < canary.weight)) {
        v.gw_up = canary.up;
    }
    if (found.cut !== null) v.gw_target = rewritten(v.request_uri, path, found);
    v.gw_share = Math.random() * 100 < found.mirror ? '1' : '';
    return found.at + (found.again && !RETRIED[r.method] ? '_once' : '');
}

/* The prefix `cut` replaced by `behind`. A path is passed on as it was written, as far as that can be. */
function rewritten(uri, path, found) {
    const question = uri.indexOf('?'), query = question < 0 ? '' : uri.slice(question);
    let raw = question < 0 ? uri : uri.slice(0, question);
    if (!raw.startsWith(found.cut)) raw = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
    const rest = raw.slice(found.cut == '/' ? 0 : found.cut.length);
    const made = found.behind == '/' || found.behind == '' ? rest : found.behind + rest;
    return (made.startsWith('/') ? made : '/' + made) + query;
}

/* On the way back. */

function answer(r) {
    const v = r.variables, out = r.headersOut;
    if (policies.cors.length) {
        delete out['Access-Control-Allow-Origin'];
        // Whoever asks: a cache in front mustn't give one origin the answer of another, or of none.
        out.Vary = out.Vary ? out.Vary + ', Origin' : 'Origin';
        if (v.gw_origin) {
            out['Access-Control-Allow-Origin'] = v.gw_origin;
            out['Access-Control-Expose-Headers'] = policies.exposed;
        }
    }
    if (v.gw_left !== '') {
        out['RateLimit-Limit'] = v.gw_most;
        out['RateLimit-Remaining'] = v.gw_left;
        out['RateLimit-Reset'] = v.gw_reset;
    }
    if (v.gw_retry) out['Retry-After'] = v.gw_retry;
    if (v.gw_challenge) out['WWW-Authenticate'] = v.gw_challenge;
    if (v.gw_private) out['Cache-Control'] = 'private, no-store';
}

/* Counts. */

function tell(r) {
    const v = r.variables, counts = ngx.shared.gateway_counts;
    const service = v.gw_up.slice(policies.prefix.length), labels = `service="${service}",route="${v.gw_route}"`;
    try {
        counts.incr(`tierline_gateway_requests_total{${labels},consumer="${v.gw_known}",status="${v.status}"}`, 1, 0);
        counts.incr(`tierline_gateway_request_seconds_sum{${labels}}`, +v.request_time, 0);
        counts.incr(`tierline_gateway_request_seconds_count{${labels}}`, 1, 0);
        if (v.gw_policy) counts.incr(`tierline_gateway_refused_total{policy="${v.gw_policy}"}`, 1, 0);
    } catch (full) {
        // Labels come from the stack alone: there are never too many.
    }
    return '';
}

const TYPES = {
    tierline_gateway_requests_total: 'counter', tierline_gateway_refused_total: 'counter',
    tierline_gateway_request_seconds: 'summary',
};

function metrics(r) {
    const counts = ngx.shared.gateway_counts, keys = counts.keys(100000).sort();
    let text = '', before = '';
    keys.forEach((key) => {
        const name = key.split('{')[0].replace(/_(sum|count)$/, '');
        if (name != before) text += `# TYPE ${name} ${TYPES[name]}\n`;
        before = name;
        text += key + ' ' + counts.get(key) + '\n';
    });
    r.headersOut['Content-Type'] = 'text/plain; version=0.0.4';
    r.return(200, text);
}

export default {early, late, answer, tell, metrics};
