"""Charts for the pages, as SVG: lines and dots over one axis, which may be logarithmic."""

import math
from html import escape
from typing import Any, Iterable, NamedTuple, Optional, Sequence

# Of a chart, and what it has left, above, right and below for what stands at its axes
WIDTH, HEIGHT = 360, 220
LEFT, TOP, RIGHT, BOTTOM = 48, 12, 24, 38

STYLE = """
:root { --c0: #1f5fbf; --c1: #b3471d; --c2: #2c7a4b; --c3: #8a3fa0; }
@media (prefers-color-scheme: dark) { :root { --c0: #7db0ff; --c1: #f29b74; --c2: #7fd0a0;
  --c3: #d9a0ea; } }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
  gap: 1rem 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
figcaption b { font-size: .85rem; margin-left: .4rem; }
svg { display: block; width: 100%; max-width: 30rem; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .frame { fill: none; stroke: var(--line); } svg .grid { stroke: var(--line); opacity: .5; }
svg polyline { fill: none; stroke: currentColor; stroke-width: 1.8; }
svg .dashed { stroke-dasharray: 5 4; } svg circle { fill: currentColor; }
svg .faint { opacity: .35; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--soft); }
"""


class Line(NamedTuple):
    """What a chart shows.

    points (Sequence[tuple[float, float]]): x and y. Those that are not finite are left out.
    name (str): What it is, for the legend; without one it isn't there.
    color (int): 0 to 4, where 4 is the grey of what stands in the background.
    kind (str): "line" with a dot at each point, "dots" alone, or one of the lines without dots:
        "curve", "dashed" and "faint".
    """

    points: Sequence[tuple[float, float]]
    name: str = ""
    color: int = 0
    kind: str = "line"


class _Axis:
    """From values to places in the picture."""

    def __init__(self, values: Iterable[float], start: float, end: float, log: bool = False):
        self.log, self.start, self.end = log, start, end
        found = [self._scaled(value) for value in values]
        low, high = min(found, default=0.0), max(found, default=1.0)
        if low == high:
            room = abs(low) * 0.1 or 0.5
            low, high = low - room, high + room
        self.low, self.high = low, high

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        share = (self._scaled(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """A few round numbers in the range."""
        span = self.high - self.low
        if self.log and span > 1:
            exponents = range(math.floor(self.low), math.ceil(self.high) + 1)
            digits = (1,) if span > 3 else (1, 3) if span > 1.5 else (1, 2, 5)
            found = [digit * 10.0**exponent for exponent in exponents for digit in digits]
            return [value for value in found if self.low <= math.log10(value) <= self.high]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        unit = 10.0 ** math.floor(math.log10((high - low) / 4))
        step = next(unit * n for n in (1, 2, 5, 10) if (high - low) / (unit * n) <= 6)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    log_x: bool = False,
    x_names: Optional[Sequence[str]] = None,
) -> str:
    """A figure: a title with a legend, and the lines.

    x_label (str): What x is. What y is, the title says.
    log_x (bool): Whether x is drawn by its logarithm.
    x_names (Optional[Sequence[str]]): What stands at x = 0, 1, ... instead of numbers.
    """
    shown = [
        line._replace(points=[p for p in line.points if all(map(math.isfinite, p))])
        for line in lines
    ]
    points = [point for line in shown for point in line.points]
    ends = (-0.5, len(x_names) - 0.5) if x_names else ()
    x = _Axis([*(p[0] for p in points), *ends], LEFT, WIDTH - RIGHT, log_x)
    y = _Axis([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    room = (y.high - y.low) * 0.06
    y.low, y.high = y.low - room, y.high + room
    parts = []
    for value in y.ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}"')
        parts.append(f' y2="{y(value)}"/>{_label(LEFT - 6, y(value) + 4, number(value), "end")}')
    marks = enumerate(x_names) if x_names else ((v, number(v)) for v in x.ticks())
    for value, name in marks:
        parts.append(_label(x(value), HEIGHT - BOTTOM + 15, name))
    parts.append(_label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label))
    parts.append(
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{WIDTH - RIGHT - LEFT}" '
        f'height="{HEIGHT - BOTTOM - TOP}"/>'
    )
    for line in shown:
        places = [(x(px), y(py)) for px, py in line.points]
        content = ""
        if line.kind != "dots":
            content = f'<polyline class="{line.kind}" points="{_joined(places)}"/>'
        if line.kind in ("line", "dots"):
            radius = 3.5 if line.kind == "dots" else 2
            for (px, py), (cx, cy) in zip(line.points, places):
                what = f"{line.name} {number(py)} at {number(px)}".strip()
                content += f'<circle cx="{cx}" cy="{cy}" r="{radius}"><title>{escape(what)}'
                content += "</title></circle>"
        parts.append(f'<g class="c{line.color}">{content}</g>')
    named = [line for line in shown if line.name]
    legend = " ".join(f'<b class="c{line.color}">{escape(line.name)}</b>' for line in named)
    what = escape(f"{title} by {x_label}", quote=True)
    return (
        f"<figure><figcaption>{escape(title)} {legend}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{what}">{"".join(parts)}'
        "</svg></figure>"
    )


def charts(*figures: str) -> str:
    """Charts side by side, as many as there is room for."""
    return f'<div class="charts">{"".join(figures)}</div>'


def number(value: Any) -> str:
    """A number as people write it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(value, 10):.4g}"


def duration(seconds: float) -> str:
    """A time as people say it: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
