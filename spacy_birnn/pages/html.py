"""Pages that commands write: one file, without scripts, and nothing from elsewhere."""

from html import escape
from typing import Any, Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #fff; --line: #d0d7de; --soft: #59636e;
  --falls: 215, 95, 0; --rises: 0, 110, 190; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --ground: #10151b; --line: #3d444d;
  --soft: #9198a1; --falls: 255, 150, 60; --rises: 80, 170, 255; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 70rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: .5rem 0; }
.wide { overflow-x: auto; }
.wide table { overflow-wrap: normal; }
th, td { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
.soft { color: var(--soft); }
.words { margin: .3rem 0 1.2rem; }
.words span { display: inline-block; margin: 0 .15rem .3rem 0; padding: 0 .3rem;
  border-radius: .25rem; }
.words small { display: block; }
"""


def page(title: str, *parts: str, style: str = "", refresh: int = 0) -> str:
    """A page of parts, which are HTML already, with further rules of style.

    refresh (int): Seconds after which the browser reads it again; 0: never.
    """
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{again}<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    )
    body = "\n".join((f"<h1>{escape(title)}</h1>", *parts))
    start = f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>'
    return f"{start}\n<body>\n{body}\n</body>\n</html>\n"


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table of values, which are escaped."""
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _row(cell: str, values: Sequence[Any]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(str(value))}</{cell}>' for value in values)}</tr>"
