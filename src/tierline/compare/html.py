"""The comparison as one self-contained page: no script, no font, no address outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tierline.compare.report import Line, lines, verdict
from tierline.compare.rounds import Measured

_COLOURS = ("#3b6ea8", "#c9702f", "#4d8a57", "#8657a0")
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#777}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;font-variant-numeric:tabular-nums}
.n{text-align:right}.dim{color:var(--dim)}code{font-size:.85em;word-break:break-all}svg{max-width:100%}
svg text{font:12px system-ui,sans-serif;fill:currentColor}.pre{white-space:pre}
"""


def page(measured: Sequence[Measured], title: str) -> str:
    """The whole page."""
    names = [every.name for every in measured]
    found = lines(measured)
    most = max(map(_most, measured), default=0.0) or 1.0
    head = "".join(
        f'<th class=n style="color:{_COLOURS[i % 4]}">{escape(name)}' for i, name in enumerate(names)
    )
    rows = "".join(
        f"<tr><td class=pre>{escape(line.what)}<td class=dim>{escape(line.unit)}"
        + "".join(f"<td class=n>{median:,.2f}" for median in line.medians)
        + f"<td>{_dots(line)}<td>{escape(verdict(line, names))}"
        for line in found
    )
    programs = "".join(
        f"<tr><td>{escape(every.name)}<td>{escape(one['engine'])}<td>{escape(one['version'])}"
        f"<td><code>{one['sha256']}</code><td><code>{escape(one['path'])}</code>"
        for every in measured
        for one in every.programs
    )
    cannot = "".join(
        f"<li>{escape(every.name)}: {escape(what)}: {escape(why)}"
        for every in measured
        for what, why in every.lacks.items()
    )
    return f"""<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>
<table><tr><th>what<th>{head}<th>rounds<th>{rows}</table>
<h2>Latency of every request, by when it was due</h2>{"".join(_scatter(every, i, most) for i, every in enumerate(measured))}
<h2>What each says that it can't do</h2><ul>{cannot or "<li>nothing"}</ul>
<h2>What really ran</h2><table><tr><th>lineup<th>engine<th>version<th>SHA-256<th>path{programs}</table></html>"""


def _dots(line: Line) -> str:
    """Every round of every lineup on one axis: overlap is seen at once."""
    everything = [value for values in line.values for value in values]
    low, high = min(everything), max(everything)
    span = (high - low) or 1.0
    dots = "".join(
        f'<circle cx="{8 + 144 * (value - low) / span:.1f}" cy="{7 + 9 * row}" r="3.2" fill="{_COLOURS[row % 4]}"/>'
        for row, values in enumerate(line.values)
        for value in values
    )
    return f'<svg width="160" height="{9 * len(line.values) + 6}" role="img" aria-label="rounds">{dots}</svg>'


def _most(every: Measured) -> float:
    """The latency that nearly all of its requests stay below, in seconds."""
    times = sorted(sample.latency for one in every.rounds for sample in one.steady.samples)
    return times[int(len(times) * 0.995)] if times else 0.0


def _scatter(every: Measured, row: int, most: float) -> str:
    """most: the top of the axis, which all lineups have in common."""
    samples = [sample for one in every.rounds for sample in one.steady.samples]
    samples = samples[:: max(1, len(samples) // 1500)]
    last = max((sample.due for sample in samples), default=1.0) or 1.0
    dots = "".join(
        f'<circle cx="{40 + 840 * sample.due / last:.1f}" cy="{130 - 115 * min(sample.latency / most, 1):.1f}" r="1.3"/>'
        for sample in samples
    )
    return (
        f'<svg viewBox="0 0 900 150" role="img"><text x="40" y="12">{escape(every.name)}</text>'
        f'<text x="0" y="20">{most * 1000:.0f} ms</text><text x="0" y="134">0</text>'
        f'<g fill="{_COLOURS[row % 4]}" fill-opacity=".55">{dots}</g></svg>'
    )
