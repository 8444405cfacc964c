/* The locations that ask the line's counter, and go on where `early` and `admitted` stopped. */

import gateway from 'gateway.js';
import limits from 'limits.js';
import routes from 'routes.js';
import shared from 'shared.js';

async function early(r) {
    const path = r.variables.uri;
    r.variables.gw_next = await shared.ask(r, path, policies.limits) || gateway.entered(r, path);
    r.return(418);
}

async function late(r) {
    const path = r.variables.uri;
    r.variables.gw_next = await shared.ask(r, path, policies.persons, limits.plan(r.variables)) || routes.route(r, path);
    r.return(418);
}

export default {early, late};
