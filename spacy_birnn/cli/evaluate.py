"""`birnn evaluate`: how good a pipeline is, and what it gets wrong."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Iterator, NamedTuple, Optional

import typer

from ._app import (
    Force,
    Json,
    check_output,
    command,
    load_pipeline,
    print_json,
    print_table,
    read_examples,
    say,
)

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

    from ..evaluation import Counts, Finding

COUNTS = ("right", "predicted", "annotated")
# Labels in a confusion matrix that is printed, those with the most errors
MOST_CONFUSED = 8
# Tokens to either side of an entity where sentences are not known
CONTEXT = 15


@command("evaluate", example="evaluate training/model-best corpus/test.spacy --html report.html")
def evaluate_cli(
    model: Annotated[str, typer.Argument(help="Pipeline: a directory or a package")],
    data: Annotated[Path, typer.Argument(help="Annotated documents: .spacy")],
    train: Annotated[
        Optional[Path],
        typer.Option(help="Training data: scores entities apart that it has and has not"),
    ] = None,
    other: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Another pipeline to compare with; repeat it for several (such as other seeds)"
        ),
    ] = None,
    errors: Annotated[
        int, typer.Option(min=0, help="Errors of each kind to print; JSON and HTML have all")
    ] = 5,
    html: Annotated[
        Optional[Path], typer.Option(help="Write the report to a page, too", dir_okay=False)
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score a pipeline, and show what it gets wrong: entities by label and by kind of error,
    confused tags and categories, how well probabilities hold, and what other thresholds would do.
    With --other, mean and deviation of all pipelines, and whether they differ from MODEL by more
    than chance."""
    if html is not None:
        check_output(html, force=force)
    if other and len({model, *other}) <= len(other):
        raise typer.BadParameter("every pipeline once, another than MODEL", param_hint="--other")
    nlp = load_pipeline(model)
    examples = read_examples(nlp, data)
    trained_on = None if train is None else read_examples(nlp, train)
    report = {"model": model, "data": str(data), **evaluate(nlp, examples, trained_on=trained_on)}
    if other:
        report["comparison"] = _compare(model, nlp, examples, other, data)
    if html is not None:
        from .evaluate_page import write_page

        write_page(html, report)
        say(f"Wrote the report to {html}")
    if as_json:
        print_json(report)
    else:
        _print_report(report, n_errors=errors)


def evaluate(
    nlp: "Language",
    examples: list["Example"],
    *,
    trained_on: Optional[list["Example"]] = None,
) -> dict[str, Any]:
    """Score a pipeline, and collect what it gets wrong.

    nlp (Language): The pipeline.
    examples (list[Example]): Annotated documents.
    trained_on (Optional[list[Example]]): The training data.
    RETURNS (dict[str, Any]): What `birnn evaluate --json` prints, without the paths.
    """
    from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
    from spacy.scorer import Scorer

    from .. import evaluation
    from ..pipeline.ner import BiRNNEntityRecognizer

    done = evaluation.predict(nlp, examples)
    scores = Scorer(nlp).score(done, per_component=True)
    measured = {name for found in scores.values() for name, v in found.items() if v is not None}
    report: dict[str, Any] = {
        "documents": len(done),
        "tokens": sum(len(eg.reference) for eg in done),
        "scores": scores,
        "confusion": {},
        "reliability": {name: r.to_dict() for name, r in _reliability(nlp, examples).items()},
        "thresholds": {},
    }
    for attr in ("tag", "pos"):
        if f"{attr}_acc" in measured:
            report["confusion"][attr] = _as_list(evaluation.token_confusion(done, attr))
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, TextCategorizer) and not isinstance(pipe, MultiLabel_TextCategorizer):
            pairs = evaluation.category_confusion(done, pipe.labels)
            if pairs:
                report["confusion"][name] = _as_list(pairs)
    if "ents_f" in measured:
        report["entities"] = _entities(done, trained_on)
        for name, pipe in nlp.pipeline:
            if isinstance(pipe, BiRNNEntityRecognizer):
                fitted = pipe.cfg["fitted_threshold"]
                report["thresholds"][name] = {
                    "threshold": fitted if pipe.threshold is None else pipe.threshold,
                    "curve": [
                        {"threshold": threshold, **_numbers(counts)}
                        for threshold, counts in evaluation.threshold_curve(nlp, examples, name)
                    ],
                }
    return report


def _reliability(nlp: "Language", examples: list["Example"]) -> dict[str, Any]:
    from ..errors import BirnnError
    from ..pipeline.calibration import reliability

    try:
        return reliability(nlp, examples)
    except BirnnError as error:
        # No component has probabilities, or annotation
        if error.code == "E028":
            return {}
        raise


