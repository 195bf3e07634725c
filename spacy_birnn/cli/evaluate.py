"""`birnn evaluate`: how good a pipeline is, and what it gets wrong."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..files import replacing
from ._app import (
    Force,
    Json,
    Pipeline,
    check_output,
    command,
    load_pipeline,
    print_json,
    print_table,
    read_examples,
    say,
    warn,
)
from .evaluate_tables import describe, errors_by_kind, tables

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

    from ..evaluation import Counts, Finding

# Tokens to either side of an entity where sentences are not known
CONTEXT = 15


@command("evaluate", example="evaluate training/model-best corpus/test.spacy --html report.html")
def evaluate_cli(
    model: Pipeline,
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
    The scores are spaCy's; those of conlleval and seqeval (strict) stand beside them if they
    differ, as where annotation is missing or does not fit the tokens.
    With --other, mean and deviation of all pipelines, and whether they differ from MODEL by more
    than chance."""
    if html is not None:
        check_output(html, force=force)
    if other and len({model, *other}) <= len(other):
        raise typer.BadParameter("every pipeline once, another than MODEL", param_hint="--other")
    from .. import evaluation
    from ..data.corpus import can_teach

    nlp = load_pipeline(model)
    examples = read_examples(nlp, data)
    docs = [eg.reference for eg in examples]
    if not can_teach(docs) and not any(doc.has_annotation("ENT_IOB") for doc in docs):
        warn(f"No document of '{data}' has annotation to compare with, so scores mean nothing.")
    trained_on = None if train is None else read_examples(nlp, train)
    done = evaluation.predict(nlp, examples)
    report = {"model": model, "data": str(data), **_report(nlp, examples, done, trained_on)}
    if other:
        first = evaluation.document_counts(nlp, done)
        report["comparison"] = _compare(model, first, other, data)
    if html is not None:
        from .evaluate_page import page

        with replacing(html) as new:
            new.write_text(page(report), encoding="utf8")
        say(f"Wrote the report to {html}")
    if as_json:
        print_json(report)
    else:
        _print_report(report, n_errors=errors)


def _report(
    nlp: "Language",
    examples: list["Example"],
    done: list["Example"],
    trained_on: Optional[list["Example"]],
) -> dict[str, Any]:
    """What `--json` prints, without the paths.

    done (list[Example]): The examples with what the pipeline predicts of them.
    trained_on (Optional[list[Example]]): The training data.
    """
    from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
    from spacy.scorer import Scorer

    from .. import evaluation
    from ..pipeline.ner import BiRNNEntityRecognizer

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
        "by_tags": _numbers(evaluation.count_by_tags(done)),
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


def _compare(model: str, first: dict[str, Any], others: list[str], data: Path) -> dict[str, Any]:
    """The scores of several pipelines on the same documents, and of each pair of the first with
    another whether it differs by more than chance.

    first (dict[str, Any]): The `evaluation.document_counts` of the first.
    """
    import numpy as np

    from .. import evaluation

    counts = {model: first}
    for path in others:
        other = load_pipeline(path)
        done = evaluation.predict(other, read_examples(other, data))
        counts[path] = evaluation.document_counts(other, done)
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


def _print_report(report: dict[str, Any], *, n_errors: int) -> None:
    print(f"{report['model']} on {report['data']}: {report['documents']} documents")
    for found in tables(report):
        print_table(found.title, found.header, found.rows, note=found.note)
    for kind, errors in errors_by_kind(report).items():
        print(f"\n{kind.capitalize()}: {len(errors)}")
        for error in errors[:n_errors]:
            print(f"  {describe(error)}\n    {' '.join(error['sentence'].split())}")
