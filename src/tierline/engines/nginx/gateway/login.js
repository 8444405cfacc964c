/* Browsers' logins with OpenID Connect: the authorization code flow (Core 1.0, section 3.1) with PKCE (RFC 7636).

   session   in front of a path that needs a login: the session's, or on to the provider
   callback  where the provider sends a browser back to
   logout    ends the session here and at the provider (RP-Initiated Logout 1.0)

   `oidc` is an object that is read once, with its secrets (common/nginx_login.py writes it). The provider is asked
   over a socket of our own, so that nginx itself looks after names, certificates and connections.

   Shared memory: `gateway_login`: the provider's keys, and for half a minute what became of a refresh token. */

import hashes from 'crypto';
import gateway from 'gateway.js';
import sessions from 'sessions.js';
import tokens from 'tokens.js';
import words from 'words.js';

const SESSION = 'tierline-session', LOGIN = 'tierline-login';
const BEGUN = 600;  // seconds that somebody may take to log in
const AT_ONCE = 8;  // logins that one browser may have begun, in as many tabs

function random(bytes) { return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString('base64url'); }

function form(fields) {
    return Object.keys(fields).map((name) => name + '=' + encodeURIComponent(fields[name])).join('&');
}

function extended(url, fields) { return url + (url.includes('?') ? '&' : '?') + form(fields); }

/* Asks the provider: `/token` or `/keys`. */
async function ask(path, body) {
    // A connection that fails at once has a handler of the access phase run again, without end; a later one doesn't.
    await new Promise((done) => setTimeout(done, 0));
    const asked = {method: body ? 'POST' : 'GET', headers: {Host: 'login', Accept: 'application/json'}};
    if (body) {
        asked.headers['Content-Type'] = 'application/x-www-form-urlencoded';
        if (!oidc.post) {
            const pair = encodeURIComponent(oidc.client_id) + ':' + encodeURIComponent(oidc.client_secret);
            asked.headers.Authorization = 'Basic ' + Buffer.from(pair).toString('base64');
        }
        asked.body = form(oidc.post ? Object.assign({}, body, {client_id: oidc.client_id, client_secret: oidc.client_secret}) : body);
    }
    return ngx.fetch('http://unix:' + oidc.socket + ':' + path, asked);
}

async function granted(body) {
    const answer = await ask('/token', body), text = await answer.text();
    let found;
    try {
        found = JSON.parse(text);
    } catch (other) {
        found = {};
    }
    if (answer.status != 200) throw new Error(`the provider answered ${answer.status} ${String(found.error || '').slice(0, 60)}`);
    return found;
}

/* What a browser keeps of an answer with tokens. */
async function sealed(found, checked, before) {
    const now = Math.floor(Date.now() / 1000), lives = +found.expires_in || 3600;
    // A refresh need not bring an ID token (Core 1.0, section 12.2): who it is stays what the last one said.
    const until = checked ? Math.min(now + lives, checked.claims.exp) : now + lives;
    const told = {token: found.id_token || before.token, until, again: found.refresh_token || (before && before.again)};
    return sessions.sealed(SESSION, told);
}

/* Where a browser reaches us. Tiers in front may leave the port out of Host. */
function origin(v) {
    const scheme = v.gw_scheme == 'http' ? 'http' : 'https', port = policies.login.ports[scheme];
    let host = v.http_host || v.host;
    if (!/^[A-Za-z0-9.:\[\]-]+$/.test(host)) throw new Error('no host to come back to');
    if (port && port != {http: 80, https: 443}[scheme] && !/:\d+$/.test(host)) host += ':' + port;
    return scheme + '://' + host;
}

/* Before a path that needs a login. */
async function session(r) {
    const v = r.variables;
    try {
        v.gw_next = await entered(r, v) || await stranger(r, v);
    } catch (error) {
        r.error('login: ' + error.message);
        v.gw_next = words.refuse(r, 500, 'login', 'login');
    }
    r.return(418);
}

async function entered(r, v) {
    const text = sessions.kept(r, SESSION);
    let found = text && await sessions.opened(SESSION, text);
    if (found && found.until <= Date.now() / 1000) found = found.again && await refreshed(r, found);
    if (!found) return '';
    const token = tokens.parts(found.token);
    gateway.known(v, token.claims, token.payload);
    return gateway.admitted(r, v.uri, token.claims, true);
}