def _entities(done: list["Example"], trained_on: Optional[list["Example"]]) -> dict[str, Any]:
    from .. import evaluation

    by_doc = [evaluation.compare_entities(eg) for eg in done]
    findings = [found for doc_findings in by_doc for found in doc_findings]
    all_counts = evaluation.count(findings)
    by_label = evaluation.count_by_label(findings)
    entities: dict[str, Any] = {
        "all": _numbers(all_counts),
        "labels": {label: _numbers(counts) for label, counts in by_label.items()},
        "seqeval": _seqeval(done),
        "errors": [
            {"document": i, **_error(found)}
            for i, doc_findings in enumerate(by_doc)
            for found in doc_findings
            if found.kind != "right"
        ],
        "confusion": _as_list(evaluation.entity_confusion(findings)),
    }
    if trained_on is not None:
        forms = evaluation.entity_forms(eg.reference for eg in trained_on)
        parts = evaluation.count_by_seen(findings, forms)
        entities["training"] = {name: _numbers(counts) for name, counts in parts.items()}
    return entities


def _numbers(counts: "Counts") -> dict[str, Any]:
    return {"p": counts.p, "r": counts.r, "f": counts.f, **counts._asdict()}


def _as_list(pairs: Counter) -> list[dict[str, Any]]:
    """The most frequent first, in a fixed order."""
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [{"annotated": a, "predicted": p, "count": n} for (a, p), n in ordered]


def _error(found: "Finding") -> dict[str, Any]:
    """An error, and the sentence that it is in, with the place of each entity in its text."""
    doc, place = found.place.doc, found.place
    start, end = place.start, place.end
    if found.predicted is not None:
        start, end = min(start, found.predicted.start), max(end, found.predicted.end)
    if doc.has_annotation("SENT_START"):
        sentence = doc[doc[start].sent.start : doc[end - 1].sent.end]
    else:
        sentence = doc[max(0, start - CONTEXT) : end + CONTEXT]
    spans: dict[str, Any] = {}
    for key, span in (("annotated", found.annotated), ("predicted", found.predicted)):
        spans[key] = None
        if span is not None:
            offset = sentence.start_char
            places = {"start": span.start_char - offset, "end": span.end_char - offset}
            spans[key] = {"text": span.text, "label": span.label_, **places}
    return {
        "kind": found.kind,
        **spans,
        "confidence": found.confidence,
        "sentence": sentence.text,
    }


def _seqeval(done: list["Example"]) -> Optional[dict[str, float]]:
    """The strict micro scores of seqeval, of the tags of the predicted tokens; None without it. It
    counts entities that spaCy leaves out, where annotation is missing or tokens do not align."""
    try:
        from seqeval.metrics import classification_report
        from seqeval.scheme import BILOU
    except ImportError:
        return None
    from spacy.training.iob_utils import doc_to_biluo_tags

    tags = [
        ([tag if tag not in (None, "-") else "O" for tag in eg.get_aligned_ner()], predicted)
        for eg in done
        if (predicted := doc_to_biluo_tags(eg.predicted))
    ]
    gold, predicted = ([pair[i] for pair in tags] for i in (0, 1))
    if all(tag == "O" for side in (gold, predicted) for doc in side for tag in doc):
        return None
    settings = {"mode": "strict", "scheme": BILOU, "output_dict": True, "zero_division": 0}
    micro = classification_report(gold, predicted, **settings)["micro avg"]
    return {"p": micro["precision"], "r": micro["recall"], "f": micro["f1-score"]}


def _compare(
    model: str, nlp: "Language", examples: list["Example"], others: list[str], data: Path
) -> dict[str, Any]:
    """The scores of several pipelines on the same documents, and of each pair of the first with
    another whether it differs by more than chance."""
    import numpy as np

    from .. import evaluation

    counts = {model: evaluation.document_counts(nlp, evaluation.predict(nlp, examples))}
    for path in others:
        other = load_pipeline(path)
        done = evaluation.predict(other, read_examples(other, data))
        counts[path] = evaluation.document_counts(other, done)
    first = counts[model]
    shared = [name for name in first if all(name in found for found in counts.values())]
    scores: dict[str, Any] = {}
    for name in shared:
        values = [float(evaluation.f_score(found[name].sum(axis=0))) for found in counts.values()]
        scores[name] = {
            "models": dict(zip(counts, values)),
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)),
        }
    tests = []
    for path in others:
        for name in shared:
            difference, p = evaluation.randomisation_test(first[name], counts[path][name])
            tests.append({"other": path, "score": name, "difference": difference, "p": p})
    return {"scores": scores, "tests": tests}


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
    yield Table("Scores", ("Component", "Score", ""), rows)
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
    strict, note = entities["seqeval"], ""
    if strict is not None and _prf(strict) != _prf(entities["all"]):
        note = "seqeval, strict: P {} R {} F {}".format(*_prf(strict))
    yield Table("Entities", header, [*rows, row("all", entities["all"])], note)
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


def _print_report(report: dict[str, Any], *, n_errors: int) -> None:
    print(f"{report['model']} on {report['data']}: {report['documents']} documents")
    for found in tables(report):
        print_table(found.title, found.header, found.rows, note=found.note)
    for kind, errors in errors_by_kind(report).items():
        print(f"\n{kind.capitalize()}: {len(errors)}")
        for error in errors[:n_errors]:
            print(f"  {describe(error)}\n    {' '.join(error['sentence'].split())}")


def _prf(numbers: dict[str, Any]) -> tuple[str, str, str]:
    return _percent(numbers["p"]), _percent(numbers["r"]), _percent(numbers["f"])


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
