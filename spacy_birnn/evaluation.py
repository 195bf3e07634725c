"""What a pipeline gets right and wrong, beyond its scores: which errors, where, and whether the
difference between two pipelines is more than chance. All counts agree with those behind spaCy's
scores: what it leaves out, such as entities where annotation is missing, is left out here."""

from collections import Counter
from typing import Any, Dict, Iterable, List, Literal, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from spacy.language import Language
from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.training.iob_utils import tags_to_entities
from tqdm import tqdm

from .pipeline.confidence import get_confidence

Kind = Literal["right", "boundary", "label", "missed", "invented"]
ERROR_KINDS: Tuple[Kind, ...] = ("boundary", "label", "missed", "invented")
THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 20)]
# `birnn_ner` looks for nothing that is less probable
LOWEST_THRESHOLD = 0.01
# Annotation that says nothing, as in spaCy's scorer
MISSING = (None, 0, "")


class Counts(NamedTuple):
    """How many of some things are predicted, annotated, and both, and the scores that follow: `p`,
    `r` and `f`.

    right (int): Those that are predicted as they are annotated.
    predicted (int): All that are predicted.
    annotated (int): All that are annotated.
    """

    right: int
    predicted: int
    annotated: int

    @property
    def p(self) -> float:
        """Precision; 0 where nothing is predicted."""
        return self.right / max(1, self.predicted)

    @property
    def r(self) -> float:
        """Recall; 0 where nothing is annotated."""
        return self.right / max(1, self.annotated)

    @property
    def f(self) -> float:
        """F1, the harmonic mean of both."""
        return 2 * self.right / max(1, self.predicted + self.annotated)


class Finding(NamedTuple):
    """An entity that is annotated, predicted or both.

    kind (str): "right"; "label": predicted with another label; "boundary": one that overlaps it is
        predicted, whatever its label; "missed": only annotated; "invented": only predicted.
    annotated (Optional[Span]): The entity of `eg.reference`.
    predicted (Optional[Span]): What is predicted, as a span of `eg.reference`.
    confidence (Optional[float]): The probability of what is predicted, if it has any.
    """

    kind: Kind
    annotated: Optional[Span]
    predicted: Optional[Span]
    confidence: Optional[float]

    @property
    def place(self) -> Span:
        """Where it is: what is annotated, or else what is predicted."""
        span = self.predicted if self.annotated is None else self.annotated
        assert span is not None
        return span


def predict(nlp: Language, examples: Iterable[Example]) -> List[Example]:
    """Run a pipeline over the predicted documents of some examples, which are left as they are.

    RETURNS (List[Example]): New examples.
    """
    copies = [Example(eg.predicted.copy(), eg.reference) for eg in examples]
    pairs = nlp.pipe([(eg.predicted, eg) for eg in copies], as_tuples=True)
    # With their examples: an error handler may leave documents out
    done = []
    for doc, eg in tqdm(pairs, total=len(copies), unit="docs", leave=False, disable=None):
        eg.predicted = doc
        done.append(eg)
    return done


def compare_entities(eg: Example) -> List[Finding]:
    """All entities that are annotated in a document or predicted for it, in order. Each counts
    once: an annotated one is paired with at most one that is predicted, first with one of the same
    bounds, then with the one that it shares the most tokens with."""
    doc = eg.reference
    if not doc.has_annotation("ENT_IOB"):
        return []
    annotated = list(doc.ents)
    predicted = list(_projected(eg))
    # The closest first
    pairs = sorted(
        (*_distance(gold, span), i, j)
        for i, gold in enumerate(annotated)
        for j, (span, _) in enumerate(predicted)
        if gold.start < span.end and span.start < gold.end
    )
    free, unpaired, findings = set(range(len(annotated))), set(range(len(predicted))), []
    for other_bounds, _, other_label, i, j in pairs:
        if i in free and j in unpaired:
            free.remove(i)
            unpaired.remove(j)
            kind: Kind = "boundary" if other_bounds else "label" if other_label else "right"
            findings.append(Finding(kind, annotated[i], *predicted[j]))
    findings += [Finding("missed", annotated[i], None, None) for i in free]
    findings += [Finding("invented", None, *predicted[j]) for j in unpaired]
    return sorted(findings, key=lambda found: (found.place.start, found.place.end))


