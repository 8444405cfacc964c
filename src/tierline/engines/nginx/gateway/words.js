/* What every policy is told with: lists, paths, refusals. */

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

/* detail: for who asked; without quotes, as it becomes a part of a JSON document. */
function refuse(r, status, why, policy, challenge, detail) {
    const v = r.variables;
    v.gw_verdict = status == 404 ? why : 'refused: ' + why;
    v.gw_detail = detail || why;
    v.gw_policy = policy || why.replace(/ /g, '-');
    if (challenge) v.gw_challenge = challenge;
    return 'gw_refuse_' + status;
}

export default {all, has, under, refuse};
