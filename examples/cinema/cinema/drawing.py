"""Draws a film's poster. The same film always gets the same poster."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from html import escape
from math import cos, pi, sin

# Part of the key in the bucket: a new way of drawing makes new posters.
VERSION = 1
WIDTH, HEIGHT = 400, 600

# Paper, ink, and two accents, by genre; the film chooses one of its genre's.
PALETTES: dict[str, list[tuple[str, str, str, str]]] = {
    "Action": [
        ("#16161d", "#fff4e0", "#ff5a36", "#ffb02e"),
        ("#1b1020", "#fdeee2", "#f72f4c", "#ff8a00"),
        ("#06232a", "#eafff9", "#15c39a", "#f4e04d"),
    ],
    "Animation": [("#fff3d6", "#2b1b5a", "#ff6b9d", "#35c2c1"), ("#e3f6ff", "#12355b", "#ffb400", "#f25f5c")],
    "Comedy": [("#ffe8a3", "#3a1c00", "#ff7f50", "#2a9d8f"), ("#ffd6c9", "#44101f", "#ef476f", "#ffc43d")],
    "Documentary": [
        ("#eef0eb", "#20272b", "#5b7c8d", "#c8553d"),
        ("#f2ece1", "#26241f", "#7a8450", "#b5651d"),
    ],
    "Drama": [
        ("#14213d", "#f7efe0", "#fca311", "#8d99ae"),
        ("#2d1e2f", "#f6e9df", "#e07a5f", "#81b29a"),
        ("#e9e4d8", "#1f2d2b", "#c1440e", "#6a8d92"),
    ],
    "Romance": [("#ffe4e6", "#5c0a2b", "#e5446d", "#ffb199"), ("#3b0d2a", "#ffe9e4", "#ff6f91", "#ffc2a8")],
    "Short": [("#f5f1ff", "#241a4a", "#7c5cff", "#ff9f6e"), ("#e8fff4", "#08372a", "#18b57f", "#ffcf56")],
    "": [("#222831", "#eeeeee", "#00adb5", "#f8b500"), ("#f4f1ea", "#1f2a30", "#c44536", "#6f9283")],
}
# A film of several genres looks like the first of these that it has.
ORDER = ("Animation", "Romance", "Action", "Documentary", "Comedy", "Drama", "Short")

Palette = tuple[str, str, str, str]


def poster(id: int, title: str, year: int, genres: Sequence[str], rating: float, votes: int) -> str:
    genre = next((name for name in ORDER if name in genres), "")
    chance = random.Random(id)  # noqa: S311  art, not a secret
    palette = chance.choice(PALETTES[genre])
    paper, ink, accent, _ = palette
    lines, size = _lettering(title)
    top = 394 + size * 0.85
    text = "".join(
        f'<tspan x="28" y="{top + index * size * 1.06:.0f}">{escape(line)}</tspan>'
        for index, line in enumerate(lines)
    )
    stars = round(rating / 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="t">'
        f'<title id="t">Poster of {escape(title)} ({year})</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{paper}"/>'
        f'<svg width="{WIDTH}" height="370">{PICTURES[genre](chance, palette)}</svg>'
        f'<rect x="28" y="374" width="56" height="6" fill="{accent}"/>'
        f'<g fill="{ink}" font-family="Avenir Next,Segoe UI,Helvetica Neue,Arial,sans-serif">'
        f'<text font-size="{size}" font-weight="800" letter-spacing="-.5">{text}</text>'
        f'<text x="28" y="566" font-size="15" letter-spacing="2" opacity=".8">{year}'
        f"{' · ' + escape(' · '.join(genres[:2])).upper() if genres else ''}</text>"
        f'<text x="372" y="566" font-size="15" text-anchor="end"><tspan fill="{accent}">{"★" * stars}</tspan>'
        f'<tspan opacity=".35">{"★" * (5 - stars)}</tspan></text></g></svg>'
    )


def _lettering(title: str) -> tuple[list[str], int]:
    """The title in at most four lines, as large as fits."""
    for size, width, most in ((52, 10, 2), (42, 12, 3), (34, 16, 4), (27, 21, 4), (21, 27, 5)):
        lines = _wrap(title, width)
        if len(lines) <= most and all(len(line) <= width for line in lines):
            return lines, size
    lines = [line if len(line) <= 27 else line[:26] + "…" for line in _wrap(title, 27)]
    return (lines if len(lines) <= 5 else [*lines[:4], lines[4][:26] + "…"]), 21


def _wrap(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _slashes(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    x, parts = -160.0, []
    while x < WIDTH:
        width = chance.randint(14, 74)
        color = chance.choice((accent, accent, second, ink))
        opacity = chance.choice((1, 1, 0.55))
        parts.append(
            f'<path d="M{x:.0f} 370 L{x + 210:.0f} 0 h{width} L{x + width:.0f} 370Z" fill="{color}"'
            f' opacity="{opacity}"/>'
        )
        x += width + chance.randint(10, 60)
    y = chance.randint(90, 240)
    return (
        "".join(parts)
        + f'<circle cx="{chance.randint(110, 290)}" cy="{y}" r="{chance.randint(38, 66)}" fill="{ink}"/>'
    )


def _blobs(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    parts = []
    for index in range(5):
        x, y, r = chance.randint(50, 350), chance.randint(60, 310), chance.randint(36, 84)
        n = chance.randint(5, 8)
        points = [
            (
                x + cos(2 * pi * k / n) * r * chance.uniform(0.75, 1.2),
                y + sin(2 * pi * k / n) * r * chance.uniform(0.75, 1.2),
            )
            for k in range(n)
        ]
        # A closed curve through the middles of the sides, pulled by the corners.
        middles = [
            ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
            for a, b in zip(points, points[1:] + points[:1], strict=True)
        ]
        path = f"M{middles[-1][0]:.0f} {middles[-1][1]:.0f}" + "".join(
            f"Q{p[0]:.0f} {p[1]:.0f} {m[0]:.0f} {m[1]:.0f}" for p, m in zip(points, middles, strict=True)
        )
        parts.append(f'<path d="{path}Z" fill="{(accent, second, ink)[index % 3]}" opacity=".88"/>')
        parts.append(
            f'<circle cx="{x - 12}" cy="{y - 6}" r="7" fill="#fff"/>'
            f'<circle cx="{x + 12}" cy="{y - 6}" r="7" fill="#fff"/>'
            f'<circle cx="{x - 10}" cy="{y - 5}" r="3"/><circle cx="{x + 14}" cy="{y - 5}" r="3"/>'
        )
    return "".join(parts)


def _bubbles(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    parts = []
    for row in range(4):
        for column in range(4):
            x, y = 56 + column * 96, 52 + row * 96
            color = chance.choice((accent, accent, second, second, ink))
            turn = chance.choice((0, 90, 180, 270))
            if chance.random() < 0.35:
                parts.append(f'<circle cx="{x}" cy="{y}" r="40" fill="{color}"/>')
            else:
                parts.append(
                    f'<path d="M{x - 40} {y}a40 40 0 0 1 80 0Z" fill="{color}"'
                    f' transform="rotate({turn} {x} {y})"/>'
                )
    return "".join(parts)


def _plans(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    parts = [
        f'<path d="M0 {y}H400M{y} 0V370" stroke="{ink}" stroke-width=".7" opacity=".3"/>'
        for y in range(28, 400, 43)
    ]
    points = [(28 + 43 * k, 330 - chance.randint(0, 250)) for k in range(9)]
    line = " ".join(f"{x},{y}" for x, y in points)
    parts.append(f'<polygon points="28,370 {line} 372,370" fill="{second}" opacity=".18"/>')
    parts.append(
        f'<polyline points="{line}" fill="none" stroke="{accent}" stroke-width="7" stroke-linejoin="round"/>'
    )
    x, y = min(points, key=lambda point: point[1])
    parts.append(f'<circle cx="{x}" cy="{y}" r="15" fill="{second}"/>')
    return "".join(parts)


def _horizon(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    x, y, r = chance.randint(90, 310), chance.randint(90, 190), chance.randint(46, 96)
    parts = [f'<circle cx="{x}" cy="{y}" r="{r}" fill="{accent}"/>']
    for layer in range(4):
        base = 200 + layer * 42
        ridge = " ".join(f"{k * 50},{base + chance.randint(-34, 26)}" for k in range(9))
        color = second if layer % 2 == 0 else ink
        parts.append(
            f'<polygon points="0,370 {ridge} 400,370" fill="{color}" opacity="{0.22 + layer * 0.16:.2f}"/>'
        )
    return "".join(parts)


def _pair(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    x, r, gap = chance.randint(150, 190), chance.randint(86, 112), chance.randint(64, 108)
    y = chance.randint(160, 205)
    rings = "".join(
        f'<circle cx="{x + gap / 2:.0f}" cy="{y}" r="{r + 26 * k}" fill="none" stroke="{ink}"'
        f' opacity="{0.34 - k * 0.06:.2f}"/>'
        for k in range(1, 5)
    )
    return (
        f'{rings}<circle cx="{x}" cy="{y}" r="{r}" fill="{accent}"/>'
        f'<circle cx="{x + gap}" cy="{y + chance.randint(-30, 30)}" r="{r}" fill="{second}" opacity=".82"/>'
    )


def _frames(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    turn, parts = chance.randint(-14, 14), []
    for k in range(9):
        size = 330 - k * 36
        color = (accent, second, ink)[k % 3]
        parts.append(
            f'<rect x="{200 - size / 2:.0f}" y="{186 - size / 2:.0f}" width="{size}" height="{size}" rx="10"'
            f' fill="{color}" opacity=".9" transform="rotate({turn * k} 200 186)"/>'
        )
    return "".join(parts)


def _arcs(chance: random.Random, palette: Palette) -> str:
    _, ink, accent, second = palette
    x, y = chance.choice((0, 200, 400)), chance.choice((0, 370))
    parts = []
    for k in range(11, 0, -1):
        color = (accent, second, ink)[(k + chance.randint(0, 1)) % 3]
        parts.append(f'<circle cx="{x}" cy="{y}" r="{k * 36}" fill="{color}" opacity=".86"/>')
    return "".join(parts)


PICTURES: dict[str, Callable[[random.Random, Palette], str]] = {
    "Action": _slashes,
    "Animation": _blobs,
    "Comedy": _bubbles,
    "Documentary": _plans,
    "Drama": _horizon,
    "Romance": _pair,
    "Short": _frames,
    "": _arcs,
}
