"""The report of `birnn evaluate` as one page: no scripts, nothing from elsewhere."""

from html import escape
from typing import Any

from . import _html
from .evaluate_tables import Table, describe, errors_by_kind, tables

STYLE = """
:root { --fill: #f0f1f4; --first: #1f5fbf; --second: #b3471d; --third: #2c7a4b; }
@media (prefers-color-scheme: dark) { :root { --fill: #262a30; --first: #7db0ff; --second: #f29b74;
  --third: #7fd0a0; } }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } summary { cursor: pointer; }
table { font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; } th:first-child, td:first-child { text-align: left; }
li { margin-bottom: .5rem; }
mark { color: inherit; background: var(--fill); border-bottom: 2px solid var(--first); }
mark.predicted { border-color: var(--second); }
mark.annotated.predicted { border-bottom: 4px double var(--third); }
svg { display: block; width: 100%; max-width: 24rem; height: auto; }
svg text { fill: var(--soft); font-size: 11px; } svg path { stroke-width: 2; }
svg .axis { stroke: var(--line); fill: none; } svg .first { stroke: var(--first); fill: none; }
svg .second { stroke: var(--second); fill: none; }
svg .third { stroke: var(--third); fill: none; } svg circle { fill: var(--first); }
svg .now { stroke: var(--soft); stroke-dasharray: 4 3; }
b.first { color: var(--first); } b.second { color: var(--second); } b.third { color: var(--third); }
"""
LEGEND = """<h2>Errors</h2>
<p>Marked in the sentences: <mark class="annotated">annotated</mark>,
<mark class="predicted">predicted</mark>, <mark class="annotated predicted">both</mark>.</p>"""
# Of a figure: the side of its square, and the space for what stands at its axes
SIDE, MARGIN = 260, 40


def page(report: dict[str, Any]) -> str:
    """The report as HTML. All text is escaped.

    report (dict[str, Any]): What `birnn evaluate --json` prints.
    """
    parts = [
        f"<p>{report['documents']} documents, {report['tokens']} tokens</p>",
        *map(_section, tables(report)),
        _errors(errors_by_kind(report)),
    ]
    return _html.page(f"{report['model']} on {report['data']}", *parts, style=STYLE)


def _section(found: Table) -> str:
    figure = ""
    if found.source is not None:
        figure = (
            _thresholds(found.source) if "curve" in found.source else _reliability(found.source)
        )
    drawn = _html.table(found.header, found.rows)
    note = f"\n<p>{escape(found.note)}</p>" if found.note else ""
    return f"<h2>{escape(found.title)}</h2>\n{figure}{drawn}{note}"


def _errors(by_kind: dict[str, list[dict[str, Any]]]) -> str:
    if not by_kind:
        return ""
    parts = [LEGEND]
    for kind, errors in by_kind.items():
        items = "\n".join(f"<li>{_error(error)}</li>" for error in errors)
        summary = f"<summary>{escape(kind.capitalize())}: {len(errors)}</summary>"
        parts.append(f"<details>{summary}\n<ol>{items}</ol></details>")
    return "\n".join(parts)


def _error(error: dict[str, Any]) -> str:
    return (
        f'<span class="soft">{escape(describe(error))} (document {error["document"]})</span>'
        f"<br>{_marked(error)}"
    )


def _marked(error: dict[str, Any]) -> str:
    """The sentence, with what is annotated and what is predicted."""
    text, spans = error["sentence"], {k: error[k] for k in ("annotated", "predicted") if error[k]}
    edges = sorted({0, len(text), *(s[key] for s in spans.values() for key in ("start", "end"))})
    found = []
    for start, end in zip(edges, edges[1:]):
        kinds = [name for name, s in spans.items() if s["start"] <= start and end <= s["end"]]
        part = escape(text[start:end])
        found.append(f'<mark class="{" ".join(kinds)}">{part}</mark>' if kinds else part)
    return "".join(found)


def _reliability(found: dict[str, Any]) -> str:
    filled = [b for b in found["bins"] if b["count"]]
    most = max(b["count"] for b in filled)
    dots = "".join(
        f'<circle cx="{_x(b["expected"]):.1f}" cy="{_y(b["observed"]):.1f}" '
        f'r="{3 + 5 * (b["count"] / most) ** 0.5:.1f}"/>'
        for b in filled
    )
    ideal = f'<path class="axis" d="M{_x(0)} {_y(0)} L{_x(1)} {_y(1)}"/>'
    line = _line([(b["expected"], b["observed"]) for b in filled], "first")
    return _figure(ideal + line + dots, "probability", "share that is right")


def _thresholds(found: dict[str, Any]) -> str:
    keys = (("first", "f"), ("second", "p"), ("third", "r"))
    lines = "".join(
        _line([(point["threshold"], point[key]) for point in found["curve"]], name)
        for name, key in keys
    )
    now = found["threshold"]
    if isinstance(now, float):
        lines += f'<path class="now" d="M{_x(now):.1f} {_y(0)} V{_y(1)}"/>'
    legend = "<b class='first'>F</b>, <b class='second'>P</b>, <b class='third'>R</b>"
    return f"<p>{legend}</p>\n" + _figure(lines, "threshold", "score")


def _x(value: float) -> float:
    return MARGIN + SIDE * value


def _y(value: float) -> float:
    return 24 + SIDE * (1 - value)


def _line(points: list[tuple[float, float]], name: str) -> str:
    path = " L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
    return f'<path class="{name}" d="M{path}"/>'


def _figure(content: str, x_label: str, y_label: str) -> str:
    """A square from 0 to 1 both ways."""
    ticks = ""
    for value in (0, 0.25, 0.5, 0.75, 1):
        ticks += f'<text x="{_x(value)}" y="{_y(0) + 15}" text-anchor="middle">{value}</text>'
        ticks += f'<text x="{MARGIN - 6}" y="{_y(value) + 4}" text-anchor="end">{value}</text>'
    frame = f'<rect class="axis" x="{_x(0)}" y="{_y(1)}" width="{SIDE}" height="{SIDE}"/>'
    names = f'<text x="{_x(0.5)}" y="{_y(0) + 30}" text-anchor="middle">{x_label}</text>'
    names += f'<text x="{_x(0)}" y="{_y(1) - 8}">{y_label}</text>'
    size = f"0 0 {MARGIN + SIDE + 20} {SIDE + 60}"
    start = f'<svg viewBox="{size}" role="img" aria-label="{y_label} by {x_label}">'
    return f"{start}{frame}{ticks}{names}{content}</svg>\n"
