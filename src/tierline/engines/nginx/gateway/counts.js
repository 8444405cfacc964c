/* Counts, when a request is over, and what is read of them, in Prometheus' format. */

import budget from 'budget.js';

function tell(r) {
    const v = r.variables;
    if (policies.budget) budget.ends(v);
    const counts = ngx.shared.gateway_counts;
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
    tierline_gateway_request_seconds: 'summary', tierline_gateway_limit_crowded_total: 'counter', tierline_gateway_retries_refused_total: 'counter',
    tierline_gateway_counter_asked_total: 'counter', tierline_gateway_counter_away_total: 'counter',
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

export default {tell, metrics};
