/* ID tokens of a provider (OpenID Connect Core 1.0, section 3.1.3.7), and the keys that they are checked with. */

const HASHES = {256: 'SHA-256', 384: 'SHA-384', 512: 'SHA-512'};
const CURVES = {ES256: 'P-256', ES384: 'P-384', ES512: 'P-521'};
const SKEW = 60;  // seconds between the provider's clock and ours

/* A key of a set (RFC 7517) and an algorithm of ours (RFC 7518) as Web Cryptography wants them, or nothing when they
   don't fit: a key is good for its own algorithm alone, and no shared secret checks anything. */
function scheme(key, name) {
    const kind = name.slice(0, 2), hash = HASHES[name.slice(2)];
    if (!hash || (key.use || 'sig') != 'sig' || (key.alg || name) != name) return;
    if (kind == 'ES' && key.kty == 'EC' && key.crv == CURVES[name]) {
        return {jwk: {kty: 'EC', crv: key.crv, x: key.x, y: key.y},
            imports: {name: 'ECDSA', namedCurve: key.crv}, verifies: {name: 'ECDSA', hash}};
    }
    // Fewer than 2048 bits are no signature any more (RFC 7518, section 3.3).
    if (key.kty != 'RSA' || typeof key.n != 'string' || Buffer.from(key.n, 'base64url').length < 256) return;
    const jwk = {kty: 'RSA', n: key.n, e: key.e};
    if (kind == 'RS') {
        return {jwk, imports: {name: 'RSASSA-PKCS1-v1_5', hash}, verifies: {name: 'RSASSA-PKCS1-v1_5'}};
    }
    if (kind == 'PS') {
        const saltLength = +name.slice(2) / 8;
        return {jwk, imports: {name: 'RSA-PSS', hash}, verifies: {name: 'RSA-PSS', saltLength}};
    }
}

async function signed(text, head, signature, keys) {
    for (let at = 0; at < keys.length; at++) {
        const key = keys[at], found = (head.kid === undefined || key.kid === head.kid) && scheme(key, head.alg);
        if (!found) continue;
        try {
            const made = await crypto.subtle.importKey('jwk', found.jwk, found.imports, false, ['verify']);
            if (await crypto.subtle.verify(found.verifies, made, signature, text)) return true;
        } catch (malformed) {
            // A key that isn't one checks nothing; the next may.
        }
    }
    return false;
}

/* The keys, as they were fetched last. anew: none of those fits; once in five seconds, whoever asks, that is reason
   enough to look whether there are others. */
async function keys(ask, anew) {
    const shared = ngx.shared.gateway_login, kept = shared.get('keys');
    const old = !shared.get('keys are young');
    if (kept && !(old || (anew && shared.add('keys were asked for', '1', 5000)))) return JSON.parse(kept).keys;
    try {
        const answer = await ask('/keys'), text = await answer.text(), found = JSON.parse(text).keys;
        if (answer.status != 200 || !Array.isArray(found)) throw new Error('no key set');
        shared.set('keys', text, 30 * 86400000);
        shared.set('keys are young', '1', oidc.refresh * 1000);
        return found;
    } catch (away) {
        if (!kept) throw away;
        return JSON.parse(kept).keys;
    }
}

function parts(token) {
    const found = String(token).split('.');
    if (found.length != 3) throw new Error('no token');
    return {
        head: JSON.parse(Buffer.from(found[0], 'base64url')), claims: JSON.parse(Buffer.from(found[1], 'base64url')),
        text: found[0] + '.' + found[1], signature: Buffer.from(found[2], 'base64url'), payload: found[1],
    };
}

/* The token's parts, or an Error with the reason. nonce: what the login was begun with, or undefined for a token
   that came for a refresh token; before: the claims of the token that it takes the place of. */
async function checked(token, ask, nonce, before) {
    const found = parts(token), claims = found.claims, now = Date.now() / 1000;
    const good = await signed(found.text, found.head, found.signature, await keys(ask, false))
        || await signed(found.text, found.head, found.signature, await keys(ask, true));
    if (!good) throw new Error('the signature is not the provider\'s');
    const audience = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    if (claims.iss !== oidc.issuer) throw new Error('another issuer');
    if (!audience.includes(oidc.client_id)) throw new Error('another audience');
    if ((audience.length > 1 || claims.azp !== undefined) && claims.azp !== oidc.client_id) throw new Error('another party');
    if (typeof claims.exp != 'number' || claims.exp <= now - SKEW) throw new Error('expired');
    if (claims.nbf !== undefined && !(claims.nbf <= now + SKEW)) throw new Error('not valid yet');
    if (typeof claims.sub != 'string' || !claims.sub) throw new Error('nobody');
    if (before === undefined && claims.nonce !== nonce) throw new Error('another nonce');
    if (before && (claims.sub !== before.sub || (claims.nonce !== undefined && claims.nonce !== before.nonce))) {
        throw new Error('another person');
    }
    return found;
}

export default {checked, parts};
