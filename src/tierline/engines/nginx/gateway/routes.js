/* Which route a request takes, and the name of the location that it goes on in. */

import budget from 'budget.js';
import words from 'words.js';

const RETRIED = {GET: 1, HEAD: 1, OPTIONS: 1, POST: 1, PATCH: 1};  // nginx itself knows when these may be tried again
const SAFE = {GET: 1, HEAD: 1, OPTIONS: 1};
const SHAPED = {POST: 1, PUT: 1, PATCH: 1};  // whose bodies a template is for

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
    return found ? chosen(r, path, found) : words.refuse(r, 404, 'no route');
}

function first(r, numbers) {
    if (!numbers) return null;
    for (let at = 0; at < numbers.length; at++) {
        const each = policies.routes.all[numbers[at]];
        if ((!each.methods.length || words.has(each.methods, r.method)) && hosted(r.variables.host, each.hosts)
            && words.all(each.headers, (pair) => r.headersIn[pair[0]] === pair[1])) return each;
    }
    return null;
}

function hosted(host, names) {
    return !names.length || !words.all(names, (name) => name.startsWith('*.') ? !host.endsWith(name.slice(1)) : host != name);
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
    if (policies.budget) budget.begins(v);
    const again = policies.budget ? SAFE[r.method] && !bodied(r) : RETRIED[r.method];
    const body = found.request && SHAPED[r.method] ? '_body' : '', once = found.again && !again ? '_once' : '';
    if (!found.response && !body) return found.at + once;
    v.gw_shape = found.at.slice('gw_r'.length);
    if (!found.response) return found.at + body + once;
    v.gw_via = found.at + body + once;
    return found.at + (r.method == 'HEAD' ? '_head' : '_shape' + body);
}

/* nginx's own word about a body, that it is too large, mustn't be taken for a failure of the service. */
function bodied(r) { return r.headersIn['Transfer-Encoding'] || +r.headersIn['Content-Length'] > 0; }

/* The prefix `cut` replaced by `behind`. A path is passed on as it was written, as far as that can be. */
function rewritten(uri, path, found) {
    const question = uri.indexOf('?'), query = question < 0 ? '' : uri.slice(question);
    let raw = question < 0 ? uri : uri.slice(0, question);
    if (!raw.startsWith(found.cut)) raw = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
    const rest = raw.slice(found.cut == '/' ? 0 : found.cut.length);
    const made = found.behind == '/' || found.behind == '' ? rest : found.behind + rest;
    return (made.startsWith('/') ? made : '/' + made) + query;
}

export default {route};
