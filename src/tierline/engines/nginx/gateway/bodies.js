/* JSON bodies shaped by a route's templates (tiers/gateway/common/nginx_shapes.py writes them).

   request  before a route's location passes it on: what nginx sends is then `gw_body`
   answer   a route's answer, fetched whole from a location of its own, as its head tells its length
   begins, piece  what comes from there, bounded
   head     an answer without a body, whose length nobody knows */

import gateway from 'gateway.js';
import json from 'json.js';
import words from 'words.js';

const LARGEST = 1 << 20;  // bytes, as bodies.py says
const KIND = /^application\/(?:json|[\w.+-]+\+json)\s*(?:;|$)/i;
const UNTRUE = /^(?:content-length|transfer-encoding|connection|keep-alive|content-digest|repr-digest|digest|content-md5|accept-ranges)$/i;
const PERHAPS = /^(?:content-length|transfer-encoding|connection|keep-alive)$/i;

function text(bytes) {
    try {
        return new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
    } catch (other) {
        throw new Error('it is not UTF-8');
    }
}

function shaped(body, shape, found) {
    const values = json.scan(body, shape.wanted);
    for (const name in values) found[name] = values[name];
    let made = '';
    for (let at = 0; at < shape.parts.length; at++) {
        const part = shape.parts[at];
        if (typeof part == 'string') {
            made += part;
            continue;
        }
        const given = found[part.name];
        if (part.whole) made += given === undefined ? 'null' : given;
        else if (given === undefined || given === 'null') made += '';
        else made += given.startsWith('"') ? given.slice(1, -1) : json.escaped(given);
    }
    return made;
}

/* A value of the address: decoded when that is text, as it came otherwise. */
function plain(value, space) {
    const given = space ? value.replace(/\+/g, ' ') : value;
    try {
        return JSON.stringify(given.replace(/(?:%[0-9a-fA-F]{2})+/g, decodeURIComponent));
    } catch (other) {
        return JSON.stringify(value);
    }
}

/* Of the request's address and headers, what the template asks for, each as JSON text in quotes. */
function asked(r, shape) {
    const found = {}, uri = r.variables.request_uri, question = uri.indexOf('?');
    const path = question < 0 ? uri : uri.slice(0, question);
    const parts = shape.path && new RegExp(shape.path).exec(path);
    for (let at = 0; parts && at < shape.params.length; at++) found[shape.params[at]] = plain(parts[at + 1]);
    (question < 0 ? '' : uri.slice(question + 1)).split('&').forEach((pair) => {
        const equals = pair.indexOf('='), name = equals < 0 ? pair : pair.slice(0, equals);
        if (name) found['query:' + name] = plain(equals < 0 ? '' : pair.slice(equals + 1), true);
    });
    for (let at = 0; at < shape.headers.length; at++) {
        const value = r.headersIn[shape.headers[at]];
        if (value !== undefined) found['header:' + shape.headers[at]] = JSON.stringify(value);
    }
    return found;
}

async function request(r) {
    const v = r.variables, shape = policies.routes.all[+v.gw_shape].request;
    const refused = await made(r, v, shape);
    if (!refused) return;
    v.gw_next = refused;
    r.return(418);
}

async function made(r, v, shape) {
    const most = policies.largest, said = +r.headersIn['Content-Length'] || 0;
    if (said > most) return words.refuse(r, 413, 'too large', 'body');
    let bytes;
    try {
        bytes = await r.readRequestArrayBuffer();
    } catch (cut) {
        return words.refuse(r, 400, 'body', 'body', '', 'the body did not come whole');
    }
    if (bytes.byteLength > most) return words.refuse(r, 413, 'too large', 'body');
    if (!bytes.byteLength && shape.needs) return words.refuse(r, 400, 'body', 'body', '', 'a JSON body is needed');
    if (bytes.byteLength && !KIND.test(r.headersIn['Content-Type'] || '')) {
        return words.refuse(r, 415, 'body', 'body', '', 'application/json is needed');
    }
    try {
        v.gw_body = shaped(bytes.byteLength ? text(bytes) : 'null', shape, asked(r, shape));
    } catch (other) {
        return words.refuse(r, 400, 'body', 'body', '', 'the body is no JSON: ' + other.message);
    }
}

async function answer(r) {
    const v = r.variables, shape = policies.routes.all[+v.gw_shape].response;
    const reply = await r.subrequest('/-/via/' + v.gw_via, {method: r.method});
    const out = reply.headersOut, coding = out['Content-Encoding'];
    const good = reply.status >= 200 && reply.status < 300 && reply.status != 204 && reply.status != 206;
    const whole = reply.responseBuffer;
    v.gw_served = reply.variables.upstream_addr || '';
    v.gw_took = reply.variables.upstream_response_time || '';
    if (v.gw_over === 'over') return failed(r, 'The service\'s answer is too large', 'at most ' + LARGEST + ' bytes are shaped');
    if (!good || !KIND.test(out['Content-Type'] || '') || !whole || !whole.length) {
        return pass(r, reply.status, out, PERHAPS, whole);
    }
    let body;
    try {
        if (coding && coding != 'identity') throw new Error('it is encoded');
        body = Buffer.from(shaped(text(whole), shape, {}));
    } catch (other) {
        return failed(r, 'The service gave no JSON', other.message);
    }
    pass(r, reply.status, out, UNTRUE, body);
}

/* Of an answer that is fetched: a length that nginx would believe before it is known whether all of it may come. */
function begins(r) {
    delete r.headersOut['Content-Length'];
    r.variables.gw_over = '0';
}

/* And its pieces. nginx breaks a connection off where more comes than it has room for; here the rest is thrown away. */
function piece(r, data, flags) {
    const v = r.variables, known = v.gw_over;
    const over = known === 'over' || +known + data.length > LARGEST;
    v.gw_over = over ? 'over' : String(+known + data.length);
    r.sendBuffer(over ? '' : data, flags);
}

function failed(r, title, detail) {
    const told = {type: 'about:blank', status: 502, title, detail, trace_id: r.variables.tl_trace};
    r.variables.gw_verdict = 'upstream failed';
    pass(r, 502, {'Content-Type': 'application/problem+json', 'Cache-Control': 'no-store'}, PERHAPS,
        Buffer.from(JSON.stringify(told) + '\n'));
}

/* Nothing may go wrong once the head is on its way: nginx would send another. */
function pass(r, status, headers, without, body) {
    for (const name in headers) {
        if (!without.test(name)) r.headersOut[name] = headers[name];
    }
    gateway.answer(r);
    if (body && body.length) return r.return(status, body);
    r.status = status;
    r.sendHeader();
    r.finish();
}

function head(r) {
    gateway.answer(r);
    if (KIND.test(r.headersOut['Content-Type'] || '')) delete r.headersOut['Content-Length'];
}

export default {request, answer, begins, piece, head};