def _distance(gold: Span, span: Span) -> Tuple[bool, int, bool]:
    """Whether the bounds differ, how many tokens are shared (as -n), whether the label differs."""
    other_bounds = (gold.start, gold.end) != (span.start, span.end)
    shared = min(gold.end, span.end) - max(gold.start, span.start)
    return other_bounds, -shared, gold.label != span.label


def _projected(eg: Example) -> Iterable[Tuple[Span, Optional[float]]]:
    """The predicted entities on the tokens of the annotation, where it says what is right."""
    doc = eg.reference
    x2y = eg.alignment.x2y
    for ent in eg.predicted.ents:
        places = x2y[ent.start : ent.end]
        if len(places):
            start, end = int(places[0]), int(places[-1]) + 1
            if all(token.ent_iob != 0 for token in doc[start:end]):
                yield Span(doc, start, end, label=ent.label_), get_confidence(ent)


def count(findings: Iterable[Finding]) -> Counts:
    """The numbers of entities behind precision and recall."""
    findings = list(findings)
    return Counts(
        sum(found.kind == "right" for found in findings),
        sum(found.predicted is not None for found in findings),
        sum(found.annotated is not None for found in findings),
    )


def count_by_tags(examples: Iterable[Example]) -> Counts:
    """The same as conlleval and seqeval (mode "strict") count it, which read a tag for each token,
    here that of the pipeline. They differ from each other only in how they read tags that no
    `doc.ents` can have. From spaCy's numbers, of which `count` gives the parts, they differ where
    annotation is missing, which is O for them, and where an annotated entity does not begin and end
    with a token, which they don't get to see."""
    right = n_predicted = n_annotated = 0
    for eg in examples:
        tags = [tag if tag is not None else "O" for tag in eg.get_aligned_ner()]
        annotated = set(tags_to_entities(tags))
        predicted = {(ent.label_, ent.start, ent.end - 1) for ent in eg.predicted.ents}
        right += len(annotated & predicted)
        n_predicted += len(predicted)
        n_annotated += len(annotated)
    return Counts(right, n_predicted, n_annotated)


def count_by_label(findings: Iterable[Finding]) -> Dict[str, Counts]:
    """The same by label, in alphabetical order."""
    right, predicted, annotated = Counter(), Counter(), Counter()
    for found in findings:
        if found.annotated is not None:
            annotated[found.annotated.label_] += 1
            right[found.annotated.label_] += found.kind == "right"
        if found.predicted is not None:
            predicted[found.predicted.label_] += 1
    labels = sorted({*predicted, *annotated})
    return {label: Counts(right[label], predicted[label], annotated[label]) for label in labels}


def count_by_seen(findings: Iterable[Finding], forms: Set[str]) -> Dict[str, Counts]:
    """The same for "seen" and "unseen" entities: whether the training data has an entity with that
    text, whatever its label. What is predicted is seen or unseen by its own text.

    forms (Set[str]): As `entity_forms` gives them.
    """
    parts: Dict[str, List[int]] = {"seen": [0, 0, 0], "unseen": [0, 0, 0]}
    for found in findings:
        for i, span in ((1, found.predicted), (2, found.annotated)):
            if span is not None:
                parts["seen" if _form(span) in forms else "unseen"][i] += 1
        if found.kind == "right":
            parts["seen" if _form(found.place) in forms else "unseen"][0] += 1
    return {name: Counts(*numbers) for name, numbers in parts.items()}


