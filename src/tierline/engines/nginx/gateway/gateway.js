/* A gateway's policies in nginx. What the stack says is in `policies`, an object that is read once, when nginx
   reads its configuration (tiers/gateway/nginx.py writes it). One worker runs all of it, so that what is counted
   here is counted exactly.

   early    before anything else: paths, preflights, addresses, limits, keys; then on to the token, to the login, or
            to the route
   late     once nginx has checked the token's signature: what it claims
   answer   on the way back: headers that policies add

   login.js   browsers' sessions           bodies.js  bodies shaped by templates
   limits.js  rate limits and quotas, by what is known here; shared.js, asks.js: counted for the whole line
   routes.js  where a request goes         counts.js  metrics

   `early` and `late` answer with the name of the location that goes on: a route's, or a refusal's. The order of the
   policies is that of every gateway: what costs least to know first, and limits before signatures. */

import crypto from 'crypto';
import limits from 'limits.js';
import routes from 'routes.js';
import shared from 'shared.js';
import words from 'words.js';

const ODD = /\/\.\.?(\/|$)|\/\/|\\|%2e|%2f|%5c|%00/i;  // spellings of a path that could walk around a rule
const under = words.under, refuse = words.refuse;

function early(r) {
    const v = r.variables, asked = r.headersIn, raw = v.request_uri.split('?')[0], path = v.uri;
    v.gw_target = v.request_uri;
    v.gw_key = asked[policies.keys ? policies.keys.header : 'x-api-key'] || '';
    if (ODD.test(raw)) return refuse(r, 400, 'path');
    if (words.has(policies.cors, asked.Origin)) {
        v.gw_origin = asked.Origin;
        if (r.method == 'OPTIONS' && asked['Access-Control-Request-Method']) {
            v.gw_verdict = 'preflight';
            return 'gw_preflight';
        }
    }
    const bad = access(r, path, policies.early, null)
        || (policies.counted ? shared.taken(r, path, policies.limits, null, 'gw_ask') : limits.limited(r, path, policies.limits));
    return bad || entered(r, path);
}

/* Who is counted by address may come in; now, who is it? */
function entered(r, path) {
    const v = r.variables, asked = r.headersIn;
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
    const login = policies.login, auth = policies.auth, bearer = /^bearer /i.test(asked.Authorization || '');
    if (login && (path == login.callback || path == login.logout)) {
        v.gw_private = '1';
        return path == login.callback ? 'gw_callback' : 'gw_logout';
    }
    const session = login && under(path, login.paths), token = auth && under(path, auth.paths);
    if (session || token) v.gw_private = '1';
    if (auth && bearer) return 'gw_token';
    if (session && !bearer) return 'gw_session';
    if (token) return refuse(r, 401, 'no token', 'no-token', 'Bearer');
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
    const good = signed && words.has(signed, v.jwt_header_alg) && claims.iss === auth.issuer
        && audience.includes(auth.audience)
        && typeof claims.exp == 'number' && claims.exp > now - auth.skew
        && (claims.nbf === undefined || (typeof claims.nbf == 'number' && claims.nbf <= now + auth.skew));
    if (!good) return refuse(r, 401, 'token', 'token', 'Bearer error=invalid_token');
    known(v, claims, Buffer.from(v.jwt_claims).toString('base64url'));
}

/* text: the claims as a service gets them, base64url. */
function known(v, claims, text) {
    v.gw_claims = text;
    if (typeof claims.sub == 'string') {
        v.gw_subject = claims.sub.replace(/[^\x20-\x7e]/g, '?');
        if (!v.gw_consumer) v.gw_consumer = v.gw_subject.slice(0, 80);
    }
}

/* Who it is is known: what they may, what they may still do today, and where it goes. session: by a login. */
function admitted(r, path, claims, session) {
    // A token of one issuer is no login at another.
    if (policies.login && !session && under(path, policies.login.paths)
        && !(policies.auth && under(path, policies.auth.paths))) return refuse(r, 401, 'login', 'login');
    const bad = access(r, path, policies.access, claims);
    if (bad) return bad;
    const over = policies.counted
        ? shared.taken(r, path, policies.persons, limits.plan(r.variables), 'gw_ask_late')
        : limits.limited(r, path, policies.persons) || limits.quota(r);
    return over || routes.route(r, path);
}

function access(r, path, rules, claims) {
    for (let at = 0; at < rules.length; at++) {
        const rule = rules[at];
        if ((rule.methods.length && !words.has(rule.methods, r.method)) || !under(path, rule.paths)) continue;
        r.variables.gw_private = '1';  // a cache in front would give it to those who may not have it
        const scopes = claims && typeof claims.scope == 'string' ? claims.scope.split(' ') : [];
        const allowed = words.all(rule.claims, (pair) => claims && claim(claims, pair[0]) === pair[1])
            && words.all(rule.scopes, (scope) => scopes.includes(scope))
            && (!rule.network || r.variables[rule.network] == '1');
        if (!allowed) return refuse(r, 403, 'access', rule.name);
    }
}

function claim(claims, name) {
    const value = Object.prototype.hasOwnProperty.call(claims, name) ? claims[name] : undefined;
    return typeof value == 'object' || value === undefined ? undefined : String(value);
}

/* On the way back. */

function answer(r) {
    const v = r.variables, out = r.headersOut;
    if (r.parent) return;  // a part of an answer: the whole gets its headers when it goes
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
    if (v.gw_cookies) out['Set-Cookie'] = (out['Set-Cookie'] || []).concat(v.gw_cookies.split('\n'));
}

export default {early, entered, late, answer, admitted, known};
