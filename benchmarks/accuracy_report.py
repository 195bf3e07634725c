"""The Markdown report of accuracy.py."""

from typing import Any

from common import describe_markdown, markdown_table, mean_range

DEVELOPMENT_NOTE = (
    "The best score on the development data, and the seconds of training until it is first reached "
    "and in all, without evaluation and saving."
)
CALIBRATION_NOTE = (
    "Of what a pipeline sets with a probability: the expected calibration error, and on the test "
    "data the mean probability and the share that is right, in percent."
)
# The part of the data and the key of what calibration.py found, of each column
CALIBRATION_COLUMNS = {
    "error, dev": ("dev", "ece"),
    "error, test": ("test", "ece"),
    "probability": ("test", "mean"),
    "right": ("test", "right"),
}
TRAINING_NOTE = "Seconds of training until spaCy's best score on the development data is reached."


def report(data: dict[str, Any]) -> str:
    """Tables of a comparison, of as many trainings as are finished."""
    parts = [f"# {data['task']}"]
    if data["max_steps"]:
        parts.append(f"**A trial of {data['max_steps']} steps: the numbers mean nothing.**")
    if data["failed"]:
        failed = ", ".join(f"{run['side']} with seed {run['seed']}" for run in data["failed"])
        parts.append(f"**Failed: {failed}.**")
    resumed = sum("resumed" in run for run in data["runs"])
    more = {"seeds": ", ".join(str(seed) for seed in data["seeds"])}
    if resumed:
        more["kept"] = f"{resumed} of {len(data['runs'])} trainings are from an earlier run"
    parts += [
        "## Test data",
        "Mean over the seeds (lowest to highest), in percent.",
        _test_table(data),
        "## Development data",
        DEVELOPMENT_NOTE,
        _dev_table(data),
    ]
    calibration = _calibration_table(data)
    if calibration:
        parts += ["## Calibration", CALIBRATION_NOTE, calibration]
    theirs = [side for side in data["sides"] if side.startswith("spacy")]
    if theirs and "ours" in data["sides"]:
        parts += ["## Training", TRAINING_NOTE]
        parts += [f"{data['sides'][s]}:\n\n{_training_table(data, s)}" for s in theirs]
    return "\n\n".join([*parts, describe_markdown(data["run"], **more)])


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
    for side in (side for side in sides if side != "ours" and "ours" in sides):
        both = [seed for seed in sides[side] if seed in sides["ours"]]
        if both:
            cells = []
            for key in measures:
                ours, theirs = (
                    sum(sides[one][seed]["test"].get(key, 0.0) for seed in both) / len(both)
                    for one in ("ours", side)
                )
                cells.append(f"{100 * (ours - theirs):+.1f}")
            rows.append([f"difference to {data['sides'][side]}", len(both), *cells])
    return markdown_table(["", "seeds", *measures.values()], rows)


def _dev_table(data: dict[str, Any]) -> str:
    rows = []
    for side, runs in _by_side(data).items():
        curves = [run["curve"] for run in runs.values()]
        if not curves:
            continue
        best = [
            max(curve, key=lambda point: dev_score(point, data["dev_weights"])) for curve in curves
        ]
        scores = [dev_score(point, data["dev_weights"]) for point in best]
        rows.append(
            [
                data["sides"][side],
                mean_range(scores, scale=100),
                mean_range([point["train_wall"] for point in best], digits=0),
                mean_range([run["seconds"]["train"] for run in runs.values()], digits=0),
            ]
        )
    return markdown_table(["", "best", "s to the best", "s in all"], rows)


def _calibration_table(data: dict[str, Any]) -> str:
    """Empty where no side tells probabilities."""
    rows = []
    for side, runs in _by_side(data).items():
        found = [run["calibration"] for run in runs.values() if "calibration" in run]
        for kind in sorted({kind for one in found for kind in one["test"]}):
            cells = []
            for part, key in CALIBRATION_COLUMNS.values():
                values = [one[part][kind][key] for one in found if kind in one[part]]
                cells.append(mean_range(values, scale=100) if values else "-")
            rows.append([f"{data['sides'][side]}, {kind}", *cells])
    return markdown_table(["", *CALIBRATION_COLUMNS], rows) if rows else ""


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