def entity_forms(docs: Iterable[Doc]) -> Set[str]:
    """The texts of the entities of documents, without regard to case and white space."""
    return {_form(ent) for doc in docs for ent in doc.ents}


def _form(span: Span) -> str:
    return " ".join(span.text.casefold().split())


def entity_confusion(findings: Iterable[Finding]) -> Counter:
    """How often an entity of one label (or none: "") is predicted to be one of another (or none)
    with the same bounds, by (annotated, predicted). Rows and columns thus add up to what is
    annotated and what is predicted."""
    pairs: Counter = Counter()
    for found in findings:
        gold, span = (s.label_ if s else "" for s in (found.annotated, found.predicted))
        if found.kind == "boundary":
            pairs[gold, ""] += 1
            pairs["", span] += 1
        else:
            pairs[gold, span] += 1
    return pairs


def token_confusion(examples: Iterable[Example], attr: Literal["tag", "pos"]) -> Counter:
    """How often a token with one value of an attribute is predicted to have another, by (annotated,
    predicted)."""
    pairs: Counter = Counter()
    name = f"{attr}_"
    for eg in examples:
        found = {
            (gold.i, getattr(gold, name), getattr(token, name))
            for gold, token in _aligned(eg)
            if getattr(gold, attr) not in MISSING
        }
        pairs.update((gold, predicted) for _, gold, predicted in found)
    return pairs


def _aligned(eg: Example) -> Iterable[Tuple[Any, Any]]:
    """The pairs of tokens, annotated and predicted, that spaCy's scorer compares. Of several tokens
    that are one in the annotation, those of one value count once."""
    x2y = eg.alignment.x2y
    for token in eg.predicted:
        if not token.text.isspace() and x2y.lengths[token.i] == 1:
            yield eg.reference[int(x2y[token.i][0])], token


def category_confusion(examples: Iterable[Example], labels: Sequence[str]) -> Counter:
    """The same for the categories of documents, of which one is right: the most probable one is
    predicted."""
    pairs: Counter = Counter()
    for eg in examples:
        gold, predicted = (_own(doc, labels) for doc in (eg.reference, eg.predicted))
        if gold and predicted:
            pairs[_highest(gold), _highest(predicted)] += 1
    return pairs


def _own(doc: Doc, labels: Sequence[str]) -> Dict[str, float]:
    return {label: value for label, value in doc.cats.items() if label in labels}


def _highest(cats: Dict[str, float]) -> str:
    return max(cats.items(), key=lambda item: item[1])[0]


def document_counts(nlp: Language, examples: List[Example]) -> Dict[str, np.ndarray]:
    """For each of spaCy's scores that is an F1 (an accuracy is one too) of what a pipeline sets,
    the numbers of each document: right, predicted, annotated.

    examples (List[Example]): As `predict` returns them.
    RETURNS (Dict[str, np.ndarray]): int, shape (documents, 3), by the name of the score, for those
        scores for which there is annotation. `f_score` of the sums over the documents is the score.
    """
    rows: Dict[str, List[Tuple[int, int, int]]] = {
        "ents_f": [count(compare_entities(eg)) for eg in examples]
    }
    for attr in ("tag", "pos", "morph", "lemma"):
        rows[f"{attr}_acc"] = [_count_tokens(eg, attr) for eg in examples]
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, TextCategorizer):
            rows["cats_micro_f"] = [_count_categories(eg, pipe) for eg in examples]
    assigned = {name for meta in map(nlp.get_pipe_meta, nlp.pipe_names) for name in meta.scores}
    counts = {name: np.array(values, dtype="int64") for name, values in rows.items()}
    return {name: c for name, c in counts.items() if name in assigned and c[:, 2].any()}


def _count_tokens(eg: Example, attr: str) -> Counts:
    def value(token: Any) -> int:
        return token.morph.key if attr == "morph" else getattr(token, attr)

    gold = {(token.i, value(token)) for token in eg.reference if value(token) not in MISSING}
    known = {i for i, _ in gold}
    predicted = {(g.i, value(token)) for g, token in _aligned(eg) if g.i in known}
    return Counts(len(gold & predicted), len(predicted), len(gold))


