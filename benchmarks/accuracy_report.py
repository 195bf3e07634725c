"""The Markdown report of accuracy.py."""

from typing import Any

from common import describe_markdown, markdown_table, mean_range

TRAINING_NOTE = (
    "Seconds of training until spaCy's best score on the development data is first reached, "
    "without evaluation and saving."
)


def report(data: dict[str, Any]) -> str:
    """Tables of a comparison, of as many trainings as are finished."""
    parts = [f"# {data['task']}"]
    if data["max_steps"]:
        parts.append(f"**A trial of {data['max_steps']} steps: the numbers mean nothing.**")
    if data["failed"]:
        failed = ", ".join(f"{run['side']} with seed {run['seed']}" for run in data["failed"])
        parts.append(f"**Failed: {failed}.**")
    theirs = [side for side in data["sides"] if side != "ours"]
    resumed = sum("resumed" in run for run in data["runs"])
    more = {"seeds": ", ".join(str(seed) for seed in data["seeds"])}
    if resumed:
        more["kept"] = f"{resumed} of {len(data['runs'])} trainings are from an earlier run"
    parts += [
        "## Test data",
        "Mean over the seeds (lowest to highest), in percent.",
        _test_table(data),
        "## Training",
        TRAINING_NOTE,
        *(_titled_training_table(data, side, alone=len(theirs) == 1) for side in theirs),
        describe_markdown(data["run"], **more),
    ]
    return "\n\n".join(parts)


def dev_score(point: dict[str, Any], weights: dict[str, float]) -> float:
    """The score at a point of a curve, weighted the same for all sides."""
    return sum(weight * point["scores"].get(key, 0.0) for key, weight in weights.items())


def first_reached(
    curve: list[dict[str, Any]], target: float, weights: dict[str, float]
) -> dict[str, Any] | None:
    """The first point of a curve with at least a score."""
    return next((point for point in curve if dev_score(point, weights) >= target), None)


def _by_side(data: dict[str, Any]) -> dict[str, dict[int, dict[str, Any]]]:
    sides: dict[str, dict[int, dict[str, Any]]] = {side: {} for side in data["sides"]}
    for run in data["runs"]:
        sides[run["side"]][run["seed"]] = run
    return sides


def _test_table(data: dict[str, Any]) -> str:
    sides, measures = _by_side(data), data["measures"]
    rows = []
    for side, runs in sides.items():
        cells = []
        for key in measures:
            values = [run["test"][key] for run in runs.values() if key in run["test"]]
            cells.append(mean_range(values, scale=100) if values else "-")
        rows.append([data["sides"][side], len(runs), *cells])
    for side in (side for side in sides if side != "ours"):
        both = [seed for seed in sides[side] if seed in sides["ours"]]
        if both:
            cells = []
            for key in measures:
                ours, theirs = (
                    sum(sides[one][seed]["test"].get(key, 0.0) for seed in both) / len(both)
                    for one in ("ours", side)
                )
                cells.append(f"{100 * (ours - theirs):+.1f}")
            to = "" if len(sides) == 2 else f" to {data['sides'][side]}"
            rows.append([f"difference{to}", len(both), *cells])
    return markdown_table(["", "seeds", *measures.values()], rows)


def _titled_training_table(data: dict[str, Any], side: str, *, alone: bool) -> str:
    table = _training_table(data, side)
    return table if alone else f"With the best score of {data['sides'][side]}:\n\n{table}"


def _training_table(data: dict[str, Any], side: str) -> str:
    sides, weights = _by_side(data), data["dev_weights"]
    rows, seconds = [], []
    for seed, run in sides[side].items():
        if seed not in sides["ours"]:
            continue
        theirs, ours = run["curve"], sides["ours"][seed]["curve"]
        target, best = (max(dev_score(p, weights) for p in curve) for curve in (theirs, ours))
        reached = [first_reached(curve, target, weights) for curve in (theirs, ours)]
        times = [
            point[unit] if point is not None else None
            for unit in ("train_wall", "train_cpu")
            for point in reached
        ]
        seconds.append(times)
        rows.append([seed, f"{100 * target:.1f}", f"{100 * best:.1f}", *_time_cells(times)])
    if len(rows) > 1:
        rows.append(["mean", "", "", *_mean_time_cells(seconds)])
    header = ["seed", "spaCy's best", "our best", "s, spaCy", "s, ours"]
    header += ["CPU s, spaCy", "CPU s, ours", "s, ours / spaCy"]
    return markdown_table(header, rows)


def _time_cells(times: list[float | None]) -> list[str]:
    """The seconds, None where a score was never reached, and the ratio of the first two."""
    theirs, ours, *_ = times
    ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else "-"
    return [*("never" if time is None else f"{time:.1f}" for time in times), ratio]


def _mean_time_cells(seconds: list[list[float | None]]) -> list[str]:
    """The mean of each column; where a score was not always reached, how often it was, because a
    mean of the other times would flatter."""
    means: list[float | None] = []
    for column in zip(*seconds, strict=True):
        known = [time for time in column if time is not None]
        means.append(sum(known) / len(known) if len(known) == len(column) else None)
    cells = _time_cells(means)
    reached = sum(times[1] is not None for times in seconds)
    return [f"{reached} of {len(seconds)}" if cell == "never" else cell for cell in cells]