/* A session whose token has expired goes on with a refresh token. A page's requests come at once and a refresh token
   is good once: the first one asks, the others get what it has got. */
async function refreshed(r, before) {
    const shared = ngx.shared.gateway_login;
    const name = 'again ' + hashes.createHash('sha256').update(before.again).digest('hex');
    let text = '';
    if (shared.add(name, '', 15000)) {
        try {
            const found = await granted({grant_type: 'refresh_token', refresh_token: before.again});
            const claims = tokens.parts(before.token).claims;
            const checked = found.id_token && await tokens.checked(found.id_token, ask, undefined, claims);
            text = await sealed(found, checked, before);
        } catch (error) {
            r.warn('login: a session ends: ' + error.message);
        }
        shared.set(name, text || 'none', text ? 30000 : 1000);
    } else {
        for (let tries = 0; tries < 100 && !text; tries++) {
            text = shared.get(name) || '';
            if (!text) await new Promise((done) => setTimeout(done, 50));
        }
    }
    const found = await sessions.opened(SESSION, text);
    if (found) sessions.keep(r, SESSION, text);
    return found;
}

/* Only a browser that reads a page can be sent to another one: scripts, and what carries a body, get 401. */
async function stranger(r, v) {
    const reads = r.method == 'GET' || r.method == 'HEAD';
    if (!reads || !(r.headersIn.Accept || '').includes('text/html')) return words.refuse(r, 401, 'login', 'login');
    const state = random(16), nonce = random(16), verifier = random(32), back = origin(v) + policies.login.callback;
    const to = [v.request_uri, v.uri.length < 2000 && encodeURI(v.uri), '/'].find((each) => each && each.length < 2000);
    const begun = Object.keys(sessions.cookies(r)).filter((name) => name.startsWith(LOGIN + '-'));
    if (begun.length >= AT_ONCE) begun.forEach((name) => sessions.drop(r, name));
    const told = {state, nonce, verifier, back, to, at: Math.floor(Date.now() / 1000)};
    sessions.put(r, `${LOGIN}-${state.slice(0, 8)}`, await sessions.sealed(LOGIN, told), BEGUN);
    v.gw_location = extended(oidc.authorization, {
        response_type: 'code', client_id: oidc.client_id, redirect_uri: back, scope: oidc.scope, state, nonce,
        code_challenge: hashes.createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
    });
    v.gw_verdict = 'sent to log in';
    return 'gw_sent';
}

async function callback(r) {
    const v = r.variables;
    r.internalRedirect('@' + await came(r, v));
}

async function came(r, v) {
    const state = String(r.args.state || ''), name = `${LOGIN}-${state.slice(0, 8)}`;
    const told = state.length == 22 && await sessions.opened(LOGIN, sessions.cookies(r)[name] || '');
    // An answer that this browser hasn't asked for: somebody else's code, or one that is used already.
    if (!told || told.state !== state || told.at < Date.now() / 1000 - BEGUN) return words.refuse(r, 401, 'login', 'login');
    sessions.drop(r, name);
    if (!r.args.code) return words.refuse(r, 401, 'login', 'login', '', 'the provider let nobody in');
    let text;
    try {
        const found = await granted({
            grant_type: 'authorization_code', code: String(r.args.code), redirect_uri: told.back, code_verifier: told.verifier,
        });
        text = await sealed(found, await tokens.checked(found.id_token, ask, told.nonce));
        sessions.keep(r, SESSION, text);
    } catch (error) {
        r.error('login: ' + error.message);
        return words.refuse(r, 401, 'login', 'login', '', 'the provider\'s answer is no login');
    }
    v.gw_location = told.back.slice(0, -policies.login.callback.length) + told.to;
    v.gw_verdict = 'logged in';
    return 'gw_sent';
}

async function logout(r) {
    const v = r.variables, text = sessions.kept(r, SESSION), found = text && await sessions.opened(SESSION, text);
    const home = origin(v) + '/', hint = found ? {id_token_hint: found.token} : {};
    sessions.forget(r, SESSION);
    sessions.forget(r, LOGIN);
    v.gw_location = oidc.end_session
        ? extended(oidc.end_session, Object.assign(hint, {client_id: oidc.client_id, post_logout_redirect_uri: home})) : home;
    v.gw_verdict = 'logged out';
    r.internalRedirect('@gw_sent');
}

export default {session, callback, logout};