def _count_categories(eg: Example, pipe: TextCategorizer) -> Counts:
    gold, predicted = (_own(doc, pipe.labels) for doc in (eg.reference, eg.predicted))
    if not isinstance(pipe, MultiLabel_TextCategorizer):
        if not gold:
            return Counts(0, int(bool(predicted)), 0)
        return Counts(int(_highest(gold) == _highest(predicted)), 1, 1)
    chosen = {label for label in gold if predicted.get(label, 0.0) >= pipe.cfg["threshold"]}
    right = {label for label, value in gold.items() if value > 0}
    return Counts(len(chosen & right), len(chosen), len(right))


def f_score(counts: np.ndarray) -> np.ndarray:
    """F1 from numbers of right, predicted and annotated things, shape (..., 3)."""
    return 2 * counts[..., 0] / np.maximum(1, counts[..., 1] + counts[..., 2])


def randomisation_test(
    first: np.ndarray, second: np.ndarray, *, trials: int = 10_000, seed: int = 0
) -> Tuple[float, float]:
    """Whether two systems differ by more than chance, by approximate randomisation (Yeh 2000,
    https://aclanthology.org/C00-2137): if it made no difference which of them labelled a document,
    how often would their F1 differ as much as it does? In each trial every document's results
    change sides with probability 0.5.

    first (np.ndarray): Of the first system, as `document_counts` gives them.
    second (np.ndarray): Of the second one, for the same documents.
    trials (int): How many, at least 1.
    seed (int): Of the random numbers.
    RETURNS (Tuple[float, float]): The difference of the F1 (first - second), and the probability of
        one as large, (n + 1) / (trials + 1) where n trials have one.
    """
    sums, change = (first.sum(axis=0), second.sum(axis=0)), (second - first).astype("float64")
    difference = float(f_score(sums[0]) - f_score(sums[1]))
    rng = np.random.default_rng(seed)
    # As many trials at a time as fit some tens of megabytes
    size = max(1, 2**22 // max(1, len(first)))
    as_large = 0
    for start in range(0, trials, size):
        swapped = rng.random((min(size, trials - start), len(first))) < 0.5
        moved = swapped @ change
        found = f_score(sums[0] + moved) - f_score(sums[1] - moved)
        as_large += int((np.abs(found) >= abs(difference) - 1e-12).sum())
    return difference, (as_large + 1) / (trials + 1)


def threshold_curve(
    nlp: Language, examples: Iterable[Example], name: str
) -> List[Tuple[float, Counts]]:
    """The counts of entities at each of the thresholds 0.05, 0.1 ... 0.95 of a `birnn_ner`, the
    same for every label. The pipeline runs once, up to the component.

    examples (Iterable[Example]): The documents as the pipeline gets them.
    """
    pipe: Any = nlp.get_pipe(name)
    before = pipe.threshold, pipe.confidence
    upto = nlp.pipe_names[: nlp.pipe_names.index(name) + 1]
    try:
        # Of those that overlap the most probable is set, so a higher threshold sets a part of these
        pipe.threshold, pipe.confidence = LOWEST_THRESHOLD, True
        with nlp.select_pipes(enable=upto):
            done = predict(nlp, examples)
    finally:
        pipe.threshold, pipe.confidence = before
    findings = [found for eg in done for found in compare_entities(eg)]
    annotated = count(findings).annotated
    # An entity of another component has no probability, and stands
    values = [(1.0 if f.confidence is None else f.confidence, f) for f in findings if f.predicted]
    curve = []
    for threshold in THRESHOLDS:
        found = [f.kind == "right" for value, f in values if value >= threshold]
        curve.append((threshold, Counts(sum(found), len(found), annotated)))
    return curve
