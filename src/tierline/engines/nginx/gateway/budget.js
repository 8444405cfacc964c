/* A budget of retries: of the requests under way to a service only a part may be tried again at a time, so that one which
   is in trouble isn't given three times the work.

   Shared memory: in `gateway_totals`, how many are under way and how many of them are being tried again, by service. */

const LEAST = 20;  // at once, however little is under way: a zone that dies breaks off more than a few

function begins(v) {
    ngx.shared.gateway_totals.incr('under way ' + v.gw_up, 1, 0);
    v.gw_under = '1';
}

/* '' when this request may be tried again, else the status that it has come to. */
function more(r) {
    const v = r.variables, totals = ngx.shared.gateway_totals, last = /(50[234])[^0-9]*$/.exec(v.upstream_status || '');
    const status = last ? last[1] : '503', name = 'again ' + v.gw_up;
    if (v.limit_conn_status == 'REJECTED') return '503';
    const most = Math.max(LEAST, (totals.get('under way ' + v.gw_up) || 0) * policies.budget / 100);
    if (totals.incr(name, 1, 0) <= most) {
        v.gw_again = '1';
        return '';
    }
    totals.incr(name, -1);
    ngx.shared.gateway_counts.incr(`tierline_gateway_retries_refused_total{service="${v.gw_up.slice(policies.prefix.length)}"}`, 1, 0);
    v.gw_verdict = 'retries over budget';
    if (status == '503') v.gw_retry = v.upstream_http_retry_after || '';
    return status;
}

function ends(v) {
    const totals = ngx.shared.gateway_totals;
    if (v.gw_under) totals.incr('under way ' + v.gw_up, -1);
    if (v.gw_again) totals.incr('again ' + v.gw_up, -1);
}

export default {begins, more, ends};
