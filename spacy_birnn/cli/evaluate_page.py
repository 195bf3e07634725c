"""The report of `birnn evaluate` as one page: no scripts, nothing from elsewhere."""

from html import escape
from typing import Any

from ..pages import chart, html
from .evaluate_tables import Table, describe, errors_by_kind, tables

STYLE = """
:root { --fill: #f0f1f4; }
@media (prefers-color-scheme: dark) { :root { --fill: #262a30; } }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } summary { cursor: pointer; }
table { font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; } th:first-child, td:first-child { text-align: left; }
li { margin-bottom: .5rem; }
mark { color: inherit; background: var(--fill); border-bottom: 2px solid var(--c0); }
mark.predicted { border-color: var(--c1); }
mark.annotated.predicted { border-bottom: 4px double var(--c2); }
"""
LEGEND = """<h2>Errors</h2>
<p>Marked in the sentences: <mark class="annotated">annotated</mark>,
<mark class="predicted">predicted</mark>, <mark class="annotated predicted">both</mark>.</p>"""


def page(report: dict[str, Any]) -> str:
    """The report as HTML. All text is escaped.

    report (dict[str, Any]): What `birnn evaluate --json` prints.
    """
    parts = [
        f"<p>{report['documents']} documents, {report['tokens']} tokens</p>",
        *map(_section, tables(report)),
        _errors(errors_by_kind(report)),
    ]
    return html.page(f"{report['model']} on {report['data']}", *parts, style=chart.STYLE + STYLE)


def _section(found: Table) -> str:
    figure = ""
    if found.source is not None:
        figure = (
            _thresholds(found.source) if "curve" in found.source else _reliability(found.source)
        )
    drawn = html.table(found.header, found.rows)
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
        f"<br><bdi>{_marked(error)}</bdi>"
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
    points = [(b["expected"], b["observed"]) for b in found["bins"] if b["count"]]
    lines = [
        chart.Line([(0, 0), (1, 1)], "as it should be (dashed)", 4, "dashed"),
        chart.Line(points, "observed"),
    ]
    return chart.chart("Share that is right", lines, x_label="probability")


def _thresholds(found: dict[str, Any]) -> str:
    lines = [
        chart.Line([(p["threshold"], p[key]) for p in found["curve"]], name, color, "curve")
        for color, (name, key) in enumerate((("F", "f"), ("P", "p"), ("R", "r")))
    ]
    now = found["threshold"]
    if isinstance(now, float):
        lines.append(chart.Line([(now, 0), (now, 1)], "in use (dashed)", 4, "dashed"))
    return chart.chart("Score", lines, x_label="threshold")
