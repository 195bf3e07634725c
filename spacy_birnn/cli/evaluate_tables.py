"""The tables of `birnn evaluate`, for the terminal and for the page."""

from collections import Counter
from typing import Any, Iterator, NamedTuple

COUNTS = ("right", "predicted", "annotated")
# Labels in a confusion matrix that is shown, those with the most errors
MOST_CONFUSED = 8

BY_TAGS = "all, as conlleval and seqeval (strict) count"


class Table(NamedTuple):
    """A part of the report, for the terminal and for the page.

    title (str): What it is.
    header (tuple): The names of the columns.
    rows (list): Texts and numbers.
    note (str): What stands below it.
    source (Any): What it is made from, if that has a figure: an item of "reliability" or
        "thresholds".
    """

    title: str
    header: tuple
    rows: list[tuple]
    note: str = ""
    source: Any = None


def tables(report: dict[str, Any]) -> Iterator[Table]:
    """The parts of a report, but for the errors. Those that would be empty are left out."""
    yield from (found for found in _tables(report) if found.rows)


def _tables(report: dict[str, Any]) -> Iterator[Table]:
    rows: list = [
        (component, name, _percent(value))
        for component, found in report["scores"].items()
        for name, value in found.items()
        if isinstance(value, (int, float))
    ]
    yield Table("Scores", ("Component", "Score", "Value"), rows)
    for found in report["scores"].values():
        for name, parts in found.items():
            # Those of entities are below, with their numbers
            if isinstance(parts, dict) and name != "ents_per_type":
                rows = [(part, *_prf(n)) for part, n in parts.items() if isinstance(n, dict)]
                yield Table(name, ("", "P", "R", "F"), rows)
    if "comparison" in report:
        yield from _comparison_tables(report["comparison"])
    if "entities" in report:
        yield from _entity_tables(report["entities"])
    for name, pairs in report["confusion"].items():
        yield _confusion_table(f"Most confused: {name}", pairs)
    for name, found in report["reliability"].items():
        rows = [
            (f"{i / len(found['bins']):.2f}-{(i + 1) / len(found['bins']):.2f}", b["count"])
            + (f"{b['expected']:.3f}", f"{b['observed']:.3f}")
            for i, b in enumerate(found["bins"])
            if b["count"]
        ]
        header = ("Probability", "Number", "Expected", "Right")
        note = f"Expected calibration error {found['ece']:.4f}, Brier score {found['brier']:.4f}"
        yield Table(f"Reliability of {name}", header, rows, note, found)
    for name, found in report["thresholds"].items():
        rows = [
            (f"{point['threshold']:.2f}", *_prf(point), point["right"], point["predicted"])
            for point in found["curve"]
        ]
        columns = ("Threshold", "P", "R", "F", "Right", "Predicted")
        now = found["threshold"]
        shown = f"{now:.4g}" if isinstance(now, float) else now
        note = f"Now: {'none, the best sequence of tags' if now is None else shown}"
        yield Table(f"Thresholds of {name}", columns, rows, note, found)


def _comparison_tables(comparison: dict[str, Any]) -> Iterator[Table]:
    rows: list = [
        (name, *map(_percent, (*found["models"].values(), found["mean"], found["deviation"])))
        for name, found in comparison["scores"].items()
    ]
    models = [model for found in comparison["scores"].values() for model in found["models"]]
    yield Table("Pipelines", ("", *dict.fromkeys(models), "Mean", "Deviation"), rows)
    rows = [
        (test["score"], test["other"], f"{100 * test['difference']:+.2f}", f"{test['p']:.4f}")
        for test in comparison["tests"]
    ]
    note = "p: how often chance alone makes a difference as large (approximate randomisation)"
    header = ("Score", "Other", "Difference", "p")
    yield Table("Differences of the first from the others", header, rows, note)


def _entity_tables(entities: dict[str, Any]) -> Iterator[Table]:
    def row(name: str, numbers: dict[str, Any]) -> tuple:
        return (name, *_prf(numbers), *(numbers[key] for key in COUNTS))

    header = ("", "P", "R", "F", *(key.capitalize() for key in COUNTS))
    rows = [row(label, numbers) for label, numbers in entities["labels"].items()]
    rows.append(row("all", entities["all"]))
    note = ""
    if entities["by_tags"] != entities["all"]:
        rows.append(row(BY_TAGS, entities["by_tags"]))
        note = (
            "They take missing annotation for none, and don't see annotated entities that the "
            "pipeline's tokens don't fit."
        )
    yield Table("Entities", header, rows, note)
    if "training" in entities:
        rows = [row(name, numbers) for name, numbers in entities["training"].items()]
        yield Table("Entities by whether the training data has their text", header, rows)
    yield _confusion_table("Labels of entities", entities["confusion"])


def _confusion_table(title: str, pairs: list[dict[str, Any]]) -> Table:
    labels, matrix = confusion_matrix(pairs)
    names = [label or "(none)" for label in labels]
    rows = [(name, *(n or "" for n in numbers)) for name, numbers in zip(names, matrix)]
    return Table(title, ("annotated \\ predicted", *names), rows)


def confusion_matrix(pairs: list[dict[str, Any]]) -> tuple[list[str], list[list[int]]]:
    """The labels with the most errors, at most eight and those of no errors left out, and how often
    each (a row) is predicted to be which (a column)."""
    errors: Counter = Counter()
    for pair in pairs:
        if pair["annotated"] != pair["predicted"]:
            errors[pair["annotated"]] += pair["count"]
            errors[pair["predicted"]] += pair["count"]
    labels = [label for label, _ in errors.most_common(MOST_CONFUSED)]
    # What is no label comes last
    labels = [label for label in labels if label] + [label for label in labels if not label]
    counts = {(pair["annotated"], pair["predicted"]): pair["count"] for pair in pairs}
    return labels, [[counts.get((row, column), 0) for column in labels] for row in labels]


def errors_by_kind(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The errors of entities; each kind in the order of the documents."""
    by_kind: dict[str, list] = {}
    for error in report.get("entities", {"errors": []})["errors"]:
        by_kind.setdefault(error["kind"], []).append(error)
    return by_kind


def describe(error: dict[str, Any]) -> str:
    """What is annotated, and what is predicted instead."""
    sides = [
        f"{span['text']} {span['label']}" if span else "nothing"
        for span in (error["annotated"], error["predicted"])
    ]
    sure = "" if error["confidence"] is None else f" ({error['confidence']:.2f})"
    return " -> ".join(sides) + sure


def _prf(numbers: dict[str, Any]) -> tuple[str, str, str]:
    return _percent(numbers["p"]), _percent(numbers["r"]), _percent(numbers["f"])


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
