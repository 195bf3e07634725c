"""The trials of `birnn tune` as tables and as a page."""

from html import escape
from typing import Any, Callable, Mapping, Sequence

from ..pages import chart, html
from .tune_ranges import Range

# Seconds after which a browser reads the page again while trials run
REFRESH = 15
STYLE = """
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 1.5rem; }
table { font-variant-numeric: tabular-nums; } .wide td:first-child { overflow-wrap: anywhere; }
"""
# The colour of each kind of trial. The best is drawn last, on top
COLORS = {"cut short": 4, "complete": 0, "best": 1}


def page(
    title: str,
    report: dict[str, Any],
    ranges: Sequence[Range],
    paths: Mapping[int, Mapping[int, float]],
    *,
    running: bool,
) -> str:
    """The page.

    report (dict[str, Any]): What `birnn tune --json` prints.
    ranges (Sequence[Range]): What was tried.
    paths (Mapping[int, Mapping[int, float]]): The scores of each trial, by its
        number, at its steps.
    running (bool): Whether more will come.
    """
    best = report["best"]
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in (*COLORS, "failed")}
    for trial in report["trials"]:
        groups[trial["state"]].append(trial)
    counts = ", ".join(f"{len(groups[k])} {k}" for k in ("complete", "cut short", "failed"))
    groups["best"] = [best] if best else []

    def dots(x: Callable[[dict[str, Any]], Any]) -> list[chart.Line]:
        return [
            chart.Line(
                [(x(t), t["score"]) for t in groups[name] if t["score"] is not None],
                name if groups[name] else "",
                color,
                "dots",
            )
            for name, color in COLORS.items()
        ]

    by_number = sorted((t["number"], t["score"]) for t in groups["complete"])
    so_far = [
        (n, max(score for _, score in by_number[: i + 1])) for i, (n, _) in enumerate(by_number)
    ]
    figures = [
        chart.chart(
            "Score",
            [chart.Line(so_far, "", COLORS["best"], "dashed"), *dots(lambda t: t["number"])],
            x_label="trial",
        ),
        *(_by_setting(one, dots) for one in ranges),
        chart.chart(
            "Score while training",
            [
                chart.Line(
                    sorted(paths[trial["number"]].items()),
                    "",
                    color,
                    "line" if name == "best" else "faint",
                )
                for name, color in COLORS.items()
                for trial in groups[name]
            ],
            x_label="step",
        ),
    ]
    state = "Running" if running else "Done"
    parts = [f"<p>{state}. Trials: {counts}.</p>"]
    if best is not None:
        parts.append(f"<h2>{escape(best_title(report))}</h2>")
        parts.append(html.table(("Setting", "In the config", "Best"), best_rows(report)))
    parts += ["<h2>Scores</h2>", chart.charts(*figures)]
    parts += ["<h2>Trials</h2>", html.table(*rows(report))]
    refresh = REFRESH if running else 0
    return html.page(title, *parts, style=STYLE + chart.STYLE, refresh=refresh)


def _by_setting(one: Range, dots: Callable[..., list[chart.Line]]) -> str:
    def place(trial: dict[str, Any]) -> Any:
        value = trial["settings"][one.setting]
        return one.choices.index(value) if one.choices else value

    names = [str(value) for value in one.choices] or None
    lines = dots(place)
    return chart.chart("Score", lines, x_label=one.setting, log_x=one.log, x_names=names)


def best_title(report: dict[str, Any]) -> str:
    """What stands above the best settings."""
    return f"Best: {report['best']['score']:.4f}, trial {report['best']['number']}"


def best_rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The best settings: the dotted name, the value in the config, and the best."""
    settings = report["best"]["settings"]
    return [(name, shown(report["own"][name]), shown(value)) for name, value in settings.items()]


def rows(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A table of the trials: the header, and the rows."""
    header = ["Trial", "Score", *report["ranges"], "Seconds", "State"]
    found = [
        [
            str(trial["number"]),
            "" if trial["score"] is None else f"{trial['score']:.4f}",
            *(shown(value) for value in trial["settings"].values()),
            f"{trial['seconds']:.0f}",
            (trial["error"] or trial["state"]).splitlines()[0],
        ]
        for trial in report["trials"]
    ]
    return header, found


def shown(value: Any) -> str:
    """The value of a setting."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
