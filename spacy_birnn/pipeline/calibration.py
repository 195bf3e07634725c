"""Probabilities that hold: of what is predicted with 0.8, eight in ten should be right.

A trained network is too sure of itself. After training, each component's scores are divided by a
temperature that makes held-out annotation most likely (Guo et al. 2017,
https://arxiv.org/abs/1706.04599). One number for all scores leaves their order, and so which
labelling is the best, as it was. `birnn_ner` fits its threshold in the same step, and a map from
the probability of an entity to how often such an entity is right.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Protocol
from warnings import warn

import numpy as np
from spacy.language import Language
from spacy.training import Example, validate_examples
from spacy.util import logger, minibatch
from tqdm import tqdm
from wasabi import table

from ..errors import BirnnError, Errors, Warnings
from .fitting import fit_temperature

N_BINS = 15
# A temperature is fitted to about this many documents at least
ENOUGH = 1000
# Fewer predictions than this say little
FEW = 100
# A component that is right this often, and could be surer still, has seen the documents before
SUSPICIOUS = 0.95
# As many labels a warning lists
FEW_LABELS = 10


class Decisions(NamedTuple):
    """What a component decided of documents whose annotation is known.

    confidence (np.ndarray): The probability that it gave to each decision.
    right (np.ndarray): Whether the annotation agrees, bool, the same shape.
    """

    confidence: np.ndarray
    right: np.ndarray


@dataclass
class Reliability:
    """How well the probabilities of a component hold. Its text is a table.

    expected (np.ndarray): Mean probability of the decisions in each of fifteen bins of equal width
        from 0 to 1, shape (15,); 0 for an empty bin.
    observed (np.ndarray): The share of them that is right.
    count (np.ndarray): Their number.
    ece (float): The expected calibration error: the mean distance of the two, weighted by the
        number (Naeini et al. 2015, https://ojs.aaai.org/index.php/AAAI/article/view/9602).
    brier (float): The mean of (probability - right)^2 (Brier 1950).
    temperature (float): What the scores are divided by.
    threshold (Optional[float]): The threshold that was fitted; None where there is none.
    """

    expected: np.ndarray
    observed: np.ndarray
    count: np.ndarray
    ece: float
    brier: float
    temperature: float
    threshold: Optional[float] = None

    def __str__(self) -> str:
        edges = np.linspace(0, 1, N_BINS + 1)
        rows = [
            (f"{low:.2f}-{high:.2f}", n, f"{expected:.3f}", f"{observed:.3f}")
            for low, high, n, expected, observed in zip(
                edges, edges[1:], self.count.tolist(), self.expected, self.observed
            )
            if n
        ]
        header = ("Probability", "Number", "Expected", "Observed")
        fitted = f"temperature {self.temperature:.3f}"
        if self.threshold is not None:
            fitted += f", threshold {self.threshold:.3f}"
        found = f"expected calibration error {self.ece:.4f}, Brier score {self.brier:.4f}, {fitted}"
        return table(rows, header=header, divider=True, aligns=("l", "r", "r", "r")) + found

    def to_dict(self) -> Dict[str, Any]:
        """The same as plain numbers, for JSON."""
        bins = zip(self.expected.tolist(), self.observed.tolist(), self.count.tolist())
        keys = ("ece", "brier", "temperature", "threshold")
        return {
            **{key: getattr(self, key) for key in keys},
            "bins": [{"expected": e, "observed": o, "count": n} for e, o, n in bins],
        }


class Evidence(NamedTuple):
    """A batch as a component's model scores it, and what the annotation says.

    n_docs (int): Number of documents that have annotation.
    scores (Any): The model's output, at temperature 1.
    gold (np.ndarray): What the annotation says. Of token labels the outcomes that agree with it,
        bool, as `gold_mask`; none where it has a label that the component does not.
    allowed (Optional[np.ndarray]): The outcomes possible at all. None: all.
    """

    n_docs: int
    scores: Any
    gold: np.ndarray
    allowed: Optional[np.ndarray] = None


class Calibrated(Protocol):
    """What a component does so that its probabilities can be calibrated. What is fitted is in its
    `cfg` and so is saved with it; what it fits is named by its `unfitted`."""

    name: str
    cfg: Dict[str, Any]
    unfitted: Dict[str, Any]
    labels: Any

    def evidence(self, examples: List[Example], unknown: set) -> Evidence:
        """Score a batch and read its annotation.

        examples (List[Example]): The batch. The documents are as the component gets them.
        unknown (Set[str]): Collects labels that the component does not have.
        """

    def loss_at(self, evidence: Evidence, temperature: float) -> float:
        """The negative log-likelihood, at a temperature, of what the annotation says of the
        component's predictions, summed over a batch."""

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """What the component decides with the settings, where the annotation says what is right."""

    def fit(self, evidence: List[Evidence]) -> Dict[str, Any]:
        """The settings that suit the evidence, one item a batch. It changes nothing."""


def calibrate(
    nlp: Language, examples: Iterable[Example], *, pipes: Optional[Iterable[str]] = None
) -> Dict[str, Reliability]:
    """Calibrate the components of a trained pipeline, and report how well their probabilities then
    hold on the same documents. Nothing is changed unless all can be calibrated.

    nlp (Language): The pipeline.
    examples (Iterable[Example]): Held-out documents with annotation, such as the development part.
        On the training data a component is right nearly always, which says nothing of new texts.
    pipes (Optional[Iterable[str]]): The names of the components. None: all those that can be
        calibrated and have annotation in the documents.
    RETURNS (Dict[str, Reliability]): A report by the component's name.
    RAISES (ValueError): E028 for a component (or all) without annotation, E029 for one that cannot
        be calibrated.
    """
    evidence = _collect(nlp, examples, pipes)
    fitted = {name: _pipe(nlp, name).fit(parts) for name, parts in evidence.items()}
    reports = {}
    for name, parts in evidence.items():
        found = _decisions(_pipe(nlp, name), parts, fitted[name])
        reports[name] = report(found, fitted[name])
        n_docs, n, right = sum(part.n_docs for part in parts), len(found.right), found.right.sum()
        if n_docs < 2 or n < FEW:
            warn(Warnings.W006.format(name=name, n_docs=n_docs, n=n), stacklevel=2)
        temperature = fitted[name]["temperature"]
        if n and right >= SUSPICIOUS * n and temperature < 1:
            values = {"share": right / n, "temperature": temperature}
            warn(Warnings.W007.format(name=name, **values), stacklevel=2)
    for name, settings in fitted.items():
        _pipe(nlp, name).cfg.update(settings)
    return reports


def reliability(
    nlp: Language, examples: Iterable[Example], *, pipes: Optional[Iterable[str]] = None
) -> Dict[str, Reliability]:
    """How well the probabilities of a pipeline's components hold as they are. For the arguments and
    errors see `calibrate`; nothing is changed."""
    reports = {}
    for name, parts in _collect(nlp, examples, pipes).items():
        pipe = _pipe(nlp, name)
        reports[name] = report(_decisions(pipe, parts, pipe.cfg), pipe.cfg)
    return reports


def report(decisions: Decisions, settings: Dict[str, Any]) -> Reliability:
    """The reliability table of decisions, made with the given settings of a component."""
    confidence, right = decisions
    bins = np.minimum((confidence * N_BINS).astype("int64"), N_BINS - 1)
    count = np.bincount(bins, minlength=N_BINS)
    expected, observed = (
        np.bincount(bins, weights=values, minlength=N_BINS) / np.maximum(count, 1)
        for values in decisions
    )
    n = max(1, len(confidence))
    return Reliability(
        expected,
        observed,
        count,
        ece=float((np.abs(expected - observed) * count).sum() / n),
        brier=float(((confidence - right) ** 2).sum() / n),
        temperature=settings["temperature"],
        threshold=settings.get("fitted_threshold"),
    )


def create_calibrate(
    corpus: Callable[[Language], Iterable[Example]], pipes: Optional[List[str]] = None
) -> Callable[[Language], Language]:
    """The callback `spacy-birnn.Calibrate.v1` for [training.before_to_disk]: every pipeline that
    `spacy train` saves is calibrated first.

    corpus (Callable[[Language], Iterable[Example]]): The held-out documents, ${corpora.dev}.
    pipes (Optional[List[str]]): As for `calibrate`.
    """

    def before_to_disk(nlp: Language) -> Language:
        for name, found in calibrate(nlp, corpus(nlp), pipes=pipes).items():
            logger.info("Calibrated '%s':\n%s", name, found)
        return nlp

    return before_to_disk


def temperature_for(pipe: Calibrated, evidence: List[Evidence]) -> float:
    """The temperature that suits a component's evidence, one item a batch."""
    # One number needs no more than some batches
    some = evidence[:: max(1, sum(part.n_docs for part in evidence) // ENOUGH)]
    return fit_temperature(lambda t: sum(pipe.loss_at(part, t) for part in some))


def _collect(
    nlp: Language, examples: Iterable[Example], pipes: Optional[Iterable[str]]
) -> Dict[str, List[Evidence]]:
    """The evidence for each component, whose documents have been through those before it."""
    examples = list(examples)
    validate_examples(examples, "calibrate")
    examples = [Example(eg.x.copy(), eg.y) for eg in examples]
    able = [name for name, pipe in nlp.pipeline if hasattr(pipe, "evidence")]
    names = able if pipes is None else [pipes] if isinstance(pipes, str) else list(pipes)
    for name in names:
        if name not in able:
            raise BirnnError(Errors.E029.format(name=name, able=", ".join(able) or "none"))
    evidence: Dict[str, List[Evidence]] = {}
    last = max((nlp.pipe_names.index(name) for name in names), default=-1)
    n_runs = len(names) + max(0, last)
    bar = tqdm(total=n_runs * len(examples), unit="docs", leave=False, disable=None)
    for i, name in enumerate(nlp.pipe_names[: last + 1]):
        if name in names:
            parts = _evidence(_pipe(nlp, name), examples, nlp.batch_size, bar)
            if any(part.n_docs for part in parts):
                evidence[name] = parts
            elif pipes is not None:
                raise BirnnError(Errors.E028.format(names=f"'{name}'", n=len(examples)))
        if i < last:
            with nlp.select_pipes(enable=[name]):
                # With their examples: an error handler may leave documents out
                pairs = nlp.pipe([(eg.predicted, eg) for eg in examples], as_tuples=True)
                for doc, eg in pairs:
                    eg.predicted = doc
                    bar.update()
    bar.close()
    if not evidence:
        listed = ", ".join(f"'{name}'" for name in able) or "any component"
        raise BirnnError(Errors.E028.format(names=listed, n=len(examples)))
    return evidence


def _evidence(
    pipe: Calibrated, examples: List[Example], batch_size: int, bar: tqdm
) -> List[Evidence]:
    unknown: set = set()
    parts = []
    for batch in minibatch(examples, batch_size):
        parts.append(pipe.evidence(batch, unknown))
        bar.update(len(batch))
    if unknown:
        # There may be hundreds, of morphology
        values = {"labels": _listed(sorted(unknown)), "known": _listed(list(pipe.labels))}
        warn(Warnings.W008.format(name=pipe.name, **values), stacklevel=4)
    return parts


def _listed(labels: List[str]) -> str:
    more = f" and {len(labels) - FEW_LABELS} more" if len(labels) > FEW_LABELS else ""
    return ", ".join(labels[:FEW_LABELS]) + more


def _pipe(nlp: Language, name: str) -> Calibrated:
    return nlp.get_pipe(name)  # type: ignore[return-value]


def _decisions(pipe: Calibrated, evidence: List[Evidence], settings: Dict[str, Any]) -> Decisions:
    parts = [pipe.decisions(part, settings) for part in evidence]
    return Decisions(*(np.concatenate(values) for values in zip(*parts)))
