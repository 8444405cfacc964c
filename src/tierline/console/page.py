"""The status page: one page of HTML from what the supervisor and telemetry know. Reloads itself."""

from __future__ import annotations

import json
import time
from html import escape
from pathlib import Path
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#777;--good:#1a7f4b;--bad:#c0362c}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:68rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--dim);font-weight:500}td.n{text-align:right}.ready{color:var(--good)}.failed,.killed{color:var(--bad)}
.dim{color:var(--dim)}code{font-family:ui-monospace,monospace;font-size:.9em}.scroll{overflow-x:auto}
"""


def page(state: Path, counts: list[dict[str, Any]], traces: list[dict[str, Any]]) -> str:
    """The whole page. state: the state folder, for what the supervisor wrote."""
    try:
        told: dict[str, Any] = json.loads((state / "state.json").read_bytes())
    except (OSError, ValueError):
        told = {"stack": "", "phase": "stopped", "processes": [], "urls": {}, "lineup": {}}
    now = time.time()
    processes = "".join(
        f"<tr><td>{escape(p['name'])}<td>{escape(p['engine'])}<td>{escape(p['zone'])}"
        f"<td class='{escape(p['phase'].split()[0])}'>{escape(p['phase'])}<td class=n>{p['pid'] or ''}"
        f"<td class=n>{now - p['began']:.0f} s<td class=n>{p['restarts'] + 1}"
        for p in told["processes"]
    )
    services = "".join(
        f"<tr><td>{escape(s['name'])}<td>{escape(', '.join(f'{zone} {n}' for zone, n in s['desired'].items()))}"
        f"<td class=n>{s['min']} to {s['max']}<td>{_pinned(s)}<td>{escape(s['reason'])}"
        for s in told.get("services", ())
    )
    databases = "".join(
        f"<tr><td>{escape(c['leader'])}<td class='{'ready' if c['leads'] else 'failed'}'>"
        f"{'leads' if c['leads'] else 'leads, no answer'}<td>{'confirmed by a follower' if c['synchronous'] else 'alone'}"
        "<td><td>"
        + "".join(
            f"<tr><td>{escape(f['name'])}<td class='{'failed' if f['state'] == 'away' else 'ready'}'>{escape(f['state'])}"
            f"<td><td class=n>{f['behind_bytes']}<td class=n>{f['behind_ms']:g}"
            for f in c["followers"]
        )
        for c in told.get("clusters", ())
    )
    requests = "".join(
        f"<tr><td>{escape(c['tier'])}<td>{escape(c['system'])}<td>{escape(c['zone'])}<td class=n>{c['status']}"
        f"<td>{escape(c['verdict'])}<td class=n>{c['requests']}"
        for c in counts
    )
    trips = "".join(
        f"<tr><td><code>{escape(t['trace_id'][:16])}</code><td>{escape(t['name'])}<td class=n>{t['status']}"
        f"<td class=n>{t['us'] / 1000:.1f} ms<td class=n>{t['hops']}<td class=n>{now - t['at_us'] / 1e6:.0f} s ago"
        for t in traces[:25]
    )
    links = " · ".join(
        f'<a href="{escape(url)}">{escape(label)}</a>'
        for label, url in told["urls"].items()
        if url.startswith("http")
    )
    return f"""<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<meta http-equiv=refresh content=5><title>{escape(told["stack"])} · tierline</title><style>{_STYLE}</style>
<h1>{escape(told["stack"])} <span class="{escape(told["phase"])}">{escape(told["phase"])}</span></h1>
<p>{links}<p class=dim>{escape(", ".join(f"{slot} {system}" for slot, system in told["lineup"].items()))}
<h2>Processes</h2><div class=scroll><table><tr><th>name<th>engine<th>place<th>state<th>pid<th>age<th>starts
{processes}</table></div>
{_databases(databases)}<h2>Services</h2><div class=scroll><table><tr><th>name<th>instances by zone<th>allowed<th><th>last change
{services}</table></div>
<h2>Last trips</h2><div class=scroll><table><tr><th>trace<th>request<th>status<th>time<th>hops<th>when
{trips}</table></div>
<h2>Requests</h2><div class=scroll><table><tr><th>tier<th>system<th>zone<th>status<th>verdict<th>requests
{requests}</table></div></html>"""


def _databases(rows: str) -> str:
    """Nothing where no process holds the same data as another."""
    if not rows:
        return ""
    head = "<tr><th>name<th>part<th>writes<th>bytes behind<th>ms behind"
    return f"<h2>Databases</h2><div class=scroll><table>{head}{rows}</table></div>\n"


def _pinned(service: dict[str, Any]) -> str:
    return "asleep" if service["asleep"] else "by hand" if service["pinned"] is not None else ""
